"""The client of tenants' services against servers on 127.0.0.1 that misbehave, with injected resolvers and certificates of our own."""

from __future__ import annotations

import contextlib
import datetime
import errno
import gzip
import ipaddress
import socket
import ssl
import struct
import threading
import time
import zlib

import pytest

from app.integrations import outside as module, request_errors
from app.integrations.answer import Answer
from app.integrations.outside import Outside
from app.integrations.resolve import PrivateHost, UnknownHost, addresses, ascii_host, is_public
from app.integrations.service_errors import ItemRefused, Refused, ServiceError, Unavailable, retry_after
from app.integrations.site_urls import redirected, shown

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Site:
    """Answers each request by `act(client, n)` (bytes, or a function that writes to the socket); `got` has the requests as they came."""

    def __init__(self, act=OK, context: ssl.SSLContext | None = None, keep: bool = True) -> None:
        self.act, self.context, self.keep = act, context, keep
        self.got: list[bytes] = []
        self.opened, self.over, self.names = 0, threading.Event(), []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        if context:
            context.sni_callback = lambda _s, name, _c: self.names.append(name)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                self.opened += 1
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
            while (request := self._read(client)) is not None:
                self.got.append(request)
                act = self.act(client, len(self.got)) if callable(self.act) else self.act
                if act is None:
                    return
                client.sendall(act)
                if not self.keep:
                    return

    def _read(self, client) -> bytes | None:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = client.recv(65536)
            if not piece:
                return None
            data += piece
        head, body = data.split(b"\r\n\r\n", 1)
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
        while len(body) < length:
            body += client.recv(65536)
        return head + b"\r\n\r\n" + body

    def header(self, name: str, n: int = -1) -> str | None:
        for line in self.got[n].split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n"):
            if line.lower().startswith(f"{name.lower()}: "):
                return line.partition(": ")[2]
        return None


@pytest.fixture
def site():
    sites = []

    def make(*given, **more) -> Site:
        sites.append(Site(*given, **more))
        return sites[-1]

    yield make
    for one in sites:
        one.over.set()
        one.socket.close()


def to(site: Site, path: str = "", **more) -> Outside:
    return Outside(f"http://127.0.0.1:{site.port}{path}", private=True, **more)


def fails(outside: Outside, method: str = "GET", url: str = "x", **what) -> ServiceError:
    with outside, pytest.raises(ServiceError) as caught:
        outside.request(method, url, **what)
    return caught.value


