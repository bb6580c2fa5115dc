"""What is followed is told once, to who may know it, on both databases."""

from __future__ import annotations

import threading

import pytest
from flask_babel import force_locale

from app.ledger import batches, counts, manual
from app.ledger.dialect import Connection
from app.services.alerts import channels
from app.services.audit import ActionRefused
from app.services.instance import retention
from app.services.notices import feed, follows, telling
from app.support.clock import HOUR_MS, now_ms
from app.support.messages import Message
from app.support.validation import ValidationError


class People:
    """People of a ledger, and what they are told."""

    def __init__(self, ledger):
        self.ledger = ledger

    def add(self, role: str = "operator", **columns) -> int:
        n = self.ledger.one("SELECT COUNT(*) FROM users")
        values = {"email": f"p{n}@example.org", "password_hash": "x", "role": role, "created_ms": 1} | columns
        self.ledger.change(f"INSERT INTO users ({', '.join(values)}) VALUES ({', '.join(':' + v for v in values)})", **values)
        return self.ledger.one("SELECT MAX(id) FROM users")

    def follow(self, user: int, subject: str, kind: str = "job", via: str = "browser", may_act: bool = True) -> str:
        with self.ledger.app.app_context():
            return follows.follow(user, kind, subject, via, may_act)

    def put(self, user: int, subject: object = "x", kind: object = "job", via: object = "browser", language: object = "it") -> None:
        self.ledger.change("INSERT INTO follows (user_id, kind, subject, via, language, created_ms) VALUES (:u, :k, :s, :v, :l, 1)", u=user, k=kind, s=subject, v=via, l=language)

    def tell(self) -> int:
        return telling.tell(self.ledger.connection, self.ledger.app)

    def told(self, user: int, after: int = 0, data: bool = True, language: str = "en") -> list[tuple[str, str]]:
        with self.ledger.app.app_context(), force_locale(language):
            return [(one.title, one.body) for one in feed.since(user, after, data)[0]]

    def mails(self) -> list[tuple]:
        return self.ledger.connection.fetch_all("SELECT kind, target, language, subject, body, state FROM mails ORDER BY id")

    def left(self) -> int:
        return self.ledger.one("SELECT COUNT(*) FROM follows")


@pytest.fixture
def people(ledger) -> People:
    with ledger.connection.transaction() as tx:
        counts.save(tx, channels.SENDERS, {"jobs@example.org": tx.now()})
        counts.save(tx, channels.FACT, {"team": tx.now(), "gone": tx.now() - HOUR_MS})
    return People(ledger)


def ended(ledger, status: str = "completed", **outcome) -> str:
    uuid = ledger.dispatch("TestNoop", tries=1)
    ledger.settle(ledger.claim(), status, **outcome)
    return uuid


def test_each_end_is_told_by_each_way_once(people, ledger):
    ada, bob, eve = people.add(language="en"), people.add("viewer"), people.add()
    uuid = ledger.dispatch("TestNoop")
    people.follow(ada, uuid)
    people.follow(bob, uuid, via="mail")
    people.follow(eve, uuid, via="channel:team")
    assert people.tell() == 0 and people.left() == 3
    ledger.settle(ledger.claim(), "completed")
    assert people.tell() == 3 and people.tell() == 0 and people.left() == 0
    title = f"Job completed: Test Noop {uuid[:8]}"
    assert [t for t, _b in people.told(ada)] == [title] and people.told(bob) == people.told(eve) == []
    by_mail, by_channel = people.mails()
    assert by_mail[:3] == ("notice", "mail:p1@example.org", "it") and by_channel[1] == "channel:team"
    assert by_mail[3] == f"Lavoro completato: Test Noop {uuid[:8]}"
    assert by_mail[4].endswith(f"/admin/jobs/job/{uuid}") and by_mail[5] == "waiting"
    assert people.told(ada, language="it")[0][0] == by_mail[3]


