"""/admin/jobs/new and a job's edit page: one form from the function's signature; the same rules as the command line.

GET new?type=X, or new?like=UUID (a duplicate) -> form -> POST new -> dispatch
GET edit/UUID -> the same form with the job's arguments -> POST edit/UUID -> checked, then requeued

Its own fields are option-type, option-queue and so on; the arguments have their bare names, whatever these are. Scripts
may send `queue` for `option-queue` where no argument is called so.
"""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, jsonify, render_template, request, url_for
from flask_babel import gettext as _

from app import registry
from app.config import QUEUES
from app.controllers import import_preview
from app.controllers.access import wants_json
from app.controllers.responses import actor, done, render_error, wrong
from app.registry import InvalidArguments, JobDefinition
from app.services.jobs import actions, lookup, uploads
from app.support.disk import DiskLow
from app.support.messages import translate_stored
from app.support.redaction import redact_json
from app.support.validation import ValidationError, check_text, parse_delay, parse_json, parse_queue, parse_tenant

bp = Blueprint("new", __name__, url_prefix="/new")
import_preview.add_to(bp)
OPTIONS = {"tenant": parse_tenant, "queue": parse_queue, "delay": parse_delay}


def option_key(name: str, definition: JobDefinition | None) -> str:
    """The name of an option for scripts: bare, unless an argument is called so."""
    return f"option-{name}" if definition and any(f.name == name for f in definition.fields) else name


def option(name: str, definition: JobDefinition | None = None) -> str:
    return request.form.get(f"option-{name}", request.form.get(option_key(name, definition), ""))


def closed(definition: JobDefinition | None):
    """The refusal of a type with `web=False`, whichever way it is asked for; None for all others."""
    if definition is None or definition.options.web:
        return None
    return render_error(403, actions.not_from_web(definition), _("Not from here"))


def offered() -> list[JobDefinition]:
    return [d for d in registry.known_types() if d.options.web]


@bp.get("/", endpoint="form")
def form():
    like = lookup.find(request.args["like"]) if "like" in request.args else None
    name = like.job_type if like else request.args.get("type")
    chosen = registry.find(name) if name else None
    if ("like" in request.args and like is None) or (name and chosen is None):
        return render_error(404, _("There is no such job type."))
    if refusal := closed(chosen):
        return refusal
    if like is None:
        return page(chosen)
    options = {"queue": like.queue, "tenant": like.tenant_id or ""}
    return page(chosen, given=lookup.raw_arguments(like.uuid), like=like.uuid, options=options)


@bp.post("/", endpoint="create")
def create():
    definition = registry.find(option("type"))
    if definition is None:
        return render_error(404, _("There is no such job type."))
    if refusal := closed(definition):
        return refusal
    like = lookup.find(option("like", definition))
    if like is not None and like.job_type != definition.name:
        like = None  # what one type was given is nothing to another
    errors: dict[str, str] = {}
    common: dict[str, Any] = {}
    for name, parse in OPTIONS.items():
        try:
            common[name] = parse(check_text(option(name, definition)))
        except ValidationError as error:
            errors[option_key(name, definition)] = str(error)
    given = lookup.raw_arguments(like.uuid) if like else {}
    args = read_all(definition, given, common.get("tenant"), errors)
    try:
        if not errors and import_preview.wanted(definition, args):
            return import_preview.keep(args, common)
        if not errors:
            uuid = actions.start(definition, args, actor(), tenant_id=common["tenant"], queue=common["queue"], delay=common["delay"])
    except DiskLow:
        raise
    except (ValidationError, TypeError) as error:
        errors[""] = str(error)
    if errors:
        sent = {name: option(name, definition) for name in OPTIONS}
        return wrong(errors, lambda: page(definition, request.form, errors, given, like=like and like.uuid, options=sent))
    return done(_("Job created"), back=url_for("admin.jobs.job", uuid=uuid), uuid=uuid)


@bp.route("/edit/<uuid>", methods=["GET", "POST"], endpoint="edit")
def edit(uuid: str):
    found = lookup.find(uuid)
    definition = registry.find(found.job_type) if found else None
    if found is None or definition is None:
        return render_error(404, _("There is no such job.") if found is None else _("There is no such job type."))
    if refusal := closed(definition):
        return refusal
    given, errors = lookup.raw_arguments(found.uuid), {}
    if request.method == "GET":
        return page(definition, {}, errors, given, editing=found)
    args = read_all(definition, given, found.tenant_id, errors)
    try:
        if not errors:
            state = actions.retry_edited(found.uuid, args, actor())
    except DiskLow:
        raise
    except (ValidationError, TypeError) as error:
        errors[""] = str(error)
    if errors:
        return wrong(errors, lambda: page(definition, request.form, errors, given, editing=found))
    said = {"scheduled": _("Saved. The job keeps its time."), "held": _("Saved. The job stays held.")}
    return done(said.get(state, _("Job requeued")), uuid=found.uuid)


