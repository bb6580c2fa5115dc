"""Detects the encoding of a text file. All bytes of the file are read, 1 MB at a time.

    find_encoding(path) -> Encoding("windows-1252", "cp1252")

The first rule that applies decides:
1. a byte order mark;
2. the encoding that a person chose, if the file can be decoded with it;
3. NUL bytes at regular places: UTF-16 or UTF-32;
4. the whole file is valid UTF-8;
5. the likelihood of the letters past ASCII (encodings.py), in a sample with each byte value of the file.
A file that is not text, or has an encoding that is not supported, raises ValidationError with a sentence that says what
to do. `Unsure` means that a person must choose.
"""

from __future__ import annotations

import codecs
import io
import re
from pathlib import Path
from typing import NamedTuple

from app.integrations.encodings import CLOSE, ENCODINGS, Reading, likely
from app.integrations.text_sample import ASCII, chunks, line_ends, lines_with_high_bytes, sample
from app.support.messages import Message
from app.support.validation import ValidationError

NAMES = ("utf-8", "utf-16", *ENCODINGS)
SHOWN_LINES, SHOWN_CHARS, SHOWN_READINGS = 3, 70, 4
# First bytes of files that people upload in place of CSV.
_MAGIC = (
    (b"PK\x03\x04", Message("an Excel workbook or a ZIP archive")),
    (b"\xd0\xcf\x11\xe0", Message("an Excel workbook")),
    (b"%PDF", Message("a PDF")),
    (b"\x1f\x8b", Message("a compressed file")),
    (b"\x89PNG", Message("a picture")),
    (b"\xff\xd8\xff", Message("a picture")),
    (b"SQLite format 3", Message("a database")),
)
_MARKS = (  # UTF-32 first, because its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32"),
    (codecs.BOM_UTF8, "utf-8", "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16"),
)
_CONTROL = bytes(set(range(32)) - set(b"\0\t\n\x0b\x0c\r\x1a\x1b"))
_HIGH = bytes(range(128, 256))
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


class Encoding(NamedTuple):
    """`name` is the one that people choose, `codec` the one that Python decodes with."""

    name: str
    codec: str

    @property
    def shown(self) -> str:
        """The name for people, like 'Windows-1252'."""
        return shown(self.name)


class Unsure(ValidationError):
    """Several encodings are about equally likely. `readings`: (name, [(line number, text), ...]) of each encoding, for
    lines in which they differ."""

    def __init__(self, readings: list[tuple[str, list[tuple[int, str]]]]) -> None:
        self.readings = readings
        names = ", ".join(shown(name) for name, _ in readings)
        lines = "\n".join(f"{shown(name)}: " + " | ".join(f"{n}: {text}" for n, text in found)
                          for name, found in readings)
        super().__init__(Message(
            "The file may be in %(names)s, and its text does not tell which. "
            "Import it again with the encoding in which these lines are right, or save it as CSV UTF-8.\n%(lines)s",
            names=names, lines=lines))


def shown(name: str) -> str:
    """'windows-1252' as 'Windows-1252', 'koi8-r' as 'KOI8-R', 'mac-roman' as 'Mac Roman'."""
    return name.title().replace("Mac-", "Mac ") if name.startswith(("windows", "mac")) else name.upper()


def find_encoding(path: Path, chosen: str | None = None) -> Encoding:
    """The encoding of a file; a byte order mark wins over `chosen`, one of NAMES. Raises ValidationError and Unsure."""
    with open(path, "rb") as stream:
        head = stream.read(1 << 20)
        _refuse_magic(head)
        found = _by_mark(head) or (_by_choice(head, chosen) if chosen else _wide(head[:4096]))
        if found is None:
            _refuse_control(head[:4096])
            bad = _first_not_utf8(stream)
            if not bad:
                return Encoding("utf-8", "utf-8-sig")
            if _mostly_utf8(stream):
                raise _damaged(bad)
            found = _by_letters(stream, bad)
        if line := _first_bad(stream, found.codec):
            if found.name == "utf-8":
                raise _damaged(line)
            raise ValidationError(Message(
                "The file is not %(name)s, or damaged: line %(n)s cannot be read in it. "
                "Choose another encoding, or save it as CSV UTF-8.", name=found.shown, n=line))
    return found


def _damaged(line: int) -> ValidationError:
    return _save_again(Message(
        "The file is UTF-8 but damaged: line %(n)s has a byte that does not belong there, "
        "and read as Windows-1252 its accents would be wrong.", n=line))


def _not_read(name: str) -> ValidationError:
    return _save_again(Message("The file seems to be in %(name)s, which is not read.", name=name))


def _save_again(why: Message) -> ValidationError:
    return ValidationError(Message("%(why)s Save it again as CSV UTF-8 and upload that file.", why=why))


def _by_mark(head: bytes) -> Encoding | None:
    return next((Encoding(name, codec) for mark, name, codec in _MARKS if head.startswith(mark)), None)


def _by_choice(head: bytes, chosen: str) -> Encoding:
    if chosen == "utf-16":
        return _wide(head) or Encoding("utf-16", "utf-16-le")
    return Encoding("utf-8", "utf-8-sig") if chosen == "utf-8" else Encoding(chosen, ENCODINGS[chosen][0])


def _refuse_magic(head: bytes) -> None:
    for magic, name in _MAGIC:
        if head.startswith(magic):
            raise ValidationError(Message(
                "The file is %(kind)s, not CSV. Open it in its program and save it as CSV UTF-8.", kind=name))