def test_numbers_are_those_of_the_language_of_the_text(people, ledger):
    ada, bob = people.add(), people.add(language="en")
    uuid = ledger.dispatch("TestNoop")
    people.follow(ada, uuid)
    people.follow(bob, uuid, via="mail")
    ledger.settle(ledger.claim(), "completed")
    ledger.change("UPDATE job_metrics SET processing_time = 6500")
    people.tell()
    assert [people.told(ada, language=one)[0][1] for one in ("en", "it")] == ["It ran for 6.5 s.", "È durato 6,5 s."]
    assert people.mails()[0][4].startswith("It ran for 6.5 s.")


def test_a_page_gives_the_language_to_who_has_chosen_none(people, ledger):
    uuid = ledger.dispatch("TestNoop")
    for language, shown, expected in ((None, "en", "en"), (None, "it", "it"), ("it", "en", "it")):
        with ledger.app.app_context():
            follows.follow(people.add(language=language), "job", uuid, "browser", True, shown)
        assert ledger.one("SELECT language FROM follows ORDER BY id DESC LIMIT 1") == expected


def test_the_end_is_the_final_one_and_a_retry_is_a_new_follow(people, ledger):
    ada = people.add()
    uuid = ledger.dispatch("TestNoop", tries=2)
    people.follow(ada, uuid)
    ledger.settle(ledger.claim(), "failed", error="first line token=sk-proj-1234567890abcdefghijklmnop\nsecond")
    before = people.tell()
    if before == 0:  # it is tried again
        ledger.change("UPDATE jobs SET state = 'pending', available_ms = 0 WHERE uuid = :u", u=uuid)
        ledger.settle(ledger.claim(), "failed", error="first line token=sk-proj-1234567890abcdefghijklmnop\nsecond")
        assert people.tell() == 1
    ((title, body),) = people.told(ada)
    assert title.startswith("Job failed: ") and "first line" in body and "sk-proj" not in body and "second" not in body
    with ledger.connection.transaction() as tx:
        manual.requeue(tx, [tx.fetch_all("SELECT id FROM failed_jobs")[0][0]], ())
    assert people.tell() == 0
    people.follow(ada, uuid)
    assert people.tell() == 0
    ledger.settle(ledger.claim(), "completed")
    assert people.tell() == 1 and len(people.told(ada)) == 2


def test_what_has_ended_already_is_told_at_once_and_what_is_gone_too(people, ledger):
    ada = people.add()
    uuid = ended(ledger, "timeout", error="too long")
    people.follow(ada, uuid[:36].upper())
    assert people.tell() == 1 and people.told(ada)[0][0] == f"Job stopped, its time was over: Test Noop {uuid[:8]}"
    gone = ledger.dispatch("TestNoop")
    people.follow(ada, gone)
    ledger.change("DELETE FROM jobs WHERE uuid = :u", u=gone)
    assert people.tell() == 1 and people.told(ada)[-1] == (f"Job deleted: {gone[:8]}", "It is no longer there.")
    with pytest.raises(ActionRefused, match="no such job"):
        people.follow(ada, "00000000-0000-4000-8000-000000000000")
    with pytest.raises(ActionRefused, match="no such batch"):
        people.follow(ada, "00000000", kind="batch")


def test_batches_are_told_with_their_names_to_who_sees_data(people, ledger):
    ada, bob, eve = people.add(), people.add("viewer"), people.add("viewer", sees_data=1)
    with ledger.connection.transaction() as tx:
        batches.create(tx, "b" * 36, "Import of acme", None, "keep going", None, "x")
    for user in (ada, bob, eve):
        people.follow(user, "b" * 36, kind="batch")
    assert people.tell() == 0
    with ledger.connection.transaction() as tx:
        batches.seal(tx, "b" * 36)
    batches.advance(ledger.connection, lambda *_given: True)
    assert people.tell() == 3
    assert people.told(ada)[0][0] == people.told(eve)[0][0] == "Batch completed: Import of acme"
    assert people.told(bob)[0][0] == people.told(ada, data=False)[0][0] == "Batch completed: bbbbbbbb"
    assert people.told(ada)[0][1].startswith("Jobs: 0, failed: 0.")
    ledger.change("UPDATE job_batches SET cancelled_at = 1, closed_ms = 5")
    people.follow(ada, "b" * 36, kind="batch")
    assert people.tell() == 1 and people.told(ada)[-1][0] == "Batch cancelled: Import of acme"


