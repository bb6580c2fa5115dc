"""One post of WordPress as Found, and the key in it.

    JSON of a post -> our key in its meta field or its body -> fields, only those that our item sets

`untouched` needs our key: a post without it may be of somebody else.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from app.integrations import wordpress_body as bodies, wordpress_fields as form, wordpress_text as texts
from app.integrations.remote import Found, Item
from app.integrations.wordpress_answers import clean, whole
from app.integrations.wordpress_api import META, Api
from app.integrations.wordpress_errors import Missing, odd
from app.integrations.wordpress_parts import Terms, image_of
from app.integrations.wordpress_slug import slug_of


class Posts:
    """Reads posts of one site. `seen`: those of the content at hand as they were read last, by id."""

    def __init__(self, api: Api) -> None:
        self._api, self.terms = api, Terms(api)
        self.seen: dict[str, dict] = {}

    def one(self, number: str | int, item: Item) -> dict | None:
        """A post, when it is there and carries no other key."""
        try:
            post = self._api.call("GET", f"posts/{quote(str(number), safe='')}", context="edit")
        except Missing:
            return None
        return post if key_of(post) in ("", item.key) else None

    def found(self, post: dict, item: Item, write: bool = False) -> Found:
        """A post as Found; `write`: it is the answer to a write of ours."""
        number, status = whole(post.get("id")), clean(post.get("status"))
        if number is None or not status:
            raise odd(write)
        made, changed = clean(post.get("date_gmt")), clean(post.get("modified_gmt"))
        fields = {"title": texts.line(raw(post, "title", write)), "body": bodies.unmarked(raw(post, "content", write)),
                  "excerpt": texts.text(raw(post, "excerpt", write)),
                  "slug": slug_of(clean(post.get("slug")), item, write or item.since is not None),
                  "date": f"{made}Z" if made else "", "status": form.status_of(status, item.fields.get("status"))}
        for taxonomy in {"categories", "tags"} & item.fields.keys():
            fields[taxonomy] = self.terms.names(taxonomy, post.get(taxonomy), item)
        if "image" in item.fields:
            fields["image"] = image_of(whole(post.get("featured_media")) or 0, item)
        url = clean(post.get("link"))
        edit = f"{self._api.site.admin}/wp-admin/post.php?post={number}&action=edit"
        # A draft without a date has the time of its last change as its date: nothing shows whether it was changed.
        untouched = bool(made) and made == changed and status in form.PUBLIC and _revisions(post) == 0
        ours = key_of(post) == item.key
        self.seen[str(number)] = post
        return Found(str(number), url if re.match(r"https?://", url) else "", edit,
                     {name: fields[name] for name in item.fields if name in fields}, ours and untouched,
                     status == "trash")


def meta_key(post: dict) -> str:
    """The key in the meta field of a post, or ""."""
    meta = post.get("meta")
    return clean(meta.get(META)) if isinstance(meta, dict) else ""


def key_of(post: dict) -> str:
    """The key that a post carries, or ""."""
    return meta_key(post) or (bodies.key_in(raw(post, "content")) if "content" in post else "")


def raw(post: dict, name: str, write: bool = False) -> str:
    """A field as it was written, which WordPress gives to those who may edit."""
    value = post.get(name)
    if not isinstance(value, dict) or not isinstance(value.get("raw"), str):
        raise odd(write)
    return clean(value["raw"])


def _revisions(post: dict) -> int | None:
    try:
        return int(post["_links"]["version-history"][0]["count"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None
