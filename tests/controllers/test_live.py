"""One poll a page: its shape, its parts, what it costs the database; and who stays signed in by it."""

from __future__ import annotations

import pytest
from sqlalchemy import event, text

from app import registry
from app.extensions import db
from app.models import UserSession
from tests.conftest import fail_next
from tests.controllers.test_gate import JSON
from tests.controllers.test_specification import insert_failed

SHAPE = {"stats", "timestamp", "monitor", "alerts", "partials"}
PAGES = {"list": "jobs_table", "queues?queue=low": "queues", "workers": "workers_table", "recurring": "recurring_table", "alerts/": "alerts", "connections/": "connections"}
DASHBOARD = "actions,notices,cards,live_jobs,failed_table"


def poll(client, path: str, names: str, **headers: str):
    return client.get(f"/admin/jobs/{path}", headers=JSON | {"X-Partials": names} | headers)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_answers_its_own_parts_beside_the_figures_and_ignores_other_names(admin, path):
    answer = poll(admin, path, f"{PAGES[path]},cards,../../base,nothing").json
    assert set(answer) == SHAPE and list(answer["partials"]) == [PAGES[path]]
    html = answer["partials"][PAGES[path]]
    page = admin.get(f"/admin/jobs/{path}").text
    assert "<html" not in html and html.split("</h1>")[0][-40:] in page
    assert f'data-partial="{PAGES[path]}"' in page
    assert poll(admin, path, "").json["partials"] == {}
    assert "partials" not in admin.get(f"/admin/jobs/{path}", headers=JSON).json, "scripts get what they got"
    assert "<html" in admin.get(f"/admin/jobs/{path}", headers={"X-Partials": PAGES[path], "Accept": "text/html"}).text


def test_the_dashboard_polls_the_address_of_the_specification(admin, data_dir):
    insert_failed(data_dir)
    plain = admin.get("/admin/jobs/realtime-stats").json
    answer = poll(admin, "realtime-stats", DASHBOARD + ",jobs_table").json
    assert set(plain) == SHAPE - {"partials"} | {"pauses"} and set(answer) == SHAPE | {"pauses"}
    assert set(answer["partials"]) == set(DASHBOARD.split(",")) and "Test exception" in answer["partials"]["failed_table"]
    for path in ("", "log"):
        assert 'data-url="/admin/jobs/realtime-stats"' in admin.get(f"/admin/jobs/{path}").text, path
    assert admin.get("/admin/jobs/partials").status_code == 404


def test_a_page_polls_itself_unless_it_stands_still(admin, app):
    with app.app_context():
        uuid = registry.find("TestEcho").with_options(delay=600).dispatch(text="x")
        db.session.commit()
    for path, address in (("workers", "workers"), ("list?state=live&page=1", "list?state=live"), ("queues", "queues?queue=default"),
                          (f"job/{uuid}", f"job/{uuid}"), ("list?before=l9", "realtime-stats")):
        assert f'data-url="/admin/jobs/{address}"' in admin.get(f"/admin/jobs/{path}").text, path
    assert set(poll(admin, f"job/{uuid}", "job").json["partials"]) == {"job"}
    admin.post(f"/admin/jobs/cancel/{uuid}", data={"csrf_token": admin.csrf})
    ended = admin.get(f"/admin/jobs/job/{uuid}").text
    assert f'data-url="/admin/jobs/job/{uuid}" data-interval="20000"' in ended, "nothing can be done with it any more"
    assert "job" in poll(admin, f"job/{uuid}", "job").json["partials"], "who saw it run sees its end"
    with app.app_context():
        failed = registry.find("TestEcho").dispatch(text="x")
        db.session.commit()
    fail_next(app)
    for act in (lambda: None, lambda: admin.post(f"/admin/jobs/delete/{failed}", data={"csrf_token": admin.csrf, "_method": "DELETE"})):
        act()
        page = admin.get(f"/admin/jobs/job/{failed}").text
        assert f'data-url="/admin/jobs/job/{failed}" data-interval="5000"' in page, "somebody else may decide about it, or restore it"
    gone = poll(admin, "job/00000000-0000-0000-0000-000000000000", "job")
    assert gone.status_code == 404 and list(gone.json) == ["error"]


def test_a_poll_of_the_dashboard_asks_the_database_nothing_twice(admin, app, data_dir):
    insert_failed(data_dir, 3)
    poll(admin, "realtime-stats", DASHBOARD)
    asked: list[tuple[str, str]] = []

    def note(connection, cursor, statement, parameters, *rest) -> None:
        asked.append((statement, repr(parameters)))

    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", note)
    poll(admin, "realtime-stats", DASHBOARD)
    counted, asked[:] = list(asked), []
    poll(admin, "realtime-stats", "")
    without_parts, asked[:] = len(asked), []
    with app.app_context():
        event.remove(db.engine, "before_cursor_execute", note)
    twice = {statement for statement in counted if counted.count(statement) > 1}
    assert not twice, twice
    assert without_parts <= 12 and len(counted) <= 30, (without_parts, len(counted))


@pytest.mark.parametrize("headers,kept", [({}, False), ({"X-Partials": ""}, True), ({"X-Poll": "1"}, True)])
def test_what_a_script_asks_for_by_itself_keeps_nobody_signed_in(admin, app, headers, kept):
    def seen() -> int:
        with app.app_context():
            return db.session.scalar(db.select(UserSession.seen_ms))

    with app.app_context():
        db.session.execute(db.update(UserSession).values(seen_ms=UserSession.seen_ms - 600_000))
        db.session.commit()
    before = seen()
    assert admin.get("/admin/jobs/costs/days", headers=JSON | headers).status_code == 200
    assert (seen() == before) is kept


def test_short_ids_tell_the_jobs_of_a_page_apart(admin, app):
    """A burst differs in the first eight digits; jobs that share them all the same are shown with more of both."""
    with app.app_context():
        uuids = registry.find("TestEcho").dispatch_many([{"text": "x"}] * 300)
        assert len({uuid[:8] for uuid in uuids}) == 300 and uuids == sorted(uuids)
        db.session.rollback()
        same = ["3c4cb64b-1154-8000-8000-00000000000a", "3c4cb64b-1155-8000-8000-00000000000b", "3c4cb64b-1155-8000-8000-00000000000c", "4d000000-1155-8000-8000-00000000000d"]
        for uuid in same:
            made = registry.find("TestNoop").dispatch()
            db.session.flush()
            db.session.execute(text("UPDATE jobs SET uuid = :u WHERE uuid = :old"), {"u": uuid, "old": made})
        db.session.commit()
    short = {same[0]: "3c4cb64b-1154", same[1]: same[1], same[2]: same[2], same[3]: "4d000000"}
    listed, queued, order = (admin.get(f"/admin/jobs/{page}", headers={"Accept-Language": "en"}).text for page in ("list", "queues?queue=default", "queues/default"))
    for shown in short.values():
        assert f"Select Test Noop {shown}<" in listed
        assert f"Move {shown} up" in queued and f'aria-label="Move Test Noop {shown}"' in order


def test_a_poll_sets_no_cookie(admin):
    """Else one that was under way during an act would put the session of before it back, without what the act told."""
    assert admin.get("/admin/jobs/realtime-stats").status_code == 200
    assert "Set-Cookie" not in admin.get("/admin/jobs/realtime-stats").headers and "Set-Cookie" not in admin.get("/admin/jobs/").headers
