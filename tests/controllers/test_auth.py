"""Sign-in, sessions, limits, CSRF, headers and addresses, as a browser and as an attacker would."""

from __future__ import annotations

import pytest

from app.extensions import db
from app.models import User, UserSession
from app.services.people import accounts, sign_in as sessions
from app.services.people.sign_in import network_of, sign_in as begin_session
from app.support.clock import now_ms
from app.support.validation import ValidationError
from tests.conftest import PASSWORD, sign_in, token_in


def attempt(client, email: str, password: str, **extra):
    token = token_in(client.get("/login").text)
    return client.post("/login", data={"email": email, "password": password, "csrf_token": token} | extra)


def test_a_copied_cookie_is_worthless_after_sign_out(admin, app):
    copy = app.test_client()
    with admin.session_transaction() as mine:
        stolen = dict(mine)
    with copy.session_transaction() as theirs:
        theirs.update(stolen)
    assert copy.get("/admin/jobs/realtime-stats").status_code == 200
    admin.post("/logout", data={"csrf_token": admin.csrf})
    assert copy.get("/admin/jobs/realtime-stats").status_code == 401
    assert admin.get("/admin/jobs").status_code == 302


def test_password_role_and_disable_end_all_sessions(app, admin):
    with app.app_context():
        accounts.set_password("admin@example.org", "another good password")
    assert admin.get("/admin/jobs/realtime-stats").status_code == 401
    with app.app_context():
        accounts.create_user("second@example.org", "super-admin", PASSWORD)
    changes = ((lambda: accounts.set_role("admin@example.org", "user"), 200), (lambda: accounts.disable("admin@example.org"), 403))
    for change, before in changes:
        again = sign_in(app, "admin@example.org", "another good password")
        assert again.get("/admin/jobs/realtime-stats").status_code == before
        with app.app_context():
            change()
        assert again.get("/admin/jobs/realtime-stats").status_code == 401
    assert attempt(app.test_client(), "admin@example.org", "another good password").status_code == 401


def test_sessions_end_after_12_idle_hours_and_polling_does_not_extend_them(app, admin):
    def seen(hours: float) -> None:
        with app.app_context():
            db.session.execute(db.update(UserSession).values(seen_ms=now_ms() - int(hours * 3_600_000)))
            db.session.commit()

    seen(11)
    assert admin.get("/admin/jobs/realtime-stats").status_code == 200
    with app.app_context():
        assert db.session.scalar(db.select(UserSession.seen_ms)) < now_ms() - 10 * 3_600_000, "polling left it alone"
    assert admin.get("/admin/jobs/workers").status_code == 200
    with app.app_context():
        assert db.session.scalar(db.select(UserSession.seen_ms)) > now_ms() - 60_000, "a page extends it"
    seen(12.1)
    assert admin.get("/admin/jobs/realtime-stats").status_code == 401


def test_guessing_is_limited_by_account_and_network_and_looks_the_same(app):
    with app.app_context():
        accounts.create_user("ada@example.org", "user", PASSWORD)
    client = app.test_client()
    first = attempt(client, "ada@example.org", "wrong password")
    for _ in range(5):
        last = attempt(client, "ada@example.org", "wrong password")
    locked = attempt(client, "ada@example.org", PASSWORD)
    unknown = attempt(client, "nobody@example.org", "wrong password")
    assert {r.status_code for r in (first, last, locked, unknown)} == {401}
    texts = {_error(r.text) for r in (first, last, locked, unknown)}
    assert len(texts) == 1 and texts.pop()
    with app.app_context():
        assert begin_session("ada@example.org", PASSWORD, "10.9.8.7"), "another network is not locked out"


def _error(page: str) -> str:
    import re

    found = re.search(r'role="alert".*?<span>(.*?)</span>', page, re.S)
    return found[1].strip() if found else ""


def test_an_account_that_is_disabled_while_it_signs_in_gets_the_answer_of_a_wrong_password(app, monkeypatch):
    with app.app_context():
        accounts.create_user("ada@example.org", "viewer", PASSWORD)
    real = sessions.sign_in

    def then_disabled(*given, **more):
        token = real(*given, **more)
        db.session.execute(db.update(User).values(disabled_ms=1))
        db.session.commit()
        return token

    monkeypatch.setattr(sessions, "sign_in", then_disabled)
    answer = attempt(app.test_client(), "ada@example.org", PASSWORD)
    assert answer.status_code == 401 and "non corrette" in _error(answer.text)


