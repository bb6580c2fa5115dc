"""Stored sentences told again in Italian."""

from __future__ import annotations

import pytest

from app.integrations import csv_files
from app.services.content import import_rows
from app.support import messages
from app.support.validation import ValidationError


@pytest.mark.parametrize("stored", [
    "timeout after 300 s", "Held by ada@example.org.", "unheard for 130 s", "recycled: 140 MB over its start, limit 128 MB",
    "Stopped after killing its worker 3 times. Last: host_12: the process is gone",
    "No job type Process.News-X is known here. Deploy the code that declares it, or delete the job.",
    "The file has no column body. Its first line must name the columns reference, title and body, separated by comma, semicolon or tab; it has: a, b.",
])
def test_what_was_stored_is_told_in_the_readers_language(app, stored):
    assert messages.translate_stored(stored) == stored  # the command line reads what was written
    with app.test_request_context("/", headers={"Accept-Language": "it"}):
        told = messages.translate_stored(stored)
    assert told != stored and "%(" not in told
    with app.test_request_context("/", headers={"Accept-Language": "en"}):
        assert messages.translate_stored(stored) == stored


def test_what_nobody_knows_stays_as_it_is(app):
    with app.test_request_context("/", headers={"Accept-Language": "it"}):
        assert messages.translate_stored("KeyError: 'x'") == "KeyError: 'x'" and messages.translate_stored(None) is None


FILES = [  # each with a fault of its own; the sentence is what pages and reports show
    b"", b"PK\x03\x04", b"%PDF", b"\x1f\x8b", b"\x89PNG", b"SQLite format 3", b"\xd0\xcf\x11\xe0", b"a\0b", bytes(range(1, 128)) * 40,
    b"a,b,c\n" + "è".encode() * 9 + b"\xff", b"a,b,c\n1,\xe9,\x81\n", "a,b,c\n1,Dvořák,c\n".encode("cp1250"), "東京都は日本の首都です。\n".encode("cp932") * 5,
    b"a,b\n", b"x\n", b"b,c\n", b"a,c\n", b'a,b,"c\n1,2,3\n', b"a,b,c" + b",d" * 2000, b"a,b,c,A\n", b"a" * ((4 << 20) + 5), b"\x1b$B",
    "a,b,c\n1,2,3\n".encode("utf-16")[:-1], b"a,b,c\n1,,3\n" + b"x" * 256 + b",2,3\n1,2\n1,2,3,4\n1,\"b\" x,c\n1,\"" + b"y" * (2 << 20) + b"\",c\n",
    b"a,b,c,d,e\n1,b,\"c\n2,b,c\n3,b,c\n4,b,24\"\n",
]


@pytest.mark.parametrize("content", FILES, ids=range(len(FILES)))
def test_every_sentence_about_a_file_is_one_that_can_be_told_in_another_language(tmp_path, content, monkeypatch):
    monkeypatch.setattr(import_rows, "REQUIRED", ("a", "b", "c"))
    monkeypatch.setattr(csv_files, "_list", lambda names: "reference, title and body")  # names of other columns are not retold
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    try:
        source = csv_files.open_csv(path, ("a", "b", "c"))
        told = [row.fault for row in import_rows.read_rows(source) if row.fault]
    except ValidationError as error:
        told = [str(error)]
    assert told
    for sentence in told:
        assert any(messages._fill(parts, sentence) is not None for parts, *_ in messages._patterns()), sentence


@pytest.mark.parametrize("sentence", [
    "reference, title and body", "an Excel workbook or a ZIP archive", "Checking the file: 5000 records read", "500 of 1800 records",
    "Stopped on request behind record 500; what was imported until then stays.", "A later round of this import is under way.",
    "The reference 'a' stands again in line 9: that row counts, this one changed nothing.",
    "The column 'x' as 'title' cannot be read: the file has no such column. Choose the columns again.",
    "The column 'x' as 'title' cannot be read: each column is read once, as one name. Choose the columns again.",
    "The file is not UTF-16, or damaged: line 3 cannot be read in it. Choose another encoding, or save it as CSV UTF-8.",
])
def test_sentences_of_an_import_are_in_the_list(sentence):
    assert any(messages._fill(parts, sentence) is not None for parts, *_ in messages._patterns())
