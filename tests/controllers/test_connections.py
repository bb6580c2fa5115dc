"""The page of connections: what is shown and never shown, its forms for people and scripts."""

from __future__ import annotations

import pytest

from app.extensions import db
from app.models import Audit, Connection, SyncLink
from app.services.content import connections
from app.support.vault import Vault
from tests.controllers.test_gate import JSON

URL, SECRET, EN = "/admin/jobs/connections/", "abcd EFGH canary 4711", {"Accept-Language": "en"}
BLOG = {"service": "wordpress", "tenant": "acme", "url": "https://blog.example/wp/", "user": "ada", "secret": SECRET}


def post(client, path: str = "set", headers=JSON, **data):
    return client.post(URL + path, data={"csrf_token": client.csrf} | data, headers=headers)


@pytest.fixture
def blog(admin) -> int:
    return post(admin, **BLOG).json["id"]


def test_a_connection_is_made_and_its_secret_never_shown(admin, app, blog):
    found = admin.get(URL, headers=JSON).json["connections"]
    assert [(c["tenant_id"], c["service"], c["url"], c["user_name"], c["test_ok"]) for c in found] == [("acme", "wordpress", "https://blog.example/wp", "ada", None)]
    pages = [admin.get(URL, headers=EN).text, admin.get(f"{URL}set?service=wordpress&tenant=acme", headers=EN).text, admin.get("/admin/jobs/log").text]
    assert "Not tested" in pages[0] and 'value="ada"' in pages[1] and "set connection" in admin.get("/admin/jobs/log", headers=EN).text
    with app.app_context():
        rows = repr(db.session.execute(db.select(*Connection.__table__.c)).all()) + repr(db.session.execute(db.select(*Audit.__table__.c)).all())
        account = connections.account(connections_tx(), app.extensions["settings"], "acme", "wordpress")
    assert account.secret == SECRET
    assert not any("4711" in text or "secret\":" in text for text in (*pages, rows, admin.get(URL, headers=JSON).text))


def connections_tx():
    from app.ledger.dialect import SessionExecutor

    return SessionExecutor(db.session)


def test_a_form_with_errors_says_each_beside_its_field_and_repeats_no_secret(admin):
    wrong = BLOG | {"url": "http://blog.example", "user": "", "secret": "short", "tenant": "a b"}
    answer = post(admin, **wrong)
    assert answer.status_code == 400 and set(answer.json["fields"]) == {"tenant", "url", "user", "secret"}
    page = post(admin, headers=EN, **wrong | {"secret": "x" * 30 + "\u00e8"})
    assert page.status_code == 400 and page.text.count('class="wrong"') == 4 and "x" * 30 not in page.text and 'value="http://blog.example"' in page.text
    assert 'type="password"' in page.text and 'autocomplete="off"' in page.text
    for sent in ({"service": "nothing"}, {}, {"service": "\x00"}, BLOG | {"url": "https://x.example/\x00"}, BLOG | {"tenant": "x" * 65}, BLOG | {"option_rest": "x y"}):
        assert post(admin, **sent).status_code in (400, 404)
    assert admin.get(URL, headers=JSON).json == {"connections": []}
    assert admin.get(f"{URL}set?service=nothing").status_code == 404 and admin.get(f"{URL}set").status_code == 404


def test_another_address_needs_the_secret_again(admin, app, blog):
    answer = post(admin, **BLOG | {"url": "https://evil.example", "secret": ""})
    assert answer.status_code == 400 and list(answer.json["fields"]) == ["secret"]
    assert post(admin, **BLOG | {"secret": "", "option_rest": "api/"}).json["id"] == blog
    assert admin.get(URL, headers=JSON).json["connections"][0]["options"] == {"rest": "api/"}
    assert post(admin, **BLOG | {"url": "https://other.example", "secret": "another secret"}).status_code == 200


