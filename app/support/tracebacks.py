"""Parses the text of a Python traceback into groups of frames: the project's own frames and those of libraries."""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter
from typing import Any

FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>[0-9]{1,9})(?:, in (?P<function>.+))?$')
MARKS = re.compile(r"^[\s~^]+$")
LIBRARY = re.compile(r"(?:site|dist)-packages/([^/]+)")


def parse_traceback(text: str | None, root: str) -> dict[str, Any] | None:
    """The parsed traceback, or None when the text contains no frame:

    `{"exception": str, "groups": [{"ours": bool, "names": str, "frames": [{"file", "line", "function", "ours", "name",
    "code": [{"n", "text", "hit"}]}]}]}`. Neighbouring frames with the same `ours` form a group. `root` is the project's
    folder with a trailing slash; a file is ours when it is below `root` and not in a virtual environment.
    """
    lines = (text or "").splitlines()
    frames: list[dict[str, Any]] = []
    tail = 0
    for at, line in enumerate(lines):
        found = FRAME.match(line)
        if found:
            library = LIBRARY.search(found["file"])
            ours = found["file"].startswith(root) and not library and "/.venv/" not in found["file"]
            frames.append({
                "file": found["file"].removeprefix(root) if ours else found["file"].rsplit("site-packages/", 1)[-1],
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
