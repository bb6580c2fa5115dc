"""Migrations keep every count: what a settle of 0006 counted itself is counted once by the monitor of 0007, and back."""

from __future__ import annotations

import flask_migrate
import pytest

from app.config import ROOT
from app.services.jobs import rollups

RAW = "SELECT job_type, status, COUNT(*), SUM(processing_time), SUM(COALESCE(wait_ms, 0)) FROM job_metrics GROUP BY job_type, status ORDER BY 1, 2"
HOURS = "SELECT job_type, status, SUM(count), SUM(time_ms), SUM(wait_ms) FROM {} WHERE count > 0 GROUP BY job_type, status ORDER BY 1, 2"


def plain(rows) -> list[tuple]:
    return [(*row[:2], *map(int, row[2:])) for row in rows]


@pytest.mark.parametrize("counted", [0, 7, 12])
def test_no_outcome_is_counted_twice_or_not_at_all_over_an_upgrade(ledger, counted):
    def migrate(go, revision: str) -> None:
        with ledger.app.app_context():
            ledger.app.extensions["migration_guarded"] = True
            go(directory=str(ROOT / "migrations"), revision=revision)

    def outcomes(numbers: range) -> None:
        for n in numbers:
            ledger.dispatch(("TestNoop", "TestFail")[n % 2], tenant_id=("acme", None)[n % 2], tries=1)
            ledger.settle(ledger.claim(), ("completed", "failed", "timeout")[n % 3], run_ms=n + 1)

    outcomes(range(counted))
    rollups.advance(ledger.connection)
    outcomes(range(counted, 12))
    ledger.connection.close()
    migrate(flask_migrate.downgrade, "0006")
    for table in ("rollup_types", "rollup_tenants"):
        assert plain(ledger.connection.fetch_all(HOURS.format(table))) == plain(ledger.connection.fetch_all(RAW)), "0006 counts with each settle"
    ledger.connection.close()
    migrate(flask_migrate.upgrade, "head")
    assert ledger.totals() == (4, 8)
    assert rollups.advance(ledger.connection) == 12 - counted
    for table in ("rollup_types", "rollup_tenants"):
        assert plain(ledger.connection.fetch_all(HOURS.format(table))) == plain(ledger.connection.fetch_all(RAW))
    assert ledger.one("SELECT SUM(count) FROM job_minutes") == 12 and ledger.totals() == (4, 8)
