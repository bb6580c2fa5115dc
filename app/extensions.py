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

# Of every connection, before what it adds itself. A job's one commit changes 15 pages, and each is written whole: with pages of
# 2 KB (which a new database gets) it takes 0.015 ms less than with the usual 4 KB. A checkpoint at the default 1,000 pages
# cost 0.16 ms a job, a third of all; at 16,000 (32 MB) it costs 0.01. While somebody reads for long the WAL grows; the
# first writer that begins it anew afterwards cuts it to 64 MB, which it never reaches otherwise (487 MB were kept).
WAL_BYTES = 64 * 2**20
PRAGMAS = ("page_size=2048", "journal_mode=WAL", "foreign_keys=ON", "wal_autocheckpoint=16000",
           f"journal_size_limit={WAL_BYTES}")
BUSY_MS = 10_000
synchronous = "FULL"  # web, CLI and monitor; the worker sets NORMAL before its first connection


@event.listens_for(Engine, "connect")
def _on_connect(connection, _record) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.isolation_level = None
    for pragma in (*PRAGMAS, f"synchronous={synchronous}", f"busy_timeout={BUSY_MS}"):
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
