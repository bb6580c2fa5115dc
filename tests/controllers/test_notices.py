"""Following by the forms of pages, the feed of the browser, and links that open after signing in."""

from __future__ import annotations

import html
import re

import pytest

from app.extensions import db
from app.models import Audit, Follow, Notice, User
from app.services.people import accounts
from app.support.clock import now_ms
from tests.conftest import PASSWORD, fail_next, sign_in
from tests.controllers.test_account import code_of, first_page, turn_on
from tests.controllers.test_gate import JSON
from tests.jobtypes import noop

EN = {"Accept-Language": "en"}


def dispatched(app) -> str:
    with app.app_context():
        uuid = noop.with_options(tries=1).dispatch()
        db.session.commit()
    return uuid


def count(app, model, *which) -> int:
    with app.app_context():
        return db.session.query(model).filter(*which).count()


def press(client, path: str, headers=JSON, **fields):
    return client.post(f"/admin/jobs/notices/{path}", data={"csrf_token": client.csrf} | fields, headers=headers)


@pytest.fixture
def viewer(app):
    with app.app_context():
        accounts.create_user("viewer@example.org", "viewer", PASSWORD)
    return sign_in(app, "viewer@example.org")


def test_the_page_of_a_job_has_the_form_and_says_what_it_did(admin, viewer, app):
    uuid = dispatched(app)
    for client in (admin, viewer):
        page = client.get(f"/admin/jobs/job/{uuid}", headers=EN).text
        assert "Tell me when it ends" in page and "Set SMTP_URL for the monitor." in page and 'value="mail"' not in page
        answer = press(client, "follow", headers=EN, kind="job", subject=uuid, via="browser")
        assert answer.status_code == 303 and answer.location == f"/admin/jobs/job/{uuid}"
        page = client.get(f"/admin/jobs/job/{uuid}", headers=EN).text
        assert "You are told when it ends: in the browser" in page and "Tell me when it ends" not in page
    assert uuid[:8] in admin.get("/account/", headers=EN).text
    assert count(app, Follow) == 2 and count(app, Audit, Audit.action.contains("follow")) == 0
    assert press(admin, "unfollow", kind="job", subject=uuid).json == {"ok": True, "count": 1}
    assert press(admin, "unfollow", kind="job", subject=uuid).json["count"] == 0
    assert count(app, Follow) == 1  # that of the other person
    fail_next(app)
    assert "Tell me when it ends" not in admin.get(f"/admin/jobs/job/{uuid}", headers=EN).text


def test_bad_values_are_answered_with_a_sentence(admin, user_client, app):
    uuid = dispatched(app)
    for fields, code, words in (({"kind": "x", "subject": uuid}, 400, "kind is job or batch"), ({"kind": "job", "subject": "x", "via": "browser"}, 404, "no such job"),
                                ({"kind": "batch", "subject": "", "via": "browser"}, 404, "no such batch"), ({"kind": "job", "subject": uuid, "via": "mail"}, 400, "SMTP_URL"),
                                ({"kind": "job", "subject": uuid, "via": "channel:team"}, 400, "not there"), ({"kind": "job", "subject": uuid}, 400, "not there")):
        answer = press(admin, "follow", headers=JSON | EN, **fields)
        assert answer.status_code == code and words in answer.json["error"], fields
    page = press(admin, "follow", headers=EN, kind="job", subject=uuid, via="mail")
    assert page.status_code == 400 and "SMTP_URL" in page.text
    assert press(user_client, "follow", kind="job", subject=uuid, via="browser").status_code == 403
    assert user_client.get("/admin/jobs/notices/").status_code == 403
    assert count(app, Follow) == 0
    for after in ("x", "-1", "1.5", "9" * 19):
        assert admin.get(f"/admin/jobs/notices/?after={after}", headers=EN).status_code == 400


def test_the_feed_is_of_the_person_and_begins_where_a_browser_asks_first(admin, viewer, app):
    assert admin.get("/admin/jobs/notices/").json == {"notices": [], "last": {"id": 0}}
    with app.app_context():
        admin_id = db.session.query(User.id).filter_by(email="admin@example.org").scalar()
        db.session.add(Notice(user_id=admin_id, kind="job", subject="x", title='["Job completed: %(name)s", {"name": "x"}]', body='["It has ended.", {}]', link="/admin/jobs/job/x", created_ms=now_ms()))
        db.session.commit()
    assert admin.get("/admin/jobs/notices/").json == {"notices": [], "last": {"id": 1}}
    answer = admin.get("/admin/jobs/notices/?after=0", headers=EN | {"X-Forwarded-Prefix": "/x"})
    (notice,) = answer.json["notices"]
    assert {k: notice[k] for k in ("id", "kind", "title", "body", "link")} == {"id": 1, "kind": "job", "title": "Job completed: x", "body": "It has ended.", "link": "/admin/jobs/job/x"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert admin.get("/admin/jobs/notices/?after=0", headers={"Accept-Language": "it"}).json["notices"][0]["title"] == "Lavoro completato: x"
    assert viewer.get("/admin/jobs/notices/?after=0").json == {"notices": [], "last": {"id": 0}}
    assert admin.application.test_client().get("/admin/jobs/notices/").status_code == 401


def test_new_alerts_are_switched_by_the_person(admin, app):
    page = admin.get("/admin/jobs/alerts/", headers=EN).text
    assert "New alerts are not shown in the browser." in page
    answer = admin.post("/account/browser-alerts", data={"csrf_token": admin.csrf, "on": "1"}, headers=EN)
    assert answer.status_code == 303
    assert "New alerts are shown in the browser." in admin.get("/account/", headers=EN).text
    assert count(app, User, User.browser_alerts == 1) == 1


PLACES = ["/admin/jobs/queues?queue=low#limits", "/admin/jobs/list?state=failed&q=a%20b&type=Test%2BX#top", "/admin/jobs/usage/type/100%25%20of%20a%23b?period=7d", "/admin/jobs/usage/tenant/citt%C3%A0%20%3F"]


@pytest.mark.parametrize("place", PLACES)
def test_a_link_opens_on_its_place_after_a_wrong_password_and_a_second_factor(app, admin, place):
    secret, _codes, _pages = turn_on(admin)
    client = app.test_client()
    client.set_cookie("lang", "en")
    answer = client.get(place.partition("#")[0])
    page = client.get(answer.location).text
    found = html.unescape(re.search(r'name="next" value="([^"]+)"', page)[1])
    assert found == place.partition("#")[0], "with its query, as the browser has it"
    italian = html.unescape(re.search(r'href="(/language/it[^"]*)"', page)[1])
    assert client.get(italian).location == found, "another language does not lose the place"
    client.set_cookie("lang", "en")
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)[1]
    wrong = client.post("/login", data={"email": "admin@example.org", "password": "wrong", "csrf_token": token, "next": place})
    assert wrong.status_code == 401 and f'value="{html.escape(place)}"' in wrong.text
    client, answer = first_page(app, back=place)
    page = client.get(answer.location).text
    assert f'value="{html.escape(place)}"' in page
    answer = client.post("/login/code", data={"code": code_of(secret), "csrf_token": client.csrf, "next": place})
    assert answer.status_code == 303 and answer.location == place


def test_a_link_of_a_page_that_one_may_not_open_has_ways_out(app, viewer):
    answer = viewer.get("/admin/jobs/people/", headers=EN)
    assert answer.status_code == 403 and 'href="/admin/jobs/"' in answer.text
