"""People: accounts, passwords, sign-in and sessions that are rows.

sign_in: attempts counted -> account looked up -> hash compared (outside any transaction, at most
two at once: forty at once took 1.1 GB) -> session row. Every failure looks the same from outside
and takes the same time (an unknown account is compared with a dummy hash).
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
import threading
from functools import cache

from sqlalchemy import delete, func, or_, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from werkzeug.security import check_password_hash, generate_password_hash

from app.clock import now_ms
from app.extensions import db
from app.models import LoginAttempt, User, UserSession
from app.models.user import ROLES
from app.strict import BadInput, check_text

WINDOW_MS, PER_ACCOUNT, PER_NETWORK = 15 * 60_000, 5, 20
IDLE_MS, AGE_MS, SEEN_EVERY_MS = 12 * 3_600_000, 7 * 86_400_000, 60_000
EMAIL = re.compile(r"[^@\s\x00-\x1f<>\"']{1,64}@[A-Za-z0-9.-]{1,190}")
_hashing = threading.BoundedSemaphore(2)


def clean_email(email: str) -> str:
    email = check_text(email).strip().lower()
    if not EMAIL.fullmatch(email):
        raise BadInput("The e-mail address is not valid. Use one like ada@example.org.")
    return email


def hash_password(password: str) -> str:
    """A salted scrypt hash; raises BadInput for a password outside 8 to 256 characters."""
    if not 8 <= len(check_text(password)) <= 256:
        raise BadInput("The password must have 8 to 256 characters.")
    with _hashing:
        return generate_password_hash(password, method="scrypt")


@cache
def _dummy() -> str:
    return generate_password_hash(secrets.token_hex(16), method="scrypt")


def create_user(email: str, role: str, password: str) -> None:
    """Create an account; raises BadInput with a sentence."""
    email = clean_email(email)
    if role not in ROLES:
        raise BadInput(f"Unknown role {role[:40]!r}. Use {', '.join(ROLES)}.")
    hashed = hash_password(password)
    try:
        db.session.add(User(email=email, password_hash=hashed, role=role, created_ms=now_ms()))
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise BadInput(f"There is already an account {email}.") from None


def create_first(email: str, password: str) -> bool:
    """The first super-admin, only if there is no account at all; returns whether it was made."""
    email, hashed = clean_email(email), hash_password(password)
    if db.session.scalar(select(func.count()).select_from(User)):
        db.session.rollback()
        return False
    db.session.add(User(email=email, password_hash=hashed, role="super-admin", created_ms=now_ms()))
    db.session.commit()
    return True


def set_password(email: str, password: str) -> None:
    """Change a password and end all sessions of that account."""
    hashed = hash_password(password)
    user = _user(email)
    user.password_hash = hashed
    _end_sessions(user)


def set_role(email: str, role: str) -> None:
    """Change a role and end all sessions of that account."""
    if role not in ROLES:
        raise BadInput(f"Unknown role {role[:40]!r}. Use {', '.join(ROLES)}.")
    user = _user(email)
    user.role = role
    _end_sessions(user)


def disable(email: str) -> None:
    """Refuse this account from now on and end all its sessions."""
    user = _user(email)
    user.disabled_ms = now_ms()
    _end_sessions(user)


def _user(email: str) -> User:
    user = db.session.scalar(select(User).where(User.email == clean_email(email)))
    if user is None:
        raise BadInput("There is no such account.")
    return user


def _end_sessions(user: User) -> None:
    db.session.execute(delete(UserSession).where(UserSession.user_id == user.id))
    db.session.commit()


def network_of(address: str | None) -> str:
    """The /32 of an IPv4 address or the /64 of an IPv6 one."""
    try:
        ip = ipaddress.ip_address((address or "").split("%")[0])
    except ValueError:
        return "unknown"
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return str(ipaddress.ip_network((ip, 32 if ip.version == 4 else 64), strict=False))


def _digest(text_: str) -> str:
    return hashlib.sha256(text_.encode("utf-8", "replace")).hexdigest()


def sign_in(email: str, password: str, address: str | None, previous: str | None = None) -> str | None:
    """The id of a new session, or None. `previous` is the browser's old session, which ends."""
    account, network, now = _digest(email.strip().lower()), network_of(address), now_ms()
    recent = select(func.count()).select_from(LoginAttempt).where(LoginAttempt.network == network, LoginAttempt.at_ms > now - WINDOW_MS)
    allowed = db.session.scalar(recent) < PER_NETWORK and db.session.scalar(recent.where(LoginAttempt.account == account)) < PER_ACCOUNT
    user = db.session.scalar(select(User).where(User.email == email.strip().lower(), User.disabled_ms.is_(None)))
    known = user.password_hash if user else _dummy()
    user_id = user.id if user else None
    db.session.rollback()  # no transaction is open while hashing
    if not allowed:
        return None
    with _hashing:
        right = check_password_hash(known, password[:1024]) and user_id is not None
    if not right:
        db.session.add(LoginAttempt(account=account, network=network, at_ms=now))
        db.session.commit()
        return None
    token = secrets.token_urlsafe(32)
    db.session.execute(delete(LoginAttempt).where(LoginAttempt.account == account, LoginAttempt.network == network))
    if previous:
        db.session.execute(delete(UserSession).where(UserSession.token_hash == _digest(previous)))
    db.session.add(UserSession(token_hash=_digest(token), user_id=user_id, created_ms=now, seen_ms=now))
    db.session.commit()
    return token


def sign_out(token: str) -> None:
    db.session.execute(delete(UserSession).where(UserSession.token_hash == _digest(token)))
    db.session.commit()


def load_session(token: str, polling: bool = False) -> User | None:
    """The person of a session; None past 12 h idle or 7 days, or when disabled. Polling does not extend it."""
    now = now_ms()
    row = db.session.scalar(select(UserSession).where(UserSession.token_hash == _digest(token)))
    if row is None or row.user.disabled_ms is not None or now - row.seen_ms > IDLE_MS or now - row.created_ms > AGE_MS:
        return None
    if not polling and now - row.seen_ms > SEEN_EVERY_MS:
        _seen(row.id, now)
    return row.user


def _seen(session_id: int, now: int) -> None:
    """At most once a minute, in a transaction of its own; a busy database must not hold up the page."""
    try:
        with db.engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection:
            sqlite = connection.dialect.name == "sqlite"
            if sqlite:
                connection.connection.driver_connection.execute("PRAGMA busy_timeout=250")
            try:
                connection.execute(text("UPDATE user_sessions SET seen_ms = :now WHERE id = :id"), {"now": now, "id": session_id})
                connection.commit()
            finally:
                if sqlite:
                    connection.connection.driver_connection.execute("PRAGMA busy_timeout=10000")
    except OperationalError:
        return


def sweep(now: int) -> None:
    """Delete sessions that are over and attempts past their window."""
    db.session.execute(delete(UserSession).where(or_(UserSession.seen_ms < now - IDLE_MS, UserSession.created_ms < now - AGE_MS)))
    db.session.execute(delete(LoginAttempt).where(LoginAttempt.at_ms < now - WINDOW_MS))
    db.session.commit()
