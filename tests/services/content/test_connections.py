"""Connections on both databases: what is accepted, who gets the secret, the breaker, the test, and new keys."""

from __future__ import annotations

import importlib.util
import json
import threading
from dataclasses import replace

import pytest

from app.config import ROOT
from app.extensions import db
from app.integrations.service_errors import Refused
from app.ledger.dialect import Connection, SessionExecutor
from app.models import Audit
from app.services.audit import ActionRefused
from app.services.content import (
    connection_check,
    connection_keys,
    connection_pages as pages,
    connection_sites,
    connection_views,
    connections as accounts,
)
from app.services.content.connection_values import Faults, parse_options, parse_secret, parse_url
from app.support.validation import ValidationError
from app.support.vault import Unreadable, Vault
from tests.integrations.test_outside import Site

SECRET = "sk-canary-4711-kept"
MODELS = json.dumps({"data": [{"id": "a"}, {"id": "b"}]}).encode()


def fake(service: str):
    spec = importlib.util.spec_from_file_location(f"fake_{service}", ROOT / "scripts" / f"fake-{service}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


class Desk:
    """What people do with connections of `acme`; `tx` is a connection of a worker."""

    def __init__(self, ledger) -> None:
        self.ledger, self.tx = ledger, ledger.connection
        self.settings = replace(ledger.app.extensions["settings"], allow_private_hosts=True)
        ledger.app.extensions["settings"] = self.settings

    def set(self, service: str = "openai", url: str = "", user: str = "", secret: str = SECRET, tenant: str = "acme", forget: bool = False, **options) -> int:
        with self.ledger.app.app_context():
            return pages.save(tenant, service, url, user, secret, options, "ada", self.settings, forget)[0]

    def account(self, service: str = "openai", tenant: str | None = "acme"):
        return accounts.account(self.tx, self.settings, tenant, service)

    def do(self, name: str, *given):
        with self.ledger.app.app_context():
            return getattr({"test": connection_check, "rekey": connection_keys}.get(name, pages), name)(*given)

    def test(self, number: int):
        return self.do("test", number, "ada", self.settings)

    def rows(self) -> list:
        with self.ledger.app.app_context():
            return connection_views.listing()

    def audited(self) -> list[tuple[str, str, str]]:
        with self.ledger.app.app_context():
            return [(a.action, a.subject, a.result) for a in db.session.scalars(db.select(Audit).order_by(Audit.id))]


@pytest.fixture
def desk(ledger):
    return Desk(ledger)


# ---- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, url", [
    (" https://Blog.Example.org/ ", "https://blog.example.org"), ("https://x.example:443/shop//", "https://x.example/shop"),
    ("https://x.example:8443", "https://x.example:8443"), ("https://caff\u00e8.example", "https://xn--caff-8oa.example"), ("https://[2606:4700::1]/a", "https://[2606:4700::1]/a")])
def test_an_address_is_stored_in_one_form(text, url):
    assert parse_url(text, "wordpress", private=False) == url


@pytest.mark.parametrize("text", [
    "", "x", "https://", "http://x.example", "ftp://x.example", "https://u:p@x.example", "https://u@x.example", "https://x.example?a=1", "https://x.example/#a",
    "https://x.example/?", "https://a b.example", "https://x.example/a\nb", "https://[::1", "https://x:99999", "https://x.example/\x00", "https://" + "a" * 2000,
    "//x.example", "https://x.example\\@evil.example", "https://\ud800.example", "javascript:alert(1)"])
def test_addresses_that_are_none_are_refused(text):
    with pytest.raises(ValidationError):
        parse_url(text, "wordpress", private=False)
    assert parse_url("", "openai", private=False) == "" and parse_url("http://x.example", "openai", private=True)


@pytest.mark.parametrize("text", ["", "short", "a\x00bcdefgh", "abcdefgh\tx", "abc\r\nX-Evil: 1", "x" * 4097, "p\u00e4ssw\u00f6rter", " abcdefgh", "abcdefgh ", "abcdefgh\n\n"])
def test_secrets_that_no_service_gives_are_refused_without_repeating_them(text):
    with pytest.raises(ValidationError) as caught:
        parse_secret(text)
    assert not text.strip() or text.strip() not in str(caught.value)
    assert parse_secret("abcd efgh\r\n") == parse_secret("abcd efgh\n") == "abcd efgh" and len(parse_secret("x" * 4096)) == 4096


