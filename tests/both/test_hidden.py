"""Viewers see no data of jobs: a word is planted wherever data are, and stands in no answer to a viewer."""

from __future__ import annotations

import pytest

from app.extensions import db
from app.models import Audit, Notice, SavedView, User
from app.services.jobs import facts
from app.services.people import accounts
from app.support import privacy
from app.support.clock import now_ms
from app.support.messages import Message, to_json
from tests.both.test_pages import HTML, JSON, PARTS, addresses, some
from tests.conftest import PASSWORD, sign_in

WORD = "zanzibar"
OBJECT = f'{{"text": "{WORD}", "title": "{WORD}"}}'
# By table, what its columns get; payloads keep their shape.
PLANTED = {
    "jobs": {"reason": WORD, "progress_note": WORD}, "failed_jobs": {"error": WORD, "exception": f"Traceback\nE: {WORD}"},
    "job_history": {"error": WORD, "error_json": None, "traceback": f"E: {WORD}", "result": OBJECT},
    "job_metrics": {"error_message": WORD, "error_json": None, "traceback": f"E: {WORD}"}, "job_logs": {"message": WORD},
    "job_texts": {"text": WORD}, "error_groups": {"title": WORD, "error": WORD, "error_json": None}, "uploads": {"filename": f"{WORD}.csv"},
    "job_batches": {"name": WORD}, "contents": {"title": WORD, "body": WORD, "attributes": OBJECT}, "content_versions": {"body": WORD},
    "import_rejects": {"reason": WORD, "row": WORD}, "generations": {"prompt": WORD, "text": WORD, "error": WORD, "raw": OBJECT},
    "prompt_templates": {"body": WORD}, "sync_actions": {"text": WORD, "reference": WORD, "url": f"https://{WORD}.test/"},
    "sync_links": {"sent": OBJECT, "base": OBJECT, "ours": OBJECT, "theirs": OBJECT, "url": f"https://{WORD}.test/"},
    "schedules": {"args": OBJECT}, "connections": {"error": WORD, "test_text": WORD},
}
LOGGED = [("pause", f"batch {WORD}", "until a person resumes"), ("keep ours", WORD, "done"), ("retry", f'list {{"q": "{WORD}"}}', "2 of 3"), ("what comes", WORD, WORD),
          ("test connection", "openai of acme", WORD), ("edit", "00000000-0000-4000-8000-000000000000", WORD), ("new view", WORD, "for all"), ("undo", WORD, WORD)]


@pytest.fixture(scope="module")
def planted(site):
    """The site with the word in each column that has data, and a client of each kind of viewer by name."""
    facts.advance(site.ledger.connection)
    for table in ("jobs", "failed_jobs", "job_history"):
        site.ledger.change(f"UPDATE {table} SET payload = REPLACE(payload, '_nero', '{WORD}')")
    for table, values in PLANTED.items():
        put = ", ".join(f"{column} = :{column}" for column in values)
        some = "WHERE job_type IS NOT NULL" if table == "schedules" else "WHERE status IN ('failed', 'timeout')" if table == "job_metrics" else ""
        site.ledger.change(f"UPDATE {table} SET {put} {some}", **values)
    site.ledger.change("UPDATE alerts SET link = :link", link=f"/admin/jobs/list?state=failed&q={WORD}")
    with site.app.app_context():
        db.session.add_all(Audit(at_ms=now_ms(), actor="ada", action=a, subject=s, result=r) for a, s, r in LOGGED)
        db.session.add(SavedView(owner="", name="theirs", query=f'{{"q": "{WORD}"}}', made_by="ada", created_ms=now_ms()))
        db.session.add(SavedView(owner="", name="args", query=f'{{"args.text": "{WORD}"}}', made_by="ada", created_ms=now_ms()))
        db.session.commit()
        accounts.create_user("viewer@example.org", "viewer", PASSWORD)
        accounts.create_user("seeing@example.org", "viewer", PASSWORD, sees_data=True)
        for row in db.session.scalars(db.select(User.id).where(User.role == "viewer")).all():  # told when they might see data
            title, text = (to_json(Message(sentence, name=WORD, error=WORD)) for sentence in ("Batch completed: %(name)s", "%(told)s %(error)s"))
            db.session.add(Notice(user_id=row, kind="batch", subject="00000000", title=title, body=to_json(Message("It has ended.")), link="/admin/jobs/batches/0", created_ms=now_ms()))
            db.session.add(Notice(user_id=row, kind="job", subject="00000000", title=to_json(Message("It has ended.")), body=text, link="/admin/jobs/job/0", created_ms=now_ms()))
        db.session.commit()
    site.viewers = {name: sign_in(site.app, f"{name}@example.org") for name in ("viewer", "seeing")}
    return site


