"""Every page, part, export and JSON of the URL map, every duty and every button, on SQLite and on PostgreSQL."""

from __future__ import annotations

import html
import itertools
import re
from collections import defaultdict

import pytest
from flask import request

from app.config import QUEUES, ROOT
from app.controllers.job_list import read_filter
from app.models.job import LIVE_STATES
from app.models.job_metric import FINAL
from app.monitor.loop import Monitor
from app.services.alerts.checks import KINDS
from app.services.content.content_list import STATES
from app.services.jobs import facts, listing
from app.services.jobs.job_filter import HOLDS
from app.support.settings import settings
from tests.both.conftest import TOKEN
from tests.both.rows import BULK
from tests.conftest import PASSWORD
from tests.outcomes_of import outcomes_of

JSON, HTML = {"Accept": "application/json"}, {"Accept": "text/html"}
LISTS = [
    {}, *({"state": s} for s in ("live", "ended", "unsuccessful", "bin", *LIVE_STATES, *FINAL)), {"queue": "high"}, {"type": "TestEcho"}, {"tenant": "acme"}, *({"hold": h, "state": "held", "type": "TestPair"} for h in HOLDS),
    {"since": "2026-01-01"}, {"until": "2030-01-01"}, {"since": "2026-01-01", "until": "2030-01-01", "state": "failed"}, {"q": "caffè_nero 100%"},
    {"q": "Etna'"}, {"q": "429", "state": "unsuccessful", "tenant": "acme"}, {"q": "0a0b"}, {"q": "RateLimit", "type": "TestEcho", "queue": "default"},
    {"batch": "{running}"}, {"batch": "{ended}", "state": "undecided"}, {"batch": "{ended}", "q": "429", "tenant": "acme"}, {"batch": "0a0b0c0d"}, {"state": "undecided"},
    {"before": "h20"}, {"after": "h5"}, {"before": "l999999", "state": "live"},
    {"error": "0" * 16, "worker": "w1"}, {"attempt": "2-", "longer": "1s", "shorter": "2h"}, {"waited": "1s", "heavier": "1MB", "code": "a", "rescued": "1"},
    {"clock": "22:00-06:00", "since": "2026-01-01T10:00", "until": "2030-01-01T10:00Z"}, {"args.text": "x", "args.a'\"b": "1"}, {"action": "1"}, {"deploy": "1"},
    *({"sort": s} for s in ("when", "run", "-run", "wait", "-wait", "memory", "-memory")), {"sort": "-run", "before": "h1.5.1700000000000"}, {"sort": "run", "after": "i5"},
    {"longer": "x", "arg_name": "y"}, {"arg_name": "text", "arg_value": "x", "state": "live"}, {"since": "x"}, {"state": "x"}, {"clock": "x", "action": "x", "deploy": "x", "sort": "x", "args.n": ""},
]
QUERIES = {
    "admin.jobs.list": LISTS, "admin.jobs.export": LISTS,
    "admin.jobs.index": [{}, {"period": "7d"}, {"period": "30d"}, {"queued": "50", "failed": "50"}],
    "admin.jobs.palette": [{}, {"q": "0a0b"}, {"q": "pause"}], "admin.jobs.palette-json": [{}, {"q": "acme"}, {"q": "100%"}],
    "admin.jobs.metrics-csv": [{}, {"period": "30d"}, {"job_type": "TestEcho", "bucket": "hour", "period": "7d"}],
    "admin.jobs.metrics": [{"period": p} | g | t for p, g, t in itertools.product(("24h", "7d", "30d"), ({}, {"group": "type"}), ({}, {"job_type": "TestEcho"}))],
    **{f"admin.jobs.capacity.{name}": [{}, {"period": "7d"}, {"period": "x"}] for name in ("index", "hours")},
    "admin.jobs.usage.index": [{}, *({"by": b, "period": p, "sort": s} for b, p, s in (("tenant", "7d", "p95"), ("worker", "30d", "failed"), ("type", "1h", "name"))), {"from": "x"}],
    "admin.jobs.usage.one": [{}, {"period": "1h"}, {"period": "30d"}, {"from": "2026-01-01", "until": "x"}],
    "admin.jobs.queues": [{}, {"queue": "high"}, {"queue": "low"}],
    "admin.jobs.contents.index": [{}, {"q": "100%"}, {"tenant": "acme"}, {"after": "2"}, *({"state": s, "service": t} for s in STATES for t in ("", "wordpress")), {"missing": "1"}, {"state": "odd"}],
    "admin.jobs.contents.one": [{}, {"version": "1"}],
    **{f"admin.jobs.syncs.{name}": [{}, {"action": "created"}, {"after": "1"}, {"action": "odd"}] for name in ("job", "csv", "json")},
    "admin.jobs.generations.index": [{}, {"q": "Vini"}, {"tenant": "acme", "status": "failed"}, {"before": "3"}, {"batch": BULK, "draft": "waiting"}],
    "admin.jobs.texts.index": [{}, {"like": "x"}],
    "admin.jobs.texts.preview": [{}, {"missing": "1", "tenant": "acme", "approve": "1"}, {"missing": "1", "template": "breve", "tenant": "acme", "model": "m"}, {"upload": "x"}],
    "admin.jobs.connections.set": [{"service": s, "tenant": t} for s in ("openai", "wordpress", "prestashop", "x") for t in ("", "acme", "a b")],
    "admin.jobs.costs.index": [{}, {"since": "2026-01-01", "until": "2027-01-01"}],
    **{f"admin.jobs.{name}": [{}, {"before": "5"}, {"actor": "admin@example.org", "action": "retry", "since": "2026-01-01", "until": "2030-01-01", "job": "0a0b"}, {"since": "x", "job": "*"}]
       for name in ("log", "log-export")}, "admin.jobs.batches.index": [{}, {"q": "100%"}, {"open": "1"}, {"before": "1.1999999999999.x"}, {"before": "x"}],
    "admin.jobs.alerts.new-rule": [{}, *({"kind": k} for k in KINDS)],
    "admin.jobs.new.form": [{}, {"type": "TestForm"}, {"type": "ProcessCsvImport"}],
    "admin.jobs.recurring": [{}, {"q": "night"}, {"after": "n"}], "admin.jobs.recurring-one": [{}, {"before": "5"}, {"before": "x"}],
    "admin.jobs.schedules.new": [{}, {"type": "TestForm"}, {"type": "ProcessCsvImport"}], "admin.jobs.schedules.next": [{}, {"cron": "*/5 * * * *"}, {"cron": "61 * * * *"}],
    "admin.jobs.errors.index": [{}, *({"period": p, "sort": s} for p, s in (("7d", "last"), ("30d", "first"), ("all", "x"))), {"since": "2026-01-01", "until": "2030-01-01T10:00"}, {"deploy": "1"}, {"since": "x"}, {"error": "0"}],
    "admin.jobs.notices.feed": [{}, {"after": "0"}, {"after": "9" * 18}, {"after": "9" * 19}, {"after": "-1"}, {"after": "x"}, {"x": "1"}],
    "admin.jobs.reports.report": [{"format": f, "period": p} for f, p in (("txt", "24h"), ("csv", "7d"), ("pdf", "week"))] + [{"format": "x", "from": "x", "lang": "x", "queue": "x"}, {"from": "2026-01-01", "period": "week"}],
    "admin.jobs.graph.job": [{}, {"zoom": "150", "sort": "state"}, {"open": "0-0", "node": "x"}],
}


