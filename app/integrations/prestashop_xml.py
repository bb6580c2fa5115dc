"""XML of PrestaShop's Webservice, as it is read: with defusedxml. prestashop_build.py writes it.

    body -> the part from <prestashop to </prestashop> (PHP notices may stand around it) -> checked -> Element

A DTD, an entity, more than 24 levels, more than 200,000 elements or bytes that are not UTF-8 raise BadXml, whose text
is a sentence. No other exception leaves `parse`.
"""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree  # noqa: S405  (its types; what a server sends is read by defusedxml)

from defusedxml import DefusedXmlException, ElementTree as Defused

from app.support.messages import Message

Element = ElementTree.Element
DEEPEST, MOST_ELEMENTS = 24, 200_000
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2


class BadXml(Exception):
    """The XML cannot be read, or must not be read; the text is a sentence."""


def parse(body: bytes) -> Element | None:
    """The element <prestashop> of an answer; None when the body has none. Raises BadXml."""
    start, end = body.find(b"<prestashop"), body.rfind(b"</prestashop>")
    if start < 0:
        return None
    if b"<!DOCTYPE" in body[:start] or b"<!ENTITY" in body[:start]:
        raise BadXml(Message("It has a DTD or entities, which can be an attack."))
    part = body[start : end + len(b"</prestashop>")] if end > start else body[start:]
    try:
        part.decode("utf-8")
        return _read(part)
    except UnicodeDecodeError:
        raise BadXml(Message("It is not UTF-8.")) from None
    except DefusedXmlException:
        raise BadXml(Message("It has a DTD or entities, which can be an attack.")) from None
    except (ElementTree.ParseError, ValueError, LookupError):
        raise BadXml(Message("Its XML is broken or incomplete.")) from None


def _read(part: bytes) -> Element:
    depth = count = 0
    root: Element | None = None
    events = Defused.iterparse(io.BytesIO(part), ("start", "end"), forbid_dtd=True)
    for event, element in events:
        root = element if root is None else root
        depth, count = depth + (1 if event == "start" else -1), count + 1
        if depth > DEEPEST or count > 2 * MOST_ELEMENTS:
            raise BadXml(Message("Its XML is too deep or has too many elements."))
    if root is None:
        raise ValueError("empty")
    return root


def legal(text: str) -> str:
    """The text as XML can carry it and as it is compared: \\n as line ends, no control characters, no outer blanks."""
    return _ILLEGAL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()


def text(element: Element | None, path: str = ".") -> str:
    """The text of the element at a path, "" when there is none."""
    found = None if element is None else element.find(path)
    return legal("".join(found.itertext())) if found is not None else ""


def languages(element: Element | None) -> dict[str, str]:
    """The texts of a field in several languages, by the id of the language."""
    return {} if element is None else {child.get("id", ""): text(child) for child in element.findall("language")}