def test_a_person_agrees_before_the_links_of_another_site_are_forgotten(admin, app, blog):
    with app.app_context():
        for number in (1, 2):
            db.session.add(SyncLink(content_id=number, tenant_id="acme", reference="x", service="wordpress", state="synced", remote_id="7", uuid="u", changed_ms=1))
        db.session.commit()
    form = admin.get(f"{URL}set?service=wordpress&tenant=acme", headers=EN).text
    assert "2 contents live at the present site" in form and 'name="forget"' in form
    new = BLOG | {"url": "https://new.example", "secret": "another secret"}
    answer = post(admin, **new)
    assert answer.status_code == 400 and list(answer.json["fields"]) == ["forget"] and "https://blog.example/wp: 2." in answer.json["error"]
    page = post(admin, headers=EN, **new)
    assert page.status_code == 400 and "Contents that live at https://blog.example/wp: 2." in page.text and "another secret" not in page.text
    assert post(admin, **new, forget="1").json == {"ok": True, "count": 1, "id": blog, "forgotten": 2}
    assert 'name="forget"' not in admin.get(f"{URL}set?service=wordpress&tenant=acme").text


def test_a_secret_without_its_key_is_shown_as_unreadable(admin, app, blog):
    with app.app_context():
        db.session.execute(db.update(Connection).values(tested_ms=1, test_ok=1, test_text="fine"))
        db.session.commit()
    assert "Works" in admin.get(URL, headers=EN).text
    Vault(app.extensions["settings"].data_dir).path.unlink()
    page = admin.get(URL, headers=EN).text
    assert "Unreadable" in page and "enter it again" in page and "Works" not in page
    assert admin.get(URL, headers=JSON).json["connections"][0]["readable"] is False


def test_a_person_is_asked_before_a_connection_is_removed(admin, blog):
    page = admin.post(f"{URL}{blog}/remove", data={"csrf_token": admin.csrf, "ask": "1"}, headers=EN)
    assert page.status_code == 200 and "Remove this connection?" in page.text
    answer = post(admin, f"{blog}/remove", headers=EN)
    assert answer.status_code == 303 and answer.location.endswith("/admin/jobs/connections/")
    assert post(admin, f"{blog}/remove").status_code == 404 and post(admin, f"{blog}/test").status_code == 404 and post(admin, f"{2**70}/try").status_code == 404


def test_a_test_without_a_connection_to_the_network_says_why(admin, app):
    number = post(admin, service="openai", tenant="acme", url="https://127.0.0.1:9/v1", secret="sk-canary-4711").json["id"]
    answer = post(admin, f"{number}/test", headers=JSON | EN)
    assert answer.status_code == 409 and "internal network" in answer.json["error"]
    page = post(admin, f"{number}/test", headers=EN)
    assert page.status_code == 303
    shown = admin.get(URL, headers=EN).text
    assert shown.count("internal network") >= 2 and "Does not work" in shown
    assert "rete interna" in admin.get(URL, headers={"Accept-Language": "it"}).text


def test_a_held_connection_can_be_tried_now(admin, app, blog):
    assert post(admin, f"{blog}/try").status_code == 409
    with app.app_context():
        for _ in range(5):
            connections.note_failure(connections_tx(), blog, "down", connections_tx().now())
        db.session.commit()
    page = admin.get(URL, headers=EN).text
    assert "Held" in page and "5 failures in a row" in page and "Try now" in page
    assert post(admin, f"{blog}/try").json["ok"] and "Try now" not in admin.get(URL, headers=EN).text


def test_a_key_file_that_cannot_be_used_is_a_sentence(admin, app, blog):
    path = Vault(app.extensions["settings"].data_dir).path
    path.write_text("nonsense")
    answer = post(admin, f"{blog}/test", headers=JSON | EN)
    assert answer.status_code == 409 and "enter it again" in answer.json["error"]
    answer = post(admin, **BLOG)
    assert answer.status_code == 409 and "connections-key" in answer.json["error"]


def test_only_super_admins_get_there(user_client, app):
    assert user_client.get(URL).status_code == 403 and post(user_client, **BLOG).status_code == 403
    with app.app_context():
        assert db.session.scalar(db.select(db.func.count()).select_from(Connection)) == 0
    assert app.test_client().get(URL).status_code in (302, 303)
