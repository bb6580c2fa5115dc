"""What a post of WordPress points to: categories and tags by name, and its image. Made when there is none.

    name -> search by name, as WordPress stores it (&amp;) -> else create; a refusal that it exists carries its id
    URL of an image -> note of the content -> else download -> media with the digest of its bytes in the slug -> else
    upload, and a note: a kill before the note uploads nothing twice
"""

from __future__ import annotations

import hashlib
import html
import re
from typing import Any

from app.integrations import images, wordpress_text as texts
from app.integrations.remote import Item
from app.integrations.wordpress_answers import whole
from app.integrations.wordpress_api import Api, plain
from app.integrations.wordpress_errors import Exists, Missing, odd

PAGE = 100  # the most that WordPress lists


class Terms:
    """Categories and tags of a site; a taxonomy is `categories` or `tags`. Each is asked for once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._ids: dict[tuple[str, str], int] = {}
        self._names: dict[tuple[str, int], str] = {}

    def id_of(self, taxonomy: str, name: str) -> int:
        """The id of a category or tag, which is made when there is none of this name."""
        known = taxonomy, name.casefold()
        if known not in self._ids:
            stored = html.escape(name, quote=False)  # as WordPress stores it
            rows = self._api.call("GET", taxonomy, list, search=stored, per_page=PAGE, _fields="id,name,parent")
            alike = [(plain(row.get("name")) != name, whole(row.get("parent")) or 0, number) for row in rows
                     if isinstance(row, dict) and (number := whole(row.get("id")))
                     and plain(row.get("name")).casefold() == known[1]]
            number = min(alike)[2] if alike else None
            if not alike:
                try:
                    number = whole(self._api.call("POST", taxonomy, what="term", json={"name": name}).get("id"))
                except Exists as exists:
                    number = exists.id
            if not number:
                raise odd(False)
            self._ids[known] = number
        return self._ids[known]

    def names(self, taxonomy: str, given: Any, item: Item) -> str:
        """The names of these ids as a field, spelled as the content does. A post without a category has category 1."""
        ids = [number for one in given if (number := whole(one))] if isinstance(given, list) else []
        unknown = [number for number in ids if (taxonomy, number) not in self._names]
        for start in range(0, len(unknown), PAGE):
            part = ",".join(map(str, unknown[start:start + PAGE]))
            for row in self._api.call("GET", taxonomy, list, include=part, per_page=PAGE, _fields="id,name"):
                if isinstance(row, dict) and (number := whole(row.get("id"))):
                    self._names[taxonomy, number] = plain(row.get("name"))
        spelled = {name.casefold(): name for name in texts.listed(item.fields[taxonomy])}
        found = [self._names[taxonomy, number] for number in ids if (taxonomy, number) in self._names]
        if taxonomy == "categories" and ids == [1] and not {name.casefold() for name in found} & spelled.keys():
            found = []
        return texts.as_json(texts.names([spelled.get(name.casefold(), name) for name in found]))


def image_id(api: Api, url: str, item: Item) -> int:
    """The id of an image in the site's media; it is uploaded once."""
    if not url or url.startswith("#"):
        return int(url[1:] or 0)
    note = f"image:{url}"
    if number := whole(item.notes.get(note)):
        try:
            api.call("GET", f"media/{number}", _fields="id")
            return number
        except Missing:
            del item.notes[note]  # deleted there
    image = images.download(url, api.outside.private)
    start = re.sub(r"[^a-z0-9]+", "-", (item.fields.get("slug") or item.reference).lower())[:60].strip("-")
    name = f"{start or 'image'}-{hashlib.sha256(image.content).hexdigest()[:12]}"
    rows = api.call("GET", "media", list, slug=name, _fields="id")
    number = next((whole(row.get("id")) for row in rows if isinstance(row, dict)), None)
    if number is None:  # with a title, for WordPress would take it from the image, and the slug from the title
        made = api.call("POST", "media", what="image", content=image.content, title=name, slug=name, headers={
            "Content-Type": image.type, "Content-Disposition": f'attachment; filename="{name}.{image.ending}"'})
        if (number := whole(made.get("id"))) is None:
            raise odd(True)
    item.notes[note] = str(number)
    item.keep()
    return number


def image_of(number: int, item: Item) -> str:
    """The image of a post as a field: the URL it was made of, else its number."""
    known = [name.removeprefix("image:") for name, value in item.notes.items()
             if name.startswith("image:") and value == str(number)]
    ours = item.fields.get("image", "")
    return "" if not number else ours if ours in known else known[0] if known else f"#{number}"
