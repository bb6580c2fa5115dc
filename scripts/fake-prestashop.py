#!/usr/bin/env python3
"""A fake PrestaShop for development, on 127.0.0.1: its Webservice with products, stock, categories, languages, images.

    python scripts/fake-prestashop.py [--port 8124] [--version 1.7|8|9]

then connect http://127.0.0.1:8124 with the key AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH (ALLOW_PRIVATE_HOSTS=1). It keeps
everything in memory and behaves as WebserviceRequest.php does: a PUT blanks what it leaves out, read-only fields are
refused, filters are patterns, products?schema=synopsis says what the version knows.

It misbehaves on request: POST /control?way=WAY&method=PUT&resource=products&times=1&after=0. Ways, before the work is
done: 401, 403, 404, 413, 429, 500, 503 (HTML pages), off, nokey, html, empty, bomb, dtd, shape, noid, latin, broken,
deep, huge, hang, drip, drop, redirect, echo (of the key); after the work is done: late-cut, late-empty, late-php (PHP's
notices as errors, status 500), late-around (the XML between PHP's notices, status 500), late-html.
GET /control returns the number of requests by method and resource.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree  # noqa: S405

KEY = "AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH"
LANGS = {"1": "en", "2": "it"}
I18N, READ_ONLY, GETTER = "i18n", "readOnly", "notFilterable"


def product_fields(version: str) -> dict[str, dict]:
    """The fields of a product in a version: their flags."""
    plain = ("id_manufacturer id_supplier id_category_default new cache_default_attribute id_tax_rules_group "
             "id_shop_default supplier_reference width height depth upc isbn cache_is_pack is_virtual state on_sale "
             "additional_delivery_times online_only ecotax minimal_quantity low_stock_threshold low_stock_alert "
             "wholesale_price unity additional_shipping_cost customizable text_fields uploadable_files active "
             "redirect_type id_type_redirected available_for_order available_date show_condition condition show_price "
             "indexed visibility advanced_stock_management date_add date_upd pack_stock_type").split()
    names = {"1.7": "location unit_price_ratio", "8": "location unit_price_ratio mpn product_type",
             "9": "mpn product_type unit_price"}[version].split()
    fields: dict[str, dict] = {name: {} for name in (*plain, *names)}
    fields |= {name: {GETTER: "true"} for name in ("id_default_image", "id_default_combination", "type",
                                                   "position_in_category")}
    fields |= {name: {GETTER: "true", READ_ONLY: "true"} for name in ("manufacturer_name", "quantity")}
    fields |= {"reference": {"maxSize": "32" if version == "1.7" else "64", "format": "isReference"},
               "ean13": {"maxSize": "13", "format": "isEan13"}, "weight": {"format": "isUnsignedFloat"},
               "price": {"required": "true", "format": "isPrice"}}
    for name, most, form in (("name", "128", "isCatalogName"), ("link_rewrite", "128", "isLinkRewrite"),
                             ("description", "", "isCleanHtml"), ("description_short", "", "isCleanHtml"),
                             ("meta_title", "128", "isGenericName"), ("meta_description", "512", "isGenericName"),
                             ("available_now", "255", "isGenericName"), ("available_later", "255", "isGenericName")):
        fields[name] = {I18N: True, "format": form} | ({"maxSize": most} if most else {})
    fields["name"]["required"] = fields["link_rewrite"]["required"] = "true"
    return fields


RESOURCES = {  # resource: (node, fields)
    "products": ("product", {}),
    "stock_availables": ("stock_available", {name: {"required": "true"} for name in (
        "id_product", "id_product_attribute", "quantity", "depends_on_stock", "out_of_stock")} | {
        "id_shop": {}, "id_shop_group": {}, "location": {}}),
    "categories": ("category", {"id_parent": {}, "active": {"required": "true"}, "is_root_category": {},
                                "position": {}, "name": {I18N: True, "required": "true"},
                                "link_rewrite": {I18N: True, "required": "true"}, "description": {I18N: True}}),
    "languages": ("language", {"name": {}, "iso_code": {}, "active": {}}),
    "configurations": ("configuration", {"name": {}, "value": {}}),
    "images": ("image", {}),
}
ASSOCIATIONS = {"categories": "category", "images": "image", "combinations": "combination", "tags": "tag",
                "product_features": "product_feature", "stock_availables": "stock_available",
                "accessories": "product", "product_bundle": "product"}
FORMATS = {"isCatalogName": r"[^<>;=#{}]*", "isReference": r"[^<>;={}]*", "isLinkRewrite": r"[_a-zA-Z0-9-]+",
           "isEan13": r"[0-9]{0,13}", "isPrice": r"[0-9]{1,10}(\.[0-9]{1,9})?", "isUnsignedFloat": r"[0-9]*(\.[0-9]+)?",
           "isCleanHtml": r"(?is)(?!.*(<\s*script|<\s*iframe|onclick\s*=|script:)).*"}
NOTICE = "<br />\n<b>Notice</b>: Undefined index: x in <b>/var/www/classes/Hook.php</b> on line <b>7</b><br />\n"
PAGES = {"401": "Restricted", "403": "Forbidden by the firewall", "404": "Not Found", "413": "Too Large",
         "429": "Slow down", "500": "Internal Server Error", "503": "We will be back soon"}
BODIES = {  # way: body of a 200
    "html": b"<!DOCTYPE html><html><title>Log in</title></html>", "empty": b"",
    "bomb": b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><prestashop>&b;</prestashop>',
    "dtd": b'<!DOCTYPE prestashop SYSTEM "file:///etc/passwd"><prestashop/>',
    "shape": b"<prestashop><weather><id>x</id></weather></prestashop>",
    "noid": b"<prestashop><product><id>-5</id></product><category><id/></category></prestashop>",
    "latin": b'<?xml version="1.0" encoding="martian"?><prestashop><product>\xe8\xff</product></prestashop>',
    "broken": b"<prestashop><product><id>1</id>", "deep": b"<prestashop>" + b"<a>" * 50_000,
    "huge": b"<prestashop>" + b"x" * (9 << 20) + b"</prestashop>",
}


class Fault(Exception):
    """An error of the Webservice: status, code, message."""


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms
    server: Server

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def answer(self, status: int, body: bytes, kind: str = "text/xml;charset=utf-8", **headers: str) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "PSWS-Version": self.server.full, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self) -> None:
        """Answer a request of any method."""
        shop, parts = self.server, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        params = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if parts.path == "/control":
            if self.command == "POST":
                shop.misbehave(params["way"], params.get("method", ""), params.get("resource", ""),
                               int(params.get("times", 1)), int(params.get("after", 0)))
            return self.answer(200, json.dumps(shop.asked).encode(), "application/json")
        if parts.path.startswith("/pictures/"):
            return self.picture(parts.path)
        resource = params.pop("url", "") if parts.path == "/webservice/dispatcher.php" else parts.path[5:]
        if not parts.path.startswith("/webservice/dispatcher.php" if shop.dispatcher else "/api/"):
            return self.answer(404, b"<html><title>Not Found</title></html>", "text/html")
        with shop.lock:
            shop.asked[f"{self.command} {resource.split('/')[0]}"] += 1
            shop.requests.append((self.command, resource, body, self.headers.get("Authorization", "")))
            way = shop.way(self.command, resource)
        if way and not way.startswith("late-") and self.bad(way) is None:
            return None
        try:
            status, text = shop.work(self.command, resource.strip("/").split("/"), params, body,
                                     self.headers.get("Authorization", ""), self.headers.get("Content-Type", ""))
        except Fault as error:
            status, text = error.args[0], errors([error.args[1:]])
        if way == "late-cut":
            self.close_connection = True
            return self.connection.shutdown(2)
        if way == "late-php":
            said = "[PHP Notice #8] Undefined index: x (/classes/Hook.php, line 7)"
            return self.answer(500, errors([(5, said)]).encode())
        if way == "late-around":
            return self.answer(500, (NOTICE + text + NOTICE).encode())
        if way in ("late-empty", "late-html"):
            return self.answer(status, b"" if way == "late-empty" else BODIES["html"], "text/html")
        return self.answer(status, text.encode())

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def bad(self, way: str) -> bool | None:
        """Misbehave; True when the request must be answered well after all."""
        if way in PAGES:
            more = {"Retry_After": "7"} if way == "429" else {}
            return self.answer(int(way), f"<html><title>{PAGES[way]}</title>".encode(), "text/html", **more)
        if way in BODIES:
            return self.answer(200, BODIES[way])
        if way == "off":
            return self.answer(503, errors([(22, "The PrestaShop webservice is disabled. Please activate it in the "
                                                 "PrestaShop Back Office")]).encode())
        if way == "nokey":
            return self.answer(401, errors([(17, "Authentication key is empty")]).encode())
        if way == "echo":
            return self.answer(400, errors([(99, f"<b>{self.headers['Authorization']}</b> {KEY}")]).encode())
        if way == "redirect":
            return self.answer(301, b"", Location="https://www.example.org/api/")
        if way == "hang":
            return self.server.over.wait(600) and None
        if way == "drip":
            self.send_response(200)
            self.end_headers()
            while not self.server.over.wait(0.05):
                self.wfile.write(b" ")
            return None
        self.close_connection = True
        return self.connection.shutdown(2)

    def picture(self, path: str) -> None:
        """An image of this server, for the column `image`: /pictures/NAME.jpg; page and missing are none."""
        if "missing" in path or "page" in path:
            return self.answer(404 if "missing" in path else 200, b"<html>", "text/html")
        return self.answer(200, b"x" * (21 << 20) if "large" in path else b"\xff\xd8\xff" + path.encode(), "image/jpeg")


def errors(found: list[tuple]) -> str:
    """The errors of the Webservice as XML."""
    inner = "".join(f"<error>\n<code><![CDATA[{code}]]></code>\n<message><![CDATA[{text}]]></message>\n</error>\n"
                    for code, text in found)
    return document(f"<errors>\n{inner}</errors>\n")


def document(inner: str) -> str:
    """A whole document."""
    return ('<?xml version="1.0" encoding="UTF-8"?>\n<prestashop xmlns:xlink="http://www.w3.org/1999/xlink">\n'
            f"{inner}</prestashop>\n")


class Server(ThreadingHTTPServer):
    """The shop: `rows` of each resource by id, `rights` of the key; `dispatcher`: no mod_rewrite; `asked` counts the
    requests, `requests` keeps them."""

    daemon_threads = True

    def __init__(self, port: int = 0, version: str = "8", dispatcher: bool = False) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.version, self.dispatcher = version, dispatcher
        self.full = {"1.7": "1.7.8.11", "8": "8.1.7", "9": "9.0.0"}[version]
        self.lock, self.over = threading.RLock(), threading.Event()
        self.asked: Counter[str] = Counter()
        self.requests: list[tuple[str, str, bytes, str]] = []
        self.ways: list[list] = []
        self.read_only: set[str] = set()
        self.rights = {name: {"GET", "POST", "PUT", "DELETE", "HEAD"} for name in RESOURCES if name != "configurations"}
        self.fields = {name: fields for name, (_, fields) in RESOURCES.items()} | {"products": product_fields(version)}
        self.rows: dict[str, dict[str, dict]] = {name: {} for name in RESOURCES}
        self.rows["languages"] = {id: {"name": iso, "iso_code": iso, "active": "1"} for id, iso in LANGS.items()}
        self.rows["configurations"] = {"1": {"name": "PS_LANG_DEFAULT", "value": "2"}}
        for id, parent, name, root in (("1", "0", "Root", "0"), ("2", "1", "Home", "1")):
            self.rows["categories"][id] = {
                "id_parent": parent, "active": "1", "is_root_category": root, "name": dict.fromkeys(LANGS, name),
                "link_rewrite": dict.fromkeys(LANGS, name.lower())}
        self.now = 1_700_000_000

    def handle_error(self, *_: object) -> None:
        """Ignore errors: the client has closed its connection."""

    @property
    def url(self) -> str:
        """The address of the shop."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def misbehave(self, way: str, method: str = "", resource: str = "", times: int = 1, after: int = 0) -> None:
        """Answer `times` requests of a method on a resource badly, once `after` of them were answered well."""
        self.ways.append([way, method, resource, times, after])

    def way(self, method: str, resource: str) -> str:
        """How to misbehave for a request; "" for well."""
        for entry in self.ways:
            if entry[3] and method.startswith(entry[1]) and resource.startswith(entry[2]):
                if entry[4]:
                    entry[4] -= 1
                else:
                    entry[3] -= 1
                    return entry[0]
        return ""

    def work(self, method: str, path: list[str], params: dict[str, str], body: bytes, auth: str,
             kind: str) -> tuple[int, str]:
        """(status, XML) of a request that came whole. Raises Fault."""
        key = base64.b64decode(auth.removeprefix("Basic ")).decode().partition(":")[0] if auth else ""
        if not key:
            raise Fault(401, 17, "Authentication key is empty")
        if key != KEY:
            raise Fault(401, 20 if len(key) == 32 else 18, "Authentification key is not active")
        name, id = path[0], path[1] if len(path) > 1 else ""
        if not name:
            return 200, document(f'<api shopName="Fake &amp; Sons">\n{"".join(map(self.granted, self.rights))}</api>\n')
        if name not in RESOURCES:
            raise Fault(400, 27, f'Resource of type "{name}" does not exists')
        if name not in self.rights:
            raise Fault(401, 26, f'Resource of type "{name}" is not allowed with this authentication key')
        if name == "stock_availables" and method in ("POST", "DELETE"):
            raise Fault(405, 101, f"Method {method} is not allowed for the resource {name}")
        if method not in self.rights[name]:
            raise Fault(405, 25, f"Method {method} is not allowed for the resource {name} with this authentication key")
        with self.lock:
            if name == "images":
                return self.image(path[2], body, kind)
            if method in ("POST", "PUT"):
                return (201 if method == "POST" else 200), self.save(name, method, body)
            if id and id not in self.rows[name]:
                return 404, ""
            if method == "DELETE":
                del self.rows[name][id]
                return 200, ""
            return 200, self.shown(name, id, params)

    def granted(self, name: str) -> str:
        """A resource of the list with the rights of the key."""
        rights = " ".join(f'{method.lower()}="{str(method in self.rights[name]).lower()}"'
                          for method in ("GET", "PUT", "POST", "DELETE"))
        return f'<{name} xlink:href="{self.url}/api/{name}" {rights}>\n<description {rights}>x</description></{name}>\n'

    def shown(self, name: str, id: str, params: dict[str, str]) -> str:
        """The XML of an entity, a list, or a schema."""
        node, rows, display = RESOURCES[name][0], self.rows[name], params.get("display", "")
        if params.get("schema"):
            return document(self.entity(name, "", {}, None, params["schema"]))
        if id:
            return document(self.entity(name, id, rows[id], None))
        for key, pattern in params.items():
            if field := re.fullmatch(r"filter\[(\w+)\]", key):
                if field[1] not in (*self.fields[name], "id"):
                    raise Fault(400, 32, "This filter does not exist")
                rows = {n: row for n, row in rows.items() if matches(({"id": n} | row).get(field[1], ""), pattern)}
        if display and display != "full":
            wanted = display.strip("[]").split(",")
            if unknown := [field for field in wanted if field not in (*self.fields[name], "id")]:
                raise Fault(400, 35, f'Unable to display this field "{unknown[0]}". However, these are available: id')
        inner = "".join(self.entity(name, n, row, None if display == "full" else wanted) if display else
                        f'<{node} id="{n}" xlink:href="{self.url}/api/{name}/{n}"/>\n' for n, row in rows.items())
        return document(f"<{name}>\n{inner}</{name}>\n")

    def entity(self, name: str, id: str, row: dict, wanted: list[str] | None, schema: str = "") -> str:
        """The XML of one entity; with `schema` blank or synopsis that of its schema."""
        node, out = RESOURCES[name][0], []
        fields = self.fields[name] if schema else {"id": {}} | self.fields[name]
        for field, flags in fields.items():
            if wanted is not None and field not in wanted:
                continue
            details = "".join(f' {key}="{value}"' for key, value in flags.items()
                              if key != I18N and (schema == "synopsis" or not schema and key == GETTER))
            value = id if field == "id" else row.get(field, "")
            if flags.get(I18N):
                texts = value if isinstance(value, dict) else {}
                inner = "".join(f'<language id="{n}" xlink:href="{self.url}/api/languages/{n}">'
                                f"{cdata(texts.get(n, ''))}</language>" for n in LANGS)
            else:
                inner = cdata(str(value))
            out.append(f"<{field}{details}>{inner}</{field}>\n")
        if name == "products" and (wanted is None):
            out.append("<associations>\n")
            for key, member in ASSOCIATIONS.items():
                flags = ' readOnly="true"' if key == "stock_availables" else ""
                out.append(f'<{key} nodeType="{member}"{flags}>\n')
                for entry in row.get("associations", {}).get(key, []):
                    inner = "".join(f"<{k}>{cdata(v)}</{k}>" for k, v in entry.items())
                    out.append(f"<{member}>{inner}</{member}>")
                out.append(f"</{key}>\n")
            out.append("</associations>\n")
        return f"<{node}>\n{''.join(out)}</{node}>\n"

    def save(self, name: str, method: str, body: bytes) -> str:
        """saveEntityFromXml: what is left out becomes empty. Raises Fault."""
        try:
            sent = ElementTree.fromstring(body)[0]  # noqa: S314
        except (ElementTree.ParseError, IndexError) as error:
            raise Fault(500, 127, f"XML error : {error}\nXML length : {len(body)}") from None
        id = (sent.findtext("id") or "").strip()
        if method == "POST" and id:
            raise Fault(400, 91, "id is forbidden when adding a new resource")
        if method == "PUT" and not id:
            raise Fault(400, 90, "id is required when modifying a resource")
        if method == "PUT" and id not in self.rows[name]:
            raise Fault(404, 92, "Invalid ID")
        old = self.rows[name].get(id, {})
        row: dict = {}
        for field, flags in self.fields[name].items():
            given = sent.find(field)
            if flags.get(I18N):
                texts = dict(old.get(field) or {}) if given is not None else {}
                texts |= {lang.get("id", ""): lang.text or "" for lang in (given if given is not None else ())}
                row[field] = texts
                for text in texts.values():
                    self.check(name, field, text)
                if flags.get("required") and not all(texts.get(n) for n in LANGS):
                    raise Fault(400, 84, f'Validation error: "Property {name}->{field} is empty"')
            elif given is not None:
                if flags.get(READ_ONLY) or field in self.read_only:
                    raise Fault(400, 93, f'parameter "{field}" not writable. Please remove this attribute of this XML')
                if field == "position_in_category" and not int(given.text or 0) > 0:
                    raise Fault(500, 134, "You cannot set 0 or a negative position, the minimum for a position is 1.")
                row[field] = given.text or ""
                self.check(name, field, row[field])
            elif flags.get("required"):
                raise Fault(400, 41, f'parameter "{field}" required')
            else:
                kept = flags.get(GETTER) or field in self.read_only
                row[field] = old.get(field, "") if kept else ""
        if name == "stock_availables" and old.get("depends_on_stock") == "1":
            raise Fault(500, 133, "You cannot update the available stock when it depends on stock.")
        self.now += 7
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.now))
        if name == "products":
            row |= {"date_add": old.get("date_add", stamp), "date_upd": stamp}
            row["manufacturer_name"] = old.get("manufacturer_name", "")
            row["price"] = f"{float(row['price']):.6f}"
            row["weight"] = f"{float(row['weight'] or 0):.6f}"
            row["associations"] = dict(old.get("associations", {}))
            for group in sent.find("associations") if sent.find("associations") is not None else ():
                if group.tag not in ASSOCIATIONS:
                    raise Fault(400, 86, f'The association "{group.tag}" does not exists')
                if group.tag == "product_bundle" and row["is_virtual"] == "1":
                    raise Fault(500, 85, "Error occurred while setting the product_bundle value")
                if group.tag not in ("images", "stock_availables"):
                    row["associations"][group.tag] = [{f.tag: f.text or "" for f in member} for member in group]
        if method == "POST":
            id = str(max(map(int, self.rows[name]), default=0) + 1)
            if name == "products":
                stock = str(max(map(int, self.rows["stock_availables"]), default=100) + 1)
                row["associations"]["stock_availables"] = [{"id": stock, "id_product_attribute": "0"}]
                self.rows["stock_availables"][stock] = {
                    "id_product": id, "id_product_attribute": "0", "id_shop": "1", "id_shop_group": "0",
                    "quantity": "0", "depends_on_stock": "0", "out_of_stock": "2", "location": "A7"}
        self.rows[name][id] = row
        return document(self.entity(name, id, row, None))

    def check(self, name: str, field: str, value: str) -> None:
        """Raise Fault when a value has the wrong form."""
        flags = self.fields[name][field]
        if len(value) > int(flags.get("maxSize", 1 << 30)) or value and not re.fullmatch(
                FORMATS.get(flags.get("format", ""), r"(?s).*"), value):
            raise Fault(400, 85, f'Validation error: "Property {name}->{field} is not valid"')

    def image(self, product: str, body: bytes, kind: str) -> tuple[int, str]:
        """POST images/products/ID: keep the image."""
        if 'name="image"' not in body[:500].decode("latin-1") or "multipart/form-data" not in kind:
            raise Fault(400, 66, 'Please set an "image" parameter with image data for value')
        data = body.split(b"\r\n\r\n", 1)[1]
        if not data.startswith(b"\xff\xd8\xff"):
            raise Fault(400, 73, "This image format is not recognized. Supported formats are: gif, jpg, png")
        id = str(max(map(int, self.rows["images"]), default=20) + 1)
        self.rows["images"][id] = {"id_product": product, "data": data.rsplit(b"\r\n--", 1)[0]}
        row = self.rows["products"][product]
        row["associations"].setdefault("images", []).append({"id": id})
        row["id_default_image"] = row.get("id_default_image") or id
        return 200, document(f"<image>\n<id>{cdata(id)}</id>\n<id_product>{cdata(product)}</id_product></image>\n")


def cdata(text: str) -> str:
    """A text as PrestaShop writes it."""
    return f"<![CDATA[{text}]]>" if text else ""


def matches(value: str, pattern: str) -> bool:
    """SQLUtils::getSQLRetrieveFilter: whether a value passes a filter, without case, as in MySQL."""
    value, pattern = str(value).casefold(), pattern.casefold()
    end = pattern.rfind("]")
    start = pattern.rfind("[", 0, max(end, 0))
    if start < 0:
        return value == pattern
    before, inner, after = pattern[:start], pattern[start + 1 : end], pattern[end + 1 :]
    if "%" in (before, after):
        return (inner in value if before and after else value.startswith(inner) if after else value.endswith(inner))
    if before or after:
        return True
    if "|" in inner[1:]:
        return value in inner.split("|")
    if limits := re.fullmatch(r"([\d.:\s-]+),([\d.:\s-]+)", inner):
        return limits[1] <= value <= limits[2]
    return value == inner


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=8124)
    parser.add_argument("--version", choices=("1.7", "8", "9"), default="8")
    given = parser.parse_args()
    server = Server(given.port, given.version)
    print(f"{server.url} key {KEY}", flush=True)
    server.serve_forever()
