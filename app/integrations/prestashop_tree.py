"""Categories and images of a shop.

A category is a path below the home category, "Shoes > Running", in the shop's default language. Names are compared
without case. What is missing is made, parent first; children are asked for right before, so that two jobs hardly make
one twice.

An image is the address that it was uploaded from. Its id there is noted as `image:URL`; images of others are "#id".
`image?` notes an upload that is on its way with the ids before it: the first new id is that image. `images?` notes the
ids before the first upload, until all are there.
"""

from __future__ import annotations

import json
import re

from app.integrations.images import Image, download
from app.integrations.outside import ItemRefused, Outside, Unavailable, shown
from app.integrations.prestashop_errors import Doubtful
from app.integrations.prestashop_fields import slug, unlisted
from app.integrations.prestashop_shop import Shop, number
from app.integrations.prestashop_xml import Element, languages, put, text
from app.integrations.remote import Item
from app.support.messages import Message

SHOWN = "[id,id_parent,name]"
HOME, DEEPEST = "2", 20
MOST_IMAGES_BYTES = 64 << 20
PENDING, BEFORE, MAKING = "image?", "images?", "making"
Picture = tuple[str, Image]  # address, image


class Categories:
    """The tree of categories, as far as it was needed."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._home = ""
        self._known: dict[str, tuple[str, str]] = {}  # id: (id of the parent, name)
        self._by_path: dict[str, str] = {}

    def home(self) -> str:
        """The id of the home category, which all others stand below."""
        if not self._home:
            found = self._list({"filter[is_root_category]": "[1]"})
            self._home = min(found, key=int) if found else HOME
        return self._home

    def paths(self, ids: list[str]) -> list[str]:
        """The paths of categories; the home category by its name. Ids that do not exist are left out."""
        self.home()
        ids = [id for id in ids if re.fullmatch(r"[1-9][0-9]{0,17}", id)]
        open_ids = set(ids)
        for _round in range(DEEPEST):
            if unknown := sorted(id for id in open_ids if id not in self._known):
                self._list({"filter[id]": f"[{'|'.join(unknown)}]"})
            open_ids = {self._known[id][0] for id in open_ids if id in self._known and id != self._home}
            open_ids -= {"0", "", self._home}
            if not open_ids:
                break
        return [self._path(id) for id in ids if id in self._known]

    def id(self, path: str) -> str:
        """The id of the category at a path, which is made when there is none."""
        if path not in self._by_path:
            above, _, name = path.rpartition(" > ")
            parent = self.id(above) if above else self.home()
            found = self._child(parent, name)
            if not found and not above and _same(self._known.get(parent, ("", ""))[1], name):
                found = parent
            self._by_path[path] = found or self._make(parent, name)
        return self._by_path[path]

    def _path(self, id: str) -> str:
        names = [self._known[id][1]]
        parent = self._known[id][0]
        while id != self._home and parent in self._known and parent != self._home and len(names) < DEEPEST:
            names.append(self._known[parent][1])
            parent = self._known[parent][0]
        return " > ".join(reversed(names))

    def _child(self, parent: str, name: str) -> str:
        below = self._list({"filter[id_parent]": f"[{parent}]"})
        found = [id for id in below if self._known[id][0] == parent and _same(self._known[id][1], name)]
        return min(found, key=int) if found else ""

    def _make(self, parent: str, name: str) -> str:
        category, langs = Element("category"), self._shop.language_ids()
        put(category, "id_parent", parent)
        put(category, "active", "1")
        put(category, "name", dict.fromkeys(langs, name))
        put(category, "link_rewrite", dict.fromkeys(langs, slug(name)))
        try:
            id = number(self._shop.save("POST", "categories", category).find("category"))
        except Doubtful:
            id = self._child(parent, name)
            if not id:
                raise
        self._known[id] = (parent, name)
        return id

    def _list(self, params: dict[str, str]) -> list[str]:
        """Ids of the categories that a filter finds; each is known from then on."""
        lang, ids = self._shop.language_ids()[0], []
        for category in self._shop.call("GET", "categories", params | {"display": SHOWN}).iter("category"):
            id, names = number(category), languages(category.find("name"))
            name = names.get(lang) or next(filter(None, names.values()), "") or text(category, "name")
            self._known[id] = (text(category, "id_parent"), " ".join(name.split()))
            ids.append(id)
        return ids


class Images:
    """The images of products."""

    def __init__(self, shop: Shop, outside: Outside) -> None:
        self._shop, self._outside = shop, outside

    def ids(self, product: Element) -> list[str]:
        """Ids of the images of a product, in the order of the shop."""
        return [id for member in product.findall("associations/images/image")
                if re.fullmatch(r"[0-9]{1,18}", id := text(member, "id"))]

    def named(self, product: Element, item: Item) -> list[str]:
        """The images of a product: the address for those of ours, "#id" for others. An upload whose answer was lost
        gets its note here."""
        ids = self.ids(product)
        if PENDING in item.notes:
            pending = json.loads(item.notes[PENDING])
            if new := [id for id in ids if id not in pending["ids"]]:
                self._note(item, pending["url"], new[0])
        urls = {id: name.removeprefix("image:") for name, id in item.notes.items() if name.startswith("image:")}
        return [urls.get(id, f"#{id}") for id in ids]

    def begin(self, item: Item, ids: list[str]) -> None:
        """Note, durably, the images `ids` that the product has before ours are added."""
        item.notes.setdefault(BEFORE, json.dumps(ids))
        item.keep()

    def cut_off(self, item: Item, ids: list[str]) -> bool:
        """Whether images were being added, and nobody else has changed the images, which are `ids` now."""
        before = set(json.loads(item.notes[BEFORE])) if BEFORE in item.notes else None
        ours = {id for name, id in item.notes.items() if name.startswith("image:")}
        return before is not None and before <= set(ids) <= before | ours

    def end(self, item: Item) -> None:
        """Note that nothing is on its way any more."""
        for name in (BEFORE, MAKING):
            item.notes.pop(name, None)

    def fetched(self, item: Item, ids: list[str]) -> list[Picture]:
        """The wanted images that are not among the images `ids` of the product, downloaded. Raises ItemRefused."""
        pictures: list[Picture] = []
        for url in unlisted(item.fields.get("images", "")):
            if item.notes.get(f"image:{url}") not in ids:
                pictures.append((url, download(url, self._outside.private)))
            if sum(len(image.content) for _, image in pictures) > MOST_IMAGES_BYTES:
                raise ItemRefused(Message("The images of the column image have more than %(n)s MB together.",
                                          n=MOST_IMAGES_BYTES >> 20))
        return pictures

    def upload(self, product_id: str, item: Item, pictures: list[Picture]) -> None:
        """Add images to a product, each at most once."""
        for url, image in pictures:
            before = self._now(product_id)
            item.notes[PENDING] = json.dumps({"url": url, "ids": before})
            item.keep()
            new, doubt = "", None
            try:
                answer = self._shop.call("POST", f"images/products/{product_id}",
                                         files={
                    "image": (f"{slug(item.reference)}.{image.ending}", image.content, image.type)})
                new = text(answer, "image/id")
            except Doubtful as error:  # some versions answer with the image itself: the product tells if it has it
                doubt = error
            except ItemRefused as error:
                del item.notes[PENDING]
                item.keep()
                raise ItemRefused(Message("The shop does not take the image %(url)s. %(why)s", url=shown(url),
                                          why=error.args[0])) from None
            if not re.fullmatch(r"[0-9]{1,18}", new) or new in before:
                new = next((id for id in self._now(product_id) if id not in before), "")
            if not new:
                raise doubt or Unavailable(Message("The shop answers well, but the product has no image %(url)s.",
                                                   url=shown(url)), sent=True)
            self._note(item, url, new)

    def _now(self, product_id: str) -> list[str]:
        product = self._shop.call("GET", f"products/{product_id}").find("product")
        return [] if product is None else self.ids(product)

    def _note(self, item: Item, url: str, id: str) -> None:
        item.notes[f"image:{url}"] = id
        item.notes.pop(PENDING, None)
        item.keep()


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()
