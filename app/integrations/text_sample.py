"""Takes a bounded sample of a text file; it contains each byte value past ASCII that occurs anywhere in the file."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

CHUNK = 1 << 20
ASCII = bytes(range(128))
SAMPLE, EACH = 160, 2  # pieces of lines in a sample; pieces at least for each byte value past ASCII
BEFORE, AFTER = 60, 120  # bytes of a piece before and after its first byte past ASCII
_HIGH = re.compile(rb"[\x80-\xff]")
_NOT_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")


def chunks(stream: io.BufferedReader) -> Iterator[bytes]:
    """The file in chunks of 1 MB from its start; no CRLF is split."""
    stream.seek(0)
    while chunk := stream.read(CHUNK):
        yield chunk + stream.read(1) if chunk.endswith(b"\r") else chunk


def line_ends(chunk: bytes, upto: int | None = None) -> int:
    """Number of line ends (LF, CRLF or CR) before position `upto`."""
    return chunk.count(b"\n", 0, upto) + chunk.count(b"\r", 0, upto) - chunk.count(b"\r\n", 0, upto)


def sample(stream: io.BufferedReader) -> tuple[list[tuple[int, bytes]], bytes, int]:
    """(pieces, bytes, line): pieces of lines with bytes past ASCII from the whole file, each with its line number; the
    byte values past ASCII that the file contains; the first line with a byte undefined in Windows-1252, or 0."""
    size = stream.seek(0, io.SEEK_END)
    each, times, lines, undefined = max(1, SAMPLE * CHUNK // max(size, CHUNK)), dict.fromkeys(range(128, 256), 0), 1, 0
    found: list[tuple[int, bytes]] = []
    for chunk in chunks(stream):
        rare = {byte for byte in set(chunk.translate(None, ASCII)) if times[byte] < EACH}
        line, at = lines, 0
        for start, end in _pieces(chunk, rare, each):
            line, at, piece = line + line_ends(chunk[at:start]), start, chunk[start:end]
            found.append((line, piece))
            for byte in set(piece.translate(None, ASCII)):
                times[byte] += 1
        if not undefined and (bad := _NOT_1252.search(chunk)):
            undefined = lines + line_ends(chunk, bad.start())
        lines += line_ends(chunk)
    return found, bytes(byte for byte, n in times.items() if n), undefined


def lines_with_high_bytes(stream: io.BufferedReader) -> bytes:
    """About 32 KB of whole lines from the first line with a byte past ASCII; b"" when there is none."""
    for chunk in chunks(stream):
        if found := _HIGH.search(chunk):
            start = max(chunk.rfind(b"\n", 0, found.start()), chunk.rfind(b"\r", 0, found.start())) + 1
            part = chunk[start : start + 32768]
            return part[: max(part.rfind(b"\n"), part.rfind(b"\r")) + 1] or part
    return b""


def _pieces(chunk: bytes, rare: set[int], each: int) -> list[tuple[int, int]]:
    """(start, end) of the first `each` pieces of a chunk and of those at the first places of its rare bytes, in order.

    The bytes are searched first, because a pattern for whole pieces took 60 steps for each byte of ASCII.
    """
    found: dict[int, int] = {}
    end = 0
    while len(found) < each and (high := _HIGH.search(chunk, end)):
        start, end = _around(chunk, high.start())
        found[start] = end
    for byte in rare:
        at = -1
        for _ in range(EACH):
            if (at := chunk.find(byte, at + 1)) < 0:
                break
            start, end = _around(chunk, at)
            found.setdefault(start, end)
    return sorted(found.items())


def _around(chunk: bytes, at: int) -> tuple[int, int]:
    """(start, end) of the part of a line around a byte: at most 60 bytes before it and 120 after it."""
    first, last = max(at - BEFORE, 0), at + AFTER
    start = max(chunk.rfind(b"\n", first, at), chunk.rfind(b"\r", first, at), first - 1) + 1
    ends = [end for end in (chunk.find(b"\n", at, last), chunk.find(b"\r", at, last)) if end >= 0]
    return start, min(ends, default=min(last, len(chunk)))
