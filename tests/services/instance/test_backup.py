"""Backup and restore on each database: what was there comes back, reservations cleared, queues paused."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest

from app.extensions import db
from app.services.instance import backup, restore
from app.services.jobs import queues


def test_what_was_packed_comes_back_paused(ledger, tmp_path):
    waiting, running = ledger.dispatch(queue="low"), ledger.dispatch(queue="high")
    assert ledger.claim().uuid == running
    settings = ledger.app.extensions["settings"]
    manifest = backup.backup(settings, tmp_path / "b.tar.gz")
    assert manifest["revision"] and manifest["keys"] is False
    later = ledger.dispatch()
    ledger.connection.close()
    with ledger.app.app_context():
        db.session.remove()
        db.engine.dispose()
        restore.restore(settings, tmp_path / "b.tar.gz")
        assert {r[0] for r in ledger.connection.fetch_all("SELECT uuid FROM jobs")} == {waiting, running} != {later}
        assert ledger.row(running).state == "pending" and ledger.row(running).attempts == 0
        assert ledger.claim("w2") is None
        assert "high" in queues.resume_all("ada")
        assert ledger.claim("w3").uuid == running
        with pytest.raises(restore.CannotRestore):
            restore.restore(settings, tmp_path / "nothing.tar.gz")


def test_a_ledger_that_is_not_what_its_manifest_says_is_refused_and_nothing_is_changed(ledger, tmp_path):
    uuid = ledger.dispatch()
    settings = ledger.app.extensions["settings"]
    backup.backup(settings, tmp_path / "b.tar.gz")
    with tarfile.open(tmp_path / "b.tar.gz") as tar:
        parts = {name: tar.extractfile(name).read() for name in tar.getnames()}
    manifest = json.loads(parts.pop("manifest.json"))
    name, content = manifest["ledger"], parts[manifest["ledger"]]
    ledger.dispatch()
    ledger.connection.close()
    (settings.data_dir / "uploads").mkdir(exist_ok=True)
    (settings.data_dir / "uploads" / "kept").touch()
    with ledger.app.app_context():
        db.session.remove()
        db.engine.dispose()
        for revision, changed in (("0001", content), (manifest["revision"], b"no ledger at all"), (manifest["revision"], content[:400] + b"x" * 5000)):
            made = manifest | {"revision": revision, "files": {name: hashlib.sha256(changed).hexdigest()}, "sizes": {name: len(changed)}}
            with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
                for member, data in (("manifest.json", json.dumps(made).encode()), (name, changed)):
                    info = tarfile.TarInfo(member)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
            with pytest.raises(restore.CannotRestore):
                restore.restore(settings, tmp_path / "x.tar.gz")
            assert ledger.one("SELECT COUNT(*) FROM jobs") == 2 and ledger.one("SELECT COUNT(*) FROM queues WHERE paused_at IS NOT NULL") == 0
            assert (settings.data_dir / "uploads" / "kept").exists() and not list((settings.data_dir / "backups").glob("before-restore*"))
            ledger.connection.close()
        restore.restore(settings, tmp_path / "b.tar.gz")
    assert [r[0] for r in ledger.connection.fetch_all("SELECT uuid FROM jobs")] == [uuid]
