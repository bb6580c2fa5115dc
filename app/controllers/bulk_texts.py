"""/admin/jobs/contents/bulk: many texts at once: form, preview with the estimate, and what became of them.

POST (keeps prompts or CSV as an upload of the tenant) -> GET preview?upload=... -> POST: other choices, or start

The address of the preview has all choices, like that of an import; nothing is dispatched before its second button. The
job checks estimate and budget again (app/jobs/bulk_generation.py). Prompts become a CSV with one column, so that a list
of any length goes one way.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, flash, jsonify, redirect, render_template, request, stream_with_context, url_for
from flask_babel import gettext as _, ngettext
from sqlalchemy.orm.exc import StaleDataError

from app import registry
from app.controllers import forms
from app.controllers.access import wants_json
from app.controllers.import_preview import LONGEST_ADDRESS, gone, mapped, read_columns, shape_of
from app.controllers.responses import actor, ask, csv_file, done, render_error, wrong
from app.extensions import db, only_read, reading
from app.integrations.csv_cells import guard, is_empty
from app.integrations.text_files import NAMES, Unsure
from app.services.audit import ActionRefused
from app.services.content import bulk, drafts, generation_pages
from app.services.content.bulk_texts import MOST, PROMPT, REFERENCE, Source, check_tenant, form_of, too_many
from app.services.jobs import actions, lookup, uploads
from app.support.formatting import number
from app.support.messages import tell, translate_stored
from app.support.validation import ValidationError, check_text, parse_tenant, parse_uuid

bp = Blueprint("texts", __name__, url_prefix="/contents/bulk")
KEPT = ("model", "template", "approve", "missing", "encoding", "columns")  # choices in the address, beside the source
MODEL = "gpt-4o-mini"


@bp.get("/", endpoint="index")
def index():
    """The form of a new bulk; with `like` it has the choices of another bulk's job."""
    like = lookup.find(request.args.get("like", ""))
    given = lookup.raw_arguments(like.uuid) if like and like.job_type == bulk.TYPE else {}
    prompts = given.get("prompts")
    data = {name: given[name] for name in ("model", "template", "approve", "missing") if given.get(name)}
    return page(forms.BulkForm(**({"model": MODEL, "tenant": like and like.tenant_id} | data),
                               prompts="\n".join(map(str, prompts)) if isinstance(prompts, list) else None))


def page(form: forms.BulkForm):
    """The page of the form."""
    names = sorted({t.name for t in generation_pages.templates()})
    choices = [("", _("none")), *((name, name) for name in names)]
    return render_template("admin/bulk.html", form=form, most=MOST, templates=choices)


@bp.post("/", endpoint="create")
def create():
    """Keep the prompts or the CSV and go on to the preview; 400 with the form when a value is invalid."""
    form, file = forms.BulkForm(), request.files.get("path")
    file = file if file is not None and file.filename else None
    form.validate()
    faults, prompts = form.faults, [line for line in (form.prompts.data or "").splitlines() if not is_empty(line)]
    if not faults and sum((bool(prompts), file is not None, form.missing.data)) != 1:
        faults["prompts"] = _("Give one of three: prompts, a CSV, or the tick for contents without a body.")
    choices = {name: form[name].data for name in ("model", "template", "approve", "missing")}
    try:
        if not faults:
            url = address(None, None, form.values["tenant"], choices)  # its length, before a file is kept
            if form.missing.data:
                check_tenant(form.values["tenant"])
            else:
                stream, name = (file.stream, file.filename) if file else (as_file(prompts), "prompts.csv")
                url = address(uploads.save(stream, name, form.values["tenant"]).upload_id, None, None, choices)
                uploads.keep()
            return jsonify({"ok": True, "preview": url}) if wants_json() else redirect(url, 303)
    except ValidationError as error:
        faults["prompts"] = tell(error)
    form.prompts.errors = [*form.prompts.errors, *([faults["prompts"]] if "prompts" in faults else [])]
    return wrong(faults, lambda: page(form))


def as_file(prompts: list[str]) -> io.BytesIO:
    """A CSV with the column `prompt`. Raises ValidationError for too many and for texts that cannot be stored."""
    if len(prompts) > MOST:
        raise too_many()
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["prompt"], *([guard(check_text(line))] for line in prompts)])
    return io.BytesIO(text.getvalue().encode())


