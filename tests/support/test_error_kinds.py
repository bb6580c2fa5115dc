"""Which errors are of one kind."""

from __future__ import annotations

import time

import pytest

from app.support.error_kinds import group_of, kind_of
from app.support.messages import Message, to_json


@pytest.mark.parametrize(("one", "other", "kind"), [
    ("KeyError: 'sku-1'", "KeyError: 'b'", "KeyError: …"),
    ("HTTPError: 503 for https://shop.example/api/12?x=1", "HTTPError: 500 for http://a.example", "HTTPError: … for …"),
    ("No such file or directory: '/tmp/a b.csv'", 'No such file or directory: "x"', "No such file or directory: …"),
    ("cannot open /var/data/1.csv: gone", "cannot open ../x/y.csv: gone", "cannot open …: gone"),
    ("job 3f2b8c1a-1111-2222-3333-444455556666 lost after 12.5s", "job 99 lost after 1s", "job … lost after …"),
    ("order A-12 not found", "order B-7 not found", "order … not found"),
    ("mail to ann@example.org refused", "mail to b@c.it refused", "mail to … refused"),
    ("sha abcdef0123456789", "sha 0xdeadbeef1", "sha …"),
    ("ключ «абв» не найден", "ключ «г» не найден", "ключ … не найден"),
    ("", "   ", "…"),
    ("psycopg2.OperationalError: server 1 closed", "psycopg2.OperationalError: server 2 closed", "psycopg2.OperationalError: server … closed"),
    ("can't decode byte 0xff in position 0", "can't decode byte 0xe9 in position 77", "can't decode byte … in position …"),
    ("file report_final.csv missing", "file data/in/a1.CSV missing", "file … missing"), ("x=1, y=2", "x=10, y=-3", "x=…, y=…"),
    ("id deadbeef not there", "id 64f1c2a9e13b7a00 not there", "id … not there"), ("Session abcDEF123xyz gone", "Session q1w2e3 gone", "Session … gone"),
    ("path a/b/c missing", "path /srv/x missing", "path … missing"), ("fehlt „abc“", "fehlt ‘x y’", "fehlt …"),
])
def test_what_differs_from_job_to_job_does_not_count(one, other, kind):
    assert kind_of(one) == kind_of(other) == kind
    assert group_of("T", one) == group_of("T", other) != group_of("U", one)


@pytest.mark.parametrize(("one", "other"), [
    ("KeyError: 'a'", "ValueError: 'a'"), ("timeout after 300 s", "killed after 300 s"),
    ("don't panic: can't read user's file", "don't panic: can't read file"), ("no room", "no rooms"),
    ("psycopg2.OperationalError: gone", "psycopg2.DataError: gone"), ("read/write failed", "and/or failed"), ("sku2.x: gone", "HTTPError(404): gone")])
def test_what_says_something_else_is_another_kind(one, other):
    assert kind_of(one) != kind_of(other)


def test_a_sentence_of_ours_is_known_by_its_template():
    def lost(name: str, n: int) -> Message:
        return Message("Stopped after it was lost %(n)s times. Last: %(why)s", n=n,
                       why=Message("The worker %(name)s was killed.", name=name))

    one, other = lost("a b c", 3), lost("Ω", 20)
    assert group_of("T", one, to_json(one)) == group_of("T", other, to_json(other))
    assert group_of("T", one, to_json(other)) == group_of("T", one)  # the JSON of another text does not count
    bare = Message("%(name)s: %(error)s", name="KeyError", error="'x'")
    assert group_of("T", bare, to_json(bare)) == group_of("T", "KeyError: 'y'")


def test_texts_made_to_be_slow_are_not():
    start = time.process_time()
    for text in ("'" * 100_000, "/" * 100_000, "a-" * 50_000, "1." * 50_000, "\"x" * 50_000, "a@" * 50_000, "… " * 50_000):
        kind_of(text)
    assert time.process_time() - start < 2
