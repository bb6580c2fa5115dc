"""What 100 open dashboards cost the web, for scripts/bench viewers.

The real web, a monitor and a worker run in a folder of their own. Each viewer is a thread with a socket that does what
static/js/live.js does: it asks for the parts that a message names, spread as the message says, and for all every five
minutes; or it polls every 5 s. Printed are the CPU seconds of the web as a share of one core while nothing happens (at
most 5 %), and with one job a second; the time from a commit to the message (at most 1 s); the same with pollers; and
how many sockets come back after a restart of the web.
"""

# ruff: noqa: S101, S311  (chance spreads the viewers; nothing here is secret)

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import psutil
from wsproto.connection import CLIENT, Connection
from wsproto.events import CloseConnection, Ping, TextMessage

from scripts.throughput import JOBS, ROOT, consumer, environment

PARTS = ["actions", "notices", "cards", "failed_table", "live_jobs", "batches_live", "head", "charts"]
MOST_SHARE, MOST_DELAY_S, REST_S = 0.05, 1.0, 20.0  # after REST_S all have asked once
LISTENERS = 5  # viewers beside the others that ask for nothing, so that they note at once when a message comes
PASSWORD = "bench password"  # noqa: S105  (of a database that lives for this benchmark)
_PEOPLE = """
from app import create_app
from app.services.people import accounts
app = create_app()
with app.app_context():
    for n in range(4):
        accounts.create_user(f"bench{n}@localhost", "super-admin", "bench password")
"""
_CHANGES = """
import sys, time
from app import create_app, registry
from app.extensions import db
app = create_app()
with app.app_context():
    for n in range(int(sys.argv[1])):
        registry.find("BenchNoop").dispatch(n=n)
        db.session.commit()
        print(time.time(), flush=True)
        time.sleep(1)
"""


