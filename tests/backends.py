"""The databases on which the ledger's contract is run: SQLite always, PostgreSQL where its programs are installed."""

from __future__ import annotations

import contextlib
import glob
import os
import random
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

BIN = next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)), None)


def free_port() -> int:
    """A port below those that the kernel gives to whoever asks for none (32768 and up): nobody else takes it until it is used."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", random.randint(20_000, 32_000)))
            return probe.getsockname()[1]


class Postgres:
    """A throw-away PostgreSQL cluster on 127.0.0.1 (its programs refuse to run as root); `url` names its database."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"postgresql://test@127.0.0.1:{self.port}/postgres"
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        self.run("initdb", "-D", str(folder / "db"), "-U", "test", "-A", "trust", "-E", "UTF8")

    def run(self, program: str, *words: str, check: bool = True) -> None:
        as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        subprocess.run([*as_user, f"{BIN}/{program}", *words], check=check, capture_output=True, cwd="/")

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.run("pg_ctl", "-D", str(self.folder / "db"), "-o", options, "-l", str(self.folder / "log"), "-w", "start")

    def stop(self, mode: str = "immediate", check: bool = False) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "db"), "-m", mode, "-w", "stop", check=check)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres():
    """The cluster of this run."""
    if BIN is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have PostgreSQL: .ci/run installs it")
        pytest.skip("PostgreSQL is not installed: the contract is checked on SQLite only")
    server = Postgres(Path(tempfile.mkdtemp(prefix="ainstein-test-pg-", dir="/tmp")))
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_url(postgres) -> str:
    return postgres.url
