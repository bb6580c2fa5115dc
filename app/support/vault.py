"""Encrypts the secrets of connections; the keys stand in a file of their own, outside of the database.

secret + whose it is (tenant, service, address, user) -> Fernet (AES-128-CBC, HMAC-SHA256) -> text of a row
The file DATA_DIR/connections-key (0600) has one key a line: the first encrypts, all decrypt. The label is encrypted
with the secret, so that a row whose address was changed by hand, or a text that was copied to another row, does not
give its secret away. A missing or wrong key, a damaged text and another label all raise Unreadable.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from app.addresses import SettingError
from app.kept_key import kept_key
from app.support.messages import Message
from app.support.redaction import hide_lent
from app.support.sealing import box, broken

FILE = "connections-key"
UNREADABLE = Message("The secret of this connection cannot be read with the key in DATA_DIR: enter it again.")


class Unreadable(Exception):
    """A secret cannot be decrypted or encrypted; the text is a sentence."""


class Vault:
    """The keys of a DATA_DIR, as they stand in the file at each call. `repr` shows no key."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE

    def lines(self) -> list[str]:
        """The keys, the one that encrypts first; none without a file. Raises OSError."""
        try:
            return self.path.read_text("ascii", "replace").split()
        except FileNotFoundError:
            return []

    def seal(self, secret: str, label: str) -> str:
        """The encrypted secret. Creates the file with a key when there is none. Raises Unreadable when the file cannot
        be used."""
        try:
            if not self.path.exists():
                kept_key(self.path, new_key())
            return box(self.lines()).encrypt(json.dumps([label, secret]).encode()).decode()
        except (ValueError, OSError, SettingError):
            raise Unreadable(Message("No secret can be encrypted: the file DATA_DIR/%(name)s cannot be used.",
                                     name=FILE)) from None

    def open(self, sealed: str, label: str) -> str:
        """The secret, which is hidden in logs from now on. Raises Unreadable."""
        try:
            found, secret = json.loads(box(self.lines()).decrypt(sealed.encode()))
        except (*broken(), OSError):
            found = secret = None
        if found != label or not isinstance(secret, str):
            raise Unreadable(UNREADABLE)
        hide_lent(secret)
        return secret

    def reads(self, sealed: str, keys: list[str] | None = None) -> bool:
        """Whether one of the keys (those of the file without `keys`) opens an encrypted secret."""
        try:
            box(self.lines() if keys is None else keys).decrypt(sealed.encode())
        except (*broken(), OSError):
            return False
        return True

    def rotated(self, sealed: str) -> str:
        """The same secret encrypted with the first key. Raises Unreadable."""
        try:
            return box(self.lines()).rotate(sealed.encode()).decode()
        except broken():
            raise Unreadable(UNREADABLE) from None

    def keep(self, keys: list[str]) -> None:
        """Replace the keys, durably and in one step. Raises OSError."""
        temporary = self.path.with_name(f".{FILE}-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write("\n".join(keys) + "\n")
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def new_key() -> str:
    """A new random key."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def is_key(text: str) -> bool:
    """Whether a text is a key of this program."""
    try:
        return bool(box([text]))
    except ValueError:
        return False
