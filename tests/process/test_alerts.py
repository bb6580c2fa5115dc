"""The real monitor and real workers, told through a real webhook: counted there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.process.product import ROOT
from tests.sinks import Sink


@pytest.fixture
def sink(product):
    sink = Sink()
    product.env |= {"ALERT_URLS": f"team={sink.url}", "ALERT_LANGUAGE": "en", "PUBLIC_URL": "https://jobs.example.org"}
    yield sink
    sink.close()


def flask(product, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "flask", "--app", "wsgi", *words], env=product.env, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_monitor_once_waits_for_what_it_sends_and_says_what_failed(product, sink):
    product.dispatch("TestNoop", count=11)
    done = flask(product, "monitor", "--once")
    assert done.returncode == 0, done.stderr
    assert sink.titles == ["No worker"]
    assert "https://jobs.example.org/admin/jobs/list?state=pending" in sink.got[0]["message"]
    listed = flask(product, "alerts", "list").stdout
    assert "critical\topen" in listed and "No worker is alive and 11 jobs wait" in listed
    number = listed.split("\t")[0]
    assert flask(product, "alerts", "ack", number).returncode == 0
    assert "taken" in flask(product, "alerts", "list").stdout
    assert flask(product, "alerts", "ack", number).returncode == 1
    sink.mode = "500"
    with_row = product.all("SELECT COUNT(*) FROM alert_messages")[0][0]
    product.dispatch("TestNoop")
    assert flask(product, "monitor", "--once").returncode == 0  # the same incident: nothing to send
    assert product.all("SELECT COUNT(*) FROM alert_messages")[0][0] == with_row
    waiting = subprocess.Popen([sys.executable, "-m", "flask", "--app", "wsgi", "alerts", "test", "team"], env=product.env, cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    product.until(lambda: product.all("SELECT COUNT(*) FROM alert_messages WHERE phase = 'test'")[0][0], 30)
    failed = flask(product, "monitor", "--once")
    assert failed.returncode == 1 and "channel team" in failed.stdout and "4711" not in failed.stdout + failed.stderr
    assert waiting.wait(40) == 1 and "Not delivered" in waiting.stderr.read()
    assert flask(product, "alerts", "test", "nowhere").returncode == 1


def test_the_sign_of_life_is_asked_for_and_its_failure_is_said_without_the_address(product, sink):
    product.env["HEARTBEAT_URL"] = f"http://127.0.0.1:{sink.port}/ping-secret-token"
    done = flask(product, "monitor", "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [m["path"] for m in sink.got] == ["/ping-secret-token"]
    sink.mode = "redirect"
    done = flask(product, "monitor", "--once")
    assert done.returncode == 1 and "ping: answer 301" in done.stdout
    assert "ping-secret-token" not in done.stdout + done.stderr


def test_a_critical_job_is_told_soon_and_once_and_without_mentions_or_secrets(product, sink):
    product.monitor()
    product.workers(2)
    product.dispatch("TestCritical", count=3)
    product.until(lambda: "Critical job failed" in sink.titles, 70, "the message")
    product.ended()
    product.until(lambda: product.one("SELECT COUNT(*) FROM alerts WHERE kind = 'critical_job' AND told = 1") == 1, 10)
    assert sink.titles.count("Critical job failed") == 1
    assert "<!channel>" not in "".join(m["message"] for m in sink.got) and "4711-secret" not in product.tail()
    dump = "\n".join(str(row) for table in ("alerts", "alert_messages", "meta") for row in product.all(f"SELECT * FROM {table}"))
    assert "4711-secret" not in dump and "json://" not in dump
