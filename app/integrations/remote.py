"""What a service that shows contents (WordPress, PrestaShop) must be able to do; services/content/sync.py decides.

A content is one item there: a post, a product. Its fields are texts by name, in a form in which the same value is the
same text on both sides (numbers without zeros at the end, lists as JSON, line ends as \\n). Only the fields that we
want to set are compared and sent; all others stay as they are there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

Fields = dict[str, str]


@dataclass(frozen=True)
class Article:
    """A content as it stands here. `attributes` are the other columns of its file, texts by name."""

    reference: str
    title: str
    body: str
    attributes: dict[str, str]


@dataclass
class Item:
    """What we want to stand there. `key` (24 hex digits) is ours and is kept on the item, so that a create whose answer
    was lost is found again; `since` (ms) is when that create began. `notes` is the memory of the service about this
    item (ids of uploaded images ...): it is stored when `keep` is called, durably, and after each item."""

    reference: str
    key: str
    fields: Fields
    notes: dict[str, str] = field(default_factory=dict)
    since: int | None = None
    keep: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Found:
    """An item as it stands there: its id, the address that people see, the address where they edit it, and its fields.

    `untouched`: nobody has changed it since it was created. `binned`: it lies in the bin of the service. `missing`:
    fields that a create, which was cut off, has not set yet; they are sent.
    """

    id: str
    url: str
    edit_url: str
    fields: Fields
    untouched: bool = False
    binned: bool = False
    missing: frozenset[str] = frozenset()


class Service(Protocol):
    """A connected service. Every method raises ServiceError (outside.py), whose text is a sentence."""

    name: str  # wordpress, prestashop
    one_way: frozenset[str]  # fields whose change there is no conflict: they are sent when they change here

    def check(self) -> str:
        """Make calls that need the rights of a sync; returns a sentence that says what was found."""

    def fields_of(self, article: Article, options: dict[str, Any]) -> Fields:
        """What we want to stand there; `options` are arguments of the job (`status` ...). Raises ItemRefused for a
        content that the service cannot take, with a sentence that names the column."""

    def find(self, item: Item) -> Found | None:
        """The item that has our key; the oldest one when there are several, and one in the bin only without others."""

    def accept(self, found: Fields, article: Article) -> Article:
        """The content with these fields of the service in place of its own, so that `fields_of` gives them again."""

    def read(self, remote_id: str, item: Item) -> Found | None:
        """The item with this id; None when there is none (any more)."""

    def create(self, item: Item) -> Found:
        """Create the item with all its fields."""

    def update(self, remote_id: str, changes: Fields, item: Item) -> Found:
        """Set these fields, and leave all others as they are."""

    def remove(self, remote_id: str) -> str | None:
        """Remove an item that this program has created a moment ago and that exists twice; a sentence when it can only
        be hidden."""

    def close(self) -> None:
        """End the connections."""
