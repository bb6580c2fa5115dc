"""What cannot be done now: one answer for every route and every command."""

from __future__ import annotations

import html

import pytest
from flask import url_for
from sqlalchemy import text as text_

from app import registry
from app.controllers import known_parts
from app.controllers.access import JSON_ENDPOINTS
from app.controllers.responses import page_of_route
from app.extensions import db
from tests.controllers.test_gate import JSON


@pytest.fixture
def done_job(admin, app) -> str:
    """A job that was cancelled, so that nothing can be done with it."""
    with app.app_context():
        uuid = registry.find("TestEcho").with_options(delay=600).dispatch(text="x")
        db.session.commit()
    assert admin.post(f"/admin/jobs/cancel/{uuid}", data={"csrf_token": admin.csrf}, headers=JSON).json["ok"]
    return uuid


@pytest.mark.parametrize("path,page", [
    ("retry/{uuid}", ""), ("cancel/{uuid}", "job/{uuid}"), ("act/{uuid}/hold", "job/{uuid}"), ("act/{uuid}/erase", "job/{uuid}"),
    ("queues/high/resume", "queues"), ("types/TestEcho/resume", "queues"),
])
def test_a_refusal_is_a_409_for_scripts_and_leads_a_person_to_the_page_of_the_button(admin, done_job, path, page):
    path, sent = "/admin/jobs/" + path.format(uuid=done_job), {"csrf_token": admin.csrf, "text": "y"}
    refused = admin.post(path, data=sent, headers=JSON)
    assert refused.status_code == 409 and list(refused.json) == ["error"]
    led = admin.post(path, data=sent)
    assert (led.status_code, led.location) == (303, f"/admin/jobs/{page.format(uuid=done_job)}")
    assert refused.json["error"] in admin.get(led.location).get_data(as_text=True).replace("&#39;", "'")
    assert admin.post(path, data=sent | {"next": "/admin/jobs/log"}).location == "/admin/jobs/log"


def test_an_edit_that_is_refused_keeps_what_was_typed(admin, done_job):
    path, sent = f"/admin/jobs/new/edit/{done_job}", {"csrf_token": admin.csrf, "text": "what I typed"}
    assert admin.post(path, data=sent, headers=JSON).status_code == 409
    answer = admin.post(path, data=sent, headers={"Accept-Language": "en"})
    assert answer.status_code == 400 and "what I typed" in answer.text
    assert "The job has ended" in answer.text and "Nothing was saved; what you typed is below." in answer.text


@pytest.mark.parametrize("path", ["workers/77/restart", "alerts/77/ack", "alerts/rules/77", "people/77/unlock", "recurring/none/on",
                                  "generations/templates/77/delete", "queues/none/pause", "alerts/channels/none/test"])
def test_what_is_unknown_is_404_wherever_it_is_sent(admin, path):
    for headers in (JSON, {}):
        answer = admin.post(f"/admin/jobs/{path}", data={"csrf_token": admin.csrf}, headers=headers)
        assert answer.status_code == 404 and (not headers or list(answer.json) == ["error"])


def test_every_route_that_changes_something_has_a_page(app):
    tried, adapter = 0, app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        if "POST" in rule.methods and rule.endpoint.startswith("admin.jobs"):
            values = {name: {"id": 7, "action": "x", "command": "x"}.get(name, "x") for name in rule.arguments}
            with app.test_request_context("/"):
                from flask import request, url_for

                request.url_rule, request.view_args = rule, values | dict(rule.defaults or {})
                page = page_of_route()
                assert url_for("admin.jobs.index") in page
            adapter.match(page, method="GET")
            tried += 1
    assert tried > 20


@pytest.mark.parametrize("words,code", [
    (("users", "disable", "nobody@example.org"), 3), (("users", "role", "nobody@example.org", "user"), 3), (("users", "disable", "no address"), 2),
    (("users", "disable", "admin@example.org"), 1), (("alerts", "ack", "77"), 3), (("alerts", "test", "none"), 1), (("jobs", "resume", "high"), 1),
])
def test_a_command_ends_with_one_sentence_and_a_code(admin, app, words, code):
    done = app.test_cli_runner().invoke(args=words)
    assert (done.exit_code, done.stdout) == (code, "") and done.stderr.count("\n") == 1, done.output


def test_a_part_that_no_filter_has_is_refused_with_nothing_listed(admin, app):
    """A mistyped name in a saved address must not list everything, nor may an action reach everything by it."""
    with app.app_context():
        uuid = registry.find("TestNoop").dispatch()
        db.session.commit()
        with app.test_request_context():
            pages = [url_for(f"admin.jobs.{name}", **({"scope": "type", "name": "TestNoop"} if name == "usage.one" else
                                                      {"name": "x"} if name == "recurring-one" else {})) for name in known_parts.KNOWN]
            always_json = [url_for(name) for name in JSON_ENDPOINTS if name.removeprefix("admin.jobs.") in known_parts.KNOWN]
    assert len(pages) > 12
    for page in (*pages, "/admin/jobs/list"):
        for wrong in ("tennant=acme", "foo=bar", "untill=2026-11-23&page=1"):
            answer = admin.get(f"{page}?{wrong}", headers={"Accept": "text/html", "Accept-Language": "en"})
            text = html.unescape(answer.text)
            assert answer.status_code == 400 and f"no filter called '{wrong.partition('=')[0]}'" in text, (page, wrong)
            assert list(answer.json) == ["error"] if page in always_json else "<form" in text, (page, wrong)
            assert uuid not in text
            assert admin.get(f"{page}?{wrong}", headers={"Accept": "application/json"}).status_code == 400
        assert admin.get(f"{page}?foo=&lang=it&ask=1").status_code in (200, 404)
    assert "Did you mean tenant?" in admin.get("/admin/jobs/list?tennant=acme", headers={"Accept-Language": "en"}).text
    assert admin.get("/admin/jobs/list?args.tennant=acme&before=h9").status_code == 200
    wrong = admin.post("/admin/jobs/bulk", data={"csrf_token": admin.csrf, "action": "hold", "scope": "all", "tennant": "acme"})
    assert wrong.status_code == 400
    with app.app_context():
        assert db.session.scalar(text_("SELECT state FROM jobs")) == "pending"
