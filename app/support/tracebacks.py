"""A traceback's text as frames: the exception first, library frames folded, the project's own marked."""

from __future__ import annotations

import re
from typing import Any

FRAME = re.compile(r'^\s*File "(?P<file>.+)", line (?P<line>[0-9]{1,9})(?:, in (?P<function>.+))?$')
MARKS = re.compile(r"^[\s~^]+$")
LIBRARY = re.compile(r"(?:site|dist)-packages/([^/]+)")


def parse_traceback(text: str | None, root: str) -> dict[str, Any] | None:
    """`{"exception", "groups": [{"ours", "names", "frames": [...]}]}`, or None when the text holds no frame.

    `root` is the project's folder with a trailing slash: what lies in it (but not in an environment) is ours.
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
        elif frames and at == tail and line.startswith("    "):
            if not MARKS.match(line):
                frames[-1]["code"].append({"n": frames[-1]["line"], "text": line.strip(), "hit": True})
            tail = at + 1
        elif frames and at == tail and MARKS.match(line):
            tail = at + 1
    if not frames:
        return None
    groups: list[dict[str, Any]] = []
    for frame in frames:
        if not groups or groups[-1]["ours"] != frame["ours"]:
            groups.append({"ours": frame["ours"], "frames": []})
        groups[-1]["frames"].append(frame)
    for group in groups:
        group["names"] = ", ".join(dict.fromkeys(f["name"] for f in group["frames"]))
    return {"exception": "\n".join(lines[tail:]).strip(), "groups": groups}
