"""A canvas whose PDF is tagged: a tree of headings, paragraphs, tables, figures and links for screen readers.

reportlab itself writes no tags. What is drawn inside `content` belongs to an element of the tree; everything else
(lines, grounds, the foot) is marked as decoration. The tree is written with the file. Times come from the report, not
from the clock: the same report gives the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from reportlab.lib.pagesizes import A4
from reportlab.pdfbase.pdfdoc import PDFArray, PDFDictionary, PDFName, PDFString
from reportlab.pdfgen.canvas import Canvas

from app.services.reports.document import PRODUCT
from app.services.reports.pdf_text import BOLD, REGULAR, fonts, legible

_PAGE = "/Artifact BMC"


class Element(PDFDictionary):
    """A node of the tree; `kind` is its tag: H1, P, Table, TR, TD, Figure, Link ..."""

    kind = ""


class TaggedCanvas(Canvas):
    """Pages of A4. Elements are dictionaries of PDF; `body` is the outermost."""

    def __init__(self, title: str, subject: str, language: str, made_ms: int) -> None:
        fonts()
        self.out = BytesIO()
        super().__init__(self.out, pagesize=A4, invariant=1, pageCompression=1, lang=language, pdfVersion=(1, 7),
                         initialFontName=REGULAR)
        doc = self._doc
        moment = time.gmtime(min(max(made_ms, 0) // 1000, 253_402_300_799))
        doc._timeStamp.lt, doc._timeStamp.YMDhms = moment, tuple(moment)[:6]
        self.setTitle(title)
        self.setSubject(subject)
        for told in (self.setAuthor, self.setCreator, self.setProducer):
            told(PRODUCT)
        self.setViewerPreference("DisplayDocTitle", "true")
        self._root = Element({"Type": PDFName("StructTreeRoot"), "K": PDFArray([])})
        doc.Catalog.StructTreeRoot = self._root
        doc.Catalog.MarkInfo = PDFDictionary({"Marked": "true"})
        self._owned: list[Any] = []  # for each page the elements of its contents, for each link its element
        self._marks: list[Any] = []  # of this page
        self.body = self.element("Document", self._root)
        self._code.append(_PAGE)

    def element(self, kind: str, parent: Element, **more: Any) -> Element:
        """A new element of the tree, the last child of `parent`. `more`: its further entries, texts as str."""
        entries = {name: PDFString(value) if isinstance(value, str) else value for name, value in more.items()}
        made = Element({"S": PDFName(kind), "K": PDFArray([]), "P": self._doc.Reference(parent), **entries})
        made.kind = kind
        parent.dict["K"].sequence.append(self._doc.Reference(made))
        return made

    def cell(self, row: Element, scope: str) -> Element:
        """A cell of a row: the head of its "Column" or "Row", or "" for none."""
        if not scope:
            return self.element("TD", row)
        return self.element("TH", row, A=PDFDictionary({"O": PDFName("Table"), "Scope": PDFName(scope)}))

    @contextmanager
    def content(self, element: Element, actual: str | None = None) -> Iterator[None]:
        """What is drawn inside belongs to the element; `actual` is its text where the glyphs show another."""
        number = len(self._marks)
        self._marks.append(self._doc.Reference(element))
        page = self._doc.thisPageRef()
        here = element.dict.setdefault("Pg", page).name == page.name
        element.dict["K"].sequence.append(number if here else PDFDictionary({
            "Type": PDFName("MCR"), "Pg": page, "MCID": number}))
        said = f"/ActualText <FEFF{actual.encode('utf-16-be', 'replace').hex().upper()}>" if actual is not None else ""
        self._code.append(f"EMC /{element.kind} <</MCID {number}{said}>> BDC")
        yield
        self._code.append(f"EMC {_PAGE}")

    def link(self, url: str, box: tuple[float, float, float, float], element: Element, words: str) -> None:
        """Make a box of the page a link to an address, part of the element (of kind Link)."""
        key = len(self._owned)
        self._owned.append(self._doc.Reference(element))
        self.linkURL(url, box, StructParent=key, Contents=PDFString(words), F=4)
        element.dict["K"].sequence.append(PDFDictionary({
            "Type": PDFName("OBJR"), "Pg": self._doc.thisPageRef(), "Obj": self._annotationrefs[-1]}))

    def write(self, x: float, y: float, line: str, bold: bool = False, size: float = 9, colour: Any = None,
              right: bool = False) -> None:
        """One line of text at (x, y), or ending there. Characters that the font lacks are replaced."""
        self.setFont(BOLD if bold else REGULAR, size)
        if colour is not None:
            self.setFillColor(colour)
        (self.drawRightString if right else self.drawString)(x, y, legible(line))

    def bookmark(self, key: str, title: str, top: float, level: int = 0) -> None:
        """An entry of the outline that leads to this height of this page."""
        self.bookmarkHorizontalAbsolute(key, top)
        self.addOutlineEntry(title, key, level)

    def showPage(self) -> None:
        """End the page and begin the next one."""
        self._code.append("EMC")
        name, key = self._doc.thisPageName(), len(self._owned)
        self._owned.append(PDFArray(self._marks))
        super().showPage()
        page = self._doc.idToObject[name]
        page.__NoDefault__ = [*page.__NoDefault__, "StructParents", "Tabs"]
        page.StructParents, page.Tabs = key, PDFName("S")
        self._marks = []
        self._code.append(_PAGE)

    def finish(self) -> bytes:
        """The PDF. The page that is open must have been ended; the canvas is of no use afterwards."""
        self._code.clear()
        numbers = [part for key, owned in enumerate(self._owned) for part in (key, owned)]
        self._root.dict["ParentTree"] = self._doc.Reference(PDFDictionary({"Nums": PDFArray(numbers)}))
        self._root.dict["ParentTreeNextKey"] = len(self._owned)
        self.save()
        return self.out.getvalue()
