"""The list of contents by its filter, and syncs of what it finds, on both databases."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select, text

from app.extensions import db
from app.models import Job, JobBatch, SyncLink
from app.services.content import content_list, sync_start
from app.services.content.content_list import ContentFilter
from app.services.content.sync_start import Wish
from app.support.validation import ValidationError
from tests.syncing import connect, content, link


@pytest.fixture
def site(ledger):
    with ledger.app.app_context():
        yield ledger.app


def listed(**given) -> list[str]:
    """The references that match, newest first, over pages of two; the count must be their number."""
    wanted, found, before = ContentFilter.read(given), [], None
    while True:
        page = content_list.page(wanted, before, 2)
        found, before = found + [row.reference for row in page.rows], page.following
        if before is None:
            break
    assert content_list.count(wanted) == (page.total, page.exact) == (len(found), True)
    return found


def test_search_is_by_reference_and_title_within_the_tenant(site):
    for reference, title, tenant in (("A-100%", "Red shoes", "acme"), ("A-100x", "Blue", "acme"), ("B-1", "red hat", "other"), ("C-1", "Green", "")):
        content(reference, tenant, title=title)
    assert listed() == ["C-1", "B-1", "A-100x", "A-100%"]
    assert listed(q="RED") == ["B-1", "A-100%"] and listed(q="100%") == ["A-100%"] and listed(q="nothing") == []
    assert listed(q="red", tenant="acme") == ["A-100%"] and listed(tenant="other") == ["B-1"]


def test_every_state_at_a_service_is_found(site):
    at = {name: content(name) for name in ("synced", "changed", "conflict", "gone", "refused", "sending", "never")}
    content("bare", body=" ")
    for name in ("synced", "conflict", "gone", "refused", "sending"):
        link(at[name], name)
    link(at["changed"], changed=True)
    link(at["never"], "conflict", "prestashop")
    for state in ("conflict", "gone", "refused", "sending", "changed"):
        assert listed(state=state, service="wordpress") == [state]
    assert listed(state="synced", service="wordpress") == ["changed", "synced"], "a row of the state synced, also when changed since"
    assert listed(state="never", service="wordpress") == ["bare", "never"] and listed(state="never") == ["bare"]
    assert listed(state="conflict") == ["never", "conflict"], "at any service"
    assert listed(state="conflict", q="conf") == ["conflict"] and listed(missing="1") == ["bare"] and listed(missing="1", state="never") == ["bare"]
    states = {row.reference: [(s.service, s.state) for s in row.standings] for row in content_list.rows(list(at.values()))}
    assert states["changed"] == [("wordpress", "changed")] and states["never"] == [("prestashop", "conflict")] and states["synced"] == [("wordpress", "synced")]


def test_a_content_in_conflict_at_two_services_is_one(site):
    both = content("both")
    for service in ("wordpress", "prestashop"):
        link(both, "conflict", service)
    assert listed(state="conflict") == ["both"]


def test_a_count_ends_at_its_bound_and_says_so(site, monkeypatch):
    monkeypatch.setattr(content_list, "MOST", 3)
    for n in range(4):
        content(f"r{n}")
    assert content_list.count(ContentFilter(q="r")) == (3, False) and content_list.count(ContentFilter()) == (4, True)
    pages = [content_list.page(ContentFilter(q="r"), before, 2) for before in (None, 3, 1)]
    assert [[row.reference for row in p.rows] for p in pages] == [["r3", "r2"], ["r1", "r0"], []] and [p.following for p in pages] == [3, None, None]
    assert {(p.total, p.exact) for p in pages} == {(3, False)}


@pytest.mark.parametrize("given", [{"state": "odd"}, {"service": "odd"}, {"q": "\x00"}])
def test_what_is_no_filter_is_told(site, given):
    with pytest.raises(ValidationError):
        ContentFilter.read(given)


def jobs() -> list[tuple]:
    db.session.rollback()
    rows = db.session.scalars(select(Job).order_by(Job.id))
    return [(j.job_type, j.tenant_id, json.loads(j.payload)["args"], j.batch_id, j.created_by) for j in rows]


def test_many_are_synced_as_one_batch_by_tenant_in_jobs_of_200(site):
    connect("acme")
    connect("beta", "wordpress")
    ids = [content(f"a{n}") for n in range(201)] + [content("b", "beta")]
    db.session.commit()
    wish = Wish("wordpress", "draft", True)
    batch = sync_start.many(sync_start.named(ids, wish), wish, "ada")
    found = jobs()
    assert [(name, tenant, len(args["references"])) for name, tenant, args, *_ in found] == [
        ("ProcessWordPressSync", "acme", 200), ("ProcessWordPressSync", "acme", 1), ("ProcessWordPressSync", "beta", 1)]
    assert found[1][2] == {"references": ["a200"], "status": "draft", "dry_run": True} and {(b, by) for *_, b, by in found} == {(batch, "ada")}
    row = db.session.get(JobBatch, batch)
    assert row.name == "Sync of 202 contents" and row.total_jobs == 3 and row.tenant_id is None and row.sealed_ms


def test_references_of_any_size_fit_into_the_arguments_of_a_job(site):
    names = ["è" * 255 + f"{n:03}"[-3:] for n in range(200)] + ["\x01" * 250 + f"{n:03}" for n in range(200)]
    parts = list(sync_start.parts(names))
    assert [name for part in parts for name in part] == names
    assert all(len(json.dumps(part, ensure_ascii=False).encode()) < 200_000 and len(part) <= 200 for part in parts)
    assert list(sync_start.parts([])) == []


def refusal(ids: list[int], wish: Wish) -> str:
    with pytest.raises(ValidationError) as raised:
        sync_start.named(ids, wish)
    assert jobs() == []
    return str(raised.value)


def test_what_cannot_be_synced_is_told_before_anything_is_written(site, monkeypatch):
    connect("acme", "wordpress")
    mine, other, none = content("a"), content("b", "other"), content("c", "")
    db.session.commit()
    assert refusal([mine, other], Wish("wordpress")) == "other has no connection to WordPress. Add one first."
    assert refusal([mine], Wish("prestashop")) == "acme has no connection to PrestaShop. Add one first."
    assert "without a tenant" in refusal([none], Wish("wordpress")) and "Choose a service" in refusal([mine], Wish("x"))
    assert "Unknown status 'odd'" in refusal([mine], Wish("wordpress", "odd")) and "knows no status" in refusal([mine], Wish("prestashop", "draft"))
    assert "nothing to sync" in refusal([], Wish("wordpress"))
    monkeypatch.setattr(sync_start, "MOST", 1)
    assert "At most 1 contents" in refusal([mine, other], Wish("wordpress"))


def test_a_state_at_a_service_is_read_by_its_index(site):
    if db.engine.dialect.name != "sqlite":
        pytest.skip("the plan of SQLite")
    (query, key), = content_list._queries(ContentFilter(service="wordpress", state="conflict"))
    compiled = query.order_by(key.desc()).limit(51).compile(db.engine, compile_kwargs={"literal_binds": True})
    plan = " ".join(row[3] for row in db.session.execute(text(f"EXPLAIN QUERY PLAN {compiled}")))
    assert "sync_links_state_idx" in plan and "TEMP B-TREE" not in plan, plan
    assert SyncLink.__tablename__ in str(compiled)