def test_options_are_those_of_the_table():
    assert parse_options({"stock": "ours"}, "prestashop") == {"stock": "ours"} and parse_options({"stock": " ask "}, "prestashop") == {}
    assert parse_options({"project": "proj_1", "organization": ""}, "openai") == {"project": "proj_1"}
    for given, service in (({"stock": "mine"}, "prestashop"), ({"x": "1"}, "openai"), ({"project": "a b"}, "openai"), ({"project": "a\r\nX: 1"}, "openai")):
        with pytest.raises(ValidationError):
            parse_options(given, service)


def test_all_that_is_wrong_is_said_at_once_and_nothing_is_written(desk):
    with pytest.raises(Faults) as caught:
        desk.set("wordpress", "x", "a:b", "short", "a b", nonsense="1")
    assert set(caught.value.faults) == {"tenant", "url", "user", "secret", "options"}
    for given in ({"service": "nonsense"}, {"service": "prestashop", "url": "https://x.example", "user": "ada"}, {"secret": ""}, {"secret": "\n"}, {"tenant": ""}):
        with pytest.raises(Faults):
            desk.set(**given)
    assert desk.rows() == [] and desk.audited() == []


# ---- secrets ---------------------------------------------------------------------------------------------------------


def test_a_connection_is_kept_encrypted_and_shown_without_its_secret(desk):
    desk.set("wordpress", "https://blog.example/wp/", "ada", "abcd EFGH 4711\n")
    account = desk.account("wordpress")
    assert (account.url, account.user_name, account.secret, account.options) == ("https://blog.example/wp", "ada", "abcd EFGH 4711", {})
    assert "4711" not in repr(account) + repr(desk.rows()) + repr(desk.audited()) + repr(desk.tx.fetch_all("SELECT * FROM connections"))
    assert desk.account("openai") is desk.account("wordpress", "other") is desk.account("wordpress", None) is desk.account("wordpress", "") is None
    assert desk.audited() == [("set connection", "acme wordpress", "https://blog.example/wp, new secret")]


def test_the_secret_is_given_again_for_another_address_or_user(desk):
    """Whoever has stolen a session could else have it sent to a server of his own."""
    desk.set("wordpress", "https://blog.example", "ada")
    for url, user in (("https://evil.example", "ada"), ("https://blog.example", "eve"), ("https://blog.example/x", "ada"), ("https://blog.example:8443", "ada")):
        with pytest.raises(Faults) as caught:
            desk.set("wordpress", url, user, secret="")
        assert "again" in caught.value.faults["secret"]
    desk.set("wordpress", "https://blog.example", "ada", secret="", rest="api/")
    assert desk.account("wordpress").secret == SECRET and desk.account("wordpress").options == {"rest": "api/"}
    desk.set("wordpress", "https://evil.example", "eve", secret="another-4711")
    assert desk.account("wordpress").secret == "another-4711" and len(desk.rows()) == 1


def test_a_row_that_was_changed_by_hand_does_not_give_its_secret_away(desk):
    desk.set("wordpress", "https://blog.example", "ada")
    desk.set("wordpress", "https://other.example", "bob", tenant="other", secret="another-4711")
    for sql in ("UPDATE connections SET url = 'https://evil.example' WHERE tenant_id = 'acme'",
                "UPDATE connections SET secret = (SELECT secret FROM connections WHERE tenant_id = 'acme') WHERE tenant_id = 'other'"):
        desk.ledger.change(sql)
    for tenant in ("acme", "other"):
        with pytest.raises(Refused) as caught:
            desk.account("wordpress", tenant)
        assert "enter it again" in str(caught.value)
    desk.set("wordpress", "https://blog.example", "ada")
    assert desk.account("wordpress").secret == SECRET


