"""How a route answers: done, refused, an error, a question first. JSON for who accepts it, else a page or a redirect.

A page with live parts is asked for them at its own address every 5 s (static/js/live.js), with
`Accept: application/json` and the names of its parts in `X-Partials`. One poll a page, always of one shape (`pulse`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import flash, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user

from app.controllers.access import wants_json
from app.controllers.redirects import here, safe_next
from app.extensions import only_read
from app.services.alerts.incident_views import count_open
from app.services.audit import ActionRefused
from app.services.stats.job_monitoring import JobMonitoringService, monitor_state
from app.support.clock import iso, now_ms


def pulse() -> dict[str, Any]:
    """What every poll brings for title, badge and footer: `{"stats", "timestamp", "monitor", "alerts"}`."""
    stats = JobMonitoringService().get_dashboard_stats()
    return {"stats": stats, "timestamp": iso(now_ms()), "monitor": monitor_state(),
            "alerts": {"open": count_open()}}


def polled() -> bool:
    """Whether the script of a page asks for its live parts."""
    return "X-Partials" in request.headers and wants_json()


def rendered(parts: tuple[str, ...], context: Callable[[], dict[str, Any]]) -> dict[str, str]:
    """HTML by name of those of `parts` that the script asks for, from the templates of the first render.

    Other names are ignored.
    """
    wanted = set(request.headers.get("X-Partials", "").split(",")).intersection(parts)
    given = context() if wanted else {}
    return {name: render_template(f"admin/partials/{name}.html", **given) for name in wanted}


def live(template: str, context: dict[str, Any], *parts: str, poll: str | None = None, follow: bool = True,
         plain: Callable[[], Any] | None = None):
    """A page with live parts: as HTML, its parts for its own poll, or JSON for scripts (`plain()`, else the context).

    `poll`: the address that is polled, the page's own without it. `follow=False`: the page stands still.
    """
    if polled():
        return jsonify(pulse() | {"partials": rendered(parts, lambda: context)})
    if wants_json():
        return jsonify(plain() if plain else context)
    return render_template(template, **context, **({"poll_url": poll or here()} if follow else {}))


# Page of a route, or of all routes of a blueprint, that is not the blueprint's own index; names below admin.jobs
PAGES = {"cancel": "job", "act": "job", "new.edit": "job", "bulk": "list", "pause": "queues", "pause-type": "queues",
         "recurring-change": "recurring", "workers": "workers", "generations": "generations.templates",
         "new": "new.form"}


def page_of_route() -> str:
    """Address of the page that has the button of this route: where a person is led without a `next`."""
    names = request.endpoint or "", request.blueprint or ""
    route, room = (name.removeprefix("admin.jobs").removeprefix(".") for name in names)
    page = PAGES.get(route) or PAGES.get(room) or f"{room}.index".removeprefix(".")
    return url_for(f"admin.jobs.{page}", uuid=(request.view_args or {}).get("uuid") if page == "job" else None)


def done(sentence: str, count: int = 1, back: str | None = None, **also: Any):
    """The answer to a change: JSON `{"ok": true, "count": n}`, or a flash and the page it came from.

    `also` names what was made; a person is then led to `back`, as the form may have an argument called `next`.
    """
    if wants_json():
        return jsonify({"ok": True, "count": count} | also)
    flash(sentence, "success")
    back = back or page_of_route()
    return redirect(back if also else safe_next(request.form.get("next"), back), 303)


def refused(error: ActionRefused):
    """For every route: 404 for what is unknown, 403 for what is not for the web, else 409 (JSON) or a flash."""
    if error.unknown:
        return render_error(404, str(error))
    if error.forbidden:
        return render_error(403, str(error), _("Not from here"))
    if wants_json():
        return jsonify({"error": str(error)}), 409
    flash(str(error), "error")
    return redirect(safe_next(request.form.get("next"), page_of_route()), 303)


def wrong(errors: dict[str, str], page: Callable[[], Any]):
    """A form that does not fit, 400: for scripts all sentences, also by field; for a person its page again."""
    only_read()
    return jsonify({"error": " ".join(errors.values()), "fields": errors}) if wants_json() else page(), 400


def render_error(code: int, sentence: str, title: str | None = None):
    """An error as JSON or as a page; a page without a title has the sentence as its title, a 404 "Not found"."""
    if wants_json():
        return jsonify({"error": sentence}), code
    title = title or (_("Not found") if code == 404 else sentence)
    text = "" if title == sentence else sentence
    return render_template("errors/error.html", code=code, title=title, text=text), code


def actor() -> str:
    return current_user.email


def ask(title: str, text: str, action: str, danger: bool = True):
    """The page that asks first when there is no JavaScript; None when the form was sent to act.

    Forms that ask carry `ask=1`, which the dialog takes out once confirmed; scripts never send it.
    """
    if request.form.get("ask") != "1":
        return None
    fields = [(k, v) for k, v in request.form.items(multi=True) if k not in ("csrf_token", "ask")]
    back = safe_next(request.form.get("next"), url_for("admin.jobs.index"))
    here = request.script_root + request.path
    return render_template("admin/confirm.html", title=title, text=text, action=action, action_url=here, fields=fields,
                           danger=danger, back_url=back)
