"""Sends one mail by SMTP in a process of its own: `python -m app.integrations.smtp_send` < JSON.

stdin  {"url", "from": [name, address], "to", "subject", "text", "html", "files": [[name, type, base64]], "id",
        "date_ms", "seconds"}
stdout {"ok", "why", "why_json", "doubtful", "refused", "down"}
connect -> TLS (certificate and name checked) -> sign in -> MAIL FROM -> RCPT TO -> DATA; all of it in `seconds`
`doubtful`: the whole mail was sent and no answer came, so it may have arrived. `refused`: the server has refused this
recipient or this mail for good (5xx); all else is a trouble of the server or of the settings and may end. `down`: it
failed before any mail was named, so the next mail would fail too; so does a name server that does not answer.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import signal
import smtplib
import ssl
import sys
from collections.abc import Iterator
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, EmailPolicy
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from app.addresses.mail import Server, server
from app.integrations.resolve import limit_lookups
from app.support.clock import when
from app.support.messages import Message, to_json

HIDDEN = "[hidden]"
LONGEST = 200  # characters of a server's own words
PLAIN = SMTP.clone(cte_type="7bit")  # not every server takes 8 bits
WIDE = SMTPUTF8.clone(cte_type="7bit")


class Late(Exception):
    """The time of the whole sending is over."""


class Trouble(Exception):
    """What the server did wrong; the text is a Message. `refused`: this mail will not be taken later either."""

    def __init__(self, why: Message, refused: bool = False) -> None:
        super().__init__(why)
        self.why, self.refused = why, refused


def send(given: dict[str, Any]) -> dict[str, Any]:
    """Send the mail; returns the answer for stdout. Raises KeyError and ValueError for a message of another form."""
    where, state = server("SMTP_URL", given["url"]), {"doubtful": False, "reached": False}
    why, refused = "", False
    try:
        with _deadline(given["seconds"]):
            _deliver(where, given, state)
    except Late:
        why = Message("no answer within %(n)s s", n=f"{given['seconds']:.0f}")
    except Trouble as trouble:
        why, refused = trouble.why, trouble.refused
    except smtplib.SMTPServerDisconnected:
        why = Message("the mail server %(host)s closed the connection", host=where.host)
    except ssl.SSLCertVerificationError as error:
        why = Message("the certificate of %(host)s is not valid: %(why)s", host=where.host, why=error.verify_message)
    except ssl.SSLError as error:
        why = Message("TLS with %(host)s fails: %(why)s", host=where.host, why=error.reason or "SSLError")
    except smtplib.SMTPResponseException as error:
        why = Message("the mail server refuses %(what)s: %(code)s %(why)s", what=Message("the connection"),
                      code=error.smtp_code, why="")
    except (OSError, smtplib.SMTPException) as error:
        why = Message("the mail server %(host)s cannot be reached: %(why)s", host=where.host,
                      why=getattr(error, "strerror", None) or type(error).__name__)
    return {"ok": not why, "why": str(why), "why_json": to_json(why), "doubtful": bool(why) and state["doubtful"],
            "refused": refused, "down": bool(why) and not state["reached"]}


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raises Late inside when the time is over, whatever the sending waits for."""
    def ring(*_: object) -> None:
        raise Late

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _deliver(where: Server, given: dict[str, Any], state: dict[str, bool]) -> None:
    """Go through the steps; `state` says how far it came."""
    name, mailbox = given["from"]
    to = _in_ascii_domain(given["to"])
    wide = not (to + _in_ascii_domain(mailbox)).isascii()
    mail = as_sent(message(given, WIDE if wide else PLAIN))
    smtp = _connected(where, mailbox.rpartition("@")[2], given["seconds"])
    try:
        _sign_in(smtp, where)
        state["reached"] = True
        if wide and not smtp.has_extn("smtputf8"):
            raise Trouble(Message("the mail server takes no addresses with letters like these (SMTPUTF8)"), True)
        options = ["SMTPUTF8", "BODY=8BITMIME"] if wide else []
        _expect(where, smtp.mail(_in_ascii_domain(mailbox), options), Message("the sender"))
        _expect(where, smtp.rcpt(to), Message("the recipient"), 250, 251, final=True)
        _expect(where, smtp.docmd("DATA"), Message("the mail"), 354, final=True)
        # What follows the final dot decides: until an answer comes, the mail may have been taken.
        lines = re.sub(rb"(?m)^\.", b"..", re.sub(rb"\r?\n|\r", b"\r\n", mail))
        smtp.send(lines if lines.endswith(b"\r\n") else lines + b"\r\n")
        state["doubtful"] = True
        smtp.send(b".\r\n")
        answer = smtp.getreply()
        state["doubtful"] = False
        _expect(where, answer, Message("the mail"), final=True)
        with contextlib.suppress(smtplib.SMTPException, OSError, Late):
            smtp.quit()  # the mail is taken, whatever happens now
    finally:
        smtp.close()


