"""The waiting jobs of each tenant on the page of queues: every number that is a link leads to exactly its jobs."""

from __future__ import annotations

import html
import re

import pytest

from app.services.people import accounts
from tests.conftest import PASSWORD, sign_in

JSON = {"Accept": "application/json"}


@pytest.fixture
def site(ledger):
    with ledger.app.app_context():
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
    client = sign_in(ledger.app, "admin@example.org")
    client.ledger = ledger
    return client


def put(site, tenant: str | None, rank: int, state: str = "pending", code: str | None = None, name: str = "TestNoop") -> None:
    uuid = site.ledger.dispatch(name, queue="low", tenant_id=tenant)
    site.ledger.change("UPDATE jobs SET rank = :r, state = :s, hold_code = :c, reason = :why WHERE uuid = :u", r=rank, s=state, c=code, why=code, u=uuid)


def backlog(site) -> tuple[str, list[tuple[str, str]]]:
    """The sentence, and of each number that is a link (its words, its address)."""
    page = site.get("/admin/jobs/queues?queue=low", headers={"Accept-Language": "en"}).text
    said = re.search(r'<p class="body muted">Tenants take turns.*?</p>', page, re.S)[0]
    links = re.findall(r'<a href="(/admin/jobs/list[^"]*)">([^<]*)</a>', said)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", said)).strip(), [(words, html.unescape(address)) for address, words in links]


def test_numbers_by_tenant_lead_to_exactly_their_jobs(site):
    for n in range(3):
        put(site, "acme", -n - 1)
    put(site, "acme", 0, name="TestEcho")  # another type, whose tenants take no turns
    put(site, "acme", -4, "held", "person")
    for n in range(2):
        put(site, "verde", -n - 1)
        put(site, "verde", -n - 3, "held", ("limit", "rate")[n])
    put(site, "rossi", -1)
    put(site, "rossi", 7)  # moved to the top: the list cannot leave it out
    put(site, None, -1)
    said, links = backlog(site)
    assert said.endswith("verde 4 (2 held, 2 pending), acme 3, without tenant 1, rossi 1"), said
    assert [words for words, _ in links] == ["2 held", "2 pending", "3"]
    for words, address in links:
        assert str(len(site.get(address, headers=JSON).get_json()["jobs"])) == words.split()[0], address


def test_no_number_is_a_link_when_too_many_jobs_stand_beside(site, monkeypatch):
    for tenant in ("acme", "verde"):
        put(site, tenant, -1)
    put(site, "acme", 0, name="TestEcho")
    assert len(backlog(site)[1]) == 2
    monkeypatch.setattr("app.services.jobs.queues.MOST_BESIDE", 0)
    said, links = backlog(site)
    assert said.endswith("acme 1, verde 1") and links == []
