"""The second factor of an account: codes of an authenticator app (TOTP, RFC 6238) and recovery codes.

`begin` writes a sealed secret that counts for nothing -> its page (`pending`) -> `turn_on` with a right code
sign-in -> `accept`, in the transaction of the session: a code counts 30 s, one step of tolerance each way, each step
once (`totp_step`), each recovery code once; of two who send one code at the same time one row is changed, one refused
Secrets are encrypted with a key of SECRET_KEY, together with the account's id, so that a copied row opens nothing; of
recovery codes (79 bits each) the row has SHA-256. What cannot be read is no code: a recovery code helps, or `reset`.
pyotp and segno are imported when they are needed, as most processes never ask for a code.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import unicodedata
from dataclasses import dataclass

from sqlalchemy import Update, delete, or_, select, update

from app.extensions import db
from app.models import User, UserSession
from app.services.audit import audit, commit_audited, refuse_unless
from app.services.people.attempts import digest
from app.support.clock import MINUTE_MS, now_ms
from app.support.messages import Message, _
from app.support.sealing import box_for, broken
from app.support.validation import stored_json

ISSUER = "Ainstein Jobs"
STEP_MS, TOLERANCE, RECOVERY, PENDING_MS = 30_000, 1, 10, 30 * MINUTE_MS
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
OFF = {"totp_secret": None, "totp_on_ms": None, "totp_step": None, "recovery_codes": None}


@dataclass(frozen=True)
class Pending:
    """A secret that is not on yet: as text in groups of four, and as SVG of its QR code. `repr` shows neither."""

    secret: str
    svg: str

    def __repr__(self) -> str:
        return "Pending()"


def is_on(user_id: int) -> bool:
    """Whether signing in needs a code."""
    return db.session.scalar(select(User.totp_on_ms).where(User.id == user_id)) is not None


def codes_left(user_id: int) -> int:
    """How many recovery codes of an account are unused."""
    return len(_hashes(db.session.scalar(select(User.recovery_codes).where(User.id == user_id))))


def begin(user_id: int) -> bool:
    """Give an account a new secret, which is not on yet; False when a second factor is on already."""
    import pyotp

    sealed = box_for("second factor").encrypt(json.dumps([user_id, pyotp.random_base32(), now_ms()]).encode()).decode()
    found = update(User).where(User.id == user_id, User.totp_on_ms.is_(None)).values(OFF | {"totp_secret": sealed})
    changed = db.session.execute(found).rowcount == 1
    db.session.commit()
    return changed


def pending(user_id: int) -> Pending | None:
    """The secret that waits for its first code; None after 30 minutes, and when there is none."""
    user = db.session.get(User, user_id)
    found = _opened(user) if user and user.totp_on_ms is None else None
    if user is None or found is None or abs(now_ms() - found[1]) > PENDING_MS:
        return None
    import pyotp
    import segno

    uri = pyotp.TOTP(found[0]).provisioning_uri(name=user.email, issuer_name=ISSUER)
    drawn = segno.make(uri, micro=False).svg_inline(scale=5, border=4, dark="#000", light="#fff", omitsize=False)
    return Pending(" ".join(re.findall(".{1,4}", found[0])), drawn)


def turn_on(user_id: int, code: str, token: str) -> list[str] | None:
    """Turn the waiting secret on with a right code; returns the recovery codes, or None for a wrong one. Sessions other
    than that of `token` end. Raises ActionRefused when there is nothing to turn on."""
    user, now = _locked(user_id), now_ms()
    found = _opened(user) if user and user.totp_on_ms is None else None
    refuse_unless(found and abs(now - found[1]) <= PENDING_MS, _("The set-up is over: begin again."), False)
    if (step := _step(found[0], cleaned(code), now)) is None:
        db.session.rollback()
        return None
    codes = _new_codes(user)
    user.totp_on_ms, user.totp_step = now, step
    others = UserSession.user_id == user.id, UserSession.token_hash != digest(token)
    db.session.execute(delete(UserSession).where(*others))
    commit_audited(user.email, Message("turn on second factor"), user.email, Message("other sessions ended"))
    return codes


def change(user_id: int, code: str, off: bool) -> list[str] | None:
    """With a right code turn the second factor off (returns []), or make new recovery codes; None for a wrong code.
    Raises ActionRefused when it is not on."""
    user = _locked(user_id)
    refuse_unless(user and user.totp_on_ms is not None, _("The second factor is not on."), False)
    if not accept(user, code, now_ms()):
        db.session.rollback()
        return None
    codes: list[str] = []
    if off:
        _clear(user)
    else:
        codes = _new_codes(user)
    action = Message("turn off second factor") if off else Message("new recovery codes")
    commit_audited(user.email, action, user.email, Message("done"))
    return codes


def use(user_id: int, code: str) -> str | None:
    """The address of an account whose second factor is off, or for which the code is right and is used up, in a
    transaction that stays open; None for a wrong code."""
    user = _locked(user_id)
    if user is None or user.totp_on_ms is not None and not accept(user, code, now_ms()):
        db.session.rollback()
        return None
    return user.email


def reset(email: str, actor: str = "code") -> None:
    """Take the second factor from an account whose owner cannot give a code, and end its sessions. Raises
    ActionRefused."""
    user = db.session.scalar(select(User).where(User.email == email.strip().lower()).with_for_update())
    refuse_unless(user, _("There is no such account."))
    refuse_unless(user.totp_on_ms is not None, _("%(email)s has no second factor.", email=user.email), False)
    _clear(user)
    db.session.execute(delete(UserSession).where(UserSession.user_id == user.id))
    commit_audited(actor, Message("reset second factor"), user.email, Message("sessions ended"))


def accept(user: User, code: str, now: int) -> bool:
    """Whether a code is right at `now` (ms) and used for the first time; then it is used up, in the caller's
    transaction."""
    text = cleaned(code)
    if re.fullmatch("[0-9]{6}", text):
        found = _opened(user)
        if found is None or (step := _step(found[0], text, now)) is None:
            return False
        later = or_(User.totp_step.is_(None), User.totp_step < step)
        sealed = box_for("second factor").rotate(user.totp_secret.encode()).decode()  # with the key of today
        used = update(User).where(User.id == user.id, User.totp_on_ms.is_not(None), later).values(
            totp_step=step, totp_secret=sealed)
        return _once(user, used)
    left = _hashes(user.recovery_codes)
    if (own := _hash(user.id, text)) not in left:
        return False
    left.remove(own)
    used = update(User).where(User.id == user.id, User.totp_on_ms.is_not(None),
                              User.recovery_codes == user.recovery_codes)
    once = _once(user, used.values(recovery_codes=json.dumps(left)))
    if once:
        audit(user.email, Message("use recovery code"), user.email, Message("left: %(n)s", n=len(left)))
    return once


def _once(user: User, change: Update) -> bool:
    """Whether the guarded change found the row as it has to be."""
    done = db.session.execute(change, execution_options={"synchronize_session": False}).rowcount == 1
    db.session.expire(user)
    return done


def cleaned(code: str) -> str:
    """A code without blanks and dashes, in small letters."""
    return re.sub(r"[\s-]", "", unicodedata.normalize("NFKC", code[:100])).lower()


def _step(secret: str, code: str, now: int) -> int | None:
    """The latest step at which a code is right: the present one, the next, the one before."""
    import pyotp

    totp, step = pyotp.TOTP(secret), now // STEP_MS
    right = [n for n in range(step + TOLERANCE, step - TOLERANCE - 1, -1)
             if hmac.compare_digest(totp.generate_otp(n).encode(), code.encode())]
    return right[0] if right else None


def _locked(user_id: int) -> User | None:
    return db.session.scalar(select(User).where(User.id == user_id).with_for_update()
                             .execution_options(populate_existing=True))


def _clear(user: User) -> None:
    for name, value in OFF.items():
        setattr(user, name, value)


def _new_codes(user: User) -> list[str]:
    codes = ["-".join("".join(secrets.choice(LETTERS) for _n in range(4)) for _g in range(4)) for _c in range(RECOVERY)]
    user.recovery_codes = json.dumps([_hash(user.id, cleaned(code)) for code in codes])
    return codes


def _hash(user_id: int, code: str) -> str:
    return digest(f"{user_id}:{code}")


def _hashes(stored: object) -> list[str]:
    found = stored_json(stored) if isinstance(stored, str) else None
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def _opened(user: User) -> tuple[str, int] | None:
    """Secret of an account and when it was made (ms); None when it cannot be read, or is another's."""
    import pyotp

    try:
        id_, secret, at = json.loads(box_for("second factor").decrypt(user.totp_secret))
        pyotp.TOTP(secret).byte_secret()
    except (*broken(), AttributeError):
        return None
    return (secret, at) if id_ == user.id and isinstance(at, int) else None