def test_a_viewer_is_told_no_error_also_when_the_role_changes_later(people, ledger):
    ada, bob = people.add(), people.add("viewer")
    uuid = ended(ledger, "failed", error=Message("The service %(name)s does not answer", name="acme"))
    people.follow(ada, uuid)
    people.follow(bob, uuid, via="mail")
    people.tell()
    assert "acme" in people.told(ada)[0][1] and "acme" not in people.told(ada, data=False)[0][1]
    assert "acme" not in str(people.mails())


@pytest.mark.parametrize("change", ["disabled_ms = 1", "role = 'user'", "role = 'x'"])
def test_who_may_not_know_it_any_more_is_not_told(people, ledger, change):
    ada, uuid = people.add(), ended(ledger)
    people.follow(ada, uuid)
    ledger.change(f"UPDATE users SET {change} WHERE id = :u", u=ada)
    assert people.tell() == 0 and people.left() == 0 and people.told(ada) == []


def test_who_may_not_act_any_more_is_not_told_by_a_channel(people, ledger):
    ada, uuid = people.add(), ended(ledger)
    people.follow(ada, uuid, via="channel:team")
    ledger.change("UPDATE users SET role = 'viewer'")
    assert people.tell() == 0 and people.left() == 0 and people.mails() == []


def test_ways_that_nobody_serves_are_refused_with_what_to_set(people, ledger):
    ada, uuid = people.add(), ledger.dispatch("TestNoop")
    with ledger.app.app_context():
        assert follows.ways(True) == ["browser", "mail", "channel:team"] and follows.ways(False) == ["browser", "mail"]
    for via, may_act in (("channel:team", False), ("channel:gone", True), ("x", True), ("", True)):
        with pytest.raises(ValidationError, match="not there"):
            people.follow(ada, uuid, via=via, may_act=may_act)
    ledger.change("DELETE FROM meta WHERE key = 'mail senders'")
    with pytest.raises(ValidationError, match="SMTP_URL"):
        people.follow(ada, uuid, via="mail")
    assert people.left() == 0


def test_one_row_a_person_and_job_and_at_most_500(people, ledger, monkeypatch):
    ada, uuid, other = people.add(), ledger.dispatch("TestNoop"), ledger.dispatch("TestNoop")
    for via in ("browser", "mail"):
        people.follow(ada, uuid, via=via)
    assert ledger.connection.fetch_all("SELECT via FROM follows") == [("mail",)]
    monkeypatch.setattr(follows, "MOST", 1)
    people.follow(ada, uuid)
    with pytest.raises(ActionRefused, match="You follow 1 jobs"):
        people.follow(ada, other)
    with ledger.app.app_context():
        assert follows.unfollow(ada + 1, "job", uuid) == 0 and follows.unfollow(ada, "job", uuid) == 1 and follows.via_of(ada, "job", uuid) is None


