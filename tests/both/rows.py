"""Rows of every state and kind, written by the ledger's own statements where there are some."""

from __future__ import annotations

from app import registry
from app.cli import demo
from app.extensions import db
from app.ledger import counts, manual, rescue
from app.models import (
    Alert,
    AlertMessage,
    ApiToken,
    Connection,
    Content,
    ContentVersion,
    Follow,
    Generation,
    ImportReject,
    ImportRun,
    Invitation,
    JobBatch,
    JobCost,
    JobLimit,
    JobLog,
    Mail,
    Notice,
    PromptTemplate,
    Queue,
    QueueMinute,
    Recurring,
    RecurringRun,
    Report,
    ReportPlan,
    Schedule,
    SyncAction,
    SyncLink,
    TenantBudget,
    Upload,
    WorkerHeartbeat,
)
from app.services.jobs import recurring, search_index
from app.services.jobs.batches import begin
from app.support.clock import DAY_MS, MINUTE_MS, naive, now_ms
from tests.ledger_fixture import Ledger

BULK = "00000000-0000-8000-8000-0000000000bb"  # a batch of texts
CAFFE = {"text": "100% caffè_nero 'dell'Etna'"}


def fill(ledger: Ledger) -> dict[str, str]:
    """A job of every state (its uuid by state), and rows in every table; returns the uuids."""
    settings, uuids = ledger.app.extensions["settings"], {}
    with ledger.app.app_context():
        demo.fill(settings, 300, 5, mix=True)
        demo.every_state(settings)
    ledger.change("UPDATE jobs SET state = 'held' WHERE state = 'pending'")
    for status in ("completed", "failed", "timeout", "cancelled", "retried", "lost", "late", "binned", "poison"):
        uuids[status] = ledger.dispatch("TestEcho", tenant_id="acme", args=CAFFE, tries=2 if status == "retried" else 1, backoff=(3600,))
        job = ledger.claim()
        if status in ("lost", "late", "poison"):
            rescue.rescue(ledger.connection, job, False, "w1: the process is gone", ledger.store)
            if status == "late":
                ledger.settle(job)
            ledger.change("UPDATE jobs SET crashes = 2 WHERE uuid = :u", u=job.uuid)
            again = ledger.claim()
            if status == "poison":
                rescue.rescue(ledger.connection, again, True, "w1: the process is gone", ledger.store)
            else:
                ledger.settle(again, result='{"ok": true}')
        else:
            settled = {"retried": "failed", "binned": "failed"}.get(status, status)
            costs = [{"nano": round(0.25 * 10**9), "currency": "EUR", "model": "m"}, {"nano": None, "currency": "USD"}]
            bad = settled in ("failed", "timeout")
            ledger.settle(job, settled, error="RateLimitError: 429" if bad else None, traceback="Traceback\n  File \"a.py\", line 1\nE: 429" if bad else "",
                          run_ms=1500, memory_peak=2**27, details={"costs": costs, "cut": ["log"]}, result='{"ok": [1, 2]}' if status == "completed" else None)
    with ledger.connection.transaction() as tx:
        manual.to_bin(tx, [r[0] for r in tx.fetch_all("SELECT id FROM failed_jobs WHERE uuid = :u", u=uuids["binned"])])
        counts.save(tx, "channels", ["team", "mail"])
    search_index.advance(ledger.connection)
    for state in ("completed", "failed"):  # past what rollups and index have taken in
        uuids[f"new {state}"] = ledger.dispatch("TestEcho", args=CAFFE)
        ledger.settle(ledger.claim(), state, error=None if state == "completed" else "Boom")
    for name in ("again", "back"):  # failed, and retried by a person: failed again, waits again
        uuids[name] = ledger.dispatch("TestEcho", tenant_id="acme" if name == "again" else None, args=CAFFE, tries=1, queue="high")
        for _round in range(1 + (name == "again")):
            ledger.settle(ledger.claim("w1"), "failed", error="Boom", run_ms=700 + 900 * _round)
            with ledger.connection.transaction() as tx:
                manual.requeue(tx, [r[0] for r in tx.fetch_all("SELECT id FROM failed_jobs WHERE uuid = :u", u=uuids[name])] if not _round else [], ())
    ledger.change("UPDATE job_metrics SET worker = 'box_1' WHERE uuid = :u AND round = 1", u=uuids["again"])
    uuids["pending"] = ledger.dispatch("TestEcho", args=CAFFE, queue="high")
    uuids["scheduled"] = ledger.dispatch("TestEcho", delay=3600)
    for state in ("held", "blocked", "waiting", "processing"):
        uuids[state] = ledger.dispatch("TestEcho", tenant_id="acme")
    ledger.change("UPDATE jobs SET state = 'processing', worker_id = 'w9', reserved_ms = created_ms, reserved_at = created_at, claim_no = 1, attempts = 1, "
                  "progress_done = 3, progress_total = 7, progress_note = 'halfway' WHERE uuid = :u", u=uuids["processing"])
    for state in ("held", "blocked", "waiting"):
        ledger.change("UPDATE jobs SET state = :s, reason = 'Held by ada.' WHERE uuid = :u", s=state, u=uuids[state])
    uuids["child"] = ledger.dispatch("TestEcho", after=[uuids["processing"], uuids["failed"]])
    uuids["grandchild"] = ledger.dispatch("TestEcho", after=[uuids["child"]])
    ledger.change("UPDATE jobs SET rank = -2 WHERE uuid = :u", u=uuids["pending"])
    ledger.change("INSERT INTO failed_jobs (uuid, connection, queue, payload, exception) VALUES ('foreign-1', 'redis', 'emails', '{}', 'Boom')")
    for tenant in ("acme", "beta"):
        ledger.dispatch("TestPair", tenant_id=tenant)
    ledger.change("UPDATE jobs SET state = 'held', hold_code = 'limit', reason = 'Its type is limited to 1 at once.', limit_key = "
                  "'TestPair tenant=' || tenant_id WHERE job_type = 'TestPair'")
    ledger.change("INSERT INTO rate_starts (limit_key, at_ms) VALUES ('TestRate', :now)", now=now_ms())
    with ledger.app.app_context():
        recurring.run_due(settings.timezone)
        db.session.add_all(_more(uuids, now_ms()))
        db.session.commit()
    return uuids


