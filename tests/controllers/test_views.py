"""Saved views, the form of the filter and the alert rule that counts a view, through the routes."""

from __future__ import annotations

import re
import sqlite3
import time
from html.parser import HTMLParser
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from werkzeug.datastructures import MultiDict

from app import registry
from app.extensions import db
from app.models import JobBatch, SavedView
from app.services.alerts import incidents, list_checks
from app.services.alerts.checks import KINDS
from app.services.alerts.snapshot import Rule, Snapshot
from app.services.alerts.texts import notification
from app.services.audit import ActionRefused
from app.services.instance import retention
from app.services.jobs import actions, listing, saved_views
from app.services.jobs.job_filter import JobFilter
from app.support.clock import now_ms, stamp
from app.support.validation import ValidationError

JSON = {"Accept": "application/json"}
VIEW = "SELECT name, owner, query, made_by FROM saved_views"


def wanted(**given) -> JobFilter:
    return JobFilter.read(given, None)


def test_a_damaged_view_has_the_parts_that_a_filter_knows(ledger):
    with ledger.app.app_context():
        view = saved_views.create("Slow ones", wanted(longer="10s"), False, "ada")
        ledger.change("UPDATE saved_views SET query = :q WHERE id = :id", q='{"endpoint": "x", "_anchor": "y", "state": "failed", "args.a": "1"}', id=view)
        db.session.rollback()
        assert saved_views.find(view, "ada").query == {"state": "failed", "args.a": "1"}


def test_views_have_unique_names_and_only_the_maker_or_an_admin_changes_them(ledger):
    with ledger.app.app_context():
        mine = saved_views.create(" Slow  ones ", wanted(longer="10s"), False, "ada")
        shared = saved_views.create("Failed", wanted(state="failed"), True, "ada")
        for name, by in (("slow ones", "ada"), ("FAILED", "bob"), ("", "bob"), ("x" * 81, "bob"), ("a\nb", "bob")):
            with pytest.raises(ValidationError):
                saved_views.create(name, wanted(state="failed"), False, by)
        with pytest.raises(ValidationError):
            saved_views.create("All", wanted(), False, "bob")
        assert saved_views.create("Slow ones", wanted(longer="1s"), False, "bob")
        assert [(v.name, v.mine) for v in saved_views.listing("ada")] == [("Failed", True), ("Slow ones", True)]
        assert [(v.name, v.mine) for v in saved_views.listing("bob")] == [("Failed", False), ("Slow ones", True)]
        for change in (lambda: saved_views.change(shared, "Mine", wanted(state="failed"), True, "bob", False),
                       lambda: saved_views.delete(shared, "bob", False), lambda: saved_views.delete(mine, "bob", True),
                       lambda: saved_views.change(shared, "x", wanted(state="failed"), False, "bob", True), lambda: saved_views.find(2**62, "bob")):
            with pytest.raises(ActionRefused):
                change()
        saved_views.change(shared, "Failures", wanted(state="unsuccessful"), True, "bob", True)
        assert ledger.connection.fetch_all(f"{VIEW} WHERE id = :id", id=shared) == [("Failures", "", '{"state": "unsuccessful"}', "ada")]
        saved_views.delete(shared, "ada", False)
    ledger.change("UPDATE saved_views SET created_ms = 1")
    ledger.change("INSERT INTO users (email, password_hash, role, created_ms) VALUES ('ada', 'x', 'super-admin', 1)")
    assert retention.delete_old(ledger.connection) >= 1
    assert [row[1] for row in ledger.connection.fetch_all(VIEW)] == ["ada"]
    assert ledger.one("SELECT COUNT(*) FROM audit WHERE action LIKE '%view'") == 5


def test_an_alert_rule_counts_a_view_and_keeps_it(ledger, tmp_path):
    with ledger.app.app_context():
        view = saved_views.create("Waiting", wanted(state="pending", queue="low"), True, "ada")
        rule = Rule(1, "view", 1, 2, 0, 0, None, None, None, "warning", None, None, "*", 15, view_id=view)
        ledger.change("INSERT INTO alert_rules (id, kind, threshold, severity, view_id) VALUES (99, 'view', 2, 'warning', :v)", v=view)
        for n in range(4):
            look = Snapshot(ledger.connection, 10**12, tmp_path, 1)
            found = KINDS["view"].judge(look, rule)
            assert look.values[1] == n and bool(found) == (n > 2)
            ledger.dispatch(queue="low")
        link = urlsplit(found[0].link)
        assert link.path == "/admin/jobs/list" and parse_qs(link.query) == {"state": ["pending"], "queue": ["low"]}
        with pytest.raises(ActionRefused, match="99"):
            saved_views.delete(view, "ada", True)
        with pytest.raises(ActionRefused, match="99"):
            saved_views.change(view, "Waiting", wanted(state="pending"), False, "ada", True)
        db.session.delete(db.session.get(SavedView, view))
        db.session.commit()
        with pytest.raises(LookupError):
            KINDS["view"].judge(look, rule)


