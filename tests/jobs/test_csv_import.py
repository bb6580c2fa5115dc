"""ProcessCsvImport on a real database: what is written, what is refused, and what survives a kill."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import event

from app.execution import job_context
from app.extensions import db
from app.jobs import csv_import
from app.jobs.csv_import import CHUNK_ROWS, CLEARING, LastOnes
from app.services.content import contents
from tests.jobs.importing import figures, whole

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "tests/data/packages.csv"
HEAD = "reference,title,body\n"


def result(inserted=0, updated=0, unchanged=0, rejected=0) -> dict:
    return {
        "rows": inserted + updated + unchanged + rejected,
        "inserted": inserted, "updated": updated, "unchanged": unchanged, "rejected": rejected,
    }


def lines(n: int, title: str = "Title") -> str:
    return HEAD + "".join(f"ref-{i:05},{title} {i},Body {i}\n" for i in range(n))


# What is written

def test_a_real_file_goes_in_and_the_same_file_again_changes_nothing(imports):
    assert imports(PACKAGES) == result(inserted=200)
    before = imports.contents("*")
    assert len(before) == 200
    stored = imports.sql("SELECT tenant_id, title, attributes FROM contents WHERE reference = '0ad'")
    assert stored == [("acme", "Real-time strategy game of ancient warfare", '{"section": "games", "size": "7891488"}')]

    time.sleep(0.002)
    assert imports(PACKAGES) == result(unchanged=200)
    assert imports.contents("*") == before


def test_only_what_differs_is_updated(imports):
    imports(HEAD + "a,A,text\nb,B,text\n")
    (made, _), (other, _) = imports.contents("created_ms, updated_ms")
    time.sleep(0.002)
    assert imports(HEAD + "a,A,other text\nb,B,text\nc,C,text\n") == result(inserted=1, updated=1, unchanged=1)
    assert imports.contents() == [("a", "A", "other text"), ("b", "B", "text"), ("c", "C", "text")]
    (created, updated), (created_b, updated_b), _ = imports.contents("created_ms, updated_ms")
    assert created == made < updated and created_b == updated_b == other


def test_the_order_of_columns_is_no_difference_but_an_attribute_is(imports):
    imports("reference,title,body,size,colour\na,A,text,1,red\n")
    assert imports("colour,size,body,reference,title\nred,1,text,a,A\n") == result(unchanged=1)
    assert imports("colour,size,body,reference,title\nred,2,text,a,A\n") == result(updated=1)
    assert json.loads(imports.contents("attributes")[0][0]) == {"size": "2", "colour": "red"}


def test_tenants_do_not_meet(imports):
    assert imports(HEAD + "a,A,of acme\n", "acme") == result(inserted=1)
    assert imports(HEAD + "a,A,of other\n", "other") == result(inserted=1)
    assert imports(HEAD + "a,A,of none\n", None) == result(inserted=1)
    assert imports(HEAD + "a,A,of acme\n", "acme") == result(unchanged=1)
    assert imports.contents("tenant_id, body") == [("", "of none"), ("acme", "of acme"), ("other", "of other")]


def test_names_of_columns_in_any_case_and_cells_as_they_are(imports):
    content = '\ufeff Reference ;TITLE;"Body";Note  one;\n x1 ; À propos;"two\nlines";\'=1+1;z\n'
    assert imports(content) == result(inserted=1)
    assert imports.contents() == [("x1", " À propos", "two\nlines")]
    assert json.loads(imports.contents("attributes")[0][0]) == {"Note one": "=1+1", "column 5": "z"}


def test_a_header_alone_is_an_import_of_nothing(imports):
    assert imports(HEAD) == result()


# A reference twice

def test_the_last_of_a_reference_counts_also_over_chunks_and_nothing_flaps(imports, monkeypatch):
    monkeypatch.setattr(csv_import, "CHUNK_ROWS", 2)
    content = HEAD + "a,first,x\nb,B,x\na,second,x\nc,C,x\n" + "d,D,x\n" * 3 + "a,third,x\n"
    assert imports(content) == result(inserted=4, unchanged=4)
    assert imports.contents("reference, title") == [("a", "third"), ("b", "B"), ("c", "C"), ("d", "D")]
    before = imports.contents("*")
    time.sleep(0.002)
    assert imports(content) == result(unchanged=8)
    assert imports.contents("*") == before


def test_a_bad_last_row_does_not_hide_the_good_one_before(imports):
    assert imports(HEAD + "a,old,x\n a ,good,x\na,,x\n") == result(inserted=1, unchanged=1, rejected=1)
    assert imports.contents("reference, title") == [("a", "good")]


@pytest.mark.parametrize("bits", [1, 1000])
def test_last_ones_are_exact_whatever_collides(bits):
    last = LastOnes(0)
    last._bits = bytearray(bits)
    references = [f"r{i % 700}" for i in range(1000)]
    for number, reference in enumerate(references, 1):
        last.note(reference, number, number + 7)
    final = {reference: number for number, reference in enumerate(references, 1)}
    assert all(last.later(r, n) == (final[r] + 7 if final[r] > n else 0) for n, r in enumerate(references, 1))


def test_the_report_names_the_row_that_lost_and_the_line_that_counts(imports):
    uuid = imports.dispatch(HEAD + "a,first,x\n\nb,B,x\n a ,second,x\n\u200ba,third,x\n,bad,x\n")
    assert whole(imports.attempt()) == {**result(inserted=2, unchanged=2, rejected=1), "repeated": 2, "encoding": "UTF-8"}
    assert imports.contents("reference, title") == [("a", "third"), ("b", "B")]
    again = "The reference 'a' stands again in line 6: that row counts, this one changed nothing."
    assert imports.rejects("line, reason, row")[:2] == [(2, again, "a,first,x"), (5, again, " a ,second,x")]
    assert [line for (line,) in imports.rejects("line")] == [2, 5, 7]
    with imports.site.app_context():
        report = contents.reject_report(uuid)
    assert (report.total, report.rejected, report.repeated, report.kept) == (3, 1, 2, 3)


# Encoding and columns

def test_an_encoding_is_found_or_given_and_named_in_the_result(imports):
    for text, codec, name in (("Perché è così", "mac_roman", "Mac Roman"), ("Più caffè", "cp1252", "Windows-1252"), ("è", "utf-16", "UTF-16")):
        imports.dispatch((HEAD + f"x,{text},{text}\n").encode(codec))
        assert whole(imports.attempt())["encoding"] == name
        assert imports.contents("title, body") == [(text, text)]
        imports.sql("DELETE FROM contents")
    imports.dispatch((HEAD + "x,Dvořák,x\n").encode("cp1250"))
    outcome = imports.attempt()
    assert (outcome.status, outcome.retry) == ("failed", False) and imports.contents() == []
    assert "may be in Windows-1250, Windows-1257" in outcome.error and "Windows-1250: 2: x,Dvořák,x" in outcome.error
    imports.dispatch((HEAD + "x,Dvořák,x\n").encode("cp1250"), encoding="windows-1250")
    assert whole(imports.attempt())["encoding"] == "Windows-1250" and imports.contents("title") == [("Dvořák",)]
    with pytest.raises(TypeError, match="encoding must be one of utf-8"):
        imports.dispatch(HEAD, encoding="klingon")


def test_columns_are_named_by_hand(imports):
    content = "codice;titolo;testo;colore;title\n1;A;text;red;other\n"
    imports.dispatch(content, columns={"codice": "reference", "Titolo": "title", "testo": "body", "colore": "colour"})
    assert whole(imports.attempt())["inserted"] == 1 and imports.contents() == [("1", "A", "text")]
    assert json.loads(imports.contents("attributes")[0][0]) == {"colour": "red", "title": "other"}
    imports.dispatch(content, columns={"nowhere": "reference"})
    assert "'nowhere' as 'reference' cannot be read: the file has no such column" in imports.attempt().error


def test_empty_cells_of_columns_without_a_name_are_no_attributes(imports):
    imports("reference;title;body;size;;\na;A;x;1;;\nb;B;x;;2;\nc;C;x\n")
    assert [json.loads(text) for (text,) in imports.contents("attributes")] == [{"size": "1"}, {"size": "", "column 5": "2"}, {"size": ""}]


# Bad rows

def test_bad_rows_are_kept_with_line_and_reason_and_stop_nothing(imports):
    content = (
        HEAD                            # line 1
        + "a,A,text\n"
        + ",no reference,text\n"        # 3
        + "b, ,\n"                      # 4
        + "\n"
        + "c,C\n"                       # 6
        + 'd,"D\nof two lines",text\n'  # 7 and 8
        + "e,E,text,more\n"             # 9
        + f"{'f' * 256},F,text\n"       # 10
        + f"{'g' * 255},G,text\n"
        + 'h,"H,text\n'                 # 12: a quote that is never closed
        + "i,I,text\n"
        + "j,J\n"                       # 14
    )
    assert imports(content) == result(inserted=4, rejected=7)
    assert [reference[:1] for (reference,) in imports.contents("reference")] == ["a", "d", "g", "i"]
    reasons = dict(imports.rejects())
    assert list(reasons) == [3, 4, 6, 9, 10, 12, 14]
    assert "reference" in reasons[3] and "title, body" in reasons[4]
    assert "Too few cells: 2" in reasons[6] and "Too many cells: 4" in reasons[9]
    assert "256 characters" in reasons[10] and "quote" in reasons[12]
    assert imports.rejects("row")[2:4] == [("c,C",), ("e,E,text,more",)]


def test_a_refused_row_is_kept_as_read_and_cut_to_2_kb(imports):
    imports(HEAD + "a,,'=1+1\n" + "b,," + "è" * 5000 + "\n")
    (short,), (long,) = imports.rejects("row")
    assert short == "a,,'=1+1"
    assert long.endswith("è … [cut]") and 2000 < len(long.encode()) < 2100


def test_a_huge_cell_is_taken_and_a_larger_one_costs_its_row(imports):
    content = HEAD + f"a,A,{'x' * 1_048_576}\nb,B,{'y' * 1_048_577}\nc,C,text\n"
    assert imports(content) == result(inserted=2, rejected=1)
    assert imports.contents("reference, length(body)") == [("a", 1_048_576), ("c", 4)]


def test_the_report_keeps_so_many_rows_and_counts_all_over_kills_too(imports, monkeypatch):
    monkeypatch.setattr(csv_import, "REPORT_ROWS", 600)
    monkeypatch.setattr(csv_import, "CHUNK_COUNTED", 1000)
    uuid = imports.dispatch(HEAD + "x,,\n" * 4000 + "a,A,x\n" + "y,,\n" * 10)
    stored, chunks = csv_import.store, []

    def broken(*args):
        chunks.append(len(args[2]))
        if len(chunks) == 3:
            raise ValueError("on purpose")
        return stored(*args)

    with monkeypatch.context() as patch:
        patch.setattr(csv_import, "store", broken)
        assert imports.attempt().status == "failed" and chunks == [500, 1000, 1000]
    imports.again(uuid)
    assert figures(imports.attempt()) == result(inserted=1, rejected=4010)
    assert imports.sql("SELECT COUNT(*), MAX(line) FROM import_rejects") == [(600, 601)]
    assert imports.sql("SELECT rejected, kept, kept_bytes FROM import_runs") == [(4010, 600, 1800)]
    with imports.site.app_context():
        assert contents.report_counts(uuid) == contents.RejectReport(total=4010, rejected=4010, repeated=0, kept=600)
        assert list(contents.reject_csv(uuid))[-1] == ';"600 of 4,010 rows are shown: the first. All are counted.";\r\n'.replace('"', "")
    (log,) = imports.sql("SELECT group_concat(message, ' / ') FROM job_logs")[0]
    assert "The report keeps the first 600 of 4010 rows" in log


def test_the_report_keeps_so_much_text(imports, monkeypatch):
    monkeypatch.setattr(csv_import, "REPORT_BYTES", 10_000)
    assert imports(HEAD + f"x,,{'y' * 1000}\n" * 100) == result(rejected=100)
    (count, size), = imports.sql("SELECT COUNT(*), SUM(LENGTH(row)) FROM import_rejects")
    assert count == 10 and size == 10_030


@pytest.mark.slow
def test_millions_of_bad_rows_are_counted_in_seconds_with_little_memory_and_disk(imports, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(HEAD + "x,,\n" * 1_000_000)
    imports.dispatch(path)
    process = worker_process(imports, stdout=subprocess.PIPE, text=True)
    status, peak, run_ms, text = process.communicate(timeout=100)[0].splitlines()[-1].split(" ", 3)
    assert status == "completed" and json.loads(text)["rejected"] == 1_000_000
    assert imports.sql("SELECT COUNT(*) FROM import_rejects") == [(10_000,)]
    assert int(run_ms) < 60_000 and int(peak) < 150 * 2**20 and imports.file.stat().st_size < 10 * 2**20


# Files that cannot be read at all

@pytest.mark.parametrize(("content", "sentence"), [
    (b"", "empty"),
    (b"\xef\xbb\xbf\r\n  \r\n", "empty"),
    (b"reference,body\na,text\n", "no column title.*it has: reference, body"),
    (b"title\nx\n", "no columns reference and body"),
    (b"reference|title|body\na|A|text\n", "separated by comma, semicolon or tab"),
    (b"reference,title,body,Title\na,A,text,B\n", "'Title'? is named twice|'title' is named twice"),
    (b"reference,title,body\na,A,te\0xt\n", "NUL byte in line 2"),
    (b"reference,title,body\na,A,caf\xe9\nb,B,\x81\n", r"neither UTF-8 \(line 2\) nor Windows-1252 \(line 3\)"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture"),
    (bytes(range(1, 128)) * 40, "not text"),
])
def test_a_file_that_cannot_be_read_fails_at_once_with_a_sentence(imports, content, sentence):
    imports.dispatch(content)
    outcome = imports.attempt()
    assert (outcome.status, outcome.retry) == ("failed", False)
    assert re.search(sentence, outcome.error) and outcome.error[0].isupper() and outcome.error.endswith(".")
    assert "Error" not in outcome.error and imports.contents() == imports.rejects() == []


# Chunks, progress, stopping

def test_commits_are_of_at_most_500_rows_and_progress_is_live(imports, monkeypatch):
    monkeypatch.setattr(job_context, "EVERY_S", 0)
    content = lines(1200) + "bad,,\n" * 600
    seen, progress = [0], []

    def committed(_session):
        rows = imports.sql("SELECT (SELECT COUNT(*) FROM contents) + (SELECT COUNT(*) FROM import_rejects)")[0][0]
        seen.append(rows)
        progress.extend(imports.sql("SELECT progress_done, progress_total FROM jobs"))

    imports.dispatch(content)
    with imports.site.app_context():
        event.listen(db.session, "after_commit", committed)
        try:
            assert figures(imports.attempt()) == result(inserted=1200, rejected=600)
        finally:
            event.remove(db.session, "after_commit", committed)
    assert seen[-1] == 1800 and max(b - a for a, b in zip(seen, seen[1:], strict=False)) == CHUNK_ROWS == 500
    assert (500, 1800) in progress and (1500, 1800) in progress
    assert imports.sql("SELECT progress_done, progress_total FROM jobs") == [(1800, 1800)]


def test_a_cancelled_import_stops_between_chunks(imports, monkeypatch):
    monkeypatch.setattr(job_context, "EVERY_S", 0)
    stored = csv_import.store

    def then_cancel(*args):
        imports.sql("UPDATE jobs SET cancel_requested = 1")
        return stored(*args)

    monkeypatch.setattr(csv_import, "store", then_cancel)
    imports.dispatch(lines(1200))
    outcome = imports.attempt()
    assert outcome.status == "cancelled" and "behind record 500" in outcome.error
    assert len(imports.contents()) == 500


# Attempts

def test_an_attempt_that_breaks_inside_a_chunk_is_gone_on_with(imports, monkeypatch):
    imports(lines(300, "Old"))
    uuid = imports.dispatch(lines(1300) + "bad,,\n")
    with monkeypatch.context() as patch:
        def broken(*_):
            raise ValueError("no reject today")
        patch.setattr(csv_import, "reject", broken)
        assert imports.attempt().status == "failed"
    assert len(imports.contents()) == 1000  # the third chunk, with the bad row, is not there by half
    imports.again(uuid)
    assert figures(imports.attempt()) == result(inserted=1000, updated=300, rejected=1)
    imports.again(uuid)
    assert figures(imports.attempt()) == result(inserted=1000, updated=300, rejected=1)
    assert len(imports.contents()) == 1300 and len(imports.rejects()) == 1
    (log,) = imports.sql("SELECT group_concat(message, ' / ') FROM job_logs")[0]
    assert "going on behind record 1000" in log


WORKER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from app import create_app
from app.config import load_settings
from tests.jobs.importing import Imports
site = create_app(load_settings({"DATA_DIR": sys.argv[1]}))
outcome = Imports(site, Path(sys.argv[1])).attempt()
print(outcome.status, outcome.memory_peak, outcome.run_ms, outcome.result or outcome.error)
"""


