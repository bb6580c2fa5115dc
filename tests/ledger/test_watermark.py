"""The watermarks of the counts in `meta`: what is counted, and what a damaged one does, on both databases."""

from __future__ import annotations

import pytest

from app.monitor.loop import Monitor
from app.services.jobs import rollups

KEY = "rollup_reach"


def finish_one(ledger) -> None:
    ledger.dispatch()
    assert ledger.settle(ledger.claim()) == "completed"


def counted(ledger) -> int:
    return ledger.one("SELECT COALESCE(SUM(count), 0) FROM rollup_types WHERE status = 'completed'")


@pytest.mark.parametrize("value", ["x", "", "-1", "007", "1.5"])
def test_a_damaged_watermark_fails_with_a_sentence_and_counts_go_on_once_it_is_a_number(ledger, value, caplog):
    finish_one(ledger)
    assert rollups.advance(ledger.connection) == 1
    reach = ledger.one("SELECT value FROM meta WHERE key = :k", k=KEY)
    ledger.change("UPDATE meta SET value = :v WHERE key = :k", v=value, k=KEY)
    finish_one(ledger)
    monitor = Monitor(ledger.app)
    monitor.duties = [duty for duty in monitor.duties if duty.name == "rollups"]
    (failed,) = monitor.round()
    assert failed.startswith("rollups: ") and f"watermark {KEY}" in failed and repr(value) in failed
    assert sum("watermark" in record.getMessage() for record in caplog.records) == 1
    with pytest.raises(ValueError, match=f"watermark {KEY}"):
        rollups.rebuild(ledger.connection, 1)
    assert counted(ledger) == 1, "nothing is counted, and nothing is deleted"
    ledger.change("UPDATE meta SET value = :v WHERE key = :k", v=reach, k=KEY)
    monitor.duties[0].next = 0.0
    assert (monitor.round(), counted(ledger)) == ([], 2)
    monitor.connection.close()


def test_a_watermark_that_is_missing_fails_with_a_sentence(ledger):
    finish_one(ledger)
    ledger.change("DELETE FROM meta WHERE key = :k", k=KEY)
    with pytest.raises(ValueError, match=f"watermark {KEY}"):
        rollups.advance(ledger.connection)
