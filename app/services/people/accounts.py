"""People: accounts, roles, passwords, and who is signed in where. Each change has its row in the log of actions.

There is always an active super-admin: the last one can be neither disabled nor given another role.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, or_, select
from sqlalchemy.exc import IntegrityError

from app.extensions import db
from app.models import LoginAttempt, User, UserSession
from app.models.user import ROLES
from app.services.audit import ActionRefused, audit
from app.services.people.passwords import hash_password
from app.services.people.sign_in import (  # noqa: F401  (handed on)
    AGE_MS,
    IDLE_MS,
    PER_NETWORK,
    WINDOW_MS,
    account_key,
    device_cookie,
    find_session,
    load_session,
    network_of,
    sign_in,
    sign_out,
    sweep,
)
from app.support.clock import now_ms, when
from app.support.messages import Message
from app.support.messages import translate as _
from app.support.settings import settings
from app.support.validation import ValidationError, check_text

EMAIL = re.compile(r"[^@\s\x00-\x1f<>\"']{1,64}@[A-Za-z0-9.-]{1,190}")
SUPER = "super-admin"
BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("FxiOS", "Firefox"), ("CriOS", "Chrome"),
            ("Chrome/", "Chrome"), ("Safari/", "Safari"))  # the first that fits: each claims to be those after it
SYSTEMS = (("Android", "Android"), ("iPhone", "iOS"), ("iPad", "iOS"), ("Windows", "Windows"), ("Mac OS", "macOS"),
           ("CrOS", "ChromeOS"), ("Linux", "Linux"))


def clean_email(email: str) -> str:
    email = check_text(email).strip().lower()
    if not EMAIL.fullmatch(email) or not email.isprintable():
        raise ValidationError(_("The e-mail address is not valid. Use one like ada@example.org."))
    return email


def create_user(email: str, role: str, password: str, actor: str = "code") -> None:
    """Create an account; raises ValidationError with a sentence."""
    email = clean_email(email)
    _check_role(role)
    hashed = hash_password(password, email)
    try:
        db.session.add(User(email=email, password_hash=hashed, role=role, created_ms=now_ms()))
        audit(actor, Message("create account"), email, role)
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise ValidationError(_("There is already an account %(email)s.", email=email)) from None


def create_first(email: str, password: str, actor: str = "run.sh") -> bool:
    """The first super-admin, only if there is no account at all; returns whether it was made."""
    there = db.session.scalar(select(func.count()).select_from(User))
    db.session.rollback()
    if there:  # a password that is refused by now must not keep a site from starting
        return False
    create_user(email, SUPER, password, actor)
    return True


def set_password(email: str, password: str, actor: str = "code") -> None:
    """Change a password and end all sessions of that account."""
    hashed = hash_password(password, clean_email(email))
    user = _user(email)
    user.password_hash = hashed
    if user.id == db.session.scalar(select(func.min(User.id))):
        with contextlib.suppress(OSError):
            (settings().data_dir / "first-password").unlink(missing_ok=True)
    _done(user, actor, Message("change password"), Message("sessions ended"))


def set_role(email: str, role: str, actor: str = "code") -> None:
    """Change a role and end all sessions of that account; ActionRefused for the last active super-admin."""
    _check_role(role)
    user = _user(email)
    if role != SUPER:
        _keep_one(user)
    was, user.role = user.role, role
    _done(user, actor, Message("change role"), f"{was} → {role}")


def disable(email: str, actor: str = "code") -> None:
    """Refuse this account from now on and end all its sessions; ActionRefused for the last active super-admin."""
    user = _user(email)
    _keep_one(user)
    user.disabled_ms = user.disabled_ms or now_ms()
    _done(user, actor, Message("disable account"), Message("sessions ended"))


def enable(email: str, actor: str = "code") -> None:
    """Let this account sign in again."""
    user = _user(email)
    user.disabled_ms = None
    audit(actor, Message("enable account"), user.email, Message("done"))
    db.session.commit()


def unlock(email: str, actor: str = "code") -> int:
    """Forget the failed sign-ins of this account, and those of networks that are slowed now; returns how many."""
    user = _user(email)
    tried = select(LoginAttempt.network).where(LoginAttempt.at_ms > now_ms() - WINDOW_MS)
    slowed = list(db.session.scalars(tried.group_by(LoginAttempt.network).having(func.count() >= PER_NETWORK)))
    concerned = or_(LoginAttempt.account == account_key(user.email), LoginAttempt.network.in_(slowed))
    found = db.session.execute(delete(LoginAttempt).where(concerned))
    audit(actor, Message("unlock account"), user.email, Message("attempts forgotten: %(n)s", n=found.rowcount))
    db.session.commit()
    return found.rowcount


def end_sessions(email: str, actor: str = "code") -> int:
    """Sign this account out everywhere; returns how many sessions ended."""
    user = _user(email)
    ended = db.session.execute(delete(UserSession).where(UserSession.user_id == user.id)).rowcount
    audit(actor, Message("sign out everywhere"), user.email, Message("sessions ended: %(n)s", n=ended))
    db.session.commit()
    return ended


def end_session(session: int, actor: str = "code") -> str:
    """End one session; returns whose it was."""
    row = db.session.get(UserSession, session)
    if row is None:
        db.session.rollback()
        raise ActionRefused(_("This session has ended already."), unknown=True)
    email = row.user.email
    db.session.delete(row)
    audit(actor, Message("end session"), email, Message("sessions ended: %(n)s", n=1))
    db.session.commit()
    return email


@dataclass(frozen=True)
class SessionView:
    """`device` in words, None when unknown; `here`: the session of whoever asks."""

    id: int
    device: str | None
    network: str | None
    created_at: datetime
    seen_at: datetime
    here: bool


@dataclass(frozen=True)
class PersonView:
    """`failures`: failed sign-ins of the last 15 minutes; `sessions`: the living ones, the latest first."""

    id: int
    email: str
    role: str
    created_at: datetime
    disabled_at: datetime | None
    failures: int
    sessions: list[SessionView]


def people(token: str | None = None) -> list[PersonView]:
    """Each account by its address; `token` is the session of whoever asks."""
    now, mine = now_ms(), find_session(token) if token else None
    living = select(UserSession).where(UserSession.seen_ms > now - IDLE_MS, UserSession.created_ms > now - AGE_MS)
    sessions: dict[int, list[SessionView]] = {}
    for row in db.session.scalars(living.order_by(UserSession.seen_ms.desc())):
        sessions.setdefault(row.user_id, []).append(SessionView(
            row.id, device_words(row.agent), row.network, when(row.created_ms), when(row.seen_ms),
            here=mine is not None and mine.id == row.id))
    tried = select(LoginAttempt.account, func.count()).where(LoginAttempt.at_ms > now - WINDOW_MS)
    failures = {account: n for account, n in db.session.execute(tried.group_by(LoginAttempt.account))}
    return [PersonView(u.id, u.email, u.role, when(u.created_ms), when(u.disabled_ms),
                       failures.get(account_key(u.email), 0), sessions.get(u.id, []))
            for u in db.session.scalars(select(User).order_by(User.email))]


def email_of(user: int) -> str:
    """The address of an account by its number; ActionRefused when there is none."""
    found = db.session.get(User, user)
    if found is None:
        raise ActionRefused(_("There is no such account."), unknown=True)
    return found.email


def device_words(agent: str | None) -> str | None:
    """'Firefox, Linux' of a User-Agent; its first word when the browser is none of the usual ones."""
    if not agent:
        return None
    browser = next((name for sign, name in BROWSERS if sign in agent), agent.split("/")[0][:40])
    system = next((name for sign, name in SYSTEMS if sign in agent), None)
    return f"{browser}, {system}" if system else browser


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise ValidationError(_("Unknown role %(name)s. Use %(known)s.", name=repr(role[:40]), known=", ".join(ROLES)))


def _user(email: str) -> User:
    """The account of an address; ActionRefused when there is none."""
    user = db.session.scalar(select(User).where(User.email == clean_email(email)))
    if user is None:
        db.session.rollback()
        raise ActionRefused(_("There is no such account."), unknown=True)
    return user


def _keep_one(user: User) -> None:
    """Two who demote each other at once wait here for each other (on PostgreSQL for the rows, on SQLite anyway)."""
    active = select(User.id).where(User.role == SUPER, User.disabled_ms.is_(None)).order_by(User.id).with_for_update()
    if set(db.session.scalars(active)) == {user.id}:
        db.session.rollback()
        raise ActionRefused(_("This is the last active super-admin: make another one first."))


def _done(user: User, actor: str, action: str, result: str) -> None:
    db.session.execute(delete(UserSession).where(UserSession.user_id == user.id))
    audit(actor, action, user.email, result)
    db.session.commit()
