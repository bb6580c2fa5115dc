"""/admin/jobs/contents: contents with filters, one with its drafts, versions, services and jobs, their syncs, and the
report of rows that an import or a bulk refused."""

from __future__ import annotations

from flask import Blueprint, flash, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext as _, ngettext

from app.controllers.access import wants_json
from app.controllers.redirects import safe_next
from app.controllers.responses import actor, ask, csv_file, done, render_error
from app.registry import find
from app.services.content import content_jobs, content_list, contents as service, costs, drafts, link_views, sync_start
from app.services.content.content_list import SERVICES, STATES, ContentFilter
from app.services.content.sync_start import Wish
from app.support.formatting import number
from app.support.validation import ValidationError, check_text, parse_id, parse_uuid

bp = Blueprint("contents", __name__, url_prefix="/contents")
MOST_TICKED = 1000


@bp.get("/", endpoint="index")
def index():
    """A page of 50 contents that match the filter, the newest first, and how many match; for scripts as JSON."""
    wanted = ContentFilter.read(request.args)
    found = content_list.page(wanted, parse_id(request.args.get("after")))
    older = found.following and url_for("admin.jobs.contents.index", after=found.following, **wanted.query)
    if wants_json():
        names = ("id", "tenant_id", "reference", "title", "updated_at")
        listed = [{name: getattr(row, name) for name in names} | {
            "services": {s.service: s.state for s in row.standings}} for row in found.rows]
        return jsonify({"contents": listed, "total": found.total, "exact": found.exact, "older": older})
    conflicts = content_list.count(ContentFilter(state="conflict"))
    return render_template(
        "admin/contents.html", contents=found.rows, filter=wanted, next_url=older, total=found.total, exact=found.exact,
        waiting=drafts.count_waiting(), conflicts=conflicts, states=STATES, services=SERVICES,
        statuses=sync_start.statuses(find(sync_start.TYPES["wordpress"])), connected=sync_start.any_connected(),
        top=content_list.newest(), most=content_list.MOST)


@bp.get("/<int:id>", endpoint="one")
def one(id: int):
    """A content: its text, waiting drafts beside it, versions, where it lives, jobs and costs. With `version` what that
    version says otherwise. 404 when there is none."""
    found = drafts.content_page(id)
    if found is None:
        return render_error(404, _("There is no such content."))
    links, connected = link_views.links_of(id), sync_start.connected(found.tenant_id)
    jobs, total = content_jobs.jobs_of(id)
    sums = costs.of_content(found.tenant_id, found.reference)
    if wants_json():
        return jsonify({"content": found, "links": links, "jobs": [job._asdict() for job in jobs], "jobs_total": total,
                        "costs": sums})
    chosen = parse_id(request.args.get("version"))
    difference = chosen and drafts.version_difference(id, chosen)
    known = {link.service: link for link in links}
    places = [{"service": s, "name": SERVICES[s], "link": known.get(s), "connected": s in connected,
               "statuses": sync_start.statuses(find(sync_start.TYPES[s]))}
              for s in SERVICES if s in known or s in connected]
    return render_template("admin/content.html", c=found, places=places, jobs=jobs, jobs_total=total, costs=sums,
                           services=SERVICES, chosen=chosen, difference=difference)


def read_wish() -> Wish:
    """The sync that a form asks for: `to` (a service), `status`, `dry_run`."""
    form = request.form
    return Wish(form.get("to", ""), check_text(form.get("status", "")), form.get("dry_run") in ("1", "on", "true"))


@bp.post("/<int:id>/sync", endpoint="sync")
def sync(id: int):
    """Dispatch the sync of a content with a service."""
    uuid = sync_start.one(id, read_wish(), actor())
    return done(_("Job created"), back=url_for("admin.jobs.job", uuid=uuid), uuid=uuid)


@bp.post("/sync", endpoint="sync-many")
def sync_many():
    """Dispatch the sync of the ticked contents (`id`, several), or with `scope=all` of all that match the filter, at
    most 10,000, as one batch, after a question. `top` leaves out contents newer than the page."""
    form, wish = request.form, read_wish()
    if form.get("scope") == "all":
        ids = content_list.ids(ContentFilter.read(form), content_list.MOST + 1, top=parse_id(form.get("top")))
    else:
        ids = sorted({key for text in form.getlist("id") if (key := parse_id(text)) is not None})
        if not ids and not wants_json():
            flash(_("Nothing is ticked: tick the contents to sync, or all that match."), "error")
            return redirect(safe_next(form.get("next"), url_for("admin.jobs.contents.index")), 303)
        if len(ids) > MOST_TICKED:
            raise ValidationError(_("Tick the contents first, at most %(n)s.", n=MOST_TICKED))
    found = sync_start.named(ids, wish)
    n, shown, name = len(found), number(len(found)), SERVICES[wish.service]
    title = ngettext("Sync %(n)s content with %(name)s?", "Sync %(n)s contents with %(name)s?", n, n=shown, name=name)
    text = (_("A dry run: nothing changes there, and each job says what it would do.") if wish.dry_run else
            _("What differs is written there. What was changed there meanwhile waits for a person."))
    if page := ask(title, text, _("Sync %(n)s", n=shown), danger=False):
        return page
    batch = sync_start.many(found, wish, actor())
    if wants_json():
        return jsonify({"ok": True, "count": n, "batch": batch})
    flash(ngettext("Sync of %(n)s content created", "Sync of %(n)s contents created", n, n=shown), "success")
    return redirect(url_for("admin.jobs.batches.one", batch=batch), 303)


@bp.post("/drafts/<uuid>/<action>", endpoint="decide")
def decide(uuid: str, action: str):
    """Accept or refuse the draft of a job."""
    key = parse_uuid(uuid)
    if key is None or action not in drafts.DECISIONS:
        return render_error(404, _("There is no such draft."))
    drafts.decide(key, action, actor())
    return done(_("Draft accepted: it is the body now") if action == "accept" else _("Draft refused"))


@bp.get("/report/<uuid>.csv", endpoint="report")
def report(uuid: str):
    """The rows that an import refused, as CSV: line, reason, row."""
    key = parse_uuid(uuid)
    if key is None or not service.has_report(key):
        return render_error(404, _("There is no report for this job."))
    return csv_file(f"rejected-{key[:8]}.csv", service.reject_csv(key))
