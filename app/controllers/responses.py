"""Answers of routes: a change made, a refusal, an error, a question. JSON on request, else a page or a redirect.

The script of a page polls the page's own address every 5 s for its live parts (static/js/live.js). The poll has
`Accept: application/json` and the names of the parts in `X-Partials`. Every poll is answered in one shape (`pulse`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response, flash, jsonify, redirect, render_template, request, stream_with_context, url_for
from flask_babel import gettext as _
from flask_login import current_user

from app.controllers.access import bearer_token, wants_json
from app.controllers.redirects import came_from, here, safe_next
from app.extensions import only_read
from app.services.alerts.incident_views import count_open
from app.services.audit import ActionRefused
from app.services.stats.job_monitoring import JobMonitoringService, monitor_state
from app.support import disk
from app.support.clock import iso, now_ms


def pulse() -> dict[str, Any]:
    """The part of every poll for title, badge and footer: `{"stats", "timestamp", "monitor", "alerts"}`."""
    stats = JobMonitoringService().get_dashboard_stats()
    return {"stats": stats, "timestamp": iso(now_ms()), "monitor": monitor_state(),
            "alerts": {"open": count_open()}}


def polled() -> bool:
    """Whether this request is a poll of a page's script for live parts."""
    return "X-Partials" in request.headers and wants_json()


def rendered(parts: tuple[str, ...], context: Callable[[], dict[str, Any]]) -> dict[str, str]:
    """HTML by name, of those `parts` that the poll names; other names are ignored.

    The templates are those of the first render. `context` is called only when a part is wanted.
    """
    wanted = set(request.headers.get("X-Partials", "").split(",")).intersection(parts)
    given = context() if wanted else {}
    return {name: render_template(f"admin/partials/{name}.html", **given) for name in wanted}


def live(template: str, context: dict[str, Any], *parts: str, poll: str | None = None, follow: bool = True,
         plain: Callable[[], Any] | None = None):
    """A page with live parts: HTML, its parts for a poll, or JSON for scripts (`plain()`, else the context).

    `poll` is the address for polls, by default this page's own. `follow=False`: the page does not poll.
    """
    if polled():
        return jsonify(pulse() | {"partials": rendered(parts, lambda: context)})
    if wants_json():
        return jsonify(plain() if plain else context)
    return render_template(template, **context, **({"poll_url": poll or here()} if follow else {}))


# Page of a route, or of all routes of a blueprint, if it is not the blueprint's own index; names below admin.jobs
PAGES = {"cancel": "job", "act": "job", "undo": "log", "new.edit": "job", "bulk": "list", "pause": "queues",
         "pause-type": "queues", "set-limit": "queues", "place": "queues", "undo-place": "queues", "notices": "index",
         "recurring-change": "recurring", "workers": "workers",
         "generations": "generations.templates", "new": "new.form", "syncs": "contents.index",
         "schedules": "recurring"}


def page_of_route(endpoint: str | None = None, given: dict[str, Any] | None = None) -> str:
    """Address of the page that has the button of this route, or of another with its arguments; a person gets there
    when the form has no `next`."""
    endpoint, given = (request.endpoint or "", request.view_args) if endpoint is None else (endpoint, given)
    if endpoint.startswith("account."):
        return url_for("account.index")
    names = endpoint, endpoint.rpartition(".")[0]
    route, room = (name.removeprefix("admin.jobs").removeprefix(".") for name in names)
    page = PAGES.get(route) or PAGES.get(room) or f"{room}.index".removeprefix(".")
    return url_for(f"admin.jobs.{page}", uuid=(given or {}).get("uuid") if page == "job" else None)


