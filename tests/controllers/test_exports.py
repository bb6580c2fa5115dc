"""Every CSV that the product writes opens in an Italian Excel, and no cell of it is run there."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from app import registry
from app.extensions import db
from app.integrations.csv_cells import guard, unguard
from app.integrations.csv_files import open_csv
from app.models import Generation, ImportReject
from tests.syncing import action, content

EVIL = "=HYPERLINK(1);=cmd|' /C calc'!A0\t+1\n-2,@SUM(A1)"
RUN = re.compile(r"(?:^|[,;\t\r\n])[\"']*(?<!')[=+\-@]")
UUID = "0a1b2c3d-0000-8000-8000-000000000000"


@pytest.fixture
def answers(admin, app):
    """The text of every GET route that ends in .csv, by its rule."""
    with app.app_context():
        registry.find("TestEcho").with_options(tenant_id="acme", delay=60).dispatch(text=EVIL)
        db.session.add(ImportReject(uuid=UUID, line=2, reason="Too few cells.", row=EVIL))
        db.session.add(Generation(uuid="g1", batch_id=UUID, reference=EVIL, prompt=EVIL, text=EVIL, error=EVIL, model="m", status="partial", created_ms=0))
        action(content(EVIL), "refused", EVIL, UUID)
        db.session.commit()
    rules = [rule.rule for rule in app.url_map.iter_rules() if rule.rule.endswith(".csv") and "GET" in rule.methods]
    assert len(rules) >= 3
    found = {}
    for rule in rules:
        found[rule] = admin.get(rule.replace("<uuid>", UUID), headers={"Accept-Language": "en"})
        assert found[rule].data  # read to the end before the next
    return found


def test_each_has_the_mark_and_semicolons_and_guards_what_would_run(answers, tmp_path):
    for rule, answer in answers.items():
        assert answer.status_code == 200 and answer.mimetype == "text/csv", rule
        assert answer.data.startswith(b"\xef\xbb\xbf") and answer.data.count(b"\xef\xbb\xbf") == 1, rule
        rows = list(csv.reader(io.StringIO(answer.data.decode("utf-8-sig"), newline=""), delimiter=";"))
        assert len(rows[0]) > 2 and {len(row) for row in rows} == {len(rows[0])}, rule
        for cell in (cell for row in rows for cell in row):
            assert not RUN.search(cell) and guard(unguard(cell)) == cell, (rule, cell)


def test_the_import_reads_what_the_exports_write(answers, tmp_path):
    path = tmp_path / "export.csv"
    path.write_bytes(next(a.data for rule, a in answers.items() if "report" in rule))
    (record,) = open_csv(path, ("line", "reason", "row")).records()
    assert record.cells == ["2", "Too few cells.", EVIL]
    path.write_bytes(next(a.data for rule, a in answers.items() if rule.endswith("list.csv")))
    source = open_csv(path, ("uuid",))
    (record,) = source.records()
    assert json.loads(record.cells[source.columns.index("arguments")]) == {"text": EVIL}
