"""Categories of a shop.

A category is a path below the home category, "Shoes > Running", in the shop's default language. Names are compared
without case. What is missing is made, parent first; children are asked for right before, so that two jobs hardly make
one twice.
"""

from __future__ import annotations

import re

from app.integrations.prestashop_build import put
from app.integrations.prestashop_errors import Doubtful
from app.integrations.prestashop_fields import slug
from app.integrations.prestashop_shop import Shop, number
from app.integrations.prestashop_xml import Element, languages, text

SHOWN, HOME, DEEPEST = "[id,id_parent,name]", "2", 20


class Categories:
    """The tree of categories, as far as it was needed."""

    def __init__(self, shop: Shop) -> None:
        self._shop, self._home = shop, ""
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
        open_ids = set(ids := [id for id in ids if re.fullmatch(r"[1-9][0-9]{0,17}", id)])
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
        parent, names = self._known[id][0], [self._known[id][1]]
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


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()
