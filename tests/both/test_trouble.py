"""What goes wrong with the database, as a browser, a script and the log meet it; on both where it happens on both."""

from __future__ import annotations

import logging
import socket
import sqlite3
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import text

from app import create_app
from app.config import load_settings
from app.controllers import security
from app.extensions import db
from app.ledger.dialect import Connection
from app.services.instance import migration, schema
from app.support import error_texts
from tests.backends import free_port

SECRET = "hunter2-in-a-value"


def boom(sql: str, **values):
    """A view that runs a statement the wrong way round."""
    def view():
        db.session.execute(text(sql), values)
        return "fine"
    return view


@pytest.fixture
def broken(site, caplog):
    """`broken(sql, **values)`: the answer to a page that runs it, and the lines logged."""
    def ask(sql: str, headers=None, **values):
        site.app.view_functions["home.favicon"] = boom(sql, **values)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            answer = site.client.get("/favicon.ico", headers=headers or {"Accept": "text/html"})
        return answer, [r.getMessage() for r in caplog.records if r.name.startswith("app.controllers")]

    kept = site.app.view_functions["home.favicon"]
    security.said = error_texts.Once()
    yield ask
    site.app.view_functions["home.favicon"] = kept


STATEMENTS = {
    "an unknown column": "SELECT nothing_like_it, CAST(:v AS VARCHAR) FROM job_metrics",
    "an unknown table": "SELECT 1 FROM no_such_table WHERE :v = ''",
    "bad syntax": "SELECT FROM WHERE job_metrics :v",
    "a broken rule": "INSERT INTO queues (name, reason) SELECT 'low', :v",
}


@pytest.mark.parametrize("what", STATEMENTS)
def test_an_unexpected_error_is_a_500_with_its_statements_name_in_the_log(site, broken, what):
    answer, lines = broken(STATEMENTS[what], v=SECRET)
    assert answer.status_code == 500 and "non risponde" not in answer.get_data(as_text=True) and "Retry-After" not in answer.headers
    assert len(lines) == 1 and SECRET not in lines[0], lines
    assert "home.favicon" in lines[0] and STATEMENTS[what].split()[0] in lines[0]
    answer, lines = broken(STATEMENTS[what], {"Accept": "application/json"}, v=SECRET)
    assert answer.status_code == 500 and set(answer.json) == {"error"} and len(lines) == 1, "each one is logged"


def test_values_that_a_driver_quotes_are_not_in_the_log(site, broken):
    if site.kind == "sqlite":
        pytest.skip("SQLite takes any value")
    for sql in ("SELECT CAST(:v AS BIGINT) FROM jobs", "SELECT CAST(:v AS TIMESTAMP)", "SELECT 1 FROM jobs WHERE id = CAST(:v AS JSON)->>'a'"):
        answer, lines = broken(sql, v=SECRET)
        assert answer.status_code == 500 and SECRET not in "".join(lines), lines


def test_a_locked_database_is_a_503_said_once_a_minute(site, caplog, monkeypatch):
    """By a writer that holds its lock; readers pass."""
    security.said = error_texts.Once()
    monkeypatch.setattr("app.extensions.BUSY_MS", 50)
    with site.app.app_context():
        db.engine.dispose()
    holder = Connection(site.app.extensions["settings"].database_url)
    with holder.transaction() as tx, caplog.at_level(logging.WARNING):
        tx.execute("UPDATE queues SET reason = 'x' WHERE name = 'low'")
        answers = [site.client.post("/admin/jobs/queues/low/pause", data={"csrf_token": site.client.csrf}, headers={"Accept": "text/html"}) for _ in range(3)]
    holder.close()
    with site.app.app_context():
        db.engine.dispose()
    assert [a.status_code for a in answers] == [503] * 3 and answers[0].headers["Retry-After"] == "5"
    lines = [r.getMessage() for r in caplog.records if "answered 503" in r.getMessage()]
    assert len(lines) == 1 and "locked" in lines[0]


def urls(postgres: str, port: int) -> dict[str, tuple[str, str]]:
    """DATABASE_URLs that are wrong, each with words of the server or the driver that must be told."""
    rest = postgres.split("@")[1].split("/")[0]
    return {
        "another database": (f"postgresql://test@{rest}/not_there", 'database "not_there" does not exist'),
        "another user": (f"postgresql://nobody_here:{SECRET}@{rest}/postgres", 'role "nobody_here" does not exist'),
        "another port": (f"postgresql://test:{SECRET}@127.0.0.1:{port}/postgres", "Connection refused"),
        "another host": (f"postgresql://test:{SECRET}@host.invalid/postgres", "host.invalid"),
    }