def test_a_missing_or_wrong_key_is_a_sentence_for_jobs_tests_and_new_keys(desk):
    number = desk.set()
    for change in (lambda path: path.write_text("nonsense"), lambda path: path.unlink()):
        change(Vault(desk.settings.data_dir).path)
        with pytest.raises(Refused) as caught:
            desk.account()
        assert "key in DATA_DIR" in str(caught.value)
        assert desk.test(number) == (False, str(caught.value))
        with pytest.raises(ActionRefused) as caught:
            desk.do("rekey", "ada", desk.settings)
        assert "acme openai" in str(caught.value)
    desk.set()
    assert desk.account().secret == SECRET and desk.do("rekey", "ada", desk.settings) == 1


def test_changes_of_options_and_broken_json_in_a_row_do_no_harm(desk):
    desk.set()
    for stored in ("", "[]", "nonsense", "{", "null"):
        desk.ledger.change("UPDATE connections SET options = :o", o=stored)
        assert desk.account().options == {} and desk.rows()[0].options == {}


def test_a_key_that_changes_while_a_job_reads_its_account_is_found(desk):
    """The row is read, a rekey ends, then the file of the keys is read."""
    desk.set()

    class Late:
        def __init__(self, tx) -> None:
            self.tx, self.first = tx, True

        def fetch_all(self, *given, **params):
            rows = self.tx.fetch_all(*given, **params)
            if self.first:
                self.first = False
                desk.do("rekey", "ada", desk.settings)
            return rows

    assert accounts.account(Late(desk.tx), desk.settings, "acme", "openai").secret == SECRET


def test_a_secret_that_cannot_be_read_is_said_whatever_the_last_test_said(desk):
    desk.set()
    desk.ledger.change("UPDATE connections SET tested_ms = 1, test_ok = 1, test_text = 'fine'")
    assert desk.rows()[0].readable
    Vault(desk.settings.data_dir).path.unlink()
    assert not desk.rows()[0].readable


# ---- another site ----------------------------------------------------------------------------------------------------


def link(desk, number: int, service: str = "wordpress", tenant: str = "acme") -> None:
    desk.ledger.change("INSERT INTO sync_links (content_id, tenant_id, reference, service, state, remote_id, uuid, changed_ms)"
                       " VALUES (:n, :t, :r, :s, 'synced', '7', 'u', 1)", n=number, t=tenant, r=str(number), s=service)


def links(desk) -> list:
    return desk.tx.fetch_all("SELECT content_id FROM sync_links ORDER BY content_id")


@pytest.mark.parametrize("url, other", [
    ("http://www.blog.example/wp/", False), ("https://blog.example:443/wp", False), ("https://blog.example", True), ("https://blog.example/wp2", True),
    ("https://other.example/wp", True), ("https://blog.example:8443/wp", True)])
def test_another_host_port_or_path_is_another_site(url, other):
    assert (connection_sites.site("https://blog.example/wp") != connection_sites.site(url)) is other


def test_links_are_forgotten_when_the_address_becomes_that_of_another_site(desk, monkeypatch):
    """At another site the ids name other items, which a sync would overwrite."""
    monkeypatch.setattr(connection_sites, "STEP", 2)
    monkeypatch.setattr(connection_sites, "_FORGET", connection_sites._FORGET.replace("LIMIT 1000", "LIMIT 2"))
    desk.set("wordpress", "https://blog.example", "ada")
    for number in range(1, 6):
        link(desk, number)
    link(desk, 6, "prestashop")
    link(desk, 7, tenant="other")
    desk.set("wordpress", "https://www.blog.example/", "ada")
    with pytest.raises(Faults) as caught:
        desk.set("wordpress", "https://new.example", "ada")
    assert set(caught.value.faults) == {"forget"} and "https://www.blog.example: 5." in str(caught.value)
    assert len(links(desk)) == 7 and desk.rows()[0].url == "https://www.blog.example"
    desk.set("wordpress", "https://new.example", "ada", forget=True)
    assert links(desk) == [(6,), (7,)] and desk.rows()[0].url == "https://new.example"
    assert desk.audited()[-1][2] == "https://new.example, new secret, links forgotten: 5"
    desk.set("wordpress", "https://newer.example", "ada")


