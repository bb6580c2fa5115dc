"""/admin/jobs/connections: accounts of tenants at OpenAI, WordPress and PrestaShop. No answer has a secret in it."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask_babel import gettext as _, ngettext

from app.controllers import forms
from app.controllers.responses import actor, ask, done, live, render_error, wrong
from app.services.audit import ActionRefused
from app.services.content import connection_check, connection_pages as service, connection_sites, connection_views
from app.services.content.connection_values import NEEDS_URL, OPTIONS, USES_USER, Faults
from app.services.content.connections import SERVICES
from app.support.formatting import number
from app.support.messages import translate_stored as tell
from app.support.settings import settings
from app.support.validation import check_text

bp = Blueprint("connections", __name__, url_prefix="/connections")


@bp.get("/", endpoint="index")
def index():
    """All connections; for scripts `{"connections": [...]}`."""
    context = {"connections": connection_views.listing()}
    return live("admin/connections.html", context | {"services": SERVICES}, "connections", plain=lambda: context)


@bp.route("/set", methods=["GET", "POST"], endpoint="set")
def set_():
    """The form of a connection to `service`, with the values of the one that `tenant` has, and its saving."""
    name, tenant = (check_text(request.values.get(field, "")).strip() for field in ("service", "tenant"))
    if name not in SERVICES:
        return render_error(404, _("There is no such service."))
    row = connection_views.find(tenant, name)
    there = connection_views.shown(row) if row else None
    given = {"tenant": tenant, "url": there.url, "user": there.user_name} if there else {"tenant": tenant}
    chosen = {f"option_{key}": option.default for key, option in OPTIONS[name].items()}
    chosen |= {f"option_{key}": value for key, value in (there.options if there else {}).items()}
    form = forms.connection_form(name, **given, **chosen)
    needed = {"tenant": True, "url": name in NEEDS_URL, "user": name in USES_USER, "secret": there is None}
    for field in filter(needed.get, needed):
        form[field].flags.required = True

    def page():
        options = [(f"option_{key}", tell(option.words), [(value, tell(text)) for value, text in option.known.items()])
                   for key, option in OPTIONS[name].items()]
        return render_template("admin/connection.html", form=form, service=name, label=SERVICES[name], there=there,
                               options=options, needed=needed, links=connection_sites.count(tenant, name))

    if request.method == "GET":
        return page()
    if not form.validate():
        return wrong(form.faults, page)
    options = {key: form[f"option_{key}"].data or "" for key in OPTIONS[name]}
    try:
        number, forgotten = service.save(form.tenant.data or "", name, form.url.data or "", form.user.data or "",
                                         form.secret.data or "", options, actor(), settings(), form.forget.data)
    except Faults as error:
        for field, sentence in error.faults.items():
            if field in form:
                form[field].errors = [sentence]
        return wrong(error.faults, page)
    return done(_("Connection saved. Test it now."), id=number, forgotten=forgotten)


@bp.post("/<int:id>/<any(test, try, remove):action>", endpoint="act")
def act(id: int, action: str):
    """Test a connection (409 with the sentence when it does not work), end its hold, or remove it after a question."""
    if action == "test":
        works, sentence = connection_check.test(id, actor(), settings())
        if not works:
            raise ActionRefused(sentence)
        return done(sentence)
    if action == "try":
        count = service.try_now(id, actor())
        return done(ngettext("%(n)s waiting job begins now", "%(n)s waiting jobs begin now", count, n=number(count))
                    if count else _("The next job tries it."), count)
    if page := ask(_("Remove this connection?"), _("Its secret is deleted; jobs of the tenant can no longer use it."),
                   _("Remove")):
        return page
    service.remove(id, actor())
    return done(_("Connection removed"))
