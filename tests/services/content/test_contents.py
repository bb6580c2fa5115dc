"""The report of refused rows."""

from __future__ import annotations

import csv
import io

import pytest

from app import create_app
from app.config import load_settings
from app.extensions import db
from app.models import ImportReject, ImportRun
from app.services.content import contents


@pytest.fixture
def site(tmp_path):
    site = create_app(load_settings({"DATA_DIR": str(tmp_path / "data")}))
    with site.app_context():
        db.create_all()
        yield site
        db.session.remove()
        db.engine.dispose()


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
