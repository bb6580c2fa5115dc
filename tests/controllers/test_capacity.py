"""The page of capacity: before anything is known, with a replay, and as JSON."""

from __future__ import annotations

import html

import pytest

from app.ledger import counts
from app.ledger.dialect import Connection
from app.support.clock import MINUTE_MS, now_ms

PAGE = "/admin/jobs/capacity"


def waits(longest: int) -> dict[str, int]:
    return {"median_ms": 1000, "ninety_ms": longest // 2, "longest_ms": longest}


def study(**more) -> dict:
    rows = [{"workers": n, "waits": waits(ms)} for n, ms in ((1, 900_000), (2, 840_000), (3, 700_000), (4, 180_000), (6, 170_000))]
    check = {"workers": 3, "known": False, "near": 0.914, "replayed": waits(800_000), "measured": waits(870_000)}
    return {"since_ms": 1, "until_ms": 2, "runs": 1204, "short_ms": 1000, "unserved": 7, "waiting": 5, "workers": 2, "rows": rows, "check": check} | more


def test_the_page_says_what_is_not_known_yet(admin):
    admin.set_cookie("lang", "en")
    text = admin.get(PAGE).text
    assert "Nothing was sampled yet" in text and "No day was replayed yet" in text
    assert f'href="{PAGE}/"' in admin.get("/admin/jobs/workers").text, "one click from the workers"
    assert admin.get(f"{PAGE}?period=nonsense").status_code == 200
    assert admin.get(PAGE, headers={"Accept": "application/json"}).get_json()["replay"] is None


def test_the_page_says_what_more_workers_would_have_changed(app, admin):
    connection = Connection(app.extensions["settings"].database_url)
    empty = study(runs=0, waiting=0, unserved=0, rows=[{"workers": n, "waits": None} for n in (1, 2)], check=dict.fromkeys(("near", "replayed", "measured")) | {"workers": 1, "known": True})
    with connection.transaction() as tx:
        counts.save(tx, "capacity", {"yesterday": study(), "last": empty, "hours": 24, "at_ms": now_ms()})
        tx.execute("INSERT INTO worker_minutes (minute_ms, samples, wanted, alive, busy) VALUES (:m, 10, 30, 20, 17)", m=now_ms() // MINUTE_MS * MINUTE_MS)
    connection.close()
    admin.set_cookie("lang", "en")
    text = html.unescape(admin.get(PAGE).text)
    for said in ("Two more workers would have cut the longest waiting from 14 min to 3 min.", "One fewer would have done: the longest waiting would have been 15 min.",
                 "1,204 runs", "91.4% of the runs", "today's number is taken", "Left out, because they have not begun yet: 5.",
                 "Left out, because no worker serves their queue now: 7.", "arrived in the same second", "No job arrived", "(85.0%)", "14 min 30 s"):
        assert said in text, said
    admin.set_cookie("lang", "it")
    assert "Altri due worker" in html.unescape(admin.get(f"{PAGE}?period=7d").text)
    rows = admin.get(f"{PAGE}/hours?period=24h").get_json()
    assert len(rows) == 24 and rows[-1]["share"] == 85 and rows[-1]["total"] == 10
    assert list(admin.get(PAGE, headers={"Accept": "application/json"}).get_json()) == ["period", "hours", "peaks", "replay"]


@pytest.mark.parametrize("language", ["en", "it"])
def test_a_replay_that_does_not_match_claims_nothing_and_says_why_two_numbers_differ(app, admin, language):
    connection = Connection(app.extensions["settings"].database_url)
    found = study(check=study()["check"] | {"near": 0.663, "known": True})
    with connection.transaction() as tx:
        counts.save(tx, "capacity", {"yesterday": found, "last": found, "hours": 24, "at_ms": now_ms()})
    connection.close()
    admin.set_cookie("lang", language)
    text = html.unescape(admin.get(PAGE).text)
    said = {"en": ["<strong>The replay does not match what was measured (66.3% of the runs), so nothing is claimed.</strong>", "Now 2 should run; 3 ran on average then."],
            "it": ["<strong>La simulazione non corrisponde a quanto misurato (66,3% delle esecuzioni), quindi non se ne ricava nulla.</strong>", "Ora dovrebbero essere attivi 2"]}
    assert all(part in text for part in said[language])
    assert "would have" not in text and "Altri due" not in text


def test_a_fact_of_another_form_is_as_none(app, admin):
    connection = Connection(app.extensions["settings"].database_url)
    for value in ([], {"yesterday": 1}, "x"):
        with connection.transaction() as tx:
            counts.save(tx, "capacity", value)
        assert admin.get(PAGE).status_code == 200
    connection.close()