def fill_batches(ledger: Ledger) -> dict[str, str]:
    """An open batch with a member of most states, one that has ended, one that nobody seals, and a row of another program; their ids by name."""
    with ledger.app.app_context():
        running, ended, unsealed = (begin(f"100% {name} 'uno'", tenant_id="acme", then=registry.find("TestFollow"), created_by="ada@example.org")
                                    for name in ("running", "ended", "unsealed"))
        echo, high = registry.find("TestEcho"), {"queue": "high", "tries": 1}
        for made, n in ((ended, 3), (running, 4)):
            echo.with_options(batch=made, **high).dispatch_many([CAFFE] * n)
            made.seal()
        db.session.commit()
    ledger.change("UPDATE jobs SET rank = 5 WHERE batch_id IS NOT NULL")
    for status in ("completed", "failed", "cancelled", "timeout", "completed", "failed"):
        ledger.settle(ledger.claim("w8", ("high",)), status, error="RateLimitError: 429" if status == "failed" else None, details={"costs": [{"nano": 7, "currency": "EUR"}]})
    ledger.change("UPDATE job_batches SET created_ms = 0, created_at = 1 WHERE id = :b", b=unsealed.id)
    ledger.change("INSERT INTO job_batches (id, name, total_jobs, pending_jobs, failed_jobs, created_at, finished_at) VALUES ('import-1', 'Laravel', 3, 0, 1, 7, 9)")
    return {"running": running.id, "ended": ended.id, "unsealed": unsealed.id, "foreign": "import-1"}


