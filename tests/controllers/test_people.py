"""The page of people, browsers that have signed in before, and types that are not started from the web."""

from __future__ import annotations

import json
from collections import namedtuple

import pytest

from app import registry
from app.extensions import db
from app.jobs import job, recurring
from app.models import Audit, FailedJob, Job, User, UserSession
from app.services.jobs.dispatch import dispatch
from app.services.people import accounts
from app.support import disk
from tests.conftest import PASSWORD, fail_next, sign_in, token_in
from tests.controllers.test_gate import JSON


@recurring("0 4 1 1 *", name="hidden-yearly")
@job("TestHidden", tries=1, web=False)
def hidden(text: str = "declared") -> None:
    return None


@pytest.fixture
def second(app):
    with app.app_context():
        accounts.create_user("second@example.org", "super-admin", PASSWORD)
    return sign_in(app, "second@example.org")


def ids(app) -> dict[str, int]:
    with app.app_context():
        return {u.email: u.id for u in db.session.scalars(db.select(User))}


def post(client, path: str, **data):
    return client.post(f"/admin/jobs/people/{path}", data={"csrf_token": client.csrf} | data, headers=JSON)


def test_people_are_listed_with_their_sessions(admin, second, app):
    page = admin.get("/admin/jobs/people").text
    assert "second@example.org" in page and "Werkzeug" in page and page.count("<table") == 2
    found = admin.get("/admin/jobs/people", headers=JSON).json["people"]
    assert [p["email"] for p in found] == ["admin@example.org", "second@example.org"]
    assert [s["here"] for p in found for s in p["sessions"]] == [True, False]
    assert "/admin/jobs/people" in admin.get("/admin/jobs").text
    assert "password" not in json.dumps(found) and "token" not in json.dumps(found)


def test_sign_out_everywhere_of_one_session_and_of_an_account(admin, second, app):
    with app.app_context():
        session = db.session.scalar(db.select(UserSession.id).join(User).where(User.email == "second@example.org"))
    assert post(admin, f"sessions/{session}/end").json == {"ok": True, "count": 1}
    assert post(admin, f"sessions/{session}/end").status_code == 404
    assert second.get("/admin/jobs/realtime-stats").status_code == 401
    again = sign_in(app, "second@example.org")
    assert post(admin, f"{ids(app)['second@example.org']}/sign_out").json["ok"]
    assert again.get("/admin/jobs/realtime-stats").status_code == 401
    assert admin.get("/admin/jobs/realtime-stats").status_code == 200


def test_roles_and_accounts_change_with_a_question_and_in_the_log(admin, second, app):
    number = ids(app)["second@example.org"]
    asked = admin.post(f"/admin/jobs/people/{number}/disable", data={"csrf_token": admin.csrf, "ask": "1"})
    assert asked.status_code == 200 and "second@example.org" in asked.text and second.get("/admin/jobs").status_code == 200
    assert post(admin, f"{number}/disable").json["ok"] and second.get("/admin/jobs").status_code == 302
    assert post(admin, f"{number}/enable").json["ok"]
    assert post(admin, f"{number}/role", role="user").json["ok"]
    assert post(admin, f"{number}/role", role="emperor").status_code == 400
    assert post(admin, f"{number}/unlock").json["ok"] and post(admin, "999/unlock").status_code == 404
    with app.app_context():
        actions = [r.action for r in db.session.scalars(db.select(Audit).where(Audit.actor == "admin@example.org").order_by(Audit.id))]
    assert actions == ["sign in", "disable account", "enable account", "change role", "unlock account"]
    assert "accesso" in admin.get("/admin/jobs/log").text.lower() or "sign in" in admin.get("/admin/jobs/log").text


def test_nobody_disables_or_demotes_himself_by_accident_nor_the_last_one(admin, second, app):
    mine = ids(app)["admin@example.org"]
    for path, data in (("disable", {}), ("role", {"role": "user"})):
        assert post(admin, f"{mine}/{path}", **data).status_code == 409
    assert post(second, f"{ids(app)['second@example.org']}/disable", sure="1").json["ok"]
    last = post(admin, f"{mine}/role", role="user", sure="1")
    assert last.status_code == 409 and admin.get("/admin/jobs/realtime-stats").status_code == 200


