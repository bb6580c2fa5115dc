"""Every command on SQLite and on PostgreSQL; and how commands end when the database does not serve."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from app import create_app
from app.config import load_settings
from app.extensions import db
from app.ledger.dialect import Connection
from app.services.instance import migration, schema
from tests.backends import free_port
from tests.both.rows import BULK

ROOT = Path(__file__).resolve().parents[2]


def leaves(group: click.Group, words: tuple[str, ...] = ()) -> list[str]:
    found = []
    for name, command in group.commands.items():
        found += leaves(command, (*words, name)) if isinstance(command, click.Group) else [" ".join((*words, name))]
    return found


@pytest.fixture
def cli(site):
    """`cli("jobs", "list")`: exit code, what it printed, what it said."""
    def run(*words: str, given: str | None = None) -> tuple[int, str, str]:
        result = site.app.test_cli_runner().invoke(args=list(words), input=given)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        with site.app.app_context():
            db.session.remove()
        return result.exit_code, result.stdout, result.stderr
    return run


def test_every_command_runs(site, cli, tmp_path):
    one = {state: uuid for state, uuid in site.uuids.items()}
    (tmp_path / "a.csv").write_text("reference,title,body\nr9,t,b\n")
    tried = set()

    def does(code: int, *words: str, given: str | None = None) -> str:
        found, out, said = cli(*words, given=given)
        assert found == code, (words, found, out, said)
        tried.update({" ".join(words[:2]), words[0]})
        return out

    uuid = does(0, "jobs", "dispatch", "TestEcho", "--queue", "low", "--tenant", "acme", "--delay", "60", "--args", '{"text": "è"}').split()[-1]
    does(0, "jobs", "dispatch", "ProcessCsvImport", "--args", json.dumps({"path": str(tmp_path / "a.csv")}))
    does(2, "jobs", "dispatch", "TestEcho", "--args", '{"text": 7}')
    for state in (None, *one, "completed", "held"):
        if state in (None, "completed", "failed", "timeout", "cancelled", "pending", "scheduled", "held", "blocked", "waiting", "processing"):
            rows = json.loads(does(0, "jobs", "list", "--json", *(("--state", state) if state else ())))
            assert all(set(r) == {"uuid", "type", "queue", "state", "tenant_id", "attempts"} for r in rows) and rows
    does(0, "jobs", "list", "--limit", "3")
    assert set(json.loads(does(0, "capacity", "--store", "--json"))) == {"yesterday", "last", "hours", "at_ms"}
    assert {"nightly", "yearly", "unknown type"} <= {s["name"] for s in json.loads(does(0, "recurring", "list", "--json"))}
    assert "NoSuchType" in does(0, "recurring", "list")
    assert len(does(0, "recurring", "next", "nightly", "--count", "3").splitlines()) == 4
    does(3, "recurring", "next", "nothing")
    assert "Jobs ended" in does(0, "report", "--period", "7d", "--language", "en")
    does(0, "report", "--period", "30d", "-o", str(tmp_path / "r.zip"), "--queue", "high")
    does(1, "report", "--format", "html", "-o", str(tmp_path / "r.zip"))
    does(2, "report", "--tenant", "a b")
    assert "Last 48 hours: " in does(0, "capacity", "--hours", "48")
    for state, key in one.items():
        assert json.loads(does(0, "jobs", "show", key, "--json"))["uuid"] == key, state
        does(0, "jobs", "show", key[:13])
    does(3, "jobs", "show", "00000000-0000-0000-0000-000000000000")
    does(0, "jobs", "wait", one["completed"])
    does(1, "jobs", "wait", one["failed"])
    does(3, "jobs", "wait", one["held"], "--timeout", "0")
    does(0, "jobs", "retry", uuid)
    child = does(0, "jobs", "dispatch", "TestEcho", "--after", uuid, "--after", one["completed"][:13]).split()[-1]
    assert f"error: Waits for Test Echo {uuid[:8]}, which is ready\n" in does(0, "jobs", "show", child)
    assert json.loads(does(0, "jobs", "show", child, "--json"))["parents"] == sorted([uuid, one["completed"]])
    does(2, "jobs", "dispatch", "TestEcho", "--after", "00000000")
    does(2, "jobs", "dispatch", "TestEcho", "--after", "")
    does(2, "jobs", "dispatch", "TestEcho", "--after", one["cancelled"])
    does(2, "jobs", "cancel", uuid, "--children", "all")
    assert cli("jobs", "cancel", uuid, "--children", "cancel")[2] == "of 1 job below it 1 cancelled\n"
    assert json.loads(does(0, "jobs", "show", child, "--json"))["state"] == "cancelled"
    for way, words in (("wait", "2 jobs below it go on waiting; --children cancel cancels them, --children run lets them run\n"), ("run", "of 2 jobs below it 1 let go")):
        top = does(0, "jobs", "dispatch", "TestEcho").strip()
        below = does(0, "jobs", "dispatch", "TestEcho", "--after", top).strip()
        does(0, "jobs", "dispatch", "TestEcho", "--after", below)
        assert words in cli("jobs", "cancel", top, "--children", way)[2]
    does(2, "jobs", "pause", "low", "--reason", "a\u202eb")
    does(0, "jobs", "cancel", one["processing"])
    does(0, "jobs", "delete", one["timeout"])
    does(1, "jobs", "delete", one["timeout"])
    does(0, "jobs", "pause", "high", "--minutes", "5", "--reason", "è")
    does(0, "jobs", "pause", "type:TestEcho")
    does(3, "jobs", "pause", "nothing")
    does(0, "jobs", "resume", "high")
    does(0, "jobs", "resume", "--all")
    keys = {"id", "name", "state", "tenant_id", "created_by", "on_failure", "total_jobs", "pending_jobs", "failed_jobs", "then", "then_uuid",
            "created_at", "sealed_at", "paused_at", "cancelled_at", "finished_at"}
    rows = json.loads(does(0, "batches", "list", "--json"))
    assert {row["id"] for row in rows} >= set(site.batches.values()) and all(set(row) == keys for row in rows)
    assert "import-1" in does(0, "batches", "list") and does(0, "batches", "list", "--limit", "1").count("\n") == 1
    for key in (*site.batches.values(), site.batches["ended"][:8]):
        found = json.loads(does(0, "batches", "show", key, "--json"))
        assert set(found) == keys | {"members", "no_longer_kept", "ended_a_minute", "left_ms", "costs", "newest_failed", "ends"}
        assert not set("{}[]") & set(shown := does(0, "batches", "show", key)) and "undecided" not in shown and "nano" not in shown
    line = next(line for line in shown.splitlines() if line.startswith("members: "))
    assert sorted(line.removeprefix("members: ").split(", ")) == ["1 cancelled", "1 completed", "1 failed"] and "\ncosts: 0.000000021 EUR\n" in shown
    assert (found["total_jobs"], found["members"], found["costs"]) == (3, {"completed": 1, "cancelled": 1, "undecided": 1}, [{"currency": "EUR", "nano": 21, "unknown": 0}])
    does(3, "batches", "show", "99999999")
    assert does(0, "batches", "retry", site.batches["ended"][:8]) == "1 job requeued\n"
    does(1, "batches", "retry", site.batches["ended"])
    assert does(0, "batches", "cancel", site.batches["ended"]) == "1 job cancelled, or asked to stop if running\n"
    does(1, "batches", "cancel", site.batches["ended"])
    assert "2 at once, rate 60/m, per type; the code says no limit at once, rate 60/m" in does(0, "jobs", "limit", "TestRate")
    assert "TestEcho: 3 at once, rate no limit" in does(0, "jobs", "limit", "TestEcho", "--concurrency", "3")
    assert "TestEcho: 3 at once, rate 5/s" in does(0, "jobs", "limit", "TestEcho", "--rate", "5/s")
    assert "TestEcho: no limit at once, rate no limit, per type\n" in does(0, "jobs", "limit", "TestEcho", "--rate", "code", "--concurrency", "code")
    does(2, "jobs", "limit", "TestEcho", "--rate", "often")
    does(3, "jobs", "limit", "Nothing")
    assert "box_1" in does(0, "workers", "list")
    number = site.ledger.one("SELECT id FROM worker_heartbeats WHERE worker_name = 'box_1'")
    for command in ("quiet", "resume", "restart", "stop", "kill"):
        does(0, "workers", command, str(number))
    does(3, "workers", "kill", "999999")
    does(1, "workers", "start", str(number))
    for command in ("restart", "quiet", "resume", "start"):
        does(0, "workers", command, "all")
    does(2, "workers", "restart", "everybody")
    does(0, "alerts", "list", "--all")
    alert = site.ledger.one("SELECT MIN(id) FROM alerts WHERE closed_ms IS NULL")
    does(0, "alerts", "ack", str(alert))
    does(0, "alerts", "snooze", str(alert), "--minutes", "5")
    does(1, "alerts", "test", "no-such-channel")
    token = does(0, "users", "token", "admin@example.org", "--name", "n", "--scope", "read", "--scope", "act", "--days", "30").split()[-1]
    assert site.app.test_client().get("/api/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    rows = json.loads(does(0, "users", "tokens", "--json"))
    made = next(row for row in rows if token.startswith(row["prefix"]))
    assert made["scopes"] == ["read", "act"] and "active" in does(0, "users", "tokens", "admin@example.org")
    does(0, "users", "revoke-token", str(made["id"]))
    does(1, "users", "revoke-token", str(made["id"]))
    does(3, "users", "revoke-token", "999999")
    does(2, "users", "token", "admin@example.org", "--name", "n", "--scope", "root")
    does(3, "users", "token", "nobody@example.org", "--name", "n", "--scope", "read")
    does(0, "users", "create", "ada@example.org", "--role", "user", "--password-stdin", given="correct horse\n")
    does(0, "users", "password", "ada@example.org", "--password-stdin", given="battery staple\n")
    assert "/invitation#" in does(0, "users", "invite", "new@example.org", "--role", "viewer").splitlines()[-1]
    assert "new@example.org" in {row["email"] for row in json.loads(does(0, "users", "invitations", "--json"))} and "by cli:" in does(0, "users", "invitations")
    does(0, "users", "uninvite", "new@example.org")
    does(3, "users", "uninvite", "new@example.org")
    does(1, "users", "reset-second-factor", "ada@example.org")
    for role, given, sees in (("viewer", ["--sees-data"], True), ("viewer", [], True), ("viewer", ["--no-sees-data"], False), ("operator", ["--sees-data"], False)):
        does(0, "users", "role", "ada@example.org", role, *given)
        assert [(p["role"], p["sees_data"]) for p in json.loads(does(0, "users", "list", "--json")) if p["email"] == "ada@example.org"] == [(role, sees)]
    does(0, "users", "create", "eve@example.org", "--role", "viewer", "--sees-data", "--password-stdin", given="correct horse\n")
    assert "viewer who sees data" in does(0, "users", "list")
    does(0, "users", "first", "ada@example.org", "--password-stdin", given="battery staple\n")
    assert does(0, "texts", "results", BULK).count("\n") == 5
    assert len(json.loads(does(0, "texts", "results", BULK, "--format", "json"))["texts"]) == 4
    does(3, "texts", "results", one["completed"])
    assert does(0, "texts", "accept", BULK) == "1 of 1 drafts accepted\n" and does(0, "texts", "refuse", BULK) == "0 of 0 drafts refused\n"
    does(0, "connections", "set", "globex", "openai", "--url", "https://127.0.0.1:9/v1", "--option", "project=p1", given="sk-canary-4711\n")
    does(2, "connections", "set", "globex", "prestashop", "--url", "https://u:p@shop.example", given="KEY-canary-4711\n")
    does(2, "connections", "set", "globex", "openai", "--url", "https://127.0.0.1:10/v1", given="")
    assert "unreadable: enter the secret again" in cli("connections", "list")[1]  # the row of acme has no secret that a key opens
    shown = does(0, "connections", "list") + does(0, "connections", "list", "--json")
    assert "globex\topenai\thttps://127.0.0.1:9/v1\t-\tnot tested\n" in shown and "held until" in shown and "4711" not in shown and '"secret"' not in shown
    assert "internal network" in cli("connections", "test", "globex", "openai")[2]
    does(1, "connections", "test", "globex", "openai")
    does(3, "connections", "test", "globex", "wordpress")
    does(1, "connections", "rekey")  # the rows of this test have no secrets that a key opens
    blog = "connections", "set", "globex", "wordpress", "--user", "ada", "--url"
    does(0, *blog, "https://blog.example", given="KEY-canary-4711\n")
    site.ledger.change("INSERT INTO sync_links (content_id, tenant_id, reference, service, state, uuid, changed_ms) VALUES (9, 'globex', 'x', 'wordpress', 'synced', 'u', 1)")
    assert "Another site: 1 link to the one before forgotten." in does(0, *blog, "https://new.example", given="KEY-canary-4711\n")
    does(0, "connections", "remove", "globex", "wordpress")
    site.ledger.change("DELETE FROM connections WHERE tenant_id = 'acme'")
    assert does(0, "connections", "rekey") == "1 secret encrypted with a new key\n"
    assert does(0, "connections", "remove", "globex", "openai") == "removed: globex openai\n"
    does(3, "connections", "remove", "globex", "openai")
    does(0, "rollups", "rebuild")
    does(0, "demo", "--metrics", "50", "--pending", "3", "--mix")
    does(0, "demo", "--remove")
    does(0, "monitor", "--once")
    does(0, "check-settings")
    does(0, "db-prepare")
    does(0, "db", "current")
    does(0, "backup", str(tmp_path / "b.tar.gz"))
    assert re.fullmatch(r"Deploy \d+ at \d{4}-\d\d-\d\dT[\d:.]+Z: Release 8, è\n", does(0, "deploy-mark", " Release 8, è "))
    for bad in ("", "a\nb", "x" * 201):
        does(2, "deploy-mark", bad)
    rest = {name for name in leaves(site.app.cli) if name not in tried and name.split()[0] not in tried}
    assert rest <= {"restore"}, "a command that this test does not try: " + ", ".join(rest)


def test_all_and_the_first_digits_of_a_uuid(site, cli):
    failed = [r[0] for r in site.ledger.connection.fetch_all("SELECT uuid FROM failed_jobs WHERE deleted_at IS NULL")]
    code, out, _ = cli("jobs", "retry", failed[0][:8])
    assert (code, out) == (0, "requeued\n") and site.ledger.row(failed[0])
    twin = failed[1][:8] + "-0000-4000-8000-000000000001"
    site.ledger.change("UPDATE jobs SET uuid = :t WHERE uuid = :u", t=twin, u=failed[0])
    for command in ("show", "retry", "cancel", "delete", "wait"):
        code, out, said = cli("jobs", command, failed[1][:8])
        assert (code, out) == (2, "") and said.count("\n") == 1 and twin in said and failed[1] in said, (command, said)
        assert cli("jobs", command, failed[1][:7])[0] == 3, "fewer than eight digits are none"
    assert json.loads(cli("jobs", "show", failed[1].replace("-", "")[:14].upper(), "--json")[1])["uuid"] == failed[1]
    code, out, _ = cli("jobs", "retry", "all")
    assert (code, out) == (0, f"{len(failed) - 1} jobs requeued\n")
    assert site.ledger.one("SELECT COUNT(*) FROM failed_jobs WHERE deleted_at IS NULL") == 0
    assert cli("jobs", "retry", "all")[:2] == (0, "0 jobs requeued\n")
    site.ledger.change("UPDATE failed_jobs SET deleted_at = NULL")
    left = site.ledger.one("SELECT COUNT(*) FROM failed_jobs")
    assert left and cli("jobs", "delete", "all")[1] == f"{left} {'job' if left == 1 else 'jobs'} deleted\n"
    assert cli("jobs", "cancel", "all")[0] == 3


READING = [("jobs", "list", "--json"), ("jobs", "show", "{completed}", "--json"), ("jobs", "wait", "{completed}"), ("workers", "list"), ("alerts", "list", "--all"),
           ("batches", "list"), ("batches", "show", "{running}"), ("texts", "results", BULK)]
WRITING = [("jobs", "dispatch", "TestNoop"), ("jobs", "cancel", "{waiting}"), ("jobs", "retry", "all"), ("jobs", "delete", "all"), ("jobs", "pause", "high"), ("batches", "cancel", "{running}"),
           ("workers", "restart", "1"), ("alerts", "ack", "2"), ("texts", "accept", BULK), ("users", "create", "x@example.org", "--role", "user", "--password-stdin")]


def flask(environ: dict[str, str], *words: str, given: str = "", **options) -> subprocess.CompletedProcess:
    kept = {n: v for n, v in os.environ.items() if n in ("PATH", "HOME", "LANG")} | {"PYTHONPATH": str(ROOT), "FLASK_SKIP_DOTENV": "1"}
    return subprocess.run([sys.executable, "-m", "flask", "--app", "wsgi", *words], env=kept | environ, cwd=ROOT, capture_output=True, text=True, input=given,
                          timeout=100, **options)


@pytest.fixture
def locked(site, monkeypatch):
    """Another connection holds SQLite's write lock, or all our tables on PostgreSQL (against writers only)."""
    monkeypatch.setattr("app.extensions.BUSY_MS", 50)
    monkeypatch.setattr(Connection.__init__, "__defaults__", ("NORMAL", 0.05, None, False))
    site.ledger.connection.close()
    with site.app.app_context():
        db.engine.dispose()
    holder = Connection(site.app.extensions["settings"].database_url, wait_s=5)
    with holder.transaction() as tx:
        if not tx.sqlite:
            for (table,) in tx.fetch_all("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
                tx.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
            tx.execute("SET LOCAL lock_timeout = 0")
        else:
            tx.execute("UPDATE meta SET value = value")
        yield
    holder.close()
    with site.app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_reading_commands_answer_while_another_process_holds_the_write_lock(site, cli, locked, words):
    code, out, said = cli(*(w.format(**site.uuids, **site.batches) for w in words))
    assert code == 0 and out, said


@pytest.mark.parametrize("words", WRITING, ids=" ".join)
def test_writing_ones_say_that_it_is_locked(site, cli, locked, words):
    code, out, said = cli(*(w.format(**site.uuids, **site.batches) for w in words), given="correct horse\n")
    assert (code, out) == (4, "") and said.count("\n") == 1 and "locked" in said, said


def states(folder: Path, postgres: str) -> dict[str, tuple[dict[str, str], str]]:
    """Databases that do not serve, and words of the sentence."""
    rest = postgres.split("@")[1].split("/")[0]
    newer = folder / "newer"
    app = create_app(load_settings({"DATA_DIR": str(newer)}))
    with app.app_context():
        migration.prepare(app.extensions["settings"])
        db.session.remove()
        db.engine.dispose()
    connection = Connection(app.extensions["settings"].database_url)
    with connection.transaction() as tx:
        tx.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    return {
        "empty": ({"DATA_DIR": str(folder / "empty")}, "not migrated"), "newer": ({"DATA_DIR": str(newer)}, "newer version"),
        "missing": ({"DATA_DIR": str(folder / "x"), "DATABASE_URL": f"postgresql://test@{rest}/not_there"}, 'database "not_there" does not exist'),
        "unreachable": ({"DATA_DIR": str(folder / "x"), "DATABASE_URL": f"postgresql://test:a-secret-word@127.0.0.1:{free_port()}/x"}, "Connection refused"),
    }


@pytest.mark.parametrize("what", ["empty", "newer", "missing", "unreachable"])
def test_a_database_that_does_not_serve_is_one_sentence_and_an_exit_code(tmp_path, postgres_url, what):
    environ, words = states(tmp_path, postgres_url)[what]
    app = create_app(load_settings(environ))
    for command in [*READING, *WRITING, ("demo",), ("rollups", "rebuild"), ("monitor", "--once"), ("backup", str(tmp_path / "b.tar.gz"))]:
        result = app.test_cli_runner().invoke(args=[w.format(completed="x" * 8, waiting="x" * 8, running="x" * 8) for w in command], input="correct horse\n")
        assert result.exit_code == 4 and result.stdout == "" and result.stderr.count("\n") == 1 and words in result.stderr, (command, result.output, result.exception)
        assert "a-secret-word" not in result.stderr
        assert app.test_cli_runner().invoke(args=[*command[:2], "--help"]).exit_code == 0
    assert not (tmp_path / "b.tar.gz").exists() and not list((tmp_path / "empty").glob("*.sqlite3")), "no stray database"
    if what != "empty":
        for command in (("db-prepare",), ("db", "upgrade")):
            result = app.test_cli_runner().invoke(args=list(command))
            assert result.exit_code and (words in result.output or command[0] == "db") and "Traceback" not in result.output, (command, result.output, result.exception)


def test_from_a_shell_it_is_one_line_too(tmp_path, postgres_url):
    for what, (environ, words) in states(tmp_path, postgres_url).items():
        done = flask(environ, "jobs", "list", "--json")
        assert (done.returncode, done.stdout) == (4, "") and words in done.stderr and done.stderr.count("\n") == 1, (what, done.stderr)


def test_a_full_disk_is_one_sentence(tmp_path):
    """Files may not grow beyond what they are, as on a full disk."""
    app = create_app(load_settings({"DATA_DIR": str(tmp_path)}))
    with app.app_context():
        migration.prepare(app.extensions["settings"])
        db.session.remove()
        db.engine.dispose()
    assert schema.check(app.extensions["settings"]) == "current"
    environ = {"DATA_DIR": str(tmp_path), "JOB_MODULES": "tests.fulldisk tests.jobtypes"}
    for words in (("jobs", "dispatch", "TestEcho", "--args", json.dumps({"text": "x" * 100_000})), ("demo", "--metrics", "50")):
        done = flask(environ, *words)
        assert (done.returncode, done.stdout) == (4, "") and "disk" in done.stderr and done.stderr.count("\n") == 1, (words, done.stdout, done.stderr)
    assert flask(environ, "jobs", "list").returncode == 0