def test_networks_are_a_v4_address_and_a_v6_64():
    assert network_of("192.0.2.7") == "192.0.2.7/32"
    assert network_of("::ffff:192.0.2.7") == "192.0.2.7/32"
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::9")
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1")


@pytest.mark.parametrize("email,password", [("no-at-sign", PASSWORD), ("a@b.it", "short"), ("a@b.it", "x" * 257), ("a@b.it\x00", PASSWORD)])
def test_bad_accounts_are_refused_with_a_sentence(context, email, password):
    with pytest.raises(ValidationError, match=r"\."):
        accounts.create_user(email, "user", password)


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example/", "/\\evil.example", "/%0d%0aX: y", "/logout", "/nowhere", "javascript:alert(1)"])
def test_sign_in_returns_only_to_pages_of_ours(app, back):
    with app.app_context():
        accounts.create_user("ada@example.org", "super-admin", PASSWORD)
    assert attempt(app.test_client(), "ada@example.org", PASSWORD, next=back).location == "/"
    assert attempt(app.test_client(), "ada@example.org", PASSWORD, next="/admin/jobs/workers?x=1").location == "/admin/jobs/workers?x=1"


def test_a_post_without_a_csrf_token_changes_nothing(admin):
    answer = admin.post("/admin/jobs/retry-all", headers={"Accept": "application/json"})
    assert answer.status_code == 400 and "error" in answer.json


@pytest.mark.parametrize("host,code", [("evil.example", 400), ("127.0.0.1:8000", 302), ("localhost", 302), ("[::1]:8000", 302), ("127.0.0.1.evil.example", 400)])
def test_only_our_own_host_is_answered(client, host, code):
    assert client.get("/admin/jobs", headers={"Host": host}).status_code == code
    assert client.get("/healthz", headers={"Host": host}).text == "ok"


def test_every_answer_carries_the_policy(admin, client):
    for answer in (admin.get("/admin/jobs"), admin.get("/nope"), client.get("/login"), client.get("/healthz"), client.get("/static/app.css")):
        policy = answer.headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Referrer-Policy"] == "same-origin"


def test_the_cookie_is_http_only_and_lax(app):
    with app.app_context():
        accounts.create_user("ada@example.org", "user", PASSWORD)
    cookie = attempt(app.test_client(), "ada@example.org", PASSWORD).headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Secure" not in cookie


NASTY = ["\x00", "\ud800", "%00", "%ff%fe", "'\"><script>", "../../etc/passwd", "a" * 3000, "🙂", "-1", "9" * 40]


@pytest.mark.parametrize("text", NASTY)
def test_nothing_that_can_be_sent_is_a_500(admin, text):
    from urllib.parse import quote

    raw = quote(text.encode("utf-8", "surrogatepass"))
    for path in (f"/admin/jobs/job/{raw}", f"/admin/jobs/metrics?period={raw}", f"/admin/jobs/contents?q={raw}&after={raw}&tenant={raw}",
                 f"/admin/jobs/new/?type={raw}", f"/admin/jobs/list?q={raw}&before={raw}", f"/login?next={raw}", f"/language/{raw}",
                 f"/admin/jobs/?period={raw}", f"/admin/jobs/contents/report/{raw}.csv"):
        assert admin.get(path).status_code < 500, path
    form = {"csrf_token": admin.csrf}
    for path in ("retry-all", f"retry/{raw}", f"cancel/{raw}", "flush-failed", f"workers/{raw}/restart"):
        body = form | {"upto": text.encode("utf-8", "replace").decode(), "next": text.encode("utf-8", "replace").decode()}
        assert admin.post(f"/admin/jobs/{path}", data=body).status_code < 500, path
    body = "&".join(f"{k}={v}" for k, v in (form | {"type": "TestForm", "text": raw, "number": raw, "kind": raw, "extra": raw, "tenant": raw, "delay": raw}).items())
    assert admin.post("/admin/jobs/new/", data=body, content_type="application/x-www-form-urlencoded").status_code < 500


def test_probes_say_little(client):
    assert client.get("/readyz").json == {"database": "ok", "schema": "ok", "monitor": "down", "tickets": "ok", "workers": "down"}
