"""The specification's own tests, by behaviour, and the JSON shapes that others rely on."""

from __future__ import annotations

import json
import sqlite3
import uuid as uuids

import pytest

from app.extensions import db
from app.ledger.dialect import Connection
from app.models import outcome_stats
from app.services.jobs import rollups
from app.services.stats.job_monitoring import JobMonitoringService
from app.support.clock import DAY_MS, HOUR_MS, now_ms, stamp
from tests.conftest import token_in


def insert_failed(data_dir, count: int = 1, **columns) -> list[str]:
    """Rows of failed_jobs as any program could have written them: only the specification's columns."""
    keys = [str(uuids.uuid4()) for _ in range(count)]
    row = {"connection": "database", "queue": "default", "payload": json.dumps({"test": "data"}), "exception": "Test exception"} | columns
    connection = sqlite3.connect(data_dir / "ainstein.sqlite3")
    with connection:
        for key in keys:
            names = ["uuid", *row]
            connection.execute(f"INSERT INTO failed_jobs ({','.join(names)}) VALUES ({','.join('?' * len(names))})", [key, *row.values()])
    connection.close()
    return keys


def test_dashboard_stats_returns_correct_structure(context):
    stats = JobMonitoringService().get_dashboard_stats()
    assert set(stats) == {"workers", "jobs", "metrics"}
    assert set(stats["workers"]) == {"active", "total", "idle", "stale", "expected", "missing", "troubles"}
    assert {"pending", "processing", "completed_today", "failed_today", "scheduled", "waiting", "held"} <= set(stats["jobs"])
    assert stats["metrics"] == {"avg_processing_time": None, "success_rate": None, "total_processed_24h": 0}


def test_retry_failed_job_works(context, data_dir):
    (key,) = insert_failed(data_dir)
    assert JobMonitoringService().retry_failed_job(key) is True
    rows = db.session.execute(db.text("SELECT state, job_type FROM jobs WHERE uuid = :u"), {"u": key}).all()
    assert [tuple(r) for r in rows] == [("pending", "Unknown")]
    assert db.session.execute(db.text("SELECT COUNT(*) FROM failed_jobs")).scalar() == 0


def test_admin_can_access_job_monitoring_dashboard(admin):
    answer = admin.get("/admin/jobs")
    assert answer.status_code == 200
    assert "Job Monitoring Dashboard" in answer.text


@pytest.mark.parametrize("path", ["/admin/jobs", "/admin/jobs/", "/admin/jobs/realtime-stats", "/admin/jobs/metrics/", "/admin/jobs/workers"])
def test_regular_user_cannot_access_dashboard(user_client, path):
    assert user_client.get(path).status_code == 403


def test_nobody_is_sent_to_sign_in_and_scripts_get_401(client):
    assert client.get("/admin/jobs").location.startswith("/login?next=")
    for path in ("/admin/jobs/realtime-stats", "/admin/jobs/metrics"):
        answer = client.get(path)
        assert answer.status_code == 401 and set(answer.json) == {"error"}
    assert client.get("/admin/jobs/workers", headers={"Accept": "application/json"}).status_code == 401


def test_realtime_stats_endpoint_returns_json(admin):
    answer = admin.get("/admin/jobs/realtime-stats")
    assert answer.status_code == 200
    assert set(answer.json["stats"]) == {"workers", "jobs", "metrics"}
    assert answer.json["timestamp"].endswith("Z")


def test_the_specified_ids_and_italian_labels_stand_on_the_dashboard(admin, data_dir):
    insert_failed(data_dir)
    page = admin.get("/admin/jobs").text
    for name in ("active-workers", "pending-jobs", "completed-jobs", "failed-jobs", "job-timeline-chart", "job-types-chart",
                 "failed-jobs-section", "last-update"):
        assert f'id="{name}"' in page
    for label in ("Worker Attivi", "Lavori in Attesa", "Completati Oggi", "Falliti Oggi", "Batch Live (Ultime 24h)", "Distribuzione per Tipo",
                  "Lavori in Coda (0)", "Lavori Falliti (1)", "Aggiorna", "Retry All Failed", "Retry All", "Elimina Tutti",
                  "Nessun lavoro in coda", "in elaborazione", "Success rate", "UUID", "Errore", "Fallito il", "Azioni"):
        assert label in page, label
    english = admin.get("/admin/jobs", headers={"Accept-Language": "en"}).text
    assert "Success rate nelle 24 ore: " in page and "Success rate in 24 hours: " in english, "the card's other number is that of today"
    assert "Active workers" in english and "Worker Attivi" not in english


