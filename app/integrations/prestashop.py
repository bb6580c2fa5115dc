"""PrestaShop's Webservice (1.7, 8 and 9): contents as products.

    fields_of -> find (by reference) or read (by id) -> create, or update -> Found, as the shop gives the product back

* A product is ours by its `reference`, the content's reference: it is the shop's own business key, it survives every
  edit of texts, and it can be searched. Two products with one reference are refused until a person ends it.
* A PUT replaces the whole product: it is read, changed where we want, freed of read-only fields and written whole.
  Then it is read again, because an answer to a PUT may be incomplete.
* A value that was changed between the comparison and the write is not overwritten: the item waits a second.
* Stock is in stock_availables, images are in images/products. Images are only added. Before each upload the ids of
  the images there are noted, so that after a kill the new one is recognised. Nothing is ever deleted but by `remove`.
* A product with state 0 is a form that somebody opened in the back office and never saved: it counts as none.

* The product, its stock and its images are written one after the other. Until all of a new one are there `making` is
  noted, so that a create which was cut off is completed (`missing` of Found).

Options: `stock` = ours (our quantity is written without asking when it changes here), `language` (ISO code for
columns without one), `shop` (id, in a multishop), `tax_rules_group` (id, for new products), `admin` (folder of the back
office).
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

from app.integrations.outside import ItemRefused, Limited, Outside, Unavailable
from app.integrations.prestashop_errors import Doubtful, Missing, NotWritable
from app.integrations.prestashop_fields import HTML, accepted, in_all_languages, listed, normal, unlisted, wanted
from app.integrations.prestashop_shop import Shop, number
from app.integrations.prestashop_tree import Categories, Images
from app.integrations.prestashop_xml import Element, associate, languages, legal, put, text
from app.integrations.remote import Article, Fields, Found, Item
from app.support.messages import Message

NEVER_SENT = frozenset({"manufacturer_name", "quantity", "position_in_category"})  # computed; 1.7 refuses position 0
NEW = {"state": "1", "product_type": "standard", "active": "0", "price": "0", "show_price": "1",
       "available_for_order": "1", "minimal_quantity": "1", "visibility": "both", "condition": "new"}
NAMES = {"category_default": "id_category_default"}  # what a field is called there
MOST_RETRIES = 5


class PrestaShop:
    """A shop: remote.Service. Every method raises ServiceError only."""

    name = "prestashop"

    def __init__(self, outside: Outside, options: dict[str, Any]) -> None:
        self._outside, self._options, self._shop = outside, options, Shop(outside, options)
        self._categories, self._images = Categories(self._shop), Images(self._shop, outside)
        self.one_way = frozenset({"quantity"} if options.get("stock") == "ours" else ())
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
        """The product with the item's reference; right after a create the oldest one. Raises ItemRefused when there are
        several, unless one is noted as ours."""
        ids = self._with_reference(item.reference)
        noted = item.notes.get("id", "")
        if len(ids) > 1 and noted not in ids:
            raise ItemRefused(Message(
                "The shop has %(n)s products with the reference %(reference)s (%(ids)s). Give each its own there.",
                n=len(ids), reference=item.reference, ids=", ".join(f"#{id}" for id in ids[:10])))
        if not ids:
            return None
        return self.read(noted if noted in ids and noted != self._made else ids[0], item)

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
        pictures = self._images.fetched(item, [])
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
        item.notes["making"] = "1"
        self._images.begin(item, [])
        try:
            id = number(self._save("POST", "products", product, item.fields).find("product"))
        except Doubtful:
            ids = self._with_reference(item.reference)
            if len(ids) != 1:
                raise
            id = ids[0]
        item.notes["id"] = self._made = id
        return self._rest(id, item.fields, item, pictures)

    def update(self, remote_id: str, changes: Fields, item: Item) -> Found:
        """Set the fields `changes` of a product. Raises Limited when one of them was changed there since it was
        read."""
        product = self._product(remote_id)
        seen, now = self._seen.get(remote_id, {}), self._found(product, item).fields
        if any(seen[name] != now.get(name) for name in changes if name in seen and name not in self.one_way):
            raise Limited(Message("Somebody changed product #%(id)s in the shop at this moment.", id=remote_id), 1.0)
        if "quantity" in changes and text(product, "associations/combinations"):
            raise ItemRefused(Message("Product #%(id)s has combinations, each with a quantity of its own: empty the "
                                      "column quantity.", id=remote_id))
        pictures = []
        if "images" in changes:
            pictures = self._images.fetched(item, self._images.ids(product))
            self._images.begin(item, self._images.ids(product))
        direct = {name: value for name, value in changes.items() if name not in ("quantity", "images")}
        if direct:
            self._apply(product, direct)
            try:
                self._save("PUT", f"products/{remote_id}", product, direct)
            except Doubtful:
                there = self._found(self._product(remote_id), item).fields
                if any(there.get(name) == now.get(name) != value for name, value in direct.items()):
                    raise
        return self._rest(remote_id, changes, item, pictures)

    def remove(self, remote_id: str) -> None:
        """Delete a product. The key needs the right DELETE on products for it."""
        with contextlib.suppress(Missing):
            self._shop.call("DELETE", f"products/{remote_id}", empty=True)

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

    def _rest(self, id: str, changes: Fields, item: Item, pictures: list[Any]) -> Found:
        if "quantity" in changes:
            for row in self._stock(id):
                if normal("quantity", text(row, "quantity")) != changes["quantity"]:
                    put(row, "quantity", changes["quantity"])
                    self._shop.save("PUT", f"stock_availables/{number(row)}", row)
        self._images.upload(id, item, pictures)
        self._images.end(item)
        return self._found(self._product(id), item)

    def _stock(self, id: str) -> list[Element]:
        """The records of a product's stock, without those of its combinations: one for each shop that keeps its own."""
        rows = self._shop.call("GET", "stock_availables", {
            "filter[id_product]": f"[{id}]", "filter[id_product_attribute]": "[0]", "display": "full"})
        found = [row for row in rows.iter("stock_available") if text(row, "id_product") == id
                 and text(row, "id_product_attribute") in ("", "0")]
        if not found:
            raise ItemRefused(Message("The shop keeps no stock of product #%(id)s.", id=id))
        return found

    def _found(self, product: Element, item: Item) -> Found:
        """The product as Found, with the fields that the item sets."""
        id, (isos, _default) = number(product), self._shop.languages()
        fields: Fields = {}
        for key in item.fields:
            name, _, iso = key.partition(".")
            if iso:
                value = languages(product.find(name)).get(isos.get(iso, ""), "")
                fields[key] = value if name in HTML else " ".join(value.split())
            elif name == "quantity":
                rows = [normal(name, text(row, name)) for row in self._stock(id)]
                fields[key] = "/".join(dict.fromkeys(rows))  # "3/5" when shops differ
            elif name == "images":
                fields[key] = listed(self._images.named(product, item))
            elif name == "categories":
                ids = [text(member, "id") for member in product.findall("associations/categories/category")]
                fields[key] = listed(sorted(self._categories.paths(ids)))
            elif name == "category_default":
                fields[key] = next(iter(self._categories.paths([text(product, "id_category_default")])), "")
            else:
                fields[key] = normal(name, text(product, name))
        self._seen[id] = fields
        missing = {"quantity"} if "making" in item.notes and fields.get("quantity") == "0" else set()
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
