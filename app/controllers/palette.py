"""The palette (Ctrl+K): one field that leads to pages, jobs, types, tenants, workers, queues, batches, views, errors
and actions.

letters -> `entries` (pages and actions known here, and services/jobs/palette.py) -> palette.json for the script, or
the page `palette` with the same entries as links. Nothing is changed from here: an action leads to its form.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from flask import jsonify, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user

from app import registry
from app.config import QUEUES
from app.controllers.access import may_open
from app.controllers.jobs import bp
from app.controllers.responses import actor
from app.controllers.rights import ACT, MANAGE
from app.services.jobs import palette, saved_views
from app.services.jobs.search_text import fold
from app.support import privacy
from app.support.validation import check_text

MOST, MOST_OF_KIND, LONGEST = 20, 6, 100
PAUSE = "pause resume pausa riprendi"
KEYS = {
    "index": "overview dashboard home panoramica", "list": "jobs list search lavori elenco cerca",
    "queues": "queues pause limits code pausa limiti", "workers": "workers consumers processes processi",
    "recurring": "recurring schedules cron pianificazioni ricorrenti", "alerts.index": "alerts rules channels avvisi",
    "contents.index": "contents contenuti", "costs.index": "costs budgets spending costi spesa",
    "batches.index": "batches lotti", "capacity.index": "capacity forecast capacità previsione",
    "log": "actions log audit who registro azioni chi", "people.index": "people users accounts persone utenti",
    "connections.index": "connections wordpress prestashop openai connessioni",
    "generations.index": "generations texts generazioni testi", "texts.index": "many texts bulk molti testi",
    "new.form": "new job dispatch nuovo lavoro", "views.index": "views saved viste salvate",
    "errors.index": "failures by error errors exceptions groups errori falliti gruppi",
    "usage.index": "use usage statistics metrics uso statistiche"}


@dataclass(frozen=True)
class Entry:
    """One line: its kind in words, its text, a second text ('' without) and the address it leads to. `keys` are further
    words that find it, in both languages: a person types those of the trade, whatever the language of the page."""

    kind: str
    text: str
    second: str
    url: str
    keys: str = ""


@bp.get("/palette", endpoint="palette")
def page():
    """The same for browsers without JavaScript, or with the script switched off: a field and the entries as links."""
    asked = wanted()
    return render_template("admin/palette.html", asked=asked, entries=entries(asked))


@bp.get("/palette.json", endpoint="palette-json")
def answer():
    """`{"entries": [{"kind", "text", "second", "url"}]}` for the letters `q`, at most 20; pages without letters."""
    shown = ({name: value for name, value in asdict(entry).items() if name != "keys"} for entry in entries(wanted()))
    return jsonify({"entries": list(shown)})


def wanted() -> str:
    """The letters, at most 100. Raises ValidationError for characters that no text has."""
    return check_text(request.args.get("q", ""))[:LONGEST].strip()


def entries(asked: str) -> list[Entry]:
    """What the letters may mean, at most 20: what begins with them first, in the order of the kinds."""
    words, found = fold(asked).split(), palette.found(asked)
    job, page, tenant, worker, batch = _("Job"), _("Page"), _("Tenant"), _("Worker"), _("Batch")
    named = [Entry(job, name, uuid, url_for("admin.jobs.job", uuid=uuid)) for uuid, name in found.jobs]
    named += _best(words, asked, [Entry(page, label, "", url, keys) for label, url, keys in pages()])
    if words:
        named += _best(words, asked, [*types(), *queues(), *views()])
        named += [Entry(tenant, name, "", url_for("admin.jobs.list", tenant=name)) for name in found.tenants]
        named += [Entry(worker, name, "", url_for("admin.jobs.list", worker=name)) for name in found.workers]
        named += [Entry(_("Use"), name, said, url_for("admin.jobs.usage.one", scope=scope, name=name))
                  for scope, said, names in (("tenant", tenant, found.tenants), ("worker", worker, found.workers))
                  for name in names]
        named += [Entry(batch, name, key, url_for("admin.jobs.batches.one", batch=key)) for key, name in found.batches]
        named += [Entry(_("Error"), said, label, url_for("admin.jobs.errors.index", period="7d", error=key))
                  for key, said, label in found.errors]
        named += _best(words, asked, actions())
        named = [entry for entry in named if may_open(entry.url)]
        if privacy.hidden():
            return named[:MOST]
        search = _("Search all jobs for «%(text)s»", text=asked)
        named = [*named[:MOST - 1], Entry(_("Search"), search, "", url_for("admin.jobs.list", q=asked))]
    return [entry for entry in named if may_open(entry.url)][:MOST]


def _best(words: list[str], asked: str, some: list[Entry]) -> list[Entry]:
    fitting = [entry for entry in some if palette.fits(words, entry.text, entry.second, entry.keys)]
    most = MOST_OF_KIND if words else MOST
    return sorted(fitting, key=lambda entry: not fold(entry.text).startswith(fold(asked)))[:most]


def pages() -> list[tuple[str, str, str]]:
    """The name, the address and the keys of each page that needs no further choice."""
    names = {"index": _("Overview"), "list": _("Jobs"), "queues": _("Queues"), "workers": _("Workers"),
             "recurring": _("Recurring"), "alerts.index": _("Alerts"), "contents.index": _("Contents"),
             "costs.index": _("Costs"), "batches.index": _("Batches"), "capacity.index": _("Capacity"),
             "log": _("Actions log"), "people.index": _("People"), "connections.index": _("Connections"),
             "generations.index": _("Generations"), "texts.index": _("Many texts at once"), "new.form": _("New job"),
             "errors.index": _("Failures by error"), "usage.index": _("Use"), "views.index": _("Views")}
    return [(label, url_for(f"admin.jobs.{name}"), KEYS.get(name, "")) for name, label in names.items()]


def types() -> list[Entry]:
    """The jobs of each known type."""
    return [Entry(_("Type"), d.label, "" if d.label == d.name else d.name, url_for("admin.jobs.list", type=d.name))
            for d in registry.known_types()]


def queues() -> list[Entry]:
    """The lines of the queues."""
    return [Entry(_("Queue"), name, "", url_for("admin.jobs.queues", queue=name), "queue coda") for name in QUEUES]


def views() -> list[Entry]:
    """The saved views of the reader and those for all."""
    return [Entry(_("View"), view.name, "", url_for("admin.jobs.list", **view.query), "view vista")
            for view in saved_views.listing(actor())]


def actions() -> list[Entry]:
    """What the reader may do, by the forms where it is done."""
    rights = current_user.rights

    def action(text: str, keys: str, page: str, second: str = "", **place: str) -> Entry:
        return Entry(_("Action"), text, second, url_for(f"admin.jobs.{page}", **place), keys)

    found = [action(_("New alert rule"), "new alert rule nuova regola avviso", "alerts.new-rule"),
             action(_("Set a limit"), "set limit imposta limite", "queues",
                    _anchor="limits")] if MANAGE in rights else []
    if ACT not in rights:
        return found
    found += [action(_("Mark a deploy of now"), "mark a deploy segna un rilascio", "errors.index", _anchor="deploys"),
              action(_("Retry or delete all failed jobs"), "retry delete all failed riprova elimina falliti",
                     "index", _anchor="failed-jobs-section"),
              action(_("Stop, start or restart workers"), "stop start restart workers ferma avvia riavvia", "workers")]
    found += [action(_("Pause or resume queue %(name)s", name=name), f"{PAUSE} queue coda", "queues",
                     _anchor=f"queue-{name}") for name in QUEUES]
    for d in registry.known_types():
        found.append(action(_("Pause or resume type %(name)s", name=d.label), f"{PAUSE} type tipo", "queues", d.name,
                            _anchor=f"type-{d.name}"))
        if d.options.web:
            found.append(action(_("New job of type %(name)s", name=d.label), "new job dispatch nuovo", "new.form",
                                d.name, type=d.name))
    return found