@pytest.mark.parametrize("what", ["another database", "another user", "another port", "another host", "wrong password"])
def test_a_wrong_address_is_one_sentence_with_the_servers_own_words(tmp_path, postgres_url, what):
    if what == "wrong password":
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            path = connection.execute("SHOW hba_file").fetchone()[0]
            kept = open(path).read()
            try:
                connection.execute("DROP ROLE IF EXISTS locked_out")
                connection.execute("CREATE ROLE locked_out LOGIN PASSWORD 'right'")
                open(path, "w").write("host all locked_out 127.0.0.1/32 scram-sha-256\n" + kept)
                connection.execute("SELECT pg_reload_conf()")
                connection.execute("SELECT pg_sleep(0.2)")
                url = postgres_url.replace("test@", f"locked_out:{SECRET}@")
                state, why = schema.look(load_settings({"DATA_DIR": str(tmp_path), "DATABASE_URL": url}))
            finally:
                open(path, "w").write(kept)
                connection.execute("SELECT pg_reload_conf()")
        words = 'password authentication failed for user "locked_out"'
    else:
        url, words = urls(postgres_url, free_port())[what]
        state, why = schema.look(load_settings({"DATA_DIR": str(tmp_path), "DATABASE_URL": url}))
    assert state == "down" and why.startswith("DATABASE_URL: ") and words in why and SECRET not in why and "\n" not in why, why


def test_a_server_that_keeps_silent_is_said_within_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "CONNECT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://test:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/x"
        state, why = schema.look(load_settings({"DATA_DIR": str(tmp_path), "DATABASE_URL": url}))
    assert state == "down" and "timeout" in why and SECRET not in why, why


@pytest.mark.parametrize("content", [b"this is no database, but long enough to be looked at as one" * 90, None], ids=["rubbish", "a folder"])
def test_a_file_that_is_no_database_is_said(tmp_path, content):
    path = tmp_path / "x.sqlite3"
    path.mkdir() if content is None else path.write_bytes(content)
    app = create_app(replace(load_settings({"DATA_DIR": str(tmp_path)}), database_url=f"sqlite:///{path}"))
    state, why = schema.look(app.extensions["settings"])
    assert state == "down" and ("damaged" in why or "unable to open" in why) and "\n" not in why
    with app.app_context(), pytest.raises(migration.CannotMigrate) as raised:
        migration.prepare(app.extensions["settings"])
    assert str(raised.value) == why


def test_a_page_says_that_the_database_is_away_and_needs_it_for_nothing(tmp_path):
    app = create_app(load_settings({"DATA_DIR": str(tmp_path), "DATABASE_URL": f"postgresql://test@127.0.0.1:{free_port()}/x"}))
    client = app.test_client()
    with client.session_transaction() as session:
        session["_user_id"] = "somebody signed in"
    for path in ("/admin/jobs/", "/admin/jobs/queues", "/login"):
        answer = client.get(path, headers={"Accept": "text/html", "Accept-Language": "en"})
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "5") and "does not answer just now" in answer.get_data(as_text=True), path
    assert client.get("/admin/jobs/realtime-stats").json["error"]
    assert client.get("/readyz").status_code == 503 and client.get("/healthz").status_code == 200


def test_kinds_are_told_by_the_drivers_codes():
    codes = {5: error_texts.LOCKED, 517: error_texts.LOCKED, 13: error_texts.FULL, 778: error_texts.AWAY, 14: error_texts.AWAY, 8: error_texts.READ_ONLY, 11: error_texts.DAMAGED, 1: None, 19: None}
    for code, kind in codes.items():
        error = sqlite3.OperationalError("text")
        error.sqlite_errorcode = code
        assert error_texts.kind_of(error) == kind, code
    states = {"57P01": error_texts.AWAY, "57P03": error_texts.AWAY, "08006": error_texts.AWAY, "55P03": error_texts.LOCKED, "40P01": error_texts.LOCKED, "53100": error_texts.FULL,
              "53300": error_texts.AWAY, "28P01": error_texts.AWAY, "3D000": error_texts.AWAY, "22003": None, "42P01": None, "23505": None, "42883": None}
    for state, kind in states.items():
        assert error_texts.kind_of(psycopg.errors.lookup(state)("text")) == kind, state
    assert error_texts.kind_of(OSError(28, "No space left on device")) == error_texts.FULL and error_texts.kind_of(OSError(2, "x")) is None
