"""The fields of a product: from the columns of a content, as texts that are equal when their meaning is equal.

    name, description, description_short, link_rewrite   one field a language: `name.it`
    price, weight, active, ean13, quantity                one field: "10.5", "1", "7"
    categories, images                                    JSON lists; category_default is the first path given

The schema of the shop (products?schema=synopsis) says which fields its version knows, how long they may be and what
they may contain. An empty cell is no value: that field stays as it is there. Raises ItemRefused, naming the column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import urlsplit

from app.integrations.markup import to_html
from app.integrations.prestashop_xml import Element, legal
from app.integrations.remote import Article, Fields
from app.integrations.service_errors import ItemRefused
from app.support.messages import Message
from app.support.redaction import one_line

TEXTS = ("name", "description", "description_short", "link_rewrite")
HTML = ("description", "description_short")
NUMBERS = ("price", "weight")
PLAIN = (*NUMBERS, "active", "ean13")
MOST_IMAGES, MOST_CATEGORIES = 20, 50
_NUMBER = re.compile(r"-?\d{1,20}(?:[.,]\d{0,20})?")
_BOOL = {"1": "1", "true": "1", "yes": "1", "si": "1", "sì": "1", "0": "0", "false": "0", "no": "0"}
_EVENTS = re.compile(r"\bon(?:mouse\w+|(?:dbl)?click|(?:un)?load|error|abort|move|resize|scroll|focus|blur|change|"
                     r"select|submit|reset|drag\w*|drop|key\w+|input|wheel|toggle|(?:before|after)\w+|"
                     r"animation\w+|touch\w+|pointer\w+|copy|cut|paste|context\w+)\s*=", re.I)
_NO_HTML = re.compile(r"<\s*script|script:", re.I), re.compile(r"<\s*(?:i?frame|form|input|embed|object)", re.I)
FORMATS = {  # Validate.php: the characters that a format allows, and how to say it
    "isCatalogName": (re.compile(r"[^<>;=#{}]*"), Message("it may not contain < > ; = # { }")),
    "isReference": (re.compile(r"[^<>;={}]*"), Message("it may not contain < > ; = { }")),
    "isLinkRewrite": (re.compile(r"[\w-]*"), Message("it may contain letters, digits, - and _ only")),
    "isEan13": (re.compile(r"[0-9]{0,13}"), Message("it may contain at most 13 digits")),
    "isPrice": (re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,9})?"), Message("it must be a number from 0 on")),
    "isUnsignedFloat": (re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?"), Message("it must be a number from 0 on")),
}


class Schema:
    """What the shop says of a product's fields: `fields` with their attributes (maxSize, format, required ...), the
    names of those that are `read_only`."""

    def __init__(self, product: Element) -> None:
        self.fields: dict[str, dict[str, str]] = {}
        for child in product:
            kept = {name.lower().replace("_", ""): value for name, value in child.attrib.items()}
            self.fields[child.tag] = kept
        self.read_only = {name for name, kept in self.fields.items() if kept.get("readonly") == "true"}

    def knows(self, name: str) -> bool:
        """Whether the version has this field and lets it be written."""
        return name in self.fields and name not in self.read_only

    def check(self, column: str, name: str, value: str) -> None:
        """Raise ItemRefused when the shop would not take a value."""
        kept, why = self.fields.get(name, {}), None
        most = int(kept["maxsize"]) if re.fullmatch(r"[0-9]{1,9}", kept.get("maxsize", "")) else 0
        allowed = FORMATS.get(kept.get("format", ""))
        if most and len(value) > most:
            why = Message("it has %(n)s characters, and the shop takes %(most)s", n=len(value), most=most)
        elif allowed and not allowed[0].fullmatch(value):
            why = allowed[1]
        elif name in HTML and (_NO_HTML[0].search(value) or _EVENTS.search(value)):
            why = Message("the shop takes no scripts and no attributes like onclick")
        elif name in HTML and _NO_HTML[1].search(value):
            why = Message("the shop takes no iframe, form, input, embed or object")
        if why:
            raise refused(column, why)


def refused(column: str, why: str) -> ItemRefused:
    """An ItemRefused for a column."""
    return ItemRefused(Message("The column %(column)s cannot be sent: %(why)s.", column=column, why=why))


def wanted(article: Article, isos: Mapping[str, str], default: str, schema: Schema) -> Fields:
    """The fields that a content sets. `isos`: id of each language by its ISO code; `default`: the ISO code of the
    language that columns without a language are in."""
    schema.check("reference", "reference", legal(article.reference))
    given = {name.strip().lower(): legal(value) for name, value in article.attributes.items() if legal(value)}
    texts = {"name": legal(article.title), "description": legal(article.body)} | given
    fields: Fields = {}
    for column, value in sorted(texts.items(), key=lambda entry: len(entry[0])):  # name before name_it, which wins
        name, iso = _name_of(column)
        if not value or not schema.knows(name):
            continue
        if iso and iso not in isos:
            raise ItemRefused(Message(
                "The column %(column)s is for a language that the shop does not have; it has %(languages)s.",
                column=column, languages=", ".join(sorted(isos))))
        value = to_html(value, given.get("format")) if name in HTML else " ".join(value.split())
        schema.check(column, name, value)
        fields[f"{name}.{iso or default}"] = value
    fields |= {name: _plain(name, given[name], schema) for name in PLAIN if name in given and schema.knows(name)}
    if quantity := given.get("quantity"):
        if not re.fullmatch(r"-?\d{1,9}", quantity):
            raise refused("quantity", Message("it must be a whole number"))
        fields["quantity"] = str(int(quantity))
    if paths := _paths(given.get("categories", "")):
        fields |= {"categories": listed(sorted(set(paths))), "category_default": paths[0]}
    if urls := _urls(given.get("image", "")):
        fields["images"] = listed(urls)
    return fields


def accepted(found: Fields, ours: Fields, article: Article, default: str) -> Article:
    """The content with those fields of a product that differ from ours. Images stay as they are here, because those
    that people added there have no address."""
    changed = {name: value for name, value in found.items() if value != ours.get(name)}
    title, body, attributes = article.title, article.body, dict(article.attributes)
    columns = {name.strip().lower(): name for name in attributes}
    if any(key.partition(".")[0] in HTML for key in changed):  # `format` is that of all texts: they are HTML now
        changed |= {key: found.get(key, value) for key, value in ours.items() if key.partition(".")[0] in HTML}
        attributes[columns.get("format", "format")] = "html"
    for key, value in changed.items():
        name, _, iso = key.partition(".")
        column = f"{name}_{iso}" if iso else name
        if iso == default and column not in columns:
            column = name
        if column == "name" and column not in columns:
            title = value
        elif column == "description" and column not in columns:
            body = value
        elif name in ("categories", "category_default"):
            first = found.get("category_default", "")
            paths = sorted(unlisted(found["categories"]), key=lambda path: path != first)
            attributes[columns.get("categories", "categories")] = "|".join(paths)
        elif name != "images" and "/" not in value * (name == "quantity"):
            attributes[columns.get(column, column)] = value
    return Article(article.reference, title, body, attributes)


def in_all_languages(fields: Fields, isos: Mapping[str, str], default: str) -> Fields:
    """The texts of a new product in every language: one that is not given takes the default's text, else the first one
    given. link_rewrite comes from the name. `fields` has a name."""
    texts: Fields = {}
    for field in TEXTS:
        given = {key.partition(".")[2]: value for key, value in fields.items() if key.startswith(f"{field}.")}
        for iso in isos if given else ():
            texts[f"{field}.{iso}"] = given.get(iso) or given.get(default) or next(iter(given.values()))
    return {f"link_rewrite.{iso}": slug(texts[f"name.{iso}"]) for iso in isos} | texts


def listed(values: list[str]) -> str:
    """A list as a text, "" for an empty one."""
    return json.dumps(values, ensure_ascii=False) if values else ""


def unlisted(text: str) -> list[str]:
    """The list of a text that `listed` made."""
    return [str(value) for value in json.loads(text)] if text else []


def normal(name: str, value: str) -> str:
    """A value of the shop in the form in which `wanted` gives it; what is no number stays as it is."""
    if name in NUMBERS and _NUMBER.fullmatch(value):
        return _decimal(value)
    if name == "quantity" and re.fullmatch(r"-?\d{1,18}", value):
        return str(int(value))
    return "0" if name == "active" and not value else value


def slug(text: str) -> str:
    """A name as the last part of an address: ASCII letters, digits and hyphens."""
    import unicodedata

    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:100].strip("-") or "p"


def _name_of(column: str) -> tuple[str, str]:
    """`description_short_it` as ("description_short", "it")."""
    name = max((n for n in TEXTS if column == n or column.startswith(f"{n}_")), key=len, default="")
    rest = column[len(name) + 1 :]
    return (name, rest) if column == name or name and re.fullmatch(r"[a-z]{2,3}(?:[-_][a-z]{2})?", rest) else ("", "")


def _plain(name: str, value: str, schema: Schema) -> str:
    if name in NUMBERS:
        if not _NUMBER.fullmatch(value):
            raise refused(name, Message("it must be a number like 10.50"))
        value = _decimal(value)
    elif name == "active":
        if value.lower() not in _BOOL:
            raise refused(name, Message("it must be 1 or 0"))
        value = _BOOL[value.lower()]
    schema.check(name, name, value)
    return value


def _decimal(value: str) -> str:
    """A decimal with at most six decimals, as the shop stores it, without zeros at its end."""
    number = f"{Decimal(value.replace(',', '.')):.6f}".rstrip("0").rstrip(".")
    return "0" if number == "-0" else number


def _paths(value: str) -> list[str]:
    """Paths of categories below the home category, as "A > B"."""
    found = []
    for path in value.split("|"):
        names = [" ".join(name.split()) for name in path.split(">")]
        if any(names):
            if not all(names) or any(re.search("[<;=#{}]", name) or len(name) > 128 for name in names):
                raise refused("categories", Message("“%(path)s” is no path like “Shoes > Running”",
                                                    path=one_line(path.strip(), 100)))
            found.append(" > ".join(names))
    if len(found) > MOST_CATEGORIES:
        raise refused("categories", Message("it has more than %(n)s categories", n=MOST_CATEGORIES))
    return found


def _urls(value: str) -> list[str]:
    """The addresses of images, each once."""
    urls = list(dict.fromkeys(re.split(r"[\s|]+", value.strip("| "))) if value else ())
    for url in urls:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            good = False
        if not good:
            raise refused("image", Message("“%(url)s” is no address that begins with https://",
                                           url=one_line(url, 100)))
    if len(urls) > MOST_IMAGES:
        raise refused("image", Message("it has more than %(n)s images", n=MOST_IMAGES))
    return urls
