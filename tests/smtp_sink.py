"""A mail server on 127.0.0.1 that takes mails, well and badly."""

from __future__ import annotations

import base64
import contextlib
import datetime
import email
import ipaddress
import socket
import ssl
import threading
from email import policy
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """The context of a server whose certificate has these names, and the file that makes a client trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    kinds = [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() or ":" in n else x509.DNSName(n) for n in names]
    made = (x509.CertificateBuilder().subject_name(own).issuer_name(own).public_key(key.public_key()).serial_number(7)
            .not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(9))
            .add_extension(x509.SubjectAlternativeName(kinds), False).add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256()))
    path = folder / f"{names[0]}.pem"
    public = made.public_bytes(serialization.Encoding.PEM)
    path.write_bytes(public + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    (folder / "trusted.pem").write_bytes(public)
    return context, folder / "trusted.pem"


class SmtpSink:
    """`answers` maps a verb (GREETING, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA, BODY) to an answer, or to "hang" or "cut"; it can be changed while it runs. `got` has
    (sender, recipient, mail) of what was taken; `tried` counts connections; `said` are all commands."""

    def __init__(self, tls: ssl.SSLContext | None = None, implicit: bool = False, extensions: tuple[str, ...] = ("AUTH PLAIN LOGIN", "SMTPUTF8", "8BITMIME"), **answers: str) -> None:
        self.tls, self.implicit, self.extensions, self.answers = tls, implicit, extensions, answers
        self.got, self.said, self.tried, self.secure = [], [], 0, []
        self.over = threading.Event()
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(20)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                self.tried += 1
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, ValueError, EOFError):
            if self.implicit:
                client = self.tls.wrap_socket(client, server_side=True)
            try:
                self._session(client)
            finally:
                client.close()

    def _session(self, client: socket.socket) -> None:
        lines, sender, recipient = client.makefile("rb"), "", ""

        def answer(verb: str, usual: str) -> bool:
            """Whether the session goes on as usual."""
            text = self.answers.get(verb, usual)
            if text == "hang":
                self.over.wait(60)
            if text in ("hang", "cut"):
                raise EOFError
            client.sendall(text.encode() + b"\r\n")
            return text == usual

        answer("GREETING", "220 sink")
        secure = self.implicit
        while line := lines.readline():
            verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            verb = verb.upper()
            self.said.append(line.decode("utf-8", "replace").strip())
            if verb in ("EHLO", "HELO"):
                offered = ["sink", *self.extensions, *(["STARTTLS"] if self.tls and not secure else [])]
                answer("EHLO", "\r\n".join(f"250{' ' if n == len(offered) - 1 else '-'}{text}" for n, text in enumerate(offered)))
            elif verb == "STARTTLS":
                if answer("STARTTLS", "220 go"):
                    client = self.tls.wrap_socket(client, server_side=True)
                    lines, secure = client.makefile("rb"), True
            elif verb == "AUTH":
                if rest.startswith("LOGIN"):
                    for question in (b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n")[rest != "LOGIN":]:
                        client.sendall(question)
                        lines.readline()
                if answer("AUTH", "235 welcome"):
                    self.secure.append((secure, base64.b64decode(rest.split()[-1]).decode().split("\0")[1:] if rest.startswith("PLAIN ") else []))
            elif verb == "MAIL":
                sender = rest
                answer("MAIL", "250 ok")
            elif verb == "RCPT":
                recipient = rest
                answer("RCPT", "250 ok")
            elif verb == "DATA":
                if answer("DATA", "354 go on"):
                    body = b""
                    while (piece := lines.readline()) not in (b".\r\n", b""):
                        body += piece.removeprefix(b".")
                    mail = (sender, recipient, email.message_from_bytes(body, policy=policy.default))
                    self.lost = mail
                    if answer("BODY", "250 taken"):
                        self.got.append(mail)
            elif verb == "QUIT":
                return client.sendall(b"221 bye\r\n")
            else:
                client.sendall(b"250 ok\r\n")

    def close(self) -> None:
        self.over.set()
        self.socket.close()
