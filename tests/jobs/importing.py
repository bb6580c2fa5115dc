"""Imports run as a worker runs them (dispatch, claim, execute), in this process or in one that can be killed."""

from __future__ import annotations

import json
import os
import sqlite3
from itertools import count
from pathlib import Path

from app import registry
from app.execution.attempt import Attempt
from app.execution.runner import execute
from app.extensions import db
from app.ledger.claim import claim, claim_statement
from app.ledger.dialect import Connection
from app.ledger.settle import Outcome


class Imports:
    """Imports of one site. The rows in `jobs` are never settled: `again` hands one out once more."""

    def __init__(self, site, folder: Path) -> None:
        self.site, self.folder, self.numbers = site, folder, count(1)
        settings = site.extensions["settings"]
        self.file = settings.database_file
        self.claims, self.notes = Connection(settings.database_url), Connection(settings.database_url)

    def __call__(self, content: str | bytes | Path, tenant: str | None = "acme") -> dict:
        """Import a file that can be read; its result."""
        self.dispatch(content, tenant)
        return figures(self.attempt())

    def dispatch(self, content: str | bytes | Path, tenant: str | None = "acme", **args) -> str:
        path = content
        if not isinstance(content, Path):
            path = self.folder / f"file-{next(self.numbers)}.csv"
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        definition = registry.find("ProcessCsvImport").with_options(tenant_id=tenant)
        with self.site.app_context():
            uuid = definition.dispatch(path=registry.UploadedFile(path), **args)
            db.session.commit()
        return uuid

    def attempt(self) -> Outcome:
        """Claim the job that is ready and run it, each time as another worker."""
        worker = f"worker-{os.getpid()}-{next(self.numbers)}"
        job = claim(self.claims, claim_statement(("low",)), worker, worker)
        assert job is not None, "no job is ready"
        attempt = Attempt(job)
        execute(self.site, attempt, self.notes)
        return attempt.outcome

    def again(self, uuid: str, by_hand: bool = False) -> None:
        """The job is ready once more: its worker was lost, or (by hand) it was retried."""
        self.sql("UPDATE jobs SET state = 'pending', round = round + ? WHERE uuid = ?", int(by_hand), uuid)

    def sql(self, statement: str, *values) -> list[tuple]:
        """Rows of a statement, from a connection that knows nothing of the application."""
        connection = sqlite3.connect(self.file, timeout=10)
        try:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
            return rows
        finally:
            connection.close()

    def contents(self, columns: str = "reference, title, body") -> list[tuple]:
        return self.sql(f"SELECT {columns} FROM contents ORDER BY tenant_id, reference")

    def rejects(self, columns: str = "line, reason") -> list[tuple]:
        return self.sql(f"SELECT {columns} FROM import_rejects ORDER BY uuid, line")


COUNTS = ["rows", "inserted", "updated", "unchanged", "rejected"]


def figures(outcome: Outcome) -> dict:
    """The counts of an attempt that completed; rows must be the sum of the others."""
    result = whole(outcome)
    assert list(result) == [*COUNTS, "repeated", "encoding"] and result["repeated"] <= result["unchanged"]
    assert result["rows"] == sum(result[name] for name in COUNTS[1:])
    return {name: result[name] for name in COUNTS}


def whole(outcome: Outcome) -> dict:
    """All of the result of an attempt that completed."""
    assert outcome.status == "completed", outcome.error
    return json.loads(outcome.result)
