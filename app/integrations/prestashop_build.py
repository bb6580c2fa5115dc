"""XML for PrestaShop's Webservice: an entity is changed with `put` and `associate`, and `build` makes the document.

It is built as a tree of ElementTree, never by formatting, so no value can become markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree  # noqa: S405  (it only writes; prestashop_xml.py reads)

from app.integrations.prestashop_xml import Element


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
