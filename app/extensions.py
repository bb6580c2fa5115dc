"""Flask extensions, made once; and how a SQLite connection of SQLAlchemy begins.

SQLite: sessions that may write begin IMMEDIATE (a read that later writes beside two
writers failed 60 of 60 times otherwise); GET requests begin plainly and so never
wait for a writer.
"""

from __future__ import annotations

import sqlite3

from flask import has_request_context, request
from flask_babel import Babel
from flask_compress import Compress
from flask_login import LoginManager
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """Base of all models."""


db = SQLAlchemy(model_class=Base)
migrate = Migrate()
login = LoginManager()
csrf = CSRFProtect()
babel = Babel()
compress = Compress()

BUSY_MS = 10_000
synchronous = "FULL"  # web, CLI and monitor; the worker sets NORMAL before its first connection


@event.listens_for(Engine, "connect")
def _on_connect(connection, _record) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", f"busy_timeout={BUSY_MS}", "wal_autocheckpoint=4000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


@event.listens_for(Engine, "begin")
def _on_begin(connection) -> None:
    if connection.dialect.name != "sqlite":
        return
    wanted = connection.get_execution_options().get("begin")
    if wanted is None:
        reads = has_request_context() and request.method in ("GET", "HEAD", "OPTIONS")
        wanted = "BEGIN" if reads else "BEGIN IMMEDIATE"
    connection.exec_driver_sql(wanted)