def resolver(*answers):
    """A name server that gives each of `answers` (lists of addresses) once, the last again and again; `.asked` counts."""

    def resolve(_host, port, **_):
        found = answers[min(resolve.asked, len(answers) - 1)]
        resolve.asked += 1
        return [(socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in found]

    resolve.asked = 0
    return resolve


# ---- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [
    "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.31.255.255", "192.168.0.1", "169.254.169.254", "100.64.0.1", "100.127.255.254", "192.0.0.192",
    "192.88.99.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "::", "::1", "::127.0.0.1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "64:ff9b::7f00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "100::1", "x", ""])
def test_addresses_of_internal_networks_are_told_in_every_form(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(address)


@pytest.mark.parametrize("host", [
    "127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]",
    "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "localhost.", "LOCALHOST"])
def test_every_spelling_of_this_machine_is_refused_and_nothing_is_sent(site, host):
    here = site()
    error = fails(Outside(f"https://{host}:{here.port}"))
    assert isinstance(error, Refused) and "internal network" in str(error) and not error.sent
    assert here.opened == 0


@pytest.mark.parametrize("found", [["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::1", "8.8.8.8"], ["8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "127.0.0.1"]])
def test_a_name_with_one_internal_address_among_public_ones_is_refused(found):
    with pytest.raises(PrivateHost):
        addresses("x", 443, False, resolver(found))
    assert isinstance(fails(Outside("https://blog.example", resolve=resolver(found))), Refused)


def test_a_name_is_resolved_once_so_dns_cannot_change_its_mind(site):
    here = site()
    resolve = resolver(["127.0.0.1"], ["127.0.0.9"])
    with Outside(f"http://blog.example:{here.port}", private=True, resolve=resolve) as outside:
        for _ in range(3):
            assert outside.request("GET", "a").body == b"ok"
        here.act = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
        for _ in range(3):
            assert outside.request("GET", "a").body == b"ok"
    assert resolve.asked == 1 and len(here.got) == 6 and here.header("host") == f"blog.example:{here.port}"


def test_public_first_and_private_later_never_reaches_the_private_address(site):
    """Rebinding: whatever the name server says after the check, the connection goes to an address that was checked."""
    here = site()
    resolve = resolver(["192.0.2.1"], ["127.0.0.1"])  # 192.0.2.1 (documentation) is allowed here, and nobody listens on it
    with Outside(f"http://blog.example:{here.port}", private=True, resolve=resolve, total_s=0.3) as outside:
        for _ in range(2):
            with pytest.raises(Unavailable):
                outside.request("GET", "a")
    assert resolve.asked == 1 and here.opened == 0


def test_the_next_address_is_tried_only_when_no_connection_came_about(site):
    here = site()
    with Outside(f"http://blog.example:{here.port}", private=True, resolve=resolver(["127.0.0.2", "127.0.0.1"])) as outside:
        assert outside.request("POST", "a", json={}).body == b"ok"
        assert outside._client._transport.addresses == ["127.0.0.1"]
    here.act = lambda *_: None  # cut
    error = fails(Outside(f"http://blog.example:{here.port}", private=True, resolve=resolver(["127.0.0.1", "127.0.0.3"])), "POST")
    assert isinstance(error, Unavailable) and error.sent and len(here.got) == 2


def test_a_name_server_that_does_not_answer_does_not_hold_the_request():
    over, began = threading.Event(), time.monotonic()
    error = fails(Outside("https://blog.example", resolve=lambda *_, **__: over.wait(30) and [], total_s=0.2))
    over.set()
    assert time.monotonic() - began < 10 and isinstance(error, Unavailable) and not error.sent and "name server" in str(error)
    with pytest.raises(UnknownHost):
        addresses("x", 1, True, resolver([]))
    assert "not known" in str(fails(Outside("https://no-such-name.invalid")))


@pytest.mark.parametrize("url", ["https://[::1", "https://", "https://a b.example", "https://x:99999999", "https://" + "a" * 300 + ".example", "https://a..\u00e9", "ftp://x.example", "x"])
def test_what_is_no_address_is_refused_in_a_sentence(url):
    assert isinstance(fails(Outside(url, private=True, resolve=resolver(["127.0.0.1"]))), Refused | Unavailable)


def test_http_is_refused_unless_private_hosts_are_allowed(site):
    here = site()
    assert "https://" in str(fails(Outside(f"http://127.0.0.1:{here.port}", "ada", "secret"))) and not here.got


def test_names_with_letters_beyond_ascii_go_as_idna_2008(site):
    assert ascii_host("Caff\u00c8.example") == "xn--caff-8oa.example" and ascii_host("stra\u00dfe.example") == "xn--strae-oqa.example"
    here = site()
    with Outside(f"http://caff\u00e8.example:{here.port}", private=True, resolve=resolver(["127.0.0.1"])) as outside:
        assert outside.request("GET", "\u00fc?q=\u00e9").status == 200
    assert here.header("host") == f"xn--caff-8oa.example:{here.port}" and here.got[0].startswith(b"GET /%C3%BC?q=%C3%A9 ")


def test_other_hosts_and_passwords_in_addresses_get_nothing(site):
    here, there = site(), site()
    for url in (f"http://localhost:{there.port}/x", f"http://u:p@127.0.0.1:{there.port}/", "https://evil.example/", "//evil.example"):
        with Outside(f"http://127.0.0.1:{here.port}", "ada", "secret", private=True) as outside, contextlib.suppress(Refused):
            assert outside.request("GET", url).url.startswith(f"http://127.0.0.1:{here.port}/")
    assert not there.got


# ---- what is sent ----------------------------------------------------------------------------------------------------


def test_user_and_secret_go_as_basic_auth_and_nothing_of_this_machine(site, monkeypatch, tmp_path):
    here = site(OK.replace(b"OK\r\n", b"OK\r\nSet-Cookie: session=1; Path=/\r\n"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login evil password evil")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for user, secret, sent in (("ada", "x y\u00e9", "Basic YWRhOnggecOp"), ("KEY", "", "Basic S0VZOg=="), ("", "", None)):
        with to(here, "/wp", user=user, secret=secret) as outside:
            outside.request("GET", "a/b", params={"q": "1&2"})
            assert here.header("authorization") == sent and here.got[-1].startswith(b"GET /wp/a/b?q=1%262 ")
            outside.request("GET", "a", auth=False)
            assert here.header("authorization") is None and here.header("cookie") is None
    assert here.header("accept-encoding") == "identity" and here.header("user-agent") == module.AGENT


@pytest.mark.parametrize("user, secret", [("a\r\nX-Evil: 1", "s"), ("ada", "s\r\nX-Evil: 1\r\n\r\nGET / HTTP/1.1"), ("ada\0", "s")])
def test_a_header_cannot_be_injected_by_user_or_secret(site, user, secret):
    here = site()
    with to(here, user=user, secret=secret) as outside, contextlib.suppress(ServiceError):
        outside.request("GET", "x")
    assert all(b"X-Evil" not in request for request in here.got) and len(here.got) <= 1


@pytest.mark.parametrize("what", [{"headers": {"X-A": "1\r\nX-Evil: 1"}}, {"json": {"a": "\ud800"}}, {"json": {1, 2}}, {"headers": {"X-A": "\u20ac"}}, {"params": {"a": "\ud800"}}])
def test_what_http_cannot_carry_is_refused_for_the_item_alone(site, what):
    here = site()
    assert isinstance(fails(to(here), "POST", **what), ItemRefused)
    assert not any(b"X-Evil" in request for request in here.got)


# ---- answers that misbehave ------------------------------------------------------------------------------------------


def drip(site_over, head: bytes, piece: bytes):
    def act(client, _n):
        client.sendall(head)
        while not site_over.wait(0.02):
            client.sendall(piece)

    return act


@pytest.mark.parametrize("head, piece", [
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n"), (b"HTTP/1.1 200 OK\r\nX-A: ", b"a"), (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"a"),
    (b"HTTP/1.1 200 OK\r\n\r\n", b"a"), (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n")], ids=["100", "headers", "body", "endless", "chunks"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_answer_that_drips_ends_at_the_deadline(site, head, piece, method):
    here = site()
    here.act = drip(here.over, head, piece)
    began = time.monotonic()
    error = fails(to(here, total_s=0.4), method)
    assert isinstance(error, Unavailable) and error.sent and "within 0.4 s" in str(error) and time.monotonic() - began < 5
    assert len(here.got) == 1


def test_silence_ends_at_the_read_timeout_and_a_server_that_reads_nothing_at_the_deadline(site):
    here = site(lambda _client, _n: here.over.wait(30) and None)
    error = fails(to(here, read_s=0.2))
    assert isinstance(error, Unavailable) and error.sent and "within 0.2 s" in str(error)
    deaf = socket.create_server(("127.0.0.1", 0))  # accepts in the kernel, never reads
    began = time.monotonic()
    error = fails(Outside(f"http://127.0.0.1:{deaf.getsockname()[1]}", private=True, total_s=0.4), "POST", content=b"x" * (64 << 20))
    assert isinstance(error, Unavailable) and error.sent and time.monotonic() - began < 5
    error = fails(Outside(f"https://127.0.0.1:{deaf.getsockname()[1]}", private=True, total_s=0.4))
    deaf.close()
    assert isinstance(error, Unavailable) and not error.sent and time.monotonic() - began < 10


def test_several_addresses_that_do_not_answer_share_the_deadline():
    """A full queue of connections: the kernel drops what comes. Each address alone would take the time of the whole."""
    full = socket.socket()
    full.bind(("0.0.0.0", 0))
    full.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", full.getsockname()[1]))
    began = time.monotonic()
    error = fails(Outside(f"http://blog.example:{full.getsockname()[1]}", private=True, total_s=2, resolve=resolver(["127.0.0.1", "127.0.0.2", "127.0.0.3"])), "POST")
    took = time.monotonic() - began
    for one in (full, *waiting):
        one.close()
    assert isinstance(error, Unavailable) and not error.sent and took < 3.9


def test_all_requests_of_a_test_together_have_one_end(site):
    here = site(lambda _client, _n: time.sleep(0.15) or OK)
    with to(here, within_s=0.4) as outside, pytest.raises(Unavailable):
        for _ in range(10):
            outside.request("GET", "x")
    assert len(here.got) <= 4


def test_an_endless_body_is_cut_at_the_bound(site):
    def act(client, _n):
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not here.over.is_set():
            client.sendall(b"x" * 65536)

    here = site(act)
    error = fails(to(here), "POST", most_bytes=1 << 20)
    assert isinstance(error, Unavailable) and error.sent and "larger than 1 MB" in str(error)


def packed(body: bytes, coding: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s" % (coding.encode(), len(body), body)


def test_a_packed_answer_is_read_but_a_bomb_is_not_unpacked(site):
    here = site(packed(gzip.compress(b"hello"), "gzip"))
    with to(here) as outside:
        assert outside.request("GET", "x").body == b"hello"
        here.act = packed(zlib.compress(b"hello"), "deflate")
        assert outside.request("GET", "x").body == b"hello"
    import tracemalloc

    bomb = gzip.compress(b"\0" * (200 << 20), 9)
    here.act = packed(bomb, "gzip")
    tracemalloc.start()
    error = fails(to(here), most_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(error, Unavailable) and "larger" in str(error) and peak < 8 << 20
    for body, coding in ((gzip.compress(b"hello" * 100)[:-12], "gzip"), (b"no gzip", "gzip"), (b"x", "br"), (b"x", "zstd, gzip")):
        here.act = packed(body, coding)
        assert isinstance(fails(to(here)), Unavailable)


@pytest.mark.parametrize("answer", [
    b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"not http at all\r\n\r\n", b"HTTP/1.1 999999 X\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X-A: a\r\n" * 30_000 + b"\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", b"\x16\x03\x01\x02\x00"])
    # The client gives up at 100 KB of headers and one read of 64 KB more: 240 KB are too many in whatever pieces they come.
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_cut_or_broken_answer_is_unavailable_and_may_have_arrived(site, answer, method):
    here = site(lambda client, _n: client.sendall(answer))
    error = fails(to(here), method)
    assert type(error) is Unavailable and error.sent and len(here.got) == 1


def test_nobody_there(site):
    here = site()
    here.socket.shutdown(socket.SHUT_RDWR)
    here.socket.close()
    error = fails(to(here), "POST")
    assert isinstance(error, Unavailable) and not error.sent
    assert str(error) == "127.0.0.1 cannot be reached (nothing answers at this port)."


def test_the_usual_errors_of_the_network_are_told_in_words(site):
    here = site(lambda client, _n: client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)) or client.close())
    assert str(fails(to(here))) == "The connection to 127.0.0.1 broke off (it closes the connection)."
    for number, words in ((errno.EHOSTUNREACH, "no way"), (errno.ETIMEDOUT, "does not answer"), (errno.EPERM, "otherwise")):
        assert words in request_errors.words(OSError(number, "raw"), "otherwise")


def test_no_thread_is_left_when_a_request_has_ended(site):
    here = site()
    with to(here) as outside:
        outside.request("GET", "x")
        assert [t for t in threading.enumerate() if isinstance(t, threading.Timer)] == []


# ---- redirects -------------------------------------------------------------------------------------------------------


def moved(target: str, status: int = 302) -> bytes:
    return b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, target.encode("utf-8", "surrogateescape"))


def test_a_get_follows_to_the_same_host_with_its_password(site):
    here = site(lambda _c, n: moved("/other?a=1", 301) if n == 1 else OK)
    with to(here, user="ada", secret="secret") as outside:
        answer = outside.request("GET", "x", params={"q": "1"})
    assert answer == Answer(200, {"content-length": "2"}, b"ok", f"http://127.0.0.1:{here.port}/other?a=1")
    assert here.got[1].startswith(b"GET /other?a=1 ") and here.header("authorization")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_change_is_never_redirected(site, method, status):
    here = site(moved("/other", status))
    error = fails(to(here), method)
    assert isinstance(error, Refused) and "redirects to http://127.0.0.1" in str(error) and len(here.got) == 1


def test_other_hosts_ports_and_schemes_are_not_followed(site):
    here, there = site(), site()
    for target in (f"http://127.0.0.1:{there.port}/", f"http://localhost:{here.port}/", "http://evil.example/?token=1", "//evil.example/", "ftp://127.0.0.1/", "http://[::1", "javascript:x",
                   f"http://127.0.0.1:{here.port}@evil.example/", "http://127.0.0.1:99999999/", "http://" + "\u00e9" * 80 + "/", "http:///x", f"http://u:p@127.0.0.1:{here.port}/"):
        here.act = moved(target)
        error = fails(to(here, user="ada", secret="secret"))
        assert isinstance(error, Refused) and "token" not in str(error) and "u:p" not in str(error), target
    assert not there.got


def test_a_circle_of_redirects_ends(site):
    here = site(lambda _c, n: moved(f"/{n}"))
    assert "circle" in str(fails(to(here))) and len(here.got) == module.MOST_HOPS
    here.act = moved("")
    assert isinstance(fails(to(here)), Refused)
    here.act = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"
    with to(here) as outside:
        assert outside.request("GET", "x").status == 302


def test_the_hops_of_a_redirect_share_one_deadline(site):
    here = site(lambda _c, n: time.sleep(0.15) or moved(f"/{n}"))
    error = fails(to(here, total_s=0.35))
    assert isinstance(error, Unavailable) and len(here.got) <= 3


# ---- kept connections ------------------------------------------------------------------------------------------------


def test_a_connection_is_kept_between_requests(site):
    here = site()
    with to(here) as outside:
        for method in ("GET", "POST", "GET"):
            outside.request(method, "x")
    assert here.opened == 1 and len(here.got) == 3


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
def test_a_kept_connection_that_ends_with_the_next_request_loses_no_write_and_doubles_none(site, method):
    """The server takes the second request and hangs up without a word: it may or may not have done it."""
    here = site(lambda _c, n: None if n == 2 else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with to(here) as outside:
        outside.request("GET", "a")
        if method in module.SAFE:
            assert outside.request(method, "b").status == 200
            assert len(here.got) == 3 and here.opened == 2
        else:
            with pytest.raises(Unavailable) as caught:
                outside.request(method, "b", json={})
            assert caught.value.sent and len(here.got) == 2
            assert outside.request(method, "b", json={}).status == 200  # the caller decides, and gets a new connection


def test_a_connection_that_the_service_has_closed_is_not_used_for_a_write(site):
    here = site(keep=False)
    with to(here) as outside:
        for _ in range(3):
            assert outside.request("POST", "x", json={}).status == 200
            time.sleep(0.05)
    assert len(here.got) == here.opened == 3


def test_a_get_whose_new_connection_breaks_too_is_not_sent_for_ever(site):
    here = site(lambda _c, n: OK if n == 1 else None)
    with to(here) as outside:
        outside.request("GET", "a")
        with pytest.raises(Unavailable):
            outside.request("GET", "b")
    assert len(here.got) == 3


# ---- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """`make(name or address, ours=True)`: the server's TLS context; the file of the authority is `make.file`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name: str, key, issuer: str, signer, ca: bool, ends=datetime.timedelta(days=2)):
        try:
            alternative = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        named = lambda n: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)])  # noqa: E731
        return (x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(issuer)).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=9)).not_valid_after(now + ends)
                .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
                .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
                .sign(signer, hashes.SHA256()))

    root_key = ec.generate_private_key(ec.SECP256R1())
    root = (x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])).public_key(root_key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=9)).not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(root_key, hashes.SHA256()))

    def make(name: str, ours: bool = True, **more) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = certificate(name, key, "test authority" if ours else name, root_key if ours else key, False, **more)
        file = folder / f"{name.replace(':', '_')}-{ours}-{len(more)}.pem"
        file.write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    make.file = folder / "authority.pem"
    make.file.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    return make


@pytest.fixture(autouse=True)
def trusts_anew():
    """A process reads the authorities once; these tests have other ones."""
    yield
    module._once.cache_clear()


def trust(authority, monkeypatch) -> None:
    module._once.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))


