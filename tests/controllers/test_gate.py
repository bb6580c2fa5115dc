"""What any request can do before it is known who asks: methods, hosts, origins, errors for scripts, a site below a path."""

from __future__ import annotations

import hashlib

import pytest

from app import create_app, registry
from app.config import SettingError, load_settings
from app.extensions import db
from app.models import JobBatch
from app.services.jobs.batches import begin
from app.services.people import accounts
from tests.conftest import PASSWORD, fail_next, token_in

JSON = {"Accept": "application/json"}
SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
METHODS = (*SAFE, "PUT", "PATCH", "POST", "DELETE", "PROPFIND")
HEADERS = ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "X-Frame-Options")
HOSTS = ["a..b", "x" * 64 + ".example", "j\u00f6bs.example", "", "h" * 300, "a b", "[::1", "[zz]", "127.0.0.1:99999", "127.0.0.1:0x1", "127.0.0.1..",
         ".", "..", "evil@127.0.0.1", "127.0.0.1/..", "\xff\xfe", "a" * 63 + "." + "b" * 63, "127.0.0.1:", "a,b", "%00", "localhost#x", "localhost?"]


def state(app) -> str:
    """A digest of every row of every table, but for the time at which a session was last seen."""
    with app.app_context():
        found = hashlib.sha256()
        for table in db.metadata.sorted_tables:
            columns = [c for c in table.c if c.name != "seen_ms"]
            found.update(repr(sorted(map(repr, db.session.execute(db.select(*columns))))).encode())
        db.session.rollback()
        return found.hexdigest()


def addresses(app, job: str, failed: str):
    """Every address of the URL map with values that exist."""
    values = {"uuid": job, "id": 1, "action": "ack", "name": "default", "lang": "en", "filename": "app.css", "command": "quiet", "upload_id": "up_" + "0" * 32, "key": "0" * 16, "scope": "type"}
    with app.app_context():
        values["batch"] = db.session.scalar(db.select(JobBatch.id))
        db.session.rollback()
    adapter = app.url_map.bind("127.0.0.1")
    for rule in app.url_map.iter_rules():
        for uuid in (job, failed):
            args = {}
            for name in rule.arguments - set(rule.defaults or ()):
                converter = rule._converters[name]
                items = getattr(converter, "items", None)
                args[name] = sorted(items)[0] if items else uuid if name == "uuid" else values[name]
            yield adapter.build(rule.endpoint, args | {k: v for k, v in (rule.defaults or {}).items()}, method=sorted(rule.methods)[0])


@pytest.fixture
def jobs(app):
    """A scheduled job and a failed one of a batch, with arguments that an empty form would empty."""
    with app.app_context():
        made = begin("Open")
        failed = registry.find("TestEcho").with_options(batch=made).dispatch(text="keep me")
        db.session.commit()
        fail_next(app)
        waiting = registry.find("TestFail").with_options(delay=600, batch=made).dispatch(text="keep me")
        db.session.commit()
    return waiting, failed


def test_no_request_without_a_token_changes_anything_by_any_method(app, admin, jobs):
    """Every address with every method: GET and its like never act, the others only with the token of a form of ours."""
    before, tried = state(app), 0
    others = [{}, {"csrf_token": "wrong"}, {"csrf_token": admin.csrf[:-3] + "abc"}]
    for address in sorted(set(addresses(app, *jobs))):
        for method in METHODS:
            for body in [{}] if method in SAFE else others:
                for path in (address, f"{address}?_method=DELETE&csrf_token={admin.csrf}")[: 2 if method in ("GET", "HEAD", "POST") else 1]:
                    answer = admin.open(path, method=method, buffered=True, data=body | ({"_method": "DELETE"} if body else {}))
                    assert answer.status_code < 500 or address == "/readyz", (method, path)  # 503: no monitor runs here
                    assert answer.headers["Content-Security-Policy"], (method, path)
                    tried += 1
    assert tried > 800 and state(app) == before
    assert admin.get("/admin/jobs/realtime-stats").status_code == 200, "still signed in"


