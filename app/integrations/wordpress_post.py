"""One post of WordPress as Found, and the key in it.

    JSON of a post -> our key in its meta field or its body -> fields, only those that our item sets

* The slug: WordPress adds a number to one that is taken. A note of the item has what we asked for and what it became;
  another one stands while a write that may do so is on its way, for a kill would lose the first. Any other number is
  somebody's own.
* `untouched` needs our key: a post without it may be of somebody else.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from app.integrations import wordpress_fields as form
from app.integrations.remote import Found, Item
from app.integrations.wordpress_api import META, Api
from app.integrations.wordpress_errors import Missing, clean, odd, whole
from app.integrations.wordpress_parts import Terms, image_of

SLUG, ASKED = "slug", "slug?"  # notes: "news news-2"; "news", on its way


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
        fields = {"title": form.line(raw(post, "title", write)), "body": form.unmarked(raw(post, "content", write)),
                  "excerpt": form.text(raw(post, "excerpt", write)),
                  "slug": _slug(clean(post.get("slug")), item, write or item.since is not None),
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
    return meta_key(post) or (form.key_in(raw(post, "content")) if "content" in post else "")


def may_number(item: Item) -> None:
    """Note, durably, that the write that comes next may give the slug a number."""
    if "slug" in item.fields:
        item.notes[ASKED] = item.fields["slug"]
        item.keep()


def _slug(theirs: str, item: Item, write: bool) -> str:
    """The slug as a field: what we asked for, when WordPress made theirs of it. `write`: we did just now, or it is not
    known whether our create was done."""
    theirs, ours = form.slug(theirs), item.fields.get("slug", "")
    if ours and theirs != ours and form.numbered(theirs, ours) and (write or item.notes.get(ASKED) == ours):
        item.notes[SLUG] = f"{ours} {theirs}"
    elif write:
        item.notes.pop(SLUG, None)
    if write:
        item.notes.pop(ASKED, None)
    asked, _, became = item.notes.get(SLUG, "").partition(" ")
    return asked if became and became == theirs else theirs


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
