"""`@job`: the types the platform knows, their signatures, and what a job gets while it runs.

A definition holds a function and its options. Arguments are JSON; `fit` checks them
against the signature (hints read with `get_type_hints`) and raises `Misfit`, a sentence.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from app.config import QUEUES
from app.words import say as _

RESERVED = ("type", "queue", "tenant", "delay", "csrf_token", "ask", "next", "like")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,199}")


class Misfit(TypeError):
    """Arguments that do not fit a type's signature; the text is a sentence."""


class PermanentError(Exception):
    """Raised by a job that can never succeed: it fails at once, and the text is what people read."""


class UploadedFile:
    """A file given to a job: an annotation in signatures and the value a job receives.

    `filename` is the name the person gave; `path` is where the bytes are.
    """

    def __init__(self, path: str | Path, filename: str | None = None, upload_id: str | None = None) -> None:
        self.path, self.upload_id = Path(path), upload_id
        self.filename = filename or self.path.name

    def open(self, mode: str = "rb", **options: Any):
        """Open the file; bytes unless `mode` says otherwise."""
        return self.path.open(mode, **options)

    def __repr__(self) -> str:
        return f"UploadedFile({self.filename!r})"


@dataclass(frozen=True)
class Field:
    """One argument of a job: `kind` is text, int, float, bool, json, file or choice (for forms)."""

    name: str
    hint: Any
    required: bool
    default: Any = None
    kind: str = "json"
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Options:
    """How a type runs; `backoff` and `timeout` in seconds."""

    queue: str = "default"
    tries: int = 3
    backoff: tuple[int, ...] = (60, 300, 1800)
    timeout: int = 300
    critical: bool = False
    durable: bool = False
    web: bool = True
    label: str = ""
    retry_until: int = 86_400