def _refuse_control(head: bytes) -> None:
    if len(head) - len(head.translate(None, _CONTROL)) > len(head) * 0.02:
        raise ValidationError(Message(
            "The file is not text: it is full of control characters. Upload a CSV file saved as UTF-8 text."))


def _wide(head: bytes) -> Encoding | None:
    """UTF-16 or UTF-32 without a mark, else None: ASCII characters have NUL bytes, always on the same side."""
    four = [head[place::4].count(0) for place in range(4)]
    many, all_of_them = max(4, len(head) // 100), len(head) // 4 * 0.9
    for one, other, codec in ((3, 2, "utf-32-le"), (0, 1, "utf-32-be")):
        if min(four[one], four[other]) > max(all_of_them, 4):
            return Encoding("utf-32", codec)
    even, odd = four[0] + four[2], four[1] + four[3]
    if max(even, odd) < many or min(even, odd) * 20 > max(even, odd):
        return None
    return Encoding("utf-16", "utf-16-be" if even > odd else "utf-16-le")


def _first_not_utf8(stream: io.BufferedReader) -> int:
    """Line of the first byte that is not UTF-8, 0 if all are. Raises ValidationError for NUL and ISO-2022-JP."""
    decoder, lines, bad = codecs.getincrementaldecoder("utf-8")(), 1, 0
    for chunk in chunks(stream):
        if b"\0" in chunk:
            line = lines + line_ends(chunk, chunk.index(0))
            raise _save_again(Message("The file has a NUL byte in line %(n)s, so it is damaged or no text.", n=line))
        if b"\x1b$" in chunk:
            raise _not_read("ISO-2022-JP")
        bad = bad or _bad_line(decoder, chunk, lines)
        lines += line_ends(chunk)
    return bad or (lines if decoder.getstate()[0] else 0)


def _first_bad(stream: io.BufferedReader, codec: str) -> int:
    """Line of the first byte that the codec cannot decode or decodes as NUL; 0 if there is none."""
    decoder, lines = codecs.getincrementaldecoder(codec)(), 1
    for chunk in chunks(stream):
        try:
            text = decoder.decode(chunk)
        except UnicodeDecodeError as error:
            return lines + line_ends(error.object[: error.start].replace(b"\0", b""))
        if "\0" in text:
            return lines + text.count("\n", 0, text.index("\0"))
        lines += text.count("\n") + text.count("\r") - text.count("\r\n")
    return lines if decoder.getstate()[0] else 0


def _bad_line(decoder: codecs.IncrementalDecoder, chunk: bytes, lines: int) -> int:
    """Line of the first byte of the chunk that is not UTF-8; 0 if there is none."""
    held = len(decoder.getstate()[0])
    try:
        decoder.decode(chunk)
    except UnicodeDecodeError as error:
        return lines + line_ends(chunk, max(error.start - held, 0))
    return 0


def _mostly_utf8(stream: io.BufferedReader) -> bool:
    """Whether most bytes past ASCII are valid UTF-8, so that the file is damaged UTF-8."""
    good = stray = 0
    for chunk in chunks(stream):
        rest, n = _MULTIBYTE.subn(b"", chunk)
        good, stray = good + n, stray + len(rest) - len(rest.translate(None, _HIGH))
    return good > 2 * stray


def _by_letters(stream: io.BufferedReader, bad: int) -> Encoding:
    """The likeliest single-byte encoding. Raises Unsure when others are about equally likely, and ValidationError when
    none gives a meaningful text."""
    pieces, seen, undefined = sample(stream)
    readings = likely([piece for _, piece in pieces], seen)
    top = next((reading for reading in readings if reading.sense), None)
    if top is None:
        text = lines_with_high_bytes(stream)
        from charset_normalizer import from_bytes  # imported here: it costs 3 MB, only for a refused file

        best = from_bytes(text).best() if len(text.translate(None, ASCII)) > 15 else None
        if best is not None and best.encoding not in {codec for codec, _ in ENCODINGS.values()}:
            raise _not_read(best.encoding.replace("_", "-").upper())
        if undefined:
            raise _save_again(Message(
                "The file is neither UTF-8 (line %(a)s) nor Windows-1252 (line %(b)s).", a=bad, b=undefined))
        raise _save_again(Message(
            "The file is not UTF-8 (line %(n)s), and in no encoding that is known here is it a text.", n=bad))
    close = {top.texts: top}
    for reading in readings:
        if reading.score > top.score - CLOSE:
            close.setdefault(reading.texts, reading)
    if len(close) > 1:
        raise Unsure(_differences(list(close.values())[:SHOWN_READINGS], [line for line, _ in pieces]))
    return Encoding(top.encoding, ENCODINGS[top.encoding][0])


def _differences(readings: list[Reading], lines: list[int]) -> list[tuple[str, list[tuple[int, str]]]]:
    """(encoding, [(line number, text), ...]) of each reading, for the first three lines in which they differ."""
    found: dict[int, int] = {}  # index of the first differing piece of a line, by line number
    for at, line in enumerate(lines):
        if len({reading.texts[at] for reading in readings}) > 1:
            found.setdefault(line, at)
    places = list(found.items())[:SHOWN_LINES]
    return [(r.encoding, [(line, _around(r.texts[at])) for line, at in places]) for r in readings]


def _around(text: str) -> str:
    """The part of a piece around its first character past ASCII, at most 70 characters."""
    at = next((i for i, c in enumerate(text) if ord(c) > 127), 0)
    start = max(0, at - SHOWN_CHARS // 2)
    return text[start : start + SHOWN_CHARS].strip()
