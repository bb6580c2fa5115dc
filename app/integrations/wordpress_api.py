"""The REST API of one WordPress site: where it is, what the site says of itself, and one call.

    base of the connection -> {base}/wp-json/ or, without permalinks, {base}/?rest_route=/: the first that knows wp/v2
                           -> requests below it -> wordpress_errors.py

The root that answered is kept for the life of the object, with the scheme to which it redirected. When none answers,
the error of the first one is raised.
"""

from __future__ import annotations

import html
import re
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Any, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from app.integrations.outside import Outside
from app.integrations.service_errors import ItemRefused, Limited, Refused, ServiceError
from app.integrations.site_urls import shown
from app.integrations.wordpress_answers import clean
from app.integrations.wordpress_errors import data, failure
from app.support.messages import Message

META, ROOTS = "ainstein_key", ("wp-json/", "?rest_route=/")
_TAIL = re.compile(r"/(?:wp-json(?:/.*)?|wp-admin(?:/.*)?|wp-login\.php)$")


class Site(NamedTuple):
    """The REST root, the name of the site, the address of its administration, its time zone."""

    root: str
    name: str
    admin: str
    zone: tzinfo


class Api:
    """Requests to one site; `options`: `rest`, its REST root below the address when it is none of ROOTS."""

    def __init__(self, outside: Outside, options: dict[str, Any]) -> None:
        self.outside, self.options = outside, options
        self._known: Site | None = None
        self._has_meta: bool | None = None

    def call(self, method: str, path: str, kind: type = dict, what: str = "", json: Any = None,
             content: bytes | None = None, headers: dict[str, str] | None = None, **params: Any) -> Any:
        """The JSON value that a request below wp/v2/ gives. The one place that makes addresses."""
        root = self.site.root
        query = urlencode(params)
        url = f"{root}wp/v2/{path}" + (("&" if "?" in root else "?") + query if query else "")
        headers = {"Cache-Control": "no-cache"} | (headers or {})  # some hosts keep answers of the REST API
        answer = self.outside.request(method, url, json=json, content=content, headers=headers)
        return data(answer, kind, what, method not in ("GET", "OPTIONS"))

    @property
    def site(self) -> Site:
        """The site, asked once."""
        if self._known is None:
            self._known = self._discovered()
        return self._known

    def _discovered(self) -> Site:
        """Raises Refused when none of the addresses is a REST root; what the first one said counts."""
        base, first = _TAIL.sub("", self.outside.base), None
        for tail in [self.options["rest"]] if self.options.get("rest") else ROOTS:
            answer = self.outside.request("GET", f"{base}/{str(tail).lstrip('/')}")
            try:
                index = data(answer, dict)
                if isinstance(index.get("namespaces"), list) and "wp/v2" in index["namespaces"]:
                    home = clean(index.get("url"))
                    admin = home if re.match(r"https?://", home) else base
                    return Site(_root(answer.url), plain(index.get("name")), admin.rstrip("/"), _zone(index))
                error: ServiceError = failure(answer, "", False)
            except ServiceError as raised:
                error = raised
            if isinstance(error, Limited) or answer.status >= 500:
                raise error
            first = first or (answer.status, error)
        status, error = first or (404, None)
        if error is not None and status not in (200, 404):
            raise error
        raise Refused(Message("There is no REST API of WordPress at %(url)s. Enter the address of the site. If it is "
                              "right, the REST API is switched off there, often by a security plugin.",
                              url=shown(base)))

    @property
    def has_meta(self) -> bool:
        """Whether posts have our meta field."""
        if self._has_meta is None:
            try:
                schema: Any = self.call("OPTIONS", "posts")
            except (Refused, ItemRefused):
                schema = {}  # OPTIONS is forbidden: use the comment
            for name in ("schema", "properties", "meta", "properties"):
                schema = schema.get(name) if isinstance(schema, dict) else None
            self._has_meta = isinstance(schema, dict) and META in schema
        return self._has_meta


def plain(value: Any) -> str:
    """A name as people read it."""
    return " ".join(html.unescape(clean(value)).split())


def _root(url: str) -> str:
    """The REST root at the address that answered (a redirect may have led there)."""
    if "rest_route=" in url:
        return url.partition("rest_route=")[0] + "rest_route=/"
    return url.partition("?")[0].rstrip("/") + "/"


def _zone(index: dict) -> tzinfo:
    try:
        return ZoneInfo(clean(index.get("timezone_string")))
    except (ValueError, KeyError, OSError):
        pass
    try:
        return timezone(timedelta(hours=float(index.get("gmt_offset") or 0)))
    except (ValueError, TypeError, OverflowError):
        return UTC
