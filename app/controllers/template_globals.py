"""Values and filters for every template: menu, language, time zone, monitor state."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, g, has_request_context, request, url_for
from flask_babel import get_locale, gettext as _
from flask_login import current_user
from jinja2 import pass_context

from app import extensions, registry
from app.controllers.access import OF_API, bearer_token, may_open
from app.controllers.notices import following
from app.controllers.rights import right_of
from app.controllers.ways_out import ways_out
from app.services.alerts.incident_views import count_open
from app.services.content import field_names
from app.services.instance import deploys
from app.services.people.own import LANGUAGES
from app.services.stats.job_monitoring import monitor_state
from app.support import formatting, privacy
from app.support.clock import MINUTE_MS, day_of, now_ms, when
from app.support.settings import settings


def choose_language() -> str:
    """The language of the cookie, else of the browser, else Italian; English on the command line. For programs (a
    token, /api without its page) that of Accept-Language, else English."""
    if not has_request_context():
        return "en"
    if bearer_token() is not None or request.path.startswith(OF_API) and request.endpoint != "api.docs":
        return request.accept_languages.best_match(LANGUAGES, "en")
    chosen = request.cookies.get("lang")
    return chosen if chosen in LANGUAGES else request.accept_languages.best_match(LANGUAGES, "it")


def install(app: Flask) -> None:
    """Connect translations, filters and global values of templates to the application."""
    extensions.speak(app, choose_language, app.extensions["settings"].timezone.key)
    filters = formatting.FILTERS | {"field_name": field_names.name_of, "type_label": registry.label_of}
    app.jinja_env.filters.update({name: for_reader(function) for name, function in filters.items()})
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    # As functions: what they find changes; the first two query the database, and only layouts/base.html calls them
    app.jinja_env.globals.update(nav=nav, monitor=monitor_state, today=today, code_words=deploys.short,
                                 deploy_marks=deploy_marks, ways_out=ways_out, may=may, may_open=may_open,
                                 hidden=privacy.hidden, following=following, minute=minute,
                                 second=second)
    app.context_processor(common)


def for_reader(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that Jinja does not compute when it compiles a template: `100000|number` would have the language of the
    first reader for all others."""
    @pass_context
    @wraps(function)
    def filtered(_context: Any, *given: Any, **named: Any) -> Any:
        return function(*given, **named)

    return filtered


def common() -> dict[str, Any]:
    """`lang`, `timezone` (the name of APP_TIMEZONE) and `version`."""
    from app import __version__  # here, because app imports this package

    return {"lang": str(get_locale() or "it"), "timezone": settings().timezone.key, "version": __version__}


# further pages of an entry
ROOMS = {"contents.index": ("contents", "generations", "texts", "connections"), "list": ("batches", "errors"),
         "workers": ("capacity",), "recurring": ("schedules",), "index": ("usage", "reports")}


def nav() -> list[dict[str, Any]]:
    """The menu: `label`, `url`, `active`, and where it `counts`, as `count`, the number of open alerts."""
    entries = [(_("Overview"), "index"), (_("Jobs"), "list"), (_("Queues"), "queues"), (_("Workers"), "workers"),
               (_("Recurring"), "recurring"), (_("Alerts"), "alerts.index"),
               (_("Contents"), "contents.index"), (_("Costs"), "costs.index")]
    return [{"label": label, "url": url_for(f"admin.jobs.{page}"), "active": active(f"admin.jobs.{page}"),
             "counts": page == "alerts.index", "count": count_open() if page == "alerts.index" else 0}
            for label, page in entries if may(right_of(f"admin.jobs.{page}"))]


def may(right: str | None) -> bool:
    """Whether whoever asks has a right of controllers/rights.py."""
    return right in getattr(current_user, "rights", ())


def deploy_marks(minutes: int) -> list[tuple[float, str]]:
    """(minutes ago, time and text) of the deploys of the last minutes, for the small lines of queues; read once a
    request."""
    if "deploys" not in g:
        g.deploys = deploys.newest(5)
    ages = ((now_ms() - d.at_ms) / MINUTE_MS for d in g.deploys)
    return [(age, f"{formatting.at(d.at)} {d.text}") for age, d in zip(ages, g.deploys, strict=True)
            if 0 <= age <= minutes]


def today() -> str:
    """The day in APP_TIMEZONE, as addresses have it."""
    return day_of(now_ms(), settings().timezone).isoformat()


def minute() -> str:
    """The present minute in APP_TIMEZONE, for paper: '2026-11-27 09:30'."""
    return f"{formatting.localtime(when(now_ms())):%Y-%m-%d %H:%M}"


def second() -> str:
    """The present time of day in APP_TIMEZONE: '15:12:40'. How old a page is that no script keeps fresh."""
    return formatting.clock(now_ms(), now_ms(), seconds=True)


def active(endpoint: str) -> bool:
    """Whether the current page belongs to this entry; those of one content, of generations, templates, many texts
    and connections belong to contents, batches to the list of jobs."""
    here, rooms = request.endpoint or "", ROOMS.get(endpoint.removeprefix("admin.jobs."), ())
    return here in (endpoint, f"{endpoint}-one") or here.startswith(tuple(f"admin.jobs.{room}." for room in rooms))
