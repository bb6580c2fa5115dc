"""Storage trouble with real workers: a full disk, a locked database; other work goes on, and everything by itself when it ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import threading

import pytest

from app.services.people import accounts
from app.support import disk
from tests.conftest import PASSWORD, token_in
from tests.process.product import Product


@pytest.fixture
def small(migrated, tmp_path):
    """A product on a disk of 64 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root where mounting is allowed")
    shutil.copytree(migrated, place / "data")
    product = Product(place / "data", grace=3)
    try:
        yield product, place
    finally:
        product.stop()
        subprocess.run(["umount", "-l", str(place)], check=False)


def test_on_a_full_disk_outcomes_are_still_written_and_new_jobs_refused(small):
    product, place = small
    product.monitor()
    product.workers(2)
    product.until(lambda: (product.data_dir / "reserve").exists(), 20, "the reserve")
    uuids = product.dispatch("TestSleep", 2, ms=3000)
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'") == 2, 10)
    with open(place / "fill", "wb", buffering=0) as filler, contextlib.suppress(OSError):  # with a buffer the close would fail too
        while True:
            filler.write(b"x" * 65536)
    with product.app.app_context(), pytest.raises(disk.DiskLow):
        product.dispatch("TestNoop")
    product.until(lambda: product.finals() == dict.fromkeys(uuids, 1), 30, "outcomes written from the reserve")
    assert not (product.data_dir / "reserve").exists()
    (place / "fill").unlink()
    product.until(lambda: (product.data_dir / "reserve").exists(), 15, "the reserve again")
    product.dispatch("TestNoop")
    product.ended()


def fill(path) -> None:
    """Write until the disk is full, to the last byte."""
    with open(path, "ab", buffering=0) as filler:
        for size in (65536, 1024, 1):
            with contextlib.suppress(OSError):
                while True:
                    filler.write(b"x" * size)


def test_on_a_full_disk_people_sign_in_on_the_reserve_and_without_one_are_told(small):
    """Nothing runs that would free the reserve: the sign-in does it itself."""
    product, place = small
    disk.keep_reserve(product.data_dir)
    with product.app.app_context():
        accounts.create_user("ada@example.org", "super-admin", PASSWORD)
    fill(place / "fill")

    def attempt():
        client = product.app.test_client()
        token = token_in(client.get("/login").text)
        sent = {"email": "ada@example.org", "password": PASSWORD, "csrf_token": token}
        return client.post("/login", data=sent, headers={"Accept": "application/json"})

    assert (product.data_dir / "reserve").exists()
    assert attempt().status_code == 200
    assert not (product.data_dir / "reserve").exists()
    fill(place / "fill")
    answers = [attempt() for _ in range(20)]
    assert {a.status_code for a in answers} <= {200, 507} and answers[-1].status_code == 507 and answers[-1].json["error"]
    (place / "fill").unlink()
    assert attempt().status_code == 200


def test_a_database_locked_for_8_seconds_costs_no_outcome(product):
    product.monitor()
    product.workers(2)
    uuids = product.dispatch("TestSleep", 30, ms=100)
    product.until(lambda: product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'") == 2, 10)
    holder = sqlite3.connect(product.data_dir / "ainstein.sqlite3", isolation_level=None, check_same_thread=False, timeout=10)
    holder.execute("BEGIN IMMEDIATE")
    release = threading.Timer(8, lambda: holder.execute("ROLLBACK"))
    release.start()
    release.join()
    product.ended()
    holder.close()
    assert product.finals() == dict.fromkeys(uuids, 1)
    assert product.one("SELECT COUNT(*) FROM job_metrics WHERE status IN ('lost', 'late')") == 0, "nobody was given up for a lock"
