"""Lists of contents and the report of refused rows."""

from __future__ import annotations

import csv
import io

import pytest

from app import create_app
from app.config import load_settings
from app.extensions import db
from app.models import Content, ImportReject, ImportRun
from app.services.content import contents


@pytest.fixture
def site(tmp_path):
    site = create_app(load_settings({"DATA_DIR": str(tmp_path / "data")}))
    with site.app_context():
        db.create_all()
        yield site
        db.session.remove()
        db.engine.dispose()


def add(reference: str, title: str = "Title", tenant: str = "", body: str = "text") -> None:
    db.session.add(Content(
        tenant_id=tenant, reference=reference, title=title, body=body, attributes='{"size": "1"}',
        created_ms=1000, updated_ms=2000,
    ))


def references(**options) -> list[str]:
    return [row.reference for row in contents.list_contents(**options)]


def test_pages_by_key_show_each_content_once_newest_first(site):
    for i in range(7):
        add(f"r{i}")
    db.session.commit()
    seen, after = [], None
    while page := contents.list_contents(after_id=after, limit=3):
        seen += [row.reference for row in page]
        after = page[-1].id
        add(f"later{after}")  # a newer one moves nothing on the pages behind
        db.session.commit()
    assert seen == [f"r{i}" for i in reversed(range(7))]


def test_plain_values(site):
    add("r", tenant="acme")
    db.session.commit()
    (row,) = contents.list_contents()
    assert (row.tenant_id, row.reference, row.title) == ("acme", "r", "Title")
    assert row.updated_at.isoformat() == "1970-01-01T00:00:02+00:00"


def test_search_is_by_reference_and_title_within_the_tenant(site):
    add("A-100%", "Red shoes", "acme")
    add("A-100x", "Blue", "acme")
    add("B-1", "red hat", "other")
    add("C-1", "Green")
    db.session.commit()
    assert references(q="RED") == ["B-1", "A-100%"]
    assert references(q="100%") == ["A-100%"]
    assert references(q="red", tenant="acme") == ["A-100%"]
    assert references(tenant="") == ["C-1"]
    assert references(q="nothing") == []


def reject(line: int, uuid: str = "u1", row: str = "=1+1,x") -> None:
    db.session.add(ImportReject(uuid=uuid, line=line, reason="Too few cells.", row=row))


def test_the_report_of_an_import(site):
    for line in (9, 3, 5):
        reject(line)
    reject(1, "u2")
    db.session.commit()
    report = contents.reject_report("u1", 2)
    assert report.total == 3 and [row.line for row in report.rows] == [3, 5]
    assert report.rows[0]._asdict() == {"line": 3, "reason": "Too few cells.", "row": "=1+1,x"}
    assert contents.has_report("u1") and not contents.has_report("u3")
    assert contents.reject_report("u3") == contents.RejectReport(total=0, rejected=0, repeated=0, kept=0)


def test_reasons_are_told_in_the_readers_language_and_a_report_that_is_cut_says_so(site):
    db.session.add(ImportReject(uuid="u1", line=3, reason="The file is empty. Its first line must name the columns title and body.", row="x"))
    db.session.add(ImportRun(uuid="u1", row_no=9, inserted=0, updated=0, unchanged=2, rejected=4_199_999, retry_round=0, touched_ms=0, repeated=1, kept=1))
    db.session.commit()
    with site.test_request_context("/", headers={"Accept-Language": "it"}):
        report = contents.reject_report("u1")
        assert (report.total, report.kept) == (4_200_000, 1) and report.rows[0].reason.startswith("Il file è vuoto")
        rows = list(contents.reject_csv("u1"))
    assert rows[1].startswith("3;Il file è vuoto") and "4.200.000" in rows[2] and len(rows) == 3


def test_the_report_as_csv_is_whole_guarded_and_read_without_holding_a_transaction(site):
    for line in range(2, 1502):
        reject(line)
    db.session.commit()
    pieces = contents.reject_csv("u1")
    head, first = next(pieces), next(pieces)
    assert (head, first) == ("\ufeffline;reason;row\r\n", "2;Too few cells.;'=1+1,x\r\n")
    assert db.engine.pool.checkedout() == 0
    rows = list(csv.reader(io.StringIO("".join(pieces), newline=""), delimiter=";"))
    assert [int(row[0]) for row in rows] == list(range(3, 1502))
    assert list(contents.reject_csv("none")) == ["\ufeffline;reason;row\r\n"]


def test_the_csv_can_be_read_after_the_request_is_over(tmp_path):
    site = create_app(load_settings({"DATA_DIR": str(tmp_path / "data")}))
    with site.app_context():
        db.create_all()
        reject(4)
        db.session.commit()
        pieces, engine = contents.reject_csv("u1"), db.engine
    assert len(list(pieces)) == 2
    engine.dispose()
