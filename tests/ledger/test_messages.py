"""Each writer of a sentence stores its id and values beside the text; the pages tell it in Italian, rows of before included."""

from __future__ import annotations

import re
from html import unescape
from types import SimpleNamespace

import pytest

from app import registry
from app.execution.attempt import Attempt
from app.execution.heartbeat import Heartbeat
from app.execution.job_context import JobContext
from app.execution.lifecycle import Lifecycle
from app.execution.runner import execute
from app.ledger import control
from app.ledger.rescue import forget_worker, rescue
from app.ledger.settle import Outcome, Parked, settle
from app.monitor.liveness import Facts, Seen, judge
from app.services.alerts.delivery import Outbox, OutboxRow
from app.services.content import generations
from app.services.instance import retention
from app.services.jobs import actions
from app.services.people import accounts
from app.support.clock import DAY_MS
from app.support.messages import Message, _patterns
from tests import jobtypes
from tests.conftest import PASSWORD, sign_in

ITALIAN, JSON = {"Accept-Language": "it"}, {"Accept": "application/json"}
WRITTEN = {  # table: column of the text, and of the JSON
    "jobs": ("reason", "reason_json"), "job_history": ("error", "error_json"), "job_metrics": ("error_message", "error_json"),
    "failed_jobs": ("error", "error_json"), "job_logs": ("message", "message_json"), "import_rejects": ("reason", "reason_json"),
    "generations": ("error", "error_json"), "worker_heartbeats": ("reason", "reason_json"), "alert_messages": ("error", "error_json"),
}


@pytest.fixture
def page(ledger):
    """The words of a page, as an Italian super-admin reads it."""
    with ledger.app.app_context():
        accounts.create_user("ada@example.org", "super-admin", PASSWORD)
    client = sign_in(ledger.app, "ada@example.org")

    def read(path: str) -> str:
        answer = client.get(path, headers=ITALIAN)
        assert answer.status_code == 200, answer.status
        text = answer.get_data(as_text=True)
        return text if path.endswith(".csv") else " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())

    read.client = client
    return read


def run(ledger, job) -> str:
    """As a worker runs and settles it; the status written."""
    attempt = Attempt(job)
    execute(ledger.app, attempt, ledger.connection)
    return settle(ledger.connection, job, attempt.outcome, ledger.store)


def import_of(ledger, tmp_path, content: bytes) -> str:
    file = tmp_path / "articoli.csv"
    file.write_bytes(content)
    uuid = ledger.dispatch("ProcessCsvImport", "low", args={"path": registry.UploadedFile(file)}, tries=1)
    run(ledger, ledger.claim(queues=("low",)))
    return uuid


def english_in(words: str) -> list[str]:
    """Sentences that a worker may write which stand in these words in English: by their longest fixed part."""
    longest = {max(parts, key=len).strip(" .") for parts, _names, _id in _patterns()}
    return [part for part in longest if len(part) > 14 and part in words]


def test_the_italian_page_of_a_failed_import_has_no_english_sentence(ledger, page, tmp_path):
    for content in (b"a,b\n1,2\n", b"reference,title,body\n\xe8,\x81,\xc3\n", b"%PDF-1", b""):
        uuid = import_of(ledger, tmp_path, content)
        words = page(f"/admin/jobs/job/{uuid}")
        assert not english_in(words) and ("Il file" in words), words[-3000:]
        assert not english_in(page("/admin/jobs/list")) and not english_in(page("/admin/jobs/"))
        answer = page.client.get(f"/admin/jobs/job/{uuid}", headers=JSON | {"Accept-Language": "it"})
        assert answer.status_code == 200
        assert ledger.one("SELECT error FROM job_history WHERE uuid = :u", u=uuid).startswith("The file"), "scripts read English"


def test_the_report_and_the_log_of_an_import_are_italian(ledger, page, tmp_path):
    rows = b"a,,x\n" + b"r" * 256 + b",t,b\na,b\na,b,c,d\nx,t,one\nx,t,two\n" + b'"a" b,c,d\n'
    uuid = import_of(ledger, tmp_path, b"reference,title,body\n" + rows)
    for words in (page(f"/admin/jobs/job/{uuid}"), page(f"/admin/jobs/contents/report/{uuid}.csv")):
        assert not english_in(words), english_in(words)
    words = page(f"/admin/jobs/job/{uuid}")
    assert "separato da virgola, 7 righe" in words and "7 di 7 righe" not in words
    assert ledger.one("SELECT COUNT(*) FROM import_rejects WHERE reason_json IS NULL") == 0
    assert ledger.one("SELECT COUNT(*) FROM import_rejects WHERE reason LIKE 'Empty cell%'") == 1


