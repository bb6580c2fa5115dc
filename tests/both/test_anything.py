"""Whatever stands in any column of any row, every page, part, JSON route and export shows the rest, on both databases."""

from __future__ import annotations

import json
import traceback
import uuid as uuids
from collections import Counter

import pytest
from flask import got_request_exception
from sqlalchemy import BigInteger, DateTime, Float, Integer, text
from sqlalchemy.exc import DataError, IntegrityError

from app.config import ROOT
from app.extensions import db
from app.services.people import accounts
from app.support.clock import now_ms
from tests.conftest import PASSWORD, sign_in

DEEP = "[" * 100_000
JSONS = (
    "", "null", "[]", "{", "7", "NaN", '"text"', DEEP, '{"a":' * 50_000, "{" * 2000, json.dumps({"displayName": {"an": "object"}, "args": [1]}), '{"displayName": 7, "args": "x"}',
    '{"displayName": "X", "args": {"n": ' + "9" * 5000 + "}}", '{"args": {"a": "\\ud800", "\\udfff": ["\\ud800"]}, "displayName": "\\ud800"}', '{"args": {"f": 1e999, "m": -Infinity}}',
    '{"args": {"deep": ' + "[" * 500 + "]" * 500 + "}}", '{"args": {"a": "' + "x" * 1_000_000 + '"}}', '{"args": {"up": "up_' + "0" * 32 + '"}, "cut": [[]], "queues": 1, "values": [1]}',
    '{"cut": 5, "permanent": [], "code": [1], "errors": 7, "values": {"1": "x"}}', '{"cut": [[1], {"a": 1}]}', "\x00{", '{"queues": {"default": {"depth": "x", "since": []}}, "pending": 1}',
    '{"n": "x", "minutes": [], "limit": null}', '{"n": NaN, "ms": 1e308, "limit": 5, "minutes": 5, "type": 5, "queue": 7}',
)
TEXTS = (
    "", "x", "type:", "a/b?c#d%2F", "<script>alert(1)</script>", '"><img src=x>', "\x00\x1b[31m\u202e", "\U0001f600" * 300, "line\nline\r\n\tline", "../../etc/passwd", "x" * 1_000_000, "%(n)s %s %",
    "javascript:alert(1)", "//evil.example", 'File "x", line ' + "9" * 5000, "  File \"/a\", line 1, in f\n    x\n" * 2000, "password=hunter2", "completed", "failed", "processing", "pending", "default", "ﷺ",
)
NUMBERS = (0, -1, 1, 2**31 - 1, -(2**31), 2**62, -(2**63), 2**63 - 1)
LOOSE = ("abc", "", 1.5, 1e308, float("inf"), b"\xff\xfe", "2026-01-01", "9" * 400)  # what SQLite takes in any column besides
MOMENTS = {"sqlite": ("", "yesterday", "0000-00-00 00:00:00", "9999-12-31 23:59:59.999999", 12, 1e300, b"\xff", "infinity"),
           "postgresql": ("infinity", "-infinity", "0044-03-15 12:00:00 BC", "9999-12-31 23:59:59.999999", "294276-01-01", "0001-01-01")}
TABLES = (  # the rows of a line are there together: each line costs a reading of every page
    ("jobs",), ("failed_jobs",), ("job_history",), ("job_metrics",), ("meta",),
    ("job_logs", "job_batches", "worker_heartbeats", "queues", "queue_minutes", "queue_seconds", "job_minutes", "job_histograms"),
    ("rollup_types", "rollup_tenants", "rollup_sent", "alerts", "alert_rules", "alert_messages", "error_groups", "deploys"),
    ("contents", "content_versions", "import_rejects", "import_runs", "generations", "prompt_templates"),
    ("job_costs", "tenant_budgets", "recurring", "recurring_runs", "schedules", "uploads", "audit", "connections"),
    ("report_plans", "reports", "mails", "invitations", "api_tokens", "notices", "follows"),
)
JSON_COLUMNS = ("payload", "result", "metadata", "facts", "attributes", "raw", "parameters", "value", "failed_job_ids", "options", "row")
META = ("history_order", "live_counts", "monitor", "channels", "alerts", "types", "disk", "rollup_reach", "search_reach", "paused_after_restore", "code_of_workers")


