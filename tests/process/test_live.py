"""The WebSocket of the pages on the real gunicorn: who gets one, what it says, and clients that mean no good."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import struct
import time
from urllib.parse import urlencode

import pytest

from app.services.people import accounts
from tests.conftest import PASSWORD, token_in
from tests.process.sockets import Client, shake
from tests.process.test_postgres import on_postgres  # noqa: F401  (a fixture)
from tests.process.test_slow import Web


@pytest.fixture
def site(product):
    return begin(product)


def begin(product) -> Web:
    """The web; `.cookie` is that of a signed-in person."""
    with product.app.app_context():
        accounts.create_user("ada@example.org", "super-admin", PASSWORD)
    web = Web(product)
    web.product, web.cookie = product, web.sign_in()["Cookie"]
    return web


def test_a_handshake_needs_session_origin_version_and_key(site):
    own = f"http://127.0.0.1:{site.port}"
    for status, given in ((101, {"Origin": own}), (101, {}), (401, {"cookie": None}), (401, {"cookie": "session=x"}), (403, {"Origin": "http://evil.example"}),
                          (403, {"Origin": f"https://127.0.0.1:{site.port + 1}"}), (403, {"Origin": "null"}), (403, {"Sec_Fetch_Site": "cross-site"}),
                          (426, {"Sec_WebSocket_Version": "8"}), (426, {"Sec_WebSocket_Version": None}), (426, {"Upgrade": "h2c"}), (426, {"Upgrade": None}), (426, {"Connection": "close"}),
                          (400, {"Sec_WebSocket_Key": None}), (400, {"Sec_WebSocket_Key": "abc"}), (400, {"Sec_WebSocket_Key": "é" * 24})):
        connection, found, head = shake(site.port, **{"cookie": site.cookie} | given)
        with connection:
            assert found == status, (given, head)
            if status == 426 and "Sec_WebSocket_Version" in given:
                assert b"Sec-WebSocket-Version: 13\r\n" in head
            assert status == 101 or b'"error"' in head, head
    assert site.get("/admin/jobs/live", {"Cookie": site.cookie})[0] == 426


@pytest.mark.parametrize("kind", ["product", "on_postgres"])
def test_sixty_sockets_take_no_thread_hear_of_a_change_and_are_told_of_the_stop(kind, request):
    site = begin(request.getfixturevalue(kind))
    clients = [Client(site.port, site.cookie) for _ in range(60)]
    for one in clients:
        one.until(lambda one: one.told)
        assert {"cards", "live_jobs", "head", "notices_feed"} <= set(one.told[0]["changed"]) and one.told[0]["spread_ms"] >= 0
    began = time.monotonic()
    for _ in range(5):
        assert site.get("/admin/jobs/realtime-stats", {"Cookie": site.cookie})[0] == 200
    assert time.monotonic() - began < 5
    site.product.dispatch("TestNoop")
    assert max(one.next("live_jobs", 5) for one in clients) < 3, "on a loaded machine; half a second otherwise"
    assert clients[0].told[-1]["spread_ms"] == 3000, clients[0].told
    assert not any("charts" in message["changed"] for message in clients[0].told), "only what has changed"
    site.process.send_signal(signal.SIGTERM)
    assert [one.end() for one in clients] == [1001] * 60
    site.process.wait(10)


def test_who_signs_out_is_disabled_or_loses_the_role_loses_the_socket(site):
    people = [f"{name}@example.org" for name in ("bea", "cai", "dan")]
    with site.product.app.app_context():
        for name in people:
            accounts.create_user(name, "viewer", PASSWORD)
    cookies = [site.sign_in(name)["Cookie"] for name in people]
    others, ada = [Client(site.port, cookie) for cookie in cookies], Client(site.port, site.cookie)
    for one in (ada, *others):
        one.until(lambda one: one.told)
    with site.product.app.app_context():
        accounts.set_role("cai@example.org", "user")
        accounts.disable("dan@example.org")
    _, page, headers = site.get("/logout", {"Cookie": cookies[0]})
    cookies[0] = headers["Set-Cookie"].split(";")[0]
    body = urlencode({"csrf_token": token_in(page)})
    client = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
    client.request("POST", "/logout", body, {"Cookie": cookies[0], "Content-Type": "application/x-www-form-urlencoded"})
    assert client.getresponse().status == 303
    assert [one.end(5) for one in others] == [4401] * 3
    assert [shake(site.port, cookie)[1] for cookie in cookies] == [401] * 3
    ada.next("jobs_table")


def frame(opcode: int, payload: bytes = b"", length: int | None = None, masked: bool = True, last: bool = True) -> bytes:
    """A frame of a client; `length` is what its head claims."""
    size = len(payload) if length is None else length
    head = bytes([opcode | 128 * last])
    head += bytes([size | 128 * masked]) if size < 126 else bytes([126 | 128 * masked]) + struct.pack("!H", size) if size < 2**16 else bytes([127 | 128 * masked]) + struct.pack("!Q", size)
    return head + b"\0\0\0\0" * masked + payload


REFUSED = {  # what a client sends, and the code of the close frame that it gets
    "no frame": (b"GET / HTTP/1.1\r\n\r\n", 1002), "unmasked": (frame(1, b"x", masked=False), 1002), "reserved bits": (b"\xf1\x80\0\0\0\0", 1002),
    "a long ping": (frame(9, b"x" * 126), 1002), "a continuation of nothing": (frame(0, b"x"), 1002), "bad text": (frame(1, b"\xff\xfe"), 1007),
    "a flood": (frame(1, b"x" * 3000) * 2, 1008), "a huge frame": (frame(2, b"x" * 5000, 2**40), 1008), "many pings": (frame(9, b"x" * 100) * 50, 1008),
    "a close without a code": (frame(8), 1005), "a close": (frame(8, b"\x03\xe8"), 1000), "a bad close": (frame(8, b"\0"), 1002),
}


def test_rubbish_ends_its_own_socket_only(site):
    good = Client(site.port, site.cookie)
    half, byte = Client(site.port, site.cookie), Client(site.port, site.cookie)
    half.connection.sendall(frame(1, b"x" * 10, 2**40))
    for piece in frame(1, b"he", last=False) + frame(9, b"in between") + frame(0, b"llo"):
        byte.connection.sendall(bytes([piece]))
    for name, (data, code) in REFUSED.items():
        one = Client(site.port, site.cookie)
        with contextlib.suppress(OSError):
            one.connection.sendall(data)
        assert one.end(10) == code, name
    gone = [shake(site.port, site.cookie)[0] for _ in range(20)]
    for number, connection in enumerate(gone):
        if number % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    early = shake(site.port, site.cookie, extra=frame(9, b"early"))
    assert early[1] == 101
    site.product.dispatch("TestNoop")
    for one in (good, half, byte):
        one.next("live_jobs")
    assert site.get("/healthz")[0] == 200 and "Traceback" not in site.product.tail()


def test_a_client_that_does_not_answer_or_read_is_dropped_and_places_are_counted(product):
    with product.app.app_context():
        accounts.create_user("ada@example.org", "super-admin", PASSWORD)
    web = Web(product, SILENT_S=4, PING_S=0.5, PROOF_S=0.2, MOST=3)
    cookie = web.sign_in()["Cookie"]
    silent, *_rest = shake(web.port, cookie)
    good = [Client(web.port, cookie) for _ in range(2)]
    for one in good:
        one.until(lambda one: one.told)  # a place is taken a moment after the 101 has gone out
    refused = shake(web.port, cookie)
    assert refused[1] == 503 and b"Retry-After: " in refused[2] and b'"error"' in refused[2]
    began = time.monotonic()
    while shake(web.port, cookie)[1] == 503:
        assert time.monotonic() - began < 20
        for one in good:  # they answer pings, and so they stay
            one.told.clear()
            one.until(lambda one: one.told)
    silent.settimeout(10)
    with contextlib.suppress(ConnectionResetError):
        while silent.recv(4096):
            pass
    assert all(one.code is None for one in good)


def test_a_person_who_opens_many_at_once_gets_no_more_than_the_places_of_one(product):
    with product.app.app_context():
        accounts.create_user("ada@example.org", "super-admin", PASSWORD)
    web = Web(product, MOST_EACH=2)
    cookie = web.sign_in()["Cookie"]
    clients = []
    for _ in range(8):
        with contextlib.suppress(AssertionError):  # 503
            clients.append(Client(web.port, cookie))
    for one in clients:
        one.until(lambda one: one.told or one.code)
    codes = [one.code for one in clients]
    assert codes.count(None) == 2 and set(codes) <= {None, 1013}, codes
    assert shake(web.port, cookie)[1] == 503