def _more(uuids: dict[str, str], now: int) -> list[object]:
    at, done = naive(now - 1000), uuids["completed"]
    workers = [
        WorkerHeartbeat(worker_name=f"box_{n}", process_id=2**30 + n, queue="high,default", status=status, started_at=at, last_heartbeat=at, worker_id=f"w{n}",
                        consumer_id="c", host="elsewhere", stale=int(n == 2), reason="unheard for 130 s" if n == 2 else None, memory=2**27, memory_start=2**26,
                        job_uuid=uuids["processing"] if n == 9 else None, job_since=now - 5000 if n == 9 else None, job_claim=1 if n == 9 else None,
                        command="quiet" if n == 3 else None, stopped_ms=now if status == "stopped" else None)
        for n, status in ((1, "idle"), (2, "idle"), (3, "idle"), (4, "stopped"), (9, "active"))
    ]
    generations = [
        Generation(uuid=uuids[u], tenant_id="acme", reference="r1", prompt="Vini", model="m", status=status, text="testo", tokens_in=1, tokens_cached=0,
                   tokens_out=2, cost_nano=5, currency="USD", asks=1, created_ms=now, asked_ms=now, first_ms=now, ended_ms=now, raw="{}",
                   batch_id=BULK, draft="waiting" if status == "answered" else None)
        for u, status in (("completed", "answered"), ("failed", "failed"), ("timeout", "partial"), ("processing", "asking"))
    ]
    return [
        *workers, *generations,
        JobBatch(id=BULK, name="Bulk of 4 texts", total_jobs=4, pending_jobs=1, failed_jobs=1, options='{"texts": 4, "estimate_nano": 5, "currency": "USD"}',
                 created_at=now // 1000, created_ms=now, sealed_ms=now, tenant_id="acme"),
        Content(tenant_id="acme", reference="r1", title="Titolo 100%", body="corpo", attributes='{"prezzo": "3"}', created_ms=now, updated_ms=now),
        Content(tenant_id="", reference="r2", title="senza", body="corpo", created_ms=now, updated_ms=now),
        ContentVersion(content_id=1, body="prima", replaced_ms=now, replaced_by=done),
        Connection(tenant_id="acme", service="prestashop", url="https://there.test", secret="x", created_ms=now, updated_ms=now),
        *(SyncLink(content_id=1, tenant_id="acme", reference="r1", service=s, state=state, remote_id="7", url="https://there.test/7", edit_url="https://there.test/7/edit",
                   sent='{"title": "a"}', base='{"title": "a"}', ours='{"title": "b"}', theirs='{"title": "c"}', uuid=done, synced_ms=now, content_ms=now, changed_ms=now)
          for s, state in (("wordpress", "conflict"), ("prestashop", "gone"))),
        *(SyncAction(uuid=done, retry_round=1, content_id=n, reference=f"r{n}", service="wordpress", action=action, text="Updated: title.", url="https://there.test/7", at_ms=now)
          for n, action in ((1, "conflict"), (2, "created"))),
        PromptTemplate(tenant_id="acme", name="breve", body="{prompt}", updated_ms=now, updated_by="ada"),
        ImportRun(uuid=done, row_no=3, inserted=1, updated=1, unchanged=0, rejected=1, retry_round=1, touched_ms=now),
        ImportReject(uuid=done, line=3, reason="no title", row="r3;;"),
        *(JobCost(uuid=done, job_type="TestEcho", tenant_id=tenant, model=model, at_ms=now - n * DAY_MS, tokens_in=7, tokens_cached=1, tokens_out=3,
                  cost_nano=None if n == 2 else 123_456_789, currency=currency)
          for n, (tenant, model, currency) in enumerate((("acme", "m", "USD"), ("", "n", "EUR"), ("acme", "", "USD")))),
        JobLimit(job_type="TestPair", per="tenant", concurrency=1, is_keyed=1),
        JobLimit(job_type="TestRate", per="type", rate_count=60, rate_ms=MINUTE_MS, set_concurrency=2, set_by="ada", set_at_ms=now, is_keyed=1),
        Connection(tenant_id="acme", service="wordpress", url="http://127.0.0.1:9/blog", user_name="ada", secret="x", created_ms=now, updated_ms=now, failures=5, hold_s=60,
                   held_until_ms=now + 60_000, error="127.0.0.1 cannot be reached (x)."),
        Connection(tenant_id="acme", service="openai", url="", secret="x", options='{"project": "p"}', created_ms=now, updated_ms=now, tested_ms=now, test_ok=1, test_text="The key works."),
        TenantBudget(tenant_id="acme", month_nano=1000, currency="USD", hold=1, changed_by="ada"),
        Upload(id="up_x", tenant_id="acme", filename="a.csv", sha256="0" * 64, size=3, created_ms=now, job_uuid=done),
        Upload(id="up_old", tenant_id=None, filename="b.csv", sha256="0" * 64, size=3, created_ms=now - 2 * DAY_MS),
        JobLog(uuid=done, claim_no=1, attempt=1, at_ms=now, level="info", message="riga"),
        Alert(rule_id=1, kind="failures", subject="", severity="critical", facts='{"n": 7, "minutes": 60, "limit": 5}', link="/admin/jobs/list",
              opened_ms=now - 1000, seen_ms=now, notify_at=now),
        Alert(rule_id=2, kind="no_worker", subject="", severity="warning", facts='{"n": 7, "limit": 0}', opened_ms=now - 9000, seen_ms=now, notify_at=now, notified=1,
              snoozed_ms=now + 9_000_000, snoozed_by="ada"),
        Alert(rule_id=3, kind="slow", subject="x", severity="warning", facts='{"ms": 7, "n": 1, "minutes": 60, "limit": 5}', opened_ms=now - 9000, seen_ms=now,
              notify_at=now, notified=2, closed_ms=now),
        *(AlertMessage(alert_id=n, channel="team", phase="open", title="t", body="b", state=state, next_ms=now + DAY_MS, created_ms=now, attempts=n,
                       error="refused" if n else None, ended_ms=now if state in ("sent", "dropped") else None)
          for n, state in enumerate(("sent", "dropped", "waiting"), 1)),
        Recurring(name="yearly", enabled=1, since_ms=now, looked_ms=now, missed_ms=now - DAY_MS, missed_at_ms=now)
        if not db.session.get(Recurring, "yearly") else JobLog(uuid=done, claim_no=1, attempt=1, at_ms=now, level="error", message="riga"),
        RecurringRun(name="yearly", minute_utc=now - now % MINUTE_MS, uuid=done, created_ms=now),
        RecurringRun(name="nightly", minute_utc=now - now % MINUTE_MS, created_ms=now, why="missed"),
        *(Schedule(name=name, cron="30 2 1 1 *", job_type=job_type, args='{"text": "è"}' if job_type else "{}", queue="low", tenant_id="acme", changed_by="ada", changed_ms=1)
          for name, job_type in (("nightly", "TestEcho"), ("unknown type", "NoSuchType"), ("yearly", None), ("no longer declared", None))),
        Queue(name="low", paused_at=now, paused_until=now + DAY_MS, paused_by="ada", reason="pausa"),
        Queue(name="type:TestSleep", paused_at=now, paused_by="ada"),
        *(ReportPlan(name=f"Plan {period} 100%", target=target, period=period, language="it", filter=limits, made_by="admin@example.org", created_ms=now, since_ms=now, enabled=on)
          for period, target, limits, on in (("week", "mail:admin@example.org", "{}", 1), ("month", "channel:team", '{"job_type": "TestEcho", "tenant_id": "acme", "queue": "low"}', 0),
                                             ("day", "mail:ada@example.org", "{}", 1), ("fortnight", "x", "[", 1))),
        Report(plan_id=1, from_ms=now - 8 * DAY_MS, until_ms=now - DAY_MS, figures="{}", created_ms=now),
        *(Mail(kind=kind, target="mail:admin@example.org", language="it", plan_id=plan, report_id=1, state=state, next_ms=now + DAY_MS, created_ms=now, attempts=2, error=error,
               ended_ms=now if state in ("sent", "dropped") else None)
          for plan, kind, state, error in ((1, "report", "waiting", "refused"), (1, "test", "dropped", "refused"), (2, "report", "sent", None), (3, "report", "waiting", None))),
        *(Follow(user_id=1, kind=kind, subject=subject, via=via, language="it", created_ms=now)
          for kind, subject, via in (("job", uuids["processing"], "browser"), ("batch", BULK, "mail"), ("job", "gone", "channel:team"), ("x", "x", "x"))),
        *(Notice(user_id=1, kind=kind, subject=subject, title='["Job completed: %(name)s", {"name": "x"}]', body="", link=f"/admin/jobs/job/{done}", created_ms=now)
          for kind, subject in (("job", done), ("alert", "1"), ("alert", "x"), ("x", "x"))),
        *(ApiToken(user_id=1, name=f"Token {n} 100%", token_hash=str(n) * 64, prefix=f"ajt_{n}", scopes=scopes, created_ms=now, expires_ms=now + left, used_ms=used, used_from=used and "::1", revoked_ms=revoked)
          for n, (scopes, left, used, revoked) in enumerate((("read", DAY_MS, now, None), ("read act dispatch", -DAY_MS, None, None), ("act", DAY_MS, now, now), ("x", DAY_MS, None, None)))),
        *(Invitation(token_hash=str(n) * 64, email=f"guest{n}@example.org", role=role, invited_by="ada", created_ms=now, expires_ms=now + left)
          for n, (role, left) in enumerate((("viewer", DAY_MS), ("super-admin", -DAY_MS)))),
        *(QueueMinute(minute_ms=now - now % MINUTE_MS - n * MINUTE_MS, queue="default", depth=n) for n in range(3)),
    ]
