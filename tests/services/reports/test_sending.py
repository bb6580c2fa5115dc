"""The outbox of mails on both databases: sent, delayed, refused, repeated; by SMTP and through channels."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from app.config import load_settings
from app.ledger.dialect import Connection
from app.services.instance import retention
from app.services.reports import sending, stored
from app.support.clock import DAY_MS, HOUR_MS
from app.support.messages import Message
from tests.services.reports.made_up import RICH
from tests.sinks import Sink
from tests.smtp_sink import SmtpSink

one_store = pytest.mark.parametrize("ledger", ["sqlite"], indirect=True)  # nothing in it depends on the database; each sending starts a process


class Post:
    """A monitor's outbox at a time that is given."""

    def __init__(self, ledger, sink: SmtpSink | None = None, **channels: str) -> None:
        self.ledger, self.now = ledger, ledger.connection.now()
        base = ledger.app.extensions["settings"]
        self.settings = replace(base, smtp_url=f"smtp://ada:pw-4711-secret@127.0.0.1:{sink.port}" if sink else "", report_from=("Rapporti", "jobs@example.org"), alert_channels=channels)
        ledger.app.extensions["settings"] = self.settings
        self.box = self.another()

    def another(self) -> sending.Mails:
        box = sending.Mails(self.ledger.app, lambda: self.now)
        box.settings = self.settings
        return box

    def put(self, subject: str | None = "Ciao", **columns) -> int:
        values = {"kind": "notice", "target": "mail:bob@example.org", "language": "it", "subject": subject, "body": "Vedi http://x/y?a=1&b=2.\nFine <b>", "next_ms": self.now,
                  "created_ms": self.now} | columns
        self.ledger.change(f"INSERT INTO mails ({', '.join(values)}) VALUES ({', '.join(':' + n for n in values)})", **values)
        return self.ledger.one("SELECT MAX(id) FROM mails")

    def send(self, after: int = 0) -> list[str]:
        self.now += after
        return self.box.finish(self.ledger.connection)

    def states(self) -> list[tuple]:
        return [tuple(r) for r in self.ledger.connection.fetch_all("SELECT state, attempts, repeated FROM mails ORDER BY id")]


@pytest.fixture
def sink():
    made = SmtpSink()
    yield made
    made.close()


@one_store
def test_a_notice_and_a_report_go_to_their_addresses(ledger, sink):
    post = Post(ledger, sink)
    post.put()
    ledger.change("INSERT INTO report_plans (name, target, period, language, made_by, created_ms, since_ms) VALUES ('Lunedì', 'mail:bob@example.org', 'week', 'en', 'cli:x', 1, 1)")
    ledger.change("INSERT INTO reports (plan_id, from_ms, until_ms, figures, created_ms) VALUES (1, 1, 2, :f, 1)", f=stored.to_json(RICH))
    post.put(None, kind="report", plan_id=1, report_id=1, body="2", language="en", next_ms=post.now + 1)
    assert post.send(1) == [] and post.states() == [("sent", 1, 0)] * 2
    notice, report = (mail for _sender, _to, mail in sink.got)
    assert notice["Subject"] == "[Ainstein Jobs] Ciao" and notice["From"] == "Rapporti <jobs@example.org>"
    assert '<a href="http://x/y?a=1&amp;b=2">http://x/y?a=1&amp;b=2</a>.<br>\nFine &lt;b&gt;' in notice.get_body(("html",)).get_content().replace("\r\n", "\n")
    assert report["Subject"].startswith("[Ainstein Jobs] Lunedì: ") and "October 2026" in report["Subject"]
    text, page = (report.get_body((kind,)).get_content() for kind in ("plain", "html"))
    assert text.startswith("2 periods before it were not sent") and "2 periods before it were not sent" in page
    files = {part.get_filename(): part.get_payload(decode=True) for part in report.iter_attachments()}
    assert files["report-2026-10-19-2026-10-25.pdf"].startswith(b"%PDF-") and any(name.endswith(".csv") for name in files)
    assert notice["Message-ID"] != report["Message-ID"]


@one_store
def test_nothing_is_sent_while_a_restore_has_paused(ledger, sink):
    """What was sent after the backup would be sent again."""
    post = Post(ledger, sink)
    post.put()
    ledger.change("INSERT INTO meta (key, value, at_ms) VALUES ('paused_after_restore', '1', 0)")
    post.box.run(ledger.connection)
    assert not post.box.threads and post.states() == [("waiting", 0, 0)]
    ledger.change("DELETE FROM meta WHERE key = 'paused_after_restore'")
    post.box.run(ledger.connection)
    assert post.send() == [] and post.states() == [("sent", 1, 0)]


