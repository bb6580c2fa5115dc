"""Fixtures: a fresh, migrated SQLite database for each test; clients signed in as a person would."""

from __future__ import annotations

import gc
import re
import shutil
from pathlib import Path

import pytest

from app import create_app
from app.config import load_settings
from app.controllers import api_wait
from app.extensions import db
from app.services.instance import migration
from app.services.people import accounts
from tests import jobtypes  # noqa: F401  (declares the tests' job types)
from tests.backends import postgres, postgres_url  # noqa: F401  (fixtures)
from tests.cheaper import cheaper
from tests.ledger_fixture import ledger  # noqa: F401  (a fixture)
from tests.longest import arrange

PASSWORD = "correct horse battery"
cheaper()
gc.set_threshold(50_000, 20, 20)  # a collection for each 700 objects took a fifth of the time: an application is made for each test
api_wait.USUAL_S = 0.0  # tests that walk over all addresses must not wait for jobs


def pytest_collection_modifyitems(items) -> None:
    arrange(items)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory) -> Path:
    """A data folder whose database the real migration made; copied for each test."""
    folder = tmp_path_factory.mktemp("migrated")
    application = create_app(load_settings({"DATA_DIR": str(folder)}))
    with application.app_context():
        migration.prepare(application.extensions["settings"])
        db.session.remove()
        db.engine.dispose()
    return folder


@pytest.fixture
def data_dir(migrated, tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    for name in ("ainstein.sqlite3", "secret-key"):
        shutil.copy(migrated / name, folder / name)
    return folder


@pytest.fixture(autouse=True)
def _push_request_context():
    """In place of pytest-flask's: a context held open around a test would share `g`, and so the person
    signed in, between all clients of that test."""


@pytest.fixture
def app(data_dir):
    application = create_app(load_settings({"DATA_DIR": str(data_dir)}))
    application.testing = True
    yield application
    with application.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def context(app):
    """An application context for tests that call services."""
    with app.app_context():
        yield app


def token_in(page: str) -> str:
    """The CSRF token of the first form on a page."""
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert found, "the page has no form with a CSRF token"
    return found[1]


def sign_in(app, email: str, password: str = PASSWORD):
    """A test client signed in through the real form; `client.csrf` is a token for its forms."""
    client = app.test_client()
    page = client.get("/login").get_data(as_text=True)
    answer = client.post("/login", data={"email": email, "password": password, "csrf_token": token_in(page)})
    assert answer.status_code == 303, answer.get_data(as_text=True)[:500]
    client.csrf = _csrf(app, client)
    return client


def _csrf(app, client) -> str:
    from flask_wtf.csrf import generate_csrf

    with client.session_transaction() as session:
        raw = dict(session)
    with app.test_request_context():
        from flask import session as current

        current.update(raw)
        token = generate_csrf()
        fresh = dict(current)
    with client.session_transaction() as session:
        session.update(fresh)
    return token


def fail_next(app) -> None:
    """Claim the next job of the default queue and settle it as failed, as a worker would."""
    from app.ledger import claim as claiming
    from app.ledger.dialect import Connection
    from app.ledger.settle import Outcome, settle

    connection = Connection(app.extensions["settings"].database_url)
    settle(connection, claiming.claim(connection, claiming.claim_statement(("default",)), "w1", "w1"), Outcome("failed", error="x"), "sqlite")
    connection.close()


@pytest.fixture
def admin(app):
    with app.app_context():
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
    return sign_in(app, "admin@example.org")


@pytest.fixture
def user_client(app):
    with app.app_context():
        accounts.create_user("user@example.org", "user", PASSWORD)
    return sign_in(app, "user@example.org")