def worker_process(imports, **options) -> subprocess.Popen:
    command = [sys.executable, "-c", WORKER, str(imports.file.parent), str(ROOT)]
    return subprocess.Popen(command, **options)


def test_killed_in_the_middle_the_next_attempt_ends_complete(imports):
    rows = 30_000
    uuid = imports.dispatch(lines(rows) + ",bad,row\n" * 700)
    for goal in (500, 9_000):  # the second kill hits an attempt that goes on
        process = worker_process(imports)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if (imports.sql("SELECT COALESCE(MAX(row_no), 0) FROM import_runs")[0][0]) >= goal:
                os.kill(process.pid, signal.SIGKILL)
                break
        assert process.wait(30) == -signal.SIGKILL
        done, counted = imports.sql("SELECT row_no, inserted + updated + unchanged + rejected FROM import_runs")[0]
        assert 0 < done == counted < rows, "the kill must hit the middle"
        assert len(imports.contents()) == done
        imports.again(uuid)
    assert figures(imports.attempt()) == result(inserted=rows, rejected=700)
    assert imports.sql("SELECT COUNT(*), COUNT(DISTINCT reference) FROM contents") == [(rows, rows)]
    assert imports.sql("SELECT COUNT(*), COUNT(DISTINCT line) FROM import_rejects") == [(700, 700)]


