"""/admin/jobs/new: a form from the function's signature; the same rules as the command line."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _

from app import registry
from app.config import QUEUES
from app.controllers.jobs import actor, render_error
from app.extensions import db
from app.registry import JobDefinition, Misfit
from app.services import uploads
from app.services.dispatch import dispatch
from app.strict import BadInput, check_text, parse_delay, parse_json, parse_queue, parse_tenant

bp = Blueprint("new", __name__, url_prefix="/new")


def offered() -> list[JobDefinition]:
    return [d for d in registry.known_types() if d.options.web]


@bp.get("/", endpoint="form")
def form():
    name = request.args.get("type")
    chosen = registry.find(name) if name else None
    if name and (chosen is None or not chosen.options.web):
        return render_error(404, _("There is no such job type."))
    return page(chosen, {}, {})


@bp.post("/", endpoint="create")
def create():
    definition = registry.find(request.form.get("type", ""))
    if definition is None or not definition.options.web:
        return render_error(404, _("There is no such job type."))
    errors: dict[str, str] = {}
    common: dict[str, Any] = {}
    for name, parse in (("tenant", parse_tenant), ("queue", parse_queue), ("delay", parse_delay)):
        try:
            common[name] = parse(check_text(request.form.get(name, "")))
        except BadInput as error:
            errors[name] = str(error)
    args = {}
    for field in definition.fields:
        try:
            value = read(field, errors.get("tenant") is None and common.get("tenant"))
            if value is not None or (field.required and field.kind == "file"):
                args[field.name] = registry.check(field.hint, value, field.name)
        except (BadInput, Misfit) as error:
            errors[field.name] = str(error)
    try:
        if not errors:
            uuid = dispatch(definition, args, tenant_id=common["tenant"], queue=common["queue"], delay=common["delay"], created_by=actor())
            db.session.commit()
    except (BadInput, TypeError) as error:
        errors[""] = str(error)
    if errors:
        db.session.rollback()
        return page(definition, request.form, errors), 400
    flash(_("Job created"), "success")
    return redirect(url_for("admin.jobs.job", uuid=uuid), 303)


def read(field: registry.Field, tenant: Any) -> Any:
    """One argument from the form; None when it was left out. Raises BadInput with a sentence."""
    if field.kind == "file":
        sent = request.files.get(field.name)
        if sent is None or not sent.filename:
            if field.required:
                raise BadInput(_("Choose a file."))
            return None
        return uploads.save(sent.stream, sent.filename, tenant or None)
    text = check_text(request.form.get(field.name, ""))
    if field.kind == "bool":
        return text in ("1", "on", "true")
    if not text.strip() and (field.kind != "text" or not field.required):
        if field.required:
            raise BadInput(_("Fill in this field."))
        return None
    if field.kind == "text":
        if not text.strip():
            raise BadInput(_("Fill in this field."))
        return text
    if field.kind == "choice":
        return next((c for c in field.choices if str(c) == text), text)
    return parse_json(text.strip())


def page(chosen: JobDefinition | None, values: Any, errors: dict[str, str]) -> str:
    fields = [
        {"name": f.name, "kind": f.kind, "required": f.required, "default": f.default, "choices": list(f.choices),
         "value": values.get(f.name, ""), "error": errors.get(f.name)}
        for f in (chosen.fields if chosen else ())
    ]
    return render_template(
        "admin/new_job.html", types=[{"name": d.name, "label": d.label, "url": url_for("admin.jobs.new.form", type=d.name)} for d in offered()],
        chosen={"name": chosen.name, "label": chosen.label, "fields": fields, "queue": chosen.options.queue} if chosen else None,
        queues=QUEUES, errors=errors, values=values,
    )