@pytest.mark.parametrize("headers", [{"Origin": "http://127.0.0.1:9999"}, {"Origin": "null"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"},
                                     {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://localhost@evil.example"}, {"Origin": "http://["}])
def test_a_form_of_another_origin_is_refused_even_with_a_token(app, admin, jobs, headers):
    before = state(app)
    for path in ("retry-all", f"cancel/{jobs[0]}", f"retry/{jobs[1]}", f"new/edit/{jobs[0]}"):
        assert admin.post(f"/admin/jobs/{path}", data={"csrf_token": admin.csrf}, headers=headers).status_code == 400
    assert admin.post("/logout", data={"csrf_token": admin.csrf}, headers=headers).status_code == 400
    assert state(app) == before


@pytest.mark.parametrize("headers", [{"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}])
def test_a_form_of_ours_is_taken(admin, jobs, headers):
    assert admin.post(f"/admin/jobs/retry/{jobs[1]}", data={"csrf_token": admin.csrf}, headers=headers).status_code == 303


def test_head_answers_as_get_does_without_a_body_and_without_acting(app, admin, jobs):
    before = state(app)
    for path in ("/admin/jobs", f"/admin/jobs/new/edit/{jobs[0]}", "/logout", "/healthz", "/static/app.css", "/admin/jobs/list.csv"):
        got, head = admin.get(path, buffered=True), admin.head(path, buffered=True)
        assert (head.status_code, head.data) == (got.status_code, b"") and head.content_type == got.content_type
    assert state(app) == before


def test_another_site_does_not_change_the_language(client):
    answer = client.get("/language/en", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 303 and "Set-Cookie" not in answer.headers
    assert "lang=en" in client.get("/language/en").headers["Set-Cookie"]


@pytest.mark.parametrize("host", HOSTS)
def test_no_host_is_a_500_and_each_answer_has_our_headers(app, host):
    client = app.test_client(use_cookies=False)  # its jar cannot take some of these hosts itself
    for path in ("/healthz", "/readyz", "/login", "/admin/jobs", "/nowhere", "/static/app.css", "/metrics", "/language/en"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code < 500 or path == "/readyz" and answer.status_code == 503, (path, answer.status_code)
        assert all(name in answer.headers for name in HEADERS), path
        assert path == "/healthz" or answer.status_code in (400, 404, 200, 302, 303, 503)
    refused = client.get("/admin/jobs", headers={"Host": host} | JSON)
    assert refused.status_code in (400, 401) and refused.json["error"]


# ---- errors for scripts --------------------------------------------------------------------------


@pytest.mark.parametrize("method,path,code", [
    ("GET", "/nowhere", 404), ("GET", "/admin/jobs", 401), ("POST", "/login", 400), ("PUT", "/login", 405), ("GET", "/metrics", 404),
    ("POST", "/admin/jobs/metrics", 405), ("POST", "/healthz", 405), ("GET", "/admin/jobs/new/edit/x", 401), ("GET", "/static/none.css", 404),
])
@pytest.mark.parametrize("language,word", [("it", None), ("en", None)])
def test_scripts_get_json_errors_in_their_language(app, method, path, code, language, word):
    answer = app.test_client().open(path, method=method, headers=JSON | {"Accept-Language": language})
    assert (answer.status_code, answer.content_type) == (code, "application/json"), answer.text[:200]
    assert list(answer.json) == ["error"] and answer.json["error"].endswith((".", "!"))


def test_errors_for_scripts_are_in_the_language_asked_for(client):
    said = {language: client.get("/nowhere", headers=JSON | {"Accept-Language": language}).json["error"] for language in ("it", "en")}
    assert said["en"] == "There is no such page." and said["it"] != said["en"]


def test_json_addresses_answer_json_to_wrong_methods_too(client):
    assert client.post("/admin/jobs/metrics", headers={"Accept": "text/html"}).is_json
    assert client.get("/admin/jobs/realtime-stats").is_json


def test_a_wrong_password_is_json_for_scripts_and_a_right_one_too(app):
    with app.app_context():
        accounts.create_user("ada@example.org", "super-admin", PASSWORD)
    client = app.test_client()
    token = token_in(client.get("/login").text)
    wrong = client.post("/login", data={"email": "ada@example.org", "password": "wrong one", "csrf_token": token}, headers=JSON)
    assert wrong.status_code == 401 and wrong.json["error"]
    right = client.post("/login", data={"email": "ada@example.org", "password": PASSWORD, "csrf_token": token}, headers=JSON)
    assert right.status_code == 200 and right.json == {"ok": True, "count": 1}
    assert client.get("/admin/jobs/realtime-stats").status_code == 200


def test_metrics_asks_scripts_for_its_token_in_json(data_dir):
    application = create_app(load_settings({"DATA_DIR": str(data_dir), "METRICS_TOKEN": "0123456789abcdef"}))
    answer = application.test_client().get("/metrics", headers=JSON)
    assert answer.status_code == 401 and answer.json["error"] and answer.headers["WWW-Authenticate"] == "Bearer"
    assert application.test_client().get("/metrics").content_type.startswith("text/plain")


def test_edit_and_new_answer_scripts_as_their_siblings_do(admin, jobs):
    form = admin.get(f"/admin/jobs/new/edit/{jobs[0]}", headers=JSON).json
    assert form["type"] == "TestFail" and form["fields"][0]["name"] == "text" and form["fields"][0]["value"] == "keep me"
    assert "TestForm" in [t["name"] for t in admin.get("/admin/jobs/new", headers=JSON).json["types"]]
    done = admin.post(f"/admin/jobs/new/edit/{jobs[0]}", data={"csrf_token": admin.csrf, "text": "other"}, headers=JSON)
    assert done.status_code == 200 and done.json == {"ok": True, "count": 1, "uuid": jobs[0]}


# ---- below a path --------------------------------------------------------------------------------


def below(data_dir, **settings):
    application = create_app(load_settings({"DATA_DIR": str(data_dir), "PUBLIC_URL": "http://127.0.0.1:8000/team/jobs"} | settings))
    application.testing = True
    with application.app_context():
        accounts.create_user("ada@example.org", "super-admin", PASSWORD)
    return application


@pytest.mark.parametrize("kept", ["", "/team/jobs"], ids=["proxy strips", "proxy keeps"])
def test_everything_lies_below_the_path(data_dir, kept):
    application = below(data_dir)
    client = application.test_client()
    away = client.get(f"{kept}/admin/jobs/workers?x=1")
    assert away.location == "/team/jobs/login?next=/team/jobs/admin/jobs/workers?x%3D1" or "next=%2Fteam%2Fjobs" in away.location
    page = client.get(f"{kept}/login").text
    assert 'href="/team/jobs/static/' in page and 'action="/team/jobs/login"' in page and 'href="/static' not in page
    sent = {"email": "ada@example.org", "password": PASSWORD, "csrf_token": token_in(page)}
    client = application.test_client()
    sent["csrf_token"] = token_in(client.get("/team/jobs/login").text)
    answer = client.post("/team/jobs/login", data=sent | {"next": "/team/jobs/admin/jobs/workers"})
    assert answer.location == "/team/jobs/admin/jobs/workers"
    assert "Path=/team/jobs;" in answer.headers["Set-Cookie"] or answer.headers["Set-Cookie"].endswith("Path=/team/jobs")
    page = client.get("/team/jobs/admin/jobs").text
    import re

    outside = [u for u in re.findall(r'(?:href|src|action|data-[a-z-]*url)="(/[^"]*)"', page) if not u.startswith("/team/jobs/")]
    assert outside == []
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)[1]
    asked = client.post("/team/jobs/admin/jobs/retry-all", data={"csrf_token": token, "ask": "1"}).text
    assert 'action="/team/jobs/admin/jobs/retry-all"' in asked


def test_a_return_address_stays_below_the_path(data_dir):
    application = below(data_dir)
    for back in ("/admin/jobs/workers", "/team/jobs/nowhere", "/team/jobsadmin/jobs", "/other/admin/jobs", "//team/jobs/admin/jobs"):
        client = application.test_client()
        sent = {"email": "ada@example.org", "password": PASSWORD, "csrf_token": token_in(client.get("/team/jobs/login").text), "next": back}
        assert client.post("/team/jobs/login", data=sent).location == "/team/jobs/", back


def test_a_prefix_is_believed_from_a_trusted_proxy_only(data_dir, tmp_path):
    plain = create_app(load_settings({"DATA_DIR": str(data_dir)}))
    assert plain.test_client().get("/admin/jobs", headers={"X-Forwarded-Prefix": "/evil"}).location.startswith("/login")
    behind = create_app(load_settings({"DATA_DIR": str(data_dir), "TRUSTED_PROXIES": "1"}))
    assert behind.test_client().get("/admin/jobs", headers={"X-Forwarded-Prefix": "/jobs/"}).location.startswith("/jobs/login")
    for bad in ("//evil.example", "https://evil.example", "/a\\b", "/a b", "/..", "jobs", "/\u00e8", "/a?b", "/a#b", '/"x'):
        answer = behind.test_client().get("/admin/jobs", headers={"X-Forwarded-Prefix": bad.encode().decode("latin-1")})
        assert answer.location.startswith("/login"), bad
    assert below(data_dir, TRUSTED_PROXIES="1").test_client().get("/admin/jobs", headers={"X-Forwarded-Prefix": "/other"}).location.startswith("/team/jobs/")


def test_a_path_that_is_also_an_address_of_ours_works_behind_both_kinds_of_proxy(data_dir):
    application = below(data_dir, PUBLIC_URL="http://127.0.0.1:8000/admin")
    for path in ("/admin/login", "/login"):
        assert application.test_client().get(path).status_code == 200
    for path in ("/admin/admin/jobs", "/admin/jobs"):
        assert application.test_client().get(path).location.startswith("/admin/login?next=")


def test_https_below_a_path_keeps_its_cookie_to_the_path(data_dir):
    application = below(data_dir, PUBLIC_URL="https://x.example/team", TRUSTED_PROXIES="1")
    client = application.test_client()
    answer = client.get("/team/login", headers={"Host": "x.example", "X-Forwarded-Proto": "https"})
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Secure-session=") and "Path=/team" in cookie and "Secure" in cookie
    assert answer.status_code == 200


@pytest.mark.parametrize("url", ["https://x.example/a//b", "https://x.example/../a", "https://x.example/a%2Fb", "https://x.example/a?b", "https://x.example/a#b", "https://x.example/a;b", "https://a..b", "https://" + "x" * 64 + ".example", "https://-/", "https://a_b*c"])
def test_a_path_that_is_none_is_refused(data_dir, url):
    with pytest.raises(SettingError, match="PUBLIC_URL"):
        load_settings({"DATA_DIR": str(data_dir), "PUBLIC_URL": url})


def test_a_trailing_slash_of_the_address_is_no_path(data_dir):
    assert load_settings({"DATA_DIR": str(data_dir), "PUBLIC_URL": "https://x.example/"}).prefix == ""
    assert load_settings({"DATA_DIR": str(data_dir), "PUBLIC_URL": "https://x.example/jobs/"}).prefix == "/jobs"


def test_links_in_alerts_lie_below_the_path(data_dir):
    from app.models import Alert
    application = below(data_dir)
    with application.app_context():
        db.session.add(Alert(rule_id=1, kind="no_worker", subject="", severity="warning", facts='{"n": 1, "limit": 1}', link="/admin/jobs/workers?x=1", opened_ms=1, seen_ms=1, notify_at=1))
        db.session.commit()
    client = sign_in_below(application)
    page = client.get("/team/jobs/admin/jobs/alerts").text
    assert 'href="/team/jobs/admin/jobs/workers?x=1"' in page and 'href="/admin/jobs/workers?x=1"' not in page
    assert '"/team/jobs/admin/jobs/workers?x=1"' in client.get("/team/jobs/admin/jobs").text


def sign_in_below(application):
    client = application.test_client()
    sent = {"email": "ada@example.org", "password": PASSWORD, "csrf_token": token_in(client.get("/team/jobs/login").text)}
    assert client.post("/team/jobs/login", data=sent).status_code == 303
    return client
