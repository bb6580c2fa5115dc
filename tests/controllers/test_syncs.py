"""Pages of contents and their syncs as a person without JavaScript uses them, and as a script does."""

from __future__ import annotations

import json
import re
from contextvars import Context
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from app import registry
from app.extensions import db
from app.ledger.claim import claim, claim_statement
from app.ledger.dialect import Connection
from app.ledger.settle import Outcome, settle
from app.models import ContentVersion, Job, JobBatch, SyncLink
from app.support.messages import Message
from tests.syncing import UUID, action, connect, content, link

HERE, JSON = "/admin/jobs/contents", {"Accept": "application/json"}
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture
def site(app, admin):
    """The client of a super-admin, beside an application context of the test that its requests do not see."""

    def apart(call):
        def called(*args, **options):
            db.session.commit()
            answer = Context().run(whole, call, *args, **options)
            db.session.rollback()
            return answer
        return called

    def whole(call, *args, **options):
        answer = call(*args, **options)
        answer.get_data()
        return answer

    with app.app_context():
        yield SimpleNamespace(get=apart(admin.get), post=apart(admin.post), csrf=admin.csrf)


def get(admin, path: str, language: str = "en", status: int = 200) -> str:
    answer = admin.get(path, headers={"Accept-Language": language, "Accept": "text/html"})
    assert answer.status_code == status, answer.text[:500]
    return answer.text


def post(admin, path: str, headers=None, **fields):
    return admin.post(path, data=fields | {"csrf_token": admin.csrf}, headers={"Accept-Language": "en"} | (headers or {}))


def jobs() -> list[dict]:
    db.session.rollback()
    return [{"type": j.job_type, "tenant": j.tenant_id, **json.loads(j.payload)["args"]} for j in db.session.scalars(select(Job).order_by(Job.id))]


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


# The list

def test_the_list_has_filters_counts_and_states(site):
    connect()
    both = content("both")
    link(both, "conflict")
    link(both, "synced", "prestashop", changed=True)
    content("bare", body="")
    page = get(site, f"{HERE}?state=conflict")
    assert "1 matches." in page and ">both<" in page and ">bare<" not in page and "Changed here since" in page
    assert "1 content was changed at a service" in words(page)
    assert "2 in all." in get(site, HERE) and "Nothing matches" in get(site, f"{HERE}?state=gone") and ">bare<" in get(site, f"{HERE}?missing=1")
    found = site.get(f"{HERE}?service=wordpress&state=conflict", headers=JSON).json
    assert (found["total"], found["exact"], found["older"]) == (1, True, None)
    assert [(c["reference"], c["services"]) for c in found["contents"]] == [("both", {"wordpress": "conflict", "prestashop": "changed"})]
    for bad in ("state=odd", "service=odd", "q=%00"):
        assert site.get(f"{HERE}?{bad}", headers=JSON).status_code == 400


def test_pages_follow_each_other_with_their_filters(site):
    for n in range(60):
        link(content(f"r{n:02}"), "gone")
    first = site.get(f"{HERE}?state=gone", headers=JSON).json
    assert len(first["contents"]) == 50 and first["total"] == 60 and "state=gone" in first["older"]
    assert [c["reference"] for c in site.get(first["older"], headers=JSON).json["contents"]] == [f"r{n:02}" for n in range(9, -1, -1)]


def test_the_list_without_any_connection_offers_no_sync(site):
    content("r")
    assert "Sync the selected" not in get(site, HERE)
    connect("other", "wordpress")
    assert "Sync the selected with WordPress" in get(site, HERE)