KEYS = {  # columns by which pages choose: hostile one at a time, else ordinary so that the row is shown
    "uuid": lambda n: str(uuids.uuid4()), "queue": lambda n: "default", "status": lambda n: ("completed", "failed")[n % 2], "state": lambda n: ("pending", "processing", "held", "scheduled")[n % 4],
    "hour": lambda n: now_ms() // 3_600_000 * 3_600_000 - n * 3_600_000, "minute_ms": lambda n: now_ms() // 60_000 * 60_000 - n * 60_000, "deleted_at": lambda n: None,
    "closed_ms": lambda n: (None, now_ms())[n % 2], "key": lambda n: META[n % len(META)], "rule_id": lambda n: n, "alert_id": lambda n: n, "channel": lambda n: "team", "what": lambda n: "run",
    "name": lambda n: f"name {n}", "tenant_id": lambda n: f"t{n}", "reference": lambda n: f"r{n}", "id": lambda n: f"id {n}", "worker_name": lambda n: f"w{n}", "worker_id": lambda n: f"w{n}", "line": lambda n: n,
    "replaced_by": lambda n: f"u{n}", "content_id": lambda n: 1, "le": lambda n: n, "minute_utc": lambda n: n, "claim_no": lambda n: n, "round": lambda n: n, "phase": lambda n: f"p{n}", "paused_at": lambda n: now_ms(),
    "stale": lambda n: 0, "user_id": lambda n: 1, "plan_id": lambda n: n % 9 + 1,
}
OF_ONE = ("job_metrics", "job_logs", "import_rejects", "import_runs", "content_versions", "generations")  # shown on the page of a job


def hostile(column, store: str) -> list:
    """Values that the column takes and nobody expects."""
    kind = column.type
    if isinstance(kind, DateTime):
        return list(MOMENTS[store])
    loose = LOOSE if store == "sqlite" else ()
    if isinstance(kind, Integer | Float):
        most = 2**63 if store == "sqlite" or isinstance(kind, BigInteger) else 2**31
        return [*(n for n in NUMBERS if -most <= n < most), *loose]
    texts = (*(JSONS if column.name in JSON_COLUMNS else ()), *TEXTS)
    if store == "sqlite":
        return [*texts, *loose]
    return [t.replace("\x00", "")[: kind.length] for t in texts]


def rows_of(table, store: str, uuid: str) -> list[dict]:
    """Rows that hold every hostile value of every column once."""
    columns = [c for c in table.columns if not (isinstance(c.type, Integer) and list(table.primary_key.columns) == [c])]
    values = {c.name: hostile(c, store) for c in columns}
    kept = {c.name: KEYS[c.name] for c in columns if c.name in KEYS} | ({"uuid": lambda n: uuid} if table.name in OF_ONE[:4] else {})
    rows, n = [], 0
    for n in range(max(len(v) for name, v in values.items() if name not in kept)):
        rows.append({c.name: kept[c.name](n) if c.name in kept else values[c.name][n % len(values[c.name])] for c in columns})
    for name in kept:
        for value in values[name]:
            n += 1
            usual = {c.name: kept[c.name](n) if c.name in kept else values[c.name][-3 if isinstance(c.type, Integer) else 1] for c in columns}
            rows.append(usual | {name: value})
    return rows


