"""No transaction is open while the body of a request comes, however slowly: SQLite's write lock would be held; and none
that writes while a page is drawn after a change."""

from __future__ import annotations

import io
import sqlite3

import pytest
from flask import has_request_context

from app.controllers import rights
from app.extensions import db
from app.models import UserSession
from app.services.people import accounts, invitations, own
from app.support.clock import MINUTE_MS
from tests.conftest import PASSWORD, sign_in
from tests.controllers.test_api import Api

KINDS = ("application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=b")
BODIES = (b"x=" + b"x" * 5000, b'{"x": "' + b"x" * 5000 + b'"}', b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"x" * 5000 + b"\r\n--b--\r\n")
BEFORE_SIGN_IN = ("/login", "/login/code", "/invitation", "/invitation/accept", "/logout")


class Slow(io.BytesIO):
    """A body that notes, whenever it is read, whether a transaction is open."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.told: list[bool] = []

    def _look(self) -> None:
        if has_request_context():
            self.told.append(db.session().in_transaction())

    def read(self, size=-1):
        self._look()
        return super().read(size)

    def readinto(self, buffer):
        self._look()
        return super().readinto(buffer)

    def readline(self, size=-1):
        self._look()
        return super().readline(size)


def addresses(app) -> list[str]:
    """Every address that takes a POST from who is signed in, and those before."""
    found = [*BEFORE_SIGN_IN]
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            if rule.endpoint in rights.RIGHTS and "POST" in rule.methods:
                given = {name: 1 if "Integer" in type(kind).__name__ else next(iter(getattr(kind, "items", ["x"]))) for name, kind in rule._converters.items()}
                found.append(app.url_map.bind("localhost").build(rule.endpoint, given, method="POST"))
    return found


def told(client, path: str, kind: int, **headers) -> list[bool]:
    body = Slow(BODIES[kind])
    answer = client.open(path, method="POST", input_stream=body, content_length=len(BODIES[kind]), content_type=KINDS[kind], headers={"Accept": "application/json"} | headers)
    assert answer.status_code < 500, (path, answer.text)
    return body.told


@pytest.mark.parametrize("asks", ["session", "old session", "token"])
def test_no_transaction_is_open_while_a_body_comes(ledger, asks):
    api = Api(ledger)
    paths = addresses(ledger.app)
    assert len(paths) > 60
    client, headers = ledger.app.test_client(), {"Authorization": f"Bearer {api.token}"}
    if asks != "token":
        with ledger.app.app_context():
            accounts.create_user("root@example.org", "super-admin", PASSWORD)
        client, headers = sign_in(ledger.app, "root@example.org"), {}
    client.set_cookie("form", "x")  # looked up in the database before the form is gone on with
    read = 0
    for path in paths:
        for kind in range(3):
            if asks == "old session":
                ledger.change("UPDATE user_sessions SET seen_ms = seen_ms - :n", n=2 * MINUTE_MS)
            seen = told(client, path, kind, **headers)
            assert not any(seen), (path, KINDS[kind])
            read += bool(seen)
    assert read > (20 if asks == "token" else 2 * len(BEFORE_SIGN_IN))


@pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
def test_a_viewer_who_sends_slowly_stops_nobody(ledger):
    """As above with the lock itself: another connection writes while the body comes."""
    with ledger.app.app_context():
        accounts.create_user("v@example.org", "viewer", PASSWORD)
    client = sign_in(ledger.app, "v@example.org")
    wrote = []

    class Writes(Slow):
        def _look(self) -> None:
            other = sqlite3.connect(ledger.app.extensions["settings"].data_dir / "ainstein.sqlite3", timeout=0.2, isolation_level=None)
            wrote.append(other.execute("BEGIN IMMEDIATE") and other.execute("ROLLBACK"))
            other.close()

    body = Writes(f"csrf_token={client.csrf}&language=en&x=".encode() + b"x" * 5000)
    answer = client.open("/account/language", method="POST", input_stream=body, content_length=len(body.getvalue()), content_type=KINDS[0], headers={"Accept": "application/json"})
    assert answer.status_code == 200 and wrote


def test_a_change_after_the_person_was_read_still_takes_the_write_lock_at_once(ledger):
    """A read that writes later beside two writers fails on SQLite."""
    with ledger.app.app_context():
        accounts.create_user("root@example.org", "super-admin", PASSWORD)
    client, began = sign_in(ledger.app, "root@example.org"), []
    real = own.choose_language

    def spying(*given):
        raw = db.session.connection().connection.driver_connection
        began.append(not isinstance(raw, sqlite3.Connection) or _locked(ledger))
        return real(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "choose_language", spying)
        assert client.post("/account/language", data={"csrf_token": client.csrf, "language": "en"}).status_code == 303
    assert began == [True]


def _locked(ledger) -> bool:
    other = sqlite3.connect(ledger.app.extensions["settings"].data_dir / "ainstein.sqlite3", timeout=0.1, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    finally:
        other.close()
    return False


@pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)
@pytest.mark.parametrize("module,name,path,sent", [
    (own, "make_token", "/account/tokens", {"name": "n", "scope": "read", "days": "7", "own_password": PASSWORD}),
    (invitations, "invite", "/admin/jobs/people/invitations", {"email": "new@example.org", "role": "viewer"})])
def test_a_page_after_a_change_is_drawn_while_others_write(ledger, monkeypatch, module, name, path, sent):
    with ledger.app.app_context():
        accounts.create_user("root@example.org", "super-admin", PASSWORD)
    client, real = sign_in(ledger.app, "root@example.org"), getattr(module, name)
    other = sqlite3.connect(ledger.app.extensions["settings"].data_dir / "ainstein.sqlite3", isolation_level=None, check_same_thread=False)

    def then_locked(*given):
        found = real(*given)
        other.execute("BEGIN IMMEDIATE")
        return found

    monkeypatch.setattr(module, name, then_locked)
    monkeypatch.setattr("app.extensions.BUSY_MS", 200)
    with ledger.app.app_context():
        db.engine.dispose()  # connections with the short wait
    answer = client.post(path, data={"csrf_token": client.csrf} | sent, follow_redirects=True)
    other.close()
    assert answer.status_code == 200 and ("ainj_" in answer.text or "/invitation#" in answer.text)
    with ledger.app.app_context():
        assert db.session.scalar(db.select(UserSession.id))