def test_two_attempts_at_once_write_each_row_once(imports, monkeypatch):
    """An attempt given up for dead lives on: the other one overtakes it in the middle of its work."""
    uuid = imports.dispatch(lines(2200) + "bad,,\n")
    saved, late, outcomes = csv_import.save, [], []

    def overtaken(chunk, source, last, done, ctx):
        if done == 500 and not late:
            late.append(1)
            imports.again(uuid)
            other = threading.Thread(target=lambda: outcomes.append(imports.attempt()))
            other.start()
            other.join(60)
        return saved(chunk, source, last, done, ctx)

    monkeypatch.setattr(csv_import, "save", overtaken)
    outcomes.append(imports.attempt())
    assert figures(outcomes[0]) == result(inserted=2200, rejected=1)
    assert outcomes[1].status == "cancelled" or figures(outcomes[1]) == result(inserted=2200, rejected=1)
    assert imports.sql("SELECT inserted, updated, unchanged, rejected FROM import_runs") == [(2200, 0, 0, 1)]


def test_an_attempt_goes_on_from_inside_a_chunk_that_another_began(imports, monkeypatch):
    """The other one committed a part of what this one holds: only the rest is written."""
    imports.dispatch(lines(450))
    stored, calls = csv_import.store, []

    def behind(ctx, done, rows, articles, *others):
        if not calls:
            calls.append(done)
            assert stored(ctx, done, rows[:200], dict(list(articles.items())[:200]), [])
        return stored(ctx, done, rows, articles, *others)

    monkeypatch.setattr(csv_import, "store", behind)
    assert figures(imports.attempt()) == result(inserted=450)
    assert len(imports.contents()) == 450


