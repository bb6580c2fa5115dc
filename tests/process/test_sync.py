"""Syncs with real workers against a fake WordPress and a fake PrestaShop: killed in the middle of each step, edited there
meanwhile, cut and away; then the two sides are compared item by item.

SYNC_ITEMS=200 SYNC_KILLS=60 python -m pytest tests/process/test_sync.py -k storm: the long form.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import sqlite3
import sys
import threading
import time
from collections import Counter

import pytest

from app.extensions import db
from tests.process.product import ROOT
from tests.process.test_bulk import kill_workers

ITEMS, KILLS = int(os.environ.get("SYNC_ITEMS", "12")), int(os.environ.get("SYNC_KILLS", "6"))
TYPES = {"wordpress": "ProcessWordPressSync", "prestashop": "ProcessPrestaShopSync"}
AWAY = {"wordpress": ("lost", "cut", "notice", "503", "late", "maintenance", "429"), "prestashop": ("drop", "late-cut", "503", "late-php", "late-empty", "429")}


def load(name: str):
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Blog:
    """The fake WordPress as somebody sees it who edits there."""

    name, user, options = "wordpress", "editor", {}

    def __init__(self) -> None:
        self.server, self.secret = load("fake-wordpress").Server(), "fake password"

    def items(self) -> dict[str, list[tuple[str, str]]]:
        """(title, body) of the posts that are not in the bin, by the reference that their slug is."""
        found: dict[str, list[tuple[str, str]]] = {}
        with self.server.lock:
            for post in self.server.site.posts.values():
                if post["status"] != "trash":
                    found.setdefault(post["slug"].split("__")[0], []).append((post["title"], post["content"].split("<!-- ainstein")[0].strip()))
        return found

    def edit(self, reference: str, title: str) -> bool:
        with self.server.lock:
            for post in self.server.site.posts.values():
                if post["slug"] == reference and post["status"] != "trash":
                    post.update(title=title, modified=self.server.site.now())
                    return True
        return False

    def disturb(self, way: str) -> None:
        self.server.behave(way, random.choice(["POST", "GET posts"]))


class Shop:
    """The fake PrestaShop as its people see it."""

    name, user, options = "prestashop", "", {"language": "it"}  # language 2: the key may not read which one is the default

    def __init__(self) -> None:
        module = load("fake-prestashop")
        self.server, self.secret = module.Server(), module.KEY
        self.server.rights["configurations"] = {"GET", "HEAD"}  # the default language is Italian

    def items(self):
        found: dict[str, list[tuple[str, str]]] = {}
        with self.server.lock:
            for row in self.server.rows["products"].values():
                found.setdefault(row["reference"], []).append((row["name"]["2"], row["description"]["2"].strip()))
        return found

    def edit(self, reference: str, title: str) -> bool:
        with self.server.lock:
            for row in self.server.rows["products"].values():
                if row["reference"] == reference:
                    row["name"] = row["name"] | {"2": title}
                    row["date_upd"] = "2030-01-01 00:00:00"
                    return True
        return False

    def disturb(self, way: str) -> None:
        self.server.misbehave(way, random.choice(["POST", "PUT", "GET"]), "products")


@pytest.fixture(params=[Blog, Shop])
def there(request, product):
    from app.services.content import connection_pages

    side = request.param()
    threading.Thread(target=side.server.serve_forever, args=(0.02,), daemon=True).start()
    product.env["ALLOW_PRIVATE_HOSTS"] = "1"
    settings = product.app.extensions["settings"]
    object.__setattr__(settings, "allow_private_hosts", True)
    with product.app.app_context():
        connection_pages.save("acme", side.name, side.server.url, side.user, side.secret, side.options, "ada", settings)
    yield side
    side.server.over.set()
    side.server.shutdown()


def write(product, reference: str, title: str, body: str = "<p>Text</p>", **attributes) -> None:
    from app.models import Content

    with product.app.app_context():
        row = db.session.query(Content).filter_by(tenant_id="acme", reference=reference).one_or_none()
        if row is None:
            row = Content(tenant_id="acme", reference=reference, created_ms=1)
            db.session.add(row)
        row.title, row.body, row.attributes, row.updated_ms = title, body, json.dumps({"slug": reference} | attributes), 2
        db.session.commit()


def sync(product, there, references: list[str] | None = None, **args) -> str:
    from app import registry

    with product.app.app_context():
        what = {"references": references} if references else {"all": True}
        uuid = registry.find(TYPES[there.name]).with_options(tenant_id="acme", backoff=(0,)).dispatch(**what, **args)
        db.session.commit()
    return uuid


def hurry(product) -> None:
    """What waits for a later time begins now; a hold of the breaker ends."""
    path = product.data_dir / "ainstein.sqlite3"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path, timeout=5)) as connection, connection:
        connection.execute("UPDATE sync_links SET asked_ms = asked_ms - 1000 * 60")  # these services work at once, or never
        connection.execute("UPDATE connections SET held_until_ms = NULL, failures = 0, hold_s = 0")
        connection.execute("UPDATE jobs SET available_ms = 0, available_at = 0 WHERE state = 'scheduled'")


def finish(product, seconds: float = 90) -> None:
    product.until(lambda: hurry(product) or product.one("SELECT COUNT(*) FROM jobs") == 0, seconds, "all jobs ended")


def links(product) -> dict[str, tuple[str, str | None]]:
    return {row[0]: row[1:] for row in product.all("SELECT reference, state, remote_id FROM sync_links")}


@pytest.mark.timeout(600)
def test_storm_of_kills_edits_and_outages_leaves_both_sides_equal(product, there):
    dice = random.Random(11)
    random.seed(12)
    names = [f"item-{n}" for n in range(ITEMS)]
    for name in names:
        write(product, name, f"Title {name}")
    product.monitor(), product.workers(2), product.workers(1)
    started, edits, over = [sync(product, there)], {}, threading.Event()

    def people() -> None:
        while not over.wait(dice.uniform(0.1, 0.4)):
            name, title = dice.choice(names), f"Edited {len(edits)}"
            if there.edit(name, title):
                edits[name] = title
            if dice.random() < 0.4:
                there.disturb(dice.choice(AWAY[there.name]))

    someone = threading.Thread(target=people)
    someone.start()
    for _ in range(KILLS):
        if product.one("SELECT COUNT(*) FROM jobs") == 0:  # done, or given up after three kills: somebody starts it again
            started.append(sync(product, there))
        product.until(lambda: hurry(product) or product.one("SELECT COUNT(*) FROM jobs WHERE state = 'processing'"), 30)
        time.sleep(dice.uniform(0.0, 1.0))
        kill_workers(product)
    over.set()
    someone.join()
    there.server.ways.clear()
    finish(product)
    started.append(sync(product, there))
    finish(product)
    seen = there.items()
    assert set(seen) == set(names) and max(map(len, seen.values())) == 1, "each item stands there once"
    assert {name: title for name, ((title, _),) in seen.items() if name in edits} == edits, "no edit was overwritten"
    assert product.finals() == dict.fromkeys(started, 1)
    states = links(product)
    assert {name for name, (state, _) in states.items() if state == "conflict"} == set(edits)
    assert all(state in ("conflict", "synced") for state, _ in states.values())
    with contextlib.closing(sqlite3.connect(product.data_dir / "ainstein.sqlite3", timeout=10)) as connection, connection:
        connection.execute("UPDATE sync_links SET decision = CASE WHEN id % 2 = 0 THEN 'ours' ELSE 'theirs' END WHERE state = 'conflict'")  # a person decides
    last = sync(product, there)
    finish(product)
    assert product.outcomes(last)[-1] == "completed"
    ours = dict(product.all("SELECT reference, title FROM contents"))
    assert {name: title for name, ((title, _),) in there.items().items()} == ours
    actions = Counter(row[0] for row in product.all("SELECT action FROM sync_actions WHERE uuid = ?", last))
    assert actions["updated"] + actions["accepted"] == len(edits) and actions["unchanged"] == ITEMS - len(edits)


def test_an_outage_delays_its_own_jobs_only_and_is_told_once(product, there):
    write(product, "one", "Title")
    for _ in range(4):
        there.server.behave("503", "", 50) if there.name == "wordpress" else there.server.misbehave("500", times=50)
    product.monitor(), product.workers(1)
    uuid = sync(product, there, ["one"])
    product.until(lambda: product.one("SELECT state FROM jobs WHERE uuid = ?", uuid) == "scheduled", 20)
    assert product.one("SELECT failures FROM jobs WHERE uuid = ?", uuid) == 0, "an outage uses up no attempt"
    (other,) = product.dispatch("TestNoop")
    product.until(lambda: product.outcomes(other) == ["completed"], 20)
    there.server.ways.clear()
    finish(product)
    assert product.outcomes(uuid)[-1] == "completed" and set(there.items()) == {"one"}


def test_a_service_that_answers_but_takes_no_content_is_no_outage(product, there):
    """The job fails after its attempts; the connection is not held, as others may go through."""
    for name in ("one", "two"):
        write(product, name, "Title")
    there.server.behave("500", "POST posts", 50) if there.name == "wordpress" else there.server.misbehave("500", "POST", "products", times=50)
    product.monitor(), product.workers(1)
    uuid = sync(product, there)
    product.ended()
    assert product.outcomes(uuid)[-1] == "failed" and product.outcomes(uuid).count("retried") >= 2
    assert product.one("SELECT failures FROM connections") == 0
    assert "2 contents could not be sent. one: " in product.one("SELECT error FROM job_history WHERE uuid = ?", uuid)


def test_a_dry_run_sends_nothing_and_says_what_it_would_do(product, there):
    write(product, "one", "Title")
    product.monitor(), product.workers(1)
    uuid = sync(product, there, dry_run=True)
    finish(product)
    assert there.items() == {} and product.outcomes(uuid) == ["completed"]
    assert product.one("SELECT result FROM job_history WHERE uuid = ?", uuid) == '{"would_create": 1}'
    assert product.all("SELECT action, text FROM sync_actions") == [("would_create", "It would be created.")]


def test_the_secret_stands_in_no_file_of_the_product(product, there):
    write(product, "one", "Title")
    there.server.behave("403") if there.name == "wordpress" else there.server.misbehave("403")
    product.monitor(), product.workers(1)
    sync(product, there)
    finish(product)
    for path in [*product.data_dir.rglob("*"), product.data_dir.parent / "product.log"]:
        if path.is_file():
            assert there.secret.encode() not in path.read_bytes(), path


def test_another_site_gets_its_own_items_and_keeps_those_that_have_our_old_ids(product, there):
    """The links name items of the old site: at the new one the same ids are of others."""
    from app.services.content import connection_pages

    def connect(tenant: str, side) -> None:
        with product.app.app_context():
            connection_pages.save(tenant, side.name, side.server.url, side.user, side.secret, side.options, "ada", product.app.extensions["settings"], forget=True)

    new = type(there)()
    threading.Thread(target=new.server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        product.monitor(), product.workers(1)
        write(product, "ours", "Ours")
        sync(product, there)
        finish(product)
        old, link = there.items(), links(product)["ours"]
        connect("acme", new)
        assert links(product) == {}
        write(product, "theirs", "Theirs")
        sync(product, there, ["theirs"])  # takes the id at the new site that "ours" had at the old one
        finish(product)
        assert links(product)["theirs"] == link
        write(product, "ours", "Ours, changed")
        sync(product, there, ["ours"], overwrite=True)
        finish(product)
        assert {name: [title for title, _ in found] for name, found in new.items().items() if name in ("ours", "theirs")} == {"ours": ["Ours, changed"], "theirs": ["Theirs"]}
        assert there.items() == old and links(product)["ours"][0] == "synced"
        assert not product.all("SELECT message FROM job_logs WHERE message LIKE '%left running%'")
    finally:
        new.server.over.set()
        new.server.shutdown()
