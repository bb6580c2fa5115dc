"""Pages of batches: each number leads to what it counts; each button is a plain form that asks first."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import event

from app import registry
from app.extensions import db
from app.ledger import claim as claiming
from app.ledger.dialect import Connection
from app.ledger.settle import Outcome, settle
from app.monitor.loop import Monitor
from app.services.jobs.batches import begin
from tests.conftest import token_in

JSON = {"Accept": "application/json"}


@pytest.fixture
def batch(app, admin):
    """Seven members of one batch: completed, three failed (one in the bin, one timed out), one running, two pending; and two other jobs."""
    with app.app_context():
        made = begin("Import of March", tenant_id="acme", then=registry.find("TestFollow"), created_by="ada@example.org")
        registry.find("TestEcho").with_options(batch=made).dispatch_many([{"text": f"riga {n}"} for n in range(7)])
        registry.find("TestEcho").dispatch_many([{}, {}])
        made.seal()
        db.session.commit()
    connection = Connection(app.extensions["settings"].database_url)
    for n, status in enumerate(("completed", "failed", "failed", "timeout", None)):
        job = claiming.claim(connection, claiming.claim_statement(("default",)), "w1", "w1")
        if n == 1:
            admin.binned = job.uuid
        if status:
            settle(connection, job, Outcome(status, error="RateLimitError: 429", details={"costs": [{"nano": 25 * 10**7, "currency": "EUR"}]}), "sqlite")
    admin.post(f"/admin/jobs/delete/{admin.binned}", data={"csrf_token": admin.csrf, "_method": "DELETE"})
    connection.close()
    watch(app)
    return made


def watch(app) -> None:
    monitor = Monitor(app)
    monitor.batches()
    monitor.connection.close()


def english(admin, path: str) -> str:
    return admin.get(path, headers={"Accept-Language": "en"}).text


def press(admin, batch, action: str, **fields):
    return admin.post(f"/admin/jobs/batches/{batch.id}/{action}", data={"csrf_token": admin.csrf} | fields, headers={"Accept-Language": "en"}, follow_redirects=True)


def test_each_number_of_the_page_leads_to_exactly_what_it_counts(admin, batch):
    page = english(admin, f"/admin/jobs/batches/{batch.id}")
    links = re.findall(r'<a class="in" href="(/admin/jobs/list\?[^"]+)">(\d+)</a>', page)
    assert {(re.search(r"state=(\w+)", url)[1], int(n)) for url, n in links} == {("processing", 1), ("pending", 2), ("completed", 1), ("undecided", 2), ("bin", 1)}
    for url, n in links:
        assert len(admin.get(url.replace("&amp;", "&"), headers=JSON).json["jobs"]) == int(n), url
    assert len(admin.get(f"/admin/jobs/list?batch={batch.id}", headers=JSON).json["jobs"]) == 7
    assert "4 of 7 ended" in page and "2 failed" in page and "1.00 EUR" in page and "TestFollow" in page and "ada@example.org" in page
    row = english(admin, "/admin/jobs/batches")
    assert f"/admin/jobs/list?state=undecided&amp;batch={batch.id}" in row or f"/admin/jobs/list?batch={batch.id}&amp;state=undecided" in row
    shown = admin.get(f"/admin/jobs/batches/{batch.id[:8]}", headers=JSON).json
    assert (shown["total_jobs"], shown["pending_jobs"], shown["failed_jobs"]) == (7, 3, 2)
    assert shown["members"] == {"processing": 1, "pending": 2, "completed": 1, "undecided": 2, "bin": 1}


def test_the_filter_serves_the_csv_and_the_bulk_actions(admin, batch):
    lines = admin.get(f"/admin/jobs/list.csv?batch={batch.id}&state=undecided").text.strip().splitlines()
    assert len(lines) == 3
    lines = admin.get(f"/admin/jobs/list.csv?batch={batch.id[:8]}&q=riga").text.strip().splitlines()
    assert len(lines) == 8
    answer = admin.post("/admin/jobs/bulk", data={"csrf_token": admin.csrf, "action": "cancel", "scope": "all", "batch": batch.id}, headers=JSON)
    assert answer.json["count"] == 3 and answer.json["undo"] is None
    assert len(admin.get("/admin/jobs/list?state=pending", headers=JSON).json["jobs"]) == 2, "jobs of no batch stay"
    for bad in ("x", "7", "' OR 1", "0" * 37):
        assert admin.get("/admin/jobs/list", query_string={"batch": bad}, headers=JSON).status_code == 400


def test_the_buttons_ask_first_and_say_what_they_did(admin, app, batch):
    asked = press(admin, batch, "retry", ask="1")
    assert "Retry 2 failed jobs?" in asked.text
    done = admin.post(f"/admin/jobs/batches/{batch.id}/retry", data={"csrf_token": token_in(asked.text)}, headers={"Accept-Language": "en"}, follow_redirects=True)
    assert "2 jobs requeued" in done.text and "Import of March" in done.text
    assert "has failed and waits for a decision" in press(admin, batch, "delete").text
    assert press(admin, batch, "move").status_code == 400 and press(admin, batch, "move", queue="nothing").status_code == 400
    assert "Move 4 waiting jobs?" in press(admin, batch, "move", queue="low", ask="1").text
    assert "4 jobs moved" in press(admin, batch, "move", queue="low").text
    assert "Batch paused" in press(admin, batch, "pause").text and "It is paused." in english(admin, f"/admin/jobs/batches/{batch.id}")
    assert "paused already" in press(admin, batch, "pause").text
    assert "Batch resumed" in press(admin, batch, "resume").text
    assert "What follows the batch does not run." in (asked := press(admin, batch, "cancel", ask="1").text) and "Go back" in asked
    assert "5 jobs cancelled or asked to stop" in press(admin, batch, "cancel").text
    assert "nothing follows" in english(admin, f"/admin/jobs/batches/{batch.id}")
    log = english(admin, "/admin/jobs/log")
    assert log.count(f"batch Import of March ({batch.id[:8]})") == 5
    for action in ("retry", "pause"):
        answer = admin.post(f"/admin/jobs/batches/{'0' * 8}/{action}", data={"csrf_token": admin.csrf}, headers=JSON)
        assert answer.status_code == 404
    assert press(admin, batch, "explode").status_code == 404


def test_one_that_nobody_seals_is_said_and_sealed_by_hand(admin, app):
    with app.app_context():
        made = begin("Open", then=registry.find("TestFollow"))
        db.session.commit()
    said = "Its code has not said in an hour that it is complete."
    assert said not in english(admin, f"/admin/jobs/batches/{made.id}")
    connection = Connection(app.extensions["settings"].database_url)
    with connection.transaction() as tx:
        tx.execute("UPDATE job_batches SET created_ms = created_ms - 3600001")
    connection.close()
    assert said in english(admin, f"/admin/jobs/batches/{made.id}") and said in english(admin, "/admin/jobs/batches")
    assert "Is this batch complete?" in press(admin, made, "seal", ask="1").text
    assert "Batch marked as complete" in press(admin, made, "seal").text
    assert "complete already" in press(admin, made, "seal").text
    watch(app)
    page = english(admin, f"/admin/jobs/batches/{made.id}")
    assert re.search(r'href="/admin/jobs/job/[0-9a-f-]{36}">TestFollow</a>', page), "what followed"


def test_the_dashboard_shows_what_runs_and_a_job_its_batch(admin, app, batch):
    page = english(admin, "/admin/jobs/")
    assert re.search(r'Batches now \(<a href="/admin/jobs/batches/\?open=1">1</a>\)', page) and "4 of 7" in page and f"/admin/jobs/batches/{batch.id}" in page
    part = admin.get("/admin/jobs/realtime-stats", headers=JSON | {"X-Partials": "batches_live"}).json["partials"]["batches_live"]
    assert "Import of March" in part
    assert "Its batch, Import of March" in english(admin, f"/admin/jobs/job/{admin.binned}")
    press(admin, batch, "cancel")
    connection = Connection(app.extensions["settings"].database_url)
    with connection.transaction() as tx:
        tx.execute("DELETE FROM jobs WHERE batch_id IS NOT NULL")
    connection.close()
    watch(app)
    assert "No batch is running." in english(admin, "/admin/jobs/")
    assert "Nessun batch in corso." in admin.get("/admin/jobs/").text


def test_code_that_no_longer_declares_what_follows_is_said(admin, app, batch):
    connection = Connection(app.extensions["settings"].database_url)
    with connection.transaction() as tx:
        tx.execute("UPDATE job_batches SET then_json = '{\"type\": \"Gone\"}'")
    connection.close()
    assert "no code declares Gone here" in english(admin, f"/admin/jobs/batches/{batch.id}")


def test_the_list_and_the_dashboard_ask_the_same_of_five_and_of_fifty_batches(app, admin):
    numbers, asked = {"/admin/jobs/batches/": [], "/admin/jobs/": []}, []
    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    for count in (6, 44):
        with app.app_context():
            for _ in range(count):
                made = begin("b")
                parent = registry.find("TestEcho").with_options(batch=made).dispatch()
                registry.find("TestEcho").with_options(batch=made, after=[parent]).dispatch()
            db.session.commit()
        for path, counts in numbers.items():
            assert admin.get(path).status_code == 200
            asked.clear()
            admin.get(path)
            counts.append(len(asked))
    assert all(many <= few < 60 for few, many in numbers.values()), numbers