def test_retry_delete_retry_all_and_flush_as_plain_forms(admin, data_dir):
    keys = insert_failed(data_dir, 4)
    form = {"csrf_token": admin.csrf}
    answer = admin.post(f"/admin/jobs/retry/{keys[0]}", data=form, follow_redirects=True)
    assert "Job reinserito nella coda" in answer.text
    assert admin.post(f"/admin/jobs/delete/{keys[1]}", data=form).status_code == 405, "POST deletes only with _method=DELETE"
    answer = admin.post(f"/admin/jobs/delete/{keys[1]}", data=form | {"_method": "DELETE"}, follow_redirects=True)
    assert "Job eliminato" in answer.text
    answer = admin.post("/admin/jobs/retry-all", data=form, headers={"Accept": "application/json"})
    assert answer.json == {"ok": True, "count": 2}
    answer = admin.post("/admin/jobs/flush-failed", data=form, follow_redirects=True)
    assert "Tutti i job falliti sono stati eliminati" in answer.text
    assert admin.delete(f"/admin/jobs/delete/{keys[0]}", headers={"X-CSRFToken": admin.csrf, "Accept": "application/json"}).status_code == 409
    unknown = admin.post(f"/admin/jobs/retry/{uuids.uuid4()}", data=form, headers={"Accept": "application/json"})
    assert unknown.status_code == 404 and "error" in unknown.json


def test_delete_all_takes_only_what_the_page_showed(admin, data_dir):
    insert_failed(data_dir, 2)
    page = admin.get("/admin/jobs").text
    assert 'name="upto" value="2"' in page
    insert_failed(data_dir, 1)
    form = {"csrf_token": admin.csrf, "upto": "2"}
    assert admin.post("/admin/jobs/flush-failed", data=form, headers={"Accept": "application/json"}).json["count"] == 2
    assert admin.get("/admin/jobs/realtime-stats").json["stats"]["jobs"]["failed"] == 1
    assert admin.post("/admin/jobs/flush-failed", data={"csrf_token": admin.csrf, "upto": "٣"}).status_code == 400


def test_without_javascript_delete_all_asks_first(admin, data_dir):
    insert_failed(data_dir, 2)
    asked = admin.post("/admin/jobs/flush-failed", data={"csrf_token": admin.csrf, "upto": "2", "ask": "1"})
    assert asked.status_code == 200 and "Eliminare tutti i job falliti?" in asked.text
    admin.post("/admin/jobs/flush-failed", data={"csrf_token": token_in(asked.text), "upto": "2"})
    assert admin.get("/admin/jobs/realtime-stats").json["stats"]["jobs"]["failed"] == 0


def test_metrics_have_all_buckets_and_refuse_what_they_do_not_know(admin):
    for period, count, length in (("24h", 24, 20), ("7d", 7, 10), ("30d", 30, 10)):
        rows = admin.get(f"/admin/jobs/metrics?period={period}").json
        assert len(rows) == count
        assert set(rows[0]) >= {"date", "total", "completed", "failed", "avg_time"} and len(rows[0]["date"]) == length
        assert [r["date"] for r in rows] == sorted(r["date"] for r in rows)
    for wrong in ("period=1y", "job_type=Nope", "bucket=minute", "group=tenant", "period=24h&bucket=day"):
        answer = admin.get(f"/admin/jobs/metrics?{wrong}")
        assert answer.status_code == 400 and set(answer.json) == {"error"}, wrong


