"""One meaning of the search: waiting, just finished and indexed jobs give the same answer, on both databases."""

from __future__ import annotations

import json
import random
import time
import unicodedata
from types import SimpleNamespace

import pytest

from app.extensions import db
from app.jobs import job
from app.services.jobs import actions, list_plan, listing, search_index, search_text
from app.services.jobs.listing import JobFilter


@job("TestSearched", tries=1)
def searched(text: str = "", deep: dict | None = None) -> None:
    """Not run."""


NASTY = ['caffè "nero" \\ doppio', "100% _a_ (b) * [c] {d} !e", "Straße ÜNÏCODE ﬁne ½ İstanbul", "東京の天気 한국어 かな", "a\nb\tc\\n", "😀 👨‍👩‍👧 ❤️",
         "C:\\temp\\x.csv", "it's <b>&amp;</b>", "don´t ¨x", "'; DROP TABLE jobs; --", "NEAR(a b) AND OR -x", "٣٤٥ ４２９", "e\u0301te\u0301 re\u0301sume\u0301", "uno \\u00e8",
         "ΣΊΣΥΦΟΣ σίσυφος", "x" * 300 + "needle", "\u200bzero\u200dwidth\u00ad", "กำลัง हिन्दी", "{\"a\": [1, 2]}", "tab\there", '""', "%s %(n)s :match ?1"]


def found_in(jobs: SimpleNamespace, text: str, **given) -> dict[str, set[int]]:
    """The numbers of the texts that a search finds, by state: waiting, new (finished, past the watermark), indexed."""
    wanted, found = JobFilter.read({"q": text} | given, None), {"waiting": set(), "new": set(), "indexed": set()}
    cursor: str | None = ""
    while cursor is not None:
        page = listing.page(wanted, before=cursor, size=23)
        for row in page.rows:
            state, number = jobs.of[row.uuid]
            found[state].add(number)
        cursor = page.older
    assert listing.count(wanted) == (sum(map(len, found.values())), True)
    db.session.rollback()
    return found


@pytest.fixture
def jobs(ledger):
    """The same jobs in each state."""
    chance, of = random.Random(11), {}
    texts = [*NASTY, *(" ".join(chance.sample(NASTY, 2)) for _ in range(8))]
    args = [{"text": text, "deep": {"naïve": [text[:9], chance.randrange(10**9), 0.50]}} if n % 3 else {"text": text} for n, text in enumerate(texts)]
    for state in ("indexed", "new", "waiting"):
        for n, one in enumerate(args):
            of[ledger.dispatch("TestSearched", tenant_id=("acme", "acme-nord", None)[n % 3], tries=1, args=one)] = (state, n)
            if state != "waiting":
                ledger.settle(ledger.claim(), "failed", error=f"KeyError: '{texts[n][:40]}'")
            else:
                ledger.change("UPDATE jobs SET reason = :e WHERE uuid = :u", e=f"KeyError: '{texts[n][:40]}'", u=list(of)[-1])
        if state == "indexed":
            assert search_index.advance(ledger.connection) == len(args)
    with ledger.app.app_context():
        yield SimpleNamespace(ledger=ledger, of=of, args=args, texts=texts, connection=ledger.connection)


def plain(text: str) -> str:
    """Another way to fold: by characters."""
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    text = "".join(c for c in text if not unicodedata.combining(c) and unicodedata.category(c) not in ("Me", "Cf") and not "\ufe00" <= c <= "\ufe0f")
    return " ".join(("." + text + ".").split())[1:-1] if text.strip() != text else " ".join(text.split())


def test_words_cut_from_the_texts_find_the_same_jobs_in_every_state(jobs):
    chance = random.Random(5)
    searches = [*NASTY, *(word for text in NASTY for word in text.split())]
    for _ in range(60):
        text = chance.choice(jobs.texts)
        start = chance.randrange(len(text))
        searches.append(text[start:start + chance.choice((1, 2, 3, 5, 9, 30))])
    for text in searches:
        if not text.strip() or len(text) > 200:
            continue
        found = found_in(jobs, text)
        assert found["waiting"] == found["new"] == found["indexed"], text
        words = search_text.words(text)
        if '"' not in text and words and "\n" not in text:
            whole = {n for n, one in enumerate(jobs.texts) if all(plain(word) in plain(one) for word in text.split())}
            assert whole <= found["waiting"], text


TYPED = [
    ("CAFFE", "caffè"), ("cafFÈ", "caffè"), ("affè", "caffè"), ("strasse", "Straße"), ("unicode", "ÜNÏCODE"), ("天", "東京"), ("京の", "東京"), ("韓", None), ("국", "한국어"),
    ("😀", "😀"), ("👨", "👨"), ("❤", "❤"), ("\\", "\\"), ("\\temp\\", "C:\\temp"), ('"nero"', "nero"), ("100%", "100%"), ("%", "%"), ("_a_", "_a_"), ("*", "*"), ("(", "("),
    ("a_", "a_"), ("429", "４２９"), ("Ｃ:", "C:"), ("resume", "résumé"), ("zerowidth", "zero"), ('"caffe \\"', None), ("u00e8", "u00e8"), ("σισυφοσ", "σίσυφος"), ("needle", "needle"),
]


def test_what_people_type_is_found_as_it_is_written(jobs):
    for text, hits in TYPED:
        found = found_in(jobs, text)["indexed"]
        assert bool(found) is bool(hits), text
        if hits:
            assert any(hits in unicodedata.normalize("NFC", jobs.texts[n]) for n in found), text


