"""The Flask extensions that every program has, and how a connection of SQLAlchemy and a transaction on it begin.

SQLite: sessions that may write use BEGIN IMMEDIATE, because a read that later wrote beside two writers failed 60 of 60
times otherwise. GET requests, and commands that only read (`g.reads`), use BEGIN and so never wait for a writer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from flask import Flask, g, has_app_context, has_request_context, request
from flask_babel import Babel
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase

from app.support.clock import follow, unfollowed_s
from app.support.open_files import WAL_BYTES


class Base(DeclarativeBase):
    """Base of all models."""


db = SQLAlchemy(model_class=Base)
babel = Babel()

# Of every connection, before what it adds itself. A job's one commit changes 15 pages, and each is written whole: with
# pages of 2 KB (which a new database gets) it takes 0.015 ms less than with the usual 4 KB. A checkpoint at the default
# 1,000 pages cost 0.16 ms a job, a third of all; at 16,000 (32 MB) it costs 0.01. While somebody reads for long the WAL
# grows; the first writer that begins it anew afterwards cuts it to 64 MB, which it never reaches otherwise (487 MB were
# kept).
PRAGMAS = ("page_size=2048", "journal_mode=WAL", "foreign_keys=ON", "wal_autocheckpoint=16000",
           f"journal_size_limit={WAL_BYTES}")
BUSY_MS = 10_000
POSTGRES_CLOCK = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
FOLLOW_S = 30.0
# A server that is gone without a word (a pulled cable, a failover) is noticed within 20 s, not after two hours.
POSTGRES_OPTIONS = {"connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3,
                    "tcp_user_timeout": 20_000, "application_name": "ainstein"}


def speak(app: Flask, language: Callable[[], str], timezone: str) -> None:
    """Connect the translations; `language()` is that of the request, or of a program without one."""
    babel.init_app(app, locale_selector=language, timezone_selector=lambda: timezone,
                   default_translation_directories="translations")


def only_read() -> None:
    """End the transaction and what was not committed in it; what follows in this request takes no write lock."""
    db.session.rollback()
    g.reads = True


@contextmanager
def reading() -> Iterator[None]:
    """Inside, no transaction takes the write lock. One that is open ends before and after, with nothing committed."""
    before = g.get("reads", False)
    only_read()
    try:
        yield
    finally:
        db.session.rollback()
        g.reads = before


@event.listens_for(Engine, "connect")
def _on_connect(connection, _record) -> None:
    if not isinstance(connection, sqlite3.Connection):
        connection.autocommit = True  # or the rollback after SQLAlchemy's first query undoes it
        connection.execute(f"SET lock_timeout = {BUSY_MS}")
        connection.autocommit = False
        _take_any_time(connection)
        return
    connection.isolation_level = None
    # bytes that are no text are shown as replacement characters
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    for pragma in (*PRAGMAS, "synchronous=FULL", f"busy_timeout={BUSY_MS}"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def set_synchronous(engine: Engine, synchronous: str) -> None:
    """For each connection of one engine that is made from now on, in place of FULL; nothing on PostgreSQL."""
    if engine.dialect.name == "sqlite" and synchronous != "FULL":
        event.listen(engine, "connect", lambda connection, _: connection.execute(f"PRAGMA synchronous={synchronous}"))


@contextmanager
def short_wait(connection: Connection, ms: int) -> Iterator[None]:
    """Inside, SQLite waits at most `ms` for the write lock, not BUSY_MS; PostgreSQL as ever, since it locks rows only.

    The transaction must not have begun, because its BEGIN takes the lock.
    """
    raw = connection.connection.driver_connection
    if not isinstance(raw, sqlite3.Connection):
        yield
        return
    raw.execute(f"PRAGMA busy_timeout={ms}")
    try:
        yield
    finally:
        raw.execute(f"PRAGMA busy_timeout={BUSY_MS}")


def _take_any_time(connection) -> None:
    """PostgreSQL's times reach to infinity: what Python cannot hold is read as its first or last time."""
    from psycopg.errors import DataError
    from psycopg.types.datetime import TimestampBinaryLoader, TimestampLoader

    def lenient(loader):
        def load(self, data):
            try:
                return loader.load(self, data)
            except DataError as error:
                return datetime.min if "early" in str(error) or "before" in str(error) else datetime.max

        return type(loader.__name__, (loader,), {"load": load})

    for loader in (TimestampLoader, TimestampBinaryLoader):
        connection.adapters.register_loader("timestamp", lenient(loader))


@event.listens_for(Engine, "begin")
def _on_begin(connection) -> None:
    if connection.dialect.name != "sqlite":
        if unfollowed_s() > FOLLOW_S:
            follow(int(connection.exec_driver_sql(POSTGRES_CLOCK).scalar_one()))
        return
    wanted = connection.get_execution_options().get("begin")
    if wanted is None:
        reads = has_request_context() and request.method in ("GET", "HEAD", "OPTIONS")
        reads = reads or (has_app_context() and g.get("reads", False))
        wanted = "BEGIN" if reads else "BEGIN IMMEDIATE"
    try:  # not through SQLAlchemy's cursor, which costs a quarter of an empty transaction
        connection.connection.driver_connection.execute(wanted)
    except sqlite3.Error as error:
        raise DBAPIError.instance(wanted, None, error, sqlite3.Error, True, dialect=connection.dialect) from error
