"""What people change of their own account: password, sessions, language, second factor.

password (with `tried`: the limits of signing in) -> the change -> the attempt is forgiven; a wrong code or password
counts. Every change ends with a row of the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import delete, select, update

from app.extensions import db
from app.models import User, UserSession
from app.services.audit import commit_audited, refuse_unless
from app.services.people import second_factor, tokens
from app.services.people.attempts import (
    account_key,
    codes_over,
    digest,
    forgive,
    network_of,
    place_of,
    reserve,
    wrong_code,
)
from app.services.people.passwords import hash_password, matches
from app.services.people.sign_in import Visitor, forget_first_password
from app.support.clock import now_ms
from app.support.messages import Message, _
from app.support.validation import ValidationError

LANGUAGES = ("it", "en")


class FieldError(ValidationError):
    """What was typed into a field cannot be taken; `name` is that of the field."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


@contextmanager
def tried(user_id: int, password: str, visitor: Visitor) -> Iterator[str]:
    """Inside, `password` is that of the account; gives its hash. The attempt counts unless all ends well. Raises
    FieldError for a wrong password and after too many attempts."""
    email, known = db.session.execute(select(User.email, User.password_hash).where(User.id == user_id)).one()
    key, now = account_key(email), now_ms()
    many = FieldError("password", _("There were too many attempts. Wait 15 minutes and try again."))
    attempt = reserve(key, network_of(visitor.address), place_of(key, visitor.device), now)
    if attempt is None or codes_over(email, visitor.device, now):
        db.session.rollback()
        raise many
    db.session.rollback()  # no transaction is open while hashing
    if not matches(known, password):
        raise FieldError("password", _("This is not your password."))
    yield known
    forgive(attempt)


def change_password(user_id: int, old: str, new: str, visitor: Visitor, token: str,
                    revoke: bool = True) -> tuple[int, int]:
    """Change a person's password; all sessions but that of `token` end, and with `revoke` all API tokens. Returns how
    many of each. Raises FieldError."""
    with tried(user_id, old, visitor) as known:
        email = db.session.scalar(select(User.email).where(User.id == user_id)) or ""
        db.session.rollback()
        if new == old:
            raise FieldError("new_password", _("This is the password that you have. Choose another."))
        try:
            hashed = hash_password(new, email)
        except ValidationError as error:
            raise FieldError("new_password", str(error)) from None
        same = update(User).where(User.id == user_id, User.password_hash == known).values(password_hash=hashed)
        refuse_unless(db.session.execute(same).rowcount, _("The password was changed elsewhere just now."), False)
        forget_first_password(user_id)
        revoked = tokens.end_all(user_id) if revoke else 0
        return _end(email, Message("change password"), UserSession.user_id == user_id,
                    UserSession.token_hash != digest(token), revoked=revoked), revoked


def end_sessions(user_id: int, token: str, others: bool) -> int:
    """End a person's sessions, with `others` all but that of `token`; returns how many."""
    email = db.session.get_one(User, user_id).email
    which = [UserSession.token_hash != digest(token)] if others else []
    return _end(email, Message("sign out everywhere"), UserSession.user_id == user_id, *which)


def end_session(user_id: int, session: int) -> None:
    """End one session of a person. Raises ActionRefused when it is none of theirs, or has ended."""
    email = db.session.get_one(User, user_id).email
    mine = UserSession.user_id == user_id, UserSession.id == min(session, 2**62)
    refuse_unless(db.session.scalar(select(UserSession.id).where(*mine)), _("This session has ended already."))
    _end(email, Message("end session"), *mine)


def _end(email: str, action: str, *which, revoked: int = 0) -> int:
    ended = db.session.execute(delete(UserSession).where(*which)).rowcount
    told = Message("sessions ended: %(n)s", n=ended)
    if revoked:
        told = Message("sessions ended: %(n)s, API tokens revoked: %(m)s", n=ended, m=revoked)
    commit_audited(email, action, email, told)
    return ended


def choose_language(user_id: int, language: str) -> None:
    """The language of what is sent to a person. Raises FieldError for one that is not spoken here."""
    if language not in LANGUAGES:
        raise FieldError("language", _("Choose one of the languages in the list."))
    user = db.session.get_one(User, user_id)
    user.language = language
    commit_audited(user.email, Message("choose language"), user.email, language)


def switch_alerts(user_id: int, on: bool) -> None:
    """Whether the browsers of a person show new alerts."""
    db.session.execute(update(User).where(User.id == user_id).values(browser_alerts=int(on)))
    db.session.commit()


def turn_on(user_id: int, password: str, code: str, visitor: Visitor, token: str) -> list[str]:
    """Turn the second factor on; returns the recovery codes. Raises FieldError, ActionRefused."""
    with tried(user_id, password, visitor):
        return _right(user_id, visitor, second_factor.turn_on(user_id, code, token))


def change_factor(user_id: int, password: str, code: str, visitor: Visitor, off: bool) -> list[str]:
    """Turn the second factor off, or make new recovery codes, which are returned. Raises FieldError, ActionRefused."""
    with tried(user_id, password, visitor):
        return _right(user_id, visitor, second_factor.change(user_id, code, off))


def make_token(user_id: int, password: str, code: str, visitor: Visitor, name: str, scopes: list[str], expires_ms: int,
               actor: str) -> str:
    """Make an API token, as tokens.make; `code` is asked for when the second factor is on. Raises FieldError,
    ActionRefused."""
    with tried(user_id, password, visitor):
        if second_factor.is_on(user_id) and not code.strip():
            db.session.rollback()
            raise FieldError("passcode", _("Enter a code of your authenticator app, or a recovery code."))
        email = second_factor.use(user_id, code)  # in the transaction of the token
        _right(user_id, visitor, None if email is None else [])
        return tokens.make(user_id, email or "", name, scopes, expires_ms, actor)


def _right(user_id: int, visitor: Visitor, codes: list[str] | None) -> list[str]:
    if codes is None:
        wrong_code(db.session.get_one(User, user_id).email, visitor.device, now_ms())
        db.session.commit()
        raise FieldError("passcode", _("This code is not right, or it was used before. Wait for the next one."))
    return codes