def test_what_happens_to_a_job_is_told_in_italian_from_its_json(ledger, page):
    """Each row says it in the reader's language, and would not without its JSON: the names in it read like sentences."""
    trap = "x is known here. Deploy y"
    cases = {}
    cases["blocked"] = ledger.dispatch()
    parked = Parked("blocked", Message("No job type %(name)s is known here. Deploy the code that declares it, or delete the job.", name=trap))
    settle(ledger.connection, ledger.claim(), parked, ledger.store)
    cases["retried"] = ledger.dispatch(tries=2, backoff=(3600,))
    ledger.settle(ledger.claim(), "timeout", error=Message("timeout after %(n)s s", n=300))
    cases["stopped"] = ledger.dispatch()
    for _n in range(3):
        job = ledger.claim()
        why = judge(Facts(1, True, True, False, None), Seen(1, 0.0), 1.0).why
        rescue(ledger.connection, job, True, Message("%(worker)s: %(why)s", worker="w_1", why=why), ledger.store)
        ledger.change("UPDATE jobs SET state = 'pending' WHERE uuid = :u", u=job.uuid)
    for action in ("cancel", "hold"):
        cases[action] = ledger.dispatch()
        with ledger.app.app_context():
            actions.act(action, cases[action], "ada@example.org")
    cases["type"] = ledger.dispatch("TestEcho")
    ledger.change("INSERT INTO queues (name, paused_at) VALUES ('type:TestEcho', 1)")
    assert control.sweep_types(ledger.connection) == 1
    cases["unsettled"] = ledger.dispatch("TestPermanent")
    Lifecycle(ledger.connection, ("default",), ledger.store)._replace(ledger.claim(), Outcome("completed", result=object()), ValueError("x"))
    said = {
        "blocked": f"tipo {trap}", "retried": "tempo scaduto dopo 300 s", "stopped": "w_1: il processo non c", "cancel": "ada@example.org",
        "hold": "ada@example.org", "type": "tipo è in pausa", "unsettled": "Il suo esito",
    }
    for name, uuid in cases.items():
        words = page(f"/admin/jobs/job/{uuid}")
        assert said[name].lower() in words.lower() and not english_in(words.replace(trap, "")), (name, english_in(words), words[-1500:])
    assert not english_in(page("/admin/jobs/list").replace(trap, "")) and not english_in(page("/admin/jobs/log"))
    for table, (text, kept) in WRITTEN.items():
        assert not ledger.one(f"SELECT COUNT(*) FROM {table} WHERE {text} IS NOT NULL AND {kept} IS NULL"), table


def test_a_job_that_runs_tells_its_progress_and_lines_in_italian(ledger, page):
    uuid = ledger.dispatch()
    ctx = JobContext(ledger.claim(), ledger.connection)
    ctx.log(Message("The report keeps the first %(kept)s of %(total)s rows; all are counted.", kept=1, total=2))
    ctx.log("busy, not reporting")  # a job's own words, whatever they are
    ctx.progress(1, 2, Message("%(done)s of %(total)s records", done=1, total=2))
    words = page(f"/admin/jobs/job/{uuid}")
    assert "Il rapporto conserva le prime 1 di 2 righe" in words and "1 di 2 righe" in words and "busy, not reporting" in words
    assert ledger.one("SELECT progress_note FROM jobs WHERE uuid = :u", u=uuid) == "1 of 2 records"
    ctx.progress(2, 2, "own note")
    assert ledger.one("SELECT progress_json FROM jobs WHERE uuid = :u", u=uuid) is None and "own note" in page(f"/admin/jobs/job/{uuid}")


