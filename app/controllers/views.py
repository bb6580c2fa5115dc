"""/admin/jobs/views: the saved views of the list, as plain forms. A view opens as an address of the list."""

from __future__ import annotations

from flask import Blueprint, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user

from app.controllers.access import wants_json
from app.controllers.form_again import kept_fields
from app.controllers.job_list import read_filter
from app.controllers.responses import actor, ask, done, wrong
from app.controllers.rights import MANAGE
from app.services.jobs import filter_words, saved_views
from app.support.validation import ValidationError

bp = Blueprint("views", __name__, url_prefix="/views")


def is_admin() -> bool:
    """Whether the signed-in person may change the views of others."""
    return MANAGE in current_user.rights


@bp.get("/", endpoint="index")
def index():
    """The views that a person sees, with forms to change them; for scripts the same values as JSON."""
    views = saved_views.listing(current_user.email, is_admin())  # a token's name owns none
    if wants_json():
        return jsonify({"views": views})
    kept = kept_fields()
    return _page(views, {}, kept, request.args.get("id", "new") if kept else "")


def _page(views, faults, typed, which):
    lines = []
    for view in views:
        try:
            told, fault = list(filter_words.parts(read_filter(view.query)).values()), None
        except ValidationError as error:
            told, fault = [], str(error)
        lines.append({"view": view, "parts": told, "fault": fault,
                      "url": url_for("admin.jobs.list", **view.query)})
    return render_template("admin/views.html", lines=lines, faults=faults, typed=typed, which=which)


@bp.get("/<int:id>", endpoint="one")
def one(id: int):
    """To the list with the filter of a view."""
    return redirect(url_for("admin.jobs.list", **saved_views.find(id, actor(), is_admin()).query))


@bp.post("/", endpoint="create")
def create():
    """Save the filter in the form under `name`, for all with `shared`."""
    try:
        wanted = read_filter(request.form)
        id = saved_views.create(request.form.get("name", ""), wanted, _shared(), actor())
    except ValidationError as error:
        return _refused("new", error)
    return done(_("View saved"), id=id, back=url_for("admin.jobs.list", **wanted.query))


@bp.post("/<int:id>", endpoint="change")
def change(id: int):
    """Another name for a view, or another filter: that in the form, else its own."""
    view = saved_views.find(id, actor(), is_admin())
    try:
        given = read_filter(request.form)
        wanted = given if given.query else read_filter(view.query)
        saved_views.change(id, request.form.get("name", view.name), wanted, _shared(view), actor(),
                           is_admin())
    except ValidationError as error:
        return _refused(str(id), error)
    return done(_("View saved"))


def _shared(view: saved_views.View | None = None) -> bool:
    """Whether the form wants the view for all people. Raises ValidationError for who may not show views to others."""
    shared = bool(request.form.get("shared"))
    if shared and not is_admin() and not (view and view.shared):
        raise ValidationError(_("Your role keeps its views to itself: leave “For all people” unticked."))
    return shared


def _refused(which: str, error: ValidationError):
    views = saved_views.listing(actor(), is_admin())
    return wrong({"name": str(error)}, lambda: _page(views, {which: str(error)}, request.form, which))


@bp.post("/<int:id>/delete", endpoint="delete")
def delete(id: int):
    """Delete a view after a question."""
    name = saved_views.find(id, actor(), is_admin()).name
    if page := ask(_("Delete the view %(name)s?", name=name), _("The jobs stay as they are."), _("Delete")):
        return page
    saved_views.delete(id, actor(), is_admin())
    return done(_("View deleted"), back=url_for("admin.jobs.views.index"))
