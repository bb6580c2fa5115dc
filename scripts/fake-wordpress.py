#!/usr/bin/env python3
"""A fake WordPress for development, on 127.0.0.1: posts, categories, tags and media in memory, over the REST API.

    python scripts/fake-wordpress.py [--port 8124]

then a connection with the address http://127.0.0.1:8124/blog, user editor (or author, who may less, or contributor),
password "fake password", and ALLOW_PRIVATE_HOSTS=1.

POST /control with {"way": "500", "on": "POST posts", "times": 1} makes the next matching requests go wrong (`on` is the
begin of method and route, "" for all). Before the request is done: 401 (of a web server), 403 (a firewall), 404, 413,
429, 500, 502, 503, maintenance, slow (never answers), slowheaders, cut, redirect, elsewhere, page, empty. After it:
lost (the connection breaks), notice (errors of PHP before the JSON), bom, late (the JSON is cut), list, noid, strings
(ids as texts), deep, bytes (not UTF-8), halves (half characters, NUL), huge, drip (never ends), fatal.
{"set": {"pretty": false}} changes the site: pretty (permalinks), meta (the field ainstein_key), filter (a search for
it), rest (false: switched off), revisions. GET /control returns the posts and the log of requests.
"""

from __future__ import annotations

import argparse
import base64
import html
import itertools
import json
import re
import threading
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo

PASSWORD, ZONE, BASE = "fakepassword", ZoneInfo("Europe/Rome"), "/blog"
ROLES = {"editor": (1, {"edit_posts", "publish_posts", "upload_files", "manage_categories", "edit_others_posts"}),
         "author": (2, {"edit_posts", "publish_posts", "upload_files"}), "contributor": (3, {"edit_posts"})}
STATUSES = ("publish", "future", "draft", "pending", "private")
PAGE = b"<!DOCTYPE html><html><body><h1>%s</h1></body></html>"
BEFORE: dict[str, tuple[int, dict[str, str], bytes]] = {
    "401": (401, {"WWW-Authenticate": 'Basic realm="staging"'}, PAGE % b"401 Unauthorized"),
    "403": (403, {}, PAGE % b"Forbidden by the firewall"), "404": (404, {}, PAGE % b"404 Not Found"),
    "413": (413, {}, PAGE % b"413 Request Entity Too Large"),
    "429": (429, {"Retry-After": "7"}, PAGE % b"Too many requests"), "502": (502, {}, PAGE % b"502 Bad Gateway"),
    "500": (500, {}, b'{"code":"internal_server_error","message":"<p>There has been a critical error.</p>",'
                     b'"data":{"status":500}}'),
    "503": (503, {}, PAGE % b"503 Service Unavailable"), "page": (200, {}, PAGE % b"Welcome"), "empty": (200, {}, b""),
    "maintenance": (503, {"Retry-After": "600"}, PAGE % b"Briefly unavailable for scheduled maintenance."),
    "elsewhere": (302, {"Location": "http://other.example/blog/"}, b""),
    "redirect": (301, {"Location": "https://127.0.0.1/blog/"}, b""),
}


class Refusal(Exception):
    """An error as WordPress answers it: status, code, message, more data."""


