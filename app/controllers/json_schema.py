"""Type hints as JSON Schema: of the arguments of jobs, and of the dataclasses that routes answer with."""

from __future__ import annotations

import typing
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, Literal, get_args, get_origin

from app.models import UPLOAD_ID
from app.registry import JobDefinition, UploadedFile
from app.signature import members

Schema = dict[str, Any]
INTEGER = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"}, int: INTEGER, float: {"type": "number"}, bool: {"type": "boolean"},
    type(None): {"type": "null"}, datetime: {"type": "string", "format": "date-time"}, list: {"type": "array"},
    tuple: {"type": "array"}, dict: {"type": "object"},
    UploadedFile: {"type": "string", "pattern": f"^{UPLOAD_ID.pattern}$",
                   "description": "The upload_id that POST /api/uploads answered, for the same tenant."}}


def of_hint(hint: Any) -> Schema:
    """The schema of what `signature.check` accepts for a type hint; {} for a hint that JSON Schema does not know."""
    found = [_of_one(member) for member in members(hint)]
    return found[0] if len(found) == 1 else {} if {} in found else {"anyOf": found}


def _of_one(hint: Any) -> Schema:
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (list, tuple) and inner:
        return {"type": "array", "items": of_hint(inner[0])}
    if origin is dict and len(inner) == 2:
        return {"type": "object", "additionalProperties": of_hint(inner[1])}
    return of_class(hint) if is_dataclass(hint) else _PLAIN.get(origin, {})


def of_class(cls: type, **other: Schema) -> Schema:
    """A dataclass as JSON has it: every field is there. `other` replaces the schemas of some fields."""
    hints = typing.get_type_hints(cls)
    return closed({f.name: other.get(f.name) or of_hint(hints[f.name]) for f in fields(cls)})


def closed(properties: dict[str, Schema], required: typing.Collection[str] | None = None) -> Schema:
    """An object with these properties and no others; all are required unless `required` names some."""
    return {"type": "object", "properties": properties, "additionalProperties": False,
            "required": list(properties if required is None else required)}


def of_arguments(definition: JobDefinition) -> Schema:
    """The arguments of a job type as an object."""
    found = {}
    for field in definition.fields:
        default = {} if field.required or field.default is None else {"default": field.default}
        found[field.name] = of_hint(field.hint) | default
    return closed(found, [field.name for field in definition.fields if field.required])
