"""One mail by SMTP: what is sent, how it is secured, and what each trouble of a server means."""

from __future__ import annotations

import base64
import io
import json
import socket
import sys
import threading
import time
from email import message_from_bytes, policy

import pytest

from app.integrations import apprise_send, child, resolve, smtp_send
from tests.smtp_sink import SmtpSink, certificate

PASSWORD = "pw-4711-secret"


@pytest.fixture
def sink():
    made = []

    def make(*given, **more) -> SmtpSink:
        made.append(SmtpSink(*given, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def send(url: str, **more) -> dict:
    given = {"url": url, "from": ["Report, ‘Ains’", "jobs@example.org"], "to": "ada@example.org", "subject": "Settimana: è finita", "text": ".\n.è una riga\nhttps://x/é", "html": "<p>è</p>",
             "files": [["a é.pdf", "application/pdf", base64.b64encode(b"%PDF-1\r\n.\r\n").decode()], ["a.csv", "text/csv; charset=utf-8", base64.b64encode(b"a;b\r\n").decode()]],
             "id": "<one@example.org>", "date_ms": 1_700_000_000_000, "seconds": 5.0} | more
    return smtp_send.send(given)


def test_a_mail_has_text_html_and_files_and_headers_of_a_program(sink):
    server = sink()
    assert send(f"smtp://127.0.0.1:{server.port}") == {"ok": True, "why": "", "why_json": None, "doubtful": False, "refused": False, "down": False}
    (sender, recipient, mail) = server.got[0]
    assert sender.startswith("FROM:<jobs@example.org>") and recipient == "TO:<ada@example.org>"
    assert (mail["From"].addresses[0].display_name, mail["Subject"], mail["Message-ID"], mail["Auto-Submitted"]) == ("Report, ‘Ains’", "Settimana: è finita", "<one@example.org>", "auto-generated")
    assert mail["Date"].datetime.timestamp() == 1_700_000_000
    assert mail.get_body(("plain",)).get_content().replace("\r\n", "\n") == ".\n.è una riga\nhttps://x/é\n"
    assert mail.get_body(("html",)).get_content().strip() == "<p>è</p>"
    files = {part.get_filename(): part.get_payload(decode=True) for part in mail.iter_attachments()}
    assert files == {"a é.pdf": b"%PDF-1\r\n.\r\n", "a.csv": b"a;b\r\n"}
    assert mail.as_bytes().isascii()  # not every server takes 8 bits


@pytest.mark.parametrize(("field", "value"), [("subject", "x\r\nBcc: evil@example.org"), ("from", ["x\r\nBcc: evil@example.org", "jobs@example.org"]), ("id", "<x>\r\nBcc: evil@example.org"),
                                              ("to", "ada@example.org\r\nBcc: evil@example.org"), ("files", [["a\r\nBcc: evil@example.org", "text/csv", ""]])])
def test_no_value_can_add_a_header(sink, field, value):
    server = sink()
    try:
        send(f"smtp://127.0.0.1:{server.port}", **{field: value})
    except ValueError:
        assert server.got == []
    assert all("Bcc" not in mail and not any("Bcc" in part for part in mail.walk()) and "evil" not in recipient for _sender, recipient, mail in server.got)


@pytest.mark.parametrize(("answers", "why", "state"), [
    ({"GREETING": "554 go away"}, "the mail server refuses the connection: 554 go away", "down"),
    ({"GREETING": "cut"}, "the mail server 127.0.0.1 closed the connection", "down"),
    ({"GREETING": "hang"}, "no answer within 1 s", "down"),
    ({"EHLO": "hang"}, "no answer within 1 s", "down"),
    ({"AUTH": f"535 bad password {PASSWORD}"}, "the mail server refuses user and password: 535 bad password [hidden]", "down"),
    ({"AUTH": "454 later"}, "the mail server refuses user and password: 454 later", "down"),
    ({"AUTH": "535 " + base64.b64encode(f"\0ada\0{PASSWORD}".encode()).decode()}, "the mail server refuses user and password: 535 [hidden]", "down"),
    ({"MAIL": "550 no such sender"}, "the mail server refuses the sender: 550 no such sender", ""),
    ({"RCPT": "450 greylisted"}, "the mail server refuses the recipient: 450 greylisted", ""),
    ({"RCPT": "550 5.1.1 no such user"}, "the mail server refuses the recipient: 550 5.1.1 no such user", "refused"),
    ({"RCPT": "hang"}, "no answer within 1 s", ""),
    ({"DATA": "451 later"}, "the mail server refuses the mail: 451 later", ""),
    ({"DATA": "cut"}, "the mail server 127.0.0.1 closed the connection", ""),
    ({"BODY": "452 full"}, "the mail server refuses the mail: 452 full", ""),
    ({"BODY": "552 too large"}, "the mail server refuses the mail: 552 too large", "refused"),
    ({"BODY": "cut"}, "the mail server 127.0.0.1 closed the connection", "doubtful"),
    ({"BODY": "hang"}, "no answer within 1 s", "doubtful"),
])
def test_each_trouble_says_what_it_means_for_the_mail(sink, answers, why, state):
    server = sink(**answers)
    found = send(f"smtp://ada:{PASSWORD}@127.0.0.1:{server.port}", seconds=1.0)
    assert (found["ok"], found["why"]) == (False, why) and server.got == []
    assert [name for name in ("doubtful", "refused", "down") if found[name]] == ([state] if state else [])
    assert PASSWORD not in str(found)


def test_a_closed_port_took_nothing():
    found = send("smtp://127.0.0.1:1")
    assert (found["why"], found["down"], found["doubtful"]) == ("the mail server 127.0.0.1 cannot be reached: Connection refused", True, False)


def test_an_answer_after_the_mail_was_taken_changes_nothing(sink):
    server = sink()
    server.answers["QUIT"] = "hang"
    assert send(f"smtp://127.0.0.1:{server.port}")["ok"]


def test_a_password_goes_through_tls_with_a_checked_certificate_only(sink, tmp_path, monkeypatch):
    right, trusted = certificate(tmp_path, "localhost", "127.0.0.1")
    wrong, other = certificate(tmp_path / "x" if (tmp_path / "x").mkdir() else tmp_path / "x", "mail.example.org")
    for tls, url in ((right, "smtp+starttls://ada:{p}@127.0.0.1:{n}"), (right, "smtp://ada:{p}@127.0.0.1:{n}"), (right, "smtps://ada:{p}@127.0.0.1:{n}")):
        server = sink(tls, implicit=url.startswith("smtps"))
        given = url.format(p=PASSWORD, n=server.port)
        found = send(given)
        assert "certificate of 127.0.0.1 is not valid" in found["why"] and found["down"] and not server.secure, url  # nobody vouches for it
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        assert send(given)["ok"] and server.secure == [(True, ["ada", PASSWORD])]
        monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    server = sink(wrong)
    assert "certificate of 127.0.0.1 is not valid" in send(f"smtp+starttls://ada:{PASSWORD}@127.0.0.1:{server.port}")["why"]  # of another name
    plain = sink()
    found = send(f"smtp+starttls://ada:{PASSWORD}@127.0.0.1:{plain.port}")
    assert "offers no STARTTLS" in found["why"] and found["down"] and not any("AUTH" in line for line in plain.said)
    assert send(f"smtp://ada:{PASSWORD}@127.0.0.1:{plain.port}")["ok"] and plain.secure == [(False, ["ada", PASSWORD])]  # this machine itself
    assert "TLS with 127.0.0.1 fails" in send(f"smtps://127.0.0.1:{plain.port}")["why"]


def test_without_starttls_a_host_elsewhere_gets_no_password(sink, monkeypatch):
    server = sink()
    monkeypatch.setattr(smtp_send.smtplib.SMTP, "_get_socket", lambda self, host, port, timeout: smtp_send.smtplib.socket.create_connection(("127.0.0.1", server.port), timeout))
    assert "offers no STARTTLS" in send(f"smtp://ada:{PASSWORD}@mail.example.org")["why"] and not server.secure
    assert send(f"smtp://ada:{PASSWORD}@mail.example.org?tls=off")["ok"] and server.secure
    found = send("smtp://mail.example.org:25")  # also mails alone: they have titles of errors
    assert "offers no STARTTLS" in found["why"] and found["down"] and len(server.got) == 1
    assert send("smtp://mail.example.org:25?tls=off")["ok"] and len(server.got) == 2


def test_a_name_server_that_does_not_answer_means_that_nothing_was_sent(monkeypatch, capsys):
    """The C library may ask name servers for minutes; the process would be killed, and its mail be doubtful."""
    over = threading.Event()
    monkeypatch.setattr(resolve, "RESOLVE_S", 0.2)
    for name in ("getaddrinfo", "gethostbyaddr"):
        monkeypatch.setattr(socket, name, lambda *given, **more: over.wait(60))
    for module, given in ((smtp_send, {"url": "smtp://mail.example.org", "from": ["", "a@example.org"], "to": "b@example.org", "subject": "s", "text": "t", "html": "", "files": [], "id": "<x>",
                                       "date_ms": 1, "seconds": 20.0}), (apprise_send, {"url": "json://mail.example.org", "title": "t", "body": "b", "level": "info"})):
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(given)))
        begun = time.monotonic()
        module.main()
        answer = json.loads(capsys.readouterr().out)
        assert not answer["ok"] and not answer["doubtful"] and time.monotonic() - begun < 15, module
        if module is smtp_send:
            assert answer["down"] and answer["why"] == "the mail server mail.example.org cannot be reached: the name server does not answer"
    over.set()