def test_links_outlive_a_removal_but_not_another_site(desk):
    number = desk.set("wordpress", "https://blog.example", "ada")
    link(desk, 1)
    desk.do("remove", number, "ada")
    with pytest.raises(Faults):
        desk.set("wordpress", "https://new.example", "ada")
    number = desk.set("wordpress", "https://blog.example/", "ada")
    assert links(desk) == [(1,)]
    desk.do("remove", number, "ada")
    desk.ledger.change("DELETE FROM meta")  # of which site they are is not known
    with pytest.raises(Faults):
        desk.set("wordpress", "https://blog.example", "ada")
    desk.set("wordpress", "https://new.example", "ada", forget=True)
    assert links(desk) == []


def test_the_site_does_not_change_under_a_job_that_runs(desk, ledger):
    """It has the old account and could write a link of the old site afterwards."""
    number = desk.set("wordpress", "https://blog.example", "ada")
    ledger.dispatch("ProcessWordPressSync", tenant_id="acme", args={"all": True})
    job = ledger.claim()
    for change in (lambda: None, lambda: desk.do("remove", number, "ada")):
        change()
        with pytest.raises(ActionRefused) as caught:
            desk.set("wordpress", "https://new.example", "ada", forget=True)
        assert "uses WordPress now" in str(caught.value)
    desk.set("wordpress", "https://blog.example", "ada")
    ledger.settle(job, "completed")
    desk.set("wordpress", "https://new.example", "ada")


def test_a_job_waits_for_a_change_of_the_address_under_way(desk, ledger):
    """Else it could begin with the old account between the look at the jobs that run and the commit."""
    desk.set("wordpress", "https://blog.example", "ada")
    found = []
    with ledger.app.app_context():
        tx = SessionExecutor(db.session)
        connection_views.find("acme", "wordpress", lock=True)
        reader = threading.Thread(target=lambda: found.append(accounts.account(
            Connection(desk.settings.database_url), desk.settings, "acme", "wordpress")))
        if not tx.sqlite:  # SQLite has one writer: the job's claim has waited before
            reader.start()
            reader.join(0.3)
            assert found == []
        db.session.rollback()
    if reader.ident:
        reader.join(10)
        assert found[0].url == "https://blog.example"


# ---- new keys --------------------------------------------------------------------------------------------------------


def test_all_secrets_get_a_new_key_and_the_old_one_is_forgotten(desk):
    for n in range(5):
        desk.set(tenant=f"t{n}", secret=f"secret-number-{n}")
    before, old = dict(desk.tx.fetch_all("SELECT tenant_id, secret FROM connections")), Vault(desk.settings.data_dir).lines()
    assert desk.do("rekey", "ada", desk.settings) == 5
    vault, after = Vault(desk.settings.data_dir), dict(desk.tx.fetch_all("SELECT tenant_id, secret FROM connections"))
    assert len(vault.lines()) == 1 and vault.lines() != old
    assert all(vault.reads(after[t]) and not vault.reads(before[t]) for t in before)
    assert [desk.account(tenant=f"t{n}").secret for n in range(5)] == [f"secret-number-{n}" for n in range(5)]
    assert desk.audited()[-1] == ("rekey connections", "connections", "5 secrets")


def test_killed_between_any_two_steps_nothing_is_lost(desk, monkeypatch):
    for n in range(3):
        desk.set(tenant=f"t{n}", secret=f"secret-number-{n}")
    keep, steps = Vault.keep, []

    class Killed(BaseException):
        pass

    def killed(vault, keys):
        steps.append(len(keys))
        if killed.before:
            raise Killed
        keep(vault, keys)
        raise Killed

    for before in (True, False):  # killed before the new key is written, then before the rows are
        killed.before = before
        monkeypatch.setattr(Vault, "keep", killed)
        with pytest.raises(Killed):
            desk.do("rekey", "ada", desk.settings)
        assert [desk.account(tenant=f"t{n}").secret for n in range(3)] == [f"secret-number-{n}" for n in range(3)]
    monkeypatch.setattr(Vault, "keep", lambda vault, keys: (_ for _ in ()).throw(Killed()) if len(keys) == 1 else keep(vault, keys))
    with pytest.raises(Killed):  # the rows are written, the old keys not yet dropped
        desk.do("rekey", "ada", desk.settings)
    assert len(Vault(desk.settings.data_dir).lines()) == 3
    monkeypatch.setattr(Vault, "keep", keep)
    assert desk.do("rekey", "ada", desk.settings) == 3 and len(Vault(desk.settings.data_dir).lines()) == 1
    assert [desk.account(tenant=f"t{n}").secret for n in range(3)] == [f"secret-number-{n}" for n in range(3)]