def test_a_lock_held_long_does_not_cost_the_attempt(imports, monkeypatch):
    imports.dispatch(lines(10))
    stored, calls = csv_import.store, []

    def locked(*args):
        calls.append(1)
        if len(calls) < 3:
            raise csv_import.OperationalError("UPDATE", {}, Exception("database is locked"))
        return stored(*args)

    monkeypatch.setattr(csv_import, "store", locked)
    assert figures(imports.attempt()) == result(inserted=10) and len(calls) == 3


def test_a_retry_by_hand_begins_anew_and_its_rejects_replace_the_old(imports):
    uuid = imports.dispatch(lines(3) + "x,,\n" * 1200)
    assert figures(imports.attempt()) == result(inserted=3, rejected=1200)
    (upload,) = imports.folder.glob("data/uploads/up_*")
    upload.write_text(lines(3) + "y,,text\n")
    imports.again(uuid, by_hand=True)
    assert figures(imports.attempt()) == result(unchanged=3, rejected=1)
    assert imports.rejects("line, row") == [(5, "y,,text")]


def test_killed_while_the_old_rejects_are_cleared_the_next_attempt_clears_the_rest(imports):
    uuid = imports.dispatch(lines(3) + "x,,\n" * 700)
    imports.attempt()
    imports.sql("UPDATE import_runs SET round = round + 1, row_no = ?, inserted = 0, rejected = 0", CLEARING)
    imports.again(uuid, by_hand=True)
    assert figures(imports.attempt()) == result(unchanged=3, rejected=700)


