"""The web server as it runs, against clients that drip, stand still, send nonsense or do not read."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlencode

import pytest

from app.services.people import accounts
from deploy import sockets
from tests.backends import free_port
from tests.conftest import PASSWORD, token_in
from tests.process.product import ROOT, Product

CSP = b"Content-Security-Policy: "


class Web:
    """The real gunicorn with the real configuration; `patience` changes the worker's constants before it forks."""

    def __init__(self, product: Product, **patience) -> None:
        self.port = free_port()
        product.env |= {"PORT": str(self.port), "JOB_MODULES": "tests.jobtypes"}
        conf = product.data_dir.parent / "gunicorn.conf.py"
        lines = ["import sys", f"sys.path.insert(0, {str(ROOT)!r})", "from deploy import gunicorn_worker, paced, sockets", *(f"{'paced' if k.startswith('PACE') else 'sockets' if hasattr(sockets, k) else 'gunicorn_worker'}.{k} = {v}" for k, v in patience.items())]
        conf.write_text("\n".join(lines) + f"\nexec(compile(open({str(ROOT / 'deploy/gunicorn.conf.py')!r}).read(), 'conf', 'exec'))\n")
        self.process = subprocess.Popen([sys.executable, "-m", "gunicorn", "--config", str(conf), "wsgi:app"], env=product.env, cwd=ROOT, stdout=product.log, stderr=product.log)
        product.started.append(self.process)
        product.until(self.up, 30, "the web answers")

    def up(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get("/healthz")[0] == 200
        return False

    def connect(self, timeout: float = 20) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def get(self, path: str, headers=None, client=None) -> tuple[int, str, dict]:
        client = client or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        client.request("GET", path, headers=headers or {})
        answer = client.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace"), dict(answer.getheaders())

    def sign_in(self, email: str = "ada@example.org") -> dict[str, str]:
        """The headers of a person signed in through the form."""
        _, page, headers = self.get("/login")
        cookie = headers["Set-Cookie"].split(";")[0]
        body = urlencode({"email": email, "password": PASSWORD, "csrf_token": token_in(page)})
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        client.request("POST", "/login", body, {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"})
        answer = client.getresponse()
        assert answer.status == 303, answer.read()
        return {"Cookie": next(v.split(";")[0] for k, v in answer.getheaders() if k == "Set-Cookie" and v.startswith("session="))}

    def raw(self, data: bytes, timeout: float = 20, close: bool = True) -> bytes:
        """Everything that comes back to these bytes."""
        with self.connect(timeout) as s:
            with contextlib.suppress(OSError):
                s.sendall(data)
                if close:
                    s.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(OSError):
                while piece := s.recv(65536):
                    answer += piece
            return answer


@pytest.fixture
def web(product):
    with product.app.app_context():
        accounts.create_user("ada@example.org", "super-admin", PASSWORD)
    return lambda **patience: Web(product, **patience)


HOST = b"Host: 127.0.0.1\r\n"
DRIPS = {  # what is sent at once; then one byte at a time
    "nothing": b"",
    "request line": b"GET / HT",
    "head": b"GET /login HTTP/1.1\r\n" + HOST + b"X: ",
    "small body": b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3000\r\n\r\nemail=a",
    "small body, zeros": b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 000000000000000000003000\r\n\r\nemail",
    "large body": b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 90000000\r\n\r\nemail=a",
    "large body behind the door": b"POST /admin/jobs/new/ HTTP/1.1\r\n" + HOST + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 90000000\r\n\r\n--x\r\n",
    "chunked": b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nemail\r\n",
    "chunked behind the door": b"POST /admin/jobs/new/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nemail\r\n",
    "expect": b"POST /login HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3000\r\n\r\n",
    "second request": b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\nGET /he",
    "after an answer": b"GET /healthz HTTP/1.0\r\n" + HOST + b"\r\n",
    "static, body": b"POST /static/app.css HTTP/1.1\r\n" + HOST + b"Content-Length: 90000000\r\n\r\nx",
}


def test_forty_of_each_kind_of_slow_connection_hold_up_nobody(web):
    """480 connections that drip, four bytes a second: pages are answered and people sign in as if they were not there."""
    site, over = web(), threading.Event()
    slow = []
    for start in DRIPS.values():
        for _ in range(40):
            s = site.connect()
            s.sendall(start)
            slow.append(s)

    def drip() -> None:
        while not over.wait(0.25):
            for s in slow:
                with contextlib.suppress(OSError):
                    s.send(b"a", socket.MSG_DONTWAIT)

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        signed_in = site.sign_in()
        for _ in range(5):
            for path in ("/healthz", "/readyz", "/admin/jobs", "/admin/jobs/realtime-stats"):
                assert site.get(path, signed_in)[0] in (200, 503)  # no monitor runs, so not "ready"
    finally:
        over.set()
        dripping.join()
        for s in slow:
            s.close()


def test_who_does_not_read_the_answer_holds_up_nobody(web):
    """Sixty ask for 20 times 500 KB and read nothing: what the machine's buffers do not take waits outside the threads."""
    site, slow = web(), []
    for _ in range(60):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        s.connect(("127.0.0.1", site.port))
        for _ in range(20):
            s.sendall(b"GET /static/vendor/tabler.min.css HTTP/1.1\r\n" + HOST + b"\r\n")
        slow.append(s)
    for _ in range(10):
        assert site.get("/healthz")[0] == 200 and len(site.get("/static/vendor/tabler.min.css")[1]) > 400_000
    for s in slow:
        s.close()


def test_more_connections_than_places_hold_up_nobody(web):
    """600 stand idle where 500 have a place: the one that has waited longest makes room."""
    site = web()
    idle = [site.connect() for _ in range(300)]
    for _ in range(300):
        s = site.connect()
        s.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        idle.append(s)
    for _ in range(5):
        assert site.get("/healthz")[0] == 200
    for s in idle:
        s.close()


def test_an_answer_is_whole_however_slowly_it_is_read(web):
    site = web()
    want = site.get("/static/vendor/tabler.min.css")[1].encode()
    for closing in (b"", b"Connection: close\r\n"):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", site.port))
            s.sendall(b"GET /static/vendor/tabler.min.css HTTP/1.1\r\n" + HOST + closing + b"\r\n")
            s.settimeout(10)
            got = b""
            while len(got.partition(b"\r\n\r\n")[2]) < len(want):
                piece = s.recv(30_000)
                assert piece, "cut off"
                got += piece
            assert got.partition(b"\r\n\r\n")[2] == want
            if not closing:
                s.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
                assert s.recv(65536).startswith(b"HTTP/1.1 200")


def test_time_is_bounded_for_heads_and_bodies(web, product):
    site = web(HEAD_S=0.5, PACE_S=0.5, PACE_BYTES=16384)
    signed_in = site.sign_in()["Cookie"].encode()
    upload = b"POST /admin/jobs/new/ HTTP/1.1\r\n" + HOST + b"Cookie: " + signed_in + b"\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 900000\r\n\r\n--x\r\n"
    for start in (DRIPS["head"], DRIPS["small body"], upload):
        with site.connect() as s:
            s.sendall(start)
            answer = b""
            while b"408" not in answer:
                with contextlib.suppress(OSError):
                    s.send(b"a")
                s.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    piece = s.recv(65536)
                    assert piece, "closed without a word"
                    answer += piece
            assert CSP in answer
    assert "Traceback" not in product.tail()


def test_a_slow_upload_that_keeps_the_pace_arrives(web, product):
    """Slower than the time for a head, faster than the pace: 600 KB at 200 KB/s with 0.5 s of patience."""
    site = web(PACE_S=0.5, HEAD_S=0.5)
    headers = site.sign_in()
    _, page, new = site.get("/admin/jobs/new/?type=TestForm", headers)
    token, headers = token_in(page), {"Cookie": new["Set-Cookie"].split(";")[0]}
    parts = {"csrf_token": token, "type": "TestForm", "text": "slow", "number": "1", "kind": "a"}
    body = b"".join(b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (k.encode(), v.encode()) for k, v in parts.items())
    body += b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n' + b"x" * 600_000 + b"\r\n--x--\r\n"
    with site.connect() as s:
        head = f"POST /admin/jobs/new/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {headers['Cookie']}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        s.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 20_000):
            s.sendall(body[start : start + 20_000])
            time.sleep(0.1)
        assert s.recv(65536).startswith(b"HTTP/1.1 303")
    assert product.one("SELECT size FROM uploads") == 600_000


def test_a_refused_large_request_still_gets_its_answer(web):
    """The client sends everything before it looks, as browsers do."""
    site = web()
    for path, code in (("/login", b"413"), ("/admin/jobs/new/", b"302"), ("/nowhere", b"404")):
        data = b"POST %s HTTP/1.1\r\n" % path.encode() + HOST + b"Content-Type: text/plain\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000
        assert site.raw(data, close=False).startswith(b"HTTP/1.1 " + code), path


ODD = [
    b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: a..b\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: " + b"x" * 64 + b".y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: xn--\r\n\r\n", b"GET / HTTP/1.1\r\nHost: xn--a..b\r\n\r\n", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: " + b"h" * 5000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET http://a..b/ HTTP/1.1\r\n" + HOST + b"\r\n", b"GET //evil.example/login HTTP/1.1\r\n" + HOST + b"\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", b"CONNECT x:443 HTTP/1.1\r\n" + HOST + b"\r\n", b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", b"FOO / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"get / HTTP/1.1\r\n" + HOST + b"\r\n", b"G\x00T / HTTP/1.1\r\n" + HOST + b"\r\n", b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", b"GET /\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"\r\n\r\n\r\n\r\n", b"GET /%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /%ff?%ff HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /login HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 70_000 + b"\r\n\r\n", b"GET /login HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 200 + b"\r\n", b"GET /login HTTP/1.1\r\n" + HOST + b"X" * 70_000,
    b"GET / HTTP/1.1\r\n" + HOST + b"X y\r\n\r\n", b"GET / HTTP/1.1\r\n" + HOST + b" folded\r\n\r\n", b"GET / HTTP/1.1\r\n" + HOST + b"X\x00: y\r\n\r\n", b"GET / HTTP/1.1\r\n" + HOST + b"X: \x00\r\n\r\n",
    b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: x\r\n\r\n", b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999\r\n\r\n", b"POST /login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", b"POST /login HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"POST /login HTTP/1.1\r\n" + HOST + b"Expect: nonsense\r\n\r\n", b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Type: multipart/form-data\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /login HTTP/1.1\r\n" + HOST + b"Content-Type: multipart/form-data; boundary=" + b"x" * 5000 + b"\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /login HTTP/1.1\r\n" + HOST + b"Cookie: session=\xff; lang=\xff; device=\xff\r\n\r\n", b"GET /login HTTP/1.1\r\n" + HOST + b"Accept: \xff;q=nan, */*;q=inf\r\n\r\n",
    b"GET /login HTTP/1.1\r\n" + HOST + b"Accept-Language: \xff,it;q=x,en;q=9e999\r\n\r\n", b"GET /static/app.css HTTP/1.1\r\n" + HOST + b"Range: bytes=9-1,-0,a-b\r\n\r\n",
    b"GET /static/app.css HTTP/1.1\r\n" + HOST + b"If-Modified-Since: 99 Foo 9999999\r\nIf-None-Match: \"\r\nIf-Range: x\r\nRange: bytes=0-\r\n\r\n", b"GET /static/../wsgi.py HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET /static/%2e%2e/wsgi.py HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /metrics HTTP/1.1\r\n" + HOST + b"Authorization: Bearer \xff\r\n\r\n", b"GET / HTTP/1.1\r\n" + HOST + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n\r\n",
    b"GET /login HTTP/1.1\r\n" + HOST + b"X-Forwarded-For: \xff\r\nX-Forwarded-Host: a..b\r\nX-Forwarded-Proto: x\r\nX-Forwarded-Prefix: //e\r\nSCRIPT_NAME: /x\r\n\r\n",
    b"HEAD /healthz HTTP/1.1\r\n" + HOST + b"\r\n", b"HEAD /nowhere HTTP/1.1\r\n" + HOST + b"\r\n", b"GET ? HTTP/1.1\r\n" + HOST + b"\r\n", b"GET # HTTP/1.1\r\n" + HOST + b"\r\n", b"GET [ HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET //[ HTTP/1.1\r\n" + HOST + b"\r\n", b"GET http://[ HTTP/1.1\r\n" + HOST + b"\r\n",
]


def test_no_odd_request_is_a_500_and_each_answer_has_our_headers(web, product):
    site = web()
    for data in ODD:
        answer = site.raw(data)
        if not answer:
            assert data.strip() == b"" or not data.endswith(b"\r\n\r\n"), data[:80]  # no request at all
            continue
        code = int(re.match(rb"HTTP/1\.[01] (\d{3})", answer)[1])
        assert code < 500 or code == 501, (data[:80], answer[:300])
        assert CSP in answer and b"X-Content-Type-Options: nosniff" in answer, (data[:80], answer[:300])
        if data.startswith(b"HEAD"):
            assert answer.endswith(b"\r\n\r\n")
    assert site.up() and "Traceback" not in product.tail()


def test_a_stop_waits_for_no_slow_connection(web):
    site = web()
    slow = [site.connect() for _ in range(20)]
    site.process.send_signal(signal.SIGTERM)
    assert site.process.wait(10) == 0
    for s in slow:
        s.close()
