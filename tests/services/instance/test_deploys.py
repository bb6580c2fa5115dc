"""Deploys: marked by people, and once a change of the code of the workers; lines of charts; both databases."""

from __future__ import annotations

import json

import pytest

from app.extensions import db
from app.ledger.dialect import Connection
from app.services.instance import deploys
from app.services.instance.deploys import FORGET_MS, SETTLED_MS, step
from app.services.jobs import filter_words
from app.services.jobs.job_filter import JobFilter
from app.support.clock import DAY_MS, HOUR_MS, MINUTE_MS, iso, now_ms
from app.support.validation import ValidationError

T = 1_800_000_000_000


def told(*looks: tuple[int, list[str]]) -> list[str | None]:
    """What `step` marks at each look (seconds, versions of the live workers, the newest worker first)."""
    memory, marked = {}, []
    for seconds, live in looks:
        now_is = T + seconds * 1000
        changed, version = step(memory, live, now_is)
        memory = memory if changed is None else json.loads(json.dumps(changed))
        marked.append(version)
    return marked


@pytest.mark.parametrize(("looks", "marked"), [
    ([(0, []), (5, ["a"]), (10, ["a"])], [None, None, None]),  # the first code is no change
    ([(0, ["a"]), (5, ["b"])], [None, "b"]),
    ([(0, ["a"]), (5, []), (100, ["a"]), (9000, []), (99_000, ["a"])], [None] * 5),  # stopped, the same again
    ([(0, ["a"]), (5, []), (10, ["b"])], [None, None, "b"]),  # all stopped, then other code
    ([(0, ["a"]), (5, ["b", "a"]), (10, ["a", "b"]), (15, ["b", "a"]), (200, ["a", "b"]), (900, ["b"])],
     [None, "b", None, None, None, None]),  # a rolling restart, where old workers register again
    ([(0, ["a"]), (5, ["b", "a"]), (10, ["a"]), (30, ["b", "a"])], [None, "b", None, None]),  # a short gap of the new
    ([(0, ["a"]), (5, ["b"]), (20, ["a"]), (60, ["a"]), (80, ["a"]), (90, ["a"])],
     [None, "b", None, None, "a", None]),  # a way back, once it has lasted
    ([(0, ["a"]), (5, ["b"]), (700, ["b"]), (705, ["a"])], [None, "b", None, "a"]),  # back after long: at once
    ([(0, ["a"]), (5, ["b", "c", "a"]), (10, ["c", "b"])], [None, "b", None]),  # two that appear together are one deploy
    ([(0, ["a", "b"]), (2000, ["b", "a"]), (4000, ["a", "b"])], [None] * 3),  # two kinds of boxes for good
], ids=range(10))
def test_a_change_is_marked_once(looks, marked):
    assert told(*looks) == marked
    assert FORGET_MS == 600_000 and SETTLED_MS == 60_000


@pytest.mark.parametrize("memory", [{"version": 7}, {"version": "a", "seen": [], "only": 3}, {"version": "a", "seen": {"a": "x"}, "only": ["a", "x"]},
                                    {"version": "a", "seen": {"a": 10**30}, "only": ["b", 10**30]}, {"only": [[], {}]}])
def test_a_damaged_memory_marks_nothing(memory):
    changed, version = step(memory, ["a"], T)
    assert changed["version"] == "a" and version is None


def worker(ledger, name: str, code: str, revision: str | None = None, status: str = "idle", stale: int = 0) -> None:
    ledger.change("DELETE FROM worker_heartbeats WHERE worker_name = :n", n=name)
    ledger.change("INSERT INTO worker_heartbeats (worker_name, process_id, queue, status, started_at, last_heartbeat, worker_id, consumer_id, host, "
                  "code_version, revision, stale) VALUES (:n, 1, 'low', :s, '2026-01-01', '2026-01-01', :n, 'c', 'h', :c, :r, :stale)",
                  n=name, s=status, c=code, r=revision, stale=stale)


def test_several_monitors_write_one_row_a_change(ledger):
    other = Connection(ledger.connection.url)
    monitors = [ledger.connection, other]
    for n in range(3):
        worker(ledger, f"w{n}", "code1", "f" * 40)
    assert [deploys.watch(m) for m in monitors * 2] == [None] * 4
    worker(ledger, "w0", "code1", "e" * 40)
    worker(ledger, "dead", "code3", status="stopped")
    worker(ledger, "frozen", "code4", stale=1)
    assert [deploys.watch(m) for m in monitors * 2] == ["e" * 40 + ".code1", None, None, None]
    for n in range(3):
        worker(ledger, f"w{n}", "code2", "e" * 40)
        assert [deploys.watch(m) for m in monitors] == (["e" * 40 + ".code2", None] if n == 0 else [None, None])
    rows = ledger.connection.fetch_all("SELECT text, actor, version FROM deploys ORDER BY id")
    assert rows == [("Workers run eeeeeee", None, "e" * 40 + ".code1"), ("Workers run eeeeeee", None, "e" * 40 + ".code2")]
    ledger.change("UPDATE meta SET value = '{\"x' WHERE key = :k", k=deploys.KEY)
    assert [deploys.watch(m) for m in monitors] == [None, None] and ledger.one("SELECT COUNT(*) FROM deploys") == 2
    worker(ledger, "w9", "code5")
    assert deploys.watch(other) == "code5", "begun anew, it sees the next change"
    other.close()


