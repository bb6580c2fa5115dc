"""The page of a link: in a conflict both sides and the last common text, field by field, with what differs marked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.extensions import db
from app.models import Content, SyncLink
from app.services.content import decisions
from app.services.content.link_views import LinkView, view
from app.services.content.text_diff import Piece, differences
from app.support.clock import when
from app.support.validation import stored_object

MOST_CHARS = 20_000  # characters of a field


@dataclass(frozen=True)
class FieldView:
    """A field of a conflict: ours, theirs and the last common text. Parts that differ from the last common text (from
    the other side, when there is none) are marked, unless `compared` is False. `cut`: more than 20,000 characters.
    `conflict`: changed there; `both`: changed here too."""

    name: str
    conflict: bool
    both: bool
    ours: tuple[Piece, ...]
    theirs: tuple[Piece, ...]
    base: str | None
    compared: bool
    cut: bool


@dataclass(frozen=True)
class LinkPage:
    """The page of a link: the fields that differ, those in conflict first, and how many are the same on both sides."""

    link: LinkView
    title: str
    updated_at: datetime
    fields: tuple[FieldView, ...]
    same: int
    choices: tuple[str, ...]


def link_page(number: int) -> LinkPage | None:
    """The page of a link; None when there is none of this number."""
    row = db.session.get(SyncLink, number) if 0 < number < 2**62 else None
    content = row and db.session.get(Content, row.content_id)
    if row is None or content is None:
        return None
    ours, theirs, base = (_fields(text) for text in (row.ours or row.sent, row.theirs, row.base))
    names = sorted(ours or theirs) if row.theirs else []  # the service has other fields too, which we never set
    fields = [_field(name, ours.get(name, ""), theirs.get(name, ""), base.get(name)) for name in names
              if ours.get(name, "") != theirs.get(name, "")]
    fields.sort(key=lambda field: not field.conflict)
    return LinkPage(view(row, content.updated_ms), content.title, when(content.updated_ms), tuple(fields),
                    len(names) - len(fields), decisions.of(row.state))


def _fields(text: str | None) -> dict[str, str]:
    return {name: value if isinstance(value, str) else str(value) for name, value in stored_object(text).items()}


def _field(name: str, ours: str, theirs: str, base: str | None) -> FieldView:
    cut = max(len(ours), len(theirs), len(base or "")) > MOST_CHARS
    ours, theirs, last = ours[:MOST_CHARS], theirs[:MOST_CHARS], None if base is None else base[:MOST_CHARS]
    if last is None:
        theirs_parts, ours_parts, compared = differences(theirs, ours)
    else:
        _before, ours_parts, one = differences(last, ours)
        _before, theirs_parts, other = differences(last, theirs)
        compared = one and other
    return FieldView(name, theirs != last, theirs != last != ours, ours_parts, theirs_parts, last, compared, cut)
