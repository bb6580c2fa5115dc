"""A secret of this installation in a file of DATA_DIR, made once and then kept."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from app.addresses import SettingError


def kept_key(path: Path, new: str) -> str:
    """The text of a file in DATA_DIR (mode 0600), which is created with `new` when missing. Raises SettingError."""
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            temporary = folder / f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}"
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                print(new, end="", file=out, flush=True)
                os.fsync(out.fileno())
            try:
                os.link(temporary, path)  # fails if another process was first: its key counts
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        return path.read_text().strip()
    except OSError as error:
        raise SettingError(f"DATA_DIR={str(folder)!r} cannot be used: {error.strerror}") from None
