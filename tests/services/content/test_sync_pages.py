"""Conflicts, decisions and what sync jobs did, on both databases."""

from __future__ import annotations

import csv
import io
import json

import pytest
from sqlalchemy import select

from app.extensions import db
from app.models import Audit, Content, ContentVersion, Generation, Job, JobCost, SyncLink
from app.services.audit import ActionRefused
from app.services.content import conflicts, content_jobs, costs, decisions, drafts, sync_reports
from app.services.content.text_diff import side_by_side
from app.support.messages import Message
from app.support.validation import ValidationError
from tests.syncing import UUID, action, connect, content, link

SIDES = {"sent": {"title": "Old", "body": "one two", "slug": "s"}, "ours": {"title": "Ours", "body": "one two", "slug": "s"},
         "base": {"title": "Old", "body": "one two", "slug": "s"}, "theirs": {"title": "Theirs", "body": "one three", "slug": "s", "author": "7"}}


@pytest.fixture
def site(ledger):
    with ledger.app.app_context():
        yield ledger.app


def conflict(**more) -> int:
    number = link(content("r"), "conflict", **SIDES | more)
    db.session.commit()
    return number


def told(parts) -> str:
    return "".join(f"[{p.text}]" if p.changed else p.text for p in parts)


def test_both_sides_stand_beside_the_last_common_text(site):
    page = conflicts.link_page(conflict())
    assert [(f.name, f.conflict, told(f.ours), f.base, told(f.theirs)) for f in page.fields] == [
        ("body", True, "one two", "one two", "one [three]"), ("title", True, "[Ours]", "Old", "[Theirs]")]
    assert page.same == 1 and page.choices == ("ours", "theirs", "later"), "fields that we never set are not shown"


def test_without_a_common_text_the_sides_are_compared_with_each_other(site):
    page = conflicts.link_page(conflict(base={}))
    assert [(f.name, told(f.ours), f.base, told(f.theirs)) for f in page.fields] == [
        ("body", "one [two]", None, "one [three]"), ("title", "[Ours]", None, "[Theirs]")]


def test_long_fields_are_cut_and_it_is_said(site):
    page = conflicts.link_page(conflict(ours={"body": "x" * 10**6}, theirs={"body": "y" * 10**6}))
    (field,) = page.fields
    assert field.cut and len(told(field.theirs)) < 20_010


def test_an_address_that_is_none_is_no_link(site):
    number = conflict(url="javascript:alert(1)", edit_url="HTTPS://there.test/edit")
    page = conflicts.link_page(number)
    assert (page.link.url, page.link.edit_url) == (None, "HTTPS://there.test/edit")
    for odd in (0, -1, 2**70, number + 1):
        assert conflicts.link_page(odd) is None


def row(number: int) -> SyncLink:
    db.session.rollback()
    return db.session.get(SyncLink, number)


def jobs() -> list[tuple]:
    db.session.rollback()
    return [(j.uuid, j.job_type, j.tenant_id, json.loads(j.payload)["args"]) for j in db.session.scalars(select(Job).order_by(Job.id))]


@pytest.mark.parametrize("decision", ["ours", "theirs"])
def test_a_decision_is_written_with_its_job_and_its_audit(site, decision):
    connect()
    number = conflict()
    uuid = decisions.decide(number, decision, "ada@example.org", 3000)
    assert jobs() == [(uuid, "ProcessWordPressSync", "acme", {"references": ["r"]})]
    found = row(number)
    assert (found.state, found.decision, found.decided_by) == ("conflict", decision, "ada@example.org") and found.decided_ms == found.changed_ms > 3000
    (entry,) = db.session.scalars(select(Audit))
    assert entry.subject == "wordpress acme r" and entry.result == uuid and entry.action in ("keep ours", "take theirs")


def test_later_dispatches_nothing_and_needs_no_connection(site):
    number = conflict()
    assert decisions.decide(number, "later", "ada", 3000) is None
    assert row(number).decision == "later" and jobs() == [] and db.session.scalar(select(Audit)).result == "done"


def test_what_is_gone_is_made_anew_only_when_asked(site):
    connect()
    number = link(content("r"), "gone")
    db.session.commit()
    with pytest.raises(ValidationError):
        decisions.decide(number, "ours", "ada", 3000)
    uuid = decisions.decide(number, "again", "ada", 3000)
    assert [job[0] for job in jobs()] == [uuid] and row(number).decision == "again"


def nothing_happened(number: int) -> bool:
    found = row(number)
    return jobs() == [] and (found.decision, found.changed_ms) == (None, 3000) and db.session.scalar(select(Audit)) is None


def test_a_decision_about_something_else_than_what_was_shown_is_refused(site):
    connect()
    number = conflict()
    for seen in (2999, 3001):
        with pytest.raises(ActionRefused, match="changed after this page"):
            decisions.decide(number, "ours", "ada", seen)
        assert nothing_happened(number)
    decisions.decide(number, "later", "ada", 3000)
    with pytest.raises(ActionRefused):  # the second of two people
        decisions.decide(number, "ours", "bob", 3000)
    assert row(number).decided_by == "ada" and jobs() == []