def test_a_process_that_sends_inherits_no_secrets(monkeypatch):
    for name in ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASE_URL", "OPENAI_API_KEY", "ALERT_URLS", "SMTP_URL", "METRICS_TOKEN", "FUTURE_SECRET"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("SSL_CERT_FILE", "x")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    names = set(child.ask("tests.tell_environ", {}, 20)["names"]) - {"FLASK_SKIP_DOTENV"}  # the .pth of the environment sets it
    assert {"PATH", "SSL_CERT_FILE", "LC_ALL"} <= names <= child.PASSED_ON | {"LC_ALL", "LC_CTYPE"}
    assert not any(word in name for name in child.PASSED_ON for word in ("SECRET", "KEY", "TOKEN", "PASSWORD"))


def test_addresses_with_letters_of_any_language(sink):
    server = sink()
    assert send(f"smtp://127.0.0.1:{server.port}", to="josé@bücher.example")["ok"]
    assert server.got[0][1] == "TO:<josé@xn--bcher-kva.example>" and "SMTPUTF8" in server.got[0][0]
    assert send(f"smtp://127.0.0.1:{server.port}", to="ada@bücher.example")["ok"] and "SMTPUTF8" not in server.got[1][0]
    old = sink(extensions=("AUTH LOGIN",))
    found = send(f"smtp://127.0.0.1:{old.port}", to="josé@example.org")
    assert "SMTPUTF8" in found["why"] and found["refused"]
    assert send(f"smtp://ada:p%C3%A9-%40%2F%23@127.0.0.1:{server.port}")["ok"] and server.secure[-1] == (False, ["ada", "pé-@/#"])
    assert "no way to sign in" in send(f"smtp://ada:p%C3%A9@127.0.0.1:{old.port}")["why"]
    assert send(f"smtp://ada:plain@127.0.0.1:{old.port}")["ok"]


@pytest.mark.parametrize("subject", ["[Ainstein Jobs] Hang: Monthly report, October 2026: 2 points need attention", "[Ainstein Jobs] " + "x" * 70, "Rapporto è " + "x" * 90])
def test_no_header_begins_with_an_empty_line(subject):
    given = {"from": ["Jobs", "jobs@example.org"], "to": "ada@example.org", "subject": subject, "text": "x", "html": "", "files": [], "id": "<one@example.org>", "date_ms": 1}
    head = smtp_send.as_sent(smtp_send.message(given)).partition(b"\r\n\r\n")[0]
    assert b":\r\n" not in head and b": \r\n" not in head
    assert message_from_bytes(head, policy=policy.SMTP)["Subject"] == subject