class Site:
    """The content of a site and its rules, as WordPress 6 has them."""

    def __init__(self) -> None:
        self.pretty, self.meta, self.filter, self.rest, self.revisions = True, False, False, True, True
        self.posts: dict[int, dict] = {}
        self.media: dict[int, dict] = {}
        self.terms: dict[str, dict[int, dict]] = {"categories": {1: {"id": 1, "name": "Uncategorized", "parent": 0}},
                                                  "tags": {}}
        self.ids = itertools.count(2)
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC).replace(microsecond=0)

    def answer(self, method: str, route: str, query: dict, body: Any, raw: bytes, headers: Any, role: str) -> Any:
        """The JSON value and status for a request; raises Refusal."""
        if not self.rest:
            raise Refusal(403, "rest_disabled", "The REST API is disabled on this site.")
        if route == "":
            return {"name": "Blog &amp; Co", "url": self.home, "timezone_string": str(ZONE), "gmt_offset": 1,
                    "namespaces": ["oembed/1.0", "wp/v2"] if self.rest else []}, 200
        kind, _, number = route.removeprefix("wp/v2/").partition("/")
        if not role and (method != "GET" or query.get("context") == "edit" or kind == "users"):
            raise Refusal(401, "rest_not_logged_in", "You are not currently logged in.")
        if kind == "users":
            number, rights = ROLES[role]
            return {"id": number, "name": role, "slug": role, "roles": [role],
                    "capabilities": dict.fromkeys(rights, True)}, 200
        if kind == "types":
            return {"slug": "post", "rest_base": "posts"}, 200
        if method == "OPTIONS":
            meta = {"ainstein_key": {"type": "string"}} if self.meta else []
            return {"schema": {"properties": {"meta": {"type": "object", "properties": meta}}}}, 200
        if kind in self.terms:
            return self.term(method, self.terms[kind], query, body, role, kind)
        if kind == "media":
            return self.medium(method, number, query, raw, headers, role)
        if kind != "posts":
            raise Refusal(404, "rest_no_route", "No route was found matching the URL and request method.")
        if not number:
            return (self.listed(query, role), 200) if method == "GET" else (self.write(None, body, role), 201)
        post = self.posts.get(int(number)) if number.isdigit() else None
        if post is None:
            raise Refusal(404, "rest_post_invalid_id", "Invalid post ID.")
        if post["author"] != ROLES[role][0] and "edit_others_posts" not in ROLES[role][1]:
            raise Refusal(403, "rest_cannot_edit", "Sorry, you are not allowed to edit this post.")
        if method == "DELETE":
            return self.delete(post, query), 200
        return (self.shown(post) if method == "GET" else self.write(post, body, role)), 200

    def delete(self, post: dict, query: dict) -> dict:
        """Delete a post, or move it to the bin."""
        if query.get("force") == "true":
            del self.posts[post["id"]]
            return {"deleted": True, "previous": self.shown(post)}
        if post["status"] == "trash":
            raise Refusal(410, "rest_already_trashed", "The post has already been deleted.")
        post.update(status="trash", slug=post["slug"] and post["slug"] + "__trashed", modified=self.now())
        return self.shown(post)

    def write(self, post: dict | None, body: dict, role: str) -> dict:
        """Create or change a post."""
        invalid = {}
        if body.get("status") not in (None, *STATUSES):
            invalid["status"] = "status is not one of publish, future, draft, pending, and private."
        for name in ("date", "date_gmt"):
            if name in body and not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", str(body[name])):
                invalid[name] = "Invalid date."
        if invalid:
            raise Refusal(400, "rest_invalid_param", f"Invalid parameter(s): {', '.join(invalid)}", {"params": invalid})
        if body.get("status") in ("publish", "future", "private") and "publish_posts" not in ROLES[role][1]:
            raise Refusal(403, "rest_cannot_publish", "Sorry, you are not allowed to publish posts in this post type.")
        now, new = self.now(), post is None
        if post is None:
            post = {"id": next(self.ids), "title": "", "content": "", "excerpt": "", "slug": "", "status": "draft",
                    "author": ROLES[role][0], "featured_media": 0, "categories": [1], "tags": [], "key": "",
                    "floating": True, "date": now, "revisions": 0}
        before = post["title"], post["content"], post["excerpt"]
        for name in ("title", "content", "excerpt"):
            if name in body:
                post[name] = filtered(str(body[name]), role, name)
        if not any((post["title"], post["content"], post["excerpt"])):
            raise Refusal(400, "empty_content", "Content, title, and excerpt are empty.")
        post["status"] = body.get("status") or post["status"]
        if body.get("date_gmt"):
            post.update(date=datetime.fromisoformat(body["date_gmt"]).replace(tzinfo=UTC), floating=False)
        elif post["floating"]:
            post["date"] = now
        if post["status"] in ("publish", "future"):
            post["status"] = "future" if (post["date"] - now).total_seconds() >= 60 else "publish"
        if post["status"] not in ("draft", "pending"):
            post["floating"] = False
        given = body.get("slug") or ("" if post["slug"] or post["status"] in ("draft", "pending") else post["title"])
        if given:
            post["slug"] = self.unique(sanitized(given), post["id"], self.posts)
        for name in ("categories", "tags"):
            if name in body:
                post[name] = [number for number in body[name] if number in self.terms[name]]
        if body.get("featured_media", 0) in (0, *self.media):
            post["featured_media"] = body.get("featured_media", post["featured_media"])
        if self.meta and isinstance(body.get("meta"), dict):
            post["key"] = body["meta"].get("ainstein_key", post["key"])
        post["modified"] = post["date"] if new else now
        if not new and self.revisions and before != (post["title"], post["content"], post["excerpt"]):
            post["revisions"] += 1
        self.posts[post["id"]] = post
        return self.shown(post)

    def unique(self, slug: str, own: int, rows: dict[int, dict]) -> str:
        """The slug, with -2 and so on when another row has it."""
        taken = {row["slug"] for number, row in rows.items() if number != own}
        return next(name for name in itertools.chain([slug], (f"{slug}-{n}" for n in itertools.count(2)))
                    if name not in taken)

    def listed(self, query: dict, role: str) -> list[dict]:
        """The posts that a query asks for and that this role may edit."""
        wanted = set(query.get("status", "publish").split(","))
        rows = [post for post in self.posts.values() if post["status"] in wanted
                or ("any" in wanted and post["status"] != "trash")]
        for word in query.get("search", "").lower().split():
            rows = [p for p in rows if any(word in p[name].lower() for name in ("title", "content", "excerpt"))]
        if "author" in query:
            rows = [post for post in rows if str(post["author"]) == query["author"]]
        if self.filter and "ainstein_key" in query:
            rows = [post for post in rows if post["key"] == query["ainstein_key"]]
        rows = [self.shown(post) for post in sorted(rows, key=lambda p: p["id"], reverse=query.get("order") != "asc")
                if post["author"] == ROLES[role][0] or "edit_others_posts" in ROLES[role][1]]
        return paged(rows, query)

    def term(self, method: str, terms: dict, query: dict, body: dict, role: str, kind: str) -> Any:
        """List or make categories or tags."""
        if method == "GET":
            include = set(query.get("include", "").split(","))
            return paged([term for term in terms.values() if query.get("search", "").lower() in term["name"].lower()
                          and ("include" not in query or str(term["id"]) in include)], query), 200
        if kind == "categories" and "manage_categories" not in ROLES[role][1]:
            raise Refusal(403, "rest_cannot_create", "Sorry, you are not allowed to create terms in this taxonomy.")
        name = html.escape(" ".join(re.sub("<[^<>]*>", "", body["name"]).split()), quote=False)
        if not name:
            raise Refusal(500, "empty_term_name", "A name is required for this term.")
        for term in terms.values():
            if term["name"].lower() == name.lower():
                raise Refusal(400, "term_exists", "A term with the name provided already exists.",
                              {"term_id": term["id"]})
        number = next(self.ids)
        terms[number] = {"id": number, "name": name, "parent": 0}
        return terms[number], 201

    def medium(self, method: str, number: str, query: dict, raw: bytes, headers: Any, role: str) -> Any:
        """List, read, delete or upload media."""
        if method == "GET" and not number:
            return paged([row for row in self.media.values() if query.get("slug") in (None, row["slug"])
                          and query.get("search", "") in row["slug"]], query), 200
        if method == "GET":
            if int(number) not in self.media:
                raise Refusal(404, "rest_post_invalid_id", "Invalid post ID.")
            return self.media[int(number)], 200
        if method == "DELETE":
            for post in self.posts.values():
                post["featured_media"] *= post["featured_media"] != int(number)
            return {"deleted": True, "previous": self.media.pop(int(number))}, 200
        if "upload_files" not in ROLES[role][1]:
            raise Refusal(400, "rest_cannot_create", "Sorry, you are not allowed to upload media on this site.")
        if headers["Content-Type"] not in ("image/jpeg", "image/png", "image/gif", "image/webp"):
            raise Refusal(500, "rest_upload_unknown_error", "Sorry, you are not allowed to upload this file type.")
        new = next(self.ids)
        name = re.search('filename="([^"]*)"', headers["Content-Disposition"])[1]
        self.media[new] = {"id": new, "size": len(raw), "mime_type": headers["Content-Type"], "slug": self.unique(
            sanitized(query.get("slug") or name.rpartition(".")[0]), new, self.media)}
        return self.media[new], 201

    def shown(self, post: dict) -> dict:
        """A post as the API shows it in the context edit."""
        def time(moment: datetime, zone: Any) -> str:
            return moment.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S")

        path = f"{post['slug']}/" if post["slug"] and post["status"] == "publish" else f"?p={post['id']}"
        return {
            "id": post["id"], "status": post["status"], "type": "post", "author": post["author"],
            "link": f"{self.home}/{path}", "slug": post["slug"],
            **{name: {"raw": post[name], "rendered": post[name]} for name in ("title", "content", "excerpt")},
            "date": time(post["date"], ZONE), "date_gmt": time(post["date"], UTC),
            "modified": time(post["modified"], ZONE), "modified_gmt": time(post["modified"], UTC),
            "categories": post["categories"] or [1], "tags": post["tags"], "featured_media": post["featured_media"],
            "meta": {"ainstein_key": post["key"]} if self.meta else [],
            "_links": {"version-history": [{"count": post["revisions"], "href": ""}]}}

    home = ""


