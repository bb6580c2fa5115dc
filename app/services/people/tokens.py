"""Personal tokens, with which scripts use the JSON addresses in a person's name.

make -> the token is shown once; its row keeps the SHA-256, and the first 13 characters for people request -> `find` by
the hash -> `why_over` -> `note_use`, at most once a minute, in a transaction of its own A token is over when it is
revoked, when its time has passed and when its account is disabled. The form of a new password revokes all of them
unless that is unticked. On the page a new one takes the password, and a code when the second factor is on
(own.make_token): who has stolen a session cannot make one that stays.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import func, select, update

from app.extensions import db
from app.models import ApiToken
from app.services.audit import ActionRefused, commit_audited, refuse_unless, row_of
from app.services.people.attempts import digest, network_of
from app.services.people.sign_in import write_aside
from app.support.clock import DAY_MS, MINUTE_MS, day_of, iso, midnight, now_ms, when
from app.support.messages import Message, translate as _
from app.support.redaction import redact
from app.support.settings import settings
from app.support.validation import ValidationError, check_line

START, SHOWN = "ainj_", 13  # "ainj_" and 8 characters, which people see; 32 random bytes follow
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
SCOPES = ("read", "act", "dispatch")
DAYS = (7, 30, 90, 365)
MOST_DAYS, MOST_TOKENS, SEEN_EVERY_MS = 366, 50, MINUTE_MS


@dataclass(frozen=True)
class TokenView:
    """A token for people. `state` is active, expired or revoked; `used_from` is a network."""

    id: int
    email: str
    name: str
    prefix: str
    scopes: list[str]
    state: str
    created_at: datetime | None
    expires_at: datetime | None
    used_at: datetime | None
    used_from: str | None


def parse_name(text: str) -> str:
    """The name of a token, 1 to 80 characters in one line. Raises ValidationError, also for what looks like a secret:
    names stand in the log."""
    name = check_line(text).strip()
    if not 1 <= len(name) <= 80:
        raise ValidationError(_("Give the token a name of 1 to 80 characters."))
    if redact(name) != name:
        raise ValidationError(_("This looks like a secret. Name what the token is for."))
    return name


def parse_scopes(given: Collection[str], allowed: Collection[str]) -> list[str]:
    """Scopes in their order, at least one and each of `allowed`. Raises ValidationError."""
    if unknown := [text for text in given if text not in SCOPES]:
        known = ", ".join(SCOPES)
        raise ValidationError(_("Unknown scope %(name)s. Use %(known)s.", name=repr(unknown[0][:40]), known=known))
    if beyond := [text for text in given if text not in allowed]:
        raise ValidationError(_("The role does not have the scope %(name)s.", name=beyond[0]))
    if not given:
        raise ValidationError(_("Choose at least one scope."))
    return [scope for scope in SCOPES if scope in given]


def parse_expiry(text: str, now: int) -> int:
    """When a token ends (ms): a number of days from `now`, or the end of a day as 2026-12-31. Raises ValidationError
    for a time that is over or more than a year ahead."""
    text, zone = text.strip(), settings().timezone
    try:
        end = now + int(text) * DAY_MS if text.isascii() and text.isdigit() and len(text) < 5 else midnight(
            date.fromisoformat(text) + timedelta(days=1), zone)
    except (ValueError, OverflowError):
        raise ValidationError(_("Give a number of days, or a day as 2026-12-31.")) from None
    if not now < end <= midnight(day_of(now, zone) + timedelta(days=MOST_DAYS + 1), zone):
        raise ValidationError(_("A token ends after today and within a year."))
    return end


def make(user_id: int, email: str, name: str, scopes: list[str], expires_ms: int, actor: str) -> str:
    """Make a token of an account; returns it, which is the only time that it is known. Name, scopes and end are
    parsed. Raises ActionRefused when the account has 50 tokens in use."""
    mine = ApiToken.user_id == user_id, ApiToken.revoked_ms.is_(None), ApiToken.expires_ms > now_ms()
    if (db.session.scalar(select(func.count()).where(*mine)) or 0) >= MOST_TOKENS:
        db.session.rollback()
        raise ActionRefused(_("This account has %(n)s tokens. Revoke one first.", n=MOST_TOKENS))
    shown = START + "".join(secrets.choice(_LETTERS) for _n in range(SHOWN - len(START)))
    token = shown + secrets.token_urlsafe(32)
    db.session.add(ApiToken(user_id=user_id, name=name, token_hash=digest(token), prefix=shown,
                            scopes=" ".join(scopes), created_ms=now_ms(), expires_ms=expires_ms))
    commit_audited(actor, Message("make token"), f"{name} ({shown})", Message(
        "%(email)s, %(scopes)s, until %(time)s", email=email, scopes=", ".join(scopes), time=iso(expires_ms)[:10]))
    return token


def find(token: str) -> ApiToken | None:
    """The row of a token, also of one that is over; None for any other text. The time does not tell them apart."""
    return db.session.scalar(select(ApiToken).where(ApiToken.token_hash == digest(token)))


def why_over(row: ApiToken, now: int) -> str | None:
    """Why a token is no longer accepted, as a sentence; None when it is."""
    if row.revoked_ms is not None or row.user.disabled_ms is not None:
        return _("The token was revoked.")
    return _("The token has expired.") if (row.expires_ms or 0) <= now else None


def note_use(token_id: int, used_ms: int | None, address: str | None, now: int) -> None:
    """Write when and from which network a token was used, at most once a minute. A busy database is not waited for."""
    if used_ms is None or not 0 <= now - used_ms < SEEN_EVERY_MS:
        write_aside(update(ApiToken).where(ApiToken.id == token_id).values(
            used_ms=now, used_from=network_of(address)))


def newest(user_id: int) -> str:
    """What the form of a new token carries: the id of the person's newest token, "0" without any. A form that was sent
    before carries an older one."""
    return str(db.session.scalar(select(func.max(ApiToken.id)).where(ApiToken.user_id == user_id)) or 0)


def listing(user_id: int | None = None) -> list[TokenView]:
    """The tokens of an account, or of all; those in use first, each the newest first."""
    query, now = select(ApiToken).order_by(ApiToken.id.desc()), now_ms()
    rows = db.session.scalars(query if user_id is None else query.where(ApiToken.user_id == user_id))
    found = [TokenView(
        r.id, r.user.email, r.name, r.prefix, (r.scopes or "").split(),
        "revoked" if r.revoked_ms is not None else "expired" if (r.expires_ms or 0) <= now else "active",
        when(r.created_ms), when(r.expires_ms), when(r.used_ms), r.used_from) for r in rows]
    return sorted(found, key=lambda view: view.state != "active")


def revoke(token_id: int, actor: str, user_id: int | None = None) -> str:
    """End a token, of this account only when `user_id` is given; returns its name. Raises ActionRefused."""
    row = row_of(ApiToken, token_id, _("There is no such token."))
    refuse_unless(user_id in (None, row.user_id), _("There is no such token."))
    if row.revoked_ms is not None:
        db.session.rollback()
        raise ActionRefused(_("The token was revoked."))
    row.revoked_ms, name = now_ms(), row.name
    commit_audited(actor, Message("revoke token"), f"{name} ({row.prefix})", row.user.email)
    return name


def end_all(user_id: int) -> int:
    """Revoke all tokens of an account, in the caller's transaction; returns how many."""
    ended = update(ApiToken).where(ApiToken.user_id == user_id, ApiToken.revoked_ms.is_(None))
    return db.session.execute(ended.values(revoked_ms=now_ms())).rowcount
