"""The git revision of the code that a process has loaded, read from git's files without the git program.

CODE_REVISION, else the repository of the modules of jobs that lie outside the project, else that of the project
    -> .git (a folder, or the file of a worktree or submodule) -> HEAD -> the branch: its own file, or packed-refs
A worker that starts later runs what its consumer had loaded, so the consumer reads it once, at its start. Whatever is
missing, damaged or not readable gives None, never an error.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

MOST, MOST_READ, MOST_HOPS = 40, 4096, 5  # characters of a revision; bytes of a small file; references that follow
SHORT, MOST_REPOSITORIES = 12, 3
_HEX = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_ODD = re.compile(r"[^0-9A-Za-z._-]+")


def revision(root: Path, modules: Iterable[str] = ()) -> str | None:
    """At most 40 characters: CODE_REVISION, or the commit that is checked out, or of several repositories the first
    12 digits of each, with hyphens between."""
    if given := _ODD.sub("-", os.environ.get("CODE_REVISION", "").strip())[:MOST]:
        return given
    files = (getattr(sys.modules.get(name), "__file__", None) for name in modules)
    outside = [Path(file).parent for file in files if file and not Path(file).is_relative_to(root)]
    found = list(dict.fromkeys(filter(None, map(of_folder, outside))))
    if len(found) > 1:
        return "-".join(one[:SHORT] for one in found[:MOST_REPOSITORIES])
    return found[0] if found else of_folder(root)


def of_folder(folder: Path) -> str | None:
    """The commit checked out in the repository that holds a folder, 40 hexadecimal digits; None without one."""
    try:
        folder = folder.resolve()
        for place in (folder, *folder.parents):
            if (place / ".git").exists():
                return _head(place / ".git")
    except (OSError, ValueError):
        return None
    return None


def _head(git: Path) -> str | None:
    if git.is_file():  # of a worktree or a submodule
        named = _text(git)
        if not named.startswith("gitdir:"):
            return None
        git = git.parent / named.removeprefix("gitdir:").strip()
    common = git / _text(git / "commondir") if (git / "commondir").is_file() else git
    found = _text(git / "HEAD")
    for _ in range(MOST_HOPS):
        if not found.startswith("ref:"):
            break
        name = found.removeprefix("ref:").strip()
        if not name or name.startswith("/") or ".." in name:
            return None
        files = (place / name for place in (git, common))
        found = next((_text(file) for file in files if file.is_file()), "") or _packed(common / "packed-refs", name)
    return found[:MOST] if _HEX.fullmatch(found) else None


def _text(path: Path) -> str:
    with open(path, "rb") as file:
        return file.read(MOST_READ).decode().strip()


def _packed(path: Path, name: str) -> str:
    """The commit of a branch among the packed ones; lines are "commit name"."""
    if not path.is_file():
        return ""
    with open(path, encoding="utf-8", errors="replace") as file:
        return next((commit for commit, _, found in (line.rstrip("\n").partition(" ") for line in file)
                     if found == name), "")
