"""The WebSockets of a web process: they stand in the worker's poller and take no thread.

handshake in a thread (app/controllers/live_socket.py) -> Hub.add -> frames of the client are read and forgotten
one thread, while there are sockets: two looks a second (services/stats/live_marks.py) -> one frame for all sockets

All sockets are touched in the worker's loop only; the thread passes what it knows to it. A frame goes out at least
every 5 s: it proves that nothing else has changed, so none goes out while the thread hangs on its database.
Closed are: a client that sends more than 4 KB and 100 bytes a second, or what is no frame (1002, 1007, 1008); that has
not taken its few bytes, or not answered a ping for 60 s; whose session is over (4401); for which no place is left
because others came at the same time (1013); at a stop of the server all (1001).
"""

import contextlib
import json
import logging
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field
from functools import partial

from wsproto.connection import SERVER, Connection
from wsproto.events import CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError

MOST, MOST_EACH = 200, 150  # sockets in all, and of one person: a script that opens them leaves room for others
LOOK_S, PROOF_S, SESSIONS_S, PING_S, SILENT_S = 0.5, 5.0, 60.0, 20.0, 60.0
SENT_BYTES, SENT_RATE = 4096, 100  # what a client may send at once, and a second
REFETCHES = 20  # a second, of all pages together
GOING_AWAY, POLICY, TRY_LATER, SESSION_ENDED = 1001, 1008, 1013, 4401
log = logging.getLogger("gunicorn.error")


@dataclass(eq=False)
class Live:
    """One socket: gunicorn's connection, the session (id) and the person (id) of its handshake."""

    conn: object
    session: int
    person: int
    heard: float = field(default_factory=time.monotonic)
    greeted: bool = False  # its first frame names all parts, as something may have changed since its page was made
    allowance: float = SENT_BYTES
    counted: float = field(default_factory=time.monotonic)
    protocol: Connection = field(default_factory=lambda: Connection(SERVER))