def test_secrets_set_and_keys_changed_by_many_at_once_are_all_readable(desk):
    desk.set(tenant="t0", secret="secret-number-0")
    errors: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for round_ in range(4):
                if n % 2:
                    desk.do("rekey", "ada", desk.settings)
                else:
                    desk.set(tenant=f"t{n}", secret=f"secret-number-{n}-{round_}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert desk.account(tenant="t0").secret == "secret-number-0"
    assert [desk.account(tenant=f"t{n}").secret for n in (2, 4, 6)] == [f"secret-number-{n}-3" for n in (2, 4, 6)]
    assert len(Vault(desk.settings.data_dir).lines()) == 1


# ---- the breaker -----------------------------------------------------------------------------------------------------


class Breaker:
    def __init__(self, desk) -> None:
        self.tx, self.id, self.now = desk.tx, desk.set(), desk.tx.now()

    def fail(self, times: int = 1) -> int | None:
        for _ in range(times):
            with self.tx.transaction() as tx:
                held = accounts.note_failure(tx, self.id, "down", self.now)
        return held and held - self.now

    def may(self, after_s: float = 0) -> int:
        self.now += int(1000 * after_s)
        with self.tx.transaction() as tx:
            held = accounts.may_try(tx, self.id, self.now)
        return held and held - self.now

    def works(self) -> None:
        with self.tx.transaction() as tx:
            accounts.note_success(tx, self.id)


@pytest.fixture
def breaker(desk):
    return Breaker(desk)


def test_the_fifth_failure_in_a_row_holds_for_a_minute(breaker):
    assert breaker.fail(4) is None and breaker.may() == 0
    assert breaker.fail() == 60_000 and breaker.may() == 60_000 and breaker.may(59.999) == 1


def test_a_success_between_starts_the_count_anew(breaker):
    breaker.fail(4)
    breaker.works()
    assert breaker.fail(4) is None and breaker.may() == 0


def test_the_hold_doubles_up_to_a_quarter_of_an_hour_and_ends_with_a_success(breaker):
    breaker.fail(5)
    held, waits = 60, []
    for _ in range(7):
        assert breaker.may(held) == 0, "the hold is over: one may try"
        held = breaker.fail() / 1000
        waits.append(held)
    assert waits == [120, 240, 480, 900, 900, 900, 900]
    assert breaker.may(held) == 0
    breaker.works()
    assert breaker.may() == 0 and breaker.may() == 0 and breaker.fail(4) is None and breaker.fail() == 60_000


def test_exactly_one_of_many_gets_through_when_the_hold_is_over(breaker, ledger):
    breaker.fail(5)
    breaker.now += 60_000
    got, start = [], threading.Barrier(6)

    def ask() -> None:
        own = Connection(ledger.app.extensions["settings"].database_url)
        start.wait()
        with own.transaction() as tx:
            got.append(accounts.may_try(tx, breaker.id, breaker.now))
        own.close()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got)[:2] == [0, breaker.now + 120_000] and len(got) == 6 and got.count(0) == 1


def test_failures_that_began_before_the_hold_do_not_prolong_it(breaker):
    assert breaker.fail(5) == 60_000 and breaker.fail(10) == 60_000
    assert breaker.may(30) == 30_000 and breaker.fail(3) == 30_000


def test_one_who_was_let_through_and_was_killed_does_no_harm(breaker):
    breaker.fail(5)
    assert breaker.may(60) == 0 and breaker.may() == 120_000
    assert breaker.may(120) == 0, "the next one"


def test_a_clock_that_was_set_back_holds_for_no_longer_than_the_hold(breaker):
    breaker.fail(5)
    assert breaker.may(-86_400) == 0 and breaker.may() == 120_000


def test_a_connection_that_was_removed_holds_nobody(breaker, desk):
    breaker.fail(5)
    desk.do("remove", breaker.id, "ada")
    assert breaker.may() == 0 and breaker.fail() is None
    breaker.works()


