"""`ledger`: an empty, migrated database of each kind, with helpers that read like what happens."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from app import create_app, registry
from app.config import load_settings
from app.extensions import db
from app.ledger import claim as claiming
from app.ledger.claim import Claim
from app.ledger.dialect import Connection
from app.ledger.settle import Outcome, settle
from app.models import outcome_stats
from app.services.instance import migration
from app.support.clock import now_ms


@dataclass
class Ledger:
    """The statements of the ledger over one kept connection, as workers w1, w2 ... call them."""

    app: object
    connection: Connection
    store: str
    counter: itertools.count = field(default_factory=itertools.count)

    def dispatch(self, name: str = "TestNoop", queue: str = "default", **options) -> str:
        args = options.pop("args", {})
        with self.app.app_context():
            uuid = registry.find(name).with_options(queue=queue, **options).dispatch(**args)
            db.session.commit()
        return uuid

    def claim(self, worker: str = "w1", queues: tuple[str, ...] = ("high", "default", "low")) -> Claim | None:
        return claiming.claim(self.connection, claiming.claim_statement(queues), worker, worker)

    def settle(self, job: Claim, status: str = "completed", **outcome) -> str:
        return settle(self.connection, job, Outcome(status, **outcome), self.store)

    def row(self, uuid: str) -> SimpleNamespace | None:
        columns = "state, attempts, failures, crashes, claim_no, round, queue, available_ms, worker_id, reason"
        rows = self.connection.fetch_all(f"SELECT {columns} FROM jobs WHERE uuid = :u", u=uuid)
        return SimpleNamespace(**dict(zip(columns.split(", "), rows[0], strict=True))) if rows else None

    def outcomes(self, uuid: str) -> list[str]:
        return [r[0] for r in self.connection.fetch_all("SELECT status FROM job_metrics WHERE uuid = :u ORDER BY id", u=uuid)]

    def one(self, sql: str, **params):
        return self.connection.fetch_all(sql, **params)[0][0]

    def totals(self) -> tuple[int, int]:
        """Completed and failed of the last 24 h as the pages show them."""
        with self.app.app_context():
            sums = outcome_stats.day_totals(now_ms() + 1000)
            db.session.rollback()
        return sums.completed, sums.failed

    def change(self, sql: str, **params) -> int:
        with self.connection.transaction() as tx:
            return tx.execute(sql, **params)


def prepare_empty(settings) -> None:
    """Build the tables; the one PostgreSQL database of a run is emptied first. Needs an app context."""
    if not settings.sqlite:
        with db.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    migration.prepare(settings)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request, tmp_path):
    environ = {"DATA_DIR": str(tmp_path)}
    if request.param == "postgresql":
        environ["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    app = create_app(load_settings(environ))
    settings = app.extensions["settings"]
    with app.app_context():
        prepare_empty(settings)
    connection = Connection(settings.database_url)
    yield Ledger(app, connection, request.param)
    connection.close()
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