@one_store
def test_a_server_that_is_down_delays_and_drops_nothing(ledger, sink):
    sink.answers["GREETING"] = "554 not now"
    post = Post(ledger, sink)
    for n in range(3):
        post.put(f"n{n}")
    assert post.send() == ["mails mail:: the mail server refuses the connection: 554 not now"]
    assert post.states() == [("waiting", 1, 0), ("waiting", 0, 0), ("waiting", 0, 0)] and sink.tried == 1  # the others rest too
    post.send(29_000)
    assert sink.tried == 1
    for _ in range(4):
        post.send(HOUR_MS)
    assert {state for state, *_ in post.states()} == {"waiting"}
    sink.answers.clear()
    assert post.send(HOUR_MS) == [] and {state for state, *_ in post.states()} == {"sent"} and len(sink.got) == 3


@one_store
def test_who_is_refused_for_good_is_dropped_after_some_attempts_with_the_reason(ledger, sink):
    sink.answers["RCPT"] = "550 no such user"
    post = Post(ledger, sink)
    post.put(attempts=20, error="the mail server 127.0.0.1 cannot be reached: x", refusals=sending.MOST_REFUSALS - 2)
    post.send()
    assert post.states() == [("waiting", 21, 0)]
    post.send(HOUR_MS)
    assert post.states() == [("dropped", 22, 0)] and "550 no such user" in ledger.one("SELECT error FROM mails")
    sink.answers["RCPT"] = "450 greylisted"
    post.put(attempts=40, refusals=7)
    post.send()
    assert post.states()[1] == ("waiting", 41, 0) and ledger.one("SELECT refusals FROM mails WHERE id = 2") == 0  # only refusals in a row count


@one_store
def test_what_may_have_arrived_is_sent_once_more_with_the_same_id_and_says_so(ledger, sink):
    sink.answers["BODY"] = "cut"
    post = Post(ledger, sink)
    post.put()
    post.send()
    assert post.states() == [("waiting", 1, 1)]
    first = sink.lost[2]
    post.send(31_000)
    assert post.states() == [("waiting", 2, 1)]
    post.send(HOUR_MS)
    assert post.states() == [("waiting", 2, 1)]  # later repetitions are a day apart
    sink.answers.clear()
    post.send(DAY_MS)
    assert post.states() == [("sent", 3, 1)] and sink.got[0][2]["Message-ID"] == first["Message-ID"]
    assert sink.got[0][2].get_body(("plain",)).get_content().startswith("Ripetuto:") and not first.get_body(("plain",)).get_content().startswith("Ripetuto:")


def test_a_monitor_killed_between_lease_and_outcome(ledger, sink):
    post = Post(ledger, sink)
    post.put()
    row, until = post.box._take(ledger.connection, "mail:")
    assert until - post.now == sending.LEASE_MS and post.states() == [("sending", 1, 0)]
    killed, post.box = post.box, post.another()
    post.send(sending.LEASE_MS - 1)
    assert sink.got == []
    post.send(2)
    assert post.states() == [("sent", 2, 1)] and sink.got[0][2].get_body(("plain",)).get_content().startswith("Ripetuto:")
    killed._end(ledger.connection, row, until, Message("late"), False, False, False)  # it was only suspended
    assert post.states() == [("sent", 2, 1)]


def test_a_lease_that_another_monitor_holds_by_now_is_not_taken_and_not_renewed(ledger, sink):
    """The first one was suspended: while it wrote the letter, and between its look and its lease."""
    post = Post(ledger, sink)
    post.put()
    other, prepare, transaction = post.another(), post.box._prepare, ledger.connection.transaction
    taken = []

    def slowly(lane, rows):
        post.now += sending.LEASE_MS + 1000
        taken.append(other._take(ledger.connection, lane))
        return prepare(lane, rows)

    post.box._prepare = slowly
    post.send()
    assert taken[0] and sink.got == [] and post.states() == [("sending", 2, 1)]
    post.now += sending.LEASE_MS + 1000

    def meanwhile():
        ledger.connection.transaction = transaction
        taken.append(other._take(ledger.connection, "mail:"))
        return transaction()

    ledger.connection.transaction = meanwhile
    assert post.box._take(ledger.connection, "mail:") is None and taken[1] and post.states() == [("sending", 3, 1)]


@one_store
def test_what_a_clock_that_was_ahead_has_put_off_is_sent_and_ids_of_letters_are_not_repeated(ledger, sink):
    post = Post(ledger, sink)
    post.put(next_ms=post.now + 400 * DAY_MS), post.put(next_ms=post.now + DAY_MS)
    post.send()
    assert post.states() == [("sent", 1, 0), ("waiting", 0, 0)]
    row = sending.Row(*range(len(sending.FIELDS.split())))
    ids = {post.box._message_id(row._replace(id=id, created_ms=created)) for id, created in ((1, 1), (1, 2), (2, 1), (1, 1))}
    assert len(ids) == 3, "an id that is given again after a restore is another mail"