def address(upload: str | None, columns: dict[str, str] | None, tenant: str | None, choices: Mapping[str, Any]) -> str:
    """The address of the preview with these choices. Raises ValidationError when it is too long."""
    given = {name: choices.get(name) or None for name in KEPT} | {"columns": columns and json.dumps(columns)}
    given |= {name: "1" for name in ("approve", "missing") if choices.get(name)}
    url = url_for("admin.jobs.texts.preview", upload=upload, tenant=tenant, **given)
    if len(url) > LONGEST_ADDRESS:
        raise ValidationError(_("The mapping of the columns is too long for the preview. Map fewer columns by hand."))
    return url


@bp.route("/preview", methods=["GET", "POST"], endpoint="preview")
def preview():
    """What a bulk would do and cost; a POST starts it (`step=start`) or redirects to other choices.

    404 when its upload is gone, 400 with the page when it cannot start.
    """
    posted, given = request.method == "POST", request.form if request.method == "POST" else request.args
    choices = {name: check_text(given.get(name, "")).strip() for name in (*KEPT, "upload", "tenant")}
    stored = uploads.find(choices["upload"]) if choices["upload"] else None
    if stored is None and not choices["missing"]:
        return render_error(404, gone())
    if (named := choices["encoding"]) and named not in NAMES:
        raise ValidationError(_("Unknown encoding %(name)s. Choose one of the list.", name=repr(named[:40])))
    file, tenant = (stored[0], stored[1].tenant_id) if stored else (None, parse_tenant(choices["tenant"]))
    about = {"name": file.filename, "size": stored[1].size} if stored else None
    with reading():
        found = look(file and file.path, tenant, choices, given)
    start, error = posted and given.get("step") == "start", found["error"]
    if start and error is None and stored and not given.get("again") and (other := bulk.started_with(stored[1])):
        told = _("They were started already, as job %(id)s. Each of them is asked and paid once more.", id=other[:8])
        if wants_json():
            raise ActionRefused(told)
        return ask(_("Start these texts again?"), told, _("Start again"), also={"again": "1"})
    if start and error is None:
        try:
            return begin(found["wish"], choices["upload"], found["plan"], found["mapping"])
        except StaleDataError:  # the upload was deleted in this moment
            return render_error(404, gone())
    if posted and not start and (error is None or found["peek"] is None):
        return redirect(address(choices["upload"] or None, found["mapping"], tenant, choices), 303)
    if posted:
        only_read()
    if wants_json():
        return figures(found), 400 if posted else 200
    texts, basis = (found["plan"].texts, found["plan"].estimate.basis) if found["plan"] else (None, None)
    rows = shape_of(found["peek"], found["mapping"], texts.sample if texts else [],
                    texts.faults.groups if texts else (), found["unsure"], found["wanted"])
    body = render_template("admin/bulk_preview.html", **rows, file=about, tenant=tenant, choices=choices, found=found,
                           texts=texts, basis=translate_stored(basis))
    return body, 400 if posted else 200