class Viewer(threading.Thread):
    """One dashboard. `messages` are (time, parts that it named); `greeted` is the time of the first of a socket."""

    def __init__(self, port: int, cookie: str, polls: bool, over: threading.Event, asks: bool = True) -> None:
        super().__init__(daemon=True)
        self.port, self.cookie, self.polls, self.over, self.asks = port, cookie, polls, over, asks
        self.messages: list[tuple[float, set[str]]] = []
        self.greeted, self.asked, self.spread, self.paced, self.wait = 0.0, 0, 0.0, 0.0, 1.0
        self.owed: set[str] = set()
        self.web: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Poll, or keep a socket, until all is over."""
        time.sleep(random.random() * 5)
        while not self.over.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                self.ask(PARTS) if self.polls else self.listen()
            if self.polls:
                self.over.wait(5)
            else:
                self.over.wait(self.wait * (0.5 + random.random()))
                self.wait = min(self.wait * 2, 60)

    def ask(self, names: list[str]) -> None:
        """Ask for parts, and for the two charts."""
        addresses = ["/admin/jobs/realtime-stats"] * self.asks
        if self.asks and "charts" in names:
            addresses += [f"/admin/jobs/metrics?period=24h&{more}" for more in ("bucket=hour", "group=type")]
        for address in addresses:
            self.web = self.web or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                self.web.request("GET", address, headers={
                    "Cookie": self.cookie, "Accept": "application/json", "X-Poll": "1", "X-Partials": ",".join(names)})
                answer = self.web.getresponse()
                answer.read()
                assert answer.status == 200, (address, answer.status)
            except (OSError, http.client.HTTPException):
                self.web = None
                raise
        self.asked += self.asks

    def listen(self) -> None:
        """One socket, until it is closed. Raises ConnectionError then."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as line:
            line.sendall((f"GET /admin/jobs/live HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\n"
                          f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nCookie: {self.cookie}\r\n"
                          f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n").encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += self.some(line)
            if b" 101 " not in head[:20]:
                raise ConnectionError(head[:40])
            protocol = Connection(CLIENT, trailing_data=head.partition(b"\r\n\r\n")[2])
            turn, safety, first = 0.0, time.time() + random.random() * 300, True
            while not self.over.is_set():
                for event in protocol.events():
                    if isinstance(event, Ping):
                        line.sendall(protocol.send(event.response()))
                    elif isinstance(event, CloseConnection):
                        raise ConnectionError(event.code)
                    elif isinstance(event, TextMessage):
                        named = self.told(json.loads(event.data), first)
                        first, now = False, time.time()
                        if named and not turn:
                            early = 0 if self.spread > 1 else self.gap
                            turn = max(self.paced - early, now) + random.random() * self.spread
                now = time.time()
                if now >= min(turn or safety, safety):
                    if now >= safety:
                        self.owed, safety = set(PARTS), now + 300 * (0.75 + random.random() / 2)
                    names, self.owed, turn = list(self.owed), set(), 0.0
                    self.paced = min(max(self.paced, now), now + self.gap) + self.gap
                    self.ask(names)
                line.settimeout(max(min(turn or safety, safety) - time.time(), 0.01))
                with contextlib.suppress(TimeoutError):
                    protocol.receive_data(self.some(line))

    def told(self, message: dict, first: bool) -> bool:
        """Take a message; whether it names a part of the dashboard."""
        named = set(message["changed"]).intersection(PARTS)
        self.messages.append((time.time(), named))
        self.spread, self.wait = message["spread_ms"] / 1000, 1.0
        if first:
            self.greeted = time.time()
        self.owed |= named
        return bool(named)

    @property
    def gap(self) -> float:
        """The shortest time (s) from one request to the next but one."""
        return max(1.0, self.spread)

    @staticmethod
    def some(line: socket.socket) -> bytes:
        """What has come. Raises ConnectionError at the end."""
        if data := line.recv(65536):
            return data
        raise ConnectionError("closed")


class Web:
    """The real gunicorn on a port."""

    def __init__(self, port: int, env: dict[str, str], log: Path) -> None:
        self.port, self.env, self.log = port, env | {"PORT": str(port), "HOST": "127.0.0.1"}, log
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py", "wsgi:app"], env=self.env,
                cwd=ROOT, stdout=log, stderr=log)
        for _ in range(600):
            with contextlib.suppress(OSError):
                if self.request("GET", "/healthz").status == 200:
                    return
            time.sleep(0.1)
        raise SystemExit("the web does not answer")

    def stop(self) -> None:
        """Stop it as a supervisor does."""
        self.process.terminate()
        self.process.wait(30)

    def request(self, method: str, path: str, body: str | None = None, **headers: str) -> http.client.HTTPResponse:
        """An answer, whose body was read into `text`."""
        web = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        web.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = web.getresponse()
        answer.text = answer.read().decode("utf-8", "replace")  # type: ignore[attr-defined]
        return answer

    def sign_in(self, email: str) -> str:
        """The cookie of a signed-in person."""
        page = self.request("GET", "/login")
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)[1]  # type: ignore
        form = urlencode({"email": email, "password": PASSWORD, "csrf_token": token})
        answer = self.request("POST", "/login", form, Cookie=(page.getheader("Set-Cookie") or "").split(";")[0],
                              Content_Type="application/x-www-form-urlencoded")
        cookies = [value.split(";")[0] for name, value in answer.getheaders() if name == "Set-Cookie"]
        return next(cookie for cookie in cookies if cookie.startswith("session="))

    def share(self, seconds: float) -> float:
        """The share of one core that the web takes in the next seconds."""
        def used() -> float:
            top = psutil.Process(self.process.pid)
            times = [p.cpu_times() for p in (top, *top.children())]
            return sum(t.user + t.system for t in times)

        before, began = used(), time.monotonic()
        time.sleep(seconds)
        return (used() - before) / (time.monotonic() - began)


def _look(web: Web, cookies: list[str], count: int, polls: bool) -> tuple[list[Viewer], threading.Event]:
    over = threading.Event()
    viewers = [Viewer(web.port, cookies[n % len(cookies)], polls, over, n < count)
               for n in range(count + (0 if polls else LISTENERS))]
    for viewer in viewers:
        viewer.start()
    return viewers, over