def test_a_monitor_that_read_before_another_wrote_writes_nothing(ledger):
    worker(ledger, "w", "a")
    deploys.watch(ledger.connection)
    worker(ledger, "v", "b")

    class Late(Connection):
        def fetch_all(self, sql, **params):
            rows = super().fetch_all(sql, **params)
            if "FROM meta" in sql:
                deploys.watch(ledger.connection)
            return rows

    late = Late(ledger.connection.url)
    assert deploys.watch(late) is None and ledger.one("SELECT COUNT(*) FROM deploys") == 1
    late.close()


def test_a_person_marks_one_and_a_bad_text_is_refused(ledger):
    with ledger.app.app_context():
        found = deploys.mark("  Checkout 4, password=hunter2  ", "ann@example.org")
        assert found.text.startswith("Checkout 4, password=") and "hunter2" not in found.text
        for text in ("", " \n", "a\nb", "x\x00", "\ud800", "x" * 201, "\u202e"):
            with pytest.raises(ValidationError):
                deploys.mark(text, "ann@example.org")
        db.session.rollback()
        assert deploys.newest() == [found] and deploys.one(found.id) == found
        assert deploys.one(None) is deploys.one(99) is deploys.one(-1) is deploys.one(2**63) is None
    assert ledger.connection.fetch_all("SELECT actor, action, subject FROM audit") == [("ann@example.org", "mark deploy", found.text)]


def put(ledger, at: int, text: str) -> None:
    ledger.change("INSERT INTO deploys (at_ms, text, actor) VALUES (:at, :text, 'ann')", at=at, text=text)


def test_a_chart_has_each_deploy_in_its_bucket(ledger):
    hour = now_ms() // HOUR_MS * HOUR_MS
    rows = [{"date": iso(hour - n * HOUR_MS).replace(".000Z", "Z"), "total": n} for n in (2, 1, 0)]
    for at, text in ((hour - 2 * HOUR_MS - 1, "before"), (hour - 2 * HOUR_MS, "first"), (hour - 30 * MINUTE_MS, "half"), (hour - 15 * MINUTE_MS, "later")):
        put(ledger, at, text)
    ledger.change("INSERT INTO deploys (at_ms, text, actor) VALUES (:at, 'Workers run 2', NULL)", at=hour - 48 * MINUTE_MS)
    with ledger.app.app_context():
        found = [[(d["text"], d["place"]) for d in row["deploys"]] for row in deploys.on_chart(rows)]
        assert found == [[("first", 0.0)], [("half", 0.5), ("later", 0.75), ("Workers run 2", 0.2)], []], "marks of persons first"
        days = deploys.on_chart([{"date": "2026-01-01"}, {"date": "2026-01-02"}, {"date": "2026-01-04"}])
        assert [row["deploys"] for row in days] == [[], [], []]
        for odd in ([], [{"date": None}], [{"label": "x"}], [{"date": "x"}], [{"date": "2026-01-02"}, {"date": "2026-01-01"}]):
            assert deploys.on_chart(odd) == [row | {"deploys": []} for row in odd]


def test_old_deploys_go_but_not_the_newest(ledger):
    put(ledger, now_ms() - 401 * DAY_MS, "old")
    put(ledger, now_ms() - 400 * DAY_MS - MINUTE_MS, "the newest")
    deploys.sweep(ledger.connection)
    assert ledger.connection.fetch_all("SELECT text FROM deploys") == [("the newest",)]
    with ledger.connection.transaction() as tx:
        tx.execute_many("INSERT INTO deploys (at_ms, text) VALUES (:at, 'x')", [{"at": now_ms()}] * 2010)
    deploys.sweep(ledger.connection)
    assert ledger.one("SELECT COUNT(*) FROM deploys") == 2000


def test_what_the_monitor_marked_is_in_the_language_of_the_reader(ledger):
    ledger.change("INSERT INTO deploys (at_ms, text, actor) VALUES (:at, 'Workers run 2', NULL)", at=now_ms())
    put(ledger, now_ms(), "Checkout 4")
    with ledger.app.test_request_context(headers={"Accept-Language": "it"}):
        chips = [filter_words.parts(JobFilter.read({"deploy": str(n)}, None))["deploy"] for n in (1, 2)]
        assert "I worker eseguono 2" in chips[0] and "Checkout 4" in chips[1]
        shown = [text for _id, text in filter_words.deploys()]
        assert "Checkout 4" in shown[0] and "I worker eseguono 2" in shown[1]
        assert {d["text"] for row in deploys.on_chart([{"date": iso(now_ms() - now_ms() % HOUR_MS).replace(".000Z", "Z")}]) for d in row["deploys"]} == {"I worker eseguono 2", "Checkout 4"}
