"""Alembic's environment: the application's metadata; SQLite in one transaction with foreign keys off."""

from __future__ import annotations

from alembic import context
from flask import current_app
from sqlalchemy import text

from app import models  # noqa: F401  (fills the metadata)
from app.extensions import db
from app.services.instance.migration import guarded


def run() -> None:
    engine = db.engine
    with engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection:
        sqlite = connection.dialect.name == "sqlite"
        if sqlite:
            # PRAGMA foreign_keys is ignored inside a transaction, so it is set on the driver's connection first:
            # a batch ALTER with foreign keys on silently emptied the child tables.
            connection.connection.driver_connection.execute("PRAGMA foreign_keys=OFF")
        try:
            context.configure(connection=connection, target_metadata=db.metadata, render_as_batch=sqlite,
                              transactional_ddl=True, compare_type=True)
            with context.begin_transaction():
                context.run_migrations()
                if sqlite:
                    broken = connection.execute(text("PRAGMA foreign_key_check")).fetchall()
                    if broken:
                        raise RuntimeError(f"foreign keys would break: {broken[:3]}")
        finally:
            if sqlite:
                connection.connection.driver_connection.execute("PRAGMA foreign_keys=ON")


if context.is_offline_mode():
    raise SystemExit("Offline migrations are not supported: run `flask --app wsgi db upgrade`.")
with guarded(current_app.extensions["settings"]):
    run()