@pytest.mark.parametrize("state", ["synced", "sending", "refused"])
def test_without_a_conflict_there_is_nothing_to_decide(site, state):
    connect()
    number = link(content("r"), state)
    db.session.commit()
    with pytest.raises(ActionRefused):
        decisions.decide(number, "ours", "ada", 3000)
    assert nothing_happened(number)
    with pytest.raises(ActionRefused):
        decisions.decide(number + 1, "ours", "ada", 3000)


def test_without_a_connection_the_decision_is_not_written_either(site):
    number = conflict()
    with pytest.raises(ValidationError, match="acme has no connection to WordPress"):
        decisions.decide(number, "ours", "ada", 3000)
    assert nothing_happened(number)


def test_what_a_job_did_is_counted_shown_and_exported_whole(site, monkeypatch):
    monkeypatch.setattr(sync_reports, "STEP", 2)
    monkeypatch.setattr(sync_reports, "SHOWN", 3)
    said = Message("Updated: %(names)s.", names="title")
    for n, name in enumerate(("updated", "conflict", "updated", "odd", "created")):
        action(content(f"r{n}"), name, said if name == "updated" else "=1+1", url="https://there.test/7" if n else "javascript:x")
    action(content("other"), "created", uuid="00000000-0000-8000-8000-0000000000cc")
    db.session.commit()
    report = sync_reports.report(UUID)
    assert report.counts == {"created": 1, "updated": 2, "conflict": 1, "odd": 1} and report.total == 5 and len(report.rows) == 3
    assert list(report.counts) == ["created", "updated", "conflict", "odd"]
    first = sync_reports.actions(UUID, "updated", limit=1)
    assert [r.reference for r in first + sync_reports.actions(UUID, "updated", first[0].content_id)] == ["r0", "r2"]
    assert (first[0].text, first[0].url) == ("Updated: title.", None)
    rows = list(csv.reader(io.StringIO("".join(sync_reports.as_csv(db.engine, UUID))[1:]), delimiter=";"))
    assert [r[0] for r in rows] == ["reference", "r0", "r1", "r2", "r3", "r4"] and rows[2][3] == "'=1+1" and rows[2][5] == "1970-01-01T00:00:05.000Z"
    assert [r["reference"] for r in sync_reports.iterate(db.engine, UUID, "updated")] == ["r0", "r2"]
    assert sync_reports.report("none") is None


def test_jobs_and_costs_of_a_content(site):
    number = content("r")
    action(number, "created")
    for n, currency in enumerate(("USD", "USD", "EUR")):
        uuid = f"00000000-0000-8000-8000-00000000000{n}"
        db.session.add(Generation(uuid=uuid, tenant_id="acme", reference="r" if n < 2 else "other", prompt="p", model="m", status="answered", created_ms=6000 + n))
        db.session.add(JobCost(uuid=uuid, job_type="T", tenant_id="acme", at_ms=1, cost_nano=None if n == 1 else 10**9, currency=currency))
    db.session.commit()
    found, total = content_jobs.jobs_of(number)
    assert total == 3 and [(j.service, j.word) for j in found] == [(None, "answered"), (None, "answered"), ("wordpress", "created")]
    assert [(s.currency, s.nano, s.unknown) for s in costs.of_content("acme", "r")] == [("USD", 10**9, 1)]
    assert content_jobs.jobs_of(number + 1) == ([], 0)


def test_a_version_is_compared_with_what_replaced_it(site):
    number = content("r", body="a\nb\nd")
    for n, body in enumerate(("a\nb", "a\nb\nc")):
        db.session.add(ContentVersion(content_id=number, body=body, replaced_ms=n, replaced_by=f"u{n}"))
        db.session.flush()
    db.session.commit()
    first, second = (v.id for v in db.session.scalars(select(ContentVersion).order_by(ContentVersion.id)))
    lines = [(r.old and told(r.old.parts), r.new and told(r.new.parts)) for r in drafts.version_difference(number, first).rows]
    assert lines == [("a", "a"), ("b", "b"), (None, "[c]")]
    assert [(told(r.old.parts), told(r.new.parts)) for r in drafts.version_difference(number, second).rows][-1] == ("[c]", "[d]")
    assert drafts.version_difference(number + 1, first) is None and drafts.version_difference(number, 2**62) is None
    assert db.session.get(Content, number).body == "a\nb\nd"


def test_texts_side_by_side_are_bounded():
    text = "".join(f"line {n}\n" for n in range(50))
    rows = side_by_side(text, text.replace("line 20\n", "line 20 new\nmore\n")).rows
    assert [r.old and r.old.no for r in rows] == [None, 18, 19, 20, 21, None, 22, 23, 24] and not rows[0].new
    assert (told(rows[4].old.parts), told(rows[4].new.parts), told(rows[5].new.parts)) == ("line 20", "line 20[ new]", "[more]")
    assert side_by_side("a", "a").rows == () and side_by_side("", "").rows == ()
    assert not side_by_side("x" * 300_000, "y").compared and not side_by_side("\n" * 5000, "y").compared
    cut = side_by_side("".join(f"{n}\n" for n in range(1500)), "".join(f"x{n}\n" for n in range(1500)))
    assert cut.cut and len(cut.rows) == 400
