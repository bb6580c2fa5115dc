"""Images of products.

An image is the address that it was uploaded from. Its id there is noted as `image:URL`; images of others are "#id".
`image?` notes an upload that is on its way with the ids before it: the first new id is that image. `images?` notes
the ids before the first upload, until all are there.
"""

from __future__ import annotations

import json
import re

from app.integrations.images import Image, download_all
from app.integrations.outside import Outside
from app.integrations.prestashop_errors import Doubtful
from app.integrations.prestashop_fields import slug, unlisted
from app.integrations.prestashop_shop import Shop
from app.integrations.prestashop_xml import Element, text
from app.integrations.remote import Item
from app.integrations.service_errors import ItemRefused, Unavailable
from app.integrations.site_urls import shown
from app.support.messages import Message

PENDING, BEFORE, MAKING = "image?", "images?", "making"
Picture = tuple[str, Image]  # address, image


class Images:
    """The images of products."""

    def __init__(self, shop: Shop, outside: Outside) -> None:
        self._shop, self._outside = shop, outside

    def ids(self, product: Element) -> list[str]:
        """Ids of the images of a product, in the order of the shop."""
        return [id for member in product.findall("associations/images/image")
                if re.fullmatch(r"[0-9]{1,18}", id := text(member, "id"))]

    def named(self, product: Element, item: Item) -> list[str]:
        """The images of a product: the address of ours, "#id" of others. Notes an upload whose answer was lost."""
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
        before = set(json.loads(item.notes.get(BEFORE, "[]")))
        ours = {id for name, id in item.notes.items() if name.startswith("image:")}
        return BEFORE in item.notes and before <= set(ids) <= before | ours

    def end(self, item: Item) -> None:
        """Note that nothing is on its way any more."""
        item.notes.pop(BEFORE, None)
        item.notes.pop(MAKING, None)

    def fetched(self, item: Item, there: str) -> list[Picture]:
        """The wanted images that the field `images` of the product, `there`, lacks, downloaded. Raises ItemRefused."""
        missing = [url for url in unlisted(item.fields.get("images", "")) if url not in unlisted(there)]
        return download_all(missing, self._outside.private)

    def upload(self, product_id: str, item: Item, pictures: list[Picture]) -> None:
        """Add images to a product, each at most once."""
        for url, image in pictures:
            before = self._now(product_id)
            item.notes[PENDING] = json.dumps({"url": url, "ids": before})
            item.keep()
            new, doubt = "", None
            try:
                file = f"{slug(item.reference)}.{image.ending}", image.content, image.type
                new = text(self._shop.call("POST", f"images/products/{product_id}", files={"image": file}), "image/id")
            except Doubtful as error:  # some versions answer with the image itself: the product tells if it has it
                doubt = error
            except ItemRefused as error:
                del item.notes[PENDING]
                item.keep()
                why = Message("The shop does not take the image %(url)s. %(why)s", url=shown(url), why=error.args[0])
                raise ItemRefused(why) from None
            if not re.fullmatch(r"[0-9]{1,18}", new) or new in before:
                new = next((id for id in self._now(product_id) if id not in before), "")
            if not new:
                why = Message("The shop answers well, but the product has no image %(url)s.", url=shown(url))
                raise doubt or Unavailable(why, sent=True)
            self._note(item, url, new)

    def _now(self, product_id: str) -> list[str]:
        product = self._shop.call("GET", f"products/{product_id}").find("product")
        return [] if product is None else self.ids(product)

    def _note(self, item: Item, url: str, id: str) -> None:
        item.notes[f"image:{url}"] = id
        item.notes.pop(PENDING, None)
        item.keep()