def test_of_two_monitors_one_tells(people, ledger):
    users = [people.add() for _n in range(3)]
    uuid = ended(ledger)
    for user in users:
        people.follow(user, uuid)
    told: list[int] = []

    def monitor() -> None:
        connection = Connection(ledger.app.extensions["settings"].database_url)
        told.append(telling.tell(connection, ledger.app))
        connection.close()

    threads = [threading.Thread(target=monitor) for _n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(told) == 3 == ledger.one("SELECT COUNT(*) FROM notices")


def test_a_monitor_that_is_killed_while_it_tells_has_told_nothing(people, ledger, monkeypatch):
    ada, uuid = people.add(), ended(ledger)
    people.follow(ada, uuid)
    with monkeypatch.context() as broken:
        broken.setattr(telling, "_NOTICE", "INSERT INTO nowhere VALUES (1)")
        with pytest.raises(Exception, match="nowhere"):
            people.tell()
    assert people.left() == 1 and people.tell() == 1 and len(people.told(ada)) == 1


def test_a_follow_that_changes_while_it_is_read_is_told_in_the_new_way(people, ledger, monkeypatch):
    people.put(people.add(), ended(ledger))
    with monkeypatch.context() as patch:
        patch.setattr(telling, "_message", lambda *given, real=telling._message: (ledger.change("UPDATE follows SET via = 'mail'"), real(*given))[1])
        assert people.tell() == 0
    assert people.tell() == 1 and len(people.mails()) == 1


def test_a_restore_tells_nothing_again(people, ledger):
    people.follow(people.add(), ended(ledger))
    ledger.change("INSERT INTO meta (key, value, at_ms) VALUES ('paused_after_restore', '1', :now)", now=now_ms())
    assert people.tell() == 0 and people.left() == 1


def test_many_follows_are_told_in_steps(people, ledger, monkeypatch):
    ada = people.add()
    for n in range(7):
        people.put(ada, f"gone-{n}")
    monkeypatch.setattr(telling, "STEP", 3)
    monkeypatch.setattr(telling, "_ENDED", telling._ENDED.replace(f"LIMIT {200}", "LIMIT 3"))
    assert people.tell() == 7
    titles = [title for title, _body in people.told(ada)]
    assert titles == ["2 more notices", *(f"Job deleted: gone-{n}"[:21] for n in range(2, 7))]


def test_rows_that_cannot_be_read_are_deleted_and_stop_nobody(people, ledger):
    ada = people.add()
    for kind, via, language in (("x", "browser", "it"), ("job", "x", "it"), ("job", "channel:a b", "it"), ("job", "browser", "x")):
        people.put(ada, f"{kind}{via[:3]}{language}", kind, via, language)
    people.put(ada, "a/b c")
    if ledger.connection.sqlite:
        people.put(ada, b"\xff\x00", "job")
        people.put(ada, 7.5, b"\xff", b"\xff", 3)
    people.put(ada, uuid := ended(ledger))
    assert people.tell() == 2 and people.left() == 0
    assert people.told(ada)[-1][0].endswith(uuid[:8])
    for title, body in (("x", "[]"), ('["a", 3]', "x"), ("[1, {}]", ""), ('["%(n)s", {"n": ["x"]}]', "")):
        ledger.change("INSERT INTO notices (user_id, kind, subject, title, body, link, created_ms) VALUES (:u, 'job', 'x', :t, :b, '/admin/jobs/', :now)", u=ada, t=title, b=body, now=now_ms())
    ledger.change("INSERT INTO notices (user_id, kind, subject, title, body, link, created_ms) VALUES (:u, 'alert', 'x', '', '', '', :now)", u=ada, now=now_ms())
    assert len(people.told(ada, after=2)) <= 2


def test_what_is_old_is_summed_up_and_a_new_browser_begins_now(people, ledger):
    ada = people.add()
    for n in range(3):
        people.put(ada, f"gone-{n}")
    people.tell()
    ledger.change("UPDATE notices SET created_ms = created_ms - :old WHERE id <= 2", old=2 * HOUR_MS)
    assert [title for title, _body in people.told(ada)] == ["2 more notices", "Job deleted: gone-2"]
    ledger.change("UPDATE notices SET created_ms = created_ms - :old", old=2 * HOUR_MS)
    assert people.told(ada, language="it")[0][0] == "3 notifiche mentre questo browser era via"
    with ledger.app.app_context():
        last = ledger.one("SELECT MAX(id) FROM notices")
        assert feed.since(ada, None, True) == ([], last) == feed.since(ada, last, True) == feed.since(ada, last + 9, True)
        assert feed.since(ada + 1, 0, True) == ([], 0)
    ledger.change("UPDATE notices SET created_ms = 1 WHERE id = 1")
    retention.delete_old_minutes(ledger.connection)
    assert ledger.one("SELECT COUNT(*) FROM notices") == 2
