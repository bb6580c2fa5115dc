"""The databases on which the ledger's contract is run: SQLite always, PostgreSQL where its programs are installed."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

BIN = next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)), None)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory):
    """A throw-away PostgreSQL cluster on 127.0.0.1 (its programs refuse to run as root)."""
    if BIN is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have PostgreSQL: .ci/run installs it")
        pytest.skip("PostgreSQL is not installed: the contract is checked on SQLite only")
    folder = Path(tempfile.mkdtemp(prefix="ainstein-test-pg-", dir="/tmp"))  # one for each place that names the fixture
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if as_user:
        shutil.chown(folder, "postgres")
    port = free_port()
    run = lambda *words: subprocess.run([*as_user, *words], check=True, capture_output=True, cwd="/")  # noqa: E731
    try:
        run(f"{BIN}/initdb", "-D", str(folder / "db"), "-U", "test", "-A", "trust", "-E", "UTF8")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        run(f"{BIN}/pg_ctl", "-D", str(folder / "db"), "-o", options, "-l", str(folder / "log"), "-w", "start")
        yield f"postgresql://test@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*as_user, f"{BIN}/pg_ctl", "-D", str(folder / "db"), "-m", "immediate", "stop"], capture_output=True, cwd="/")
        time.sleep(0.2)
        shutil.rmtree(folder, ignore_errors=True)
