"""One's own page, the second page of signing in, and invitations, as a browser and as a script use them."""

from __future__ import annotations

import html
import logging
import re

import pyotp
import pytest

from app.controllers import rights
from app.extensions import db
from app.models import Audit, User, UserSession
from app.services.people import accounts, second_factor, sign_in as signing_in
from app.support.clock import now_ms
from tests.conftest import PASSWORD, sign_in, token_in
from tests.controllers.test_gate import JSON

EN = {"Accept-Language": "en"}
ADMIN = "admin@example.org"


def post(client, path: str, headers=JSON, **data):
    return client.post(path, data={"csrf_token": client.csrf} | data, headers=headers)


def turn_on(client) -> tuple[str, list[str], str]:
    """Secret, recovery codes, and the pages that had them, of the person of a client."""
    post(client, "/account/second-factor")
    page = client.get("/account/second-factor").text
    secret = re.search(r'id="totp-secret">([A-Z2-7 ]+)<', page)[1].replace(" ", "")
    shown = post(client, "/account/second-factor/on", headers={}, own_password=PASSWORD, passcode=pyotp.TOTP(secret).now())
    codes = re.search(r'id="recovery-codes">([^<]+)<', shown.text)[1].split()
    return secret, codes, page + shown.text


def code_of(secret: str, steps: int = 1) -> str:
    """The code of the next step, because the present one has been used."""
    return pyotp.TOTP(secret).at(now_ms() // 1000 + 30 * steps)


def first_page(app, back: str = "", email: str = ADMIN):
    client = app.test_client()
    client.set_cookie("lang", "en")
    token = token_in(client.get("/login").text)
    answer = client.post("/login", data={"email": email, "password": PASSWORD, "csrf_token": token, "next": back})
    client.csrf = token
    return client, answer


def test_the_page_has_its_sections_and_is_of_nobody_without_a_right(admin, user_client, client):
    page = admin.get("/account/", headers=EN).text
    for heading in ("Sessions", "Password", "Language", "Second factor"):
        assert f">{heading}</h2>" in page
    assert 'href="/account/"' in admin.get("/admin/jobs/").text
    assert admin.get("/account/", headers=JSON).json == {"email": ADMIN, "role": "super-admin", "language": None}
    assert user_client.get("/account/").status_code == 403 and client.get("/account/").location == "/login?next=/account/"


def test_own_sessions_end_by_ones_own_hand_only(app, admin):
    with app.app_context():
        accounts.create_user("eve@example.org", "viewer", PASSWORD)
    other, eve = sign_in(app, ADMIN), sign_in(app, "eve@example.org")
    page = admin.get("/account/", headers=EN).text
    assert page.count("this session") == 1 and page.count("End session") == 1
    ends = re.findall(r'action="(/account/sessions/\d+/end)"', page)
    assert len(ends) == 1 and post(eve, ends[0]).status_code == 404
    assert post(admin, ends[0]).json["ok"] and other.get("/account/", headers=JSON).status_code == 401
    assert post(admin, ends[0]).status_code == 404
    other = sign_in(app, ADMIN)
    assert "Sign out everywhere else?" in post(admin, "/account/sessions/others", headers=EN, ask="1").text
    assert post(admin, "/account/sessions/others").json == {"ok": True, "count": 1}
    assert other.get("/account/", headers=JSON).status_code == 401 and eve.get("/account/", headers=JSON).status_code == 200
    answer = post(admin, "/account/sessions/all", headers={})
    assert answer.location == "/login" and admin.get("/account/", headers=JSON).status_code == 401


def test_a_form_that_is_sent_twice_makes_one_token(admin):
    page = admin.get("/account/").text
    newest = re.search(r'name="newest" value="(\d+)"', page)[1]
    form = {"name": "kbd", "scope": "read", "days": "30", "newest": newest, "own_password": PASSWORD, "csrf_token": admin.csrf}
    first, again = (admin.post("/account/tokens", data=form) for _time in range(2))
    assert (first.status_code, again.status_code) == (200, 400) and "made-token" in first.text and "made-token" not in again.text
    assert again.text.count(">kbd<") == 1 and re.search(r'name="newest" value="(\d+)"', again.text)[1] != newest


def test_password_and_language_are_changed_with_sentences_beside_the_fields(app, admin):
    other = sign_in(app, ADMIN)
    for sent, field in (({"password": "wrong", "new_password": "four other good words"}, "password"), ({"password": PASSWORD, "new_password": "short"}, "new_password"),
                        ({"password": PASSWORD, "new_password": "four other good words", "new_password_again": "x"}, "new_password_again"), ({}, "password")):
        assert field in post(admin, "/account/password", **sent).json["fields"]
        page = post(admin, "/account/password", headers=EN, **sent)
        assert page.status_code == 400 and f'id="e-{field}"' in page.text and "four other" not in page.text
        with app.app_context():
            db.session.query(signing_in.LoginAttempt).delete()
            db.session.commit()
    assert post(admin, "/account/password", password=PASSWORD, new_password="four other good words").json["ok"]
    assert admin.get("/account/", headers=JSON).status_code == 200 and other.get("/account/", headers=JSON).status_code == 401
    assert sign_in(app, ADMIN, "four other good words")
    answer = post(admin, "/account/language", headers={}, language="en")
    assert answer.status_code == 303 and admin.get_cookie("lang").value == "en"
    assert post(admin, "/account/language", language="fr").status_code == 400
    assert "Second factor" in sign_in(app, ADMIN, "four other good words").get("/account/").text, "another browser follows"
    with app.app_context():
        assert db.session.scalar(db.select(User.language)) == "en"


def test_a_new_password_revokes_the_tokens_unless_that_is_unticked(app, admin):
    def token() -> str:
        return post(admin, "/account/tokens", name="x", scope="read", days="365", own_password=words[0]).json["token"]

    def works(text: str) -> bool:
        return app.test_client().get("/api/jobs", headers={"Authorization": f"Bearer {text}"}).status_code == 200

    def change(**sent):
        answer = post(admin, "/account/password", headers=EN, password=words[0], new_password=words[1], **sent)
        words.reverse()
        return admin.get(answer.location, headers=EN).text

    words = [PASSWORD, "four other good words"]
    page = admin.get("/account/", headers=EN).text
    assert re.search(r'type="checkbox" name="revoke_tokens" value="1" checked', page) and "Revoke my API tokens too" in page
    kept = token()
    assert "API token revoked" not in change(revoke_tokens="0") and works(kept), "unticked"
    assert "1 API token revoked" in change(revoke_tokens=["0", "1"]) and not works(kept), "ticked, as a browser sends it"
    stolen = token()
    assert works(stolen) and "1 API token revoked" in change() and not works(stolen), "a script that does not say"
    wrong = post(admin, "/account/password", headers=EN, password=words[0], new_password="x", revoke_tokens="0").text
    assert 'name="revoke_tokens" value="1">' in wrong, "what was chosen stays"
    assert "API tokens revoked: 1" in admin.get("/admin/jobs/log", headers=EN).text


def test_with_a_second_factor_a_token_takes_a_code_too(app, admin):
    secret, codes, _pages = turn_on(admin)
    assert 'id="t-code"' in admin.get("/account/", headers=EN).text
    sent = {"name": "x", "scope": "read", "days": "7", "own_password": PASSWORD}
    for code in ("", "000000"):
        assert post(admin, "/account/tokens", **sent, passcode=code).json["fields"].keys() == {"passcode"}
    page = post(admin, "/account/tokens", headers=EN, **sent, passcode="000000").text
    assert 'id="e-t-code"' in page and "000000" not in page
    code = code_of(secret)
    assert post(admin, "/account/tokens", **sent, passcode=code).json["token"]
    assert post(admin, "/account/tokens", **sent, passcode=code).status_code == 400, "once"
    assert post(admin, "/account/tokens", **sent, passcode=codes[3]).json["token"]


def test_before_the_code_there_is_no_right_on_any_address(app, admin):
    secret, _codes, _pages = turn_on(admin)
    client, answer = first_page(app, "/admin/jobs/workers?x=1")
    assert answer.location.startswith("/login/code?next=") and client.get_cookie("code").http_only
    with client.session_transaction() as session:
        assert "_user_id" not in session
    for rule in app.url_map.iter_rules():
        if rule.endpoint in rights.RIGHTS and "GET" in rule.methods and not rule.arguments:
            assert client.get(rule.rule, headers=JSON).status_code == 401, rule
    page = client.get(answer.location).text
    back = html.unescape(re.search(r'name="next" value="([^"]*)"', page)[1])
    wrong = client.post("/login/code", data={"csrf_token": client.csrf, "code": "000000", "next": back})
    assert wrong.status_code == 401 and 'id="e-code"' in wrong.text and 'value="000000"' not in wrong.text
    with client.session_transaction() as session:
        session["csrf_token"], before = "another browser", session["csrf_token"]
    assert client.get("/login/code").location == "/login"
    with client.session_transaction() as session:
        session["csrf_token"] = before
    answer = client.post("/login/code", data={"csrf_token": client.csrf, "code": code_of(secret), "next": back})
    assert answer.status_code == 303 and answer.location == "/admin/jobs/workers?x=1"
    assert client.get("/admin/jobs/").status_code == 200 and client.get_cookie("code") is None and client.get_cookie("device")
    assert client.get("/login/code").status_code == 303


def test_a_kept_form_and_a_state_that_is_over(app, admin, monkeypatch):
    secret, codes, _pages = turn_on(admin)
    admin.set_cookie("lang", "en")
    with app.app_context():
        db.session.query(UserSession).delete()
        db.session.commit()
    post(admin, "/admin/jobs/queues/low/pause", headers={}, minutes="45", reason="price list")
    page = admin.get("/login").text
    sent = {"email": ADMIN, "password": PASSWORD, "csrf_token": token_in(page), "next": "/form-again"}
    assert admin.post("/login", data=sent).location.startswith("/login/code")
    answer = admin.post("/login/code", data={"csrf_token": token_in(page), "code": codes[0]})
    assert answer.location == "/form-again" and "price list" in admin.get("/form-again").text
    client, _answer = first_page(app)
    later = now_ms() + signing_in.STATE_MS
    with monkeypatch.context() as patch:
        patch.setattr(signing_in, "now_ms", lambda: later)
        answer = client.post("/login/code", data={"csrf_token": client.csrf, "code": code_of(secret), "next": "/admin/jobs/log"})
    assert answer.location == "/login?next=/admin/jobs/log" and "is over" in client.get(answer.location).text


def test_scripts_send_the_code_with_the_password(app, admin):
    secret, codes, _pages = turn_on(admin)
    client = app.test_client()
    sent = {"email": ADMIN, "password": PASSWORD, "csrf_token": token_in(client.get("/login").text)}
    wrong = client.post("/login", data=sent | {"password": "wrong"}, headers=JSON)
    plain = client.post("/login", data=sent, headers=JSON)
    bad = client.post("/login", data=sent | {"code": "000000"}, headers=JSON)
    assert [a.status_code for a in (wrong, plain, bad)] == [401] * 3
    assert set(wrong.json) == {"error"} and plain.json["second_factor"] is bad.json["second_factor"] is True and plain.json["error"] != bad.json["error"]
    unknown = client.post("/login", data=sent | {"email": "nobody@example.org"}, headers=JSON)
    assert unknown.json == wrong.json and "code" not in "".join(h for h in wrong.headers.getlist("Set-Cookie"))
    assert client.post("/login", data=sent | {"code": code_of(secret)}, headers=JSON).json == {"ok": True, "count": 1}
    assert client.get("/account/", headers=JSON).status_code == 200


def test_set_up_shows_secrets_once_and_puts_them_nowhere_else(app, admin, caplog):
    caplog.set_level(logging.DEBUG)
    secret, codes, pages = turn_on(admin)
    assert "<svg" in pages and 'style="' not in re.search(r'class="qr".*?</svg>', pages, re.S)[0]
    assert admin.get("/account/second-factor").location == "/account/" and len(codes) == 10
    assert admin.get("/account/second-factor").headers["Cache-Control"] == "no-store"
    after = admin.get("/account/").text + admin.get("/admin/jobs/log").text + admin.get("/admin/jobs/people/", headers=JSON).text + caplog.text
    with app.app_context():
        stored = str([(r.action, r.subject, r.result) for r in db.session.scalars(db.select(Audit))]) + str([vars(u) for u in db.session.scalars(db.select(User))])
    for hidden in (secret, *codes):
        assert hidden not in after + stored
    assert post(admin, "/account/second-factor").status_code == 409
    assert post(admin, "/account/second-factor/off", own_password=PASSWORD, passcode="000000").json["fields"].keys() == {"passcode"}
    page = post(admin, "/account/second-factor/codes", headers=EN, own_password="x", passcode=codes[0])
    assert page.status_code == 400 and 'id="e-own_password"' in page.text and codes[0] not in page.text
    assert len(post(admin, "/account/second-factor/codes", own_password=PASSWORD, passcode=codes[0]).json["recovery_codes"]) == 10
    assert post(admin, "/account/second-factor/off", own_password=PASSWORD, passcode=code_of(secret)).json["ok"]
    assert first_page(app)[1].location == "/"


def test_people_shows_second_factors_and_resets_those_of_others(app, admin):
    with app.app_context():
        accounts.create_user("eve@example.org", "operator", PASSWORD)
    eve = sign_in(app, "eve@example.org")
    turn_on(eve)
    page = admin.get("/admin/jobs/people/", headers=EN).text
    reset = re.findall(r'action="(/admin/jobs/people/\d+/second-factor/reset)"', page)
    assert len(reset) == 1 and "second factor</span>" in page
    assert post(eve, reset[0]).status_code == 403 and "Reset" in post(admin, reset[0], headers=EN, ask="1").text
    assert post(admin, reset[0]).json["ok"] and eve.get("/account/", headers=JSON).status_code == 401
    assert first_page(app, email="eve@example.org")[1].location == "/" and post(admin, reset[0]).status_code == 409
    turn_on(admin)
    own = re.sub(r"\d+", str(next(p["id"] for p in admin.get("/admin/jobs/people/", headers=JSON).json["people"] if p["email"] == ADMIN)), reset[0])
    assert post(admin, own).status_code == 409
    with app.app_context():
        assert second_factor.is_on(db.session.scalar(db.select(User.id).where(User.email == ADMIN)))
    again = app.test_cli_runner().invoke(args=["users", "reset-second-factor", ADMIN])
    assert again.exit_code == 0 and first_page(app)[1].location == "/"


@pytest.fixture
def link(admin):
    """The link of an invitation of a viewer."""
    return post(admin, "/admin/jobs/people/invitations", email="new@example.org", role="viewer", sees_data="1").json["link"]


def test_a_link_opens_a_form_for_the_password_and_signs_in(app, admin, link, caplog):
    caplog.set_level(logging.DEBUG)
    token, client = link.partition("#")[2], app.test_client()
    client.set_cookie("lang", "en")
    page = client.get("/invitation")
    assert link.startswith("http") and "?" not in link and page.status_code == 200 and "invitation.js" in page.text
    client.csrf = token_in(page.text)
    page = post(client, "/invitation", headers=EN, invitation=link).text
    assert "admin@example.org invites you as viewer" in page and "new@example.org" in page
    for sent, field in (({"password": "short"}, "password"), ({"password": PASSWORD, "password_again": "x"}, "password_again"), ({}, "password")):
        answer = post(client, "/invitation/accept", headers=EN, invitation=link, **sent)
        assert answer.status_code == 400 and f'id="e-{field}"' in answer.text and f'value="{PASSWORD}"' not in answer.text
        assert field in post(client, "/invitation/accept", invitation=link, **sent).json["fields"]
    answer = post(client, "/invitation/accept", headers={}, invitation=link, password=PASSWORD, password_again=PASSWORD)
    assert answer.status_code == 303 and client.get("/account/", headers=JSON).json["role"] == "viewer"
    stranger = app.test_client()
    stranger.csrf = token_in(stranger.get("/invitation").text)
    gone = post(stranger, "/invitation", headers=EN, invitation=token)
    assert gone.status_code == 409 and "opens nothing" in gone.text and token not in gone.text
    assert post(stranger, "/invitation/accept", invitation=token, password=PASSWORD).status_code == 409
    assert token not in admin.get("/admin/jobs/people/").text + admin.get("/admin/jobs/log").text + caplog.text


def test_who_is_signed_in_is_asked_before_an_invitation_takes_the_browser(app, admin, link):
    asked = post(admin, "/invitation", headers=EN, invitation=link)
    assert "signed in as admin@example.org" in asked.text and 'name="sure" value="1"' in asked.text and 'name="password"' not in asked.text
    asked = post(admin, "/invitation/accept", headers=EN, invitation=link, password=PASSWORD)
    assert asked.status_code == 200 and "signed in as admin@example.org" in asked.text
    assert admin.get("/account/", headers=JSON).json["email"] == ADMIN
    assert 'name="password"' in post(admin, "/invitation", headers=EN, invitation=link, sure="1").text
    assert post(admin, "/invitation/accept", headers={}, invitation=link, password=PASSWORD, sure="1").status_code == 303
    assert admin.get("/account/", headers=JSON).json["email"] == "new@example.org"
    with app.app_context():
        assert [row.user.email for row in db.session.scalars(db.select(UserSession))] == ["new@example.org"], "the old session has ended"


def test_the_page_of_people_invites_renews_and_withdraws(app, admin):
    for sent, field in (({"email": "x", "role": "viewer"}, "email"), ({"email": ADMIN, "role": "viewer"}, "email"), ({"email": "a@example.org", "role": "x"}, "role")):
        page = post(admin, "/admin/jobs/people/invitations", headers=EN, **sent)
        assert page.status_code == 400 and f'id="e-{field}"' in page.text
    sent = post(admin, "/admin/jobs/people/invitations", headers=EN, email="new@example.org", role="operator")
    assert sent.status_code == 303 and sent.headers["Location"] == "/admin/jobs/people/", "a reload of the page sends no form"
    with admin.session_transaction() as session:
        sealed = session["invited"]
    assert "invitation-link" not in admin.get("/admin/jobs/people/", headers=EN | {"Accept": "application/json"}).text
    admin.head("/admin/jobs/people/")  # shows nothing, so it takes nothing
    shown = admin.get("/admin/jobs/people/", headers=EN).text
    first = re.search(r'id="invitation-link">([^<]+)<', shown)[1]
    page = admin.get("/admin/jobs/people/", headers=EN).text
    assert "new@example.org" in page and (token := first.partition("#")[2]) not in page + sent.text + str(sent.headers) + sealed
    with admin.session_transaction() as session:
        session["invited"] = sealed[:-9]
    assert token not in (page := admin.get("/admin/jobs/people/", headers=EN).text) and admin.get("/admin/jobs/people/").status_code == 200
    again, withdraw = (re.search(rf'action="(/admin/jobs/people/invitations/\d+/{what})"', page)[1] for what in ("again", "withdraw"))
    newer = post(admin, again).json
    assert newer["link"] != first and newer["id"] and newer["expires_at"] and post(admin, again).status_code == 404
    run = app.test_cli_runner().invoke
    assert "new@example.org\toperator\tuntil 20" in run(args=["users", "invitations"]).output
    assert "Withdraw" in post(admin, withdraw, headers=EN, ask="1").text
    assert run(args=["users", "uninvite", "new@example.org"]).exit_code == 0 and run(args=["users", "uninvite", "new@example.org"]).exit_code == 3
    made = run(args=["users", "invite", "cli@example.org", "--role", "viewer", "--sees-data"]).output.splitlines()
    assert made[-1].startswith("http") and len(made[-1].partition("#")[2]) == 43
