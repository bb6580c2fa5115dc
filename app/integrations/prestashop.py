"""PrestaShop's Webservice (1.7, 8 and 9): contents as products.

    fields_of -> find (by reference) or read (by id) -> create, or update -> Found, as the shop gives the product back

* A product is ours by its `reference`, the content's reference: it is the shop's own business key, it survives every
  edit of texts, and it can be searched. Two products with one reference are refused until a person ends it.
* A PUT replaces the whole product: it is read, changed where we want, freed of read-only fields and written whole.
  Then it is read again, because an answer to a PUT may be incomplete. Images are downloaded and categories made before
  that first read, which takes minutes: nothing that people save meanwhile is put back.
* A value that was changed between the comparison and the write is not overwritten: the item waits a second.
* Stock is in stock_availables, images are in images/products. Images are only added. Before each upload the ids of
  the images there are noted, so that after a kill the new one is recognised. Nothing is ever deleted but by `remove`,
  which switches the product off when the key may not delete.
* A product with state 0 is a form that somebody opened in the back office and never saved: it counts as none.

* The product, its stock and its images are written one after the other. Until all of a new one are there `making` is
  noted, so that a create which was cut off is completed (`missing` of Found).

Options: `stock` = ours (our quantity is written without asking when it changes here; else one that changed there only
is left, and one that changed on both sides is a conflict), `language` (ISO code for columns without one), `shop` (id,
in a multishop), `tax_rules_group` (id, for new products), `admin` (folder of the back office).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Any

from app.integrations.outside import Outside
from app.integrations.prestashop_build import associate, put
from app.integrations.prestashop_categories import Categories
from app.integrations.prestashop_errors import Doubtful, Missing, NotWritable
from app.integrations.prestashop_fields import HTML, accepted, in_all_languages, listed, normal, unlisted, wanted
from app.integrations.prestashop_images import MAKING, Images, Picture
from app.integrations.prestashop_shop import Shop, number
from app.integrations.prestashop_stock import Stock, changed
from app.integrations.prestashop_xml import Element, languages, legal, text
from app.integrations.remote import Article, Fields, Found, Item
from app.integrations.service_errors import ItemRefused, Refused, Unavailable
from app.support.messages import Message

NEVER_SENT = frozenset({"manufacturer_name", "quantity", "position_in_category"})  # computed; 1.7 refuses position 0
NEW = {"state": "1", "product_type": "standard", "active": "0", "price": "0", "show_price": "1",
       "available_for_order": "1", "minimal_quantity": "1", "visibility": "both", "condition": "new"}
NAMES = {"category_default": "id_category_default"}  # what a field is called there
BLANKS = {"quantity": frozenset("0"), "price": frozenset("0"), "weight": frozenset("0")}  # as nobody has set them
MOST_RETRIES = 5


class PrestaShop:
    """A shop: remote.Service. Every method raises ServiceError only."""

    name = "prestashop"

    def __init__(self, outside: Outside, options: dict[str, Any]) -> None:
        self._outside, self._options, self._shop = outside, options, Shop(outside, options)
        self._categories, self._images = Categories(self._shop), Images(self._shop, outside)
        self._stock = Stock(self._shop)
        stock = frozenset({"quantity"})
        self.one_way, self.lenient = (stock, frozenset()) if options.get("stock") == "ours" else (frozenset(), stock)
        self.blanks: dict[str, frozenset[str]] = dict(BLANKS)  # and the home category, once it is known
        self._refused: set[str] = set()
        self._made = ""
        self._seen: dict[str, Fields] = {}

    def check(self) -> str:
        """Look for the rights of the key and the languages of the shop. Raises Refused when a right is missing."""
        return self._shop.check()

    def fields_of(self, article: Article, options: dict[str, Any]) -> Fields:
        """What a content sets; see prestashop_fields.py for the columns."""
        isos, default = self._shop.languages()
        return wanted(article, isos, default, self._shop.schema())

    def accept(self, found: Fields, article: Article) -> Article:
        """The content with the fields of the product."""
        return accepted(found, self.fields_of(article, {}), article, self._shop.languages()[1])

    def find(self, item: Item) -> Found | None:
        """The product with the item's reference. Of several it is the one that is noted as ours. Right after a create,
        and while one of ours is not over, it is the oldest one: two claims made them. Else raises ItemRefused."""
        ids = self._with_reference(item.reference)
        noted = item.notes.get("id", "")
        if len(ids) > 1 and noted not in ids and MAKING not in item.notes:
            raise ItemRefused(Message(
                "The shop has %(n)s products with the reference %(reference)s (%(ids)s). Give each its own there.",
                n=len(ids), reference=item.reference, ids=", ".join(f"#{id}" for id in ids[:10])))
        if not ids:
            return None
        if noted not in ids:
            noted = ids[0]
        elif noted == self._made != ids[0]:
            item.notes["id"] = noted = ids[0]
            item.keep()
        return self.read(noted, item)

    def read(self, remote_id: str, item: Item) -> Found | None:
        """The product with this id; None when it was deleted or is a form that was never saved (state 0)."""
        try:
            product = self._product(remote_id)
        except Missing:
            return None
        return self._found(product, item) if text(product, "state") != "0" else None

    def create(self, item: Item) -> Found:
        """A new product with all fields of the item; then its stock and images. Without the column `active` it is not
        shown: a person puts it on sale."""
        schema, (isos, default) = self._shop.schema(), self._shop.languages()
        if not any(name.startswith("name.") for name in item.fields):
            raise ItemRefused(Message("A new product needs a name: fill the column title or name."))
        if item.fields.get("active") == "1" and item.fields.get("price", "0") == "0":
            raise ItemRefused(Message("A new product that is put on sale needs a price: fill the column price, or set "
                                      "active to 0."))
        pictures = self._images.fetched(item, "")
        product = Element("product")
        first = {"reference": legal(item.reference)} | NEW
        if group := str(self._options.get("tax_rules_group") or ""):
            first["id_tax_rules_group"] = group
        for name, value in first.items():
            if schema.knows(name):
                put(product, name, value)
        texts = in_all_languages(item.fields, isos, default)
        home = self._categories.home()
        self._apply(product, {"category_default": "", "categories": ""} | item.fields | texts, home)
        first_try, item.notes[MAKING] = MAKING not in item.notes, "1"
        self._images.begin(item, [])
        try:
            id = number(self._save("POST", "products", product, item.fields).find("product"))
        except Doubtful:
            ids = self._with_reference(item.reference)
            if len(ids) != 1:
                raise
            id = ids[0]
        except (ItemRefused, Refused):
            if first_try:  # nothing is on its way: a product that people make from now on is theirs
                self._images.end(item)
                item.keep()
            raise
        item.notes["id"] = self._made = id
        return self._rest(id, item.fields, item, pictures)

    def update(self, remote_id: str, changes: Fields, item: Item) -> Found:
        """Set the fields `changes` of a product. Raises Limited when one of them was changed there since it was
        read."""
        seen = self._seen.get(remote_id, {})
        pictures = self._images.fetched(item, seen.get("images", "")) if "images" in changes else []
        for path in (*unlisted(changes.get("categories", "")), changes.get("category_default")):
            if path:
                self._categories.id(path)
        product = self._product(remote_id)  # no request between this one and the PUT, unless people are at it
        now = self._values(product, [name for name in changes if name != "quantity"], item)
        if any(seen.get(name, value) != value for name, value in now.items()):
            raise changed(remote_id)
        if "quantity" in changes and text(product, "associations/combinations"):
            raise ItemRefused(Message("Product #%(id)s has combinations, each with a quantity of its own: empty the "
                                      "column quantity.", id=remote_id))
        direct = {name: value for name, value in changes.items() if name not in ("quantity", "images")}
        if direct:
            self._apply(product, direct)
            try:
                self._save("PUT", f"products/{remote_id}", product, direct)
            except Doubtful:
                there = self._values(self._product(remote_id), direct, item)
                if any(there[name] == now[name] != value for name, value in direct.items()):
                    raise
        if "images" in changes:
            self._images.begin(item, self._images.ids(product))
        return self._rest(remote_id, changes, item, pictures, seen.get("quantity"))

    def remove(self, remote_id: str) -> str:
        """Delete a product that we made a moment ago and that exists twice. A key without the right DELETE on products
        switches it off and takes its reference away; returns a sentence for people then, else ""."""
        with contextlib.suppress(Missing):
            try:
                self._shop.call("DELETE", f"products/{remote_id}", empty=True)
            except Refused:
                return self._switch_off(remote_id)
        return ""

    def close(self) -> None:
        """End the connection."""
        self._outside.__exit__()

    # ---- parts ----------------------------------------------------------------------------------------------------

    def _with_reference(self, reference: str) -> list[str]:
        """Ids of the products with exactly this reference, the oldest first.

        A filter is a pattern: [a|b] is a list, [1,2] a range, and a value with other brackets filters nothing. So a
        reference with such signs is asked for by its longest part without brackets, and all answers are compared.
        """
        reference, state = legal(reference), ",state" if self._shop.schema().knows("state") else ""
        pattern = reference if "|" in reference or "," in reference else f"[{reference}]"
        if "[" in reference or "]" in reference:
            pattern = f"%[{max(re.split(r'[][]', reference), key=len)}]%"
        found = self._shop.call("GET", "products", {
            "filter[reference]": pattern, "display": f"[id,reference{state}]"}).iter("product")
        ids = [number(product) for product in found
               if text(product, "reference") == reference and text(product, "state") != "0"]
        return sorted(set(ids), key=int)

    def _product(self, id: str) -> Element:
        product = self._shop.call("GET", f"products/{id}").find("product")
        if product is None or number(product) != id:
            raise Unavailable(Message("The shop answers with something else than product #%(id)s.", id=id))
        return product

    def _switch_off(self, id: str) -> str:
        product, off = self._product(id), {"active": "0", "reference": ""}
        older = ", ".join(f"#{other}" for other in self._with_reference(text(product, "reference")) if other != id)
        self._apply(product, off)
        self._save("PUT", f"products/{id}", product, off)
        return Message("Product #%(id)s was made at the same time as %(older)s, and the key may not delete it. It is "
                       "switched off and has no reference: delete it there.", id=id, older=older or "?")

    def _save(self, method: str, resource: str, product: Element, ours: Fields) -> Element:
        """POST or PUT a product whole. A field that the shop calls not writable is left out from then on, unless it is
        one of `ours`."""
        names = {"id", *(NAMES.get(name, name.partition(".")[0]) for name in ours)}
        for _attempt in range(MOST_RETRIES):
            without = NEVER_SENT | self._shop.schema().read_only | self._refused - names
            try:
                return self._shop.save(method, resource, product, without)
            except NotWritable as error:
                if error.field in names | without:
                    raise
                self._refused.add(error.field)
        raise ItemRefused(Message("The shop refuses too many fields as not writable."))

    def _apply(self, product: Element, changes: Fields, home: str = "") -> None:
        """Set the fields of a product, but stock and images. `home` is the category of a new product without any."""
        isos, _default = self._shop.languages()
        for key, value in changes.items():
            name, _, iso = key.partition(".")
            if iso and iso in isos:
                put(product, name, {isos[iso]: value})
            elif name == "categories":
                ids = [self._categories.id(path) for path in unlisted(value)]
                associate(product, "categories", "category", ids or ([home] if home else []))
            elif name == "category_default":
                put(product, "id_category_default", self._categories.id(value) if value else home)
            elif name not in ("quantity", "images"):
                put(product, name, value)

    def _rest(self, id: str, changes: Fields, item: Item, pictures: list[Picture], seen: str | None = None) -> Found:
        if "quantity" in changes:
            self._stock.write(id, changes["quantity"], None if self.one_way else seen)
        self._images.upload(id, item, pictures)
        self._images.end(item)
        return self._found(self._product(id), item)

    def _values(self, product: Element, names: Iterable[str], item: Item) -> Fields:
        """The fields `names` of a product."""
        isos, fields = self._shop.languages()[0], Fields()
        for key in names:
            name, _, iso = key.partition(".")
            if iso:
                value = languages(product.find(name)).get(isos.get(iso, ""), "")
                fields[key] = value if name in HTML else " ".join(value.split())
            elif name == "quantity":
                fields[key] = self._stock.quantity(number(product))
            elif name == "images":
                fields[key] = listed(self._images.named(product, item))
            elif name == "categories":
                ids = [text(member, "id") for member in product.findall("associations/categories/category")]
                fields[key] = listed(sorted(self._categories.paths(ids)))
                home = self._categories.paths([self._categories.home()])
                self.blanks |= {name: frozenset([listed(home)]), "category_default": frozenset(home)}
            elif name == "category_default":
                fields[key] = next(iter(self._categories.paths([text(product, "id_category_default")])), "")
            else:
                fields[key] = normal(name, text(product, name))
        return fields

    def _found(self, product: Element, item: Item) -> Found:
        """The product as Found, with the fields that the item sets."""
        id, fields = number(product), self._values(product, item.fields, item)
        self._seen[id] = fields
        missing = {"quantity"} if MAKING in item.notes and fields.get("quantity") == "0" else set()
        if "images" in fields and self._images.cut_off(item, self._images.ids(product)):
            missing.add("images")
        missing = {name for name in missing if fields[name] != item.fields[name]}
        if not missing:
            self._images.end(item)
        added = text(product, "date_add")
        admin = str(self._options.get("admin") or "").strip("/")
        edit = f"/{admin}/index.php?controller=AdminProducts&id_product={id}&updateproduct"
        return Found(id, f"{self._shop.base}/index.php?controller=product&id_product={id}",
                     self._shop.base + edit if admin else "", fields,
                     untouched=bool(added) and added == text(product, "date_upd"), missing=frozenset(missing))
