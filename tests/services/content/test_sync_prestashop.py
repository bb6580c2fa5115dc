"""The engine of a sync with a shop: killed at each request, edited and sold from meanwhile."""

from __future__ import annotations

import json

import pytest

from app.integrations.prestashop import PrestaShop
from app.integrations.service_errors import Limited
from app.services.content import sync_rows, sync_work
from app.services.content.sync import Choices, Sync
from tests.integrations.test_prestashop import connect, fake, full, item_for, serving, whole

CREATE = PrestaShop.create
UUID = "00000000-0000-8000-8000-000000000001"


class Killed(BaseException):
    """The worker dies here."""


class Desk:
    """A content and its syncs; each run is another claim with new objects."""

    def __init__(self, ledger, server, **columns):
        self.ledger, self.server, self.claims = ledger, server, 0
        given = full(server, **columns)
        ledger.change("DELETE FROM sync_links")
        ledger.change("DELETE FROM contents")
        ledger.change("INSERT INTO contents (tenant_id, reference, title, body, attributes, created_ms, updated_ms) VALUES ('acme', :r, :t, :b, :a, 1, 1)",
                      r=given.reference, t=given.title, b=given.body, a=json.dumps(given.attributes))

    def change(self, **columns):
        kept = json.loads(self.ledger.one("SELECT attributes FROM contents")) | columns
        self.ledger.change("UPDATE contents SET attributes = :a", a=json.dumps(kept))

    def decide(self, decision):
        self.ledger.change("UPDATE sync_links SET decision = :d", d=decision)

    def save(self, change):
        with self.ledger.connection.transaction(durable=True) as tx:
            return change(tx)

    def sync(self, kill=None, late=False, options=None, **choices):
        self.claims += 1
        self.ledger.change("UPDATE sync_links SET asked_ms = asked_ms - 61000")  # a minute later
        service, left = connect(self.server, **(options or {})), [kill]
        ask = service._shop._ask

        def killing(*given):
            if left[0] is not None:
                left[0] -= 1
                if left[0] < 0:
                    if late:
                        ask(*given)
                    raise Killed
            return ask(*given)

        service._shop._ask = killing
        writer = sync_rows.Writer(UUID, self.claims, f"{UUID}/{self.claims}", "acme", "prestashop")
        content = next(sync_work.contents(self.ledger.connection, "acme", ["SKU-1"], UUID, self.claims))
        try:
            return Sync(service, writer, self.ledger.connection, self.save, lambda: False, Choices(**choices)).one(content)
        finally:
            service.close()


@pytest.mark.parametrize("late", [False, True])
def test_a_kill_at_any_request_of_a_create_leaves_nothing_twice_and_nothing_missing(ledger, late):
    plain = lambda server: json.dumps(whole(server), default=bytes.hex).replace(server.url, "")  # noqa: E731
    with serving() as server:
        assert Desk(ledger, server).sync().action == "created"
        expected, requests = plain(server), len(server.requests)
    with serving() as server:
        for n in range(int(late), requests, 2):
            desk = Desk(ledger, server)
            with pytest.raises(Killed):
                desk.sync(kill=n, late=late)
            assert desk.sync().action in ("created", "updated", "unchanged")
            assert plain(server) == expected, n
            server.rows["stock_availables"]["101"]["quantity"] = "0"  # all are sold
            assert desk.sync().action == "unchanged" and server.rows["stock_availables"]["101"]["quantity"] == "0", "no longer taken for unset"
            emptied(server)


