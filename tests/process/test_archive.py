"""Backup while everything runs, restore on another folder; nothing is taken that is damaged, and nothing runs before it is resumed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile

import pytest

from app import create_app
from app.config import load_settings
from app.extensions import db
from app.services.instance import restore
from tests.process.product import ROOT, Product

pytestmark = pytest.mark.timeout(240)  # the backup is taken within the first test


def flask(data_dir, *words: str) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")} | {
        "DATA_DIR": str(data_dir), "JOB_MODULES": "tests.jobtypes", "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", "flask", "--app", "wsgi", *words], env=env, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def packed(migrated, tmp_path_factory):
    """A backup taken while three workers drain 200 jobs and an upload lies there; `.uuids` of all jobs."""
    tmp_path = tmp_path_factory.mktemp("packed")
    shutil.copytree(migrated, tmp_path / "data")
    product = Product(tmp_path / "data")
    product.monitor()
    product.workers(3)
    (product.data_dir / "uploads").mkdir(exist_ok=True)
    (product.data_dir / "uploads" / ("up_" + "0" * 32)).write_text("reference,title,body\n")
    uuids = product.dispatch("TestSleep", 200, ms=30)
    product.until(lambda: product.one("SELECT COUNT(*) FROM job_history") >= 20, 60, "some have ended, most wait")
    path = tmp_path / "backup.tar.gz"
    done = flask(product.data_dir, "backup", str(path))
    assert done.returncode == 0 and "without keys" in done.stdout, done.stderr
    product.uuids, product.path = uuids, path
    yield product
    product.stop()


def test_a_backup_under_load_restores_and_every_job_of_it_ends(packed, tmp_path):
    assert oct(packed.path.stat().st_mode)[-3:] == "600"
    with tarfile.open(packed.path) as tar:
        names = tar.getnames()
    assert "secret-key" not in names and "ledger.sqlite3" in names and any(n.startswith("uploads/") for n in names)
    other = tmp_path / "other" / "data"
    other.parent.mkdir()
    done = flask(other, "restore", str(packed.path))
    assert done.returncode == 0 and "resume --all" in done.stdout, done.stderr
    packed.ended()
    again = Product(other)
    try:
        assert {r[0] for r in again.all("SELECT uuid FROM jobs UNION SELECT uuid FROM job_history")} == set(packed.uuids)
        assert again.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'") == 0
        waiting = again.one("SELECT COUNT(*) FROM jobs")
        again.monitor()
        again.workers(2)
        again.until(lambda: len(again.worker_pids()) == 2, 30, "workers registered")
        packed.clock("default")
        assert again.one("SELECT COUNT(*) FROM jobs") == waiting, "nothing runs before it is resumed"
        assert "low" in flask(other, "jobs", "resume", "--all").stdout
        again.ended()
        assert again.finals() == dict.fromkeys(packed.uuids, 1)
        assert (other / "uploads" / ("up_" + "0" * 32)).exists()
    finally:
        again.stop()


def test_a_running_instance_a_damaged_and_a_newer_archive_are_refused(packed, tmp_path):
    other = tmp_path / "data2"
    app = create_app(load_settings({"DATA_DIR": str(other)}))
    settings = app.extensions["settings"]

    def refused(path) -> str:
        with app.app_context(), pytest.raises(restore.CannotRestore) as error:
            restore.restore(settings, path)
        return str(error.value)

    with tarfile.open(packed.path) as tar:
        tar.extractall(tmp_path / "parts", filter="data")
    parts = tmp_path / "parts"

    def packed_again(**changes):
        manifest = json.loads((parts / "manifest.json").read_text()) | changes
        (parts / "manifest.json").write_text(json.dumps(manifest))
        with tarfile.open(tmp_path / "changed.tar.gz", "w:gz") as tar:
            for entry in parts.iterdir():
                tar.add(entry, entry.name)
        return tmp_path / "changed.tar.gz"

    assert "newer version" in refused(packed_again(revision="9999"))
    (parts / "ledger.sqlite3").write_bytes(b"x" * 100)
    assert "checksum" in refused(packed_again(revision="0001"))
    (tmp_path / "cut.tar.gz").write_bytes(packed.path.read_bytes()[:5000])
    assert "damaged" in refused(tmp_path / "cut.tar.gz")
    assert not (other / "ainstein.sqlite3").exists()
    import fcntl

    with open(other / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "in use" in refused(packed.path)
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
