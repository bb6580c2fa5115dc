"""The preview of a CSV import: a plain form, nothing is dispatched before the second button; scripts go on at once."""

from __future__ import annotations

import io
import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from app.extensions import db
from app.ledger.dialect import Connection
from app.models import Job, Upload
from app.services.content import import_rows
from app.services.instance import retention
from app.services.jobs import uploads

HEAD = "reference;title;body;size\n"


def send(admin, content: str | bytes, **fields):
    """The form of a new import, with this file."""
    content = content.encode() if isinstance(content, str) else content
    form = {"csrf_token": admin.csrf, "type": "ProcessCsvImport", "path": (io.BytesIO(content), "listino.csv"), **fields}
    return admin.post("/admin/jobs/new/", data=form, content_type="multipart/form-data", headers={"Accept-Language": "en"})


def shown(admin, content: str | bytes, language: str = "en", **fields) -> tuple[str, str]:
    """Address and text of the preview of a file."""
    answer = send(admin, content, **fields)
    assert answer.status_code == 303 and "/admin/jobs/new/preview/up_" in answer.location, answer.text[:2000]
    page = admin.get(answer.location, headers={"Accept-Language": language})
    assert page.status_code == 200
    return answer.location, page.text


def press(admin, url: str, page: str, step: str, **fields):
    """A button of the preview, with all that stands in its form."""
    form = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)) | {"step": step}
    form["columns"] = form["columns"].replace("&#34;", '"')
    for select in re.findall(r'<select.*?</select>', page, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected', select)
        form[re.search(r'name="([^"]+)"', select)[1]] = chosen[1] if chosen else ""
    return admin.post(url, data=form | {"csrf_token": admin.csrf} | fields, headers={"Accept-Language": "en"})


def jobs(app) -> list[dict]:
    with app.app_context():
        return [{"args": json.loads(j.payload)["args"], "tenant": j.tenant_id, "queue": j.queue, "state": j.state} for j in db.session.scalars(db.select(Job))]


def test_the_file_is_kept_shown_and_imported_only_when_confirmed(admin, app):
    url, page = shown(admin, HEAD + "a;Città;text;1\n" + "b;;text;2\n" * 3 + "c;C\n", tenant="acme", queue="high", delay="60")
    assert jobs(app) == []
    for told in ("listino.csv", "acme", "UTF-8", "separated by semicolon", "Città", "→ title", "5 rows, 4 rejected", "3, 4, 5"):
        assert told in page, told
    assert "Empty cell in a required column: title." in page and "Too few cells: 2, the first line names 4." in page
    answer = press(admin, url, page, "start")
    assert answer.status_code == 303 and "/admin/jobs/job/" in answer.location
    (job,) = jobs(app)
    assert (job["tenant"], job["queue"], job["state"], list(job["args"])) == ("acme", "high", "scheduled", ["path"])
    with app.app_context():
        upload = db.session.get(Upload, job["args"]["path"])
        assert (upload.filename, upload.tenant_id) == ("listino.csv", "acme") and upload.job_uuid in answer.location


def test_the_page_is_italian_for_italians(admin, app):
    _, page = shown(admin, HEAD + "a;;text;1\n", "it")
    assert 'lang="it"' in page and "Motivo" in page


def test_scripts_dispatch_at_once(admin, app):
    form = {"csrf_token": admin.csrf, "type": "ProcessCsvImport", "path": (io.BytesIO(HEAD.encode()), "a.csv"), "encoding": "windows-1252",
            "columns": '{"titolo": "title"}'}
    answer = admin.post("/admin/jobs/new/", data=form, content_type="multipart/form-data", headers={"Accept": "application/json"})
    assert answer.json["ok"] and answer.json["count"] == 1
    assert jobs(app)[0]["args"] | {"path": ""} == {"path": "", "encoding": "windows-1252", "columns": {"titolo": "title"}}


def test_other_types_with_a_file_have_no_preview(admin, app):
    form = {"csrf_token": admin.csrf, "type": "TestForm", "text": "x", "number": "7", "kind": "b", "file": (io.BytesIO(b"a,b\n"), "a.csv")}
    answer = admin.post("/admin/jobs/new/", data=form, content_type="multipart/form-data")
    assert answer.status_code == 303 and "/admin/jobs/job/" in answer.location and len(jobs(app)) == 1


def test_columns_are_proposed_and_mapped_by_hand(admin, app):
    url, page = shown(admin, "Codice;Nome;Note;Testo\na;A;n;text\n")
    assert "→ reference" in page and "→ title" in page and "→ body" in page and "0 rejected" in page
    again = press(admin, url, page, "again", **{"map-title": "2"})
    mapping = json.loads(parse_qs(urlsplit(again.location).query)["columns"][0])
    assert mapping == {"Codice": "reference", "Note": "title", "Testo": "body"}
    page = admin.get(again.location).text
    assert re.search(r">Note<span class=\"second\">→ title", page)
    assert press(admin, again.location, page, "start").status_code == 303
    assert jobs(app)[0]["args"]["columns"] == mapping


def test_a_column_for_two_things_and_a_missing_one_are_sentences(admin, app):
    url, page = shown(admin, "x;y;z\n1;2;3\n")
    assert "no columns reference, title and body" in page and 'value="start"' not in page
    assert ">2<" in page  # the first rows are shown, to choose by
    answer = press(admin, url, page, "start", **{"map-reference": "0", "map-title": "0", "map-body": "2"})
    assert answer.status_code == 400 and "cannot be read as two things" in answer.text
    answer = press(admin, url, page, "start", **{"map-reference": "0", "map-title": "99", "map-body": "2"})
    assert answer.status_code == 400 and "no column title" in answer.text and jobs(app) == []


def test_an_uncertain_encoding_is_asked_for_and_goes_into_the_job(admin, app):
    url, page = shown(admin, "reference;title;body\n1;Dvořák;x\n".encode("cp1250"))
    assert "its text does not tell which" in page and "In which encoding are these lines right?" in page
    assert "Dvořák" in page and "Dvoųįk" in page and 'value="start"' not in page
    answer = press(admin, url, page, "start")
    assert answer.status_code == 400 and jobs(app) == []
    again = press(admin, url, page, "again", encoding="windows-1250")
    page = admin.get(again.location).text
    assert "Dvořák" in page and "Dvoųįk" not in page
    assert press(admin, again.location, page, "start").status_code == 303
    assert jobs(app)[0]["args"]["encoding"] == "windows-1250"


@pytest.mark.parametrize(("content", "sentence"), [
    (b"", "The file is empty"), (b"PK\x03\x04 xlsx", "The file is an Excel workbook or a ZIP archive"), (b"a\0b,c\n", "NUL byte in line 1"),
])
def test_a_file_that_cannot_be_read_is_told_before_it_starts(admin, app, content, sentence):
    _, page = shown(admin, content)
    assert sentence in page and 'value="start"' not in page


def test_what_is_tampered_with_starts_nothing(admin, app):
    url, page = shown(admin, HEAD + "a;A;x;1\n", tenant="acme")
    for fields in ({"encoding": "klingon"}, {"columns": "[1]"}, {"columns": '{"a": 1}'}, {"columns": "{"}, {"queue": "fast"}, {"delay": "-1"},
                   {"columns": '{"nowhere": "note"}'}, {"columns": "\x00"}):
        answer = press(admin, url, page, "start", **{"map-reference": "", "map-title": "", "map-body": ""} | fields)
        assert answer.status_code == 400, (fields, answer.text[:500])
    press(admin, url, page, "start", tenant="other")
    assert [job["tenant"] for job in jobs(app)] == ["acme"]  # the tenant is that of the file
    for address in (url.split("?")[0], url):
        for bad in ("encoding=klingon", "columns=[]", "queue=x", "map-title=-1", "map-title=9999999999999999999999", "columns=%7B%22a%22%3A%22%22%7D"):
            assert admin.get(address + ("&" if "?" in address else "?") + bad).status_code in (200, 400)
    for name in ("up_" + "0" * 32, "up_x", "..%2f..%2fsecret-key", "%00"):
        assert admin.get(f"/admin/jobs/new/preview/{name}").status_code in (400, 404)


def test_nobody_but_a_super_admin_and_nothing_without_a_token(admin, user_client, app):
    url, page = shown(admin, HEAD + "a;A;x;1\n")
    assert user_client.get(url).status_code == 403 and app.test_client().get(url).status_code in (302, 303, 401)
    assert admin.post(url, data={"step": "start"}).status_code == 400 and jobs(app) == []


def test_a_large_file_is_looked_at_in_part_and_says_so(admin, app, monkeypatch):
    monkeypatch.setattr(import_rows, "PREVIEW_ROWS", 100)
    _, page = shown(admin, HEAD + "a;;x;1\n" * 101)
    assert "100 rows, 100 rejected" in page and "of the first 100 rows; the rest was not looked at" in page
    _, page = shown(admin, HEAD + "a;;x;1\n" * 100)
    assert "100 rows, 100 rejected" in page and "not looked at" not in page


def test_rows_whose_reference_stands_again_are_counted(admin, app):
    _, page = shown(admin, HEAD + "a;A;x;1\nb;B;x;1\n a ;A;x;1\n")
    assert "3 rows, 0 rejected, 1 whose reference stands again" in page


def test_an_abandoned_file_is_swept_and_its_page_says_so_and_one_with_a_job_is_not(admin, app):
    url, page = shown(admin, HEAD + "a;A;x;1\n")
    started, page_of_it = shown(admin, HEAD + "b;B;x;1\n")
    press(admin, started, page_of_it, "start")
    with app.app_context():
        db.session.execute(db.update(Upload).values(created_ms=0))
        db.session.commit()
        folder = uploads.folder()
    connection = Connection(app.extensions["settings"].database_url)
    assert retention.sweep_uploads(connection, folder) == 1
    connection.close()
    assert admin.get(started).status_code == 200
    for answer in (admin.get(url, headers={"Accept-Language": "en"}), press(admin, url, page, "start")):
        assert answer.status_code == 404 and "Choose it again" in answer.text


def test_a_duplicate_is_previewed_with_its_choices_and_gets_a_file_of_its_own(admin, app):
    url, page = shown(admin, "Codice;title;body\na;A;x\n", encoding="utf-8")
    first = press(admin, url, page, "start").location.rsplit("/", 1)[1]
    form = admin.get(f"/admin/jobs/new/?like={first}").text
    assert "&#34;Codice&#34;" in form
    sent = {"csrf_token": admin.csrf, "type": "ProcessCsvImport", "like": first, "encoding": "utf-8", "columns": '{"Codice": "reference"}'}
    answer = admin.post("/admin/jobs/new/", data=sent)
    assert answer.status_code == 303 and "/preview/up_" in answer.location
    page = admin.get(answer.location).text
    assert press(admin, answer.location, page, "start").status_code == 303
    one, two = jobs(app)
    assert one["args"]["path"] != two["args"]["path"] and one["args"] | {"path": ""} == two["args"] | {"path": ""}