def test_tls_is_for_the_name_though_the_connection_goes_to_an_address(site, authority, monkeypatch):
    trust(authority, monkeypatch)
    here = site(context=authority("blog.example"))
    with Outside(f"https://blog.example:{here.port}", "ada", "secret", private=True, resolve=resolver(["127.0.0.1"])) as outside:
        assert outside.request("GET", "x").body == b"ok" and outside.request("POST", "x", json={}).body == b"ok"
    assert here.names == ["blog.example"] and here.header("host") == f"blog.example:{here.port}" and here.opened == 1


@pytest.mark.parametrize("name, more", [("blog.example", {"ours": False}), ("other.example", {}), ("127.0.0.1", {}), ("blog.example", {"ends": datetime.timedelta(days=-1)})],
                         ids=["self-signed", "wrong name", "only the address", "expired"])
def test_a_bad_certificate_is_refused_before_anything_is_sent(site, authority, monkeypatch, name, more):
    trust(authority, monkeypatch)
    here = site(context=authority(name, **more))
    error = fails(Outside(f"https://blog.example:{here.port}", "ada", "secret-4711", private=True, resolve=resolver(["127.0.0.1", "127.0.0.1"])))
    assert isinstance(error, Refused) and "certificate of blog.example" in str(error) and not error.sent and "4711" not in str(error)
    assert not here.got


