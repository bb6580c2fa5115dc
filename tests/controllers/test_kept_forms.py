"""A form that was sent when its session had ended is there again after signing in; nobody else sees it, nothing is sent by itself."""

from __future__ import annotations

import html
import re

import pytest

from app.extensions import db
from app.models import FailedJob, Job, KeptForm, TenantBudget, UserSession
from app.services.people import accounts, kept_forms, sign_in
from tests.conftest import PASSWORD, fail_next, token_in
from tests.controllers.test_gate import JSON

AGAIN = "Your form is here again"
FORMS = {
    "new/": {"option-type": "TestForm", "text": "caffè <b>", "number": "7", "kind": "b", "option-delay": "60", "option-tenant": "acme"},
    "costs/budgets": {"tenant": "acme", "amount": "49,90", "currency": "EUR", "hold": "1"},
    "generations/templates": {"tenant": "acme", "name": "breve", "body": "typed {prompt}"},
    "alerts/rules/1": {"threshold": "77", "window_min": "61", "cooldown_min": "16", "severity": "warning", "channels": "*"},
    "alerts/rules/new?kind=failures": {"kind": "failures", "threshold": "78", "window_min": "62", "cooldown_min": "17"},
    "connections/set": {"service": "wordpress", "tenant": "acme", "url": "https://blog.example.org", "user": "ada", "secret": "hunter2hunter2"},
    "contents/bulk/": {"prompts": "one prompt\ntwo", "model": "gpt-4o-mini", "tenant": "acme"},
    "reports/new": {"name": "Monday", "period": "week", "weekday": "2", "monthday": "9", "hour": "7", "language": "it", "to": "other", "address": "boss@example.org", "tenant": "acme"},
    "queues/low/pause": {"minutes": "45", "reason": "price list"}, "alerts/1/snooze": {"minutes": "61"},
}


def end_session(app) -> None:
    with app.app_context():
        db.session.query(UserSession).delete()
        db.session.commit()


def sign_in_again(client, email: str = "admin@example.org"):
    page = client.get("/login", headers={"Accept-Language": "en"}).text
    return page, client.post("/login", data={"email": email, "password": PASSWORD, "csrf_token": token_in(page)})


@pytest.mark.parametrize("path", FORMS)
def test_what_was_typed_is_there_again_and_was_not_sent(admin, app, path):
    sent = FORMS[path]
    admin.set_cookie("lang", "en")
    end_session(app)
    answer = admin.post(f"/admin/jobs/{path}", data={"csrf_token": admin.csrf} | sent)
    assert answer.status_code == 302 and answer.location.startswith("/login")
    page, answer = sign_in_again(admin)
    assert "Your form is kept" in page and (answer.status_code, answer.location) == (303, "/form-again")
    answer = admin.get("/form-again", headers={"Accept-Language": "en"}, follow_redirects=True)
    text = html.unescape(answer.text)
    assert answer.status_code == 200 and AGAIN in text
    for name, value in sent.items():
        assert (value in text) is (name != "secret"), name
    with app.app_context():
        assert not db.session.query(Job).count() + db.session.query(TenantBudget).count()
        assert b"caff" not in db.session.query(KeptForm).one().body and "hunter2" not in str(db.session.query(KeptForm).one().body)


GONE = {"reports/77": FORMS["reports/new"], "views/77": {"name": "Slow ones", "query": "state=failed"}, "schedules/edit/ghost": {"cron": "5 4 * * *"},
        "alerts/rules/77": FORMS["alerts/rules/1"], "new/edit/00000000-0000-4000-8000-000000000000": {"text": "caffè", "number": "7", "kind": "b"}}


@pytest.mark.parametrize("path", GONE)
def test_what_was_typed_for_something_deleted_meanwhile_stands_there_to_be_copied(admin, path):
    answer = admin.post(f"/admin/jobs/{path}", data={"csrf_token": admin.csrf, "secret": "hunter2hunter2", "password": "hunter2hunter2"} | GONE[path], headers={"Accept-Language": "en"})
    text = html.unescape(answer.text)
    assert "hunter2" not in text, "a secret is not shown"
    assert answer.status_code == 404 and "What you typed stands here" in text and "Send again" not in text
    assert all(value in text for value in GONE[path].values()) and 'href="/admin/jobs/new/edit' not in text
    assert admin.post(f"/admin/jobs/{path}", data={"csrf_token": admin.csrf} | GONE[path], headers=JSON).json.keys() == {"error"}


def test_a_button_for_something_deleted_meanwhile_has_nothing_to_copy(admin):
    answer = admin.post("/admin/jobs/alerts/77/snooze", data={"csrf_token": admin.csrf, "minutes": "61"}, headers={"Accept-Language": "en"})
    assert answer.status_code == 404 and "What you typed" not in answer.text