def test_quoted_words_stand_together_and_names_and_numbers_are_found(jobs):
    assert found_in(jobs, '"it\'s <b>"')["new"] and not found_in(jobs, '"<b> it\'s"')["new"]
    number = str(jobs.args[1]["deep"]["naïve"][1])
    for text in ("naive", number, "testsearched", "0.5", "ACME"):
        found = found_in(jobs, text)
        assert found["waiting"] == found["new"] == found["indexed"] != set(), text
    assert not any(found_in(jobs, "displayName").values()) and not any(found_in(jobs, "0.50").values()), "of the payload only the arguments"


def test_an_empty_meaning_finds_nothing_and_changes_nothing(jobs):
    for text in (" ", "   ", "\u0301", "\u0301 \u0308", "\u200d", "\u00b4", "\ufe0f", "\u00ad\u200b", "\u20dd"):
        wanted = JobFilter.read({"q": text}, None)
        assert wanted.query and listing.page(wanted).rows == [] and listing.count(wanted) == (0, True), repr(text)
        assert listing.live_ids(wanted, listing.snapshot_ids()) == [] and listing.failed_ids(wanted, listing.snapshot_ids()) == ([], [])
    assert listing.page(JobFilter.read({"q": ""}, None)).rows


def test_a_secret_is_no_word_of_the_text(ledger):
    for state in ("indexed", "new", "waiting"):
        ledger.dispatch("TestSearched", args={"deep": {"password": "hunter2-zebra", "note": f"of {state}"}}, tries=1)
        if state != "waiting":
            ledger.settle(ledger.claim(), "failed", error="login failed: password=hunter2-zebra")
        if state == "indexed":
            search_index.advance(ledger.connection)
    with ledger.app.app_context():
        for text, n in (("hunter2", 0), ("zebra", 0), ("nter2-z", 0), ("password", 3), ("note", 3)):
            assert len(listing.page(JobFilter.read({"q": text}, None)).rows) == n, text


def test_the_index_follows_changed_and_deleted_rows(jobs):
    ids = [row[0] for row in jobs.connection.fetch_all("SELECT id FROM job_history WHERE error LIKE '%caff%' ORDER BY id")]
    jobs.ledger.change("UPDATE job_history SET error = 'Quagmire' WHERE id = :i", i=ids[0])
    for _ in range(2):  # at once, and when the monitor has written its text again
        assert len(listing.page(JobFilter.read({"q": "quagMIRE"}, None)).rows) == 1
        db.session.rollback()
        search_index.advance(jobs.connection)
        assert jobs.ledger.one("SELECT COUNT(*) FROM job_texts WHERE text IS NULL") == 0
    db.session.rollback()
    failed = jobs.ledger.one("SELECT COUNT(*) FROM job_history")
    assert actions.retry_all("ada") == failed
    assert jobs.ledger.one("SELECT COUNT(*) FROM job_texts") == 0
    assert listing.page(JobFilter.read({"q": "quagmire", "state": "ended"}, None)).rows == []
    db.session.rollback()
    if jobs.connection.sqlite:
        jobs.ledger.change("INSERT INTO job_search (job_search) VALUES ('integrity-check')")


def test_the_page_says_where_the_time_was_over_and_goes_on_from_there(jobs, monkeypatch):
    monkeypatch.setattr(listing, "WORDS", -1.0)
    monkeypatch.setattr(list_plan, "CHUNK", 7)
    wanted = JobFilter.read({"q": "keyerror", "tenant": "acme"}, None)
    seen, cursor, stops = [], "", 0
    while cursor is not None:
        page = listing.page(wanted, before=cursor)
        seen, cursor, stops = seen + [row.uuid for row in page.rows], page.older, stops + page.stopped
    assert stops >= 2 and seen == sorted(set(seen), key=seen.index) and len(seen) == sum(not n % 3 for _state, n in jobs.of.values())
    assert listing.count(wanted)[1] is False
    assert len(listing.live_ids(wanted, listing.snapshot_ids())) == sum(s == "waiting" and not n % 3 for s, n in jobs.of.values())


def test_without_the_trigram_index_the_answers_are_the_same(jobs):
    if jobs.connection.sqlite:
        for name in ("added", "removed", "renewed"):
            jobs.ledger.change(f"DROP TRIGGER job_search_{name}")
        jobs.ledger.change("DROP TABLE job_search")
    else:
        jobs.ledger.change("DROP EXTENSION pg_trgm CASCADE")
    for text in ("caffe", "東京", "\\", "keyerror acme"):
        found = found_in(jobs, text)
        assert found["waiting"] == found["new"] == found["indexed"] != set(), text


def test_a_payload_of_another_program_has_the_text_that_can_be_read(ledger):
    for payload in ("", "{", "[1]", '{"args": [1]}', '{"args": {"a": "\\ud800x"}}', '{"args": ' + "[" * 5000 + "]" * 5000 + "}", '{"args": {"a": NaN, "b": 1e999}}', '{"args": {"a": "x\\u0000y"}}'):
        text = search_text.text_of("Type", None, payload, None)
        assert text.startswith("type") and "\0" not in text and text.encode()
    assert "x y" in search_text.text_of("T", None, json.dumps({"args": {"a": "x\0y"}}), None)


def test_folding_is_linear():
    for text in ("\u0301" * 100_000, "é" * 100_000, '"' * 100_000, '" ' * 50_000, "ﷺ" * 20_000):
        start = time.monotonic()
        search_text.words(text)
        assert time.monotonic() - start < 2
