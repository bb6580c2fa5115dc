"""XML of PrestaShop's Webservice: read with defusedxml, written with ElementTree.

    body -> the part from <prestashop to </prestashop> (PHP notices may stand around it) -> checked -> Element

A DTD, an entity, more than 24 levels, more than 200,000 elements or bytes that are not UTF-8 raise BadXml, whose text
is a sentence. No other exception leaves `parse`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from xml.etree import ElementTree  # noqa: S405  (it only writes; what a server sends is read by defusedxml)

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


def put(parent: Element, name: str, value: str | dict[str, str]) -> None:
    """Set a field to a text, or to texts by id of language: the other languages stay."""
    field = parent.find(name)
    if field is None:
        field = ElementTree.SubElement(parent, name)
    if isinstance(value, str):
        field[:] = []
        field.text = value
        return
    for lang, words in value.items():
        found = next((child for child in field.findall("language") if child.get("id") == lang), None)
        (ElementTree.SubElement(field, "language", {"id": lang}) if found is None else found).text = words


def associate(parent: Element, name: str, node: str, ids: Iterable[str]) -> None:
    """Set the members of an association: its name (categories), the name of a member (category) and their ids."""
    every = parent.find("associations")
    every = ElementTree.SubElement(parent, "associations") if every is None else every
    members = every.find(name)
    members = ElementTree.SubElement(every, name) if members is None else members
    members[:] = []
    for id in ids:
        put(ElementTree.SubElement(members, node), "id", id)


def build(entity: Element, without: Iterable[str] = ()) -> bytes:
    """The document for a POST or PUT of an entity: attributes only where they say a language, no empty associations;
    fields and associations `without` are left out."""
    root = ElementTree.Element("prestashop")
    root.append(_bare(entity, frozenset(without)))
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _bare(element: Element, without: frozenset[str], level: int = 0) -> Element:
    kept = {"id": element.get("id", "")} if element.tag == "language" and element.get("id") else {}
    new = ElementTree.Element(element.tag, kept)
    new.text = None if len(element) else element.text  # as it came: outer blanks of others are theirs
    for child in element:
        top = level == 0 or element.tag == "associations"
        empty = element.tag == "associations" and not len(child)  # to set one to nothing fails for a virtual product
        if not empty and not (top and child.tag in without):
            new.append(_bare(child, without, level + 1))
    return new