def addresses(site) -> list[str]:
    """Every GET rule with every value of its arguments that there is, and one that there is not; queries with those that have rows of every kind."""
    found, rich = [], {site.uuids["completed"], site.uuids["failed"], site.uuids["child"], site.batches["running"], "TestEcho", "acme", "w1", "nightly", "yearly", 1}
    uuids = [*site.uuids.values(), BULK, "foreign-1", "00000000-0000-0000-0000-000000000000", "x"]
    with site.app.test_request_context():
        from flask import url_for

        for rule in site.app.url_map.iter_rules():
            if "GET" not in rule.methods or rule.endpoint.startswith("static") or rule.endpoint == "auth.logout":
                continue
            values = [{}]
            for name in sorted(rule.arguments):
                known = {"uuid": uuids, "id": [1, 2, 3, 999, 2**63 - 1], "lang": ["it"], "name": QUEUES if rule.endpoint == "admin.jobs.queue" else ["yearly", "nightly", "unknown type", "no longer declared", "TestEcho", "acme", "w1", "a/b c"], "scope": ["type", "tenant", "worker"], "filename": ["app.css"],
                         "upload_id": ["up_" + "0" * 32, "x"], "batch": [*site.batches.values(), BULK, site.batches["ended"][:8], "x", "0" * 8]}
                values = [v | {name: one} for v in values for one in known[name]]
            for value in values:
                for query in QUERIES.get(rule.endpoint, [{}])[: None if rich.issuperset(value.values()) or "scope" in value and value["name"] in rich else 1]:
                    found.append(url_for(rule.endpoint, **value, **{name: str(text).format(**site.batches) for name, text in query.items()}))
            if rule.endpoint == "admin.jobs.new.form":
                found += [url_for(rule.endpoint, like=u) for u in uuids]
    return found


