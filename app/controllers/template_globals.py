"""What every template gets: menu, language, monitor state, filters."""

from __future__ import annotations

from typing import Any

from flask import Flask, has_request_context, request, url_for
from flask_babel import get_locale
from flask_babel import gettext as _

from app import extensions, registry
from app.services.alerts.incident_views import count_open
from app.services.stats.job_monitoring import monitor_state
from app.support import formatting
from app.support.settings import settings

LANGUAGES = ("it", "en")
MENU = (  # label, endpoint
    ("Overview", "admin.jobs.index"),
    ("Jobs", "admin.jobs.list"),
    ("Queues", "admin.jobs.queues"),
    ("Workers", "admin.jobs.workers"),
    ("Recurring", "admin.jobs.recurring"),
    ("Alerts", "admin.jobs.alerts.index"),
    ("Contents", "admin.jobs.contents.index"),
    ("Costs", "admin.jobs.costs.index"),
)


def choose_language() -> str:
    """The cookie's choice, else what the browser asks for, else Italian; English on the command line."""
    if not has_request_context():
        return "en"
    chosen = request.cookies.get("lang")
    return chosen if chosen in LANGUAGES else request.accept_languages.best_match(LANGUAGES, "it")


def install(app: Flask) -> None:
    extensions.babel.init_app(
        app, locale_selector=choose_language, timezone_selector=lambda: settings().timezone.key,
        default_translation_directories="translations",
    )
    app.jinja_env.filters.update(formatting.FILTERS)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(nav=nav, monitor=monitor_state)  # functions, called by layouts/base.html alone: they ask the database
    app.context_processor(common)


def common() -> dict[str, Any]:
    return {"lang": str(get_locale() or "it"), "timezone": settings().timezone.key, "version": version()}


def nav() -> list[dict[str, Any]]:
    """The menu: `label`, `url`, `active`, and as `count` the open alerts."""
    return [{"label": _(label), "url": url_for(endpoint), "active": active(endpoint),
             "count": count_open() if endpoint == "admin.jobs.alerts.index" else 0}
            for label, endpoint in MENU if endpoint != "admin.jobs.recurring" or registry.schedules()]


def active(endpoint: str) -> bool:
    """Whether this entry of the menu is where the reader is; generations and templates stand under contents."""
    here = request.endpoint or ""
    return here == endpoint or (endpoint == "admin.jobs.contents.index" and here.startswith("admin.jobs.generations."))


def version() -> str:
    from app import __version__

    return __version__


def _words() -> tuple[str, ...]:
    """Menu words for the translation catalogue, which reads only literal calls."""
    return (_("Overview"), _("Jobs"), _("Queues"), _("Workers"), _("Recurring"), _("Alerts"), _("Contents"), _("Costs"))