def test_try_now_ends_the_hold_and_the_next_failure_begins_one(breaker, desk):
    with pytest.raises(ActionRefused):
        desk.do("try_now", breaker.id, "ada")
    breaker.fail(5)
    assert desk.rows()[0].held_until and desk.rows()[0].error == "down"
    desk.do("try_now", breaker.id, "ada")
    assert breaker.may() == 0 and desk.rows()[0].held_until is None
    assert breaker.fail() == 60_000
    assert desk.audited()[-1][0] == "try connection now"


def test_try_now_lets_the_jobs_begin_that_wait_for_the_connection(breaker, desk, ledger):
    """Those that were claimed and wait for a time; not those of others, nor those that somebody has delayed."""
    own, delayed = (ledger.dispatch("ProcessContentGeneration", tenant_id="acme", delay=d, args={"prompt": "x"}) for d in (0, 600))
    other = ledger.dispatch("ProcessContentGeneration", tenant_id="other", args={"prompt": "x"})
    for _ in range(2):
        ledger.settle(ledger.claim(), "retried", error="held", delay=600)
    assert {ledger.row(u).state for u in (own, delayed, other)} == {"scheduled"}
    breaker.fail(5)
    assert desk.do("try_now", breaker.id, "ada") == 1
    assert [ledger.row(u).state for u in (own, delayed, other)] == ["pending", "scheduled", "scheduled"]


def test_the_reason_is_kept_without_secrets(breaker, desk):
    desk.account()  # opened: its secret is known to this process
    with breaker.tx.transaction() as tx:
        accounts.note_failure(tx, breaker.id, f"refused {SECRET}", breaker.now)
    assert desk.rows()[0].error == "refused [hidden]"


# ---- test ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def site():
    made = Site(answer(200, MODELS))
    yield made
    made.over.set()
    made.socket.close()


def test_a_test_makes_a_call_with_the_key_and_stores_what_it_found(desk, site):
    number = desk.set(url=f"http://127.0.0.1:{site.port}/v1", project="proj_1")
    assert desk.test(number) == (True, "The key works. Models that the account may use: 2.")
    assert site.got[0].startswith(b"GET /v1/models ") and site.header("authorization") == f"Bearer {SECRET}" and site.header("openai-project") == "proj_1"
    row = desk.rows()[0]
    assert row.test_ok is True and row.tested_at and ": 2" in row.test_text
    site.act = answer(401, b'{"error": {"message": "Incorrect API key provided: ' + SECRET.encode() + b'"}}')
    ok, said = desk.test(number)
    assert not ok and "refused the key" in said and "Enter it again in the connection" in said and "4711" not in said
    assert desk.rows()[0].test_ok is False and "4711" not in repr(desk.rows()) + repr(desk.audited())
    desk.set(url=f"http://127.0.0.1:{site.port}/v1", secret="another-4711")
    assert desk.rows()[0].test_ok is None, "what was tested is no longer there"


@pytest.mark.parametrize("act, said", [
    (answer(200, b"<html>hello"), "no API like OpenAI's"), (answer(200, b'{"data": 5}'), "no API"), (answer(200, b"[" * 100_000), "no API"), (answer(404, b"x"), "404"),
    (answer(403, b"{}"), "403"), (answer(429, b""), "429"), (answer(500, b"\xff"), "500"), (answer(302, b"", "Location: https://evil.example/"), "redirects"),
    (lambda *_: None, "broke off"), (answer(418, b'{"error": {"message": ["a", {"b": 1}]}}'), "418")])
def test_a_test_says_in_a_sentence_what_is_wrong(desk, site, act, said):
    number = desk.set(url=f"http://127.0.0.1:{site.port}/v1")
    site.act = act
    ok, sentence = desk.test(number)
    assert not ok and said in sentence


@pytest.mark.parametrize("service, user, secret, found", [("wordpress", "editor", "fake password", "editor"), ("prestashop", "", "AAAABBBBCCCCDDDDEEEEFFFFGGGGHHHH", "")])
def test_a_blog_and_a_shop_are_tested_by_calls_that_need_the_rights(desk, service, user, secret, found):
    server = fake(service).Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        number = desk.set(service, server.url, user, secret)
        ok, said = desk.test(number)
        assert ok and found in said and desk.rows()[0].test_text == said, said
        ok, said = desk.test(desk.set(service, server.url, user, "ANOTHER4711PASSWORD"))
        assert not ok and said and "4711" not in said
    finally:
        server.shutdown()
        server.server_close()
    ok, said = desk.test(number)
    assert not ok and said


