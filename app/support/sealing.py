"""Encrypts short texts of the database (Fernet: AES-128-CBC and HMAC-SHA256, a random IV).

`cryptography` is imported when something is encrypted: most processes never do, and each has 2 MB less without it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from app.support.settings import settings

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet


def box(keys: list[str]) -> MultiFernet:
    """Encrypts with the first key, decrypts with all. ValueError when one is no key, or there is none."""
    from cryptography.fernet import Fernet, MultiFernet

    return MultiFernet([Fernet(key) for key in keys])


def box_for(purpose: str) -> MultiFernet:
    """A box with the keys of SECRET_KEY and its fallbacks for one purpose."""
    return box([base64.urlsafe_b64encode(bytes.fromhex(key)).decode() for key in settings().keys(purpose)])


def broken() -> tuple[type[Exception], ...]:
    """What a wrong key or a damaged text raises."""
    from cryptography.fernet import InvalidToken

    return InvalidToken, ValueError, TypeError
