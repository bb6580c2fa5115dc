"""The New job form: fields from the signature, a file, the same rules as the command line."""

from __future__ import annotations

import io
import json
import re

import pytest

from app.controllers.new_job import read
from app.extensions import db
from app.models import Job, Upload
from app.registry import Field
from app.support.validation import ValidationError, parse_json


def test_a_form_becomes_a_job_with_typed_arguments(admin, app):
    form = {"csrf_token": admin.csrf, "type": "TestForm", "text": "hello", "number": "7", "kind": "b", "ratio": "0.25", "flag": "1",
            "extra": '{"a": [1]}', "tenant": "acme", "queue": "high", "delay": "60", "file": (io.BytesIO(b"a,b\n"), "ä list.csv")}
    answer = admin.post("/admin/jobs/new/", data=form, content_type="multipart/form-data")
    assert answer.status_code == 303 and "/admin/jobs/job/" in answer.location
    with app.app_context():
        job = db.session.scalar(db.select(Job))
        args = json.loads(job.payload)["args"]
        upload = db.session.get(Upload, args.pop("file"))
        assert args == {"text": "hello", "number": 7, "kind": "b", "ratio": 0.25, "flag": True, "extra": {"a": [1]}}
        assert (job.queue, job.tenant_id, job.state, job.created_by) == ("high", "acme", "scheduled", "admin@example.org")
        assert (upload.filename, upload.tenant_id, upload.size) == ("ä list.csv", "acme", 4)
    page = admin.get(answer.location).text
    assert "hello" in page and job.uuid in page


def test_every_wrong_field_says_so_and_nothing_is_written(admin, app):
    form = {"csrf_token": admin.csrf, "type": "TestForm", "text": "", "number": "seven", "kind": "c", "tenant": "no blanks", "queue": "fast", "delay": "-1"}
    answer = admin.post("/admin/jobs/new/", data=form)
    assert answer.status_code == 400
    assert answer.text.count('class="wrong"') >= 5
    with app.app_context():
        assert db.session.scalar(db.select(db.func.count()).select_from(Job)) == 0


def test_a_job_page_shows_a_failure_whole(admin, app, data_dir):
    from app import registry
    from app.ledger import claim as claiming
    from app.ledger.dialect import Connection
    from app.ledger.settle import Outcome, settle

    with app.app_context():
        uuid = registry.find("TestFail").with_options(tries=1, tenant_id="acme").dispatch(text="<b>bold</b>")
        db.session.commit()
    connection = Connection(app.extensions["settings"].database_url)
    job = claiming.claim(connection, claiming.claim_statement(("default",)), "w1", "w1")
    settle(connection, job, Outcome("failed", error="RuntimeError: <b>bold</b>", traceback='Traceback:\n  File "x.py", line 1, in y\nRuntimeError'), "sqlite")
    page = admin.get(f"/admin/jobs/job/{uuid}").text
    assert "RuntimeError: &lt;b&gt;bold&lt;/b&gt;" in page and "<b>bold</b>" not in page
    assert "jobs dispatch TestFail" in page
    assert admin.get(f"/admin/jobs/job/{uuid}", headers={"Accept": "application/json"}).json["attempts"][0]["status"] == "failed"


def test_a_text_of_several_lines_keeps_them_when_it_is_edited(admin, app):
    from app import registry

    lines = "first\nsecond\n\nlast"
    with app.app_context():
        uuid = registry.find("TestFail").with_options(delay=600).dispatch(text=lines)
        db.session.commit()
    page = admin.get(f"/admin/jobs/new/edit/{uuid}").text
    assert f'rows="4">{lines}</textarea>' in page
    sent = {"csrf_token": admin.csrf, "text": lines.replace("\n", "\r\n")}  # what a browser makes of it
    assert admin.post(f"/admin/jobs/new/edit/{uuid}", data=sent).status_code == 303
    with app.app_context():
        assert json.loads(db.session.scalar(db.select(Job.payload).where(Job.uuid == uuid)))["args"] == {"text": lines}