def _one_a_second(web: Web, env: dict[str, str], viewers: list[Viewer], seconds: int) -> tuple[float, list[float]]:
    """(share of a core, seconds from each commit to each viewer's message) with one job a second."""
    program = subprocess.Popen([sys.executable, "-c", _CHANGES, str(seconds)], env=env, cwd=ROOT,
                               stdout=subprocess.PIPE, text=True)
    assert program.stdout
    first, began = float(program.stdout.readline()), time.monotonic()
    share = web.share(max(seconds - 3, 1))
    commits = [first, *map(float, program.stdout.read().split())]
    program.wait()
    time.sleep(1.5 if time.monotonic() - began else 0)
    told = [next((at - commit for at, parts in viewer.messages if at >= commit and "live_jobs" in parts), 99.0)
            for viewer in viewers if not viewer.asks for commit in commits]
    return share, told


def viewers(count: int, seconds: int, port: int = 8210) -> bool:
    """Print what `count` dashboards cost; True when the bounds are kept and all sockets came back."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "benchjobs.py").write_text(JOBS)
        env = environment(folder)
        flask = [sys.executable, "-m", "flask", "--app", "wsgi"]
        for words in ([*flask, "db-prepare"], [sys.executable, "-c", _PEOPLE]):
            subprocess.run(words, env=env, cwd=ROOT, check=True, capture_output=True)
        subprocess.run([*flask, "demo", "--metrics", "20000", "--pending", "0"], env=env, cwd=ROOT, check=True,
                       capture_output=True)
        monitor = subprocess.Popen([*flask, "monitor"], env=env, cwd=ROOT, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        web = Web(port, env, folder / "web.log")
        try:
            with consumer("app.worker.huey", 1, env, folder):
                return _measure(web, env, count, seconds)
        finally:
            web.stop()
            monitor.terminate()
            monitor.wait(20)


def _measure(web: Web, env: dict[str, str], count: int, seconds: int) -> bool:
    cookies = [web.sign_in(f"bench{n}@localhost") for n in range(4)]
    idle = web.share(10)
    looking, over = _look(web, cookies, count, False)
    time.sleep(REST_S)
    greeted = sum(viewer.greeted > 0 for viewer in looking)
    asked = sum(viewer.asked for viewer in looking)
    rest = web.share(seconds)
    asked = sum(viewer.asked for viewer in looking) - asked
    print(f"{greeted} sockets, nothing happens: {rest:.2%} of a core ({idle:.2%} without viewers), "
          f"{asked / seconds:.1f} requests for parts a second")
    busy, told = _one_a_second(web, env, looking, seconds)
    told.sort()
    print(f"one job a second: {busy:.1%} of a core; from the commit to the message: median "
          f"{statistics.median(told):.2f} s, 95 % {told[int(len(told) * 0.95)]:.2f} s, last {told[-1]:.2f} s")
    stopped = time.time()
    web.stop()
    web.start()
    up, back, count = time.time(), 0, len(looking)
    while time.time() - up < 60 and back < count:
        time.sleep(0.5)
        back = sum(viewer.greeted > stopped for viewer in looking)
    print(f"restart of {up - stopped:.1f} s: {back} of {count} sockets came back in {time.time() - up:.1f} s after it")
    over.set()
    time.sleep(6)
    count -= LISTENERS
    polling, over = _look(web, cookies, count, True)
    time.sleep(10)
    polled, (polled_busy, _) = web.share(seconds), _one_a_second(web, env, polling, seconds)
    over.set()
    print(f"{count} pollers: {polled:.1%} of a core while nothing happens ({polled / max(rest, 1e-9):.0f} times), "
          f"{polled_busy:.1%} with one job a second ({polled_busy / max(busy, 1e-9):.1f} times)")
    return rest < MOST_SHARE and told[int(len(told) * 0.95)] < MOST_DELAY_S and back == greeted == len(looking)
