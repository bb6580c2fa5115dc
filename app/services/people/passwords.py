"""Passwords: which are refused, how they are hashed and compared.

At most two hashes are computed at once, because forty at once took 1.1 GB. No database transaction is open meanwhile,
because a hash takes 0.15 s.
"""

from __future__ import annotations

import re
import secrets
import threading
import unicodedata
from functools import cache

from werkzeug.security import check_password_hash, generate_password_hash

from app.config import ROOT
from app.support.messages import _
from app.support.validation import ValidationError, check_text

SHORTEST, LONGEST = 8, 256
PRODUCT = ("ainstein", "ainsteinjobs", "jobs", "huey", "superadmin", "localhost", "firstpassword")
ROWS = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "azertyuiop",
        "1q2w3e4r5t6y7u8i9o0p", "1qaz2wsx3edc4rfv5tgb6yhn7ujm")
WAYS = tuple(way for row in ROWS for way in (row * 2, (row * 2)[::-1]))
EDGES = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_LEET = str.maketrans("013457@$!|+", "oieastasiit")
_hashing = threading.BoundedSemaphore(2)


def check_password(password: str, email: str = "") -> None:
    """Raises ValidationError for a password outside 8 to 256 characters and for one that is guessed first."""
    if not SHORTEST <= len(check_text(password)) <= LONGEST:
        raise ValidationError(_("The password must have 8 to 256 characters."))
    if _common(password, email):
        raise ValidationError(_("This password is among the first that are guessed. Use another, such as four words "
                                "that do not belong together."))


def _common(password: str, email: str) -> bool:
    """Whether it is one of these: a listed word or a name of the account or the product, also in other letters
    (P@ssw0rd), twice, or with up to eight digits and signs around it; one or two characters repeated; rows of the
    alphabet or the keyboard."""
    plain = unicodedata.normalize("NFKC", password).casefold()
    name, _at, host = email.casefold().partition("@")
    own = {re.sub(r"[\W\d_]", "", word) for word in (name, host, *host.split("."), *re.split(r"[._+-]", name))}
    words = _listed() | {word for word in own | {email.casefold(), name, host, *PRODUCT} if len(word) > 2}
    core = EDGES.sub("", plain)
    for text in (plain, plain.translate(_LEET), core, core.translate(_LEET), EDGES.sub("", core.translate(_LEET))):
        half = text[: len(text) // 2]
        if len(plain) - len(text) <= 8 and (text in words or (half * 2 == text and half in words)):
            return True
    return len(set(plain)) < 3 or _row(plain)


def _row(text: str) -> bool:
    """Whether it consists of rows of the alphabet, the digits or the keyboard, forwards or backwards, of three
    characters or more each."""
    left = text
    while left:
        most = max((n for way in WAYS for n in range(min(len(left), len(way)), 2, -1) if left[:n] in way), default=0)
        if not most:
            return False
        left = left[most:]
    return True


@cache
def _listed() -> frozenset[str]:
    """The words of app/common-passwords.txt, in lower case."""
    lines = (ROOT / "app" / "common-passwords.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def hash_password(password: str, email: str = "") -> str:
    """A salted scrypt hash. Raises ValidationError for a password that is refused."""
    check_password(password, email)
    with _hashing:
        return generate_password_hash(password, method="scrypt")


def matches(known: str | None, password: str) -> bool:
    """Whether the password belongs to the hash `known`; without a hash False, after the same time."""
    with _hashing:
        return check_password_hash(known or _dummy(), password[:1024]) and known is not None


@cache
def _dummy() -> str:
    return generate_password_hash(secrets.token_hex(16), method="scrypt")