def _connected(where: Server, own: str, seconds: float) -> smtplib.SMTP:
    """A connection with the TLS that the address asks for. `own` names us to the server."""
    checked = ssl.create_default_context()
    own = _in_ascii_domain(f"x@{own}")[2:]
    smtp = smtplib.SMTP_SSL(local_hostname=own, timeout=seconds, context=checked) if where.tls == "tls" else \
        smtplib.SMTP(local_hostname=own, timeout=seconds)
    smtp._host = where.host  # type: ignore[attr-defined]  # the name that the certificate must have
    _expect(where, smtp.connect(where.host, where.port), Message("the connection"), 220)
    smtp.ehlo_or_helo_if_needed()
    if where.tls == "starttls" and not smtp.has_extn("starttls"):
        raise Trouble(Message("the mail server %(host)s offers no STARTTLS, and nothing is sent to it without TLS; "
                              "?tls=off in SMTP_URL allows that", host=where.host))
    if where.tls in ("starttls", "offered") and smtp.has_extn("starttls"):
        _expect(where, smtp.starttls(context=checked), Message("encryption (STARTTLS)"), 220)
        smtp.ehlo_or_helo_if_needed()
    return smtp


def _sign_in(smtp: smtplib.SMTP, where: Server) -> None:
    if not where.user:
        return
    ways = smtp.esmtp_features.get("auth", "").upper().split()
    try:
        if (where.user + where.password).isascii() or "PLAIN" not in ways:
            smtp.login(where.user, where.password)
        else:  # smtplib's own sends ASCII only; RFC 4616 says UTF-8
            text = base64.b64encode(f"\0{where.user}\0{where.password}".encode()).decode()
            _expect(where, smtp.docmd("AUTH", f"PLAIN {text}"), Message("user and password"), 235)
    except (smtplib.SMTPNotSupportedError, UnicodeEncodeError):
        raise Trouble(Message("the mail server %(host)s offers no way to sign in", host=where.host)) from None
    except smtplib.SMTPResponseException as error:
        _expect(where, (error.smtp_code, error.smtp_error), Message("user and password"), 235)


def _expect(where: Server, answer: tuple[int, bytes | str], what: Message, *codes: int, final: bool = False) -> None:
    """Raises Trouble unless the answer has one of the codes (250 without any). `final`: a 5xx is for good."""
    code, said = answer
    if code in (codes or (250,)):
        return
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    why = _without_secrets(_one_line(text), where)[:LONGEST]
    raise Trouble(Message("the mail server refuses %(what)s: %(code)s %(why)s", what=what, code=code, why=why),
                  final and 500 <= code < 600)


def _without_secrets(text: str, where: Server) -> str:
    """The server's words without user and password in the forms in which a server may repeat them."""
    both = f"\0{where.user}\0{where.password}"
    for secret in (where.password, "" if "@" in where.user else where.user, both):
        coded = base64.b64encode(secret.encode()).decode()
        for form in (coded, coded.rstrip("="), quote(secret, safe=""), secret):
            text = text.replace(form, HIDDEN) if secret and form else text
    return text


def _in_ascii_domain(address: str) -> str:
    """The address with its domain as the network writes it (xn--...)."""
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain.encode('idna').decode()}"


def message(given: dict[str, Any], policy: EmailPolicy = PLAIN) -> EmailMessage:
    """The mail with plain text, HTML and files. Raises ValueError for a line break in an address."""
    mail = EmailMessage(policy)
    name, mailbox = given["from"]
    mail["From"] = Address(_one_line(name), *_in_ascii_domain(mailbox).rsplit("@", 1))
    mail["To"] = Address("", *_in_ascii_domain(given["to"]).rsplit("@", 1))
    mail["Subject"] = _one_line(given["subject"])
    mail["Date"] = format_datetime(when(given["date_ms"]) or when(0))  # type: ignore[arg-type]
    mail["Message-ID"] = given["id"]
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(given["text"])
    if given["html"]:
        mail.add_alternative(given["html"], subtype="html")
    for file_name, mime, content in given["files"]:
        kind, _, subtype = mime.partition("/")
        mail.add_attachment(base64.b64decode(content), kind, subtype, filename=_one_line(file_name))
    return mail


def as_sent(mail: EmailMessage) -> bytes:
    """The bytes of a mail. No header begins with an empty line: the library folds a long word there, and some programs
    then read a blank before the text."""
    head, line, body = mail.as_bytes().partition(b"\r\n\r\n")
    return re.sub(rb"(?m)^([A-Za-z-]+:) ?\r\n[ \t]", rb"\1 ", head) + line + body


def _one_line(text: str) -> str:
    return " ".join(text.split())


def main() -> None:
    """Read the mail from stdin, send it and print the answer, both as JSON."""
    given = json.load(sys.stdin)
    limit_lookups()
    with contextlib.redirect_stdout(io.StringIO()):
        answer = send(given)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
