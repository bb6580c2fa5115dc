"""Names of the fields of a post or a product for people, and the sentences of sync_actions with these names in them.

name.en -> name (en); "Updated: %(names)s." -> with the names in the reader's language. Unknown fields keep their name.
"""

from __future__ import annotations

from app.support.messages import Message, from_row, translate_stored

FIELDS = {
    "title": Message("title"), "body": Message("body"), "status": Message("status"), "slug": Message("slug"),
    "excerpt": Message("excerpt"), "date": Message("date"), "categories": Message("categories"),
    "tags": Message("tags"), "image": Message("image"), "images": Message("images"), "name": Message("name"),
    "description": Message("description"), "description_short": Message("short description"),
    "link_rewrite": Message("address"), "price": Message("price"), "quantity": Message("quantity"),
    "weight": Message("weight"), "active": Message("active"), "ean13": Message("EAN-13"),
    "category_default": Message("main category"),
}


def name_of(field: str) -> str:
    """The name of a field in the reader's language, with the code of its language: `price`, `name (en)`."""
    name, _, iso = field.partition(".")
    told = translate_stored(FIELDS.get(name)) or name
    return f"{told} ({iso})" if iso else told


def told(text: str, stored: str | None) -> str:
    """The text of a row of sync_actions in the reader's language, with names of fields for people."""
    message = from_row(text, stored)
    if type(message) is Message and type(names := message.values.get("names")) is str:
        fields = names.split(", ")
        if all(name.partition(".")[0] in FIELDS for name in fields):
            message = message.having(names=", ".join(map(name_of, fields)))
    return translate_stored(message) or ""
