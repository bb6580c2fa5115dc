"""Keeps forms that were sent when their session had ended, for an hour, to be shown again after signing in.

form without a session -> `keep` (without files and secrets) -> token in a cookie of the browser -> sign-in -> `find`
Rows are encrypted with a key of SECRET_KEY; the table has the token's hash only. Who had the ended session gets the
form; when that is not known, whoever signs in next with this browser. At most 200 forms are kept, each of 256 KB: the
oldest make room. Anybody can send one without a session, so those of unknown owners have 20 places of their own, and 20
a minute are written. What cannot be read any more (another key, too old) is none.
"""

from __future__ import annotations

import hashlib
import json
import secrets

from sqlalchemy import delete, func, select

from app.extensions import db, reading
from app.models import KeptForm
from app.support.clock import HOUR_MS, MINUTE_MS, now_ms
from app.support.sealing import box_for, broken
from app.support.secret_names import NONE, secret_kind

MOST, MOST_UNKNOWN, MOST_BYTES, KEEP_MS = 200, 20, 256 * 1024, HOUR_MS
UNKNOWN = "."  # the tokens of forms of unknown owners, and their hashes, begin with it
Fields = list[tuple[str, str]]


def without_secrets(fields: Fields) -> Fields:
    """The fields that may be kept or shown: no tokens of forms, no values under names of secrets."""
    return [(name, value) for name, value in fields if name != "csrf_token" and secret_kind(name) == NONE]


def keep(owner: str, path: str, fields: Fields) -> str | None:
    """Keep a form that was sent to `path`; returns its token, or None when it is too large, or one too many of unknown
    owners. `owner` is the e-mail address of whoever had the session, '' when that is not known."""
    sealed = box_for("kept forms").encrypt(json.dumps([owner, path, without_secrets(fields)]).encode())
    if len(sealed) > 2 * MOST_BYTES:
        return None
    token, now, unknown = secrets.token_urlsafe(32), now_ms(), KeptForm.token.startswith(UNKNOWN)
    if not owner:
        token = UNKNOWN + token
        with reading():
            lately = select(func.count()).where(unknown, KeptForm.created_ms.between(now - MINUTE_MS, now + MINUTE_MS))
            if db.session.scalar(lately) >= MOST_UNKNOWN:
                return None
    old = (select(KeptForm.token).where(~unknown if owner else unknown)
           .order_by(KeptForm.created_ms.desc(), KeptForm.token).offset((MOST if owner else MOST_UNKNOWN) - 1))
    expire(now)
    db.session.execute(delete(KeptForm).where(KeptForm.token.in_(list(db.session.scalars(old)))))
    db.session.add(KeptForm(token=_hash(token), path=path[:2000], body=sealed, created_ms=now))
    db.session.commit()
    return token


def expire(now: int) -> None:
    """Delete the forms that are kept no longer at `now` (ms), and those of the future, which a clock that was ahead has
    written; in the caller's transaction."""
    db.session.execute(delete(KeptForm).where(~KeptForm.created_ms.between(now - KEEP_MS, now + MINUTE_MS)))


def find(token: str | None, person: str) -> tuple[str, Fields] | None:
    """(path, fields) of the form of this token for a person; None when there is none, or it is another's."""
    row = db.session.get(KeptForm, _hash(token)) if token else None
    if row is None or not -MINUTE_MS <= now_ms() - row.created_ms <= KEEP_MS:
        return None
    try:
        owner, path, fields = json.loads(box_for("kept forms").decrypt(row.body))
    except broken():
        return None
    return (path, [(name, value) for name, value in fields]) if owner in ("", person) else None


def forget(token: str) -> None:
    """Delete the form of this token."""
    db.session.execute(delete(KeptForm).where(KeptForm.token == _hash(token)))
    db.session.commit()


def _hash(token: str) -> str:
    known, digest = not token.startswith(UNKNOWN), hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
    return digest if known else f"{UNKNOWN}{digest[1:]}"