def fill(table, store: str, uuid: str) -> int:
    """Write them, as far as the database takes them (keys are unique); returns how many."""
    db.session.remove()
    written = 0
    for row in rows_of(table, store, uuid):
        try:
            with db.engine.begin() as connection:
                if table.name == "meta":
                    connection.execute(text("DELETE FROM meta WHERE key = :key"), {"key": row["key"]})
                written += connection.execute(text(f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({', '.join(':' + name for name in row)})"), row).rowcount
        except (DataError, IntegrityError):
            continue
        if table.name == "meta":
            check(("/admin/jobs/", "/admin/jobs/alerts/", "/admin/jobs/realtime-stats", "/readyz", "/admin/jobs/metrics?period=7d"))
    return written


PARTS = ",".join(path.stem for path in (ROOT / "templates/admin/partials").glob("*.html"))


ABSENT = 8  # rows: an address that says so of the first rows of a table, ordinary ones, shows none of it


def check(paths) -> None:
    """GET each; one error does not hide the next. A dict has beside each its kind: of one that shows nothing, only the first are asked."""
    wrong: list[str] = []
    errors: list[BaseException] = []
    note = lambda _app, exception, **_: errors.append(exception)  # noqa: E731
    absent: Counter[str] = Counter()
    with got_request_exception.connected_to(note):
        for n, path in enumerate(paths):
            kind = paths[path] if isinstance(paths, dict) else ""
            if kind and absent[kind] >= ABSENT:
                continue
            check.client.application.extensions["rate_limits"].storage.reset()  # one person asks more than 600 times a minute
            for accept in ("text/html", "application/json", PARTS) if n % 3 == 0 or "/job/" not in path else ("text/html",):
                answer = check.client.get(path, headers={"Accept": accept} if accept != PARTS else {"Accept": "application/json", "X-Partials": PARTS})
                body = answer.get_data()
                fine = answer.status_code in {"/readyz": (200, 503), "/": (302,), "/form-again": (200, 303), "/login/code": (303,), "/account/second-factor": (303,), "/favicon.ico": (301,), "/admin/jobs/live": (426,)}.get(path, (200, 404))
                if "/html" in answer.content_type:
                    fine &= not any(bad in body for bad in (b"<script>alert(1)", b'href="javascript:', b'href="//evil'))
                if "json" in answer.content_type:
                    json.loads(body, parse_constant=lambda name: wrong.append(f"{name} is no JSON"))
                if not fine:
                    wrong.append(f"{path[:80]} {accept} {answer.status_code} {traceback.format_exception(errors.pop())[-2:] if errors else body[-300:]}"[:700])
            absent[kind] = absent[kind] + 1 if answer.status_code == 404 else -9999
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(dict.fromkeys(wrong[:400]))[:6000]


def addresses(app) -> dict[str, str]:
    """Every address that a GET may go to, and the parts, with its kind; those with a name in them, with each name there is."""
    rows = {table: [r[0] for r in db.session.execute(text(f"SELECT uuid FROM {table} ORDER BY id DESC LIMIT 70"))] for table in ("jobs", "failed_jobs", "job_history", "generations")}
    tables = {u.decode("utf-8", "replace") if isinstance(u, bytes) else str(u): table for table in rows for u in rows[table]}
    uuids_, kinds = sorted(tables, key=lambda u: len(u) != 36), {}  # an ordinary one is found wherever its table is read
    batches = [r[0].decode("utf-8", "replace") if isinstance(r[0], bytes) else str(r[0]) for r in db.session.execute(text("SELECT id FROM job_batches"))]
    names = [r[0] for table in ("schedules", "recurring_runs", "recurring") for r in db.session.execute(text(f"SELECT name FROM {table}")) if isinstance(r[0], str)]
    ids = {name: [r[0] for r in db.session.execute(text(f"SELECT id FROM {table} ORDER BY id LIMIT 70"))] for name, table in (("admin.jobs.reports.plan", "report_plans"), ("", "alert_rules"))}
    db.session.rollback()
    found, skipped = [], ("static", "static-plain", "security.txt")
    with app.test_request_context("/"):
        for rule in app.url_map.iter_rules():
            if "GET" not in rule.methods or rule.endpoint in skipped or "logout" in rule.endpoint or "login" in rule.endpoint or "lang" in rule.endpoint:
                continue
            build = app.url_map.bind("localhost").build
            if not rule.arguments:
                found.append(build(rule.endpoint))
            elif rule.arguments == {"uuid"}:
                kinds |= {build(rule.endpoint, {"uuid": u}): f"{rule.endpoint} of {tables[u]}" for u in uuids_ if u and len(u) < 300 and "\x00" not in u}
            elif rule.arguments == {"id"}:
                found += [build(rule.endpoint, {"id": i}) for i in ids.get(rule.endpoint, ids[""])]
            elif rule.arguments == {"batch"}:
                found += [build(rule.endpoint, {"batch": b}) for b in batches if b.strip("/") == b != "" and len(b) < 300 and "\x00" not in b]
            elif rule.arguments == {"upload_id"}:
                found += [build(rule.endpoint, {"upload_id": u}) for u in ("up_" + "0" * 32, "x", "..")]
            elif rule.endpoint == "admin.jobs.recurring-one":
                found += [build(rule.endpoint, {"name": n}) for n in names if n.strip("/.") == n != "" and "//" not in n and len(n) < 300 and "\x00" not in n]
            else:
                assert rule.arguments & {"name", "path", "filename"}, rule
    found += [f"/admin/jobs/list?state={s}" for s in ("live", "ended", "unsuccessful", "bin", "held")] + ["/admin/jobs/list?q=ordinary", "/admin/jobs/list?q=x&state=failed", "/admin/jobs/list?since=2020-01-01"]
    found += [f"/admin/jobs/metrics?period={p}{g}" for p in ("24h", "7d", "30d") for g in ("", "&group=type")] + [f"/admin/jobs/queues?queue={q}" for q in ("high", "default", "low")]
    found += [f"/admin/jobs/new/?like={u}" for u in uuids_[:40] if len(u) == 36]
    return dict.fromkeys(found, "") | kinds


def signed_in(app):
    with app.app_context():
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
        db.session.remove()
    return sign_in(app, "admin@example.org")


@pytest.mark.parametrize("tables", TABLES, ids=lambda tables: tables[0])
def test_every_page_shows_whatever_a_table_holds(ledger, tables):
    usual = ledger.dispatch("TestEcho", args={"text": "ordinary"})
    ledger.settle(ledger.claim(), "failed", error="x", retry=False)
    check.client = signed_in(ledger.app)
    with ledger.app.app_context():
        assert all(fill(db.metadata.tables[table], ledger.store, usual) > 3 for table in tables)
        found = addresses(ledger.app)
        db.session.remove()
    check(found)


def test_a_foreign_failed_job_can_be_looked_at_retried_and_deleted(ledger):
    keys = ["NOT A UUID", "3F2504E0-4F89-41D3-9A0C-0305E82C3301", "deep-one", "gone"]
    for key, payload in zip(keys, (DEEP, '{"displayName": {"a": 1}}', '{"a":' * 50_000, "7"), strict=True):
        ledger.change("INSERT INTO failed_jobs (uuid, connection, queue, payload, exception) VALUES (:u, 'database', 'emails', :p, '')", u=key, p=payload)
    client, scripts = signed_in(ledger.app), {"Accept": "application/json"}
    page = client.get("/admin/jobs/")
    assert page.status_code == 200 and "NOT A UU" in page.text
    for key in keys:
        assert client.get(f"/admin/jobs/job/{key}").status_code == 200
        assert client.get(f"/admin/jobs/job/{key}", headers=scripts).json["uuid"] == key
    form = {"csrf_token": client.csrf}
    assert client.post(f"/admin/jobs/delete/{keys[3]}", data=form | {"_method": "DELETE"}, headers=scripts).json.items() >= {"ok": True, "count": 1}.items()
    for key in keys[:3]:
        assert client.post(f"/admin/jobs/retry/{key}", data=form, headers=scripts).json.items() >= {"ok": True, "count": 1}.items()
    assert ledger.one("SELECT COUNT(*) FROM jobs WHERE job_type = 'Unknown'") == 3 and ledger.one("SELECT COUNT(*) FROM failed_jobs WHERE deleted_at IS NULL") == 0


def test_numbers_that_no_sum_can_hold_stop_no_page(ledger):
    for n in range(3):
        for table, row in (("job_costs", {"uuid": f"u{n}", "job_type": "T", "at_ms": now_ms(), "currency": "USD", "cost_nano": 2**63 - 1, "tokens_in": 2**63 - 1}),
                           ("queue_seconds", {"second_ms": now_ms() - n * 1000, "queue": "low", "sent": 2**63 - 1, "ended": 2**63 - 1}),
                           ("rollup_types", {"hour": now_ms() // 3_600_000 * 3_600_000, "job_type": "T", "status": f"failed{'' if n == 0 else n}", "count": 2**63 - 1, "time_ms": 2**63 - 1, "wait_ms": 0})):
            ledger.change(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(':' + c for c in row)})", **row)
    check.client = signed_in(ledger.app)
    check(("/admin/jobs/", "/admin/jobs/costs/", "/admin/jobs/costs/costs.csv", "/admin/jobs/queues", "/admin/jobs/realtime-stats", "/admin/jobs/metrics?period=30d"))