def told(site, name: str, headers: dict[str, str]) -> tuple[set[str], set[str]]:
    """Endpoints whose answers to a viewer have the word, and addresses that were answered by an error of ours."""
    found, wrong, match = set(), set(), site.app.url_map.bind("localhost").match
    every = addresses(site)
    if headers != HTML or name == "seeing" or site.kind == "postgresql":  # the same is read: some of each endpoint
        every = [address for rows in some(every, site, 3 if headers != HTML and site.kind == "postgresql" else 8).values() for address in rows]
    for address in every:
        answer = site.viewers[name].get(address, headers=headers)
        if WORD in (answer.get_data().decode("utf-8", "replace") + str(answer.headers)).lower():
            found.add(match(address.partition("?")[0])[0])
        if answer.status_code >= 500 and not address.startswith("/readyz"):
            wrong.add(address)
        answer.close()
    return found, wrong


@pytest.mark.parametrize("headers", [HTML, JSON, JSON | {"X-Partials": PARTS}], ids=["html", "json", "parts"])
def test_a_viewer_finds_the_word_nowhere(planted, headers):
    assert told(planted, "viewer", headers) == (set(), set())


def test_a_viewer_who_sees_data_finds_it(planted):
    found, wrong = told(planted, "seeing", HTML)
    pages = {name.removeprefix("admin.jobs.") for name in found}
    assert pages >= {"index", "list", "job", "export", "batches.index", "batches.one", "errors.index", "contents.index", "contents.one", "contents.report", "generations.index",
                     "generations.one", "generations.templates", "syncs.job", "syncs.csv", "syncs.link", "queues", "log", "log-export", "recurring-one", "views.index", "connections.index", "notices.feed", "reports.report", "account.index"}
    assert not wrong


def test_a_viewer_cannot_ask_what_is_hidden(planted):
    """Searches would tell data bit by bit; they are refused with a sentence, and their fields are not there."""
    viewer, seeing = planted.viewers["viewer"], planted.viewers["seeing"]
    viewer.set_cookie("lang", "en")  # an address above was that of the other language
    for query in (f"list?q={WORD}", f"list?args.text={WORD}", f"list?arg_name=text&arg_value={WORD}", f"list.csv?q={WORD}", f"batches?q={WORD}"):
        refused, allowed = (client.get(f"/admin/jobs/{query}", headers=JSON, follow_redirects=True) for client in (viewer, seeing))
        assert refused.status_code == 400 and "cannot search" in refused.json["error"], query
        assert allowed.status_code == 200, query
        allowed.close()
        page = viewer.get(f"/admin/jobs/{query}", headers=HTML, follow_redirects=True)
        assert page.status_code == 400 and "cannot search" in page.text, query
    assert not any(f'name="{name}"' in viewer.get("/admin/jobs/list").text for name in ("q", "arg_name"))
    assert {e["text"] for e in viewer.get(f"/admin/jobs/palette.json?q={WORD}").json["entries"]} == set()
    numbers = {row["id"]: row["name"] for row in seeing.get("/admin/jobs/views", headers=JSON).json["views"]}
    assert set(numbers.values()) >= {"theirs", "args"} and viewer.get("/admin/jobs/views", headers=JSON).json["views"] == []
    assert {viewer.get(f"/admin/jobs/views/{id}").status_code for id in numbers} == {404}
    heads = [client.get("/admin/jobs/list.csv").text.splitlines()[0] for client in (viewer, seeing)]
    assert "arguments" not in heads[0] and "error" not in heads[0] and heads[1].endswith("arguments;error")


def test_what_is_hidden_is_never_written_back(planted):
    """A viewer who saves a view of his own changes no other row."""
    viewer, ledger = planted.viewers["viewer"], planted.ledger
    before = [ledger.connection.fetch_all(f"SELECT * FROM {table} ORDER BY id") for table in ("jobs", "job_batches", "contents")]
    assert viewer.post("/admin/jobs/views", data={"csrf_token": viewer.csrf, "name": "mine", "state": "failed"}, headers=JSON).status_code == 200
    assert before == [ledger.connection.fetch_all(f"SELECT * FROM {table} ORDER BY id") for table in ("jobs", "job_batches", "contents")]


def test_every_column_that_may_hold_data_is_in_the_table():
    """A text column of a new table is either here or one that names no data."""
    harmless = {table.name for table in db.metadata.tables.values()} - privacy.COLUMNS.keys()
    assert {"jobs", "job_history", "uploads", "generations"}.isdisjoint(harmless)
    for table, names in privacy.COLUMNS.items():
        assert names <= set(db.metadata.tables[table].columns.keys()), table