class Hub:
    """The sockets of a worker. All methods but `has_room` and `_run` run in the worker's loop."""

    def __init__(self, worker):
        self.worker, self.sockets = worker, []
        self.lock, self.thread = threading.Lock(), None
        self.next_ping = time.monotonic() + PING_S

    def has_room(self, person):
        """Whether one more socket of this person (id) may come; called in the thread of its handshake. Of handshakes at
        the same time more may pass: `add` counts again."""
        sockets = list(self.sockets)
        return len(sockets) < MOST and sum(one.person == person for one in sockets) < MOST_EACH

    def add(self, conn):
        """Take a connection whose handshake was answered with 101."""
        one = Live(conn, *conn.sock.live)
        early = conn.parser.unreader.take_buffered()
        try:
            conn.sock.setblocking(False)
            conn.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.worker.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_readable, one))
        except (OSError, KeyError, ValueError):
            self.worker.drop(conn)
            return
        with self.lock:
            self.sockets.append(one)
            if self.thread is None:
                self.thread = threading.Thread(target=self._run, name="live", daemon=True)
                self.thread.start()
        if not self.worker.alive:
            self.close(one, GOING_AWAY)
        elif len(self.sockets) > MOST or sum(other.person == one.person for other in self.sockets) > MOST_EACH:
            self.close(one, TRY_LATER)
        elif early:
            self.take(one, early)

    # ---- what clients send ----

    def on_readable(self, one, client):
        """Read what has arrived, without blocking."""
        try:
            data = one.conn.sock.recv(SENT_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.take(one, data)
        else:
            self.drop(one)

    def take(self, one, data):
        """Answer pings and the end; forget everything else."""
        now = time.monotonic()
        one.allowance = min(one.allowance + (now - one.counted) * SENT_RATE, SENT_BYTES) - len(data)
        one.counted = now
        if one.allowance < 0:
            self.close(one, POLICY)
            return
        one.protocol.receive_data(data)
        for event in one.protocol.events():
            if isinstance(event, CloseConnection):  # of the client, or because of what is no frame
                self.close(one, event.code)
                return
            if isinstance(event, Ping):
                self.send(one, one.protocol.send(event.response()))
            elif isinstance(event, Pong):
                one.heard = now

    # ---- what goes out ----

    def send(self, one, data):
        """Send a few bytes; a client that does not take them is dropped."""
        try:
            sent = one.conn.sock.send(data)
        except OSError:
            sent = -1
        if sent != len(data):
            self.drop(one)

    def deliver(self, frame, greeting, over):
        """Send `frame` (None: nothing) to all sockets, `greeting` to those that are new; close those of the sessions
        `over`."""
        for one in list(self.sockets):
            if one.session in over:
                self.close(one, SESSION_ENDED)
            elif not one.greeted:
                one.greeted = True
                self.send(one, greeting)
            elif frame:
                self.send(one, frame)

    def close(self, one, code):
        """Send a close frame; the worker then reads until the client has closed, 2 s at most."""
        if one not in self.sockets:
            return
        with contextlib.suppress(OSError, LocalProtocolError):
            one.conn.sock.send(one.protocol.send(CloseConnection(code)))
        self._forget(one)
        self.worker.linger(one.conn)

    def drop(self, one):
        """Close without a word."""
        if one in self.sockets:
            self._forget(one)
            self.worker.drop(one.conn)

    def _forget(self, one):
        self.sockets.remove(one)
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.worker.poller.unregister(one.conn.sock)

    def round(self):
        """In each round of the worker's loop: pings, and the end of those that do not answer; at a stop the end of
        all."""
        now = time.monotonic()
        for one in list(self.sockets):
            if not self.worker.alive:
                self.close(one, GOING_AWAY)
            elif now - one.heard > SILENT_S:
                self.drop(one)
            elif now >= self.next_ping:
                self.send(one, one.protocol.send(Ping()))
        if now >= self.next_ping:
            self.next_ping = now + PING_S

    # ---- the thread that looks ----

    def _run(self):
        """Look until no socket is left."""
        from app.services.stats.live_marks import EVERY, Watch  # imported here, so that the master never loads the site

        watch = Watch(self.worker.wsgi.extensions["settings"].database_url)
        proof = asked = said = float("-inf")
        while True:
            with self.lock:
                if not self.sockets:
                    self.thread = None
                    break
            began = time.monotonic()
            try:
                look = watch.look()
                if look.log_moved or began - asked >= SESSIONS_S:
                    over, asked = self._ended(), began
                else:
                    over = set()
                is_due = bool(look.changed) or look.monitor is not None and began - proof >= PROOF_S
                if over or is_due or not all(one.greeted for one in list(self.sockets)):
                    proof = began if is_due else proof
                    frame = self._frame(look.changed, look.monitor) if is_due else None
                    greeting = self._frame(EVERY, look.monitor)
                    self.worker.method_queue.defer(self.deliver, frame, greeting, over)
            except Exception:
                if began - said > 60:
                    said = began
                    log.exception("the look for live pages failed; they ask by themselves after 25 s")
            time.sleep(max(began + LOOK_S - time.monotonic(), 0.1))
        watch.close()

    def _ended(self):
        """The ids of sessions that are over; none while the database does not answer."""
        from app.controllers.live_socket import ended
        from app.ledger.dialect import database_errors

        sessions = {one.session for one in list(self.sockets)}
        try:
            return ended(self.worker.wsgi, sessions)
        except database_errors():
            return set()

    def _frame(self, changed, monitor):
        """A text frame for every socket. Pages spread what they ask over `spread_ms`."""
        from app.support.clock import iso, now_ms

        told = {"changed": sorted(changed), "at": iso(now_ms()), "monitor": monitor,
                "spread_ms": len(self.sockets) * 1000 // REFETCHES}
        return bytes(Connection(SERVER).send(TextMessage(json.dumps(told, separators=(",", ":")))))
