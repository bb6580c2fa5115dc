"""The import on PostgreSQL: the report's room, repeated references, a round by hand that clears the one before."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from app import create_app
from app.config import load_settings
from app.extensions import db
from app.jobs import csv_import
from app.services.content import contents
from tests.backends import postgres_url  # noqa: F401  (a fixture)
from tests.jobs.importing import Imports, whole

HEAD = "reference,title,body,size\n"


@pytest.fixture
def imports(tmp_path, postgres_url):  # noqa: F811
    site = create_app(load_settings({"DATA_DIR": str(tmp_path / "data"), "DATABASE_URL": postgres_url}))
    with site.app_context():
        db.drop_all()  # rows of tests before
        db.create_all()
    found = Imports(site, tmp_path)
    yield found
    found.claims.close()
    found.notes.close()
    with site.app_context():
        db.session.remove()
        db.drop_all()
        db.engine.dispose()


def test_rows_report_and_counts(imports, monkeypatch):
    monkeypatch.setattr(csv_import, "REPORT_ROWS", 3)
    uuid = imports.dispatch((HEAD + "a,first,x\nb,Città,x\nc,,x\na,second,x\n" + "d,,\n" * 700).encode("cp1252"))
    result = whole(imports.attempt())
    assert result == {"rows": 704, "inserted": 2, "updated": 0, "unchanged": 1, "rejected": 701, "repeated": 1, "encoding": "Windows-1252"}
    with imports.site.app_context():
        report = contents.reject_report(uuid)
        assert (report.total, report.kept, [row.line for row in report.rows]) == (702, 3, [2, 4, 6])
        assert "702" in list(contents.reject_csv(uuid))[-1]
        rows = db.session.execute(text("SELECT reference, title, attributes FROM contents ORDER BY reference")).all()
        assert [(r, t, json.loads(a)) for r, t, a in rows] == [("a", "second", {"size": ""}), ("b", "Città", {"size": ""})]
        db.session.execute(text("UPDATE jobs SET state = 'pending', round = round + 1"))
        db.session.commit()
    assert whole(imports.attempt()) | {"encoding": ""} == result | {"inserted": 0, "unchanged": 3, "encoding": ""}
    with imports.site.app_context():
        assert contents.report_counts(uuid) == contents.RejectReport(total=702, rejected=701, repeated=1, kept=3)


def test_a_replaced_body_is_a_version_and_columns_that_the_file_lacks_stay(imports):
    for content in (HEAD + "a,A,one,5\nb,B,two,6\n", "reference,title,body\na,A,new\nb,B,two\n", "reference,title,body\na,A,new\nb,B,two\n"):
        uuid = imports.dispatch(content)
        result = whole(imports.attempt())
        if "size" not in content and result["updated"]:
            replaced_by = uuid
    assert (result["updated"], result["unchanged"]) == (0, 2)
    with imports.site.app_context():
        assert db.session.execute(text("SELECT body, attributes FROM contents ORDER BY reference")).all() == [("new", '{"size": "5"}'), ("two", '{"size": "6"}')]
        assert db.session.execute(text("SELECT body, replaced_by FROM content_versions")).all() == [("one", replaced_by)]
        db.session.execute(text("UPDATE contents SET body = 'by hand' WHERE reference = 'a'"))
        db.session.execute(text("UPDATE jobs SET state = 'pending', round = round + 1 WHERE uuid = :u"), {"u": replaced_by})
        db.session.commit()
    assert whole(imports.attempt())["updated"] == 1
    with imports.site.app_context():
        assert db.session.execute(text("SELECT body, replaced_by FROM content_versions")).all() == [("by hand", replaced_by)]
