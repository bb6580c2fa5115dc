"""Reads a PDF as people and their programs do: by eye (texts and where they stand), by ear (the tree of tags), by click."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from pypdf import PdfReader
from pypdf.generic import ContentStream
from reportlab.pdfbase import pdfmetrics

from app.services.reports.pdf_text import BOLD, REGULAR


@dataclass(frozen=True)
class Placed:
    """A text of a page, its left and right end and its base, in points."""

    page: int
    text: str
    left: float
    right: float
    base: float


def opened(data: bytes) -> PdfReader:
    return PdfReader(io.BytesIO(data), strict=True)


def placed(reader: PdfReader) -> list[Placed]:
    """Every text that is drawn, in the order of drawing."""
    found = []
    for n, page in enumerate(reader.pages):
        def visit(text, cm, tm, font, size, n=n):
            if text.strip():
                name = BOLD if "Semi" in str((font or {}).get("/BaseFont", "")) else REGULAR
                x, y = tm[4] + cm[4], tm[5] + cm[5]
                found.append(Placed(n, text.strip(), x, x + pdfmetrics.stringWidth(text.strip(), name, size), y))

        page.extract_text(visitor_text=visit)
    return found


def links(reader: PdfReader) -> list[str]:
    return [annotation.get_object()["/A"]["/URI"] for page in reader.pages for annotation in page.get("/Annots") or []]


def marked(reader: PdfReader) -> dict[tuple[int, int], str]:
    """(page, number of the mark) -> its text, or its ActualText. Checks that marks do not overlap and leave nothing out."""
    found = {}
    for n, page in enumerate(reader.pages):
        maps = {name: _unicode(font.get_object()) for name, font in page["/Resources"]["/Font"].items()}
        inside, current, actual, font = None, [], None, None
        for operands, operator in ContentStream(page.get_contents(), reader).operations:
            if operator in (b"BDC", b"BMC"):
                assert inside is None, "a mark inside a mark"
                inside, current = operands[0], []
                properties = operands[1] if operator == b"BDC" else {}
                number, actual = properties.get("/MCID"), properties.get("/ActualText")
            elif operator == b"EMC":
                assert inside is not None
                if inside != "/Artifact":
                    found[n, number] = str(actual) if actual is not None else "".join(current)
                inside = None
            elif operator == b"Tf":
                font = maps[operands[0]]
            elif operator in (b"Tj", b"re", b"S", b"f*", b"f"):
                assert inside is not None, f"{operator} outside every mark"
                if operator == b"Tj":
                    raw = operands[0].original_bytes
                    current.append("".join(font[code] for code in raw))
        assert inside is None
    return found


def _unicode(font) -> dict[int, str]:
    text = font["/ToUnicode"].get_data().decode("latin-1")
    return {int(a, 16): chr(int(b, 16)) for a, b in re.findall(r"<([0-9A-F]{2})> <([0-9A-F]{4})>", text)}


@dataclass
class Node:
    """An element of the tree: its kind, its own texts, its children."""

    kind: str
    entries: dict
    texts: list[str]
    children: list[Node]

    def walk(self):
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def said(self) -> str:
        return " ".join([*self.texts, *(child.said for child in self.children)])


def tree(reader: PdfReader) -> Node:
    """The structure tree with the texts of its marks, as a screen reader has it."""
    marks, pages = marked(reader), {page.indirect_reference.idnum: n for n, page in enumerate(reader.pages)}
    used = set()

    def node(element) -> Node:
        made = Node(element["/S"][1:], element, [], [])
        for kid in element["/K"]:
            kid = kid.get_object()
            if isinstance(kid, int):
                key = pages[element.raw_get("/Pg").idnum], kid
            elif kid.get("/Type") == "/MCR":
                key = pages[kid.raw_get("/Pg").idnum], kid["/MCID"]
            elif kid.get("/Type") == "/OBJR":
                continue
            else:
                made.children.append(node(kid))
                continue
            used.add(key)
            made.texts.append(marks[key])
        return made

    root = node(reader.trailer["/Root"]["/StructTreeRoot"]["/K"][0].get_object())
    assert used == set(marks), "marks that no element owns"
    return root
