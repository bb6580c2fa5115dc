"""SMTP_URL and REPORT_FROM: every form that works, and a sentence without secrets for each that does not."""

from __future__ import annotations

import pytest

from app.addresses import SettingError
from app.addresses.mail import address, sender, server
from app.config import load_settings

SECRET = "hunter2-4711"


@pytest.mark.parametrize(("url", "expected"), [
    ("smtp://mail.example.org", ("mail.example.org", 587, "", "", "starttls")), ("smtp://mail.example.org:25/", ("mail.example.org", 25, "", "", "starttls")),
    ("smtp://mail.example.org?tls=off", ("mail.example.org", 587, "", "", "off")), ("smtp://localhost:25", ("localhost", 25, "", "", "offered")),
    ("smtp://ada:pw@mail.example.org", ("mail.example.org", 587, "ada", "pw", "starttls")), ("smtps://ada:pw@mail.example.org", ("mail.example.org", 465, "ada", "pw", "tls")),
    ("smtp+starttls://mail.example.org:2525", ("mail.example.org", 2525, "", "", "starttls")), ("SMTP://ada:pw@Mail.Example.ORG?tls=off", ("mail.example.org", 587, "ada", "pw", "off")),
    ("smtp://ada:pw@127.0.0.1:1025", ("127.0.0.1", 1025, "ada", "pw", "offered")), ("smtp://ada:pw@localhost", ("localhost", 587, "ada", "pw", "offered")),
    ("smtp://ada:pw@[::1]:25", ("::1", 25, "ada", "pw", "offered")), ("smtps://[2001:db8::1]", ("2001:db8::1", 465, "", "", "tls")),
    ("smtp://ada%40example.org:p%40%3A%2F%23%3F%25%20%C3%A9@mail.example.org", ("mail.example.org", 587, "ada@example.org", "p@:/#?% é", "starttls")),
    ("smtp://ada@example.org:p:w@mail.example.org", ("mail.example.org", 587, "ada@example.org", "p:w", "starttls")), ("smtps://bücher.example", ("xn--bcher-kva.example", 465, "", "", "tls"))])
def test_a_url_of_a_mail_server(url, expected):
    found = server("SMTP_URL", url)
    assert (found.host, found.port, found.user, found.password, found.tls) == expected
    assert expected[3] == "" or expected[3] not in repr(found)


@pytest.mark.parametrize("url", [
    "mail.example.org", "http://ada:{s}@mail.example.org", "smtp://", "smtp://:25", "smtp://ada:{s}@", "smtp://ada@mail.example.org", "smtp://:{s}@mail.example.org", "smtp://ada:{s}@mail.example.org:0",
    "smtp://ada:{s}@mail.example.org:70000", "smtp://ada:{s}@mail.example.org:x", "smtp://ada:{s}/x@mail.example.org", "smtp://ada:{s}#x@mail.example.org", "smtp://ada:{s}?x@mail.example.org",
    "smtp://ada:{s}@mail.example.org/inbox", "smtp://ada:{s}@mail.example.org?tls=on", "smtps://ada:{s}@mail.example.org?tls=off", "smtp://ada:{s}@mail.example.org?tls=off&tls=on&x=1",
    "smtp://ada:{s}%0d%0aX@mail.example.org", "smtp://ada:{s}%ff@mail.example.org", "smtp://ada:{s}@mail..example.org", "smtp://ada:{s}@[::1", "smtp://ada:{s}@[127.0.0.1]", "smtp://ada:{s}@a b",
    "smtp://ada:{s}@mail.example.org#x", "smtp://" + "a" * 300])
def test_what_is_no_url_of_a_mail_server_says_so_without_its_password(url, tmp_path):
    with pytest.raises(SettingError) as error:
        load_settings({"DATA_DIR": str(tmp_path), "SMTP_URL": url.format(s=SECRET), "REPORT_FROM": "a@example.org"})
    assert str(error.value).startswith("SMTP_URL ") or str(error.value).startswith("SMTP_URL:")
    assert SECRET not in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "url", "expected"), [
    ("", "", ("", "")), ("", "smtp://jobs%40example.org:x@h", ("", "jobs@example.org")), ("a@Example.ORG", "", ("", "a@example.org")), ("Jobs <a@b.it>", "", ("Jobs", "a@b.it")),
    ('"Jobs,  Ains" <a@b.it>', "smtp://x:y@h", ("Jobs, Ains", "a@b.it")), ("<a@b.it>", "", ("", "a@b.it")), ("Càffè <josé@bücher.example>", "", ("Càffè", "josé@bücher.example"))])
def test_the_sender(text, url, expected):
    assert sender("REPORT_FROM", text, url) == expected


@pytest.mark.parametrize(("text", "url"), [("", "smtp://ada:pw@h"), ("", "smtp://h"), ("nobody", ""), ("a@b@c d", ""), ("Jobs <a@b", ""), ("Jobs <a@b> x", ""), ("x <a@b>, <c@d>", ""), ("a@b\r\nBcc: c@d", ""),
                                         ("J\x00 <a@b.it>", "")])
def test_what_is_no_sender(text, url):
    with pytest.raises(SettingError, match="REPORT_FROM must be"):
        sender("REPORT_FROM", text, url)


@pytest.mark.parametrize(("text", "expected"), [
    ("ada@example.org", True), (" Ada+x@Example.org ", True), ("o'brien@localhost", True), ("josé@bücher.example", True), ("a@" + "b" * 63 + ".it", True), ("a@" + "b" * 64 + ".it", False), ("a", False),
    ("@b", False), ("a@", False), ("a b@c", False), ("a@b c", False), ("a..b@c", False), (".a@c", False), ("a.@c", False), ("a@b\n", True), ("a\n@b", False), ("a@b\r\nBcc: x@y", False), ("a@[127.0.0.1]", False),
    ("a@b,c@d", False), ("<a@b>", False), ("a\u202eb@c", False), ("a@b\u202ec", False), ("a" * 65 + "@b", False), ("a@b;c", False), ("a@::1", False)])
def test_an_address(text, expected):
    assert (address(text) is not None) == expected