def test_a_type_refuses_arguments_that_can_never_work(admin, app):
    """The check of a type, from code, the form, scripts and the command line; nothing is written."""
    from app import registry
    from app.jobs import job

    def check(args, tenant_id):
        if args["n"] > 3 and tenant_id != "acme":
            raise ValueError("Only acme has more than three.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_known", dict(registry._known))
        checked = job("TestChecked", check=check)(lambda n: n)
        with app.app_context():
            for call in (lambda: checked.dispatch(n=4), lambda: checked.dispatch_many([{"n": 1}, {"n": 4}])):
                with pytest.raises(ValidationError, match="Only acme"):
                    call()
            checked.with_options(tenant_id="acme").dispatch(n=4)
            db.session.commit()
        form = {"csrf_token": admin.csrf, "type": "TestChecked", "n": "4"}
        for accept in ("text/html", "application/json"):
            answer = admin.post("/admin/jobs/new/", data=form, headers={"Accept": accept})
            assert answer.status_code == 400 and "Only acme has more than three." in answer.text
        told = app.test_cli_runner().invoke(args=["jobs", "dispatch", "TestChecked", "--args", '{"n": 4}'])
        assert told.exit_code == 2 and told.stderr == "Only acme has more than three.\n"
    with app.app_context():
        assert db.session.scalar(db.select(db.func.count()).select_from(Job)) == 1


def test_a_bulk_that_can_never_work_is_refused_with_its_sentence(admin, app):
    form = {"csrf_token": admin.csrf, "type": "ProcessBulkContentGeneration"}
    for accept in ("text/html", "application/json"):
        answer = admin.post("/admin/jobs/new/", data=form, headers={"Accept": accept, "Accept-Language": "it"})
        assert answer.status_code == 400 and "Indica una di tre cose" in answer.text
    form = {"csrf_token": admin.csrf, "model": "gpt-4o-mini", "missing": "1"}
    answer = admin.post("/admin/jobs/contents/bulk/", data=form, headers={"Accept-Language": "en"})
    assert answer.status_code == 400 and "Name the tenant whose contents get a body." in answer.text


@pytest.mark.parametrize(("text", "whole", "number"), [
    ("zehn", None, None), ("12 px", None, None), ("{}", None, None), ("null", None, None), ("true", None, None), ("--1", None, None), ("1,2,3", None, None), ("0x10", None, None),
    ("NaN", None, None), ("٣", None, None), ("5", 5, 5), ("+5", 5, 5), ("007", 7, 7), ("-04", -4, -4), ("-0", 0, 0), (" 12 ", 12, 12), ("1 234", 1234, 1234), ("0.5", 0.5, 0.5), ("00,5", 0.5, 0.5), ("1e3", 1000.0, 1000.0)])
@pytest.mark.parametrize(("lang", "said"), [("en", ("Write a whole number, for example 12.", "Write a number, for example 0.5.")),
                                            ("it", ("Scrivi un numero intero, per esempio 12.", "Scrivi un numero, per esempio 0,5."))])
def test_a_field_of_numbers_speaks_of_numbers(app, lang, said, text, whole, number):
    for kind, hint, wanted, sentence in (("int", int, whole, said[0]), ("float", float, number, said[1])):
        with app.test_request_context(method="POST", data={"n": text}, headers={"Accept-Language": lang}):
            if wanted is None:
                with pytest.raises(ValidationError) as refused:
                    read(Field("n", hint, True, None, kind), None)
                assert str(refused.value) == sentence
            else:
                assert read(Field("n", hint, True, None, kind), None) == wanted


@pytest.mark.parametrize("text", ["x", '{"a" 1}', "[1,]", '{"a":1,}', '"abc', "{a:1}", "[1 2]", "1 2", '"\\q"', '"\\u12"', '"a\nb"'])
def test_what_is_wrong_with_json_is_said_in_italian(app, text):
    with app.test_request_context(headers={"Accept-Language": "it"}), pytest.raises(ValidationError) as refused:
        parse_json(text)
    assert str(refused.value).startswith("Questo JSON non è valido: ") and not re.search("[A-Z]", str(refused.value).split(": ", 1)[1]), str(refused.value)
