"""The slug of a post, to which WordPress adds a number when it is taken.

A note of the item has what we asked for and what it became. Another note stands while a write that may do so is on its
way, for a kill would lose the first. Any other number is somebody's own: it is a change.
"""

from __future__ import annotations

from app.integrations.remote import Item
from app.integrations.wordpress_text import numbered, slug

SLUG, ASKED = "slug", "slug?"  # notes: "news news-2"; "news", on its way


def may_number(item: Item) -> None:
    """Note, durably, that the write that comes next may give the slug a number."""
    if "slug" in item.fields:
        item.notes[ASKED] = item.fields["slug"]
        item.keep()


def slug_of(theirs: str, item: Item, write: bool) -> str:
    """The slug as a field: what we asked for, when WordPress made theirs of it. `write`: we did just now, or it is not
    known whether our create was done."""
    theirs, ours = slug(theirs), item.fields.get("slug", "")
    if ours and theirs != ours and numbered(theirs, ours) and (write or item.notes.get(ASKED) == ours):
        item.notes[SLUG] = f"{ours} {theirs}"
    elif write:
        item.notes.pop(SLUG, None)
    if write:
        item.notes.pop(ASKED, None)
    asked, _, became = item.notes.get(SLUG, "").partition(" ")
    return asked if became and became == theirs else theirs
