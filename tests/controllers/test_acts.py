"""What a person sees of actions: the question before, the report and the undo after, the log in words, the history of a job, and where one stays."""

from __future__ import annotations

import html
import re
import sqlite3

import pytest

from app.controllers import log_words
from app.extensions import db
from app.ledger import rescue
from app.models.audit import Audit
from app.services import audit
from app.services.jobs import actions, listing, selection
from app.services.people import accounts
from app.support.clock import DAY_MS, now_ms, stamp
from app.support.messages import Message
from tests.conftest import PASSWORD, sign_in
from tests.controllers.test_gate import JSON

EN = {"Accept-Language": "en"}
TRACE = 'Traceback (most recent call last):\n  File "x.py", line 3, in run\nValueError: {}\n'


@pytest.fixture
def site(ledger):
    """A signed-in client on each database, with `ledger` on it."""
    with ledger.app.app_context():
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
    client = sign_in(ledger.app, "admin@example.org")
    client.ledger = ledger
    return client


def words(text: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text))).strip()


def page(site, address: str, **headers: str) -> str:
    answer = site.get(f"/admin/jobs/{address}", headers=EN | headers)
    assert answer.status_code == 200, answer.text[:300]
    return answer.text


def send(site, address: str, headers: dict = EN, **form):
    return site.post(f"/admin/jobs/{address}", data={"csrf_token": site.csrf} | form, headers=headers)


def history(site, uuid: str) -> list[str]:
    shown = re.search(r'<ol class="history".*?</ol>', page(site, f"job/{uuid}"), re.S)[0]
    return [words(re.sub(r"<time.*?</time>|<details.*?</details>", "", part, flags=re.S)) for part in shown.split("<li")[1:]]


def test_a_bulk_action_is_counted_before_and_after_and_undone(site):
    uuids = [site.ledger.dispatch(queue="low") for _ in range(3)]
    site.ledger.dispatch(queue="high")
    running = site.ledger.claim().uuid
    asked = send(site, "bulk", action="move", scope="all", ask="1", state="live", top="99.99")
    assert asked.status_code == 200
    assert "Move 3 waiting jobs? (3 of 4) 1 is running." in words(asked.text) and "You can undo it for 7 days." in asked.text and 'name="to_queue"' in asked.text
    later = site.ledger.dispatch(queue="low")  # after the click
    top = re.search(r'name="top" value="([^"]+)"', asked.text)[1]
    assert top == "99.99" and 'name="ask" value="asked"' in asked.text
    wrong = send(site, "bulk", action="move", scope="all", ask="asked", to_queue="nowhere", state="live", top="4.99")
    assert wrong.status_code == 400 and "Unknown queue" in wrong.text and 'aria-invalid="true"' in wrong.text
    done = send(site, "bulk", action="move", scope="all", ask="asked", to_queue="default", state="live", top="4.99", next="/admin/jobs/list?state=live")
    assert done.headers["Location"] == "/admin/jobs/list?state=live"
    shown = page(site, "list?state=live")
    assert "3 jobs moved to default. 1 is running." in words(shown)
    undo = re.search(r'action="(/admin/jobs/undo/\d+)"', shown)[1]
    assert site.ledger.row(later).queue == "low" and {site.ledger.row(u).queue for u in uuids} == {"default"} and site.ledger.row(running).queue == "high"
    actions_of_others = send(site, f"act/{uuids[0]}/move", queue="high", headers=EN)
    assert actions_of_others.status_code == 303
    assert send(site, undo.removeprefix("/admin/jobs/")).status_code == 303
    assert "2 jobs are as before, 1 had changed meanwhile" in words(page(site, "list"))
    assert [site.ledger.row(u).queue for u in uuids] == ["high", "low", "low"]
    for_scripts = send(site, "bulk", headers=JSON, action="hold", uuid=uuids[1]).json
    assert for_scripts["count"] == 1 and for_scripts["undo"] == f"/admin/jobs/undo/{for_scripts['action']}"
    assert send(site, "bulk", headers=JSON, action="delay", uuid=uuids[2], delay="until yesterday").status_code == 400
    assert send(site, "bulk", headers=JSON, action="retry", uuid=uuids[2]).json == {"ok": True, "count": 0}
    assert "It cannot be undone." in send(site, "bulk", action="cancel", uuid=uuids[2], ask="1").text


