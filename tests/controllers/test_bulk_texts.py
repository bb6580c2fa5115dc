"""Many texts from the site: nothing is dispatched before the second button, which is shown with number, cost and budget."""

from __future__ import annotations

import html
import io
import json
import re

import pytest

from app.extensions import db
from app.models import Content, Generation, Job, Upload
from app.services.content import costs, generation_pages
from app.services.jobs import uploads
from app.support.clock import now_ms

EN = {"Accept-Language": "en"}
URL = "/admin/jobs/contents/bulk/"


@pytest.fixture
def filled(app):
    now = now_ms()
    with app.app_context():
        for n in range(3):
            db.session.add(Content(tenant_id="acme", reference=f"r{n}", title=f"Titolo {n}", body="prima" if n else "", created_ms=now, updated_ms=now))
        db.session.commit()
        generation_pages.save_template("acme", "scheda", "Di {nome}: {title}", "ada")
    return app


def send(admin, file: str | None = None, accept: str = "text/html", **fields):
    form = {"csrf_token": admin.csrf, "model": "gpt-4o-mini", **fields}
    if file is not None:
        form["path"] = (io.BytesIO(file.encode()), "testi.csv")
    return admin.post(URL, data=form, content_type="multipart/form-data", headers=EN | {"Accept": accept})


def shown(admin, file: str | None = None, **fields) -> tuple[str, str]:
    answer = send(admin, file, **fields)
    assert answer.status_code == 303, answer.text
    page = admin.get(answer.location, headers=EN)
    assert page.status_code == 200
    return answer.location, html.unescape(page.text)


