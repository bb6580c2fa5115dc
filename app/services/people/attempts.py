"""Attempts to sign in and to enter codes: how many there may be, and the browsers that have signed in before.

`reserve` writes the attempt before anything is compared -> right: `forgive` deletes it; wrong: it stays for 15 minutes
Attempts of the future, which a clock that was ahead has written, count for nothing and are swept.
Limits in 15 minutes: 5 attempts for an account from a network; 20 from a network, then one every 45 s (strangers behind
the same address must not lock out everybody); 20 for a browser that has signed in to this account before, whatever
others do. Codes of a second factor count in the same limits; wrong ones behind a right password also count for the
account, whatever the networks (`codes_over`), so that a million guesses from a thousand networks get 20. A browser that
has signed in before has 20 of its own, which strangers cannot use up; all such browsers of an account have 60.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import secrets

from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute

from app.extensions import db
from app.ledger import counts
from app.ledger.dialect import SessionExecutor
from app.models import Audit, LoginAttempt
from app.services.audit import audit
from app.support.clock import MINUTE_MS
from app.support.messages import Message, to_json
from app.support.settings import settings

WINDOW_MS, PER_ACCOUNT, PER_NETWORK, PER_DEVICE, SLOW_MS = 15 * MINUTE_MS, 5, 20, 20, 45_000
DEVICE_S, DEVICE_ACCOUNTS = 365 * 86_400, 5
CODES = "codes"  # the place of wrong codes of an account; with ":" and its id, of a browser that has signed in before
PER_BROWSERS = 60  # wrong codes of all browsers that have signed in before, however many there are
MOST_NOTED = 50  # rows about failures in 15 minutes; further failures are counted in one row
FAILED, NO_CODE = Message("sign-in failed"), Message("password right, code missing")  # audit.FROM_NETWORKS


def lately(column: InstrumentedAttribute[int], now: int) -> ColumnElement[bool]:
    """The SQL condition of the rows of the last 15 minutes at `now` (ms)."""
    return column.between(now - WINDOW_MS, now + MINUTE_MS)


def network_of(address: str | None) -> str:
    """The /32 of an IPv4 address or the /64 of an IPv6 address, as text; 'unknown' for anything else."""
    try:
        ip = ipaddress.ip_address((address or "").split("%")[0])
    except ValueError:
        return "unknown"
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return str(ipaddress.ip_network((ip, 32 if ip.version == 4 else 64), strict=False))


def digest(text_: str) -> str:
    """The SHA-256 (hex) of a text."""
    return hashlib.sha256(text_.encode("utf-8", "replace")).hexdigest()


def place_of(account: str, device: str | None) -> str | None:
    """The place of attempts of a browser that has signed in to this account before (`device` is its cookie), else
    None."""
    known, accounts = device_of(device)
    return f"device:{known}" if account[:20] in accounts else None


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(settings().keys("device")[::-1])


def device_of(cookie: str | None) -> tuple[str, list[str]]:
    """Id of the browser and the accounts it has signed in to; a new id when we have not signed the cookie."""
    with contextlib.suppress(BadSignature, ValueError, TypeError, KeyError):
        found = _signer().loads(cookie or "", max_age=DEVICE_S)
        return str(found["d"])[:32], [str(account) for account in found["a"]]
    return secrets.token_hex(8), []


def device_cookie(cookie: str | None, email: str) -> str:
    """The new cookie of a browser that has just signed in to this account; it names its last five accounts."""
    device, accounts = device_of(cookie)
    mine = account_key(email)[:20]
    return _signer().dumps({"d": device, "a": [mine, *(a for a in accounts if a != mine)][:DEVICE_ACCOUNTS]})


def account_key(email: str) -> str:
    """The SHA-256 (hex) that stands for an account in attempts and cookies."""
    return digest(email.strip().lower())


def reserve(account: str, network: str, device: str | None, now: int) -> int | None:
    """Write the attempt and return its id; None when there were too many. Attempts run one at a time, also on
    PostgreSQL, because each first writes the same row."""
    counts.save(SessionExecutor(db.session), "sign-ins", now)

    def tried(*where) -> int:
        return db.session.scalar(select(func.count()).where(lately(LoginAttempt.at_ms, now), *where))

    place = device or network
    if not device or tried(LoginAttempt.network == device, LoginAttempt.account == account) >= PER_DEVICE:
        place, here = network, LoginAttempt.network == network
        latest = db.session.scalar(select(func.max(LoginAttempt.at_ms)).where(here, lately(LoginAttempt.at_ms, now)))
        slowed = tried(here) >= PER_NETWORK and now - (latest or 0) < SLOW_MS
        if slowed or tried(here, LoginAttempt.account == account) >= PER_ACCOUNT:
            db.session.rollback()
            return None
    row = LoginAttempt(account=account, network=place, at_ms=now)
    db.session.add(row)
    db.session.commit()
    return row.id


def note_failure(email: str | None, network: str, now: int, action: str = FAILED) -> None:
    """Write one row for each account and network in 15 minutes, with the number of failures: nobody can fill the log.
    An address without an account is not stored, because people type passwords there."""
    counts.save(SessionExecutor(db.session), "sign-ins", now)
    rows = select(Audit).where(Audit.action == action, lately(Audit.at_ms, now))
    who, subject = network, email or Message("unknown account")
    row = db.session.scalar(rows.where(Audit.actor == who, Audit.subject == subject).limit(1))
    if row is None and db.session.scalar(select(func.count()).select_from(rows.subquery())) >= MOST_NOTED:
        who, subject = "many networks", Message("many accounts")
        row = db.session.scalar(rows.where(Audit.actor == who, Audit.subject == subject).limit(1))
    if row is None:
        audit(who, action, subject, Message("attempts: %(n)s", n=1))
    else:
        row.times += 1
        row.result = Message("attempts: %(n)s", n=row.times)
        row.result_json = to_json(row.result)
    db.session.commit()


def codes_place(email: str, device: str | None) -> str:
    """The place of wrong codes for an account of a browser with this cookie."""
    place = place_of(account_key(email), device)
    return f"{CODES}:{place.partition(':')[2]}" if place else CODES


def codes_over(email: str, device: str | None, now: int) -> bool:
    """Whether there were too many wrong codes for an account: 20 of strangers, or 20 of a browser that has signed in
    before."""
    place = codes_place(email, device)
    places = db.session.scalars(select(LoginAttempt.network).where(
        LoginAttempt.account == account_key(email), of_codes(), lately(LoginAttempt.at_ms, now))).all()
    return places.count(place) >= PER_DEVICE or place != CODES and len(places) - places.count(CODES) >= PER_BROWSERS


def of_codes() -> ColumnElement[bool]:
    """The SQL condition of the attempts that are wrong codes."""
    return LoginAttempt.network.startswith(CODES)


def wrong_code(email: str, device: str | None, now: int) -> None:
    """Count a wrong code, in the caller's transaction."""
    db.session.add(LoginAttempt(account=account_key(email), network=codes_place(email, device), at_ms=now))


def forgive(attempt: int) -> None:
    """Delete an attempt that was right."""
    db.session.execute(delete(LoginAttempt).where(LoginAttempt.id == attempt))
    db.session.commit()