def test_a_delay_brings_no_job_forward(site):
    ledger = site.ledger
    soon, late, held, ready = ledger.dispatch(delay=60), ledger.dispatch(delay=8000), ledger.dispatch(delay=9000), ledger.dispatch(queue="low")
    after = ledger.dispatch(delay=8000, after=[ready])
    due = {uuid: ledger.row(uuid).available_ms for uuid in (soon, late, held, ready, after)}
    send(site, f"act/{held}/hold")
    asked = words(send(site, "bulk", action="delay", scope="all", ask="1", state="live", delay="").text)
    assert "Delay 5 jobs?" in asked and "those due later keep their time" in asked
    assert send(site, "bulk", action="delay", scope="all", state="live", delay="2h").status_code == 303
    assert "3 jobs delayed. 2 are due later than that." in words(page(site, "list"))
    now = {uuid: ledger.row(uuid) for uuid in due}
    assert all(now[uuid].available_ms == due[uuid] for uuid in (late, held, after)) and now[held].state == "scheduled"
    assert all(7_100_000 < now[uuid].available_ms - now_ms() <= 7_200_000 for uuid in (soon, ready))
    assert ledger.one("SELECT COUNT(*) FROM jobs WHERE available_at <> available_ms / 1000") == 0
    refused = send(site, f"act/{late}/delay", headers=EN | JSON, delay="2h")
    assert refused.status_code == 409 and refused.json["error"] == "The job is due later than that: a delay brings no job forward."
    assert ledger.row(late).available_ms == due[late] and send(site, f"act/{late}/delay", delay="3h").status_code == 303


def test_a_retry_in_a_paused_queue_says_why_it_waits_before_its_old_error(site):
    uuid = site.ledger.dispatch(queue="low", tries=2, backoff=(0,))
    site.ledger.settle(site.ledger.claim(), "failed", error="ValueError: not yet 11")
    site.ledger.change("UPDATE jobs SET state = 'pending' WHERE uuid = :u", u=uuid)
    send(site, "queues/low/pause", reason="stock-taking")
    shown = words(page(site, "list?state=pending"))
    assert shown.index("The queue low is paused by admin@example.org") < shown.index("ValueError: not yet 11")


def test_the_page_of_queues_says_what_in_counts(site):
    assert "each in the queue where it is now or has ended" in words(page(site, "queues"))