def test_an_attempt_of_an_older_round_changes_nothing(imports):
    uuid = imports.dispatch(lines(3) + "x,,\n")
    imports.sql("INSERT INTO import_runs VALUES (?, 7, 7, 0, 0, 0, 1000, 0, 0, 0, 0)", uuid)
    assert imports.attempt().status == "cancelled"
    assert imports.contents() == imports.rejects() == []
    assert imports.sql("SELECT row_no, inserted, round FROM import_runs") == [(7, 7, 1000)]


# Figures

@pytest.mark.slow
def test_60000_rows_stay_under_150_mb_and_5000_rows_under_5_s(imports, tmp_path):
    head, *rows = PACKAGES.read_text().splitlines(keepends=True)
    for copies, peak_mb, seconds in ((25, 150, 5), (300, 150, 60)):
        path = tmp_path / f"{copies}.csv"
        path.write_text(head + "".join(f"{i}-{row}" for i in range(copies) for row in rows))
        imports.dispatch(path, f"tenant-{copies}")
        process = worker_process(imports, stdout=subprocess.PIPE, text=True)
        status, peak, run_ms, _ = process.communicate(timeout=100)[0].splitlines()[-1].split(" ", 3)
        assert status == "completed" and int(run_ms) < seconds * 1000 and int(peak) < peak_mb * 2**20
    assert imports.sql("SELECT COUNT(*) FROM contents") == [(65_000,)]


