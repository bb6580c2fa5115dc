"""How a route answers: done, refused, an error, a question first. JSON for who accepts it, else a page or a redirect."""

from __future__ import annotations

from flask import flash, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user

from app.controllers.access import wants_json
from app.controllers.redirects import safe_next
from app.services.audit import ActionRefused


def done(sentence: str, count: int, back: str):
    """The answer to a change: JSON `{"ok": true, "count": n}` or a flash and the page it came from."""
    if wants_json():
        return jsonify({"ok": True, "count": count})
    flash(sentence, "success")
    return redirect(safe_next(request.form.get("next"), back), 303)


def refused(error: ActionRefused, back: str):
    """404 for an unknown job, 403 for what is not for the web, 409 (JSON) or a flash when it changed meanwhile."""
    if error.unknown:
        return render_error(404, str(error))
    if error.forbidden:
        return render_error(403, str(error), _("Not from here"))
    if wants_json():
        return jsonify({"error": str(error)}), 409
    flash(str(error), "error")
    return redirect(safe_next(request.form.get("next"), back), 303)


def render_error(code: int, sentence: str, title: str | None = None):
    if wants_json():
        return jsonify({"error": sentence}), code
    return render_template("errors/error.html", code=code, title=title or _("Not found"), text=sentence), code


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
