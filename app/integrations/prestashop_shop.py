"""The Webservice of a shop: its address, the rights of the key, its languages, and what a product is there.

    call -> /api/RESOURCE, or /webservice/dispatcher.php?url=RESOURCE where the server rewrites no addresses -> judged

What was learned is kept for the life of the object, which is one job.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Any

from app.integrations.answer import Answer
from app.integrations.outside import Outside
from app.integrations.prestashop_build import build
from app.integrations.prestashop_errors import Doubtful, judged, said, secret_forms
from app.integrations.prestashop_fields import Schema
from app.integrations.prestashop_xml import Element, text
from app.integrations.service_errors import ItemRefused, Refused, Unavailable
from app.support.messages import Message

RIGHTS = {"products": ("GET", "PUT", "POST"), "stock_availables": ("GET", "PUT"), "categories": ("GET", "POST"),
          "images": ("GET", "POST"), "languages": ("GET",)}


class Shop:
    """The calls to a shop. Every method raises ServiceError only."""

    def __init__(self, outside: Outside, options: dict[str, Any]) -> None:
        self._outside, self._options = outside, options
        self.base = outside.base.removesuffix("/api")
        self._hide = secret_forms(outside._auth[0])
        self._form = ""
        self._api: Element | None = None
        self._schema: Schema | None = None
        self._isos: dict[str, str] = {}
        self._default = ""

    def call(self, method: str, resource: str, params: dict[str, str] | None = None, body: bytes | None = None,
             files: Any = None, empty: bool = False) -> Element:
        """The <prestashop> of an answer; raises what `judged` raises. The first call finds the address of the API."""
        if self._api is None and resource:
            self._start()
        return judged(self._ask(method, resource, params, body, files), method, resource, self._hide, empty)

    def _ask(self, method: str, resource: str, params: dict[str, str] | None = None, body: bytes | None = None,
             files: Any = None) -> Answer:
        asked = dict(params or {})
        if shop := str(self._options.get("shop") or ""):
            asked["id_shop"] = shop
        url = f"{self.base}/api/{resource}"
        if self._form == "dispatcher":
            url, asked["url"] = f"{self.base}/webservice/dispatcher.php", resource
        headers = {"Accept": "application/xml"} | ({"Content-Type": "application/xml"} if body else {})
        return self._outside.request(method, url, params=asked or None, content=body, files=files, headers=headers)

    def _start(self) -> tuple[Element, str]:
        """(the list of resources that the key may use, the shop's version), from /api/ or the dispatcher behind it."""
        answer = self._ask("GET", "")
        if answer.status == 404 and not self._form and b"<prestashop" not in answer.body:
            self._form, first = "dispatcher", answer
            answer = self._ask("GET", "")
            if answer.status == 404 or answer.status < 300 and b"<prestashop" not in answer.body:
                self._form, answer = "", first
        if answer.status < 300 and b"<prestashop" not in answer.body:
            raise Refused(Message("%(url)s answers with a web page, not with the webservice of PrestaShop. Check the "
                                  "address, and that the shop is not closed to visitors.", url=f"{self.base}/api/"))
        root = judged(answer, "GET", "", self._hide)
        self._api = root.find("api") if root.find("api") is not None else root
        return self._api, said(answer.headers.get("psws-version", ""), self._hide, 40)

    def check(self) -> str:
        """Look for the rights of the key and the languages of the shop. Raises Refused when a right is missing."""
        api, version = self._start()
        missing = [f"{name} {' '.join(lacks)}" for name, methods in RIGHTS.items()
                   if (lacks := [method for method in methods if not _granted(api, name, method)])]
        if missing:
            raise Refused(Message("The key lacks rights: %(rights)s. Tick them in the back office: Advanced "
                                  "Parameters, Webservice.", rights=", ".join(missing)))
        isos, default = self.languages()
        product = self.schema()
        advice = "" if _granted(api, "products", "DELETE") else Message(
            "The right DELETE on products is missing: a product that two jobs made at once is then switched off, not "
            "deleted.")
        shop = said(api.get("shopName") or api.get("shop_name") or "", self._hide, 80)
        good = Message("The shop %(shop)s (PrestaShop %(version)s) gives all rights that a sync needs. Languages: "
                       "%(languages)s; columns without a language are %(default)s. A reference has at most %(n)s "
                       "characters.", shop=shop or self.base, version=version or "?",
                       languages=", ".join(sorted(isos)), default=default,
                       n=product.fields.get("reference", {}).get("maxsize", "64"))
        return Message("%(sentence)s %(said)s", sentence=good, said=advice) if advice else good

    def languages(self) -> tuple[dict[str, str], str]:
        """(id of each language by its ISO code, the ISO code of the default one, which is asked for once).

        The Webservice does not name the default language but in `configurations`, which a key may not be allowed to
        read; then it is the first active one.
        """
        if self._isos:
            return self._isos, self._default
        found = [(number(item), text(item, "iso_code").lower(), text(item, "active"))
                 for item in self.call("GET", "languages", {"display": "[id,iso_code,active]"}).iter("language")]
        isos = {iso: id for id, iso, _ in found if re.fullmatch(r"[a-z]{2,3}(?:[-_][a-z]{2})?", iso)}
        if not isos:
            raise Unavailable(Message("The shop names no language."))
        by_id = {id: iso for iso, id in isos.items()}
        default = str(self._options.get("language") or "").lower()
        if default and default not in isos:
            raise Refused(Message("The option language is %(iso)s, which the shop does not have; it has %(languages)s.",
                                  iso=default, languages=", ".join(sorted(isos))))
        if not default:
            with contextlib.suppress(Refused, ItemRefused):
                told = self.call("GET", "configurations", {"filter[name]": "PS_LANG_DEFAULT", "display": "[value]"})
                default = by_id.get(text(next(told.iter("configuration"), None), "value"), "")
        active = [iso for _id, iso, on in sorted(found, key=lambda one: int(one[0])) if on != "0" and iso in isos]
        self._isos, self._default = isos, default or (active or list(isos))[0]
        return self._isos, self._default

    def language_ids(self) -> list[str]:
        """Ids of all languages of the shop, the default one first."""
        isos, default = self.languages()
        return [isos[default], *(id for iso, id in isos.items() if iso != default)]

    def schema(self) -> Schema:
        """What the shop says of a product's fields."""
        if self._schema is None:
            product = self.call("GET", "products", {"schema": "synopsis"}).find("product")
            if product is None or not len(product):
                raise Unavailable(Message("The shop does not say which fields a product has."))
            self._schema = Schema(product)
        return self._schema

    def save(self, method: str, resource: str, entity: Element, without: Iterable[str] = ()) -> Element:
        """POST or PUT an entity whole, but for the fields `without`."""
        return self.call(method, resource, body=build(entity, without), empty=method == "PUT")


def number(element: Element | None) -> str:
    """The id of an entity: digits. Raises Doubtful when it has none."""
    id = text(element, "id") or (element.get("id", "") if element is not None else "")
    if not re.fullmatch(r"[0-9]{1,18}", id):
        raise Doubtful(Message("The shop answers with an entity without an id."), sent=True)
    return str(int(id))


def _granted(api: Element, resource: str, method: str) -> bool:
    found = api.find(resource)
    return found is not None and found.get(method.lower()) == "true"
