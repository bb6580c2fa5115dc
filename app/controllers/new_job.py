"""/admin/jobs/new and the edit page of a job: one form from the signature of the function.

GET new?type=X, or new?like=UUID (a duplicate) -> form -> POST new -> dispatch
GET edit/UUID -> the same form with the job's arguments -> POST edit/UUID -> checked, then requeued

The options have the names option-type, option-queue, option-after and so on; the arguments have their bare
names, which may be any. Scripts may send `queue` for `option-queue` where no argument has this name. The command
line has the same rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext as _

from app import registry
from app.config import QUEUES
from app.controllers import import_preview
from app.controllers.access import wants_json
from app.controllers.form_again import kept_fields
from app.controllers.responses import actor, done, wrong
from app.registry import InvalidArguments, JobDefinition
from app.services.audit import ActionRefused
from app.services.content import bulk
from app.services.jobs import actions, lookup, tree, uploads
from app.services.jobs.views import JobView
from app.support.disk import DiskLow
from app.support.messages import tell, translate_stored
from app.support.number_text import plain_number, typed_number
from app.support.redaction import redact_json
from app.support.validation import ValidationError, check_text, parse_delay, parse_json, parse_queue, parse_tenant

bp = Blueprint("new", __name__, url_prefix="/new")
import_preview.add_to(bp)
Values = Mapping[str, Any]
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_ZEROS = re.compile(r"^(-?)0+(?=[0-9])")  # 007 is 7 to a person, and no JSON
OPTIONS = {"tenant": parse_tenant, "queue": parse_queue, "delay": parse_delay,
           "after": lambda text: tree.parse_lines(text.replace(",", " ").split())}


def option_key(name: str, definition: JobDefinition | None) -> str:
    """The name of an option for scripts: bare, unless an argument has this name."""
    return f"option-{name}" if definition and any(f.name == name for f in definition.fields) else name


def option(name: str, definition: JobDefinition | None = None) -> str:
    """The text of an option in the form, "" when it was not sent."""
    return request.form.get(f"option-{name}", request.form.get(option_key(name, definition), ""))


def find_type(name: str | None) -> JobDefinition:
    """The job type of this name. Raises ActionRefused when it is unknown, or when its code says `web=False`."""
    definition = registry.find(name or "")
    if definition is None:
        raise ActionRefused(_("There is no such job type."), unknown=True)
    if not definition.options.web:
        raise ActionRefused(actions.not_from_web(definition), forbidden=True)
    return definition


@contextmanager
def collect_error(errors: dict[str, str], name: str) -> Iterator[None]:
    """Put the text of an invalid value into `errors` under `name`. DiskLow passes, because the answer to it is 507."""
    try:
        yield
    except DiskLow:
        raise
    except (ValidationError, InvalidArguments) as error:
        errors[name] = tell(error)


@bp.get("/", endpoint="form")
def form():
    """The list of job types; with `type` the form of one, with `like` the form with the arguments of a job. A bulk of
    texts has a form of its own."""
    if "like" in request.args:
        like = lookup.find(request.args["like"])
        definition = find_type(like and like.job_type)
        if definition.name == bulk.TYPE and not wants_json():
            return redirect(url_for("admin.jobs.texts.index", like=like.uuid))
        kept, options = kept_fields(), {"queue": like.queue, "tenant": like.tenant_id or ""}
        options = {of: kept.get(f"option-{of}", "") for of in OPTIONS} if kept else options
        return page(definition, given=lookup.raw_arguments(like.uuid), like=like.uuid, options=options, values=kept)
    if name := request.args.get("type"):
        if name == bulk.TYPE and not wants_json():
            return redirect(url_for("admin.jobs.texts.index"))
        kept = kept_fields() or {}
        return page(find_type(name), kept, options={of: kept.get(f"option-{of}", "") for of in OPTIONS})
    types = [d for d in registry.known_types() if d.options.web]
    if wants_json():
        return jsonify({"types": [{"name": d.name, "label": d.label, "queue": d.options.queue} for d in types]})
    return render_template("admin/new_job.html", types=types)


@bp.post("/", endpoint="create")
def create():
    """Dispatch a job from the form, or go on to the preview of an import; 400 with the form when a value is invalid."""
    definition = find_type(option("type"))
    like = lookup.find(option("like", definition))
    if like is not None and like.job_type != definition.name:
        like = None  # arguments of one type mean nothing to another
    errors, common = {}, {}
    for name, parse in OPTIONS.items():
        with collect_error(errors, option_key(name, definition)):
            common[name] = parse(check_text(option(name, definition)))
    given = lookup.raw_arguments(like.uuid) if like else {}
    args = read_all(definition, given, common.get("tenant"), errors)
    if not errors:
        with collect_error(errors, ""):
            if import_preview.wanted(definition, args):
                return import_preview.keep(args, common)
            uuid = actions.start(definition, args, actor(), tenant_id=common["tenant"], queue=common["queue"],
                                 delay=common["delay"], after=common["after"])
            return done(_("Job created"), back=url_for("admin.jobs.job", uuid=uuid), uuid=uuid)
    sent = {name: option(name, definition) for name in OPTIONS}
    return wrong(errors, lambda: page(definition, request.form, errors, given, like=like and like.uuid, options=sent))


@bp.route("/edit/<uuid>", methods=["GET", "POST"], endpoint="edit")
def edit(uuid: str):
    """The form with the arguments of a job, and their change; 400 with the form when a value is invalid."""
    found = lookup.find(uuid)
    if found is None:
        raise ActionRefused(_("There is no such job."), unknown=True)
    definition, errors = find_type(found.job_type), {}
    given = lookup.raw_arguments(found.uuid)
    if request.method == "GET":
        return page(definition, kept_fields(), given=given, editing=found)
    args = read_all(definition, given, found.tenant_id, errors)
    if not errors:
        with collect_error(errors, ""):
            try:
                state = actions.retry_edited(found.uuid, args, actor(), request.form.get("option-version", ""))
            except ActionRefused as refused:  # a person keeps what was typed
                if wants_json() or refused.forbidden or refused.unknown:
                    raise
                kept = _("Nothing was saved; what you typed is below.")
                raise ValidationError(" ".join((tell(refused), kept))) from None
            kept = {"scheduled": _("Saved. The job keeps its time."), "held": _("Saved. The job stays held.")}
            return done(kept.get(state, _("Job requeued")), uuid=found.uuid)
    return wrong(errors, lambda: page(definition, request.form, errors, given, editing=found))


def read_all(definition: JobDefinition, given: Values, tenant: str | None, errors: dict[str, str]) -> dict[str, Any]:
    """The arguments that were sent; texts of invalid ones go into `errors`. `given` are those of the job before."""
    args = {}
    for field in definition.fields:
        with collect_error(errors, field.name):
            value = read(field, tenant, given.get(field.name))
            if value is not None or (field.required and field.kind == "file"):
                args[field.name] = registry.check(field.hint, value, field.name)
    return args


def read(field: registry.Field, tenant: str | None, given: Any = None) -> Any:
    """One argument from the form, None when it was left out. Raises ValidationError, also DiskLow for a file."""
    if field.kind == "file":
        sent = request.files.get(field.name)
        if sent is not None and sent.filename:
            return uploads.save(sent.stream, sent.filename, tenant)
        if field.required and given is None:
            raise ValidationError(_("Choose a file."))
        return given
    text = check_text(request.form.get(field.name, "")).replace("\r\n", "\n")  # line ends of a textarea
    if given is not None and text == shown(field, given):
        return given  # not edited: a secret that the page hides stays
    if field.kind == "bool":
        return text in ("1", "on", "true")
    if not text.strip():
        if field.required:
            raise ValidationError(_("Fill in this field."))
        return text or None if field.kind == "text" else None
    if field.kind == "text":
        return text
    if field.kind == "choice":
        return next((c for c in field.choices if str(c) == text), text)
    return _number(text, field.kind) if field.kind in ("int", "float") else parse_json(text.strip())


def _number(text: str, kind: str) -> Any:
    """The number that a person has typed. Raises ValidationError with a sentence about numbers, not about JSON."""
    plain = plain_number(text).removeprefix("+")
    if not _NUMBER.fullmatch(plain):
        raise ValidationError(_("Write a whole number, for example 12.") if kind == "int" else
                              _("Write a number, for example %(n)s.", n=typed_number(0.5)))
    return parse_json(_ZEROS.sub(r"\1", plain))


def shown(field: registry.Field, value: Any) -> str:
    """An argument of a job as text for the form, secrets hidden."""
    value = redact_json({field.name: value})[field.name]
    if field.kind == "float" and isinstance(value, int | float):
        return typed_number(value)
    return json.dumps(value, ensure_ascii=False) if field.kind == "json" else str(value)


def fields_of(definition: JobDefinition, values: Values, errors: Values, given: Values) -> list[dict[str, Any]]:
    """The fields for template and scripts: what was sent (`values`), else what the job has (`given`), else defaults."""
    files = uploads.names_of(given)
    later = import_preview.ASKED_LATER.get(definition.name, ())
    fields = []
    for f in definition.fields:
        if f.name in later and f.name not in given and f.name not in errors:
            continue
        start = given.get(f.name, f.default)
        if f.name in given and f.kind not in ("file", "bool") or f.kind == "float" and isinstance(start, float):
            start = shown(f, start)
        if f.kind == "bool" and values:
            start = False  # browsers do not send an empty checkbox
        fields.append({"name": f.name, "kind": f.kind, "required": f.required and f.name not in files,
                       "default": f.default, "choices": list(f.choices), "value": values.get(f.name, start),
                       "error": errors.get(f.name), "file": files.get(f.name)})
    return fields


def page(
    definition: JobDefinition, values: Values | None = None, errors: Values | None = None, given: Values | None = None,
    like: str | None = None, editing: JobView | None = None, options: Values | None = None,
) -> Any:
    """The form as a page; for scripts its fields as JSON. `values` were sent, `given` are the arguments of a job."""
    errors, options = errors or {}, options or {}
    fields = fields_of(definition, values or {}, errors, given or {})
    source = editing.uuid if editing else like
    if wants_json():
        plain = [{k: v for k, v in f.items() if k != "error"} for f in fields]
        return jsonify({"type": definition.name, "queue": definition.options.queue, "like": like,
                        "edits": editing and editing.uuid, "fields": plain})
    return render_template(
        "admin/new_job.html", queues=QUEUES, errors=errors, like=like, editing=editing,
        seen_version=(values or {}).get("option-version") or (editing and lookup.version(editing.uuid)),
        chosen={"name": definition.name, "label": definition.label, "queue": definition.options.queue, "fields": fields,
                "description": translate_stored(definition.description),
                "previewed": definition.name == import_preview.TYPE},
        options={n: {"value": options.get(n), "error": errors.get(option_key(n, definition))} for n in OPTIONS},
        back_url=url_for("admin.jobs.job", uuid=source) if source else url_for("admin.jobs.new.form"),
    )
