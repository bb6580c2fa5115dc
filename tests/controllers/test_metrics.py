"""/metrics for Prometheus: who may read it, and that its figures are the ledger's."""

from __future__ import annotations

import json
import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import create_app
from app.config import load_settings
from app.ledger.dialect import Connection
from app.services.jobs import rollups
from app.support import logs

TOKEN = "a-token-of-24-characters"


@pytest.fixture
def scraped(data_dir):
    app = create_app(load_settings({"DATA_DIR": str(data_dir), "METRICS_TOKEN": TOKEN}))
    client = app.test_client()

    def scrape() -> dict[tuple, float]:
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == 200, answer.text
        return {(s.name, *sorted(s.labels.items())): s.value for f in text_string_to_metric_families(answer.text) for s in f.samples}

    scrape.client, scrape.connection = client, Connection(app.extensions["settings"].database_url)
    return scrape


def outcome(scraped, n: int, status: str, run_ms: int, wait_ms: int) -> None:
    with scraped.connection.transaction() as tx:
        tx.execute("INSERT INTO job_metrics (uuid, round, claim_no, job_type, queue, status, processing_time, wait_ms, attempts, started_at, completed_at) "
                "VALUES (:u, 1, 1, 'T', 'low', :s, :ms, :w, 1, '2026-01-01', '2026-01-01')", u=f"u{n}", s=status, ms=run_ms, w=wait_ms)


def test_only_the_token_opens_it(scraped, client):
    assert client.get("/metrics").status_code == 404  # no METRICS_TOKEN: there is no such page
    for header in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": "Bearer é"}):
        assert scraped.client.get("/metrics", headers=header).status_code == 401


def test_histograms_and_counters_are_exact_and_only_rise(scraped):
    for n, (status, run, wait) in enumerate((("completed", 100, 0), ("completed", 101, 700), ("failed", 9000, 50), ("completed", 9_999_999, 5), ("lost", 5, 5))):
        outcome(scraped, n, status, run, wait)
    assert rollups.advance(scraped.connection) == 5 and rollups.advance(scraped.connection) == 0
    found = scraped()
    low = (("queue", "low"), ("type", "T"))
    assert found["ainstein_job_run_seconds_count", *low] == 3
    assert found["ainstein_job_run_seconds_bucket", ("le", "0.1"), *low] == 1
    assert found["ainstein_job_run_seconds_bucket", ("le", "0.5"), *low] == 2
    assert found["ainstein_job_run_seconds_bucket", ("le", "3600.0"), *low] == 2
    assert found["ainstein_job_run_seconds_bucket", ("le", "+Inf"), *low] == 3
    assert found["ainstein_job_run_seconds_sum", *low] == pytest.approx(10000.2)
    assert found["ainstein_job_wait_seconds_count", *low] == 5
    assert found["ainstein_job_outcomes_total", ("status", "completed"), ("type", "T")] == 3
    with scraped.connection.transaction() as tx:
        tx.execute("DELETE FROM job_metrics")  # raw rows go after 32 days; counters stay
    outcome(scraped, 9, "completed", 1, 1)
    rollups.advance(scraped.connection)
    assert scraped()["ainstein_job_run_seconds_count", *low] == 4


def test_log_lines_are_json_with_the_job_and_without_secrets(capsys):
    record = logging.LogRecord("app.x", logging.WARNING, "f", 1, "password=hunter22 for\n%s", ("sk-1234567890abcdef",), None)
    told = logs.job_of_line.set({"uuid": "u", "type": "T", "tenant": "acme", "attempt": 2, "worker": "w"})
    try:
        line, text = json.loads(logs.JsonFormatter().format(record)), logs.LineFormatter().format(record)
    finally:
        logs.job_of_line.reset(told)
    assert line["job"] == {"uuid": "u", "type": "T", "tenant": "acme", "attempt": 2, "worker": "w"}
    assert "hunter22" not in line["message"] and "sk-1234567890abcdef" not in line["message"] and "\n" not in line["message"]
    assert "app.x [T u]: password=" in text
    assert "job" not in json.loads(logs.JsonFormatter().format(record)) and "[T u]" not in logs.LineFormatter().format(record)


def test_the_dashboard_asks_only_for_what_is_there(scraped):
    import re
    from pathlib import Path

    text = (Path(__file__).parents[2] / "deploy/grafana-dashboard.json").read_text()
    asked = set(re.findall(r"ainstein_\w+", text))
    outcome(scraped, 1, "completed", 1, 1)
    rollups.advance(scraped.connection)
    with scraped.connection.transaction() as tx:
        tx.execute("INSERT INTO meta (key, value, at_ms) VALUES ('monitor', '{}', :now)", now=tx.now())
        tx.execute("INSERT INTO jobs (queue, payload, attempts, available_at, created_at, uuid, job_type, created_ms, available_ms, retry_until_ms) "
                "VALUES ('low', '{}', 0, 0, 0, 'u', 'T', 0, 0, 0)")
    assert asked <= {key[0] for key in scraped()}
