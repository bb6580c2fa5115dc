"""gunicorn's threaded worker, made patient: a slow connection waits in the poller and costs no thread.

accept -> the poller collects head and small body -> a thread answers -> the poller sends what the client has not taken
yet, takes what it still sends, keeps the connection or closes it

gunicorn 27 reads head and body in the thread, without any time limit (eight dripping connections stopped a site of
eight threads), and waits in its only loop for each client to close (2 s). Here a thread waits for nothing but the body
of a large request and the reader of a large answer, and these must keep a pace (paced.py).
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

HEAD_S = 15.0  # from the first byte (or the connection) to the end of the head and of a small body
HEAD_BYTES, SMALL_BYTES = 64 * 1024, 64 * 1024
LINGER_S, LINGER_BYTES = 2.0, 300 * 2**20  # a browser shows an answer only when all that it sends was taken
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*([0-9]{0,15})[ \t]*\r\n", re.IGNORECASE)
EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)


class PatientWorker(ThreadWorker):
    """Connections are in one of three places: the poller (pending, kept alive, lingering), a thread, or closed."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.sending, self.lingering = [], []

    def init_process(self):
        util.write_error = self.write_error  # for what no application sees: a head that cannot be read
        super().init_process()

    # ---- a request arrives ----

    def enqueue_req(self, conn):
        """A new connection, or one whose next request begins: to a thread when all is here, else to the poller."""
        if conn.parser is None:
            conn.sock = Paced(fileno=conn.sock.detach())
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
        """"whole": a thread would not wait for the head, nor for the body if that is small; "partial"; "too long"."""
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
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)

    def drop(self, conn):
        self.nr_conns -= 1
        if isinstance(conn.sock, Paced):
            conn.sock.forget()
        conn.close()

    def make_room(self):
        """With all places taken, the one that has waited longest for its own client makes room."""
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
        """Only after a request whose body was read, or lies here already: nothing is waited for."""
        if not keepalive:
            return False
        reader = conn.parser.mesg.body.reader
        chunks_left, bytes_left = getattr(reader, "parser", None) is not None, getattr(reader, "length", 0)
        if chunks_left or bytes_left > len(conn.parser.unreader.buf.getvalue()):
            return False
        return bool(conn.parser.finish_body(deadline=time.monotonic() + 1))

    def finish_request(self, conn, fs):
        try:
            result = not fs.cancelled() and fs.result()
        except Exception:
            result = False
        if conn.sock.left:
            self.wait_in(self.sending, conn, selectors.EVENT_WRITE, partial(self.on_writable, conn, fs))
        elif result:
            super().finish_request(conn, fs)
        else:
            self.linger(conn)

    def on_writable(self, conn, fs, client):
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
        """Leave a connection to the poller, in one of the lists."""
        try:
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, event, callback)
        except (OSError, KeyError, ValueError):
            self.drop(conn)
        else:
            conn.timeout = time.monotonic() + (paced.PACE_S if place is self.sending else LINGER_S)
            place.append(conn)

    def end(self, place, conn=None):
        """Close a connection of one of the lists, the first unless named."""
        conn = conn or place[0]
        place.remove(conn)
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.drop(conn)

    def linger(self, conn):
        """Say that we are done and take what is still sent, in the poller: a close with unread bytes resets the
        connection and the browser never sees the answer."""
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
        conn.linger_bytes = LINGER_BYTES
        conn.sock.start()
        self.wait_in(self.lingering, conn, selectors.EVENT_READ, partial(self.on_lingering_readable, conn))

    def on_lingering_readable(self, conn, client):
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
        """Called each round: who has not sent a request in time is told so; who goes on sending is not waited for."""
        now = time.monotonic()
        for conn in [c for c in self.pending_conns if c.timeout <= now or not (self.alive or c.head)]:
            self.unpark(conn)
            if conn.head:
                self.write_error(conn.sock, 408, "Request Timeout", "The request did not arrive in time.")
            self.drop(conn)
        for place in (self.sending, self.lingering):
            for conn in [c for c in place if c.timeout <= now or (place is self.lingering and not self.alive)]:
                self.end(place, conn)

    # ---- errors that no application sees ----

    def write_error(self, sock, status, reason, message):
        from app.controllers.security import HEADERS  # here, so that the master never loads the site

        body = f"{status} {reason}\n".encode()
        lines = [f"HTTP/1.1 {status} {reason}", "Connection: close", "Content-Type: text/plain; charset=utf-8",
                 f"Content-Length: {len(body)}", "Cache-Control: no-store",
                 *(f"{name}: {value}" for name, value in HEADERS.items())]
        with contextlib.suppress(OSError):
            sock.setblocking(False)
            sock.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
