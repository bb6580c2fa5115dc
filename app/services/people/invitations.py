"""Invitations: a link with which a person makes an account of an address and role that a super-admin chose.

`invite` -> PUBLIC_URL/invitation#TOKEN, shown once; the row has the SHA-256 only -> `opened` tells what it is for ->
`accept`: password hashed outside any transaction -> one transaction deletes the row, makes account and session The
token is in the fragment, which browsers send to nobody: no access log and no Referer has it. A link holds 7 days and
once: of two who use it at the same time one deletes the row. A new link for the same address replaces the old one;
those of a super-admin who is disabled or demoted are withdrawn, and each use asks again whether who invited is an
active super-admin (commands always may). Attempts count as those of signing in.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from app.extensions import db
from app.models import Invitation, User
from app.services.audit import ActionRefused, audit, commit_audited, refuse_unless, row_of
from app.services.people.accounts import SUPER, VIEWER, check_role, clean_email, role_words
from app.services.people.attempts import account_key, digest, forgive, network_of, reserve
from app.services.people.passwords import hash_password
from app.services.people.sign_in import Visitor, add_session
from app.support.clock import DAY_MS, now_ms, when
from app.support.messages import Message, _
from app.support.settings import settings
from app.support.validation import ValidationError, check_text

VALID_MS, COMMANDS = 7 * DAY_MS, "cli:"


@dataclass(frozen=True)
class InvitationView:
    """An invitation that nobody has used; `expired`: its link opens nothing any more."""

    id: int
    email: str
    role: str
    sees_data: bool
    invited_by: str
    created_at: datetime
    expires_at: datetime
    expired: bool


def pending() -> list[InvitationView]:
    """All invitations by address."""
    rows, now = db.session.scalars(select(Invitation).order_by(Invitation.email, Invitation.id)), now_ms()
    return [_view(row, now) for row in rows]


def invite(email: str, role: str, sees_data: bool, actor: str = "code") -> tuple[InvitationView, str]:
    """An invitation and its link, which nobody can read again; an older one of the address ends. Raises ValidationError
    for a bad address or role, and when there is an account, ActionRefused when `actor` may not invite."""
    email, role = clean_email(email), check_role(role)
    sees = int(sees_data and role == VIEWER)
    if not _may_invite(actor):
        db.session.rollback()
        raise ActionRefused(_("Only an active super-admin invites."), forbidden=True)
    if db.session.scalar(select(User.id).where(User.email == email)):
        db.session.rollback()
        raise ValidationError(_("There is already an account %(email)s.", email=email))
    db.session.execute(delete(Invitation).where(Invitation.email == email))
    token, now = secrets.token_urlsafe(32), now_ms()
    row = Invitation(token_hash=digest(token), email=email, role=role, sees_data=sees, invited_by=actor[:255],
                     created_ms=now, expires_ms=now + VALID_MS)
    db.session.add(row)
    audit(actor, Message("invite"), email, role_words(role, sees))
    db.session.flush()
    view = _view(row, now)
    db.session.commit()
    return view, f"{settings().public_url}/invitation#{token}"


def again(id: int, actor: str = "code") -> tuple[InvitationView, str]:
    """The same invitation with a new link. Raises ActionRefused when it is gone, ValidationError."""
    row = row_of(Invitation, id, _("There is no such invitation."))
    return invite(row.email, row.role, bool(row.sees_data), actor)


def withdraw(id: int, actor: str = "code") -> str:
    """End an invitation; returns its address. Raises ActionRefused when it is gone."""
    row = row_of(Invitation, id, _("There is no such invitation."))
    email = row.email
    db.session.delete(row)
    commit_audited(actor, Message("withdraw invitation"), email, Message("done"))
    return email


def withdraw_of(email: str, actor: str = "code") -> None:
    """End the invitation of an address. Raises ActionRefused when there is none."""
    found = select(Invitation.id).where(Invitation.email == clean_email(email)).limit(1)
    withdraw(db.session.scalar(found) or 0, actor)


def opened(text: str, visitor: Visitor) -> InvitationView:
    """What the link or token in `text` invites to. Raises ActionRefused with a sentence when it does not hold."""
    network, now = network_of(visitor.address), now_ms()
    attempt = reserve(account_key("invitation"), network, None, now)
    if attempt is None:
        raise ActionRefused(_("There were too many attempts. Wait 15 minutes and try again."))
    row = _holding(text, now)
    view = _view(row, now)
    if db.session.scalar(select(User.id).where(User.email == row.email)):
        raise _known(view.email)
    forgive(attempt)
    return view


def accept(text: str, password: str, visitor: Visitor) -> str:
    """Make the account of a link with this password; returns the token of its session. Raises ValidationError for a
    password that is refused, ActionRefused as `opened`."""
    view = opened(text, visitor)
    hashed = hash_password(password, view.email)
    now = now_ms()
    row = _holding(text, now)
    refuse_unless(db.session.execute(delete(Invitation).where(Invitation.id == row.id,
                  Invitation.token_hash == row.token_hash)).rowcount, _gone())
    sees = int(bool(row.sees_data) and row.role == VIEWER)
    user = User(email=row.email, password_hash=hashed, role=row.role, sees_data=sees, created_ms=now)
    try:
        db.session.add(user)
        db.session.flush()
    except IntegrityError:
        raise _known(view.email) from None
    audit(user.email, Message("accept invitation"), user.email, role_words(user.role, sees))
    token = add_session(user, visitor, now)
    db.session.commit()
    return token


def _holding(text: str, now: int) -> Invitation:
    """The row of a link at `now` (ms). Raises ActionRefused."""
    token = check_text(text).strip().rpartition("#")[2]
    row = db.session.scalar(select(Invitation).where(Invitation.token_hash == digest(token)))
    refuse_unless(row and _may_invite(row.invited_by), _gone())
    if row.expires_ms <= now:
        db.session.rollback()
        raise ActionRefused(_("This invitation held for 7 days, which are over. Ask for a new one."))
    return row


def _may_invite(actor: str) -> bool:
    """Whether an actor is an active super-admin, or a command. The row is locked, so who is demoted at the same time is
    so before or after what follows, on PostgreSQL too."""
    if db.session.scalar(select(User.id).where(User.email == actor)) is None:
        return actor.startswith(COMMANDS) or "@" not in actor
    active = select(User.id).where(User.email == actor, User.role == SUPER, User.disabled_ms.is_(None))
    return db.session.scalar(active.with_for_update(read=True)) is not None


def _known(email: str) -> ActionRefused:
    db.session.rollback()
    return ActionRefused(_("There is an account %(email)s already: sign in with its password.", email=email))


def _gone() -> str:
    return _("This link opens nothing: it was used or withdrawn, or is not whole. If you have an account, sign in; "
             "else ask for a new one.")


def _view(row: Invitation, now: int) -> InvitationView:
    return InvitationView(row.id, row.email, row.role, bool(row.sees_data), row.invited_by, when(row.created_ms),
                          when(row.expires_ms), row.expires_ms <= now)