def test_a_kill_at_any_request_of_an_update_is_made_good(ledger):
    with serving() as server:
        desk, n = Desk(ledger, server), int(ledger.store == "sqlite")
        desk.sync()
        while True:
            desk.change(price=str(20 + n), quantity=str(20 + n), name_it=f"Pompa {n}", image=f"{server.url}/pictures/a.jpg {server.url}/pictures/{n}.jpg")
            try:
                desk.sync(kill=n, late=n % 4 > 1)
                break
            except Killed:
                assert desk.sync().action in ("updated", "unchanged"), n
            row = server.rows["products"]["1"]
            assert (row["price"], row["name"]["2"]) == (f"{20 + n}.000000", f"Pompa {n}")
            assert [stock["quantity"] for stock in server.rows["stock_availables"].values()] == [str(20 + n)]
            pictures = [image["data"] for image in server.rows["images"].values()]
            assert len(pictures) == len(set(pictures)) == n // 2 + 3, "added, each once"
            n += 2
        assert n > 10 and len(server.rows["products"]) == 1


def test_what_people_and_sales_changed_there_is_never_overwritten_in_silence(ledger):
    with serving() as server:
        desk = Desk(ledger, server)
        desk.sync()
        row, stock = server.rows["products"]["1"], server.rows["stock_availables"]["101"]
        stock["quantity"], row["description"]["2"], row["meta_title"] = "5", "<p>Edited</p>", {"1": "m", "2": "m"}
        desk.change(quantity="9", price="11")
        result = desk.sync()
        assert result.action == "conflict" and "quantity" in result.text and stock["quantity"] == "5" and row["price"] == "10.500000"
        desk.decide("ours")
        assert desk.sync().action == "updated"
        row, stock = server.rows["products"]["1"], server.rows["stock_availables"]["101"]
        assert (row["price"], stock["quantity"], row["meta_title"]) == ("11.000000", "9", {"1": "m", "2": "m"})
        stock["quantity"] = "2"
        desk.change(quantity="30")
        assert desk.sync(options={"stock": "ours"}).action == "updated" and server.rows["stock_availables"]["101"]["quantity"] == "30"


@pytest.mark.parametrize("moment", ["images", "categories"])
def test_what_people_save_while_images_are_fetched_and_categories_made_stays(ledger, moment, monkeypatch):
    """A PUT writes the product whole: what was read before these minutes would put old values back."""
    with serving() as server:
        desk = Desk(ledger, server)
        desk.sync()
        edits = {"wholesale_price": "99.000000", "meta_title": {"1": "by a person", "2": "by a person"}}
        old = {"images": fake.Handler.picture, "categories": fake.Server.save}[moment]

        def meanwhile(self, *given):
            with server.lock:
                if moment == "images" or given[0] == "categories":
                    server.rows["products"]["1"] |= edits
            return old(self, *given)

        monkeypatch.setattr(*{"images": (fake.Handler, "picture"), "categories": (fake.Server, "save")}[moment], meanwhile)
        new = {"images": {"image": f"{server.url}/pictures/c.jpg"}, "categories": {"categories": "New > Newer"}}[moment]
        desk.change(name_it="Pompa due", **new)
        assert desk.sync().action == "updated"
        row = server.rows["products"]["1"]
        assert edits.items() <= row.items() and row["name"]["2"] == "Pompa due"
        edits |= {"name": {"1": "Pump", "2": "La loro"}}
        desk.change(name_it="Pompa tre", **{name: value + "x.jpg" for name, value in new.items()})
        with pytest.raises(Limited, match="at this moment"):
            desk.sync()
        assert server.rows["products"]["1"]["name"]["2"] == "La loro" and desk.sync().action == "conflict"


def test_a_column_that_is_added_later_is_no_change_of_people(ledger):
    with serving() as server:
        desk = Desk(ledger, server)
        all_columns = json.loads(ledger.one("SELECT attributes FROM contents"))
        ledger.change("UPDATE contents SET attributes = '{}'")
        assert desk.sync().action == "created"
        desk.change(**{name: all_columns[name] for name in ("price", "weight", "quantity", "categories", "image", "ean13")})
        assert desk.sync().action == "updated"
        row = server.rows["products"]["1"]
        assert (row["price"], row["weight"], row["ean13"], len(row["associations"]["categories"])) == ("10.500000", "1.200000", "1234567890123", 2)
        assert server.rows["stock_availables"]["101"]["quantity"] == "7"
        desk.change(active="1")
        assert desk.sync().action == "conflict" and row["active"] == "0", "what is on sale is for a person to say"


