"""Shows a form again: one with a value that cannot be taken, and one that was sent when its session had ended.

what a form changes is gone -> the typed values, to be copied, 404
refused value (ValidationError of any route) -> `form_again`: the typed values, the sentence beside its field, 400
no session -> `keep` -> sign-in -> /form-again -> the form's own page with the values, or a page with its fields
bulk action without session -> `keep` -> sign-in -> its list with the ticks (`kept_ticks`); it replaces no kept form
a form waits, and the sign-in leads elsewhere -> a flash with a link to it
Nothing is ever sent by itself. Secrets and files are not kept, and the page says so. A form without typed values (a
button) is not kept: the person gets to its page, with a sentence.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from flask import abort, current_app, flash, redirect, render_template, request, session, url_for
from flask_babel import gettext as _
from flask_login import current_user
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException

from app.controllers.access import foreign_page, may_open, wants_json
from app.controllers.redirects import safe_next
from app.controllers.responses import page_of_route
from app.extensions import only_read
from app.services.people import kept_forms
from app.support.settings import settings

WHO = "who"  # key of the cookie's session: the e-mail address of who signed in last
# Fields that a page sends along: nobody has typed them. Those of the list's filter are such in its bulk actions.
CARRIED = ("ask", "next", "top", "upto", "_method", "uuid", "id", "children", "changed_ms", "scope", "action", "kind",
           "service", "type", "option-type", "option-like", "option-version", "step", "upload", "of", "like")
# the page that has the form of a route, and the fields that its address needs
OWN_PAGES: dict[str, tuple[str, dict[str, str]]] = {
    "costs.budget": ("costs.index", {}), "generations.save-template": ("generations.templates", {}),
    "alerts.rule": ("alerts.rule", {}), "alerts.new-rule": ("alerts.new-rule", {"kind": "kind"}),
    "connections.set": ("connections.set", {"service": "service", "tenant": "tenant"}),
    "texts.create": ("texts.index", {}), "new.create": ("new.form", {"type": "option-type", "like": "option-like"}),
    "new.edit": ("new.edit", {}), "schedules.new": ("schedules.new", {"type": "option-type"}),
    "schedules.edit": ("schedules.edit", {}), "views.create": ("views.index", {}),
    "views.change": ("views.index", {"id": "id"}), "errors.mark": ("errors.index", {}),
    "reports.new": ("reports.new", {}), "reports.plan": ("reports.plan", {})}
BULK, TICKS = "admin.jobs.bulk", ("uuid", "scope")


def labels() -> dict[str, str]:
    """Names of fields in words; a field without one has its own name."""
    return {"minutes": _("Minutes"), "seconds": _("Seconds"), "reason": _("Reason"), "queue": _("Queue"),
            "tenant": _("Tenant"), "since": _("From"), "until": _("To"), "state": _("State"), "amount": _("Amount"),
            "q": _("Search"), "role": _("Role"), "concurrency": _("At once"), "rate": _("Starts"), "place": _("Place"),
            "period": _("Period"), "status": _("Status"), "option-tenant": _("Tenant"), "option-queue": _("Queue"),
            "option-delay": _("Delay"), "cron": _("Cron"), "name": _("Name"), "text": _("Text"), "to": _("Service")}


def form_again(sentence: str, name: str = "", gone: bool = False) -> Any:
    """The page of the form that was just sent, with the sentence beside the field `name` (else the most likely one);
    None for scripts, and for a form in which nothing was typed. `gone`: what it changes is not there any more, so the
    values are there to be copied, and the answer is a 404."""
    sent = request.form if request.method == "POST" else request.args
    fields = kept_forms.without_secrets(list(sent.items(multi=True)))
    if wants_json() or request.endpoint is None or not _typed(request.endpoint, fields):
        return None
    if gone and request.endpoint.removeprefix("admin.jobs.") not in OWN_PAGES:
        return None  # a button, or a field of a row
    only_read()
    path = request.script_root + request.path
    page = _page(request.endpoint, request.view_args, path, fields, sentence, name, not gone, gone)
    return page, 404 if gone else 400


def _typed(endpoint: str, fields: kept_forms.Fields) -> kept_forms.Fields:
    return [] if endpoint == BULK else [(name, value) for name, value in fields if name not in CARRIED]


def _page(endpoint: str, given: Any, action: str, fields: kept_forms.Fields, sentence: str, name: str = "",
          fault: bool = True, gone: bool = False) -> str:
    typed = _typed(endpoint, fields)
    shown = [field for field, value in typed if value and repr(value[:40]) in sentence]
    wrong = next((field for field in (name, *shown, *(f for f, v in typed if v)) if field in dict(typed)), typed[0][0])
    get = request.method != "POST" and request.endpoint == endpoint
    of_job = gone and "uuid" in (given or {})
    back = action if get else url_for("admin.jobs.list") if of_job else safe_next(
        dict(fields).get("next"), page_of_route(endpoint, given))
    return render_template("errors/form.html", fields=[(f, v, f in dict(typed)) for f, v in fields], sentence=sentence,
                           wrong=wrong if fault else None, action=action, method="get" if get else "post", back=back,
                           labels=labels(), gone=gone)


def keep():
    """Keep the form of a request without a session; the answer leads to the sign-in page, with a sentence."""
    small = 0 < (request.content_length or 0) <= kept_forms.MOST_BYTES  # what strangers send is read to this size only
    fields = list(request.form.items(multi=True)) if small and not foreign_page() else []
    bulk, token = request.endpoint == BULK, None
    kept = [field for field in fields if field[0] in TICKS] if bulk else fields
    if kept if bulk else _typed(request.endpoint or "", kept_forms.without_secrets(fields)):
        token = kept_forms.keep(str(session.get(WHO, "")), request.full_path.rstrip("?"), kept)
    back = safe_next(dict(fields).get("next"), "") or (page_of_route() if request.blueprint else "")
    if token:
        back = f"{back}{'&' if '?' in back else '?'}again=1" if bulk else url_for("auth.form-again")
    answer = redirect(url_for("auth.login", next=back or None), 302)
    if token:
        flash(_("The session had ended: nothing was done. Your selection is kept for an hour: sign in, and it is here.")
              if bulk else
              _("The session had ended: nothing was done. Your form is kept for an hour: sign in, and it is here."))
        cookie = settings().cookie("ticks" if bulk else "form")
        answer.set_cookie(value=token, max_age=kept_forms.KEEP_MS // 1000, **cookie)
    else:
        flash(_("The session had ended: nothing was done. Sign in, and do it again."))
    return answer


def _route(path: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """(endpoint, arguments, query) of an address that a form was sent to. Raises HTTPException."""
    parts = urlsplit(path)
    endpoint, given = current_app.url_map.bind("localhost").match(parts.path, method="POST")
    return endpoint, dict(given), dict(parse_qsl(parts.query))


def _token(name: str = "form") -> str | None:
    return request.cookies.get(str(settings().cookie(name)["key"]))


def waits(person: str) -> bool:
    """Whether a form of this person waits for the browser that signs in."""
    return kept_forms.find(_token(), person) is not None


def show():
    """The kept form: its own page with the values, or a page with its fields; nothing is sent."""
    found = kept_forms.find(_token(), current_user.email)
    if found is None:
        flash(_("There is no form to go on with: it is kept for an hour."), "info")
        return redirect(url_for("home.index"), 303)
    path, fields = found
    try:
        endpoint, given, query = _route(path)
    except HTTPException:
        return redirect(url_for("home.index"), 303)
    if not may_open(path, "POST"):
        kept_forms.forget(_token() or "")
        abort(403)
    sentence = _("Your form is here again: check it and send it.")
    if (own := OWN_PAGES.get(endpoint.removeprefix("admin.jobs."))) is None:
        return _page(endpoint, given, request.script_root + path, fields, sentence, fault=False)
    flash(sentence, "info")
    page, needed = own
    sent = query | dict(fields) | given
    wanted = {name: sent[field] for name, field in needed.items() if sent.get(field)}
    return redirect(url_for(f"admin.jobs.{page}", again="1", **given | wanted), 303)


def kept_fields() -> MultiDict[str, str] | None:
    """The fields of the kept form for the page that shows it (`again=1`), else None."""
    if request.args.get("again") != "1" or not current_user.is_authenticated:
        return None
    found = kept_forms.find(_token(), current_user.email)
    try:
        endpoint, given, _query = _route(found[0] if found else "/")
    except HTTPException:
        return None
    page = OWN_PAGES.get(endpoint.removeprefix("admin.jobs."), ("", {}))[0]
    here = request.args.to_dict() | (request.view_args or {})
    same = request.endpoint == f"admin.jobs.{page}" and all(str(here.get(name)) == str(given[name]) for name in given)
    return MultiDict(found[1]) if found and same else None


def kept_ticks() -> MultiDict[str, str]:
    """What was ticked (`uuid`, `scope`) in the list when the session had ended, for the page with `again=1`."""
    found = kept_forms.find(_token("ticks"), current_user.email) if request.args.get("again") == "1" else None
    return MultiDict(found[1] if found else [])


def forget() -> None:
    """A form that was sent again is kept no longer."""
    token = _token("ticks" if request.endpoint == BULK else "form") if request.method == "POST" else None
    if token and (found := kept_forms.find(token, current_user.email)) and urlsplit(found[0]).path == request.path:
        kept_forms.forget(token)
