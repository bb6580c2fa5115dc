"""Lines of a text that fit a width, whatever measures it: points of a font, or columns of a screen."""

from __future__ import annotations

from collections.abc import Callable

Measure = Callable[[str], float]


def wrap(text: str, measure: Measure, room: float, most: int = 10_000) -> list[str]:
    """At least one line and at most `most`, broken at blanks, long words anywhere; an ellipsis stands for the rest."""
    found: list[str] = []
    line, words = "", text.split(" ")[::-1]
    while words:
        word = words.pop()
        longer = f"{line} {word}" if line else word
        if measure(longer) <= room:
            line = longer
            continue
        if line:
            words.append(word)
        else:
            fits = fitting(word, measure, room)
            line = word[:fits]
            words += [word[fits:]] if word[fits:] else []
        found.append(line)
        line = ""
        if len(found) == most and words:
            return [*found[:-1], cut(" ".join([found[-1], *words[::-1]]), measure, room)]
    return [*found, line] if line or not found else found


def cut(text: str, measure: Measure, room: float) -> str:
    """The text, with an ellipsis at its end where it is wider than `room`."""
    if measure(text) <= room:
        return text
    return text[:fitting(text, measure, room - measure("…"))].rstrip() + "…"


def fitting(text: str, measure: Measure, room: float) -> int:
    """How many characters from the start fit, at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if measure(text[:middle]) <= room else (low, middle - 1)
    return low
