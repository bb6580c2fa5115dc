"""`site`: the whole product on each database, with rows of every state and kind in it, and a super-admin signed in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from limits import RateLimitItemPerMinute

from app import create_app
from app.cli import demo
from app.config import load_settings
from app.controllers import rate_limits
from app.extensions import db
from app.ledger.dialect import Connection
from app.services.people import accounts
from tests.both.rows import fill, fill_batches
from tests.conftest import PASSWORD, sign_in
from tests.ledger_fixture import Ledger, prepare_empty

TOKEN = "a-token-for-prometheus"


@pytest.fixture(autouse=True)
def _as_many_requests_as_there_are_addresses(monkeypatch):
    """A walk would be answered 429 behind the first 600 addresses of a minute, and see nothing of them."""
    monkeypatch.setattr(rate_limits, "REQUESTS", RateLimitItemPerMinute(10**6))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(request, tmp_path_factory):
    """`app`, `ledger` (its statements over a kept connection), `client` (signed in), `environ`, `uuids` by state and `batches` by name."""
    environ = {"DATA_DIR": str(tmp_path_factory.mktemp("site")), "METRICS_TOKEN": TOKEN, "ALERT_LANGUAGE": "en", "JOB_MODULES": "tests.jobtypes"}
    if request.param == "postgresql":
        environ["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    app = create_app(load_settings(environ))
    settings = app.extensions["settings"]
    with app.app_context():
        prepare_empty(settings)
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
    app.testing = True
    app.config["PROPAGATE_EXCEPTIONS"] = False  # an unexpected error is a 500 here, as people would see it
    ledger = Ledger(app, Connection(settings.database_url), request.param)
    uuids, batches = fill(ledger), fill_batches(ledger)
    with app.app_context():
        demo.two_batches(settings)
    yield SimpleNamespace(app=app, ledger=ledger, client=sign_in(app, "admin@example.org"), environ=environ, uuids=uuids, batches=batches, kind=request.param)
    ledger.connection.close()
    with app.app_context():
        db.session.remove()
        db.engine.dispose()