def emptied(server):
    for name in ("products", "stock_availables", "images"):
        server.rows[name].clear()
    for id in [id for id in server.rows["categories"] if int(id) > 2]:
        del server.rows["categories"][id]


def made(server, shop=None):
    shop = shop or connect(server)
    return CREATE(shop, item_for(shop, full(server)))


def works_on_with_the_oldest(desk, server):
    assert desk.sync().action in ("unchanged", "updated") and desk.ledger.one("SELECT remote_id FROM sync_links") == "1"
    desk.change(price="11")
    assert desk.sync().action == "updated" and server.rows["products"]["1"]["price"] == "11.000000"


def test_two_products_of_a_create_that_was_cut_off_do_not_block_the_content(ledger):
    with serving() as server:
        Desk(ledger, server).sync()
        post = [request[:2] for request in server.requests].index(("POST", "products"))
        emptied(server)
        desk = Desk(ledger, server)
        with pytest.raises(Killed):
            desk.sync(kill=post)
        assert not server.rows["products"]
        made(server), made(server)  # both arrive late
        works_on_with_the_oldest(desk, server)


def test_two_claims_at_once_need_no_right_to_delete(ledger, monkeypatch):
    with serving() as server:
        server.rights["products"] = {"GET", "PUT", "POST"}
        desk = Desk(ledger, server)

        def create(self, item):
            if not server.rows["products"]:
                made(server)
            return CREATE(self, item)

        monkeypatch.setattr(PrestaShop, "create", create)
        assert "#2 was made at the same time as #1" in desk.sync().text
        works_on_with_the_oldest(desk, server)
        row = server.rows["products"]["2"]
        assert (row["active"], row["reference"]) == ("0", "") and len(server.rows["products"]) == 2


def test_a_sale_does_not_hold_the_other_fields(ledger):
    with serving() as server:
        desk = Desk(ledger, server)
        desk.sync()
        stock = server.rows["stock_availables"]
        stock["101"]["quantity"] = "5"
        assert desk.sync().action == "unchanged" and stock["101"]["quantity"] == "5"
        desk.change(price="11")
        result = desk.sync()
        assert result == ("updated", "Updated: price.", result.url) and server.rows["products"]["1"]["price"] == "11.000000"
        assert stock["101"]["quantity"] == "5"
        desk.change(quantity="9")
        assert desk.sync().action == "conflict" and stock["101"]["quantity"] == "5", "a sync between does not make the sale ours"
        desk.decide("ours")
        assert desk.sync().action == "updated" and stock["101"]["quantity"] == "9"


def test_theirs_can_be_taken_over_and_a_deleted_product_is_made_anew_when_asked(ledger):
    with serving() as server:
        desk = Desk(ledger, server)
        desk.sync()
        server.rows["products"]["1"]["name"] = {"1": "Their pump", "2": "La loro"}
        desk.change(name_it="Pompa nuova", price="1")
        assert desk.sync().action == "conflict"
        desk.decide("theirs")
        assert desk.sync().action == "accepted"
        assert ledger.one("SELECT title FROM contents") == "Their pump" and json.loads(ledger.one("SELECT attributes FROM contents"))["name_it"] == "La loro"
        assert desk.sync().action == "unchanged"
        del server.rows["products"]["1"]
        assert desk.sync().action == "gone" and not server.rows["products"]
        assert desk.sync(recreate=True).action == "created"
        assert [image["id_product"] for image in server.rows["images"].values()][-2:] == ["1", "1"] and len(server.rows["products"]) == 1
        before = whole(server)
        desk.change(price="77")
        assert desk.sync(dry_run=True).action == "would_update" and whole(server) == before