def test_workers_are_a_page_and_json(admin):
    assert "<html" in admin.get("/admin/jobs/workers").text
    assert admin.get("/admin/jobs/workers", headers={"Accept": "application/json"}).json == {"workers": [], "troubles": [], "expected": None, "autoscaling": None}
    assert admin.post("/admin/jobs/workers/7/restart", data={"csrf_token": admin.csrf}, headers={"Accept": "application/json"}).status_code == 404


def outcomes(data_dir, rows: list[tuple[int, str, int]]) -> None:
    """Raw rows of job_metrics (ms, status, run time), as the demo and the settle write them."""
    connection = sqlite3.connect(data_dir / "ainstein.sqlite3")
    with connection:
        connection.executemany(
            "INSERT INTO job_metrics (uuid, round, claim_no, job_type, queue, status, processing_time, attempts, completed_at) "
            "VALUES (?, 1, 1, ?, 'default', ?, ?, 1, ?)",
            [(str(uuids.uuid4()), "TestNoop" if n % 3 else "TestFail", status, ms, stamp(at)) for n, (at, status, ms) in enumerate(rows)],
        )
    connection.close()


def test_figures_equal_a_count_by_brute_force_for_any_window(app, data_dir):
    import random

    chance = random.Random(11)
    now = now_ms()
    rows = [
        (now - chance.randrange(3 * DAY_MS), chance.choice(("completed", "failed", "timeout", "retried", "cancelled")), chance.randrange(9000))
        for _ in range(3000)
    ]
    outcomes(data_dir, rows)
    with app.app_context():
        connection = Connection(app.extensions["settings"].database_url)
        for count in (lambda: 0, lambda: rollups.advance(connection, steps=1), lambda: rollups.advance(connection),
                      lambda: rollups.rebuild(connection, 4), lambda: outcomes(data_dir, rows[:500]) or rows.extend(rows[:500])):
            count()  # nothing counted yet, a part, all, all again, and 500 that came in late
            check(chance, now, rows)
            db.session.rollback()


def check(chance, now: int, rows: list[tuple[int, str, int]]) -> None:
    """Figures of any window beside a count of `rows` by brute force."""
    for longest in (DAY_MS, 3 * DAY_MS) * 20:
        start = now - chance.randrange(1000, longest)
        inside = [r for r in rows if r[0] >= start]
        sums = outcome_stats.window(start, now + 1)
        assert sums.completed == sum(r[1] == "completed" for r in inside)
        assert sums.failed == sum(r[1] in ("failed", "timeout") for r in inside)
        assert sums.time_ms == sum(r[2] for r in inside if r[1] == "completed")
    half = HOUR_MS // 2  # bounds as in a zone at +5:30
    first = now - now % HOUR_MS - 2 * DAY_MS + half
    bounds = [first + n * DAY_MS for n in range(4)]
    got = [(s.completed, s.failed) for s in outcome_stats.buckets(bounds)]
    want = []
    for low, high in zip(bounds, bounds[1:], strict=False):
        mine = [r[1] for r in rows if low <= r[0] < high]
        want.append((mine.count("completed"), mine.count("failed") + mine.count("timeout")))
    assert got == want


def test_the_schema_has_the_specified_tables_columns_and_indexes(data_dir):
    connection = sqlite3.connect(data_dir / "ainstein.sqlite3")
    wanted = {
        "job_batches": "id name total_jobs pending_jobs failed_jobs failed_job_ids options cancelled_at created_at finished_at",
        "failed_jobs": "id uuid connection queue payload exception failed_at",
        "jobs": "id queue payload attempts reserved_at available_at created_at",
        "job_metrics": "id job_type tenant_id status processing_time memory_used attempts error_message metadata completed_at created_at",
        "worker_heartbeats": "id worker_name process_id queue status current_job_id current_job_type started_at last_heartbeat created_at",
    }
    for table, columns in wanted.items():
        have = [r[1] for r in connection.execute(f"PRAGMA table_info({table})")]
        assert have[: len(columns.split())] == columns.split(), table
    indexes = {r[0] for r in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert {"jobs_queue_index", "job_metrics_type_status_idx", "job_metrics_tenant_idx", "job_metrics_completed_idx",
            "worker_heartbeats_status_idx"} <= indexes
    connection.close()