def look(path: Any, tenant: str | None, choices: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """`wish` and `plan` of the choices, `peek` at the CSV and its `mapping`; `error` says why it cannot start, and
    `overrule` whether a person may start it all the same."""
    template, encoding = choices["template"] or None, choices["encoding"] or None
    found: dict[str, Any] = {"wish": None, "plan": None, "peek": None, "mapping": read_columns(choices["columns"]),
                             "wanted": (), "unsure": (), "error": None, "overrule": False}
    try:
        if path is not None:
            found["wanted"] = wanted = form_of(tenant, template).wanted
            found["peek"] = peek = Source(path=path, encoding=encoding, columns=found["mapping"]).peek(wanted)
            # {title} and {body} are the content's own, unless the file has columns of these very names.
            found["mapping"] = mapped(peek.columns, found["mapping"], given, wanted, (REFERENCE, PROMPT))
        source = Source(None, path, bool(choices["missing"]), encoding, found["mapping"] or None)
        found["wish"] = wish = bulk.Wish(source, tenant, choices["model"] or MODEL, template, bool(choices["approve"]),
                                         given.get("over_budget") == "1")
        found["plan"] = plan = bulk.plan(wish)
        plan.check(wish)
    except Unsure as error:
        found |= {"error": tell(error).partition("\n")[0], "unsure": error.readings}
    except ValidationError as error:
        found |= {"error": tell(error), "overrule": isinstance(error, bulk.OverBudget) and not error.hold}
    return found


def begin(wish: bulk.Wish, upload: str, plan: bulk.Plan, mapping: Mapping[str, str]):
    """Dispatch the bulk and go to its job."""
    chosen = {"path": upload, "missing": wish.source.missing, "model": wish.model, "template": wish.template,
              "approve": wish.approve, "over_budget": wish.over_budget, "encoding": wish.source.encoding,
              "columns": dict(mapping)}
    args = {name: value for name, value in chosen.items() if value}
    uuid = actions.start(registry.find(bulk.TYPE), args, actor(), tenant_id=wish.tenant)
    n = len(plan.texts.texts)
    if wants_json():
        return jsonify({"ok": True, "count": n, "uuid": uuid})
    flash(ngettext("Bulk of %(n)s text created", "Bulk of %(n)s texts created", n, n=number(n)), "success")
    return redirect(url_for("admin.jobs.job", uuid=uuid), 303)


def figures(found: Mapping[str, Any]):
    """The preview as JSON."""
    plan = found["plan"]
    if plan is None:
        return jsonify({"error": found["error"], "texts": 0, "rejected": 0, "estimate": None, "budget": None})
    budget = plan.room and {"limit_nano": plan.room.limit, "left_nano": plan.room.left, "currency": plan.room.currency,
                            "hold": plan.room.hold}
    cost = {"tokens_in": plan.estimate.tokens_in, "tokens_out": plan.estimate.tokens_out,
            "cost_nano": plan.estimate.nano, "currency": plan.estimate.currency,
            "basis": translate_stored(plan.estimate.basis)}
    return jsonify({"error": found["error"], "texts": len(plan.texts.texts), "rejected": plan.texts.refused,
                    "estimate": cost, "budget": budget})


# ---- afterwards ----------------------------------------------------------------------------------------------------


def batch_of(uuid: str) -> str | None:
    """The id of a batch that has texts, or None."""
    key = parse_uuid(uuid)
    return key if key and bulk.exists(key) else None


def unknown():
    """404: the batch has no texts."""
    return render_error(404, _("There are no texts of such a batch."))


@bp.get("/<uuid>", endpoint="one")
def one(uuid: str):
    """The texts of a batch in figures, and its waiting drafts; for scripts as JSON."""
    found = bulk.view(parse_uuid(uuid) or "")
    if found is None:
        return unknown()
    if wants_json():
        return jsonify(found)
    return render_template("admin/bulk_batch.html", b=found, drafts=drafts.waiting(found.batch_id))


@bp.get("/<uuid>/results.csv", endpoint="csv")
def results_csv(uuid: str):
    """All texts of a batch as CSV, in the order of its prompts."""
    key = batch_of(uuid)
    return csv_file(f"texts-{key[:8]}.csv", bulk.as_csv(db.engine, key)) if key else unknown()


@bp.get("/<uuid>/results.json", endpoint="json")
def results_json(uuid: str):
    """All texts of a batch as JSON: `{"batch": id, "texts": [...]}`."""
    key = batch_of(uuid)
    if key is None:
        return unknown()
    return Response(stream_with_context(bulk.as_json(db.engine, key)), mimetype="application/json")


@bp.post("/<uuid>/<action>", endpoint="decide")
def decide(uuid: str, action: str):
    """Accept or refuse all waiting drafts of a batch, after a question."""
    key = batch_of(uuid)
    if key is None or action not in drafts.DECISIONS:
        return unknown()
    words = {"accept": (_("Accept all drafts?"), _("Each becomes the body of its content; the body before stays as a "
                                                   "version."), _("Accept all")),
             "refuse": (_("Refuse all drafts?"), _("The texts stay with their generations."), _("Refuse all"))}[action]
    if question := ask(*words, danger=action == "refuse"):
        return question
    n, total = drafts.decide_all(key, action, actor())
    text = _("%(n)s of %(total)s drafts accepted") if action == "accept" else _("%(n)s of %(total)s drafts refused")
    return done(text % {"n": number(n), "total": number(total)}, n)