@pytest.mark.parametrize("action, reads", [("move", {"l", "h"}), ("retry", {"l", "h"})])
def test_the_question_of_a_bulk_action_takes_no_write_lock(site, monkeypatch, action, reads):
    site.ledger.settle(site.ledger.claim() if site.ledger.dispatch() else None, "failed", error="x", retry=False)
    site.ledger.dispatch()
    seen, real = [], listing._take

    def take(part, *given, **more):
        if site.ledger.connection.sqlite:
            other = sqlite3.connect(site.ledger.app.extensions["settings"].database_file, timeout=0.05, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")  # raises when it is held
            other.close()
        return seen.append(part.kind) or real(part, *given, **more)

    monkeypatch.setattr(listing, "_take", take)
    asked = send(site, "bulk", action=action, scope="all", ask="1", queue="default", top="99.99")
    assert asked.status_code == 200 and set(seen) == reads
    assert len(seen) == (2 if action == "move" else 3), "only what the action needs"
    done = send(site, "bulk", headers=EN | {"Accept": "application/json"}, action=action, scope="all", queue="default", top="99.99", to_queue="low")
    assert done.status_code == 200 and done.json["count"] == 1, done.text


def test_jobs_that_are_not_found_in_time_are_not_changed(site, monkeypatch):
    uuid = site.ledger.dispatch(queue="low")
    monkeypatch.setattr(selection, "MOST_S", -1.0)
    answer = send(site, "bulk", headers=EN | {"Accept": "application/json"}, action="hold", scope="all", queue="low", top="99.99")
    assert answer.status_code == 400 and "are not found within" in answer.json["error"]
    assert site.ledger.row(uuid).state == "pending"
    monkeypatch.undo()
    assert send(site, "bulk", action="hold", scope="all", queue="low", top="99.99").status_code == 303
    assert site.ledger.row(uuid).state == "held"


def test_a_delay_that_cannot_be_read_is_said_beside_the_field(site):
    uuid = site.ledger.dispatch()
    for typed, said in (("soon", "Write how long"), ("until 2020-01-01 08:00", "2020-01-01 08:00 is over.")):
        answer = send(site, f"act/{uuid}/delay", delay=typed)
        assert answer.status_code == 400 and f'value="{typed}"' in answer.text and said in words(answer.text) and 'id="e-delay"' in answer.text
    assert site.ledger.row(uuid).state == "pending"
    assert send(site, f"act/{uuid}/delay", delay="2h").status_code == 303 and site.ledger.row(uuid).state == "scheduled"
    assert "Delayed the job until" in page(site, "log")


def test_one_stays_where_one_was_but_on_this_site_only(site):
    uuids = [site.ledger.dispatch() for _ in range(4)]
    for _ in uuids:
        site.ledger.settle(site.ledger.claim(), "failed", error="x", retry=False)
    came = "/admin/jobs/list?state=failed&type=TestNoop&before=h99"
    def lands(uuid, referer, **form):
        return send(site, f"retry/{uuid}", headers=EN | {"Referer": referer}, **form).headers["Location"]
    assert lands(uuids[0], f"http://localhost{came}") == came
    assert lands(uuids[1], f"http://evil.example{came}") == lands(uuids[2], "http://localhost//evil.example/") == "/admin/jobs/"
    asked = site.post(f"/admin/jobs/delete/{uuids[3]}", data={"csrf_token": site.csrf, "ask": "1", "_method": "DELETE"}, headers=EN | {"Referer": f"http://localhost{came}"}).text
    assert f'name="next" value="{html.escape(came)}"' in asked and f'href="{html.escape(came)}"' in asked, "through the question too"


def test_the_history_of_a_job_is_whole_and_in_rounds(site):
    ledger = site.ledger
    uuid = ledger.dispatch("TestFail", tries=3, backoff=(0,))
    def ready():
        ledger.change("UPDATE jobs SET state = 'pending' WHERE uuid = :u AND state = 'scheduled'", u=uuid)
    ledger.settle(ledger.claim("w1"), "failed", error="ValueError: one", traceback=TRACE.format("one"))
    text = page(site, f"job/{uuid}")
    assert "ValueError: one" in text and 'id="traceback"' in text, "its traceback stands there while it waits for the next try"
    ready()
    rescue.rescue(ledger.connection, ledger.claim("w2"), False, "the process is gone", ledger.store)
    with ledger.app.app_context():
        for action, actor, options in (("hold", "ada", {}), ("release", "bob", {}), ("move", "ada", {"queue": "high"})):
            actions.act(action, uuid, actor, **options)
        db.session.remove()
    for error in ("two", "three"):
        ready()
        ledger.settle(ledger.claim("w3"), "failed", error=f"ValueError: {error}", traceback=TRACE.format(error))
    with ledger.app.app_context():
        actions.delete_failed(uuid, "eve")
        actions.act("restore", uuid, "eve")
        actions.do_in_steps("bob", "retry", 'list {"state": "failed"}', [ledger.one("SELECT id FROM failed_jobs")])
        db.session.add(Audit(at_ms=now_ms(), actor="old", action="top", subject=uuid, result="done"))
        db.session.commit()
        db.session.remove()
    ledger.claim("w4")
    assert [re.sub(r"wait.*", "", line).partition(">")[2].strip() for line in history(site, uuid)] == [
        "Sent by code", "Round 1", "Attempt 1 of 3 Failed, retried Worker w1 ,", "Attempt 2 Lost The job was rescued: the attempt does not count. Worker w2 ,", "Held the job by ada",
        "Released the job by bob", "Moved the job to high by ada", "Attempt 3 Failed, retried counts as 2 of 3 Worker w3 ,", "Attempt 4 Failed counts as 3 of 3 Worker w3 ,",
        "Deleted the failed job by eve", "Restored the job from the bin by eve", "Round 2", "Retried the job by bob", "Moved the job to the top by old", "Attempt 1 at work"]
    text = page(site, f"job/{uuid}")
    assert all(f"ValueError: {error}\n" in text for error in ("one", "two", "three")), "each attempt keeps its traceback"
    waits = {re.search(r"wait (.*?), run", line)[1] for line in history(site, uuid) if "Attempt 1 of 3 Failed" in line}
    assert len(waits) == 1


@pytest.mark.parametrize(("statuses", "numbers"), [
    (["lost", "lost", "completed"], [(1, None), (2, None), (3, 1)]), (["released", "failed", "completed"], [(1, None), (2, 1), (3, 2)]),
])
def test_no_two_attempts_have_one_number(site, statuses, numbers):
    from app.services.jobs import history as told, lookup
    ledger, uuid = site.ledger, site.ledger.dispatch("TestFail", tries=3, backoff=(0,))
    for status in statuses:
        ledger.change("UPDATE jobs SET state = 'pending' WHERE uuid = :u AND state = 'scheduled'", u=uuid)
        job = ledger.claim()
        if status == "lost":
            rescue.rescue(ledger.connection, job, False, "the process is gone", ledger.store)
        elif status == "released":
            ledger.change("UPDATE jobs SET state = 'pending', worker_id = NULL, attempts = attempts - 1 WHERE uuid = :u", u=uuid)
            ledger.change("INSERT INTO job_metrics (uuid, round, claim_no, job_type, queue, status, processing_time, attempts, completed_at, started_at) "
                          "VALUES (:u, 1, :k, 'TestFail', 'default', 'released', 5, 1, '2026-11-26 10:00:00', '2026-11-26 10:00:00')", u=uuid, k=job.claim_no)
        else:
            ledger.settle(job, status, error="x")
    with ledger.app.app_context():
        found = told.rounds(lookup.find(uuid), lookup.attempts_of(uuid), [], {})
    assert [(a.n, a.used) for one in found for a in one.attempts] == numbers
    if statuses[0] == "released":
        assert "Handed back at a planned restart: the attempt does not count." in page(site, f"job/{uuid}")


def test_a_job_whose_attempts_were_all_lost_says_so(site):
    uuid = site.ledger.dispatch("TestFail", tries=1)
    for _ in range(3):
        site.ledger.change("UPDATE jobs SET state = 'pending' WHERE uuid = :u", u=uuid)
        rescue.rescue(site.ledger.connection, site.ledger.claim(), True, "killed", site.ledger.store)
    text = words(page(site, f"job/{uuid}"))
    assert "All its 3 attempts were lost." in text and "attempts of" not in text and "do not count" not in text
    assert not re.search(r"([2-9]) of 1\b", text)


OLD = {
    ("move", "{uuid}", "queue high"): ("Moved the job to high", "Ha spostato il lavoro in high"), ("delay", "{uuid}", "seconds 60.0"): ("Delayed the job until 2026-", "Ha rimandato il lavoro fino a 2026-"),
    ("retry", 'list {"state": "failed", "type": "ProcessCsvImport"}', "3 of 4"): ("Retried 3 of 4 jobs|from the list: state Failed, type CSV Import", "Ha riprovato 3 su 4 lavori|dall'elenco: stato Fallito, tipo CSV Import"),
    ("cancel", "5 ticked", "5 of 5; cancelled with it: 2 of 2"): ("Cancelled 5 of 5 jobs|ticked: 5", "Ha annullato 5 su 5 lavori|selezionati: 5"),
    ("hold", "{uuid}", "done"): ("Held the job", "Ha trattenuto il lavoro"), ("pause", "type:TestEcho", "5 minutes"): ("Paused the type Test Echo, 5 minutes", "Ha messo in pausa il tipo Test Echo, 5 minuti"),
    ("pause", "low", "until resumed"): ("Paused the queue low, until resumed", "Ha messo in pausa la coda low, "), ("silence alert", "no_worker 3", "60 minutes"): ("Silenced the alert «No worker» (3) for 60 minutes", ""),
    ("strange", "a thing", "odd"): ("strange: a thing, odd", "strange: a thing, odd"),
}


@pytest.mark.parametrize("entry", OLD)
def test_entries_of_older_versions_are_sentences_too(admin, app, entry):
    uuid = "0a0b0c0d-0000-8000-8000-000000000001"
    with app.app_context():
        db.session.add(Audit(at_ms=1_790_000_000_000, actor="ada", action=entry[0], subject=entry[1].replace("{uuid}", uuid), result=entry[2]))
        db.session.commit()
    for language, wanted in zip(("en", "it"), OLD[entry], strict=True):
        text = words(admin.get("/admin/jobs/log?actor=ada", headers={"Accept-Language": language}).text)
        assert all(part in text for part in wanted.split("|")), text


def test_each_action_of_the_code_has_its_sentence(app):
    """Every name that `audit(...)` and its tables write."""
    from pathlib import Path
    source = "\n".join(path.read_text() for path in Path("app").rglob("*.py"))
    names = set(re.findall(r'\b(?:audit|commit_audited)\(\s*[\w.]+,\s*Message\("([^"]+)"\)', source))
    names |= {m for found in re.findall(r"\bNOTED = \{(.*?)\}", source, re.S) for m in re.findall(r'Message\("([^"]+)"\)', found)}
    names |= {m for found in re.findall(r"\b(?:action|noted) = (.*)", source) for m in re.findall(r'Message\("([^"]+)"\)', found)}
    names |= set(re.findall(r'\b(?:NAMED = |_noted\(.*|_write\(.*)Message\("([^"]+)"\)', source))
    assert names >= {"place", "undo place", "new view"} and len(names) > 50 and names - log_words.OF_JOBS.keys() - log_words.OF_OTHERS.keys() == set()


def test_moves_schedules_undos_and_single_jobs_are_told_in_words(site):
    one, two = site.ledger.dispatch(), site.ledger.dispatch()
    send(site, "queues/place", uuid=two, place="1")
    assert "Moved in the queue: place 1 of default" in words(page(site, "log?action=place"))
    undo = re.search(r'action="(/admin/jobs/undo/\d+)"', page(site, "log?action=place"))
    assert undo, "a move has its undo in the log"
    send(site, undo[1].removeprefix("/admin/jobs/"))
    assert ordering_of(site) == [one, two] and 'action="/admin/jobs/undo/' not in page(site, "log?action=place")
    send(site, "bulk", action="top", uuid=[two])
    text = words(page(site, "log?action=top"))
    assert "Moved the job to the top" in text and "1 of 1" not in text
    send(site, re.search(r"/admin/jobs/(undo/\d+)", page(site, "log?action=top"))[1])
    assert "Took back: Moved the job to the top" in words(page(site, "log?action=undo"))
    send(site, "bulk", action="move", uuid=[two], to_queue="low")
    moved = re.search(r"/admin/jobs/undo/(\d+)", page(site, "log?action=move"))[1]
    assert f"Touched by action {moved}: Moved the job" in words(page(site, f"list?action={moved}"))
    send(site, f"undo/{moved}")
    assert "Took back: Moved the job to low" in words(page(site, "log?action=undo")), "with the queue of the action"
    send(site, "bulk", action="hold", scope="all", state="live", top="99999.99999")
    assert "from the list: state Live" in words(page(site, "log?action=hold"))
    italian = words(site.get("/admin/jobs/log", headers={"Accept-Language": "it"}).text)
    assert "Ha annullato: Ha spostato il lavoro in cima" in italian and "voce " not in italian and "entry " not in text
    choices = re.findall(r'<option value="([^"]+)"[^>]*>([^<]+)', page(site, "log"))
    named = {name: label for name, label in choices if name in log_words.OF_JOBS or name in log_words.OF_OTHERS}
    assert named["take theirs"] == "Took their side of …" and named["sign in"] == "Signed in from …" and named["seal"] == "Marked … as complete"
    assert all(label[0].isupper() and label.lower() != name and "%" not in label for name, label in named.items())


def test_the_lost_attempts_of_a_day_link_to_exactly_their_jobs(site):
    old = site.ledger.dispatch()
    rescue.rescue(site.ledger.connection, site.ledger.claim(), True, "killed", site.ledger.store)
    site.ledger.change("UPDATE job_metrics SET completed_at = :at WHERE uuid = :u", u=old, at=stamp(now_ms() - 2 * DAY_MS))
    site.ledger.change("UPDATE jobs SET state = 'held', hold_code = 'person' WHERE uuid = :u", u=old)
    for _n in range(2):
        uuid = site.ledger.dispatch()
        for _again in range(2):
            rescue.rescue(site.ledger.connection, site.ledger.claim(), True, "killed", site.ledger.store)
            site.ledger.change("UPDATE jobs SET available_ms = 0, state = 'pending' WHERE uuid = :u", u=uuid)
        site.ledger.change("UPDATE jobs SET state = 'held', hold_code = 'person' WHERE uuid = :u", u=uuid)
    text = page(site, "")
    assert "4 attempts were lost with their workers in 24 hours" in text, re.findall(r"[^<>]*lost with[^<>]*", text)
    day, ever = re.findall(r'<a href="/admin/jobs/(list\?rescued=[^"]+)">([^<]+)</a>', text)[-2:]
    assert (day[1], ever[1]) == ("2 jobs", "3 jobs were ever rescued") and ".." in day[0]
    found = {row["uuid"] for row in site.get(f"/admin/jobs/{html.unescape(day[0])}", headers=JSON).json["jobs"]}
    assert len(found) == 2 and old not in found


def test_the_list_counts_beyond_a_thousand(site, monkeypatch):
    from app.services.jobs import listing
    for _n in range(5):
        site.ledger.dispatch(queue="low")
    monkeypatch.setattr(listing.count, "__defaults__", (None, 3, 1.0))
    monkeypatch.setattr(listing, "COUNTED", 3)
    text = page(site, "list?state=pending&queue=low")
    assert "5 jobs with these filters" in text and "Count all" not in text, "plain filters are counted at once"
    attempts = page(site, "list?state=pending&attempt=0")
    assert re.search(r"More than \d jobs", attempts)
    address = html.unescape(re.search(r'href="/admin/jobs/([^"]+)">Count all', attempts)[1])
    counted = page(site, address)
    assert "5 jobs with these filters" in counted and "Count all" not in counted


def test_a_job_cancelled_before_it_began_is_told_once(site):
    uuid = site.ledger.dispatch()
    send(site, f"cancel/{uuid}")
    text = words(re.search(r'(?s)<ol class="history".*?</ol>', page(site, f"job/{uuid}"))[0])
    assert text.count("ancelled") == 1 and "Cancelled the job" in text, text


def test_a_queued_job_is_named_by_its_digits_on_the_overview(site):
    uuid = site.ledger.dispatch()
    row = re.search(rf'(?s)data-key="q{uuid}".*?</tr>', page(site, ""))[0]
    assert f">{uuid[:8]}</td>" in row


def ordering_of(site) -> list[str]:
    return [row[0] for row in site.ledger.connection.fetch_all("SELECT uuid FROM jobs ORDER BY rank DESC, COALESCE(seat, id), id")]


@pytest.mark.parametrize(("action", "result", "told"), [
    ("make a schedule", "*/5 * * * * · ProcessCsvImport · default · skip", "Every 5 minutes, CSV Import, queue default, a run is left out while an earlier one is live"),
    ("make a schedule", "0 3 * * * · ProcessCsvImport · wait · allow · catch_up", "Every day at 03:00, CSV Import, tenant wait, runs may overlap, missed runs are caught up once"),
    ("retime a schedule", "0 3 * * * → 0 4 * * *", "Every day at 03:00 → Every day at 04:00"),
    ("delete a schedule", "0 3 * * *", "Every day at 03:00"), ("change a schedule", "x", "x")])
def test_a_schedule_in_the_log_is_told_in_words(admin, app, action, result, told):
    before, arrow, after = result.partition(" → ")
    with app.app_context():
        audit.audit("ada", Message(action), "nightly", Message("%(before)s → %(after)s", before=before, after=after) if arrow else result)
        db.session.commit()
    assert told in words(admin.get("/admin/jobs/log?actor=ada", headers=EN).text)


def test_the_log_is_filtered_by_chips_and_exported(site):
    one, two = site.ledger.dispatch(), site.ledger.dispatch()
    send(site, f"act/{one}/hold")
    send(site, "bulk", action="hold", scope="all", state="pending")
    send(site, "bulk", action="release", uuid=[one, two])
    text = page(site, f"log?action=hold&job={two[:13]}&actor=admin@example.org")
    assert words(re.sub(r"(?s)<select.*?</select>", "", text)).count("Held ") == 2, "the chip and the entry"
    assert "Held the job" in words(text) and "from the list: state Pending" in text
    assert f'href="/admin/jobs/log?actor=admin@example.org&amp;job={two[:13]}"' in text.replace("%40", "@"), "a chip takes its part away"
    both = page(site, "log?action=release")
    entry = re.search(r'href="(/admin/jobs/list\?action=\d+)"', both)[1]
    assert entry.endswith(str(site.ledger.one("SELECT MAX(id) FROM audit WHERE action = 'release'")))
    again = send(site, "bulk", headers=JSON, action=[str(site.ledger.one("SELECT MAX(id) FROM audit")), "hold"], scope="all")
    assert again.json["count"] == 2, "the jobs of that entry, by the filter of the list"
    lines = site.get("/admin/jobs/log.csv?action=hold", headers=EN).text.splitlines()
    assert len(lines) == 4 and "Held the job" in lines[-1] and one in lines[-1]
    wrong = site.get("/admin/jobs/log?since=x&job=*&until=2020-13-01", headers=EN)
    assert wrong.status_code == 400 and wrong.text.count('class="wrong"') == 3 and 'value="*"' in wrong.text
    assert 'id="entry-' not in wrong.text and "cannot be read yet" in wrong.text, "nothing stands there as if it matched"
    assert site.get("/admin/jobs/log?since=2026-01-02&until=2026-01-01", headers=JSON).status_code == 400
    assert site.get("/admin/jobs/log.csv?job=*", headers=JSON).status_code == 400
    assert "Signed in from" in page(site, "log") and PASSWORD not in page(site, "log")


def test_thousands_of_failed_sign_ins_do_not_fill_the_log(site):
    with site.ledger.app.app_context():
        before = len(audit.log(size=1000)[0])
    client = site.ledger.app.test_client()
    for n in range(12):
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', client.get("/login").text)[1]
        client.post("/login", data={"email": "admin@example.org", "password": f"guess {n}", "csrf_token": token})
    with site.ledger.app.app_context():
        rows = audit.log(size=1000)[0]
    assert len(rows) - before <= 1 and not any("guess" in str(row) for row in rows)


def test_an_action_that_changes_nothing_is_not_told_as_a_success(site):
    uuid = site.ledger.dispatch()
    for action, kind in (("retry", "info"), ("hold", "success")):
        assert send(site, "bulk", action=action, uuid=uuid).status_code == 303
        assert re.findall(r'class="flash (\w+)" role="status"', page(site, "list")) == [kind], action