def test_a_viewer_who_may_see_data_is_made_and_unmade_with_a_question(admin, second, app):
    number = ids(app)["second@example.org"]
    page = admin.get("/admin/jobs/people").text
    assert page.count('<select class="input small" name="role"') == 2 and page.count('name="sees_data"') == 3
    form = {"csrf_token": admin.csrf, "ask": "1", "role": "viewer", "sees_data": "1"}
    asked = admin.post(f"/admin/jobs/people/{number}/role", data=form).text
    assert 'name="sees_data" value="1"' in asked and 'name="role" value="viewer"' in asked
    for sent, sees in (({"role": "viewer", "sees_data": "1"}, 1), ({"role": "viewer"}, 0), ({"role": "operator", "sees_data": "1"}, 0)):
        assert post(admin, f"{number}/role", **sent).json["ok"]
        with app.app_context():
            user = db.session.get(User, number)
            assert (user.role, user.sees_data) == (sent["role"], sees)
            said = db.session.scalar(db.select(Audit.result).where(Audit.action == "change role").order_by(Audit.id.desc()))
            assert ("who sees data" in said.split(" → ")[1]) == bool(sees)
    assert second.get("/admin/jobs").status_code == 302, "its sessions have ended"


def test_others_see_no_people(user_client):
    assert user_client.get("/admin/jobs/people").status_code == 403


def test_a_browser_that_has_signed_in_keeps_a_way_in_while_strangers_guess(app, admin):
    address = {"REMOTE_ADDR": "192.0.2.1"}
    home, stranger = app.test_client(), app.test_client()

    def attempt(client, password: str) -> int:
        token = token_in(client.get("/login", environ_base=address).text)
        sent = {"email": "admin@example.org", "password": password, "csrf_token": token}
        return client.post("/login", data=sent, environ_base=address).status_code

    assert attempt(home, PASSWORD) == 303
    cookie = home.get_cookie("device")
    assert cookie.http_only and cookie.same_site == "Lax" and cookie.max_age > 300 * 86_400
    home.post("/logout", data={"csrf_token": token_in(home.get("/logout", environ_base=address).text)}, environ_base=address)
    for n in range(6):
        attempt(stranger, f"guess {n}")
    assert attempt(stranger, PASSWORD) == 401
    assert attempt(home, PASSWORD) == 303


# ---- web=False -----------------------------------------------------------------------------------


def count(app) -> int:
    with app.app_context():
        return db.session.scalar(db.select(db.func.count()).select_from(Job))


@pytest.mark.parametrize("headers", [{}, JSON])
def test_a_type_that_is_not_for_the_web_is_started_and_changed_from_no_page(admin, app, headers):
    with app.app_context():
        uuid = dispatch(registry.find("TestHidden"), {"text": "as the code says"}, delay=600)
        other = dispatch(registry.find("TestEcho"), {"text": "a"}, delay=600)
        db.session.commit()
    sent = {"csrf_token": admin.csrf, "type": "TestHidden", "text": "mine"}
    answers = [
        admin.get("/admin/jobs/new?type=TestHidden", headers=headers), admin.get(f"/admin/jobs/new?like={uuid}", headers=headers),
        admin.post("/admin/jobs/new/", data=sent, headers=headers), admin.post("/admin/jobs/new/", data=sent | {"like": uuid}, headers=headers),
        admin.post("/admin/jobs/new/", data=sent | {"like": other}, headers=headers), admin.get(f"/admin/jobs/new/edit/{uuid}", headers=headers),
        admin.post(f"/admin/jobs/new/edit/{uuid}", data=sent, headers=headers),
        admin.post("/admin/jobs/recurring/hidden-yearly/run", data={"csrf_token": admin.csrf}, headers=headers),
    ]
    assert [a.status_code for a in answers] == [403] * len(answers)
    for answer in answers:
        sentence = answer.json["error"] if headers else answer.text
        assert "TestHidden" in sentence and "web=False" in sentence
    assert count(app) == 2
    with app.app_context():
        assert json.loads(db.session.scalar(db.select(Job.payload).where(Job.uuid == uuid)))["args"] == {"text": "as the code says"}
    page = admin.get(f"/admin/jobs/job/{uuid}").text
    assert "/new/edit/" not in page and "new?like=" not in page and "new/?like=" not in page
    assert "hidden-yearly/run" not in admin.get("/admin/jobs/recurring").text
    assert "TestHidden" not in json.dumps(admin.get("/admin/jobs/new", headers=JSON).json)
    refused = admin.post("/api/jobs", json={"type": "TestHidden", "args": {"text": "mine"}}, headers=headers | {"X-CSRFToken": admin.csrf})
    assert refused.status_code == 403 and "web=False" in refused.json["error"] and count(app) == 2
    assert not any("TestHidden" in admin.get(path).text for path in ("/api/types", "/api/openapi.json"))