def done(sentence: str, count: int = 1, back: str | None = None, entry: int | None = None, undo: bool = False,
         **also: Any):
    """The answer to a change: JSON `{"ok": true, "count": n}`, or a flash and a redirect to the page before.

    `entry` is its number in the log (`action` in JSON); with `undo` the flash has a form that takes it back. `also`
    adds keys that identify what was made. A person then gets to `back`, because the form of a new job may have an
    argument called `next`. A `count` of 0 is told without the sign of success.
    """
    if wants_json():
        noted = {} if entry is None else {
            "action": entry, "undo": url_for("admin.jobs.undo", id=entry) if undo else None}
        return jsonify({"ok": True, "count": count} | noted | also)
    flash(sentence, "success" if count else "info")
    if undo:
        flash(str(entry), "undo")
    back = back or (None if also else came_from()) or page_of_route()
    return redirect(back if also else safe_next(request.form.get("next"), back), 303)


def refused(error: ActionRefused):
    """The answer to ActionRefused in every route: 404 if unknown, 403 if forbidden on the web, else 409 or a flash."""
    if error.unknown:
        return render_error(404, str(error))
    if error.forbidden:
        return render_error(403, str(error), _("Not from here"))
    if wants_json():
        return jsonify({"error": str(error)}), 409
    flash(str(error), "error")
    return redirect(safe_next(request.form.get("next"), came_from() or page_of_route()), 303)


def wrong(errors: dict[str, str], page: Callable[[], Any]):
    """400 for a form with errors (sentences by field): as JSON all of them; for a person the page of the form."""
    only_read()
    return jsonify({"error": " ".join(errors.values()), "fields": errors}) if wants_json() else page(), 400


def render_error(code: int, sentence: str, title: str | None = None):
    """An error as JSON or as a page. The default title is the sentence, or "Not found" for a 404."""
    if wants_json():
        return jsonify({"error": sentence}), code
    with contextlib.suppress(Exception):  # the database may be away
        only_read()
    title = title or (_("Not found") if code == 404 else sentence)
    text = "" if title == sentence else sentence
    return render_template("errors/error.html", code=code, title=title, text=text), code


def csv_file(name: str, body: str | Iterator[str]) -> Response:
    """A CSV that the browser saves as `name`. Raises DiskLow when less than 5 % of the disk is free."""
    disk.require_room()
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    sent = body if isinstance(body, str) else stream_with_context(body)
    return Response(sent, content_type="text/csv; charset=utf-8", headers=headers)


def actor() -> str:
    """Who asks, for the log of actions: the e-mail address, also with the name of the token."""
    return current_user.actor


def ask(title: str, text: str, action: str, danger: bool = True, tree: Callable[[], Any] | None = None,
        also: dict[str, str] | None = None, field: dict[str, Any] | None = None, always: bool = False):
    """A page with a question, for browsers without JavaScript; None when the form was sent to act.

    Forms with a question carry `ask=1`; scripts never send it. `tree()` returns a tree_forms.TreeQuestion, or None. The
    dialog of the page sends `ask=tree` after "yes": then it is asked only if jobs wait and the dialog did not know it.
    With `also` it is asked always, and the answer carries these fields; with `always` too. `field` is asked with it:
    {"name", "label", "value", "error", "choices"}, of which an error makes the answer a 400. A token is never asked.
    """
    if bearer_token() is not None:
        return None
    asked = request.form.get("ask")
    tree = tree() if tree and asked in ("1", "tree") else None
    open_question = asked == "1" or asked == "tree" and tree and "children" not in request.form
    if also is None and not always and not open_question:
        return None
    own = ("csrf_token", "ask", "children", "next", field["name"] if field else "")
    fields = [(k, v) for k, v in request.form.items(multi=True) if k not in own]
    fields += (also or {}).items()
    back = safe_next(request.form.get("next"), came_from() or url_for("admin.jobs.index"))
    if field or request.form.get("next") or came_from():
        fields += [("next", back)] + [("ask", "asked")] * bool(field)
    only_read()
    page = render_template("admin/confirm.html", title=title, text=text, action=action, fields=fields, danger=danger,
                           tree=tree, action_url=request.script_root + request.path, back_url=back, field=field)
    return (page, 400) if field and field["error"] else page
