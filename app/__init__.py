"""`create_app()`: settings, extensions, job types, blueprints, command line.

Flask and SQLAlchemy are imported inside: a process that sends one message needs neither, and an import of this package
takes 0.04 s of CPU instead of 0.85 s.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import os
import traceback
from datetime import timedelta
from typing import TYPE_CHECKING

from app.config import ROOT, SettingError, Settings, load_settings
from app.support.logs import setup_logging, setup_sentry
from app.support.redaction import add_secrets

if TYPE_CHECKING:
    from flask import Flask

__version__ = "0.1.0"


def create_app(settings: Settings | None = None, synchronous: str = "FULL", pages: bool = True,
               commands: bool = True) -> Flask:
    """The application. Raises SettingError (one line that names the variable) for a bad setting.

    `synchronous` is SQLite's: with NORMAL a power cut may take the last commits of the sessions. Workers alone use it.
    Without `pages` it answers no request, without `commands` it has no command line: a program that needs neither has
    18 MB less and starts in 0.6 s, not in 1.1 s.
    """
    from flask import Flask

    from app import extensions
    from app.support.json_values import as_json

    os.umask(0o077)
    settings = settings or load_settings()
    setup_logging()
    add_secrets([settings.secret_key, *settings.secret_key_fallbacks])
    setup_sentry(settings.sentry_dsn, __version__)
    app = Flask(__name__, template_folder=str(ROOT / "templates"), static_folder=str(ROOT / "static"),
                static_url_path=f"/static/{static_version()}")
    app.add_url_rule("/static/<path:filename>", "static-plain", app.send_static_file)  # an address without a version
    app.extensions["settings"] = settings
    if not settings.sqlite and not importlib.util.find_spec("psycopg"):
        raise SettingError("DATABASE_URL: the driver of PostgreSQL is not installed: bash scripts/venv.sh postgres")
    app.config.update(
        SECRET_KEY=settings.key("session"),
        SECRET_KEY_FALLBACKS=settings.keys("session")[1:],
        WTF_CSRF_SECRET_KEY=settings.key("csrf"),
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_CHECK_DEFAULT=False,  # each blueprint checks, once it knows who asks
        WTF_CSRF_SSL_STRICT=False,
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        # As many connections as the web has threads: 5 kept, the others as long as they are needed. The one used last
        # is used next: SQLite would read all its pages again after the commit of another (20 % of a dispatch).
        SQLALCHEMY_ENGINE_OPTIONS={"hide_parameters": True, "max_overflow": 24, "pool_use_lifo": True} | (
            {} if settings.sqlite else {"pool_pre_ping": True, "connect_args": extensions.POSTGRES_OPTIONS}),
        SESSION_COOKIE_NAME=settings.cookie("session")["key"],
        SESSION_COOKIE_PATH=settings.prefix or "/",
        SESSION_COOKIE_SECURE=settings.https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        # Or each poll sets the cookie, and one that was under way during an act puts the session of before it back:
        # what the act had to tell, and its "Undo", are lost. A session ends after 7 days, however often it is used.
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(days=7),
        MAX_CONTENT_LENGTH=(settings.upload_max_mb + 1) * 2**20,
        MAX_FORM_MEMORY_SIZE=2 * 2**20,
        BABEL_DEFAULT_LOCALE="it",
        # Style sheets, scripts and icons only: a compressed page that holds a token and what a person typed leaks the
        # token (BREACH).
        COMPRESS_MIMETYPES=["text/css", "text/javascript", "application/javascript", "image/svg+xml"],
        COMPRESS_ALGORITHM_STREAMING=["br", "gzip"],  # files are streamed
    )
    app.json.sort_keys = False
    app.json.default = as_json
    _extend(app, synchronous)
    _load_jobs(settings)
    from app.services.jobs.tickets import Publisher

    app.extensions["publisher"] = Publisher(app)
    if pages:
        from app.controllers import routes

        routes.register(app)
    else:
        extensions.speak(app, lambda: "en", settings.timezone.key)
    if commands:
        from app.cli.main import register_commands

        register_commands(app)
    return app


def static_version() -> str:
    """A hash of 10 characters that changes with each file in static/, so that browsers load changed files at once."""
    files = sorted(p for p in (ROOT / "static").rglob("*") if p.is_file())
    states = "".join(f"{path.name}{path.stat().st_size}{path.stat().st_mtime_ns}" for path in files)
    return hashlib.sha256(states.encode()).hexdigest()[:10]


def _extend(app: Flask, synchronous: str) -> None:
    from app import extensions

    extensions.db.init_app(app)
    with app.app_context():
        extensions.set_synchronous(extensions.db.engine, synchronous)


def _load_jobs(settings: Settings) -> None:
    """Import the platform's jobs and JOB_MODULES; an import error names module, file and line."""
    for name in ("app.jobs", *settings.job_modules):
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise SettingError(f"JOB_MODULES: {name} cannot be imported: {type(error).__name__}: {error} "
                               f"({frame.filename}, line {frame.lineno})") from error
    logging.getLogger(__name__).debug("job types loaded")
