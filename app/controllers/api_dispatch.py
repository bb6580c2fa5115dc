"""POST /api/jobs and /api/uploads: a job and its file from another program.

JSON -> `read`: each part by the rules of the form, its sentence by its name -> start, once for each key -> 201
A file goes first to /api/uploads (multipart); its upload_id is the argument. Without a job it is deleted after an hour.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import jsonify, request, url_for
from flask_babel import gettext as _
from flask_login import current_user
from werkzeug.exceptions import UnsupportedMediaType

from app import registry
from app.controllers.access import sees_data
from app.controllers.new_job import collect_error
from app.controllers.responses import actor, wrong
from app.extensions import only_read
from app.registry import InvalidArguments, JobDefinition
from app.services.audit import commit_audited
from app.services.jobs import actions, batch_pages, lookup, repeats, tree, uploads
from app.support.clock import millis, now_ms
from app.support.messages import Message
from app.support.validation import (
    MAX_DELAY_S,
    ValidationError,
    parse_delay,
    parse_json,
    parse_queue,
    parse_tenant,
    parse_uuid,
)

PARTS = ("type", "args", "queue", "tenant_id", "delay", "at", "after", "batch", "idempotency_key")
KEY = "Idempotency-Key"


def body() -> dict[str, Any]:
    """The JSON object that was sent. Raises ValidationError, and 415 when it is not called JSON."""
    if not request.is_json:
        raise UnsupportedMediaType
    found = parse_json(request.get_data())
    if not isinstance(found, dict):
        raise ValidationError(_("Send a JSON object."))
    return found


def dispatch():
    """Write a job: 201 with its uuid, 200 with the same one when its key has come before; 400 with a sentence for each
    part that is wrong."""
    sent, errors = body(), {}
    definition, args, options, key = read(sent, errors)
    if errors or definition is None:
        return wrong(errors, dict)
    if not definition.options.web:
        only_read()
        sentence = actions.not_from_web(definition)
        return jsonify({"error": sentence, "fields": {"type": sentence}}), 403
    repeated = False
    with collect_error(errors, "args"):
        if key:
            asked = {name: value for name, value in sent.items() if name != "idempotency_key"}
            uuid, repeated = repeats.start(definition, args, actor(), current_user.id, key, asked, **options)
        else:
            uuid = actions.start(definition, args, actor(), **options)
    if errors:
        return wrong(errors, dict)
    found, url = lookup.as_json(uuid) or {}, url_for("api.one", uuid=uuid)
    told = {name: found.get(name) for name in ("state", "error", "why", "begins")}
    if not sees_data():  # the job of a repeated request may have failed, and an error is data
        told["error"] = None
    return jsonify({"uuid": uuid, "url": url, "repeated": repeated} | told), 200 if repeated else 201, {"Location": url}


def read(sent: dict[str, Any], errors: dict[str, str]) -> tuple[JobDefinition | None, Any, dict[str, Any], str | None]:
    """(type, arguments, options of `dispatch`, key of a repeat) of a body; sentences about what is wrong go into
    `errors` by the name of the part."""
    for name in sorted(sent.keys() - set(PARTS))[:5]:
        errors[name[:60]] = _("There is no such part; there are %(names)s.", names=", ".join(PARTS))
    definition = registry.find(sent["type"]) if isinstance(sent.get("type"), str) else None
    if definition is None:
        errors["type"] = _("There is no such job type.")
    options = {name: _part(sent, part, parse, errors) for name, part, parse in (
        ("tenant_id", "tenant_id", lambda value: parse_tenant(_text(value))),
        ("queue", "queue", lambda value: parse_queue(_text(value))),
        ("delay", "at" if "at" in sent else "delay", _until if "at" in sent else _seconds),
        ("after", "after", _parents), ("batch", "batch", _batch))}
    if "at" in sent and "delay" in sent:
        errors["at"] = _("Give delay or at, not both.")
    key = request.headers.get(KEY, sent.get("idempotency_key"))
    if sent.get("idempotency_key") not in (None, key):
        errors["idempotency_key"] = _("The header %(name)s says another key: send one of them.", name=KEY)
    with collect_error(errors, "idempotency_key"):
        key = key if key is None else repeats.parse_key(_text(key))
    args = sent.get("args", {})
    if definition is not None:
        check(definition, args, options["tenant_id"], errors)
    return definition, args, options, key


def check(definition: JobDefinition, args: Any, tenant_id: str | None, errors: dict[str, str]) -> None:
    """Put a sentence about each argument that is missing, unknown or wrong into `errors`, as args.NAME; then what the
    type says about all of them."""
    known = {field.name: field for field in definition.fields}
    if isinstance(args, dict):
        before = len(errors)
        for name in [*(n for n, f in known.items() if f.required and n not in args), *args][:1000]:
            with collect_error(errors, f"args.{name[:60]}"):
                if name not in args:
                    raise InvalidArguments(_("%(job)s needs %(names)s.", job=definition.name, names=name))
                if name not in known:
                    definition.fit({name: args[name]})  # its sentence names the arguments that there are
                registry.check(known[name].hint, args[name], name)
        if len(errors) > before:
            return
    with collect_error(errors, "args"):
        definition.accept(args, tenant_id)


def _part(sent: dict[str, Any], name: str, parse: Callable[[Any], Any], errors: dict[str, str]) -> Any:
    with collect_error(errors, name):
        return parse(sent.get(name))
    return None


def _text(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise ValidationError(_("Send a text."))
    return value or ""


def _seconds(value: Any) -> float:
    if isinstance(value, bool | dict | list):
        raise ValidationError(_("Send a number of seconds."))
    return parse_delay(value)


def _until(value: Any) -> float:
    """Seconds until an ISO time with its offset; 0 for one that is over."""
    try:
        at = datetime.fromisoformat(_text(value))
        late = (millis(at) - now_ms()) / 1000 if at.tzinfo else None
    except (ValueError, OverflowError):
        late = None
    if late is None or late > MAX_DELAY_S:
        raise ValidationError(_("Send a time as 2026-12-31T08:00:00Z, at most 366 days ahead."))
    return round(max(late, 0.0), 3)


def _parents(value: Any) -> list[str]:
    if value is not None and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        raise ValidationError(_("after is a list of uuids."))
    return tree.parse_lines(value or [])


def _batch(value: Any) -> str | None:
    if value is None:
        return None
    found = batch_pages.exact(parse_uuid(_text(value)) or "")
    if found is None or found.sealed or found.finished:
        raise ValidationError(_("The batch has ended or is not known: begin another one."))
    return found.id


def upload():
    """Keep a file for a job: `file`, and `tenant_id` of the job; 201 with its upload_id."""
    file, errors, tenant = request.files.get("file"), {}, None
    with collect_error(errors, "tenant_id"):
        tenant = parse_tenant(request.form.get("tenant_id"))
    if file is None or not file.filename:
        errors["file"] = _("Choose a file.")
    if errors:
        return wrong(errors, dict)
    with collect_error(errors, "file"):
        kept = uploads.save(file.stream, file.filename, tenant)
    if errors:
        return wrong(errors, dict)
    size = kept.path.stat().st_size
    commit_audited(actor(), Message("upload"), kept.filename, Message("%(n)s bytes", n=size))
    return jsonify({"upload_id": kept.upload_id, "filename": kept.filename, "size": size}), 201

