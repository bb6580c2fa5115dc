"""Reads the signature of a job's function: its arguments as form fields, and the check of values against type hints.

Type hints are read with `typing.get_type_hints`. `check` takes JSON values; it converts only int to float.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from app.support.messages import translate as _


class InvalidArguments(TypeError):
    """Arguments that do not match the signature of a job type; the message is a sentence for people."""


class UploadedFile:
    """A file given to a job: the type hint in a signature and the value that the job receives.

    `filename` is the name that the person gave, `path` the place of the stored file, `upload_id` its id in `uploads`.
    """

    def __init__(self, path: str | Path, filename: str | None = None, upload_id: str | None = None) -> None:
        self.path, self.upload_id = Path(path), upload_id
        self.filename = filename or self.path.name

    def open(self, mode: str = "rb", **options: Any):
        """Open the stored file, for reading bytes by default. Raises OSError as `Path.open` does."""
        return self.path.open(mode, **options)

    def __repr__(self) -> str:
        return f"UploadedFile({self.filename!r})"


@dataclass(frozen=True)
class Field:
    """One argument of a job. `kind` is its form field: text, int, float, bool, json, file or choice."""

    name: str
    hint: Any
    required: bool
    default: Any = None
    kind: str = "json"
    choices: tuple[Any, ...] = ()


def read_signature(name: str, function: Callable[..., Any]) -> tuple[tuple[Field, ...], bool]:
    """(fields of the arguments, whether it takes `ctx`). Raises ValueError for a function that cannot be a job."""
    if inspect.iscoroutinefunction(function):
        raise ValueError(f"@job({name!r}): async functions cannot be jobs; call asyncio.run inside a plain one")
    hints = typing.get_type_hints(function)
    fields, wants_ctx = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "csrf_token":  # every form of the site sends one
            raise ValueError(f"@job({name!r}): an argument cannot be called csrf_token")
        if parameter.name == "ctx":
            wants_ctx = True
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ValueError(f"@job({name!r}): {parameter} cannot be given by name")
        else:
            hint = hints.get(parameter.name, Any)
            required = parameter.default is parameter.empty
            kind, choices = form_kind(hint)
            fields.append(Field(parameter.name, hint, required, None if required else parameter.default, kind, choices))
    return tuple(fields), wants_ctx


def members(hint: Any) -> tuple[Any, ...]:
    """The types of a union; of another hint the hint itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def form_kind(hint: Any) -> tuple[str, tuple[Any, ...]]:
    """(kind of form field for a type hint, its choices); only a Literal has choices."""
    kinds = {str: "text", int: "int", float: "float", bool: "bool", UploadedFile: "file"}
    found = [m for m in members(hint) if m is not type(None)]
    if len(found) == 1 and get_origin(found[0]) is Literal:
        return "choice", get_args(found[0])
    return (kinds.get(found[0], "json") if len(found) == 1 else "json"), ()


_ACCEPTED = {int: int, str: str, bool: bool, UploadedFile: (str, UploadedFile)}


def check(hint: Any, value: Any, name: str) -> Any:
    """The value if it matches the type hint, with an int as float where the hint is float. Raises InvalidArguments,
    which calls the value `name`."""
    if type(value) is hint and hint is not dict:
        return value  # the usual case
    for member in members(hint):
        origin = get_origin(member) or member
        if member is Any or (member is type(None) and value is None):
            return value
        if origin is Literal and any(value == c and type(value) is type(c) for c in get_args(member)):
            return value
        if member is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, _ACCEPTED.get(member, ())) and (member is bool or not isinstance(value, bool)):
            return value
        if origin in (list, tuple) and isinstance(value, list):
            inner = get_args(member)
            return [check(inner[0], v, f"{name}[{i}]") for i, v in enumerate(value)] if inner else value
        if origin is dict and isinstance(value, dict):
            inner = get_args(member)
            return {k: check(inner[1], v, f"{name}.{k}") for k, v in value.items()} if len(inner) == 2 else value
    text, wanted = repr(value), _expected(hint)
    text = text if len(text) <= 60 else text[:57] + "..."
    raise InvalidArguments(_("%(name)s must be %(wanted)s, not %(value)s.", name=name, wanted=wanted, value=text))


def _expected(hint: Any) -> str:
    """A type hint in the words of a sentence: 'text or null'."""
    names = {str: _("text"), int: _("a whole number"), float: _("a number"), bool: _("true or false"),
             UploadedFile: _("an uploaded file"), type(None): "null", list: _("a list"), dict: _("an object")}
    parts = [_("one of %(list)s", list=", ".join(map(str, get_args(member)))) if get_origin(member) is Literal
             else names.get(member) or names.get(get_origin(member)) or getattr(member, "__name__", str(member))
             for member in members(hint)]
    return functools.reduce(lambda one, other: _("%(one)s or %(other)s", one=one, other=other), parts)
