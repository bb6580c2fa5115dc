"""A dispatch that may be sent again, after a lost answer: the same key of the same person gives the same job.

key -> the first 60 bits of the uuid, what is asked -> the other 62: the job itself is the record of its key
While a job is kept (live, finished, in the bin) a second dispatch finds it by its first digits, and by the others
whether the same is asked. So there is nothing beside it to write, to sweep and to lose.
"""

from __future__ import annotations

import hashlib
import json
import uuid as uuids
from typing import Any

from sqlalchemy import select

from app.extensions import db
from app.models import User
from app.registry import JobDefinition
from app.services.audit import ActionRefused
from app.services.jobs import actions, lookup
from app.support.messages import translate as _
from app.support.validation import ValidationError, check_line, parse_uuid

MOST_KEY, START = 255, 18  # characters: of a key; of the part of a uuid that comes from it


def parse_key(text: str) -> str:
    """A key, 1 to 255 characters in one line. Raises ValidationError."""
    key = check_line(text).strip()
    if not 1 <= len(key) <= MOST_KEY:
        raise ValidationError(_("The key has 1 to %(n)s characters.", n=MOST_KEY))
    return key


def uuid_of(user_id: int, key: str, asked: Any) -> str:
    """The uuid of version 8 of the job that `asked` (JSON) with this key makes."""
    first = hashlib.sha256(f"{user_id} {key}".encode()).digest()[:8]
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    rest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8]
    number = int.from_bytes(first + rest)
    return str(uuids.UUID(int=number & ~(0xF << 76 | 0x3 << 62) | 0x8 << 76 | 0x2 << 62))


def start(definition: JobDefinition, args: dict[str, Any], actor: str, user_id: int, key: str, asked: Any,
          **options: Any) -> tuple[str, bool]:
    """As `actions.start`, once for each key: (uuid, whether the job was there already). `asked` is what was sent.
    Raises ActionRefused when another job was asked with this key, and the errors of `dispatch`."""
    uuid = uuid_of(user_id, key, asked)
    # On PostgreSQL those who come with the same key wait here; on SQLite the transaction has the write lock.
    db.session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    found = parse_uuid(lookup.called(uuid[:START]))
    if found is None:
        return actions.start(definition, args, actor, uuid=uuid, **options), False
    db.session.rollback()
    if found != uuid:
        raise ActionRefused(_("This Idempotency-Key was sent with another job, %(id)s.", id=found))
    return uuid, True