# What a file replaces, and what it lacks

def test_a_replaced_body_is_a_version_and_columns_that_the_file_lacks_stay(imports):
    imports("reference,title,body,price,slug\na,A,one,5,s\nb,B,two,6,t\nc,C,three,7,u\nd,D, ,8,v\n".replace("D, ,", "D,four,"))
    imports.sql("UPDATE contents SET body = '' WHERE reference = 'd'")
    uuid = imports.dispatch(SHORT := "reference,title,body,slug\na,A,new,s\nb,B2,two,\nc,C,three,u\nd,D,five,v\n")
    assert figures(imports.attempt()) == {"rows": 4, "inserted": 0, "updated": 3, "unchanged": 1, "rejected": 0}
    kept = imports.contents("title, body, attributes")
    assert [(t, b, json.loads(a)) for t, b, a in kept] == [
        ("A", "new", {"price": "5", "slug": "s"}), ("B2", "two", {"price": "6", "slug": ""}), ("C", "three", {"price": "7", "slug": "u"}),
        ("D", "five", {"price": "8", "slug": "v"})], "an empty cell of a column that the file has empties it"
    versions = "SELECT c.reference, v.body, v.replaced_by, v.replaced_ms = c.updated_ms FROM content_versions v JOIN contents c ON c.id = v.content_id ORDER BY v.id"
    assert imports.sql(versions) == [("a", "one", uuid, 1)], "a text that was empty is no version"
    assert imports(SHORT)["unchanged"] == 4 and imports.contents("title, body, attributes") == kept and len(imports.sql(versions)) == 1


def test_a_further_round_keeps_what_it_replaces(imports):
    imports("reference,title,body\na,A,one\n")
    uuid = imports.dispatch("reference,title,body\na,A,two\n")
    imports.attempt()
    imports.sql("UPDATE contents SET body = 'by hand'")
    imports.again(uuid, by_hand=True)
    assert figures(imports.attempt())["updated"] == 1 and imports.contents("body") == [("two",)]
    assert imports.sql("SELECT body, replaced_by FROM content_versions") == [("by hand", uuid)]
