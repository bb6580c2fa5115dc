"""/admin/jobs/schedules: the forms of schedules.

GET new -> the types -> GET new?type=X -> the form -> POST new; GET edit/NAME -> POST edit/NAME
Of a declared schedule the form changes the time only. "Check" shows what the time means and sends nothing else; with
JavaScript the meaning is asked from `next` while one types. The arguments have the fields of "New job" (new_job.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Blueprint, abort, jsonify, render_template, request, url_for
from flask_babel import gettext as _

from app import registry
from app.config import QUEUES
from app.controllers.access import sees_data, wants_json
from app.controllers.form_again import kept_fields
from app.controllers.new_job import collect_error, fields_of, find_type, option, option_key, read_all
from app.controllers.responses import actor, done, wrong
from app.registry import JobDefinition
from app.services.jobs import recurring, schedules
from app.services.jobs.schedules import Planned
from app.support.crontab import in_words
from app.support.formatting import moment
from app.support.json_values import as_json
from app.support.messages import translate_stored
from app.support.settings import settings
from app.support.validation import ValidationError, check_text, parse_id, parse_queue, parse_tenant

bp = Blueprint("schedules", __name__, url_prefix="/schedules")
SHOWN = 5  # next runs beside the form
FIELDS = ("name", "cron", "queue", "tenant", "overlap", "catch_up", "seen")


def plain(definition: JobDefinition | None) -> JobDefinition | None:
    """A type without its files, of which none is kept for a schedule; None when it needs one, or is not for the web."""
    if definition is None or not definition.options.web:
        return None
    files = [field for field in definition.fields if field.kind == "file"]
    fields = tuple(field for field in definition.fields if field not in files)
    return None if any(field.required for field in files) else replace(definition, fields=fields)


@bp.get("/next", endpoint="next")
def upcoming():
    """What a time means: `{"cron", "words", "next": [{"at", "told"}]}`, or 400 with the sentence for its field. Without
    a time it means nothing."""
    if not (cron := request.args.get("cron", "")).strip():
        return jsonify({"cron": "", "words": None, "next": []})
    try:
        return jsonify(meaning(check_text(cron)))
    except ValidationError as error:
        return jsonify({"error": str(error)}), 400


def meaning(text: str) -> dict[str, Any]:
    """The time, its words (None: it cannot be said in few words) and its next runs. Raises ValidationError."""
    cron = schedules.parse_cron(text, settings().timezone)
    runs = recurring.coming(cron, settings().timezone, SHOWN)
    return {"cron": cron, "words": in_words(cron), "next": [{"at": as_json(at), "told": moment(at)} for at in runs]}


@bp.route("/new", methods=["GET", "POST"], endpoint="new")
def new():
    """The types that can have a schedule; with a type the form of a new schedule, and what it sends."""
    name = option("type") if request.method == "POST" else request.args.get("type")
    if not name:
        types = [d for d in registry.known_types() if plain(d)]
        if wants_json():
            return jsonify({"types": [{"name": d.name, "label": d.label, "queue": d.options.queue} for d in types]})
        return render_template("admin/schedule_form.html", types=types)
    definition = plain(find_type(name))
    if definition is None:
        raise ValidationError(_("A schedule keeps no file, and this type needs one."))
    return form(definition, None)


@bp.route("/edit/<path:name>", methods=["GET", "POST"], endpoint="edit")
def edit(name: str):
    """The form of a schedule, and what it sends. 403 for a token that may not read: the form has the arguments."""
    plan = schedules.find(name)
    definition = None if plan.declared else plain(plan.definition)
    if definition and not sees_data():
        abort(403)
    if definition is None and not plan.declared:
        raise ValidationError(plan.trouble or _("A schedule keeps no file, and this type needs one."))
    return form(definition, plan)


def form(definition: JobDefinition | None, plan: Planned | None):
    """The form of a type's schedule, or (`definition` None) of the time of a declared one; 400 with the form when a
    value is invalid."""
    given = plan.given if plan and definition else {}
    if request.method == "GET":
        if kept := kept_fields():
            return page(definition, plan, {name: kept.get(f"option-{name}", "") for name in FIELDS}, {}, given, kept)
        return page(definition, plan, stored(plan, definition), {}, given, None)
    errors: dict[str, str] = {}
    parsers = {"cron": lambda text: schedules.parse_cron(text, settings().timezone), "queue": parse_queue,
               "tenant": parse_tenant, "overlap": schedules.parse_overlap, "catch_up": lambda text: text in ("1", "on"),
               **({} if plan else {"name": schedules.parse_name})}
    sent, values = {name: option(name, definition) for name in FIELDS}, {}
    for name in parsers if definition else ("cron",):
        with collect_error(errors, option_key(name, definition)):
            values[name] = parsers[name](check_text(sent[name]))
    args = read_all(definition, given, values.get("tenant"), errors) if definition else {}
    checks = "check" in request.form
    if not errors and not checks:
        with collect_error(errors, ""):
            return save(definition, plan, parse_id(sent["seen"]) or 0, args, values)
    if plan:
        sent["seen"] = str(schedules.find(plan.name).changed_ms)
    shown = page(definition, plan, sent, errors, given, request.form)
    return shown if checks else wrong(errors, lambda: shown)


def save(definition: JobDefinition | None, plan: Planned | None, seen: int, args: dict[str, Any],
         values: dict[str, Any]):
    """Make or change the schedule. Raises the errors of the service."""
    if definition is None and plan:
        schedules.retime(plan, seen, values["cron"], actor())
        return done(_("Schedule changed"), back=url_for("admin.jobs.recurring-one", name=plan.name))
    options = {"tenant_id": values["tenant"], **{n: values[n] for n in ("cron", "queue", "overlap", "catch_up")}}
    if plan:
        schedules.change(plan, seen, args, actor(), **options)
        return done(_("Schedule changed"), back=url_for("admin.jobs.recurring-one", name=plan.name))
    schedules.make(values["name"], definition, args, actor(), **options)
    return done(_("Schedule made"), back=url_for("admin.jobs.recurring-one", name=values["name"]), name=values["name"])


def stored(plan: Planned | None, definition: JobDefinition | None) -> dict[str, Any]:
    """The options as the form shows them at first."""
    if plan is None:
        return {"queue": definition and definition.options.queue, "overlap": "skip"}
    return {"name": plan.name, "cron": plan.cron, "queue": plan.queue or (definition and definition.options.queue),
            "tenant": plan.tenant_id, "overlap": plan.overlap, "catch_up": "1" if plan.catch_up else "",
            "seen": plan.changed_ms}


def page(definition: JobDefinition | None, plan: Planned | None, options: dict[str, Any], errors: dict[str, str],
         given: dict[str, Any], sent: Any):
    """The form; for scripts its fields as JSON. `sent` is the posted form, whose values stay."""
    cron, told = options.get("cron") or "", None
    if cron and option_key("cron", definition) not in errors:
        try:
            told = meaning(str(cron))
        except ValidationError as error:
            errors = errors | {option_key("cron", definition): str(error)}
    fields = fields_of(definition, sent or {}, errors or ({"": ""} if sent else {}), given) if definition else []
    if wants_json():
        bare = [{k: v for k, v in f.items() if k != "error"} for f in fields]
        return jsonify({"type": definition and definition.name, "options": options, "fields": bare, "meaning": told})
    chosen = {"fields": fields, "name": definition.name, "label": definition.label,
              "description": translate_stored(definition.description)} if definition else None
    return render_template(
        "admin/schedule_form.html", chosen=chosen, plan=plan, errors=errors, told=told, queues=QUEUES,
        options={n: {"value": options.get(n), "error": errors.get(option_key(n, definition))} for n in FIELDS},
        back_url=url_for("admin.jobs.recurring-one", name=plan.name) if plan else url_for("admin.jobs.schedules.new"))