def test_sent_again_it_works_and_is_forgotten(admin, app):
    end_session(app)
    admin.post("/admin/jobs/queues/low/pause", data={"csrf_token": admin.csrf} | FORMS["queues/low/pause"])
    sign_in_again(admin)
    page = admin.get("/form-again").text
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page)) | dict(re.findall(r'value="([^"]*)" +class="input" id="[^"]*" name="([^"]+)"', page)[::-1] and
                                                                              [(n, v) for v, n in re.findall(r'value="([^"]*)" +class="input" id="[^"]*" name="([^"]+)"', page)])
    assert fields["minutes"] == "45" and 'action="/admin/jobs/queues/low/pause"' in page
    assert admin.post("/admin/jobs/queues/low/pause", data=fields).status_code == 303
    with app.app_context():
        assert db.session.query(KeptForm).count() == 0
    assert admin.get("/form-again").status_code == 303


def test_only_the_same_person_gets_it(admin, app):
    with app.app_context():
        accounts.create_user("eve@example.org", "super-admin", PASSWORD)
    end_session(app)
    admin.post("/admin/jobs/queues/low/pause", data={"csrf_token": admin.csrf} | FORMS["queues/low/pause"])
    _page, answer = sign_in_again(admin, "eve@example.org")
    assert "form-again" not in answer.location and admin.get("/form-again").status_code == 303
    assert "price list" not in admin.get("/admin/jobs/costs/?again=1").text


def test_buttons_scripts_other_sites_and_large_forms_keep_nothing(admin, app):
    end_session(app)
    admin.set_cookie("lang", "en")
    url, sent = "/admin/jobs/queues/low/pause", {"csrf_token": admin.csrf} | FORMS["queues/low/pause"]
    assert admin.post(url, data=sent, headers=JSON).status_code == 401
    assert admin.post(url, data=sent, headers={"Origin": "https://evil.example"}).status_code == 302
    assert admin.post(url, data=sent | {"reason": "x" * 300_000}).status_code == 302
    answer = admin.post("/admin/jobs/retry-all", data={"csrf_token": admin.csrf, "next": "/admin/jobs/list?state=failed"})
    assert answer.location == "/login?next=/admin/jobs/list?state%3Dfailed"
    assert "nothing was done" in admin.get(answer.location, headers={"Accept-Language": "en"}).text
    with app.app_context():
        assert db.session.query(KeptForm).count() == 0


def test_they_are_bounded_in_number_and_age(context, monkeypatch):
    monkeypatch.setattr(kept_forms, "MOST", 3)
    tokens = [kept_forms.keep("a@x", "/x", [("a", str(n))]) for n in range(5)]
    assert db.session.query(KeptForm).count() == 3 and kept_forms.find(tokens[4], "a@x") == ("/x", [("a", "4")])
    assert kept_forms.find(tokens[4], "b@x") is None and kept_forms.find("other", "a@x") is None
    later = kept_forms.now_ms() + kept_forms.KEEP_MS + 1000
    monkeypatch.setattr(kept_forms, "now_ms", lambda: later)
    assert kept_forms.find(tokens[4], "a@x") is None


def test_strangers_push_out_no_form_of_a_known_person_and_are_bounded(context, monkeypatch):
    mine, sent, clock = kept_forms.keep("ada@x", "/x", [("reason", "an hour of work")]), [("reason", "spam")], [kept_forms.now_ms()]
    monkeypatch.setattr(kept_forms, "now_ms", lambda: clock[0])
    tokens = [kept_forms.keep("", "/x", sent) for _ in range(kept_forms.MOST_UNKNOWN + 5)]
    assert tokens[-5:] == [None] * 5, "so many are written in a minute"
    clock[0] += 2 * kept_forms.MINUTE_MS
    assert kept_forms.find(kept_forms.keep("", "/x", sent), "bob@x") == ("/x", sent)
    assert db.session.query(KeptForm).count() == kept_forms.MOST_UNKNOWN + 1 and kept_forms.find(mine, "ada@x")
    sign_in.sweep(clock[0] + kept_forms.KEEP_MS - kept_forms.MINUTE_MS)
    assert db.session.query(KeptForm).count() == 1, "the monitor deletes what is over"


def test_an_edit_that_was_overtaken_is_refused(admin, app):
    from app import registry

    with app.app_context():
        uuid = registry.find("TestEcho").with_options(delay=600).dispatch(text="before")
        db.session.commit()
    page = admin.get(f"/admin/jobs/new/edit/{uuid}").text
    version = re.search(r'name="option-version" value="(\w+)"', page)[1]
    sent = {"csrf_token": admin.csrf, "option-version": version}
    assert admin.post(f"/admin/jobs/new/edit/{uuid}", data=sent | {"text": "first"}).status_code == 303
    answer = admin.post(f"/admin/jobs/new/edit/{uuid}", data=sent | {"text": "second"}, headers={"Accept-Language": "en"})
    assert answer.status_code == 400 and "retried or edited elsewhere" in answer.text and "second" in answer.text
    with app.app_context():
        assert "first" in db.session.query(Job).one().payload
    assert admin.post(f"/admin/jobs/new/edit/{uuid}", data={"csrf_token": admin.csrf, "text": "of a script"}).status_code == 303


