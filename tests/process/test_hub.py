"""The sockets of a worker without gunicorn: handshakes that pass at the same moment, and clients that do not read."""

from __future__ import annotations

import selectors
import socket
from types import SimpleNamespace

import pytest
from wsproto.connection import CLIENT, Connection
from wsproto.events import CloseConnection, Ping, Pong

from deploy import sockets


class Marked(socket.socket):
    """A connection that a handshake has marked; `live` is its session and person."""


class Site:
    """A hub that is asked for nothing but what a test asks. `ended` are the connections that it gave back."""

    def __init__(self) -> None:
        self.open, self.ended = [], []
        self.door = self.keep(socket.create_server(("127.0.0.1", 0)))
        self.hub = sockets.Hub(SimpleNamespace(poller=selectors.DefaultSelector(), alive=True, drop=self.ended.append, linger=self.ended.append))
        self.hub.thread = "not started"

    def keep(self, found: socket.socket) -> socket.socket:
        self.open.append(found)
        return found

    def come(self, person: int, early: bytes = b"") -> socket.socket:
        """The client of a handshake that was answered with 101; `early` came with it."""
        client = self.keep(socket.create_connection(self.door.getsockname(), timeout=5))
        mine = self.keep(Marked(fileno=self.door.accept()[0].detach()))
        mine.live = len(self.open), person
        self.hub.add(SimpleNamespace(sock=mine, parser=SimpleNamespace(unreader=SimpleNamespace(take_buffered=lambda: early))))
        return client


@pytest.fixture
def site():
    found = Site()
    yield found
    for one in found.open:
        one.close()
    found.hub.worker.poller.close()


def told(client: socket.socket) -> list:
    protocol = Connection(CLIENT)
    protocol.receive_data(client.recv(4096))
    return list(protocol.events())


@pytest.mark.parametrize(("limit", "people"), [("MOST", (1, 2, 3)), ("MOST_EACH", (1, 1, 2, 1))])
def test_of_handshakes_at_the_same_moment_the_last_gets_no_place(site, monkeypatch, limit, people):
    monkeypatch.setattr(sockets, limit, 2)
    assert all(site.hub.has_room(person) for person in people), "each was asked before another was there"
    *good, late = [site.come(person) for person in people]
    assert [type(event) for event in told(late)] == [CloseConnection] and len(site.ended) == 1
    assert len(site.hub.sockets) == len(good) and not site.hub.has_room(people[-1])


def test_the_code_says_that_a_place_may_be_free_later(site, monkeypatch):
    monkeypatch.setattr(sockets, "MOST", 0)
    assert told(site.come(1))[0].code == 1013
    site.hub.worker.alive = False
    assert told(site.come(1))[0].code == 1001, "at a stop nobody is sent to try later"


def test_what_came_with_the_handshake_is_answered(site):
    client = site.come(1, Connection(CLIENT).send(Ping(b"early")))
    (answer,) = told(client)
    assert isinstance(answer, Pong) and bytes(answer.payload) == b"early"


def test_a_client_that_took_a_part_of_a_frame_is_dropped(site):
    """The rest of it would come in the middle of the next frame."""
    site.come(1)
    (one,) = site.hub.sockets
    site.hub.send(one, b"x" * 50_000_000)
    assert not site.hub.sockets and site.ended == [one.conn]


def test_each_frame_of_a_session_that_is_over_is_the_end(site):
    ended, stays = site.come(1), site.come(2)
    greeting, frame = site.hub._frame({"all"}, None), site.hub._frame({"head"}, None)
    site.hub.deliver(frame, greeting, {site.hub.sockets[0].session})
    site.hub.deliver(None, greeting, set())
    site.hub.deliver(frame, greeting, set())
    assert told(ended)[0].code == 4401
    assert stays.recv(4096) == greeting + frame, "the first names all parts, and none is sent when nothing changed"
