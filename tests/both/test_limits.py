"""The limits on the queues page: exact numbers that link to exactly these jobs, and a form that works at once."""

from __future__ import annotations

import re

import pytest

from app.ledger import limits
from app.ledger.limits import Limit, Per

HTML = {"Accept": "text/html", "Accept-Language": "en"}


def send(site, **form):
    return site.client.post("/admin/jobs/limits", data=form | {"csrf_token": site.client.csrf}, headers=HTML)


def listed(site, **query) -> int:
    text = site.client.get("/admin/jobs/list", query_string=query, headers=HTML).get_data(as_text=True)
    return len(re.findall(r'data-key="[^"]*', text.split("<tbody", 1)[1]))


def row_of(site, name: str) -> str:
    page = site.client.get("/admin/jobs/queues", headers=HTML).get_data(as_text=True)
    found = re.search(rf'data-key="limit-{name}".*?</tr>', page, re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found[0])) if found else ""


def test_the_numbers_are_exact_and_lead_to_these_jobs(site):
    for _ in range(5):
        site.ledger.dispatch("TestTalk")
    with site.ledger.connection.transaction() as tx:
        limits.declare(tx, [("TestTalk", Per(), Limit(2, 60, 60_000))], [])
    limits.sweep(site.ledger.connection)
    site.ledger.change("UPDATE jobs SET rank = 9, queue = 'default' WHERE job_type = 'TestTalk'")
    for worker in ("a", "b", "c"):
        site.ledger.claim(worker, ("default",))
    row = row_of(site, "TestTalk")
    assert "2 of 2 running" in row and "3 wait" in row and "2 of 60 started in the last" in row
    assert listed(site, type="TestTalk", state="held", hold="limit") == 3 and listed(site, type="TestTalk", state="processing") == 2
    (held,) = site.ledger.connection.fetch_all("SELECT MIN(uuid) FROM jobs WHERE job_type = 'TestTalk' AND state = 'held'")
    job = site.client.get(f"/admin/jobs/job/{held[0]}", headers=HTML).get_data(as_text=True)
    assert "Its type is limited to 2 at once." in job and "/admin/jobs/queues#limits" in job


def test_a_change_works_at_once_is_logged_and_the_code_comes_back(site):
    assert send(site, type="TestEcho", concurrency="1", rate="").status_code == 303
    assert "of 1 running" in row_of(site, "TestEcho") and "the code says no limit" in row_of(site, "TestEcho")
    assert site.ledger.one("SELECT COUNT(*) FROM audit WHERE action = 'set limit' AND subject = 'TestEcho'") == 1
    assert site.ledger.one("SELECT set_rate_count FROM job_limits WHERE job_type = 'TestEcho'") is None, "as the code says: not set"
    assert send(site, type="TestEcho", concurrency="1", rate="", reset="1").status_code == 303
    assert row_of(site, "TestEcho") == ""


@pytest.mark.parametrize(("form", "words"), [
    ({"type": "TestEcho", "concurrency": "-1", "rate": ""}, "Write a whole number from 1 to 10000"), ({"type": "TestEcho", "concurrency": "", "rate": "fast"}, "A rate is a number of starts"),
    ({"type": "Nothing", "concurrency": "1", "rate": ""}, "There is no such job type."), ({"type": "TestPair", "concurrency": "1000000", "rate": "0/s"}, "A rate is a number"),
    ({"concurrency": "1"}, "This field is required"),
])
def test_bad_values_are_told_beside_the_field_and_change_nothing(site, form, words):
    before = site.ledger.connection.fetch_all("SELECT * FROM job_limits ORDER BY job_type")
    answer = send(site, **form)
    assert answer.status_code == 400 and words in answer.get_data(as_text=True)
    for name in set(form) & {"concurrency", "rate"}:
        assert not form[name] or form[name] in answer.get_data(as_text=True), "what was typed stays"
    assert site.ledger.connection.fetch_all("SELECT * FROM job_limits ORDER BY job_type") == before


def test_only_with_a_token(site):
    assert site.client.post("/admin/jobs/limits", data={"type": "TestEcho", "concurrency": "1"}, headers=HTML).status_code == 400
