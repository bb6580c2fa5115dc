"""A threaded worker for gunicorn in which slow connections wait in the poller and take no thread.

accept -> the poller collects the head and a small body -> a thread answers -> the poller sends the rest of the answer,
reads what the client still sends, and keeps or closes the connection; a WebSocket goes to the hub (sockets.py)

gunicorn 27 reads head and body in the thread without a time limit, so eight slow connections stopped a site of eight
threads. It also waits up to 2 s in its only loop for each client to close. Here a thread waits only for the body of a
large request and for the reader of a large answer, and both must keep a minimum rate (paced.py).
"""

import contextlib
import re
import selectors
import socket
import time
from functools import partial

from gunicorn import http, util
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.workers.gthread import ThreadWorker

from deploy import paced
from deploy.paced import PIECE, Paced, later
from deploy.sockets import Hub

HEAD_S = 15.0  # from the first byte (or the connection) to the end of the head and of a small body
HEAD_BYTES, SMALL_BYTES = 64 * 1024, 64 * 1024
LINGER_S, LINGER_BYTES = 2.0, 300 * 2**20  # a browser shows an answer only after all that it sends was read
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*([0-9]{0,15})[ \t]*\r\n", re.IGNORECASE)
EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)


class PatientWorker(ThreadWorker):
    """A worker whose connections are in the poller (pending, kept alive, sending, lingering), in a thread, or closed.
    It overrides methods of gunicorn's ThreadWorker; `conn` is its connection object, `fs` the future of a thread."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.sending, self.lingering, self.hub = [], [], Hub(self)

    def init_process(self):
        """Replace gunicorn's answer to requests that no application sees, such as a bad head; then start the worker."""
        util.write_error = self.write_error
        super().init_process()

    # ---- a request arrives ----

    def enqueue_req(self, conn):
        """Pass the next request of a connection to a thread when it has arrived, else to the poller."""
        if conn.parser is None:
            conn.sock = Paced(fileno=conn.sock.detach())
            conn.sock.hub = self.hub
            conn.parser, conn.initialized = http.get_parser(self.cfg, conn.sock, conn.client), True
        conn.sock.setblocking(False)
        conn.head, conn.searched, conn.asked = bytearray(conn.parser.unreader.take_buffered()), 0, False
        conn.timeout = time.monotonic() + HEAD_S
        self.pending_conns.append(conn)
        if self.alive:
            self.make_room()
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))
        self.on_pending_socket_readable(conn, conn.sock)

    def on_pending_socket_readable(self, conn, client):
        """Read what has arrived of a request, and pass it to a thread when that is enough."""
        try:
            piece = conn.sock.recv(PIECE)
        except BlockingIOError:
            piece = None
        except OSError:
            piece = b""
        conn.head += piece or b""
        state = self.arrived(conn)
        if state == "whole":
            self.unpark(conn)
            conn.parser.unreader.unread(bytes(conn.head))
            conn.head = b""
            conn.sock.start()
            super().enqueue_req(conn)
        elif state == "too long":
            self.unpark(conn)
            self.handle_error(None, conn.sock, conn.client, LimitRequestHeaders("the head of the request is too long"))
            self.linger(conn)
        elif piece == b"":
            self.unpark(conn)
            self.drop(conn)

    def arrived(self, conn) -> str:
        """"whole" when the head and a small body have arrived; "partial"; or "too long" for a head over 64 KB."""
        end = conn.head.find(b"\r\n\r\n", max(conn.searched - 3, 0))
        if end < 0:
            conn.searched = len(conn.head)
            return "too long" if len(conn.head) > HEAD_BYTES else "partial"
        conn.searched = end
        found = LENGTH.search(conn.head, 0, end + 2)
        length = int(found[1] or 0) if found else 0
        if length > SMALL_BYTES or len(conn.head) - end - 4 >= length:
            return "whole"
        if not conn.asked and EXPECT.search(conn.head, 0, end + 2):
            conn.asked = True
            with contextlib.suppress(OSError):
                conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return "partial"

    def unpark(self, conn):
        """Take a pending connection out of the poller."""
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)

    def drop(self, conn):
        """Close a connection that is no longer in the poller."""
        self.nr_conns -= 1
        if isinstance(conn.sock, Paced):
            conn.sock.forget()
        conn.close()

    def make_room(self):
        """Close connections while all places are taken: first the oldest lingering or sending one, then the oldest
        pending one, then the oldest that is kept alive."""
        while self.nr_conns >= self.worker_connections - 1:
            if self.lingering or self.sending:
                self.end(self.lingering or self.sending)
            elif len(self.pending_conns) > 1:
                conn = self.pending_conns[0]
                self.unpark(conn)
                self.drop(conn)
            elif self.keepalived_conns:
                conn = self.keepalived_conns.popleft()
                self.poller.unregister(conn.sock)
                self.drop(conn)
            else:
                return

    # ---- a request is answered ----

    def _keepalive_after(self, conn, keepalive):
        """Whether to keep the connection: only when the whole body was read or has arrived, so that nothing blocks."""
        if not keepalive:
            return False
        reader = conn.parser.mesg.body.reader
        chunks_left, bytes_left = getattr(reader, "parser", None) is not None, getattr(reader, "length", 0)
        if chunks_left or bytes_left > len(conn.parser.unreader.buf.getvalue()):
            return False
        return bool(conn.parser.finish_body(deadline=time.monotonic() + 1))

    def finish_request(self, conn, fs):
        """After the thread: send the rest of the answer, keep the connection, or linger before closing it."""
        try:
            result = not fs.cancelled() and fs.result()
        except Exception:
            result = False
        if conn.sock.left:
            self.wait_in(self.sending, conn, selectors.EVENT_WRITE, partial(self.on_writable, conn, fs))
        elif result and conn.sock.live:
            self.hub.add(conn)
        elif result:
            super().finish_request(conn, fs)
        else:
            self.linger(conn)

    def on_writable(self, conn, fs, client):
        """Send more of an answer; when all is sent, finish the request."""
        try:
            conn.sock.flush()
        except OSError:
            conn.sock.forget()
            self.end(self.sending, conn)
            return
        conn.timeout = conn.sock.write_until
        if not conn.sock.left:
            self.sending.remove(conn)
            self.poller.unregister(conn.sock)
            self.finish_request(conn, fs)

    def wait_in(self, place, conn, event, callback):
        """Put a connection into the poller and into the list `place` (sending or lingering)."""
        try:
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, event, callback)
        except (OSError, KeyError, ValueError):
            self.drop(conn)
        else:
            conn.timeout = time.monotonic() + (paced.PACE_S if place is self.sending else LINGER_S)
            place.append(conn)

    def end(self, place, conn=None):
        """Close a connection of a list; without `conn` the first one."""
        conn = conn or place[0]
        place.remove(conn)
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.drop(conn)

    def linger(self, conn):
        """Shut down the sending side and read in the poller what the client still sends. Closing with unread bytes
        resets the connection, and then the browser never shows the answer."""
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
        conn.linger_bytes = LINGER_BYTES
        conn.sock.start()
        self.wait_in(self.lingering, conn, selectors.EVENT_READ, partial(self.on_lingering_readable, conn))

    def on_lingering_readable(self, conn, client):
        """Read and drop what the client sends; close at its end, after 300 MB or when it is too slow."""
        try:
            piece = conn.sock.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        conn.linger_bytes -= len(piece)
        conn.sock.read_until = later(conn.sock.read_until, len(piece))
        conn.timeout = min(time.monotonic() + LINGER_S, conn.sock.read_until)
        if not piece or conn.linger_bytes <= 0:
            self.end(self.lingering, conn)

    def murder_pending(self):
        """Close connections past their deadline, in each round of the loop; an incomplete request gets a 408. The hub
        has its round too."""
        now = time.monotonic()
        for conn in [c for c in self.pending_conns if c.timeout <= now or not (self.alive or c.head)]:
            self.unpark(conn)
            if conn.head:
                self.write_error(conn.sock, 408, "Request Timeout", "The request did not arrive in time.")
            self.drop(conn)
        for place in (self.sending, self.lingering):
            for conn in [c for c in place if c.timeout <= now or (place is self.lingering and not self.alive)]:
                self.end(place, conn)
        self.hub.round()

    # ---- errors that no application sees ----

    def write_error(self, sock, status, reason, message):
        """Send a short answer with the site's security headers, without blocking."""
        from app.controllers.security import HEADERS  # imported here, so that the master never loads the site

        body = f"{status} {reason}\n".encode()
        lines = [f"HTTP/1.1 {status} {reason}", "Connection: close", "Content-Type: text/plain; charset=utf-8",
                 f"Content-Length: {len(body)}", "Cache-Control: no-store",
                 *(f"{name}: {value}" for name, value in HEADERS.items())]
        with contextlib.suppress(OSError):
            sock.setblocking(False)
            sock.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
