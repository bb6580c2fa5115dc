"""Which encoding a file of text has, after a look at every byte of it (1 MB at a time).

What is no text, or of no encoding that is read, raises BadInput: a sentence that says what to do.
"""

from __future__ import annotations

import codecs
import io
import re
from pathlib import Path

from app.strict import BadInput

CHUNK = 1 << 20
AGAIN = "Save it again as CSV UTF-8 and upload that file."
# Beginnings of files that people take for CSV; each of them is sent sooner or later.
_MAGIC = (
    (b"PK\x03\x04", "an Excel workbook or a ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a compressed file"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"SQLite format 3", "a database"),
)
_CONTROL = bytes(set(range(32)) - set(b"\0\t\n\x0b\x0c\r\x1a\x1b"))
_HIGH = bytes(range(128, 256))
_NOT_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def detect_encoding(path: Path) -> str:
    """'utf-8-sig' (with or without BOM) or 'cp1252'.

    BadInput for UTF-16 and UTF-32, NUL bytes, binary files, bytes that neither encoding knows,
    and UTF-8 with damage (Windows-1252 would take it, and garble every accent).
    """
    decoder, lines = codecs.getincrementaldecoder("utf-8")(), 1
    bad = undefined = 0  # lines of the first byte that is not UTF-8, not Windows-1252
    with open(path, "rb") as stream:
        chunk = head = stream.read(CHUNK)
        _refuse_no_text(head)
        while chunk:
            if b"\0" in chunk:
                line = lines + chunk.count(b"\n", 0, chunk.index(0))
                raise BadInput(f"The file has a NUL byte in line {line}, so it is damaged or no text. {AGAIN}")
            following = stream.read(CHUNK)
            bad = bad or _bad_line(decoder, chunk, not following, lines)
            if not undefined and (found := _NOT_1252.search(chunk)):
                undefined = lines + chunk.count(b"\n", 0, found.start())
            lines += chunk.count(b"\n")
            chunk = following
        if not bad:
            return "utf-8-sig"
        if head.startswith(codecs.BOM_UTF8) or _mostly_utf8(stream):
            raise BadInput(
                f"The file is UTF-8 but damaged: line {bad} has a byte that does not belong there, and read as "
                f"Windows-1252 its accents would be wrong. {AGAIN}"
            )
    if undefined:
        raise BadInput(f"The file is neither UTF-8 (line {bad}) nor Windows-1252 (line {undefined}). {AGAIN}")
    return "cp1252"


def _refuse_no_text(head: bytes) -> None:
    for magic, name in _MAGIC:
        if head.startswith(magic):
            raise BadInput(f"The file is {name}, not CSV. Open it in its program and save it as CSV UTF-8.")
    some = head[:4096]
    half, nuls = len(some) / 2, sorted((some[::2].count(0), some[1::2].count(0)))
    marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE))
    if marked or (nuls[1] > half * 0.4 and nuls[0] < half * 0.1):
        raise BadInput(f"The file is UTF-16 or UTF-32 text (some programs say 'Unicode'), which is not read. {AGAIN}")
    if len(some) - len(some.translate(None, _CONTROL)) > len(some) * 0.02:
        raise BadInput("The file is not text: it is full of control characters. Upload a CSV file saved as UTF-8 text.")


def _bad_line(decoder: codecs.IncrementalDecoder, chunk: bytes, final: bool, lines: int) -> int:
    """Line of the first byte of the chunk that is not UTF-8; 0 if there is none."""
    held = len(decoder.getstate()[0])
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError as error:
        return lines + chunk.count(b"\n", 0, max(error.start - held, 0))
    return 0


def _mostly_utf8(stream: io.BufferedReader) -> bool:
    """Whether most bytes past ASCII are UTF-8, so that the others are damage."""
    good = stray = 0
    stream.seek(0)
    while chunk := stream.read(CHUNK):
        rest, n = _MULTIBYTE.subn(b"", chunk)
        good, stray = good + n, stray + len(rest) - len(rest.translate(None, _HIGH))
    return good > 2 * stray
