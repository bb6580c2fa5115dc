"""Accounts: roles, passwords and sessions. Each change adds a row to the log of actions.

One active super-admin always stays: the last one can be neither disabled nor given another role.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.exc import IntegrityError

from app.extensions import db
from app.models import Invitation, LoginAttempt, User, UserSession
from app.models.user import ROLES
from app.services.audit import ActionRefused, commit_audited, refuse_unless, row_of
from app.services.people import tokens
from app.services.people.attempts import PER_NETWORK, account_key, lately, of_codes
from app.services.people.passwords import hash_password
from app.services.people.sign_in import find_session, forget_first_password, living
from app.support.clock import now_ms, when
from app.support.messages import Message, _
from app.support.validation import ValidationError, check_text

EMAIL = re.compile(r"[^@\s\x00-\x1f<>\"']{1,64}@[A-Za-z0-9.-]{1,190}")
SUPER, VIEWER = "super-admin", "viewer"
BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("FxiOS", "Firefox"), ("CriOS", "Chrome"),
            ("Chrome/", "Chrome"), ("Safari/", "Safari"))  # the first match counts: each also names those after it
SYSTEMS = (("Android", "Android"), ("iPhone", "iOS"), ("iPad", "iOS"), ("Windows", "Windows"), ("Mac OS", "macOS"),
           ("CrOS", "ChromeOS"), ("Linux", "Linux"))


def clean_email(email: str) -> str:
    """The address in lower case, without blanks around it. Raises ValidationError."""
    email = check_text(email).strip().lower()
    if not EMAIL.fullmatch(email) or not email.isprintable():
        raise ValidationError(_("The e-mail address is not valid. Use one like ada@example.org."))
    return email


def create_user(email: str, role: str, password: str, actor: str = "code", sees_data: bool = False) -> None:
    """Create an account; `sees_data` counts for a viewer. Raises ValidationError for a bad address, role or password
    and for a known address."""
    email = clean_email(email)
    check_role(role)
    hashed = hash_password(password, email)
    try:
        sees = int(sees_data and role == VIEWER)
        db.session.add(User(email=email, password_hash=hashed, role=role, created_ms=now_ms(), sees_data=sees))
        commit_audited(actor, Message("create account"), email, role_words(role, sees))
    except IntegrityError:
        db.session.rollback()
        raise ValidationError(_("There is already an account %(email)s.", email=email)) from None


def create_first(email: str, password: str, actor: str = "run.sh") -> bool:
    """Create the first super-admin if there is no account; returns whether it was created. Raises ValidationError."""
    there = db.session.scalar(select(func.count()).select_from(User))
    db.session.rollback()
    if there:  # a site must start also when its old password would be refused today
        return False
    create_user(email, SUPER, password, actor)
    return True


def set_password(email: str, password: str, actor: str = "code") -> None:
    """Change a password and end all sessions of that account. Raises ValidationError or ActionRefused."""
    hashed = hash_password(password, clean_email(email))
    user = _user(email)
    user.password_hash = hashed
    forget_first_password(user.id)
    _done(user, actor, Message("change password"), Message("sessions ended"))


def role_words(role: str, sees_data: Any) -> str:
    """A role as the log names it."""
    return Message("%(role)s who sees data", role=role) if sees_data and role == VIEWER else role


def set_role(email: str, role: str, actor: str = "code", sees_data: bool | None = None) -> None:
    """Change a role, and whether a viewer sees data (None: as before), and end all sessions of that account. Raises
    ValidationError for an unknown role, ActionRefused for an unknown account and the last active super-admin."""
    check_role(role)
    user = _user(email)
    if role != SUPER:
        _keep_one(user)
        _withdraw_of(user)
    was, sees = role_words(user.role, user.sees_data), sees_data
    if sees is None:
        sees = user.sees_data and user.role == VIEWER
    user.role, user.sees_data = role, int(bool(sees) and role == VIEWER)
    now = role_words(role, user.sees_data)
    _done(user, actor, Message("change role"), Message("%(before)s → %(after)s", before=was, after=now))


def disable(email: str, actor: str = "code") -> None:
    """Disable an account and end all its sessions and tokens. Raises ActionRefused for the last active super-admin."""
    user = _user(email)
    _keep_one(user)
    _withdraw_of(user)
    user.disabled_ms = user.disabled_ms or now_ms()
    tokens.end_all(user.id)
    _done(user, actor, Message("disable account"), Message("sessions ended"))


def enable(email: str, actor: str = "code") -> None:
    """Let an account sign in again. Raises ActionRefused when there is none."""
    user = _user(email)
    user.disabled_ms = None
    commit_audited(actor, Message("enable account"), user.email, Message("done"))


def unlock(email: str, actor: str = "code") -> int:
    """Delete the failed attempts of an account and of the networks that are slowed now; returns how many."""
    user = _user(email)
    tried = select(LoginAttempt.network).where(lately(LoginAttempt.at_ms, now_ms()), ~of_codes())
    slowed = list(db.session.scalars(tried.group_by(LoginAttempt.network).having(func.count() >= PER_NETWORK)))
    concerned = or_(LoginAttempt.account == account_key(user.email), LoginAttempt.network.in_(slowed))
    found = db.session.execute(delete(LoginAttempt).where(concerned))
    commit_audited(actor, Message("unlock account"), user.email, Message("attempts forgotten: %(n)s", n=found.rowcount))
    return found.rowcount


def end_sessions(email: str, actor: str = "code") -> int:
    """End all sessions of an account; returns how many. Raises ActionRefused when there is no such account."""
    user = _user(email)
    ended = db.session.execute(delete(UserSession).where(UserSession.user_id == user.id)).rowcount
    commit_audited(actor, Message("sign out everywhere"), user.email, Message("sessions ended: %(n)s", n=ended))
    return ended


def end_session(session: int, actor: str = "code") -> str:
    """End one session; returns the address of its account. Raises ActionRefused when it has ended already."""
    row = row_of(UserSession, session, _("This session has ended already."))
    email = row.user.email
    db.session.delete(row)
    commit_audited(actor, Message("end session"), email, Message("sessions ended: %(n)s", n=1))
    return email


@dataclass(frozen=True)
class SessionView:
    """A session of an account. `device` is text, None when unknown; `here`: the session of the reader."""

    id: int
    device: str | None
    network: str | None
    created_at: datetime
    seen_at: datetime
    here: bool


@dataclass(frozen=True)
class PersonView:
    """An account. `failures` counts attempts of the last 15 minutes; `sessions` are the active ones, the latest first;
    `sees_data`: it is a viewer who sees the data of jobs."""

    id: int
    email: str
    role: str
    created_at: datetime
    disabled_at: datetime | None
    failures: int
    sessions: list[SessionView]
    second_factor: bool
    sees_data: bool = False


def people(token: str | None = None) -> list[PersonView]:
    """All accounts by address; `token` is the session of the reader."""
    now, mine = now_ms(), find_session(token) if token else None
    sessions: dict[int, list[SessionView]] = {}
    active = select(UserSession).where(living(now)).order_by(UserSession.seen_ms.desc())
    for row in db.session.scalars(active):
        sessions.setdefault(row.user_id, []).append(_session(row, mine))
    tried = select(LoginAttempt.account, func.count()).where(lately(LoginAttempt.at_ms, now), ~of_codes())
    failures = {account: n for account, n in db.session.execute(tried.group_by(LoginAttempt.account))}
    return [PersonView(u.id, u.email, u.role, when(u.created_ms), when(u.disabled_ms),
                       failures.get(account_key(u.email), 0), sessions.get(u.id, []), u.totp_on_ms is not None,
                       bool(u.sees_data))
            for u in db.session.scalars(select(User).order_by(User.email))]


def sessions_of(user_id: int, token: str) -> list[SessionView]:
    """The active sessions of an account, that of `token` first, then the latest."""
    rows = select(UserSession).where(UserSession.user_id == user_id, living(now_ms()))
    mine, found = find_session(token), db.session.scalars(rows.order_by(UserSession.seen_ms.desc()))
    return sorted((_session(row, mine) for row in found), key=lambda view: not view.here)


def _session(row: UserSession, mine: UserSession | None) -> SessionView:
    here = mine is not None and mine.id == row.id
    return SessionView(row.id, device_words(row.agent), row.network, when(row.created_ms), when(row.seen_ms), here)


def email_of(user: int) -> str:
    """The address of an account by its number. Raises ActionRefused when there is none."""
    return row_of(User, user, _("There is no such account.")).email


def account(email: str) -> User:
    """The account of an address. Raises ValidationError, and ActionRefused when there is none."""
    return _user(email)


def device_words(agent: str | None) -> str | None:
    """'Firefox, Linux' for a User-Agent; its first word for an unknown browser; None without one."""
    if not agent:
        return None
    browser = next((name for sign, name in BROWSERS if sign in agent), agent.split("/")[0][:40])
    system = next((name for sign, name in SYSTEMS if sign in agent), None)
    return f"{browser}, {system}" if system else browser


def check_role(role: str) -> str:
    """The role itself. Raises ValidationError for an unknown one."""
    if role not in ROLES:
        raise ValidationError(_("Unknown role %(name)s. Use %(known)s.", name=repr(role[:40]), known=", ".join(ROLES)))
    return role


def _user(email: str) -> User:
    """The account of an address. Raises ActionRefused when there is none."""
    found = db.session.scalar(select(User).where(User.email == clean_email(email)))
    return refuse_unless(found, _("There is no such account."))


def _keep_one(user: User) -> None:
    """Refuse to change the last active super-admin. On PostgreSQL the rows are locked, so two who demote each other at
    once wait here; on SQLite each transaction waits for the other."""
    active = select(User.id).where(User.role == SUPER, User.disabled_ms.is_(None)).order_by(User.id).with_for_update()
    if set(db.session.scalars(active)) == {user.id}:
        db.session.rollback()
        raise ActionRefused(_("This is the last active super-admin: make another one first."))


def _withdraw_of(user: User) -> None:
    """Delete the invitations of somebody who may invite no longer: a link kept back must not lead in again."""
    db.session.execute(delete(Invitation).where(Invitation.invited_by == user.email))


def _done(user: User, actor: str, action: str, result: str) -> None:
    db.session.execute(delete(UserSession).where(UserSession.user_id == user.id))
    commit_audited(actor, action, user.email, result)