@dataclass(frozen=True)
class JobDefinition:
    """A known type. Calling it calls the function; `dispatch` writes a row in the caller's transaction."""

    name: str
    function: Callable[..., Any]
    options: Options
    fields: tuple[Field, ...]
    wants_ctx: bool
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.options.label or label_of(self.name)

    @property
    def description(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").strip().split("\n")[0]

    @property
    def signature(self) -> str:
        return ", ".join(f"{f.name}:{f.hint}:{f.required}" for f in self.fields)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def with_options(self, **given: Any) -> JobDefinition:
        """The same type with tenant_id, queue, delay (s), tries, backoff, timeout for one dispatch."""
        unknown = set(given) - {"tenant_id", "queue", "delay", "tries", "backoff", "timeout", "created_by"}
        if unknown:
            raise TypeError(f"with_options does not know {', '.join(sorted(unknown))}")
        return replace(self, given={**self.given, **given})

    def dispatch(self, **args: Any) -> str:
        """Write the job in the caller's transaction; returns its uuid. TypeError when arguments do not fit."""
        if _dispatcher is None:
            raise RuntimeError("No application: call create_app() first, then dispatch inside `with app.app_context():`")
        return _dispatcher(self, args, **self.given)

    def fit(self, args: Any) -> dict[str, Any]:
        """Arguments as the function takes them (JSON values checked, no file opened); raises Misfit."""
        if not isinstance(args, dict):
            raise Misfit(_("Arguments of %(job)s must be a JSON object with names and values.", job=self.name))
        known = [f.name for f in self.fields]
        unknown = sorted(str(name) for name in args if name not in known)
        if unknown:
            given = {"job": self.name, "names": ", ".join(unknown), "known": ", ".join(known) or "–"}
            raise Misfit(_("%(job)s has no argument %(names)s; it takes %(known)s.", **given))
        missing = [f.name for f in self.fields if f.required and f.name not in args]
        if missing:
            raise Misfit(_("%(job)s needs %(names)s.", job=self.name, names=", ".join(missing)))
        return {f.name: check(f.hint, args[f.name], f.name) for f in self.fields if f.name in args}


_known: dict[str, JobDefinition] = {}
_dispatcher: Callable[..., str] | None = None


def set_dispatcher(function: Callable[..., str]) -> None:
    """Given by services.dispatch, which may import this module (never the other way round)."""
    global _dispatcher
    _dispatcher = function


def job(name: str, **options: Any) -> Callable[[Callable[..., Any]], JobDefinition]:
    """Declare a job type. Options as in `Options`; refused: after, concurrency_key, unknown names."""
    if not NAME.fullmatch(name):
        raise ValueError(f"job name {name!r}: letters, digits, dot and underscore only")
    for later in ("after", "concurrency_key", "limit"):
        if later in options:
            raise ValueError(f"@job({name!r}): {later} is not supported")
    try:
        chosen = Options(**options)
    except TypeError:
        raise ValueError(f"@job({name!r}): unknown option in {', '.join(sorted(options))}") from None
    _check_options(name, chosen)

    def declare(function: Callable[..., Any]) -> JobDefinition:
        definition = JobDefinition(name, function, chosen, *_read_signature(name, function))
        before = _known.get(name)
        if before is not None and before.function.__code__.co_filename != function.__code__.co_filename:
            raise ValueError(f"@job({name!r}) is declared twice: {before.function.__module__} and {function.__module__}")
        _known[name] = definition
        return definition

    return declare


def _check_options(name: str, options: Options) -> None:
    whole = all(isinstance(n, int) and n >= 0 for n in options.backoff) and len(options.backoff) <= 30
    if options.queue not in QUEUES:
        raise ValueError(f"@job({name!r}): unknown queue {options.queue!r}; use {', '.join(QUEUES)}")
    if options.tries < 1 or options.timeout < 1 or not whole:
        raise ValueError(f"@job({name!r}): tries and timeout are at least 1, backoff a list of whole seconds")


def _read_signature(name: str, function: Callable[..., Any]) -> tuple[tuple[Field, ...], bool]:
    if inspect.iscoroutinefunction(function):
        raise ValueError(f"@job({name!r}): async functions cannot be jobs; call asyncio.run inside a plain one")
    hints = typing.get_type_hints(function)
    fields, wants_ctx = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in RESERVED:
            raise ValueError(f"@job({name!r}): an argument cannot be called {parameter.name} (the form uses that name)")
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


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def form_kind(hint: Any) -> tuple[str, tuple[Any, ...]]:
    """Kind of form field for a hint, and its choices (of a Literal)."""
    kinds = {str: "text", int: "int", float: "float", bool: "bool", UploadedFile: "file"}
    members = [m for m in _members(hint) if m is not type(None)]
    if len(members) == 1 and get_origin(members[0]) is Literal:
        return "choice", get_args(members[0])
    return (kinds.get(members[0], "json") if len(members) == 1 else "json"), ()


def check(hint: Any, value: Any, name: str) -> Any:
    """`value` if it is of `hint` (ints pass as floats, nothing else is converted); raises Misfit."""
    if type(value) is hint and hint is not dict:
        return value  # the usual case: text for text, a whole number for a whole number
    for member in _members(hint):
        origin = get_origin(member) or member
        if member is Any or (member is type(None) and value is None):
            return value
        if origin is Literal and any(value == c and type(value) is type(c) for c in get_args(member)):
            return value
        if member is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if member is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if member in (str, bool) and isinstance(value, member):
            return value
        if member is UploadedFile and isinstance(value, str | UploadedFile):
            return value
        if origin in (list, tuple) and isinstance(value, list):
            inner = get_args(member)
            return [check(inner[0], v, f"{name}[{i}]") for i, v in enumerate(value)] if inner else value
        if origin is dict and isinstance(value, dict):
            inner = get_args(member)
            return {k: check(inner[1], v, f"{name}.{k}") for k, v in value.items()} if len(inner) == 2 else value
    raise Misfit(_("%(name)s must be %(wanted)s, not %(value)s.", name=name, wanted=_words(hint), value=_shown(value)))


def _words(hint: Any) -> str:
    names = {str: _("text"), int: _("a whole number"), float: _("a number"), bool: _("true or false"), UploadedFile: _("an uploaded file"),
             type(None): "null", list: _("a list"), dict: _("an object")}
    parts = []
    for member in _members(hint):
        if get_origin(member) is Literal:
            parts.append(_("one of %(list)s", list=", ".join(map(str, get_args(member)))))
        else:
            parts.append(names.get(member) or names.get(get_origin(member)) or getattr(member, "__name__", str(member)))
    return _(" or ").join(parts)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def find(name: str) -> JobDefinition | None:
    """The definition of a type, or None."""
    return _known.get(name)


def known_types() -> list[JobDefinition]:
    """All declared types by name."""
    return [_known[name] for name in sorted(_known)]


def label_of(name: str) -> str:
    """Label of a type: as declared, else 'ProcessCsvImport' -> 'Csv Import'."""
    definition = _known.get(name)
    if definition is not None and definition.options.label:
        return definition.options.label
    plain = name.rsplit(".", 1)[-1].removeprefix("Process") or name
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", plain)


def code_version(definitions: Iterable[JobDefinition] | None = None) -> str:
    """Hash of (types, signatures): web and workers compare it and say so when they differ."""
    lines = sorted(f"{d.name}({d.signature})" for d in (definitions or _known.values()))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
