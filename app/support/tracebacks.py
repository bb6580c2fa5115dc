"""Parses the text of a Python traceback into groups of frames: the project's own frames and those of libraries."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>[0-9]{1,9})(?:, in (?P<function>.+))?$')
MARKS = re.compile(r"^[\s~^]+$")
LIBRARY = re.compile(r"(?:site|dist)-packages/([^/]+)")


def folders_of(modules: Iterable[str]) -> dict[str, str]:
    """The folders of imported modules as `parse_traceback` takes them: of a package its own, of a module file the one
    that it lies in. What is not imported has none."""
    found = {}
    for name in modules:
        top = sys.modules.get(name.partition(".")[0])
        for folder in map(Path, getattr(top, "__path__", ())):
            found[f"{folder}/"] = f"{folder.parent}/"
        if not hasattr(top, "__path__") and getattr(top, "__file__", None):
            found[f"{Path(top.__file__).parent}/"] = f"{Path(top.__file__).parent}/"
    return found


def parse_traceback(text: str | None, root: str, also: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """The parsed traceback, or None when the text contains no frame:

    `{"exception": str, "groups": [{"ours": bool, "names": str, "frames": [{"file", "line", "function", "ours", "name",
    "code": [{"n", "text", "hit"}]}]}]}`. Neighbouring frames with the same `ours` form a group. `root` is the project's
    folder with a trailing slash; `also` has further folders of the team, each with the part of it that is not shown. A
    file is ours when it is below one of them and neither in a virtual environment nor an installed package.
    """
    own = {root: root} | dict(also or {})
    lines = (text or "").splitlines()
    frames: list[dict[str, Any]] = []
    tail = 0
    for at, line in enumerate(lines):
        found = FRAME.match(line)
        if found:
            library = LIBRARY.search(found["file"])
            below = next((folder for folder in own if found["file"].startswith(folder)), None)
            ours = below is not None and not library and "/.venv/" not in found["file"]
            frames.append({
                "file": (found["file"].removeprefix(own[below]) if ours
                         else found["file"].rsplit("site-packages/", 1)[-1]),
                "line": int(found["line"]), "function": found["function"] or "", "ours": ours, "code": [],
                "name": library[1].removesuffix(".py") if library else "Python",
            })
            tail = at + 1
        elif frames and at == tail and (line.startswith("    ") or MARKS.match(line)):
            if not MARKS.match(line):
                frames[-1]["code"].append({"n": frames[-1]["line"], "text": line.strip(), "hit": True})
            tail = at + 1
    if not frames:
        return None
    groups = [{"ours": ours, "frames": list(found)} for ours, found in groupby(frames, key=itemgetter("ours"))]
    for group in groups:
        group["names"] = ", ".join(dict.fromkeys(frame["name"] for frame in group["frames"]))
    return {"exception": "\n".join(lines[tail:]).strip(), "groups": groups}
