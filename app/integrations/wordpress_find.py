"""Looks for the post of a content, of which only our key is known.

1. By the key: the meta field, and a search for the comment; also in the bin.
2. After a create whose answer was lost: the newest 100 posts of our user, for one with our slug (or title), made since
   then, and without another key.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from app.integrations import wordpress_text as texts
from app.integrations.remote import Found, Item
from app.integrations.service_errors import ItemRefused
from app.integrations.wordpress_answers import clean, whole
from app.integrations.wordpress_api import Api
from app.integrations.wordpress_errors import odd
from app.integrations.wordpress_parts import PAGE
from app.integrations.wordpress_post import Posts, key_of, raw

MOST_PAGES, SKEW = 100, timedelta(minutes=10)
_LISTED = "id,slug,status,title,date_gmt,modified_gmt,meta"


class Finder:
    """Looks for posts of one site; what it has listed is kept for the life of the object."""

    def __init__(self, api: Api, posts: Posts) -> None:
        self._api, self._posts = api, posts
        self._user = 0
        self._keys: dict[str, list[int]] | None = None  # posts by the key in their meta field

    def candidates(self, item: Item) -> list[Found]:
        """The posts that may be the item's; those in the bin only without others."""
        ways = [self._by_meta] if self._api.has_meta else []
        binned: list[Found] = []
        for way in (*ways, self._by_search, self._by_circumstance):
            found = [self._posts.found(post, item) for post in way(item)]
            if any(not post.binned for post in found):
                return found
            binned += found
        return binned

    def _list(self, **params: Any) -> list[dict]:
        """Posts that we may edit, also those in the bin, which `any` leaves out."""
        posts = self._api.call("GET", "posts", list, context="edit", status="any,trash", orderby="id", per_page=PAGE,
                           **params)
        if not all(isinstance(post, dict) and whole(post.get("id")) for post in posts):
            raise odd(False)
        return posts

    def _by_search(self, item: Item) -> list[dict]:
        return [post for post in self._list(search=item.key, order="asc") if key_of(post) == item.key]

    def _by_meta(self, item: Item) -> list[dict]:
        """By the meta field: the site may filter by it (README has the lines), else all posts are read once."""
        rows = self._list(order="desc", _fields=_LISTED, ainstein_key=item.key)
        ids = {whole(row["id"]) for row in rows if key_of(row) == item.key}
        if len(ids) < len(rows):
            if self._keys is None:
                self._keys = {key_of(row): [whole(row["id"]) or 0] for row in rows}
                for number in range(2, MOST_PAGES + 1 if len(rows) == PAGE else 2):
                    try:
                        more = self._list(order="desc", _fields=_LISTED, page=number)
                    except ItemRefused:  # there is no such page
                        break
                    for row in more:
                        self._keys.setdefault(key_of(row), []).append(whole(row["id"]) or 0)
                    if len(more) < PAGE:
                        break
            ids.update(self._keys.get(item.key, ()))
        return [post for number in sorted(filter(None, ids)) if (post := self._posts.one(number, item))]

    def _by_circumstance(self, item: Item) -> list[dict]:
        if item.since is None:
            return []
        earliest = (datetime.fromtimestamp(item.since / 1000, UTC) - SKEW).strftime("%Y-%m-%dT%H:%M:%S")
        ours = item.fields.get("slug")
        self._user = self._user or whole(self._api.call("GET", "users/me", _fields="id").get("id")) or 0
        rows = [row for row in self._list(order="desc", _fields=_LISTED, author=self._user)
                if clean(row.get("date_gmt")) >= earliest and (
                    texts.numbered(texts.slug(clean(row.get("slug"))), ours) if ours else
                    texts.line(raw(row, "title")) == item.fields.get("title"))]
        return [post for row in rows if (post := self._posts.one(row["id"], item))]