def test_a_retry_in_another_tab_overtakes_an_edit(admin, app):
    from app import registry

    with app.app_context():
        uuid = registry.find("TestEcho").dispatch(text="before")
        db.session.commit()
    fail_next(app)
    version = re.search(r'name="option-version" value="(\w+)"', admin.get(f"/admin/jobs/new/edit/{uuid}").text)[1]
    admin.post(f"/admin/jobs/retry/{uuid}", data={"csrf_token": admin.csrf})
    fail_next(app)
    answer = admin.post(f"/admin/jobs/new/edit/{uuid}", data={"csrf_token": admin.csrf, "option-version": version, "text": "after"})
    assert answer.status_code == 400
    with app.app_context():
        assert "before" in db.session.query(FailedJob).one().payload


def test_error_pages_have_ways_out(admin, user_client, client):
    forbidden = user_client.get("/admin/jobs/")
    assert forbidden.status_code == 403 and 'href="/logout"' in forbidden.text and 'href="/admin/jobs/list"' not in forbidden.text
    missing = admin.get("/admin/jobs/job/00000000-0000-0000-0000-000000000000")
    assert missing.status_code == 404 and 'href="/admin/jobs/list"' in missing.text
    assert 'href="/login"' in client.get("/nowhere").text


SCHEDULE = {"option-type": "TestForm", "option-name": "by night", "option-cron": "5 2 * * *", "option-queue": "low", "option-tenant": "acme",
            "option-overlap": "allow", "text": "caffè", "number": "7", "kind": "b"}


def test_a_form_page_is_shown_as_that_page_with_what_was_typed(admin, app):
    for path, sent, action, shown in (
            ("schedules/new", SCHEDULE, "schedules/new",
             (r'name="option-overlap" value="allow" checked', r'name="option-name" value="by night"', r"<option selected>low", "<h1>New schedule: ")),
            ("views/", {"name": "Slow <b>", "longer": "10s", "shared": "1"}, "views/",
             (r'name="name" value="Slow &lt;b&gt;"', r'name="longer" value="10s"', r'name="shared" value="1" checked', "<h1>Views")),
            ("errors/deploys", {"text": "v7"}, "errors/deploys", (r'name="text" value="v7"',)),
            ("costs/budgets", FORMS["costs/budgets"], "costs/budgets", ("49,90",))):
        end_session(app)
        admin.post(f"/admin/jobs/{path}", data={"csrf_token": admin.csrf} | sent)
        sign_in_again(admin)
        page = admin.get("/form-again", headers={"Accept-Language": "en"}, follow_redirects=True)
        text = page.text
        assert page.status_code == 200 and AGAIN in text and f'action="/admin/jobs/{action}"' in text, path
        assert "Check the form" not in text and 'aria-invalid="true"' not in text and "option-overlap<" not in text, path
        for part in shown:
            assert re.search(part, text), (path, part)
    end_session(app)
    admin.post("/admin/jobs/queues/low/pause", data={"csrf_token": admin.csrf, "minutes": "45"})
    sign_in_again(admin)
    text = admin.get("/form-again", headers={"Accept-Language": "en"}).text
    assert AGAIN in text and "aria-invalid" not in text and 'role="alert"' not in text


def test_a_sign_in_leads_where_the_person_was_and_offers_the_older_form(admin, app):
    from app import registry

    admin.set_cookie("lang", "en")
    with app.app_context():
        one, two = (registry.find("TestNoop").dispatch() for _n in range(2))
        db.session.commit()
    end_session(app)
    admin.post("/admin/jobs/schedules/new", data={"csrf_token": admin.csrf} | SCHEDULE)
    _page, answer = sign_in_again(admin)
    assert answer.location == "/form-again"
    for sent in ({"uuid": one}, {"scope": "all"}):
        end_session(app)
        answer = admin.post("/admin/jobs/bulk", data={"csrf_token": admin.csrf, "action": "hold", "next": "/admin/jobs/list?queue=default"} | sent)
        page = admin.get(answer.location).text
        back = re.search(r'name="next" value="([^"]*)"', page)[1]
        answer = admin.post("/login", data={"email": "admin@example.org", "password": PASSWORD, "csrf_token": token_in(page), "next": html.unescape(back)})
        assert answer.location == "/admin/jobs/list?queue=default&again=1"
        text = admin.get(answer.location).text
        assert 'href="/form-again"' in text and "by night" not in text
        assert f'value="{one}" checked' in text and (f'value="{two}" checked' in text) is ("scope" in sent)
        assert ('value="all" x-ref="scope" checked' in text) is ("scope" in sent)
        with app.app_context():
            assert {job.state for job in db.session.query(Job)} == {"pending"}
    assert "checked data-can" not in admin.get("/admin/jobs/list?queue=default").text
    assert "by night" in admin.get("/form-again", follow_redirects=True).text
