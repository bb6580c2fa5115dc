"""Backup and restore on each database: what was there comes back, reservations cleared, queues paused."""

from __future__ import annotations

import pytest

from app.extensions import db
from app.services import archive, queues


def test_what_was_packed_comes_back_paused(ledger, tmp_path):
    waiting, running = ledger.dispatch(queue="low"), ledger.dispatch(queue="high")
    assert ledger.claim().uuid == running
    settings = ledger.app.extensions["settings"]
    manifest = archive.backup(settings, tmp_path / "b.tar.gz")
    assert manifest["revision"] and manifest["keys"] is False
    later = ledger.dispatch()
    ledger.connection.close()
    with ledger.app.app_context():
        db.session.remove()
        db.engine.dispose()
        archive.restore(settings, tmp_path / "b.tar.gz")
        assert {r[0] for r in ledger.connection.all("SELECT uuid FROM jobs")} == {waiting, running} != {later}
        assert ledger.row(running).state == "pending" and ledger.row(running).attempts == 0
        assert ledger.claim("w2") is None
        assert "high" in queues.resume_all("ada")
        assert ledger.claim("w3").uuid == running
        with pytest.raises(archive.CannotRestore):
            archive.restore(settings, tmp_path / "nothing.tar.gz")