def some(found: list, site, most: int = 3) -> dict[str, list]:
    """At most so many addresses of each endpoint, spread over all that there are."""
    match, by_endpoint = site.app.url_map.bind("localhost").match, defaultdict(list)
    for one in found:
        address, method = (one[0], "POST") if isinstance(one, tuple) else (one, "GET")
        endpoint, values = match(address.partition("?")[0], method)
        by_endpoint[f"{endpoint} {values.get('action', '')}".strip()].append(one)
    return {name: rows[:: -(-len(rows) // most)] for name, rows in by_endpoint.items()}


PARTS = ",".join(path.stem for path in (ROOT / "templates/admin/partials").glob("*.html"))


TIME = re.compile(r'<time datetime="([^"]*)" title="([^"]*) UTC"')


@pytest.mark.parametrize("headers", [HTML, JSON, JSON | {"X-Partials": PARTS}], ids=["html", "json", "parts"])
def test_every_address_answers(site, headers):
    wrong, found = [], addresses(site)
    if headers != HTML and site.kind == "postgresql":  # the statements are those of the page
        found = [address for rows in some(found, site).values() for address in rows]
    for address in found:
        answer = site.client.get(address, headers=headers)
        if answer.status_code >= 500 and not address.startswith("/readyz"):
            wrong.append((answer.status_code, address))
        for read, told in TIME.findall(answer.text) if headers == HTML and answer.mimetype == "text/html" else ():
            if read != f"{told.replace(' ', 'T')}Z":  # the first is what a script reads
                wrong.append((read, told, address))
        if headers == HTML and re.search("Versione? None", answer.text if answer.mimetype == "text/html" else ""):
            wrong.append(("the version", address))
        answer.close()
    assert not wrong
    assert b"ainstein_job_outcomes_total" in site.client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).data


def test_each_number_leads_to_exactly_what_it_counts(site):
    """The numbers of all pages that have some, each with the list behind it, which states the same number."""
    site.ledger.change("UPDATE failed_jobs SET deleted_at = 1 WHERE uuid = 'foreign-1'")  # without history: no list has it
    monitor = Monitor(site.app)
    monitor.batches()  # it may dispatch what follows a batch
    monitor.count()
    facts.advance(monitor.connection)
    monitor.connection.close()
    site.client.set_cookie("lang", "en")
    pages, seen = ["/", "/queues", "/queues/low", "/batches/", "/errors/?period=all", *(f"/batches/{id}" for id in site.batches.values())], set()
    pages += [f"/usage/{page}" for page in ("type/TestEcho", "type/TestEcho?period=1h", "tenant/acme", "worker/box_1", "worker/demo_1", "?by=type", "?by=worker&period=7d")]
    pages += ["/workers", "/alerts/", "/costs/", "/recurring", "/capacity/", "/contents/", f"/job/{site.uuids['lost']}"]
    for page in pages:
        text = html.unescape(site.client.get(f"/admin/jobs{page}", headers=HTML).text)
        for url, words in re.findall(r'<a [^>]*href="/admin/jobs/list\?([^"]+)"[^>]*>(.*?)</a>', text, re.S):
            words = re.sub(r"<[^>]+>", "", words)
            numbers = [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", words)]
            if page.startswith("/usage"):  # a number, or a bar with one or two at its end; others lead by a time
                bar = re.fullmatch(r"(?:.*: (?:completed ([\d,]+), failed )?)?([\d,]+)", words.strip())
                numbers = [sum(int((n or "0").replace(",", "")) for n in bar.groups())] if bar else []
            if not numbers or BULK in url:  # whose jobs were never there
                continue
            with site.app.test_request_context(f"/?{url}"):
                found, outcomes = listing.count(read_filter(request.args)), outcomes_of(site.ledger, request.args, settings().timezone)
            jobs = numbers[0] if outcomes is None else len(set(outcomes))  # a list has a job once, a figure each outcome of it
            assert found == (jobs, True) and (outcomes is None or numbers[0] == (jobs if "job" in words else len(outcomes))), (page, url, words)
            if page.startswith("/usage") and outcomes == []:
                continue
            said = re.search(r'id="count-sentence">\s*([\d,]+) jobs? ', site.client.get(f"/admin/jobs/list?{url}", headers=HTML).text)
            assert said and int(said[1].replace(",", "")) == jobs, (page, url, words)
            seen |= {"by hand"} if {site.uuids["again"], site.uuids["back"]} <= {*(outcomes or ())} else set()
            seen |= set(re.findall(r"(?:state|hold)=(\w+)", url)) - {"ended"} | {page}
            seen |= {"ended"} if "state=ended" in url else set()
    site.ledger.change("UPDATE failed_jobs SET deleted_at = NULL WHERE uuid = 'foreign-1'")
    assert seen >= {*pages[:4], "unsuccessful", f"/batches/{site.batches['ended']}", "pending", "processing", "scheduled", "waiting", "held", "blocked", "completed", "undecided", "ended", "limit", "by hand"}


def test_every_duty_of_the_monitor_succeeds_twice(site):
    monitor = Monitor(site.app)
    for _ in range(2):
        assert monitor.round() == []
        for duty in monitor.duties:
            duty.next = 0.0
    monitor.connection.close()


FORMS = {
    "account.make-token": [{"name": "n", "scope": "read", "days": "7", "own_password": PASSWORD}, {"name": "n", "scope": "read", "days": "7"}, {"scope": "x"}],
    "admin.jobs.act": [{}, {"seconds": "60"}, {"queue": "low"}, {"children": "run"}], "admin.jobs.cancel": [{"children": "cancel"}],
    "admin.jobs.bulk": [{"action": a} | s for a, s in itertools.product(("retry", "hold", "release", "delay", "move", "run_now", "top", "cancel", "delete", "restore", "erase"), (
        {"scope": "all", "state": "unsuccessful", "q": "429"}, {"scope": "all", "state": "bin", "tenant": "acme"}, {"scope": "all", "type": "TestEcho"}))],
    "admin.jobs.set-limit": [{"type": "TestPair", "concurrency": "2", "rate": "5/s"}, {"type": "TestEcho", "concurrency": "", "rate": "60/m"},
                             {"type": "TestPair", "reset": "1"}, {"type": "nothing"}, {"type": "TestEcho", "concurrency": "x", "rate": "0/m"}, {}],
    "admin.jobs.pause": [{"minutes": "5", "reason": "pausa"}], "admin.jobs.pause-type": [{"minutes": "5"}],
    "admin.jobs.batches.act": [{"queue": "low"}, {}],
    "admin.jobs.place": [{"job": "00000000-0000-0000-0000-000000000000", "to": "top"}, {"uuid": "00000000-0000-4000-8000-000000000000", "to": "down"}, {"uuid": "00000000-0000-4000-8000-000000000000", "place": "3", "queue": "high"},
                         {"uuid": "00000000-0000-4000-8000-000000000000", "before": "x", "after": "x", "queue": "low"}, {"place": "x", "queue": "x", "job": "%"}, {}],
    "admin.jobs.undo-place": [{"action": "1"}, {"action": "x"}, {"action": "9" * 30}, {}],
    "admin.jobs.connections.set": [{"service": "openai", "tenant": "acme", "secret": "sk-another"}, {"service": "wordpress", "tenant": "x", "url": "http://u:p@x"}, {"service": "x"}, {}],
    "admin.jobs.errors.mark": [{"text": "Release 7"}, {"text": ""}], "admin.jobs.errors.act": [{}, {"since": "2026-01-01T00:00Z", "upto": "9"}, {"deploy": "99"}],
    "admin.jobs.costs.budget": [{"tenant": "acme", "amount": "49.90", "currency": "EUR", "hold": "1"}, {"tenant": "acme", "amount": ""}],
    "admin.jobs.generations.save-template": [{"tenant": "acme", "name": "breve", "body": "x {prompt}"}, {"name": "n" * 100, "body": "{prompt}"}],
    "admin.jobs.new.create": [{"type": "TestForm", "text": "è", "number": "7", "kind": "a"}, {"type": "TestEcho", "text": "x", "delay": "60", "tenant": "acme"}],
    "admin.jobs.schedules.new": [{"type": "TestForm", "name": "Ogni ora", "cron": "0 * * * *", "text": "è", "number": "7", "kind": "a"}, {"type": "TestEcho", "name": "x", "cron": "x"}, {}],
    "admin.jobs.schedules.edit": [{"cron": "0 4 * * *", "seen": "1", "text": "x"}, {"cron": "0 4 * * *", "seen": "0"}, {"cron": "x", "check": "1"}, {}],  # "0": the code's time holds
    "admin.jobs.texts.create": [{"prompts": "uno\ndue", "model": "gpt-4o-mini"}, {"missing": "1", "model": "m", "tenant": "acme"}, {}],
    "admin.jobs.texts.preview": [{"missing": "1", "model": "m"}, {"missing": "1", "model": "m", "step": "start"}, {"upload": "x"}],
    "admin.jobs.contents.sync": [{"to": "wordpress", "status": "draft"}, {"to": "prestashop", "dry_run": "1"}, {}],
    "admin.jobs.contents.sync-many": [{"to": "wordpress", "id": "1"}, {"to": "prestashop", "scope": "all", "tenant": "acme", "state": "gone"}, {"scope": "all", "to": "wordpress"}, {}],
    "admin.jobs.syncs.decide": [{"decision": "later", "changed_ms": "1"}, {"decision": "ours"}, {}],
    "admin.jobs.notices.follow": [{"kind": k, "subject": s, "via": v} for k, s, v in (("job", BULK, "browser"), ("batch", BULK, "browser"), ("batch", BULK, "mail"), ("batch", BULK, "channel:team"), ("job", "foreign-1", "browser"), ("x", "x", "x"))] + [{}],
    "admin.jobs.notices.unfollow": [{"kind": "batch", "subject": BULK}, {"kind": "job", "subject": "x"}, {}], "account.browser-alerts": [{"on": "1"}, {"on": "x"}, {}],
    "account.language": [{"language": "en"}, {"language": "x"}], "account.password": [{"password": "wrong", "new_password": "x"}, {}],
    "admin.jobs.people.invite": [{"email": "new@example.org", "role": "viewer", "sees_data": "1"}, {"email": "x", "role": "x"}, {"email": "admin@example.org", "role": "user"}],
    "admin.jobs.new.edit": [{"text": "x", "args": '{"text": "x"}'}],
    "admin.jobs.reports.new": [{"name": "Lunedì", "to": "mail:admin@example.org", "period": "week", "weekday": "1", "hour": "7", "language": "it"}, {}],
    "admin.jobs.reports.plan": [{"name": "Mese", "to": "other", "address": "eva@example.org", "period": "month", "monthday": "3", "hour": "0", "language": "en", "past": "1"}, {"to": "x"}],
    "admin.jobs.alerts.rule": [{"threshold": "5", "window_min": "60", "cooldown_min": "15", "minimum": "1", "quiet_from": "22:00", "quiet_until": "07:00"}],
    "admin.jobs.alerts.new-rule": [{"kind": k, "threshold": "5", "window_min": "60", "cooldown_min": "15", "minimum": "1", "tenant_id": "acme"} for k in KINDS],
}
LAST = ("auth.logout", "account.sign-out", "account.end-session", "admin.jobs.people.change", "admin.jobs.people.end", "admin.jobs.retry-all", "admin.jobs.flush-failed")


def posts(site) -> list[tuple[str, dict[str, str]]]:
    """Every POST rule with every value of its arguments and some forms."""
    found = []
    rules = sorted((r for r in site.app.url_map.iter_rules() if "POST" in r.methods), key=lambda r: (r.endpoint in LAST, LAST[::-1].index(r.endpoint) if r.endpoint in LAST else 0))
    with site.app.test_request_context():
        from flask import url_for

        for rule in rules:
            values = [dict(rule.defaults or {})]
            for name in sorted(rule.arguments - set(rule.defaults or ())):
                acts = ("up", "down", "top", "hold", "release", "delay", "move", "run-now", "run-without-waiting", "stop", "restore", "erase")
                words = {"act": acts, "alerts.act": ("ack", "snooze", "unsnooze"), "rule-change": ("off", "on", "delete"), "reports.change": ("off", "on", "test", "delete"), "recurring-change": ("off", "on", "run", "reset", "delete"),
                         "connections.act": ("test", "try", "remove"), "people.invitation": ("again", "withdraw"), "account.sign-out": ("others", "all"), "account.factor-change": ("off", "codes"), "people.change": ("role", "disable", "enable", "unlock", "sign_out"),
                         "contents.decide": ("accept", "refuse"), "errors.act": ("retry", "delete"), "texts.decide": ("accept", "refuse", "burn"),
                         "pause": ("pause", "resume"), "pause-type": ("pause", "resume"),
                         "batches.act": ("pause", "resume", "move", "delete", "retry", "seal", "cancel")}
                commands = ("restart", "start") if rule.endpoint.endswith("workers.all") else ("quiet", "resume", "stop", "kill", "start")
                known = {"uuid": [*site.uuids.values(), BULK, "foreign-1", "x"], "id": [1, 2, 3, 999], "command": commands,
                         "action": words.get(rule.endpoint.removeprefix("admin.jobs."), ()) or words.get(rule.endpoint.rpartition(".")[2], ()),
                         "name": ("high", "TestEcho", "yearly", "nightly", "no longer declared", "team", "nothing"), "upload_id": ("up_" + "0" * 32, "x"), "batch": (*site.batches.values(), "x"), "key": (*(row[0] for row in site.ledger.connection.fetch_all("SELECT error_group FROM error_groups")), "x")}
                values = [v | {name: one} for v in values for one in known[name]]
            found += [(url_for(rule.endpoint, **value), form) for value in values for form in FORMS.get(rule.endpoint, [{}])]
    return found


# Routes that write no entry into the log of actions, and why.
UNLOGGED = {
    "admin.jobs.texts.preview": "shows what would be made", "admin.jobs.texts.create": "goes on to the preview; a start of the job is an entry",
    **dict.fromkeys(("admin.jobs.notices.follow", "admin.jobs.notices.unfollow", "account.browser-alerts"), "what a person is told of is their own affair: it changes nothing for others"),
    "account.factor-begin": "nothing is on yet; turning it on is an entry",
    "auth.logout": "the session has ended before, see test_sign_in.py",
}


def entries(site) -> int:
    """How often something was written into the log of actions."""
    return site.ledger.one("SELECT COALESCE(SUM(times), 0) + COUNT(*) FROM audit")


def test_every_button_answers(site):
    wrong, counted, logged, silent = [], 0, set(), set()
    addresses = site.app.url_map.bind("localhost")
    for address, form in posts(site):
        form = {"to_queue": "low", "delay": "2h"} | form if form.get("action") in ("move", "delay") else form
        endpoint, before = addresses.match(address, "POST")[0], entries(site)
        answer = site.client.post(address, data=form | {"csrf_token": site.client.csrf}, headers=JSON)
        counted += (done := answer.status_code in (200, 201, 303))
        if done and (answer.json or {}).get("count", 1):
            (silent if entries(site) == before else logged).add(endpoint)
        if answer.status_code >= 500:
            wrong.append((answer.status_code, address, form))
    assert not wrong and counted > 60
    assert silent - logged - UNLOGGED.keys() == set(), "what changes something stands in the log of actions"
    assert len(logged) >= 25