def view_rule(ledger, query: str) -> int:
    """A rule that counts a view of this filter."""
    ledger.change("INSERT INTO saved_views (owner, name, query, made_by, created_ms) VALUES ('', 'v', :q, 'ada', 1) ON CONFLICT DO NOTHING", q=query)
    ledger.change("INSERT INTO alert_rules (kind, enabled, threshold, severity, view_id) SELECT 'view', 1, 0, 'warning', MAX(id) FROM saved_views")
    return ledger.one("SELECT MAX(id) FROM alert_rules")


def check(ledger, now: int = 0, **more) -> tuple[list[str], Snapshot]:
    settings = ledger.app.extensions["settings"]
    look = Snapshot(ledger.connection, now or ledger.connection.now(), settings.data_dir, 0, **more)
    begun = time.monotonic()
    with ledger.app.app_context():
        failed = incidents.check(look, ledger.connection, settings)
    assert time.monotonic() - begun < 5, "it waited for its own lock"
    return failed, look


@pytest.mark.parametrize("query, error", [('{"batch": "a batch of another program"}', "FilterError"), ('{"q": "boom"}', "RuntimeError")])
def test_a_view_that_cannot_be_counted_does_not_stop_the_other_rules(ledger, monkeypatch, query, error):
    real = listing.count
    monkeypatch.setattr(listing, "count", lambda *given, **more: (real(*given, **more)[0], False))
    ledger.change("DELETE FROM alert_rules")
    view_rule(ledger, query)
    ledger.change("INSERT INTO alert_rules (kind, enabled, threshold, window_min, severity) VALUES ('failures', 1, 0, 5, 'warning')")
    ledger.settle(ledger.claim() if ledger.dispatch() else None, "failed", error="x", retry=False)
    failed, look = check(ledger)
    assert len(failed) == 1 and error in failed[0]
    assert ledger.one("SELECT COUNT(*) FROM alerts WHERE kind = 'failures'") == 1
    assert Snapshot(ledger.connection, look.now, look.data_dir, 0).looked == look.now, "the windows of the others do not grow"