def test_what_exists_of_such_a_type_is_retried_and_deleted(admin, app):
    with app.app_context():
        uuid = registry.find("TestHidden").dispatch(text="x")
        db.session.commit()
    fail_next(app)
    assert admin.post(f"/admin/jobs/delete/{uuid}", data={"csrf_token": admin.csrf, "_method": "DELETE"}).status_code == 303
    assert admin.post(f"/admin/jobs/act/{uuid}/restore", data={"csrf_token": admin.csrf}, headers=JSON).json["ok"]
    assert admin.post(f"/admin/jobs/retry/{uuid}", data={"csrf_token": admin.csrf}, headers=JSON).json["ok"]
    with app.app_context():
        assert db.session.scalar(db.select(db.func.count()).select_from(FailedJob)) == 0


def test_the_arguments_of_one_type_are_not_given_to_another(admin, app):
    with app.app_context():
        uuid = registry.find("TestEcho").with_options(delay=600).dispatch(text="of the echo")
        db.session.commit()
    answer = admin.post("/admin/jobs/new/", data={"csrf_token": admin.csrf, "type": "TestNoop", "like": uuid}, headers=JSON)
    assert answer.status_code in (200, 400) and "of the echo" not in answer.text


# ---- little room ---------------------------------------------------------------------------------


def test_a_low_disk_is_507_wherever_work_begins_and_people_still_sign_in(app, admin, monkeypatch):
    import io

    with app.app_context():
        uuid = registry.find("TestForm").with_options(delay=600).dispatch(text="a", number=1, kind="a")
        db.session.commit()
    low = namedtuple("low", "f_bavail f_blocks f_frsize")(3, 100, 4096)
    monkeypatch.setattr(disk.os, "statvfs", lambda folder: low)
    form = {"csrf_token": admin.csrf, "type": "TestForm", "text": "a", "number": "1", "kind": "a"}
    for headers in ({}, JSON):
        for path, data in (("new/", form), ("new/", form | {"file": (io.BytesIO(b"x"), "x.csv")}), (f"new/edit/{uuid}", form | {"file": (io.BytesIO(b"x"), "x.csv")}),
                           ("recurring/yearly/run", form)):
            answer = admin.post(f"/admin/jobs/{path}", data=data, headers=headers)
            assert answer.status_code == 507, (path, answer.status_code)
        for path in ("list.csv", "costs/costs.csv"):
            assert admin.get(f"/admin/jobs/{path}", headers=headers).status_code == 507
    assert admin.post(f"/admin/jobs/cancel/{uuid}", data={"csrf_token": admin.csrf}, headers=JSON).json["ok"], "what makes room goes on"
    assert sign_in(app, "admin@example.org").get("/admin/jobs").status_code == 200


def test_a_database_that_cannot_grow_is_507(app, admin):
    """SQLite's own limit of pages stands for a full disk: the same error code."""
    from sqlalchemy import event

    with app.app_context():
        @event.listens_for(db.engine, "begin")
        def limit(connection) -> None:
            connection.exec_driver_sql("PRAGMA max_page_count=1")

    sent = {"csrf_token": admin.csrf, "type": "TestEcho", "text": "x" * 200_000}
    answer = admin.post("/admin/jobs/new/", data=sent, headers=JSON)
    assert answer.status_code == 507 and answer.json["error"]