def read_all(definition: JobDefinition, given: dict[str, Any], tenant: str | None, errors: dict[str, str]) -> dict[str, Any]:
    """The arguments sent; sentences by field go into `errors`. `given` are those of the job edited or repeated."""
    args = {}
    for field in definition.fields:
        try:
            value = read(field, tenant, given.get(field.name))
            if value is not None or (field.required and field.kind == "file"):
                args[field.name] = registry.check(field.hint, value, field.name)
        except DiskLow:
            raise
        except (ValidationError, InvalidArguments) as error:
            errors[field.name] = str(error)
    return args


def read(field: registry.Field, tenant: str | None, given: Any = None) -> Any:
    """One argument from the form; None when it was left out. Raises ValidationError with a sentence."""
    if field.kind == "file":
        sent = request.files.get(field.name)
        if sent is not None and sent.filename:
            return uploads.save(sent.stream, sent.filename, tenant)
        if field.required and given is None:
            raise ValidationError(_("Choose a file."))
        return given
    text = check_text(request.form.get(field.name, "")).replace("\r\n", "\n")  # as browsers send the lines of a textarea
    if given is not None and text == shown(field, given):
        return given  # untouched; what the page hides stays what it is
    if field.kind == "bool":
        return text in ("1", "on", "true")
    if not text.strip():
        if field.required:
            raise ValidationError(_("Fill in this field."))
        return None if field.kind != "text" else (text or None)
    if field.kind == "text":
        return text
    if field.kind == "choice":
        return next((c for c in field.choices if str(c) == text), text)
    return parse_json(text.strip())


def shown(field: registry.Field, value: Any) -> str:
    """A job's argument as the form shows it, secrets hidden."""
    value = redact_json({field.name: value})[field.name]
    return json.dumps(value, ensure_ascii=False) if field.kind == "json" else str(value)


def page(chosen: JobDefinition | None, values: Any = None, errors: dict[str, str] | None = None, given: dict[str, Any] | None = None,
         like: str | None = None, editing: dict[str, Any] | None = None, options: dict[str, str] | None = None) -> Any:
    """The form as a page, with the arguments that were sent (`values`) or that a job has (`given`); for scripts what it
    offers."""
    values, errors, given, options = values or {}, errors or {}, given or {}, options or {}
    files = uploads.names_of(given)
    fields = []
    for f in chosen.fields if chosen else ():
        if f.name in import_preview.ASKED_LATER.get(chosen.name, ()) and f.name not in given and f.name not in errors:
            continue
        start = shown(f, given[f.name]) if f.name in given and f.kind not in ("file", "bool") else given.get(f.name, f.default)
        sent = values.get(f.name, False if values and f.kind == "bool" and errors else start)
        fields.append({"name": f.name, "kind": f.kind, "required": f.required and f.name not in files, "default": f.default,
                       "choices": list(f.choices), "value": sent, "error": errors.get(f.name), "file": files.get(f.name)})
    if wants_json():
        plain = [{k: v for k, v in f.items() if k != "error"} for f in fields]
        if chosen is None:
            return jsonify({"types": [{"name": d.name, "label": d.label, "queue": d.options.queue} for d in offered()]})
        about = {"type": chosen.name, "queue": chosen.options.queue, "like": like, "edits": editing and editing.uuid}
        return jsonify(about | {"fields": plain})
    return render_template(
        "admin/new_job.html", types=[{"name": d.name, "label": d.label, "url": url_for("admin.jobs.new.form", type=d.name)} for d in offered()],
        chosen={"name": chosen.name, "label": chosen.label, "fields": fields, "queue": chosen.options.queue,
                "description": translate_stored(chosen.description), "previewed": chosen.name == import_preview.TYPE}
        if chosen else None,
        queues=QUEUES, errors=errors, like=like,
        options={name: {"value": options.get(name), "error": errors.get(option_key(name, chosen))} for name in OPTIONS}, editing=editing,
        back_url=url_for("admin.jobs.job", uuid=editing.uuid if editing else like) if editing or like else url_for("admin.jobs.new.form"),
    )
