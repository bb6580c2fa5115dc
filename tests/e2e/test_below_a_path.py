"""The site below a path, behind a proxy that strips the path and one that keeps it, in a real browser."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from app.services.people import accounts
from tests.conftest import PASSWORD
from tests.process.conftest import product  # noqa: F401  (a fixture)
from tests.process.test_slow import Web

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
PATH = "/team/jobs"


def proxy(strips: bool) -> ThreadingHTTPServer:
    """nginx in small: passes on what lies below PATH, with the visitor's host; all else is another site's (404). The one that
    keeps the path passes WebSockets on too; the other drops their headers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def tunnel(self) -> None:
            path = self.path.removeprefix(PATH) or "/" if strips else self.path
            with socket.create_connection(("127.0.0.1", self.server.target), timeout=20) as behind:
                lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers.items()), "X-Forwarded-For: 192.0.2.7"]
                behind.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
                threading.Thread(target=self.pump, args=(self.connection, behind), daemon=True).start()
                self.pump(behind, self.connection)
            self.close_connection = True

        @staticmethod
        def pump(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                source.settimeout(None)
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)

        def pass_on(self) -> None:
            if self.headers.get("Upgrade") and not strips:
                return self.tunnel()
            if not (self.path + "/").startswith(PATH + "/"):
                self.server.outside.append(self.path)
                self.send_error(404)
                return None
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            client = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=20)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"} | {"X-Forwarded-For": "192.0.2.7"}
            client.request(self.command, self.path.removeprefix(PATH) or "/" if strips else self.path, body, headers)
            answer = client.getresponse()
            data = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return None

        do_GET = do_POST = do_HEAD = do_DELETE = pass_on

        def log_message(self, *args) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.outside, server.target = [], 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.mark.parametrize("strips", [True, False], ids=["strips", "keeps"])
def test_a_person_does_everything_below_the_path(product, browser, strips):  # noqa: F811
    with product.app.app_context():
        accounts.create_user("ada@example.org", "super-admin", PASSWORD)
    product.env |= {"TRUSTED_PROXIES": "1"}
    front = None
    try:
        # the proxy's port is known before the site starts, as PUBLIC_URL names it
        front = proxy(strips)
        product.env["PUBLIC_URL"] = address = f"http://127.0.0.1:{front.server_port}{PATH}"
        site = Web(product)
        front.target = site.port
        assert urllib.request.urlopen(f"{address}/healthz").read() == b"ok"
        failed = product.dispatch("TestEcho", text="x")[0]
        context = browser.new_context(locale="it-IT")
        page = context.new_page()
        trouble: list[str] = []
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
        page.goto(f"{address}/admin/jobs/job/{failed}")
        page.fill("[name=email]", "ada@example.org")
        page.fill("[name=password]", PASSWORD)
        page.click("button[type=submit]")
        expect(page).to_have_url(re.compile(f"{PATH}/admin/jobs/job/{failed}"))
        for cookie in context.cookies():
            assert cookie["path"] == PATH, cookie
        page.wait_for_load_state("networkidle")
        page.locator("form[action*='/cancel/'] button").first.click()
        page.click("#ask-yes")
        page.locator(".flash").first.wait_for()
        frames: list = []  # the first comes at once, often before the page has loaded
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))
        with page.expect_websocket() as opened:
            page.goto(f"{address}/admin/jobs/")
        assert opened.value.url == f"{address}/admin/jobs/live".replace("http", "ws")
        for _ in range(300):
            if strips or frames:
                break
            page.wait_for_timeout(100)
        assert strips or frames, "no frame within 30 s"
        with page.expect_response(lambda r: "/realtime-stats" in r.url and r.status == 200):
            page.evaluate("window.dispatchEvent(new Event('online'))")
        page.goto(f"{address}/admin/jobs/list?state=ended")
        with page.expect_download() as download:
            page.click("a[download]")
        assert "jobs" in download.value.suggested_filename
        for link in page.eval_on_selector_all("a[href], form[action], link[href], script[src]",
                                             "all => all.map(e => new URL(e.getAttribute('href') || e.getAttribute('action') || e.src, location.href).href)"):
            assert link.startswith(address) or "#" in link, link
        page.goto(f"{address}/admin/jobs/people/")
        page.goto(f"{address}/admin/jobs/new/?type=TestEcho")
        page.fill("[name=text]", "below")
        page.click("button[type=submit].primary")
        expect(page).to_have_url(re.compile(f"{PATH}/admin/jobs/job/"))
        context.close()
        assert [t for t in trouble if "favicon" not in t and "WebSocket connection to" not in t] == [] and [p for p in front.outside if p != "/favicon.ico"] == []
    finally:
        if front:
            front.shutdown()