def test_a_test_that_works_ends_a_hold(desk, site):
    number = desk.set(url=f"http://127.0.0.1:{site.port}/v1")
    for _ in range(5):
        with desk.tx.transaction() as tx:
            accounts.note_failure(tx, number, "down", tx.now())
    assert desk.rows()[0].held_until
    desk.test(number)
    assert desk.rows()[0].held_until is None


def test_private_addresses_are_refused_unless_they_are_allowed(desk, site):
    number = desk.set(url=f"https://127.0.0.1:{site.port}/v1")
    desk.settings = replace(desk.settings, allow_private_hosts=False)
    ok, said = desk.test(number)
    assert not ok and "internal network" in said and not site.got


def test_what_is_changed_or_removed_during_its_test_keeps_no_result(desk, site):
    number = desk.set(url=f"http://127.0.0.1:{site.port}/v1")

    def meanwhile(change):
        def act(_client, _n):
            change()
            return answer(200, MODELS)

        site.act = act
        with pytest.raises(ActionRefused) as caught:
            desk.test(number)
        assert "meanwhile" in str(caught.value)

    meanwhile(lambda: desk.set(url=f"http://127.0.0.1:{site.port}/v2"))
    assert desk.rows()[0].test_ok is None
    meanwhile(lambda: desk.do("remove", number, "ada"))
    assert desk.rows() == []
    with pytest.raises(ActionRefused):
        desk.test(number)


def test_no_transaction_is_open_while_a_test_waits_for_the_service(desk, site):
    """Else a slow service would keep everybody from writing (SQLite) or hold a connection of the pool."""
    number = desk.set(url=f"http://127.0.0.1:{site.port}/v1")

    def act(_client, _n):
        with Connection(desk.settings.database_url, wait_s=0.5).transaction() as tx:
            tx.execute("UPDATE connections SET updated_by = 'meanwhile' WHERE id = :id", id=number)
        return answer(200, MODELS)

    site.act = act
    with desk.ledger.app.app_context():
        assert SessionExecutor(db.session).fetch_all("SELECT COUNT(*) FROM connections") == [(1,)]  # a transaction is open before
        assert connection_check.test(number, "ada", desk.settings)[0]


def test_two_tests_at_once_and_no_more_than_three(desk, site):
    number = desk.set(url=f"http://127.0.0.1:{site.port}/v1")
    go, results = threading.Event(), []
    site.act = lambda *_: go.wait(10) and answer(200, MODELS)

    def test() -> None:
        try:
            results.append(desk.test(number))
        except ActionRefused as error:
            results.append((None, str(error)))

    threads = [threading.Thread(target=test) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(0.2)
    go.set()
    for thread in threads:
        thread.join()
    assert sorted(ok is True for ok, _ in results) == [False, False, True, True, True], results
    assert desk.test(number)[0], "the places are free again"


def test_unknown_services_open_nothing(desk):
    number = desk.set()
    desk.ledger.change("UPDATE connections SET service = 'fax', held_until_ms = 1, url = 'x'")
    for what in (lambda: desk.test(number), lambda: desk.test(999), lambda: desk.test(-1), lambda: desk.test(2**80)):
        with pytest.raises(ActionRefused):
            what()
    assert desk.do("try_now", number, "ada") == 0 and desk.rows()[0].label == "fax"
    desk.do("remove", number, "ada")
    desk.set()
    with pytest.raises(ValueError):
        accounts.open_service(desk.account(), desk.settings)
    assert issubclass(Unreadable, Exception)


def test_who_gets_which_user_and_password(desk):
    desk.set("wordpress", "https://blog.example", "ada")
    desk.set("prestashop", "https://shop.example")
    desk.set()
    found = {name: accounts.open_outside(desk.account(name), desk.settings) for name in accounts.SERVICES}
    assert {name: outside._auth for name, outside in found.items()} == {"wordpress": ("ada", SECRET), "prestashop": (SECRET, ""), "openai": ("", "")}
    assert found["openai"].base == accounts.OPENAI_URL and all(outside.private for outside in found.values())