def test_an_address_in_place_of_a_name_needs_a_certificate_for_it(site, authority, monkeypatch):
    trust(authority, monkeypatch)
    here = site(context=authority("127.0.0.1"))
    with Outside(f"https://127.0.0.1:{here.port}", private=True) as outside:
        assert outside.request("GET", "x").status == 200


def test_http_that_redirects_to_https_on_the_same_host_is_followed_by_a_get_alone():
    assert redirected("GET", "http://blog.example/x", "https://blog.example/x") == "https://blog.example/x"
    assert redirected("GET", "http://blog.example/x", "https://BLOG.example:443/x") == "https://BLOG.example:443/x"
    for method, old, new in (("GET", "https://blog.example/x", "http://blog.example/x"), ("POST", "http://blog.example/x", "https://blog.example/x")):
        with pytest.raises(Refused):
            redirected(method, old, new)


def test_a_server_without_tls_behind_https(site):
    here = site(b"HTTP/1.1 400 Bad\r\n\r\n")
    error = fails(Outside(f"https://127.0.0.1:{here.port}", private=True, total_s=0.5))
    assert isinstance(error, Unavailable) and not error.sent


# ---- texts -----------------------------------------------------------------------------------------------------------


def test_an_address_for_people_shows_no_password_and_no_query():
    assert shown("https://u:p@x.example/a?key=1#f") == "https://x.example/a"
    assert shown("https://[::1?key=1") == "https://[::1" and "p" not in shown("https://u:p@[")


def test_secrets_stand_in_no_repr():
    outside = Outside("https://x.example", "ada", "secret-4711")
    assert "4711" not in repr(outside)


@pytest.mark.parametrize("given, seconds", [("5", 5), ("0", 1), ("-3", 1), ("99999", 3600), ("nan", 20), ("inf", 20), ("", 20), ("x", 20),
                                            ("Thu, 01 Jan 1970 00:01:40 GMT", 100), ("Thu, 01 Jan 1970 00:01:40 -9999999", 20), ("1e3", 1000)])
def test_retry_after_is_read_within_bounds(given, seconds):
    assert retry_after({"retry-after": given}, 20, now=lambda: 0) == seconds