def test_counting_a_view_takes_no_write_lock(ledger, monkeypatch):
    if not ledger.connection.sqlite:
        pytest.skip("PostgreSQL locks rows")
    view_rule(ledger, '{"queue": "low"}')
    path, seen, real = ledger.app.extensions["settings"].database_file, [], listing._take

    def take(*given, **more):
        other = sqlite3.connect(path, timeout=0.05, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # raises when it is held
        other.close()
        return seen.append(1) or real(*given, **more)

    monkeypatch.setattr(listing, "_take", take)
    assert check(ledger)[0] == [] and seen


def test_all_views_together_have_a_bounded_time_and_take_turns(ledger, monkeypatch):
    ledger.change("DELETE FROM alert_rules")
    rules = {view_rule(ledger, '{"queue": "low"}') for _ in range(5)}
    clock = iter(range(1000))
    monkeypatch.setattr(list_checks, "monotonic", lambda: next(clock))  # each view takes a second
    judged = []
    for minute in range(5):
        failed, look = check(ledger, now_ms() + minute * 60_000)
        assert len(failed) == 2 and "the time of this check" in failed[0]
        judged += look.values
    assert set(judged) == rules and {judged.count(rule) for rule in rules} == {3}


def test_look_leads_to_exactly_the_jobs_that_an_alert_counted(ledger, tmp_path):
    for n in range(4):
        ledger.dispatch("TestCritical")
        job = ledger.claim()
        if n == 3:
            ledger.change("INSERT INTO job_metrics (uuid, round, claim_no, job_type, status, processing_time, attempts, completed_at, queue) "
                          "VALUES (:u, 1, 99, 'x', 'lost', 1, 1, :at, 'low')", u=job.uuid, at=stamp(now_ms()))
        ledger.settle(job, "completed" if n == 3 else "failed", error="x", retry=False, run_ms=5)
    failed = ledger.connection.fetch_all("SELECT uuid FROM job_history WHERE status = 'failed' ORDER BY id")[1:]
    with ledger.app.app_context():  # a retry that fails again, and one that waits: three failures of two jobs
        for (uuid,) in failed:
            actions.retry(uuid, "ops")
    ledger.settle(ledger.claim(), "failed", error="x", retry=False, run_ms=5)
    ledger.change("UPDATE job_metrics SET completed_at = '2026-01-01' WHERE id = (SELECT MIN(id) FROM job_metrics)")  # before the window
    ledger.change("UPDATE job_history SET finished_ms = 1767225600000 WHERE id = (SELECT MIN(id) FROM job_history)")
    with ledger.app.app_context():
        for kind in ("failures", "critical_job", "slow", "rescued"):
            rule = Rule(1, kind, 1, 0, 0, 60, None, None, None, "warning", None, None, "*", 15)
            look = Snapshot(ledger.connection, now_ms() + 5, tmp_path, 1)
            (found,) = KINDS[kind].judge(look, rule)
            link = {name: values[0] for name, values in parse_qs(urlsplit(found.link).query).items()}
            assert listing.count(JobFilter.read(link, look.zone)) == (found.facts.get("jobs", found.facts["n"]), True), kind
            assert (found.facts["n"], found.facts.get("jobs")) == ((1, None) if kind in ("slow", "rescued") else (3, 2))
            assert kind in ("slow", "rescued") or "3 failures of 2 jobs in 60 min" in notification(kind, found.facts)


def test_the_form_becomes_an_address_of_the_parts_that_are_set(app, admin):
    def sent(**fields):
        answer = admin.get("/admin/jobs/list", query_string={"arg_name": "", "arg_value": "", "q": "", "longer": "", **fields})
        return answer.status_code, parse_qs(urlsplit(answer.headers.get("Location", "")).query)

    assert sent(longer="10 s", state="failed") == (302, {"longer": ["10s"], "state": ["failed"]})
    assert sent(arg_name="reference", arg_value="A-12", **{"args.reference": "old", "args.n": "5"}) == (
        302, {"args.n": ["5"], "args.reference": ["A-12"]})
    assert sent(arg_name="reference")[0] == 400
    page = admin.get("/admin/jobs/list?longer=fast&tenant=acme", headers={"Accept-Language": "en"})
    assert page.status_code == 400 and b'value="fast"' in page.data and b'value="acme"' in page.data
    assert b"A time is written as 10s, 5m or 2h." in page.data and b'name="scope"' not in page.data
    assert admin.get("/admin/jobs/list?longer=fast", headers=JSON).json["fields"].keys() == {"longer"}
    page = admin.get("/admin/jobs/list?longer=10s&args.n=5&sort=-run", headers={"Accept-Language": "en"}).text
    assert "Run time at least 10 s" in page and "Argument n is 5" in page
    assert 'href="/admin/jobs/list?longer=10s&amp;sort=-run"' in page  # without the argument
    with app.app_context():
        registry.find("TestNoop").dispatch()
        db.session.commit()
    heading = re.search(r'<th [^>]*aria-sort="descending"><a href="([^"]*)"', admin.get("/admin/jobs/list?sort=-run&state=live").text)
    assert heading[1] == "/admin/jobs/list?state=live&amp;sort=run"
    assert "Durata almeno 10 s" in admin.get("/admin/jobs/list?longer=10s", headers={"Accept-Language": "it"}).text


def test_a_view_is_saved_opened_and_deleted_by_plain_forms(admin):
    def post(address, headers=None, **form):
        return admin.post(f"/admin/jobs/views/{address}", data=form | {"csrf_token": admin.csrf}, headers=headers)

    made = post("", name="Slow", longer="10s", shared="1")
    assert made.status_code == 303 and made.headers["Location"] == "/admin/jobs/list?longer=10s"
    (view,) = admin.get("/admin/jobs/views/", headers=JSON).json["views"]
    assert (view["name"], view["query"], view["shared"], view["mine"]) == ("Slow", {"longer": "10s"}, True, True)
    again = post("", name="slow", state="failed")
    assert again.status_code == 400 and 'value="slow"' in again.text and 'value="failed"' in again.text
    assert admin.get(f"/admin/jobs/views/{view['id']}").headers["Location"] == "/admin/jobs/list?longer=10s"
    assert post(view["id"], JSON, name="Slower", shared="1").json["ok"]
    assert "Slower" in admin.get("/admin/jobs/list").text
    assert b"Slower" in post(f"{view['id']}/delete", ask="1").data
    assert post(f"{view['id']}/delete", JSON).json["ok"]
    assert admin.get("/admin/jobs/views/", headers=JSON).json["views"] == []


EACH = ("state=undecided", "state=held&hold=budget", "hold=limit", "queue=low", "type=TestEcho", "type=Gone%20type", "tenant=acme", "q=a%20b",
        "q=%20", "batch=0a1b2c3d", "batch=night%20run", "since=2026-11-23", "since=2026-11-23T14:00", "until=2026-11-23T14:00:05",
        "until=2026-11-23T14:00:05.250", "since=2026-11-23T14:00Z", "until=2026-11-23T14:00:05.868Z", "since=2026-11-23T14:00%2b02:00",
        "error=b478ced44763ea27", "worker=vm%201", "attempt=2", "attempt=2-", "attempt=2-4", "longer=1.5s", "shorter=2h", "waited=10s",
        "waited=10s-20s", "heavier=100MB", "code=279ac9b", "rescued=1", "rescued=2026-11-26T22:29:02.868Z..2026-11-26T23:29:02.869Z",
        "rescued=2026-11-26..2026-11-27", "clock=22:00-06:00", "action=7", "deploy=99", "sort=-memory", "args.n=5", "args.a.b=x%0Ay&args.n=2")


class FilterForm(HTMLParser):
    """What a browser sends of the form of the filter when nobody has changed it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sent, self.open, self.select = [], False, None
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.open = given.get("role") == "search"
        elif self.open and tag == "select":
            self.select, self.options = given["name"], []
        elif self.open and tag == "option" and self.select:
            self.options.append((given.get("value"), "selected" in given))
        elif self.open and tag == "input" and (given["type"] != "checkbox" if "type" in given else True):
            self.take(given.get("type", "text"), given)
        elif self.open and tag == "input" and "checked" in given:
            self.sent.append((given["name"], given["value"]))

    def take(self, kind: str, given: dict[str, str]) -> None:
        value, name = given.get("value", ""), given["name"]
        shape = {"date": r"\d{4}-\d\d-\d\d", "datetime-local": r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?"}.get(kind)
        if shape and not re.fullmatch(shape, value):
            value = ""  # as browsers do
        assert not value or re.fullmatch(given.get("pattern", ".*"), value, re.S), f"{name}: the browser would not send it"
        self.sent.append((name, value.replace("\n", "\r\n") if kind == "hidden" else value.replace("\n", "")))

    def handle_data(self, data) -> None:
        if self.select and self.options and self.options[-1][0] is None:
            self.options[-1] = (data.strip(), self.options[-1][1])

    def handle_endtag(self, tag) -> None:
        if tag == "select" and self.select:
            self.sent.append((self.select, next((v for v, chosen in self.options if chosen), self.options[0][0])))
            self.select = None


def test_the_form_of_the_filter_sends_what_it_shows(admin, app):
    """An unchanged form gives the same filter, also where another part is wrong: it never widens the list."""
    with app.app_context():
        db.session.add(JobBatch(id="night run", name="x", total_jobs=0, pending_jobs=0, failed_jobs=0, failed_job_ids="[]", options="", created_at=1, created_ms=1))
        db.session.commit()
    for part in EACH:
        for more in ("", "&shorter=3h" if "shorter" not in part else "&longer=1s", "&attempt=many" if "attempt" not in part else "&longer=fast"):
            page = admin.get(f"/admin/jobs/list?{part}{more}", headers={"Accept-Language": "en"})
            wrong = {"many": "attempt", "fast": "longer"}.get(more.partition("=")[2])
            assert page.status_code == (400 if wrong else 200), part
            fields = MultiDict(FilterForm(page.text).sent)
            if wrong:
                fields[wrong] = ""
            sent = admin.get("/admin/jobs/list", query_string=fields)
            assert sent.status_code == 302, (part, more)
            with app.test_request_context():
                expected = JobFilter.read(MultiDict(parse_qsl(part + ("" if wrong else more))), app.extensions["settings"].timezone)
            assert dict(parse_qsl(urlsplit(sent.location).query)) == expected.query, (part, more)
    assert "Waited from 10 s to under 20 s" in admin.get("/admin/jobs/list?waited=10s-20s", headers={"Accept-Language": "en"}).text
    for wrong, name in (("state=lost", "state"), ("hold=me", "hold"), ("queue=none", "queue"), ("action=x", "action"), ("rescued=never", "rescued"),
                        ("sort=size", "sort"), ("deploy=x", "deploy"), ("clock=9", "clock"), ("since=soon", "since"), ("tenant=a%20b", "tenant")):
        page = admin.get(f"/admin/jobs/list?{wrong}")
        assert page.status_code == 400 and f'id="e-{name}"' in page.text
        assert dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text)).get(name) or dict(FilterForm(page.text).sent)[name], wrong
