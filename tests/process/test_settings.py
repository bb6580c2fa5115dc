"""What `flask --app wsgi` takes its settings from: the shell, the instance that runs on DATA_DIR, `.env`, in this order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a-secret-of-the-database"


class Project:
    """A copy of the project with a `.env` of its own."""

    def __init__(self, folder: Path) -> None:
        self.root, self.started = folder, []
        for name in ("app", "scripts", "migrations", "templates", "static", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "images"))
        shutil.copy(ROOT / "wsgi.py", folder)

    def env(self, **lines: str) -> None:
        (self.root / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    @staticmethod
    def environ(shell: dict[str, str]) -> dict[str, str]:
        return {n: v for n, v in os.environ.items() if n in ("PATH", "HOME", "LANG")} | shell

    def flask(self, *words: str, cwd: Path | None = None, **shell: str) -> subprocess.CompletedProcess:
        app = "wsgi" if cwd is None else str(self.root / "wsgi.py")
        return subprocess.run([sys.executable, "-m", "flask", "--app", app, *words], cwd=cwd or self.root, env=self.environ(shell), capture_output=True,
                              text=True, timeout=60)

    def settings(self, cwd: Path | None = None, **shell: str) -> dict:
        done = self.flask("check-settings", cwd=cwd, **shell)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return json.loads(done.stdout)

    def program(self, name: str, folder: Path, *words: str, **shell: str) -> subprocess.Popen:
        log = open(self.root / f"{name}.log", "ab")
        self.started.append(subprocess.Popen([sys.executable, "scripts/launch/program.py", name, *words], cwd=self.root, stdout=log, stderr=log,
                                             env=self.environ(shell | {"DATA_DIR": str(folder)})))
        end = time.monotonic() + 30
        while not (folder / "run" / "settings.json").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        return self.started[-1]


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path / "my project")
    yield made
    for process in made.started:
        process.kill()
        process.wait()


def test_commands_read_the_file_of_run_sh_by_its_rules(project, tmp_path):
    project.env(DATA_DIR="da ta", GRACE="77  # seconds", WORKERS='"2"', PORT="8123", PRICES_FILE="app/prices.csv", DATABASE_URL="sqlite:///da ta/x.sqlite3")
    (project.root / "da ta").mkdir()
    for cwd in (None, tmp_path):
        found = project.settings(cwd)
        assert (found["data_dir"], found["grace"], found["workers"], found["port"]) == (str(project.root / "da ta"), 77, 2, 8123)
    assert project.settings(GRACE="9", DATA_DIR="here")["grace"] == 9, "what is set wins"
    assert project.settings(tmp_path, DATA_DIR="here")["data_dir"] == str(tmp_path / "here"), "relative to where the person stands"
    assert not [p for p in (tmp_path / "instance", project.root / "instance") if p.exists()], "no stray folder"
    assert project.flask("db-prepare", cwd=tmp_path).returncode == 0 and (project.root / "da ta" / "x.sqlite3").exists()
    project.env(GRACE="many")
    done = project.flask("jobs", "list")
    assert done.returncode == 2 and done.stderr == "GRACE='many' must be a whole number from 1 to 86400\n"
    (project.root / ".env").write_text("this is no line\n")
    done = project.flask("jobs", "list")
    assert done.returncode == 2 and done.stderr == ".env, line 1: expected NAME=value\n"


def test_commands_use_the_settings_of_the_instance_that_runs(project, tmp_path):
    folder = tmp_path / "data"
    project.env(DATA_DIR=str(folder), GRACE="99", PUBLIC_URL="https://old.example.org", UPLOAD_MAX_MB="7")
    running = project.program("monitor", folder, GRACE="7", WORKERS="2", PUBLIC_URL="https://jobs.example.org", SECRET_KEY="k" * 20, METRICS_TOKEN="m" * 20,
                              ALERT_URLS="a=json://b/c", OPENAI_API_KEY="o" * 20)
    found = project.settings()
    assert (found["grace"], found["workers"], found["public_url"]) == (7, 2, "https://jobs.example.org")
    assert project.settings(WORKERS="5")["workers"] == 5, "what the person sets for this command wins"
    kept = folder / "run" / "settings.json"
    assert kept.stat().st_mode & 0o777 == 0o600 and not [s for s in ("k" * 20, "m" * 20, "o" * 20, "json://") if s in kept.read_text()]
    running.kill()
    running.wait()
    found = project.settings()
    assert (found["grace"], found["workers"], found["public_url"]) == (99, 3, "https://old.example.org"), "nothing of an instance that has ended"


def test_a_database_known_to_the_instance_alone_is_said(project, tmp_path):
    folder, url = tmp_path / "data", f"postgresql://ada:{PASSWORD}@db.invalid/jobs"
    project.program("monitor", folder, DATABASE_URL=url)
    done = project.flask("jobs", "list", DATA_DIR=str(folder))
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1 and "db.invalid/jobs" in done.stderr and "DATABASE_URL" in done.stderr
    assert PASSWORD not in done.stderr + (folder / "run" / "settings.json").read_text() and not list(folder.glob("*.sqlite3"))
    done = project.flask("jobs", "list", DATA_DIR=str(folder), DATABASE_URL=url)
    assert done.returncode == 4 and "db.invalid" in done.stderr and PASSWORD not in done.stderr


def test_an_address_without_a_password_is_known_to_commands(project, tmp_path):
    folder = tmp_path / "data"
    project.program("monitor", folder, DATABASE_URL="postgresql://ada@db.invalid/jobs", QUEUE_URL="redis://:pass-word@db.invalid/0")
    assert project.settings(DATA_DIR=str(folder))["database_url_scheme"] == "postgresql+psycopg"
    assert "pass-word" not in (folder / "run" / "settings.json").read_text()


def test_programs_keep_their_own_environment(project, tmp_path):
    """Under run.sh the launcher has read `.env`; a program that read it again would get what is not on its list."""
    (project.root / "spy.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'spied')!r}).write_text('imported')\n")
    project.env(JOB_MODULES="spy")
    process = project.program("monitor", tmp_path / "data")
    end = time.monotonic() + 20
    while "waiting" not in (project.root / "monitor.log").read_text() and time.monotonic() < end:
        assert process.poll() is None
        time.sleep(0.1)
    assert not (tmp_path / "spied").exists()
    assert psutil.Process(process.pid).environ()["FLASK_SKIP_DOTENV"] == "1", "whatever the environment was made by"
    assert "dotenv" not in (project.root / "monitor.log").read_text()
    assert project.flask("check-settings").returncode == 0 and (tmp_path / "spied").exists(), "a command reads it"