def test_two_monitors_send_a_mail_once(ledger, sink):
    post = Post(ledger, sink)
    boxes = [post.box, post.another()]
    others = [Connection(post.settings.database_url) for _ in boxes]
    post.put("a"), post.put("b")
    gate = threading.Barrier(2)
    threads = [threading.Thread(target=lambda b=b, c=c: (gate.wait(), b.finish(c))) for b, c in zip(boxes, others, strict=True)]
    [t.start() for t in threads], [t.join() for t in threads]
    [c.close() for c in others]
    assert len(sink.got) == 2 and post.states() == [("sent", 1, 0)] * 2


def test_without_smtp_url_mails_wait_and_are_given_up_after_a_month(ledger, sink):
    post = Post(ledger)
    post.put()
    assert post.send() == [] and post.states() == [("waiting", 0, 0)]
    ledger.change("UPDATE mails SET created_ms = created_ms - :old", old=29 * DAY_MS)
    retention.delete_old_minutes(ledger.connection)
    assert post.states() == [("waiting", 0, 0)]
    ledger.change("UPDATE mails SET created_ms = created_ms - :old", old=2 * DAY_MS)
    retention.delete_old_minutes(ledger.connection)
    assert post.states() == [("dropped", 0, 0)] and ledger.one("SELECT error FROM mails") == retention.UNSENT
    ledger.change("UPDATE mails SET ended_ms = ended_ms - :old", old=31 * DAY_MS)
    ledger.change("INSERT INTO reports (plan_id, from_ms, until_ms, figures, created_ms) VALUES (1, 1, 2, '', :old), (1, 2, 3, '', :new)", old=post.now - 401 * DAY_MS, new=post.now - 399 * DAY_MS)
    retention.delete_old(ledger.connection)
    assert (ledger.one("SELECT COUNT(*) FROM mails"), ledger.one("SELECT COUNT(*) FROM reports")) == (0, 1)


def test_a_test_is_tried_once_at_once_and_goes_first(ledger, sink):
    sink.answers["GREETING"] = "554 not now"
    post = Post(ledger, sink)
    post.put("waits")
    post.send()
    post.put("Prova", kind="test")
    post.send(1)  # while the server rests
    assert post.states() == [("waiting", 1, 0), ("dropped", 1, 0)]


@one_store
def test_a_channel_gets_the_text_and_a_mailbox_of_apprise_the_whole_report(ledger, sink):
    hook = Sink()
    ledger.change("INSERT INTO report_plans (name, target, period, language, made_by, created_ms, since_ms) VALUES ('', 'channel:team', 'week', 'en', 'cli:x', 1, 1)")
    post = Post(ledger, None, team=hook.url, box=f"mailto://127.0.0.1:{sink.port}?from=jobs@example.org&to=bob@example.org&mode=insecure")
    ledger.change("INSERT INTO reports (plan_id, from_ms, until_ms, figures, created_ms) VALUES (1, 1, 2, :f, 1)", f=stored.to_json(RICH))
    for name in ("team", "box"):
        post.put(None, kind="report", target=f"channel:{name}", plan_id=1, report_id=1, body="0", language="en")
    post.put("of another monitor", target="channel:gone")
    assert post.send() == [] and post.states() == [("sent", 1, 0), ("sent", 1, 0), ("waiting", 0, 0)]
    assert hook.got[0]["title"].startswith("[Ainstein Jobs] ") and "http" in hook.got[0]["message"]
    mail = sink.got[0][2]
    assert mail.get_body(("html",)) and {part.get_content_type() for part in mail.iter_attachments()} >= {"application/pdf"}
    hook.close()


def test_damaged_rows_are_told_and_stop_no_other(ledger, sink):
    post = Post(ledger, sink)
    ledger.change("INSERT INTO reports (plan_id, from_ms, until_ms, figures, created_ms) VALUES (1, 1, 2, '{}', 1)")
    post.put(None, kind="report", report_id=1), post.put(None, kind="report", report_id=99), post.put(None, kind="test", plan_id=99)
    post.put(None, body=None, language="xx"), post.put("a\nb: c\x00\u202e" if ledger.store == "sqlite" else "a\nb: c", target="mail:no address")
    post.put("good")
    post.send()
    assert [state for state, *_ in post.states()] == ["waiting", "waiting", "dropped", "sent", "waiting", "sent"]
    assert [mail["Subject"] for *_, mail in sink.got] == ["[Ainstein Jobs] Prova", "[Ainstein Jobs] good"]
    assert all(error for (error,) in ledger.connection.fetch_all("SELECT error FROM mails WHERE state <> 'sent'"))


def test_the_settings_of_this_file_are_those_of_the_product(tmp_path):
    made = load_settings({"DATA_DIR": str(tmp_path), "SMTP_URL": "smtp://jobs%40example.org:x@127.0.0.1:1"})
    assert made.report_from == ("", "jobs@example.org")