def test_workers_generations_and_channels_say_why_in_italian(ledger, page):
    url = ledger.app.extensions["settings"].database_url
    for n, end in enumerate(("forgotten", "ended")):
        beat = Heartbeat(SimpleNamespace(worker="", current=None, done=0), f"a-b-c-d-{n}", url, ("high",), "c", "code", "f00d")
        beat.register()
        if end == "forgotten":
            forget_worker(ledger.connection, beat.row["w"], Message("unheard for %(n)s s", n=130))
        else:
            beat.end(Message("recycled: %(n)s MB over its start, limit %(limit)s MB", n=140, limit=128))
        words = page("/admin/jobs/workers")
        assert not english_in(words) and ("130 s" if end == "forgotten" else "140 MB") in words
    uuid = ledger.dispatch("ProcessContentGeneration", args={"prompt": "p"})
    with ledger.connection.transaction() as tx:
        generations.begin(tx, uuid, 1, None, "p", "m", None, None)
        generations.unanswered(tx, uuid, Message("The API did not answer within %(n)s s.", n="60"), True)
    words = page(f"/admin/jobs/generations/{uuid}")
    assert not english_in(words) and "60 s" in words
    with ledger.connection.transaction() as tx:
        assert type(generations.find(tx, uuid).error) is Message
        generations.interrupted(tx, uuid, Message("The worker stopped while the API answered."))
    assert not english_in(page(f"/admin/jobs/generations/{uuid}"))
    message = "INSERT INTO alert_messages (channel, phase, title, body, state, next_ms, lease_ms, created_ms) VALUES (:c, 'open', 't', 'b', :s, 1, 1, :at)"
    now = ledger.connection.now()
    ledger.change(message, c="team", s="sending", at=now)
    ledger.change(message, c="lost", s="waiting", at=now - 9 * DAY_MS)
    row = ledger.connection.fetch_all("SELECT id FROM alert_messages WHERE channel = 'team'")[0]
    due = OutboxRow(row[0], "open", "t", "b", "sending", 1, 1, 1, 0, now, None)
    Outbox(ledger.app)._end(ledger.connection, [due], 1, Message("no answer within %(n)s s", n="20"), True)
    retention.delete_old_minutes(ledger.connection)
    assert ledger.one("SELECT error FROM alert_messages WHERE channel = 'lost'") == retention.EXPIRED
    words = page("/admin/jobs/alerts/")
    assert "nessuna risposta entro 20 s" in words and not english_in(words)
    assert ledger.one("SELECT COUNT(*) FROM alert_messages WHERE error_json IS NULL") == 0


def test_a_row_of_before_reads_as_it_did(ledger, page, tmp_path):
    """No JSON: what is known again is told in Italian, words of others as they are."""
    uuid = import_of(ledger, tmp_path, b"%PDF")
    other = ledger.dispatch("TestFail", tries=1)
    ledger.settle(ledger.claim(), "failed", error="Shop: il negozio è chiuso, code 7")
    for table, (_text, kept) in WRITTEN.items():
        ledger.change(f"UPDATE {table} SET {kept} = NULL")
    assert "Il file è un PDF" in page(f"/admin/jobs/job/{uuid}")
    assert "Shop: il negozio è chiuso, code 7" in page(f"/admin/jobs/job/{other}")
    ledger.change("UPDATE failed_jobs SET error_json = :j", j='["frozen", {}]')  # another program's: it says something else
    assert "Shop: il negozio è chiuso, code 7" in page(f"/admin/jobs/job/{other}")


def test_a_job_can_neither_fill_a_row_nor_have_its_code_called(ledger, page, monkeypatch):
    class Evil(dict):
        def items(self):
            raise SystemExit("called by the worker")

    message = Message("The API answered %(n)s.", n=7)
    message.values = Evil(n=7)
    big = Message("%(a)s" * 5000, a="é" * 10_000)
    for raised in (message, big, Message("%(a)s %(b)s", a=1, b="z" * 10**6)):
        uuid = ledger.dispatch("TestPermanent", tries=1)
        monkeypatch.setattr(jobtypes, "PermanentError", lambda _text, told=raised: registry.PermanentError(told))
        assert run(ledger, ledger.claim()) == "failed"
        text, kept = ledger.connection.fetch_all("SELECT error, error_json FROM job_history WHERE uuid = :u", u=uuid)[0]
        assert len(text.encode()) <= 2000 and kept is None and page(f"/admin/jobs/job/{uuid}")


def test_a_completed_job_has_no_sentence(ledger):
    uuid = ledger.dispatch()
    ledger.settle(ledger.claim())
    assert ledger.connection.fetch_all("SELECT error, error_json FROM job_history WHERE uuid = :u", u=uuid) == [(None, None)]