def paged(rows: list[dict], query: dict) -> list[dict]:
    """One page of a list; raises Refusal for a page behind the last."""
    size, page = int(query.get("per_page", 10)), int(query.get("page", 1))
    if size > 100:
        raise Refusal(400, "rest_invalid_param", "Invalid parameter(s): per_page", {"params": {"per_page": "too big"}})
    if page > 1 and (page - 1) * size >= len(rows):
        raise Refusal(400, "rest_post_invalid_page_number", "The page number is larger than the number of pages.")
    fields = query["_fields"].split(",") if "_fields" in query else None
    return [{name: row[name] for name in fields if name in row} if fields else row
            for row in rows[(page - 1) * size : page * size]]


def filtered(text: str, role: str, name: str) -> str:
    """A text as it is stored: trimmed, and for roles that may not write any HTML without scripts."""
    text = text.strip() if name == "title" else text
    if role != "editor":
        text = re.sub(r"(?is)</?script[^>]*>", "", text)
        text = re.sub(r"&(?!#?\w+;)", "&amp;", text)
    return text


def sanitized(text: str) -> str:
    """The slug that WordPress makes of a text."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", unquote(text)) if not unicodedata.combining(c)).lower()
    return re.sub(r"[\s./-]+", "-", re.sub(r"[^\w\s./-]", "", plain)).strip("-")[:200]


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are sent one after the other: 40 ms each time
    server: Any

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do(self) -> None:
        """Answer a request of any method."""
        parts, server = urlsplit(self.path), self.server
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.path == "/control":
            return self.control(raw)
        if parts.path.startswith(f"{BASE}/wp-json/") and server.site.pretty:
            route = parts.path.removeprefix(f"{BASE}/wp-json/")
        elif parts.path == f"{BASE}/" and "rest_route" in query:
            route = query.pop("rest_route").lstrip("/")
        else:
            return self.send(404, {"Content-Type": "text/html"}, PAGE % b"Page not found")
        asked = f"{self.command} {route.removeprefix('wp/v2/')}"
        with server.lock:
            way = server.way_for(asked)
            try:
                body = json.loads(raw) if raw and "json" in self.headers.get("Content-Type", "") else {}
            except ValueError:
                return self.value(400, error(400, "rest_invalid_json", "Invalid JSON body passed."))
            server.log.append((asked, query, body))
            if way in BEFORE:
                status, headers, page = BEFORE[way]
                return self.send(status, {"Content-Type": "text/html"} | headers, page)
            if way not in ("slow", "slowheaders", "cut"):
                try:
                    value, status = server.site.answer(self.command, route, query, body, raw, self.headers, self.role())
                except Refusal as refusal:
                    status, value = refusal.args[0], error(*refusal.args)
        if way in ("slow", "slowheaders"):
            while way == "slowheaders" and not server.over.wait(0.2):
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: 1\r\n" if not self.close_connection else b"X-Slow: 1\r\n")
                self.close_connection = True
            return server.over.wait(600) and None
        if way in ("cut", "lost"):
            self.close_connection = True
            return self.connection.shutdown(2)
        return self.value(status, value) if way is None else self.garbled(way, status, value)

    do_GET = do_POST = do_DELETE = do_OPTIONS = do

    def role(self) -> str:
        """The user of the request, or ""."""
        given = self.headers.get("Authorization", "")
        user, _, password = base64.b64decode(given.removeprefix("Basic ") or b"").decode().partition(":")
        return user if user in ROLES and password.replace(" ", "") == PASSWORD else ""

    def control(self, raw: bytes) -> None:
        """Change how the server behaves, or tell its state."""
        if self.command == "GET":
            site = self.server.site
            log = [asked for asked, _query, _body in self.server.log]
            return self.value(200, {"posts": [site.shown(post) for post in site.posts.values()], "terms": site.terms,
                                    "media": [*site.media.values()], "log": log})
        order = json.loads(raw)
        for name, value in order.get("set", {}).items():
            setattr(self.server.site, name, value)
        if "way" in order:
            self.server.behave(order["way"], order.get("on", ""), order.get("times", 1))
        return self.value(200, {})

    def garbled(self, way: str, status: int, value: Any) -> None:
        """An answer to a request that was done, in a form that is not as it should be."""
        good = json.dumps(value).encode()
        kind = {"Content-Type": "application/json"}
        notice = b"<br />\n<b>Notice</b>: Undefined index: a[] in <b>/x/{plugin}.php</b> on line <b>3</b><br />\n"
        bodies = {
            "notice": notice + good + b"\n<!-- cached -->", "bom": b"\xef\xbb\xbf" + good,
            "late": good[: len(good) // 2],
            "list": b"[1, [], null]", "noid": b'{"title": {"raw": "x"}}', "deep": b"[" * 100_000 + b'{"id":' * 100_000,
            "bytes": good.replace(b'"id"', b'"\xff": 1, "id"', 1),
            "huge": b'{"id": 1, "x": "' + b"x" * (9 << 20) + b'"}',
            "strings": re.sub(rb'"(id|featured_media)": (\d+)', rb'"\1": "\2"', good),
            "halves": good.replace(b'"raw": "', rb'"raw": "\ud83d\u0000'),
            "fatal": b"<br />\n<b>Fatal error</b>: Uncaught Error in /x.php",
        }
        if way == "drip":
            self.send_response(200)
            self.end_headers()
            while not self.server.over.wait(0.2):
                self.wfile.write(b" ")
            return None
        return self.send(200 if way == "notice" else status, kind, bodies[way])

    def value(self, status: int, value: Any) -> None:
        """Send a JSON value."""
        self.send(status, {"Content-Type": "application/json; charset=UTF-8"}, json.dumps(value).encode())

    def send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, text in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)


def error(status: int, code: str, message: str, more: dict | None = None) -> dict:
    """An error as JSON."""
    return {"code": code, "message": message, "data": {"status": status} | (more or {})}


class Server(ThreadingHTTPServer):
    """The server: `site` is its content, `log` the requests as (method and route, query, body)."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.site = Site()
        self.url = f"http://127.0.0.1:{self.server_address[1]}{BASE}"
        self.site.home = self.url
        self.log: list[tuple[str, dict, Any]] = []
        self.ways: list[list] = []
        self.lock, self.over = threading.Lock(), threading.Event()

    def behave(self, way: str, on: str = "", times: int = 1) -> None:
        """Make the next requests whose method and route begin with `on` go wrong."""
        self.ways.append([way, on, times])

    def way_for(self, asked: str) -> str | None:
        """How this request goes wrong, or None."""
        for entry in self.ways:
            if entry[2] > 0 and asked.startswith(entry[1]):
                entry[2] -= 1
                return entry[0]
        return None

    def handle_error(self, *_: object) -> None:
        """Ignore errors: the client has closed its connection."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8124)
    server = Server(parser.parse_args().port)
    print(f"{server.url} user editor, password fake password", flush=True)
    server.serve_forever()