def press(admin, url: str, page: str, step: str = "start", **fields):
    form = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)) | {"step": step}
    if found := re.search(r'name="columns" value="(\{.*?\})">', page):
        form["columns"] = found[1]
    for select in re.findall(r'<select.*?</select>', page, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected', select)
        form[re.search(r'name="([^"]+)"', select)[1]] = chosen[1] if chosen else ""
    return admin.post(url, data=form | {"csrf_token": admin.csrf} | fields, headers=EN)


def jobs(app) -> list[tuple[dict, str | None]]:
    with app.app_context():
        return [(json.loads(j.payload)["args"], j.tenant_id) for j in db.session.scalars(db.select(Job))]


def test_prompts_are_kept_counted_priced_and_started_by_the_second_button(filled, admin):
    url, page = shown(admin, prompts="=uno, due; \"tre\"\r\n\r\n  \r\n'=quattro\r\n", tenant="acme", approve="")
    assert jobs(filled) == []
    for told in ("Start 2 texts", "0.00096 USD", "too few answers", "The tenant has no budget"):
        assert told in page, told
    answer = press(admin, url, page)
    assert answer.status_code == 303 and "/admin/jobs/job/" in answer.location
    ((args, tenant),) = jobs(filled)
    assert tenant == "acme" and args["model"] == "gpt-4o-mini" and set(args) == {"path", "model"}
    with filled.app_context():
        from app.services.content.bulk_texts import Source, read

        found = read(Source(path=uploads.path_of(args["path"])), "acme", None, False)
        assert [t.prompt for t in found.texts] == ["=uno, due; \"tre\"", "'=quattro"]


def test_a_csv_is_previewed_with_its_bad_rows_and_mapped_by_hand(filled, admin):
    url, page = shown(admin, "name;riferimento\nPompa;r1\nTubo;zz\n", tenant="acme", template="scheda", approve="1")
    assert "no column nome" in page and "Start" not in page and "Column for nome" in page
    answer = press(admin, url, page, "again", **{"map-nome": "0"})
    assert answer.status_code == 303, re.findall(r'<p class="bad">(.*?)</p>', answer.text)
    page = html.unescape(admin.get(answer.location, headers=EN).text)
    for told in ("Start 1 text", "1 row rejected", "has no content 'zz'", "→ nome", "→ reference", "waits as a draft"):
        assert told in page, told
    assert press(admin, answer.location, page).status_code == 303
    ((args, _),) = jobs(filled)
    assert args["columns"] == {"name": "nome", "riferimento": "reference"} and args["approve"] is True and args["template"] == "scheda"


def test_the_budget_refuses_and_may_be_overruled_only_when_it_warns(filled, admin):
    def limit(hold: bool) -> None:
        with filled.app_context():
            costs.save_budget("acme", "0.01", "USD", hold, "ada")

    limit(True)
    url, page = shown(admin, prompts="x\n" * 50, tenant="acme")
    assert "above what the monthly budget of acme has left" in page and 'value="start"' not in page and "over_budget" not in page
    assert press(admin, url, page, over_budget="1").status_code == 400 and not jobs(filled)
    limit(False)
    page = html.unescape(admin.get(url, headers=EN).text)
    assert 'value="start"' in page and "nothing stops the texts" in page
    answer = press(admin, url, page)
    assert answer.status_code == 400 and not jobs(filled)
    assert press(admin, url, page, over_budget="1").status_code == 303 and jobs(filled)[0][0]["over_budget"] is True


def test_contents_without_a_body(filled, admin):
    url, page = shown(admin, missing="1", tenant="acme")
    assert "Start 1 text" in page
    assert press(admin, url, page).status_code == 303 and jobs(filled) == [({"missing": True, "model": "gpt-4o-mini"}, "acme")]
    _, page = shown(admin, missing="1", tenant="other")
    assert "No content of the tenant is without a body" in page and 'value="start"' not in page


@pytest.mark.parametrize("fields, words", [
    ({}, "one of three"), ({"prompts": "x", "missing": "1"}, "one of three"), ({"prompts": "x", "model": ""}, "required"),
    ({"prompts": "x", "tenant": "a b"}, "tenant may have"), ({"prompts": "x\0"}, "NUL"), ({"prompts": "x\n" * 10_001}, "at most 10000"),
])
def test_a_wrong_form_comes_back_with_what_was_typed(filled, admin, fields, words):
    answer = send(admin, **fields)
    assert answer.status_code == 400 and words in html.unescape(answer.text) and not jobs(filled)
    with filled.app_context():
        assert not db.session.scalar(db.select(Upload.id))
    assert words in json.dumps(send(admin, accept="application/json", **fields).json), "send() asks in English"


def test_scripts_get_figures_and_start(filled, admin):
    answer = send(admin, accept="application/json", prompts="uno\ndue", tenant="acme")
    url = answer.json["preview"]
    found = admin.get(url, headers={"Accept": "application/json"}).json
    assert (found["texts"], found["rejected"], found["error"], found["budget"]) == (2, 0, None, None) and found["estimate"]["cost_nano"] > 0
    upload = re.search(r"upload=(up_\w+)", url)[1]
    started = admin.post(url, data={"csrf_token": admin.csrf, "step": "start", "upload": upload, "model": "gpt-4o-mini"}, headers={"Accept": "application/json"})
    assert started.json["ok"] and started.json["count"] == 2 and len(jobs(filled)) == 1
    again = {"csrf_token": admin.csrf, "step": "start", "upload": upload, "model": "gpt-4o-mini"}
    assert "Start these texts again?" in admin.post(url, data=again, headers=EN).text and len(jobs(filled)) == 1, "another tab is asked"
    assert admin.post(url, data=again, headers={"Accept": "application/json"}).status_code == 409
    assert admin.post(url, data=again | {"again": "1"}, headers=EN).status_code == 303 and len(jobs(filled)) == 2
    gone = admin.post("/admin/jobs/contents/bulk/preview", data={"csrf_token": admin.csrf, "step": "start", "upload": "up_" + "0" * 32}, headers=EN)
    assert gone.status_code == 404


def test_the_new_job_form_leads_here_also_for_a_duplicate(filled, admin):
    assert admin.get("/admin/jobs/new/?type=ProcessBulkContentGeneration").location == URL
    url, page = shown(admin, missing="1", tenant="acme", template="scheda")
    assert "{nome}" in page and "only a CSV" in page
    from app import registry

    with filled.app_context():
        uuid = registry.find("ProcessBulkContentGeneration").with_options(tenant_id="acme").dispatch(prompts=["uno", "due"], template="scheda", model="gpt-x")
        db.session.commit()
    answer = admin.get(f"/admin/jobs/new/?like={uuid}")
    page = admin.get(answer.location, headers=EN).text
    assert "uno\ndue</textarea>" in page and 'value="gpt-x"' in page and 'value="acme"' in page and '<option value="scheda" selected>' in page


@pytest.fixture
def drafted(filled):
    now = now_ms()
    with filled.app_context():
        for n in range(3):
            db.session.add(Generation(uuid=f"00000000-0000-8000-8000-00000000000{n}", tenant_id="acme", reference=f"r{n}" if n < 2 else "gone", prompt=f"p{n}", model="m",
                                      status="answered", text=f"dopo <b>{n}</b>", raw="{}", draft="waiting", batch_id="00000000-0000-8000-8000-0000000000bb",
                                      cost_nano=10**9, currency="USD", created_ms=now))
        db.session.commit()
    return filled


def test_drafts_are_read_beside_the_body_and_decided_on(drafted, admin):
    batch = admin.get(f"{URL}00000000-0000-8000-8000-0000000000bb", headers=EN).text
    assert "3.00 USD" in batch and "1 without its content" in batch and 'href="/admin/jobs/contents/2"' in batch and "batch=00000000-0000-8000-8000-0000000000bb&amp;status=answered" in batch
    page = admin.get("/admin/jobs/contents/2", headers=EN).text
    assert "<del>prima</del>" in page and "&lt;b&gt;1" in page
    act = "/admin/jobs/contents/drafts/00000000-0000-8000-8000-000000000001/"
    assert admin.post(act + "accept", data={"csrf_token": admin.csrf, "next": "/admin/jobs/contents/2"}, headers=EN).location == "/admin/jobs/contents/2"
    page = admin.get("/admin/jobs/contents/2", headers=EN).text
    assert "dopo &lt;b&gt;1&lt;/b&gt;</pre>" in page and "prima</pre>" in page and "<del>" not in page
    again = admin.post(act + "refuse", data={"csrf_token": admin.csrf}, headers=EN | {"Accept": "application/json"})
    assert again.status_code == 409 and "already" in again.json["error"]
    assert admin.post(act + "burn", data={"csrf_token": admin.csrf}).status_code == 404
    question = admin.post(f"{URL}00000000-0000-8000-8000-0000000000bb/accept", data={"csrf_token": admin.csrf, "ask": "1"}, headers=EN)
    assert question.status_code == 200 and "Accept all drafts?" in question.text
    done = admin.post(f"{URL}00000000-0000-8000-8000-0000000000bb/accept", data={"csrf_token": admin.csrf}, headers={"Accept": "application/json"})
    assert done.json == {"ok": True, "count": 1}
    rows = admin.get(f"{URL}00000000-0000-8000-8000-0000000000bb/results.json").json["texts"]
    assert [r["draft"] for r in rows] == ["accepted", "accepted", "waiting"]
    found = admin.get(f"{URL}00000000-0000-8000-8000-0000000000bb/results.csv")
    assert found.text.count("\r\n") == 4 and "texts-00000000.csv" in found.headers["Content-Disposition"]
    listed = admin.get("/admin/jobs/generations/?batch=00000000-0000-8000-8000-0000000000bb&draft=waiting", headers={"Accept": "application/json"}).json
    assert len(listed["generations"]) == 1
    for path in ("00000000-0000-8000-8000-0000000000cc", "x", "00000000-0000-8000-8000-0000000000cc/results.csv", "x/results.json"):
        assert admin.get(URL + path).status_code == 404
    assert admin.get("/admin/jobs/contents/99").status_code == 404


def test_without_texts_no_cost_is_shown_and_without_contents_no_approval(admin, filled):
    _, page = shown(admin, "prompt;reference\nx;zz\n", tenant="acme")
    assert "1 row rejected" in page and "Estimated cost" not in page and "It rests on" not in page and "<dt>Approval" not in page
    _, page = shown(admin, prompts="uno\ndue")
    assert "Estimated cost" in page and "<dt>Approval" not in page
    _, page = shown(admin, "prompt;reference\nx;\ny;r1\n", tenant="acme")
    assert "Start 2 texts" in page and "<dt>Approval" in page