def test_the_ticked_are_synced_after_a_question(site):
    connect()
    a, b, _c = (content(name) for name in "abc")
    asked = post(site, f"{HERE}/sync", id=[a, b], to="wordpress", status="draft", dry_run="1", ask="1", next=HERE)
    assert asked.status_code == 200 and "Sync 2 contents with WordPress?" in asked.text and "A dry run" in asked.text and jobs() == []
    fields = [(n, v) for n, v in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', asked.text) if n != "csrf_token"]
    answer = post(site, f"{HERE}/sync", **{n: [v for name, v in fields if name == n] for n, _v in fields})
    assert answer.status_code == 303 and "/batches/" in answer.location
    assert jobs() == [{"type": "ProcessWordPressSync", "tenant": "acme", "references": ["a", "b"], "status": "draft", "dry_run": True}]


def test_all_that_match_are_synced_up_to_the_newest_of_the_page(site):
    connect()
    first = [content(f"r{n}") for n in range(3)]
    later = content("r3")
    content("other", title="x")
    answer = post(site, f"{HERE}/sync", JSON, scope="all", q="r", to="prestashop", top=first[-1])
    assert answer.json == {"ok": True, "count": 3, "batch": answer.json["batch"]} and later > first[-1]
    assert jobs() == [{"type": "ProcessPrestaShopSync", "tenant": "acme", "references": ["r0", "r1", "r2"]}]
    assert db.session.get(JobBatch, answer.json["batch"]).created_by == "admin@example.org"


@pytest.mark.parametrize(("fields", "told"), [
    ({"to": "wordpress", "tick": "beta"}, "beta has no connection to WordPress"), ({"to": "odd", "tick": "acme"}, "Choose a service"),
    ({"to": "wordpress"}, "nothing to sync"), ({"to": "wordpress", "tick": "acme", "status": "odd"}, "Unknown status"),
    ({"to": "prestashop", "tick": "acme", "status": "draft"}, "knows no status"), ({"to": "wordpress", "id": ["x", "9" * 30]}, "nothing to sync"),
    ({"to": "wordpress", "id": list(range(1, 1200))}, "at most 1000"),
])
def test_what_cannot_be_synced_is_told(site, fields, told):
    connect()
    ids = {tenant: content("r", tenant) for tenant in ("acme", "beta")}
    if tick := fields.pop("tick", None):
        fields = fields | {"id": ids[tick]}
    answer = post(site, f"{HERE}/sync", JSON, **fields)
    assert answer.status_code == 400 and told in answer.json["error"] and jobs() == []


# A content

def test_the_page_of_a_content_says_all_about_it(site):
    connect("acme", "wordpress")
    number = content("r", updated=9000, body=EVIL, title="Sedia", price="12.50", note=EVIL)
    link(number, url="https://blog.test/7", edit_url="javascript:alert(1)", changed=True)
    link(number, "gone", "prestashop")
    action(number, "created", "Created.")
    db.session.add(ContentVersion(content_id=number, body="old\ntext", replaced_ms=1, replaced_by=UUID))
    page = get(site, f"{HERE}/{number}?version=1")
    for told in ("Changed here since", "Gone there", "https://blog.test/7", "Sync now", "acme has no connection to it", "12.50", "Choose what to do", "Created.", "What was changed", "status as it is"):
        assert told in page, told
    assert "<script>alert" not in page and "<img src=x" not in page and "javascript:" not in page and page.count("Sync now</button>") == 1
    found = site.get(f"{HERE}/{number}", headers=JSON).json
    assert found["content"]["attributes"] == {"price": "12.50", "note": EVIL} and found["jobs_total"] == 1 and len(found["links"]) == 2
    assert "Dove si trova" in get(site, f"{HERE}/{number}", "it")
    assert get(site, f"{HERE}/{number}?version=99") and get(site, f"{HERE}/{number + 1}", status=404)


def test_a_long_body_is_cut_and_it_is_said(site):
    page = get(site, f"{HERE}/{content('r', body='x' * 300_000)}")
    assert re.findall(r'<p class="cut">([^<]*)</p>', page) == ["The first 100,000 of 300,000 characters are shown."], words(page.replace("x" * 1000, ""))[-1500:]
    assert len(page) < 150_000


def test_a_constant_in_a_template_has_the_language_of_each_reader(app):
    def read(language: str, template=None):
        with app.test_request_context(headers={"Accept-Language": language}):
            template = template or app.jinja_env.from_string("{{ 100000|number }}")
            return template, template.render()

    template, italian = read("it")
    assert (italian, read("en", template)[1], read("en")[1]) == ("100.000", "100,000", "100,000")


def test_sync_now_dispatches_one_job(site):
    connect()
    number = content("r")
    answer = post(site, f"{HERE}/{number}/sync", to="wordpress", status="publish")
    assert answer.status_code == 303 and "/admin/jobs/job/" in answer.location
    assert jobs() == [{"type": "ProcessWordPressSync", "tenant": "acme", "references": ["r"], "status": "publish"}]
    assert post(site, f"{HERE}/{number + 9}/sync", JSON, to="wordpress").status_code == 404
    assert post(site, f"{HERE}/{number}/sync", JSON, to="").status_code == 400 and len(jobs()) == 1


# Conflicts

def conflict(**more) -> int:
    sides = {"ours": {"title": "Ours"}, "base": {"title": "Old"}, "theirs": {"title": EVIL}}
    return link(content("r"), "conflict", **sides | more)


def test_a_conflict_is_shown_and_decided_with_plain_forms(site):
    connect()
    number = conflict()
    page = get(site, f"{HERE}/links/{number}")
    assert "Keep ours" in page and "Last common text" in page and "<script>alert" not in page and 'name="changed_ms" value="3000"' in page
    answer = post(site, f"{HERE}/links/{number}", decision="ours", changed_ms="3000")
    assert answer.status_code == 303 and "/admin/jobs/job/" in answer.location and jobs()[0]["references"] == ["r"]
    assert "admin@example.org chose ours" in get(site, f"{HERE}/links/{number}")
    again = post(site, f"{HERE}/links/{number}", JSON, decision="theirs", changed_ms="3000")
    assert again.status_code == 409 and "changed after this page" in again.json["error"] and len(jobs()) == 1
    found = site.get(f"{HERE}/links/{number}", headers=JSON).json
    assert found["choices"] == ["ours", "theirs", "later"] and found["fields"][0]["name"] == "title"


def test_bad_decisions_are_told(site):
    number = conflict()
    for fields, status in (({"decision": "odd", "changed_ms": "3000"}, 400), ({"decision": "ours"}, 400), ({"decision": "ours", "changed_ms": "x"}, 400),
                           ({"decision": "ours", "changed_ms": "3000"}, 400)):  # the last: no connection
        assert post(site, f"{HERE}/links/{number}", JSON, **fields).status_code == status, fields
    assert post(site, f"{HERE}/links/{number + 1}", JSON, decision="ours", changed_ms="3000").status_code == 404
    assert jobs() == [] and db.session.get(SyncLink, number).decision is None
    assert get(site, f"{HERE}/links/99", status=404)


def test_the_dashboard_tells_of_conflicts_in_one_line(site):
    assert "changed at a service" not in get(site, "/admin/jobs/")
    conflict()
    page = get(site, "/admin/jobs/")
    assert "1 content was changed at a service: a person must choose" in page and f"{HERE}?state=conflict".replace("?", "/?") in page


# What a job did

def test_the_page_of_a_sync_job_says_what_it_did(site, app):
    connect()
    uuid = registry.find("ProcessWordPressSync").with_options(tenant_id="acme").dispatch(references=["r0"])
    for n in range(25):
        action(content(f"r{n}"), "created" if n < 24 else "conflict", "Created.", uuid, url="https://blog.test/7")
    page = get(site, f"/admin/jobs/job/{uuid}")
    assert "24 created" in page and "1 in conflict" in page and "The first 20 of 25 are shown." in page and "All 25 contents" in page
    whole = get(site, f"{HERE}/syncs/{uuid}")
    assert whole.count("Look there") == 25
    only = site.get(f"{HERE}/syncs/{uuid}?action=conflict", headers=JSON).json
    assert only["counts"] == {"created": 24, "conflict": 1} and [row["reference"] for row in only["actions"]] == ["r24"] and only["next"] is None
    assert site.get(f"{HERE}/syncs/{uuid}/actions.csv").text.count("\n") == 26
    assert len(site.get(f"{HERE}/syncs/{uuid}/actions.json?action=created").json["actions"]) == 24
    assert "24 creati" in get(site, f"/admin/jobs/job/{uuid}", "it")
    for path in (f"/syncs/{UUID}", "/syncs/x", f"/syncs/{UUID}/actions.csv", f"/syncs/{UUID}/actions.json"):
        assert get(site, HERE + path, status=404)
    assert site.get(f"{HERE}/syncs/{uuid}?action=odd", headers=JSON).status_code == 400


def test_a_sync_that_was_refused_says_what_it_did_and_shows_no_traceback(site, app):
    connect()
    ledger, uuids = Connection(app.extensions["settings"].database_url), {}
    for why, details in (("refused", {"permanent": True}), ("broken", {})):
        uuids[why] = registry.find("ProcessWordPressSync").with_options(tenant_id="acme").dispatch(references=["r"])
        action(content(why), "refused", "It has no title.", uuids[why])
        db.session.commit()
        error = Message("%(n)s of %(total)s contents were refused. %(first)s: %(why)s", n=1, total=2, first="r", why="No.")
        outcome = Outcome("failed", error=error, traceback=f"Traceback (most recent call last):\nPermanentError: {error}", retry=False, details=details)
        settle(ledger, claim(ledger, claim_statement(("default",)), "w", "w"), outcome, "sqlite")
    ledger.close()
    page = get(site, f"/admin/jobs/job/{uuids['refused']}")
    assert "What it did" in page and "It has no title." in page and "1 of 2 contents were refused" in page and "<h2>Traceback</h2>" not in page
    page = get(site, f"/admin/jobs/job/{uuids['broken']}")
    assert page.index("What it did") < page.index("<h2>Traceback</h2>")


# What a content's page and the list say

def test_a_refusal_stands_with_its_reason_and_what_is_gone_has_no_link(site):
    connect()
    refused, gone = content("no"), content("gone")
    link(refused, "refused")
    action(refused, "refused", Message("Column %(column)s: %(why)s", column="date", why="ieri"))
    number = link(gone, "gone", url="https://blog.test/7", edit_url="https://blog.test/edit/7")
    for address in (HERE, f"{HERE}/{refused}"):
        assert "Column date: ieri" in get(site, address)
    assert get(site, f"{HERE}/{refused}").count("Column date: ieri") == 2, "beside the state, and with its job"
    for address in (f"{HERE}/{gone}", f"{HERE}/links/{number}"):
        assert "blog.test" not in get(site, address)
    assert site.get(f"{HERE}/{refused}", headers=JSON).json["links"][0]["why"] == "Column date: ieri"


def test_rows_of_a_dry_run_are_marked(site):
    connect()
    number = content("r")
    for dry_run in (True, False):
        uuid = registry.find("ProcessWordPressSync").with_options(tenant_id="acme").dispatch(references=["r"], dry_run=dry_run)
        action(number, "conflict", Message("Changed there meanwhile: %(names)s. Nothing was sent; choose ours or theirs.", names="title, name.en"), uuid)
    page = get(site, f"{HERE}/{number}", "it")
    assert page.count('<span class="second">Prova</span>') == 1 and "titolo, nome (en)" in page
    assert [job["dry_run"] for job in site.get(f"{HERE}/{number}", headers=JSON).json["jobs"]] == [False, True]


def test_nothing_ticked_leads_back_to_the_list(site):
    connect()
    content("r")
    answer = post(site, f"{HERE}/sync", to="wordpress", ask="1", next=f"{HERE}/?q=r")
    assert answer.status_code == 303 and answer.location == f"{HERE}/?q=r"
    assert "Nothing is ticked" in get(site, f"{HERE}/?q=r")
    assert post(site, f"{HERE}/sync", JSON, to="wordpress").status_code == 400 and jobs() == []


def test_a_conflict_names_its_fields_and_who_changed_them(site):
    number = link(content("r"), "conflict", base={"title": "Old", "price": "1"}, ours={"title": "Ours", "price": "1"}, theirs={"title": "Theirs", "price": "2"})
    page = get(site, f"{HERE}/links/{number}", "it")
    assert "<h2>titolo</h2>" in page and "<h2>prezzo</h2>" in page and page.count("modificato da entrambe le parti") == 1 and page.count(">modificato là<") == 1


def test_syncs_after_an_import_are_said_to_come_after_it(site):
    connect()
    first = registry.find("TestEcho").dispatch(text="x")
    second = registry.find("ProcessWordPressSync").with_options(tenant_id="acme", after=[first]).dispatch(references=["r"])
    assert "These run after it (1)" in get(site, f"/admin/jobs/job/{first}") and "It runs after (1)" in get(site, f"/admin/jobs/job/{second}")
