"""/api with a personal token: who may what, jobs sent and read, limits, repeated requests; on both databases."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.controllers import api_wait, openapi, rate_limits, rights
from app.extensions import db
from app.models import ApiToken, Audit, Job, User
from app.services.people import accounts, tokens
from app.support.clock import DAY_MS, now_ms
from tests.conftest import PASSWORD, sign_in

EMAIL = "ops@example.org"


@pytest.fixture
def api(ledger):
    """`api.make(role, scopes)`: a client with a token; `api.client.post(path, json)` and so on send it."""
    ledger.app.testing = True
    ledger.app.config["PROPAGATE_EXCEPTIONS"] = False
    return Api(ledger)


class Api:
    def __init__(self, ledger):
        self.ledger, self.app = ledger, ledger.app
        self.token = self.make()

    def make(self, role: str = "operator", scopes: tuple[str, ...] = ("read", "act", "dispatch"), email: str = EMAIL, days: int = 30) -> str:
        with self.app.app_context():
            if not db.session.scalar(db.select(User).where(User.email == email)):
                accounts.create_user(email, role, PASSWORD)
            user = accounts.account(email)
            token = tokens.make(user.id, email, "nightly import", list(scopes), now_ms() + days * DAY_MS, email)
            db.session.remove()
        return token

    def ask(self, method: str, path: str, token: str | None = None, **more):
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"} | more.pop("headers", {})
        client = more.pop("client", None) or self.app.test_client()
        return client.open(path, method=method, headers=headers, buffered=True, **more)

    def get(self, path: str, **more):
        return self.ask("GET", path, **more)

    def send(self, name: str = "TestEcho", args: object = None, **more):
        headers, token = more.pop("headers", {}), more.pop("token", None)
        return self.ask("POST", "/api/jobs", token, json={"type": name, "args": {"text": "x"} if args is None else args} | more, headers=headers)

    def count(self) -> int:
        return self.ledger.one("SELECT COUNT(*) FROM jobs")


def test_a_job_is_sent_read_awaited_and_cancelled(api):
    sent = api.send(queue="low", tenant_id="acme", delay=60)
    assert sent.status_code == 201 and sent.json["state"] == "scheduled" and not sent.json["repeated"]
    assert sent.headers["Location"] == sent.json["url"] == f"/api/jobs/{sent.json['uuid']}"
    job = api.get(sent.json["url"])
    assert (job.json["type"], job.json["queue"], job.json["tenant_id"], job.json["args"]) == ("TestEcho", "low", "acme", {"text": "x"})
    waited = api.get(sent.json["url"] + "/wait?timeout=0")
    assert waited.json["ended"] is False and waited.json["state"] == "scheduled"
    assert [j["uuid"] for j in api.get("/api/jobs?state=scheduled").json["jobs"]] == [sent.json["uuid"]]
    cancelled = api.ask("POST", sent.json["url"] + "/cancel")
    assert cancelled.json == {"ok": True, "count": 1, "result": "cancelled"}
    assert api.get(sent.json["url"] + "/wait?timeout=9").json["ended"] is True
    with api.app.app_context():
        by = {(row.action, row.actor) for row in db.session.scalars(db.select(Audit))}
        assert {("start", f"{EMAIL} (token nightly import)"), ("cancel", f"{EMAIL} (token nightly import)")} <= by


def test_a_wait_ends_with_the_job(api):
    sent = api.send("TestNoop", {}).json
    threading.Timer(0.4, lambda: api.ledger.settle(api.ledger.claim())).start()
    waited = api.get(sent["url"] + "/wait?timeout=20")
    assert waited.json["ended"] is True and waited.json["state"] == "completed"


@pytest.mark.parametrize("change,code", [("UPDATE api_tokens SET revoked_ms = 1", 401), ("UPDATE users SET role = 'user'", 403), ("UPDATE users SET disabled_ms = 1", 401),
                                         ("UPDATE users SET role = 'viewer', sees_data = 0", 200)])
def test_a_wait_ends_without_an_answer_for_who_may_read_no_longer(api, change, code):
    sent = api.send().json
    threading.Timer(0.4, lambda: (api.ledger.change(change), api.ledger.settle(api.ledger.claim()))).start()
    waited = api.get(sent["url"] + "/wait?timeout=20")
    assert waited.status_code == code and ("state" in waited.json) is (code == 200) and not waited.json.get("args")


def test_waits_are_bounded_for_one_and_for_all(api):
    url = api.send(delay=60).json["url"]
    with api_wait.place(1), api_wait.place(1), api_wait.place(1), api_wait.place(1):
        full = api.get(f"{url}/wait?timeout=0")
        assert full.status_code == 503 and full.headers["Retry-After"] == "1"
        other = api.make("operator", ("read",), "other@example.org")
        assert api.get(f"{url}/wait?timeout=0", token=other).status_code == 200
        with api_wait.place("a"), api_wait.place("b"), api_wait.place("c"), api_wait.place("d"):
            assert api.get(f"{url}/wait?timeout=0", token=other).status_code == 503
    assert api.get(f"{url}/wait?timeout=0").status_code == 200 and not api_wait._waits
    assert {api.get(f"{url}/wait?timeout={text}").status_code for text in ("x", "-1", "51", "nan", "inf")} == {400}


WRONG = [
    ({"type": "Nothing"}, "type"), ({"type": 7}, "type"), ({}, "type"), ({"type": "TestEcho", "args": []}, "args"),
    ({"type": "TestEcho", "args": {"text": 7}}, "args.text"), ({"type": "TestEcho", "args": {"tect": "x"}}, "args.tect"),
    ({"type": "TestForm", "args": {"number": "1"}}, "args.text"), ({"type": "TestForm", "args": {"number": "1"}}, "args.number"),
    ({"queue": "fast"}, "queue"), ({"queue": 1}, "queue"), ({"tenant_id": "a b"}, "tenant_id"), ({"tenant_id": {}}, "tenant_id"),
    ({"delay": -1}, "delay"), ({"delay": "soon"}, "delay"), ({"delay": True}, "delay"), ({"delay": 1, "at": "2030-01-01T00:00:00Z"}, "at"),
    ({"at": "tomorrow"}, "at"), ({"at": "2031-01-01T00:00:00"}, "at"), ({"at": "9999-12-31T23:59:59Z"}, "at"), ({"at": 5}, "at"),
    ({"after": "x"}, "after"), ({"after": [1]}, "after"), ({"after": ["00000000-0000-0000-0000-000000000000"]}, "after"),
    ({"batch": "x"}, "batch"), ({"batch": "00000000-0000-0000-0000-000000000000"}, "batch"), ({"priority": 5}, "priority"),
    ({"idempotency_key": ""}, "idempotency_key"), ({"idempotency_key": "k" * 256}, "idempotency_key"), ({"idempotency_key": 1}, "idempotency_key"),
    ({"type": "TestForm", "args": {"text": "x", "number": 1, "kind": "a", "file": "up_" + "0" * 32}}, "args"),
    ({"type": "TestForm", "args": {"text": "x", "number": 1, "kind": "a", "file": "/etc/passwd"}}, "args"),
]


def test_what_is_wrong_has_a_sentence_by_its_name_and_nothing_is_written(api):
    for body, field in WRONG:
        answer = api.ask("POST", "/api/jobs", json={"type": "TestEcho", "args": {"text": "x"}} | body if body else {})
        assert answer.status_code == 400 and answer.json["fields"][field] in answer.json["error"], (body, answer.json)
    for raw, code in ((b"", 400), (b"{", 400), (b"[]", 400), (b'{"type": "TestEcho", "type": "x"}', 400), (b"\xff", 400), (b"9" * 300_000, 400), (b" " * 600_000, 413)):
        assert api.ask("POST", "/api/jobs", data=raw, content_type="application/json").status_code == code, raw[:20]
    assert api.ask("POST", "/api/jobs", data={"type": "TestEcho"}).status_code == 415
    assert api.count() == 0


def test_a_repeated_request_answers_the_same_job_as_long_as_it_is_kept(api):
    first = api.send(headers={"Idempotency-Key": "order 1"})
    again = api.send(headers={"Idempotency-Key": "order 1"})
    assert (first.status_code, again.status_code) == (201, 200) and again.json["repeated"] and first.json["uuid"] == again.json["uuid"]
    assert api.send(idempotency_key="order 1").json["uuid"] == first.json["uuid"], "in the body too"
    other = api.send(args={"text": "another"}, headers={"Idempotency-Key": "order 1"})
    assert other.status_code == 409 and first.json["uuid"] in other.json["error"]
    second = api.make("operator", ("dispatch",), "second@example.org")
    assert api.send(token=second, headers={"Idempotency-Key": "order 1"}).json["uuid"] != first.json["uuid"], "keys are a person's own"
    api.ledger.settle(api.ledger.claim())
    assert api.send(headers={"Idempotency-Key": "order 1"}).json["uuid"] == first.json["uuid"], "the job has ended"
    assert api.count() == 1


def test_two_keys_are_refused_and_a_form_is_told_what_to_send(api):
    answer = api.send(headers={"Idempotency-Key": "k2"}, idempotency_key="k1")
    assert answer.status_code == 400 and set(answer.json["fields"]) == {"idempotency_key"} and api.count() == 0
    assert api.send(headers={"Idempotency-Key": "k1"}, idempotency_key="k1").status_code == 201
    assert "application/json" in api.ask("POST", "/api/jobs", data={"type": "TestEcho"}).json["error"]


def test_an_answer_has_one_language(api):
    uuid = api.send().json["uuid"]
    for asked, missing, why in (("", "There is no such job.", "It is ready"), ("de", "There is no such job.", "It is ready"), ("it-IT", "Questo lavoro non esiste", "È pronto")):
        headers = {"Accept-Language": asked} if asked else {}
        client = api.app.test_client()
        client.set_cookie("lang", "it")
        assert api.get("/api/jobs/nope", headers=headers, client=client).json["error"].startswith(missing), asked
        assert why in api.get(f"/api/jobs/{uuid}", headers=headers, client=client).json["why"], asked


def test_ten_at_once_with_one_key_make_one_job(api):
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _n: api.send(headers={"Idempotency-Key": "at once"}), range(10)))
    assert sorted(a.status_code for a in answers) == [200] * 9 + [201] and len({a.json["uuid"] for a in answers}) == 1
    assert api.count() == 1


def test_a_file_goes_first_and_belongs_to_its_tenant(api):
    sent = api.ask("POST", "/api/uploads", data={"file": (io.BytesIO(b"a,b\n"), "list.csv"), "tenant_id": "acme"})
    assert sent.status_code == 201 and sent.json["filename"] == "list.csv" and sent.json["size"] == 4
    args = {"text": "x", "number": 1, "kind": "a", "file": sent.json["upload_id"]}
    refused = api.send("TestForm", args, tenant_id="other")
    assert refused.status_code == 400 and "tenant" in refused.json["fields"]["args"]
    assert api.send("TestForm", args, tenant_id="acme").status_code == 201
    assert api.ask("POST", "/api/uploads", data={"tenant_id": "a b"}).json["fields"].keys() == {"file", "tenant_id"}


def test_a_failed_job_is_retried_and_deleted_and_its_log_read(api):
    url = api.send("TestFail", {}).json["url"]
    for _n in range(2):
        api.ledger.change("UPDATE jobs SET state = 'pending', available_ms = 0")
        api.ledger.settle(api.ledger.claim(), "failed", error="on purpose")
    assert api.get(url).json["state"] == "failed" and api.get(url + "/log").json == {"lines": []}
    assert api.ask("POST", url + "/retry").json["ok"] and api.get(url).json["state"] == "pending"
    api.ledger.settle(api.ledger.claim(), "failed", error="x")
    api.ledger.change("UPDATE jobs SET state = 'pending', available_ms = 0")
    api.ledger.settle(api.ledger.claim(), "failed", error="x")
    deleted = api.ask("DELETE", url)
    assert deleted.status_code == 200 and deleted.json["undo"] and api.get(url).json["in_bin"]
    assert api.ask("POST", url + "/delete").status_code == 409
    assert {api.get(p).status_code for p in ("/api/jobs/x", "/api/jobs/x/log", "/api/jobs/x/wait", "/api/batches/x", "/api/nothing")} == {404}


def test_a_token_has_the_rights_of_scope_and_role_and_no_others(api):
    wrong = []
    for role, scopes in (("super-admin", ("read",)), ("operator", ("act",)), ("operator", ("dispatch",)), ("viewer", ("read", "act", "dispatch"))):
        token = api.make(role, scopes, f"{role}-{scopes[0]}@example.org")
        has = rights.of_token(rights.of_role(role, False), scopes)
        for endpoint, needed in rights.RIGHTS.items():
            rule = next(iter(api.app.url_map.iter_rules(endpoint)))
            values = {n: sorted(c.items)[0] if hasattr(c, "items") else 1 if "Integer" in type(c).__name__ else "x" for n, c in rule._converters.items()}
            path = api.app.url_map.bind("localhost").build(endpoint, values | (rule.defaults or {}), method=sorted(rule.methods)[0])
            method = "POST" if "POST" in rule.methods else "GET" if "GET" in rule.methods else "DELETE"
            api.app.extensions["rate_limits"].storage.reset()
            answer = api.ask(method, path, token)
            may = endpoint in openapi.ENDPOINTS and needed in has
            if (answer.status_code != 403) != may or answer.mimetype not in ("application/json", "text/csv", "application/pdf") and answer.status_code != 303:
                wrong.append((role, scopes, endpoint, answer.status_code, answer.mimetype))
    assert not wrong
    for path in ("/", "/login", "/account", "/api/docs", "/admin/jobs", "/logout", "/language/it"):
        answer = api.get(path)
        assert answer.status_code == 403 and "openapi.json" in answer.json["error"], path


def test_a_wrong_expired_revoked_or_ended_token_is_refused_even_with_a_cookie(api):
    client = sign_in(api.app, EMAIL)
    assert client.get("/api/jobs").status_code == 200
    with api.app.app_context():
        row = db.session.scalar(db.select(ApiToken))
        for change in ({"expires_ms": now_ms() - 1}, {"expires_ms": now_ms() + DAY_MS, "revoked_ms": 1}):
            for name, value in change.items():
                setattr(row, name, value)
            db.session.commit()
            answer = api.get("/api/jobs", client=client)
            assert answer.status_code == 401 and 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    for wrong in ("x", "", "ainj_" + "x" * 51, "é", "x" * 9000):
        assert api.get("/admin/jobs/list", token=wrong, client=client).status_code == 401
    basic = client.get("/api/jobs", headers={"Authorization": "Basic YTpi"})
    assert basic.status_code == 200, "a proxy's own password is no token"
    assert api.app.test_client().get("/api/jobs").status_code == 401


def test_a_session_needs_its_csrf_token_and_a_personal_token_none(api):
    client, body = sign_in(api.app, EMAIL), {"type": "TestEcho", "args": {"text": "x"}}
    assert client.post("/api/jobs", json=body).status_code == 400
    assert client.post("/api/jobs", json=body, headers={"X-CSRFToken": client.csrf}).status_code == 201
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert client.post("/api/jobs", json=body, headers={"X-CSRFToken": client.csrf} | foreign).status_code == 400
    assert api.ask("POST", "/api/jobs", json=body, client=client).status_code == 201
    with api.app.app_context():
        makers = [job.created_by for job in db.session.scalars(db.select(Job).order_by(Job.id))]
    assert makers == [EMAIL, f"{EMAIL} (token nightly import)"]


def test_disabling_and_roles_reach_the_token_and_a_new_password_does_not(api):
    with api.app.app_context():
        accounts.create_user("boss@example.org", "super-admin", PASSWORD)
        accounts.set_password(EMAIL, "another long horse battery")
    assert api.send().status_code == 201
    with api.app.app_context():
        accounts.set_role(EMAIL, "viewer")
    assert (api.send().status_code, api.get("/api/jobs").status_code) == (403, 200)
    with api.app.app_context():
        accounts.disable(EMAIL)
        accounts.enable(EMAIL)
    assert api.get("/api/jobs").status_code == 401, "it does not come back with the account"


def test_use_is_noted_once_a_minute_and_never_waited_for(api):
    api.get("/api/jobs", environ_base={"REMOTE_ADDR": "203.0.113.9"})
    seen = api.ledger.one("SELECT used_ms FROM api_tokens")
    assert now_ms() - seen < 5000 and api.ledger.one("SELECT used_from FROM api_tokens") == "203.0.113.9/32"
    api.get("/api/jobs", environ_base={"REMOTE_ADDR": "198.51.100.1"})
    assert api.ledger.one("SELECT used_ms FROM api_tokens") == seen
    api.ledger.change("UPDATE api_tokens SET used_ms = used_ms - 61000")
    with api.ledger.connection.transaction() as tx:  # another process writes all the while
        tx.execute("UPDATE users SET created_ms = created_ms WHERE email = 'nobody'")
        assert api.get("/api/jobs").status_code == 200
    for ago in (61_000, -DAY_MS):  # the second is a clock that was ahead
        api.ledger.change("UPDATE api_tokens SET used_ms = :at, used_from = NULL", at=now_ms() - ago)
        api.get("/api/jobs", environ_base={"REMOTE_ADDR": "198.51.100.1"})
        assert api.ledger.one("SELECT used_from FROM api_tokens") == "198.51.100.1/32"


def test_requests_dispatches_and_guesses_are_limited(api, monkeypatch):
    monkeypatch.setattr(rate_limits, "REQUESTS", rate_limits.RateLimitItemPerMinute(6))
    monkeypatch.setattr(rate_limits, "DISPATCHES", rate_limits.RateLimitItemPerMinute(2))
    monkeypatch.setattr(rate_limits, "GUESSES", rate_limits.RateLimitItemPerMinute(2, 15))
    assert [api.send().status_code for _n in range(3)] == [201, 201, 429]
    answer = api.get("/api/jobs")
    assert (answer.status_code, answer.headers["RateLimit-Limit"], answer.headers["RateLimit-Remaining"]) == (200, "6", "2")
    assert [api.get("/admin/jobs/queues").status_code for _n in range(3)] == [200, 200, 429]
    late = api.get("/api/jobs")
    assert 1 <= int(late.headers["Retry-After"]) <= 60 and late.json["error"]
    assert [api.get("/api/jobs", token="wrong").status_code for _n in range(4)] == [401, 401, 429, 429]
    assert [api.get("/api/jobs", token="wrong", environ_base={"REMOTE_ADDR": f"2001:db8::{n}"}).status_code for n in range(3)] == [401, 401, 429]
    good = api.make("operator", ("read",), "late@example.org")
    assert api.get("/api/jobs", token=good).status_code == 200, "guesses from its network do not lock a token out"
    client = sign_in(api.app, EMAIL)
    assert [client.get("/api/jobs").status_code for _n in range(7)][-2:] == [200, 429], "people on /api too"
    assert client.get("/admin/jobs/queues").status_code == 200
