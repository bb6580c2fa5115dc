"""/admin/jobs/generations: requests to language models and their answers; prompt templates."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, jsonify, render_template, request, url_for
from flask_babel import gettext as _

from app.controllers import forms
from app.controllers.access import wants_json
from app.controllers.responses import actor, ask, done, render_error, wrong
from app.services.content import drafts, generation_pages
from app.support.messages import translate_stored
from app.support.validation import check_text, parse_id, parse_uuid

bp = Blueprint("generations", __name__, url_prefix="/generations")
PAGE = 50
IN_JSON = ("uuid", "status", "model", "tokens_in", "tokens_cached", "tokens_out", "cost_nano", "currency", "asks",
           "maybe_paid", "error")
FILTERS = ("q", "tenant", "status", "batch", "draft", "reference")
STATES = ("new", "answered", "partial", "failed", "cancelled", "asking", "answering")


@bp.get("/", endpoint="index")
def index():
    """A page of 50 generations, the newest first, filtered by text, tenant, status, batch and draft."""
    given = {name: check_text(request.args.get(name, "")).strip()[:255] for name in FILTERS}
    rows = generation_pages.listing(**given, before=parse_id(request.args.get("before")), limit=PAGE + 1)
    kept = {k: v for k, v in given.items() if v}
    older = url_for("admin.jobs.generations.index", before=rows[PAGE - 1].id, **kept) if len(rows) > PAGE else None
    if wants_json():
        listed = [{name: getattr(row, name) for name in IN_JSON} for row in rows[:PAGE]]
        return jsonify({"generations": listed, "older": older})
    return render_template("admin/generations.html", rows=rows[:PAGE], older_url=older, states=STATES, **given)


@bp.get("/<uuid>", endpoint="one")
def one(uuid: str):
    """The page of one generation, or 404."""
    found = generation_pages.one(parse_uuid(uuid) or "")
    if found is None:
        return render_error(404, _("There is no such generation."))
    return render_template("admin/generation.html", g=replace(found, error=translate_stored(found.error)),
                           content=drafts.content_of(found.uuid) if found.reference else None)


@bp.get("/templates", endpoint="templates")
def templates():
    """The prompt templates with an empty form."""
    return templates_page(forms.TemplateForm())


def templates_page(form: forms.TemplateForm):
    """The page of prompt templates with `form`."""
    return render_template("admin/templates.html", templates=generation_pages.templates(), form=form)


@bp.post("/templates", endpoint="save-template")
def save_template():
    """Save a prompt template under its name, over one of the same name."""
    form = forms.TemplateForm()
    if not form.validate():
        return wrong(form.faults, lambda: templates_page(form))
    generation_pages.save_template(**form.values, actor=actor())
    return done(_("Template saved"))


@bp.post("/templates/<int:id>/delete", endpoint="delete-template")
def delete_template(id: int):
    """Delete a prompt template after a question."""
    text = _("Jobs that name it fail until there is one of that name.")
    if page := ask(_("Delete this template?"), text, _("Delete")):
        return page
    generation_pages.delete_template(id, actor())
    return done(_("Template deleted"))
