"""Contents as products of a PrestaShop: against a fake shop that keeps, blanks, refuses and breaks like the real one."""

from __future__ import annotations

import copy
import importlib.util
import json
import random
import re
import socket
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.integrations.outside import Outside
from app.integrations.prestashop import PrestaShop
from app.integrations.remote import Article, Item
from app.integrations.service_errors import ItemRefused, Limited, Refused, ServiceError, Unavailable

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("fake_prestashop", ROOT / "scripts" / "fake-prestashop.py")
fake = importlib.util.module_from_spec(SPEC)
sys.modules["fake_prestashop"] = fake
SPEC.loader.exec_module(fake)

VERSIONS = ("1.7", "8", "9")


@contextmanager
def serving(version="8", **more):
    server = fake.Server(version=version, **more)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(request):
    with serving(getattr(request, "param", "8")) as shop:
        yield shop


def connect(server, key=fake.KEY, base="", read_s=5.0, total_s=20.0, **options):
    return PrestaShop(Outside(base or server.url, key, "", private=True, read_s=read_s, total_s=total_s), options)


@pytest.fixture
def shop(server):
    service = connect(server)
    yield service
    service.close()


def article(server=None, reference="SKU-1", title="Pump", body="# Hot\n\nA *pump*.", **columns):
    return Article(reference, title, body, columns)


def item_for(shop, given, notes=None, keep=lambda: None):
    return Item(given.reference, "0" * 24, shop.fields_of(given, {}), notes if notes is not None else {}, keep=keep)


def sync(shop, given, kept):
    """What the engine does, without its bases: find, then create or bring into line. `kept` are the stored notes."""
    notes = dict(kept)
    item = item_for(shop, given, notes, keep=lambda: (kept.clear(), kept.update(notes)))
    found = shop.find(item)
    if found is None:
        found = shop.create(item)
    elif changes := {name: value for name, value in item.fields.items() if found.fields[name] != value}:
        found = shop.update(found.id, changes, item)
    item.keep()
    return found, item


def full(server, **columns):
    """A content with everything."""
    return article(title="Pump", name_it="Pompa", description_short_it="Corta", price="10,50", quantity="7", weight="1.20",
                   active="1", ean13="1234567890123", categories="Heat > Pumps | Sale",
                   image=f"{server.url}/pictures/a.jpg {server.url}/pictures/b.jpg", **columns)


def rich(server, id="5", reference="RICH"):
    """A product of the shop's people, with a value in each field that is stored, and all associations."""
    row = {}
    for name, flags in server.fields["products"].items():
        row[name] = {"1": f"{name} & «one» \n two  ", "2": f" <b>{name}</b> due"} if flags.get("i18n") else "1"
    for name in ("name", "link_rewrite"):
        row[name] = {"1": "rich-one", "2": "rich-due"}
    row |= {"reference": reference, "price": "99.990000", "weight": "2.000000", "ean13": "4006381333931", "upc": "12", "state": "1", "active": "0",
            "available_date": "0000-00-00", "date_add": "2024-01-01 10:00:00", "date_upd": "2024-02-01 10:00:00", "id_category_default": "2",
            "manufacturer_name": "Acme", "position_in_category": "0", "id_default_image": "21", "type": "simple", "is_virtual": "0", "supplier_reference": "S<1>"}
    server.rows["images"]["21"] = {"id_product": id}
    row["associations"] = {
        "categories": [{"id": "2"}], "images": [{"id": "21"}], "combinations": [], "tags": [{"id": "3"}, {"id": "4"}],
        "product_features": [{"id": "1", "id_feature_value": "9"}], "accessories": [{"id": "77"}],
        "stock_availables": [{"id": "300", "id_product_attribute": "0"}],
        "product_bundle": [{"id": "8", "id_product_attribute": "0", "quantity": "6"}]}
    server.rows["products"][id] = row
    server.rows["stock_availables"]["300"] = {
        "id_product": id, "id_product_attribute": "0", "id_shop": "1", "id_shop_group": "0", "quantity": "4",
        "depends_on_stock": "0", "out_of_stock": "2", "location": "shelf 9"}
    return row


# ---- the way of a product ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", VERSIONS, indirect=True)
def test_a_product_is_created_with_all_that_the_content_says(server, shop):
    found, item = sync(shop, full(server), {})
    assert found.fields == item.fields and found.untouched and not found.binned
    assert item.fields["name.it"] == "Pompa" and item.fields["price"] == "10.5" and item.fields["weight"] == "1.2"
    assert item.fields["description.en"] == "<h1>Hot</h1>\n<p>A <em>pump</em>.</p>"
    row = server.rows["products"]["1"]
    assert row["reference"] == "SKU-1" and row["name"] == {"1": "Pump", "2": "Pompa"}
    assert row["description"] == dict.fromkeys(("1", "2"), item.fields["description.en"]), "a new product has all languages"
    assert row["link_rewrite"] == {"1": "pump", "2": "pompa"} and row["state"] == "1" and row["visibility"] == "both"
    assert row.get("product_type") == (None if server.version == "1.7" else "standard")
    names = {id: category["name"]["2"] for id, category in server.rows["categories"].items()}
    assert list(names.values()) == ["Root", "Home", "Heat", "Pumps", "Sale"]
    assert names[row["id_category_default"]] == "Pumps", "the first one given"
    assert [stock["quantity"] for stock in server.rows["stock_availables"].values()] == ["7"]
    assert [image["data"] for image in server.rows["images"].values()] == [
        b"\xff\xd8\xff/pictures/a.jpg", b"\xff\xd8\xff/pictures/b.jpg"]
    server.requests.clear()
    again, _ = sync(shop, full(server), dict(item.notes))
    assert again.fields == item.fields and all(method == "GET" for method, *_ in server.requests), "nothing is sent twice"


@pytest.mark.parametrize("server", VERSIONS, indirect=True)
def test_an_update_leaves_all_else_as_it_is(server, shop):
    """The whole product, its stock and its images before and after, field by field."""
    rich(server)
    given = full(server)
    wanted = item_for(shop, Article("RICH", given.title, given.body, given.attributes | {"link_rewrite_it": "bella-pompa"}))
    places = {"category_default": "id_category_default"}
    for name, value in wanted.fields.items():
        before = copy.deepcopy(server.rows)
        found = shop.read("5", wanted)
        assert found.fields[name] != value
        after = shop.update("5", {name: value}, wanted)
        if name != "images":
            assert after.fields[name] == value and not after.untouched
            assert {k: v for k, v in after.fields.items() if k != name} == {k: v for k, v in found.fields.items() if k != name}
        old, new = before["products"]["5"], server.rows["products"]["5"]
        changed = {field for field in old if old[field] != new[field]} - {"date_upd"}
        field = places.get(name, name.partition(".")[0])
        expected = {"quantity": set(), "categories": {"associations"}, "images": {"associations"}}.get(name, {field})
        assert changed == expected, name
        if expected == {"associations"}:
            kinds = {kind for kind in old["associations"] if old["associations"][kind] != new["associations"][kind]}
            assert kinds == {name}
        if "." in name:
            other = "2" if name.endswith(".en") else "1"
            assert old[field][other] == new[field][other], "the other language stays"
        stock = before["stock_availables"]["300"] | ({"quantity": "7"} if name == "quantity" else {})
        assert server.rows["stock_availables"]["300"] == stock
    assert json.loads(shop.read("5", wanted).fields["images"]) == ["#21", *json.loads(wanted.fields["images"])]


def test_a_virtual_product_can_be_updated(server, shop):
    """Its shop refuses even an empty list of the products of a pack."""
    row = rich(server)
    row |= {"is_virtual": "1", "associations": row["associations"] | {"product_bundle": []}}
    given = item_for(shop, article(reference="RICH", title="", body="", price="5"))
    assert shop.update("5", {"price": "5"}, given).fields == {"price": "5"}


def test_only_the_fields_of_the_content_are_touched(server, shop):
    rich(server)
    found, item = sync(shop, article(reference="RICH", title="", body="", price="5"), {})
    assert found.fields == {"price": "5"} and item.fields == {"price": "5"}
    assert not any("stock" in resource or "images" in resource for _m, resource, *_ in server.requests)


def test_a_field_that_the_shop_calls_not_writable_is_left_out(server, shop):
    before = copy.deepcopy(rich(server))
    server.read_only = {"upc", "on_sale"}
    given = item_for(shop, article(reference="RICH", title="", body="", price="5"))
    shop.read("5", given)
    shop.update("5", {"price": "5"}, given)
    assert server.asked["PUT products"] == 3, "one more for each field"
    shop.update("5", {"price": "6"}, given)
    assert server.asked["PUT products"] == 4, "and it is remembered"
    row = server.rows["products"]["5"]
    assert row["price"] == "6.000000" and row | {"price": 0, "date_upd": 0} == before | {"price": 0, "date_upd": 0}


def test_the_answer_is_found_between_notices_of_php(server, shop):
    rich(server)
    item = item_for(shop, article(reference="RICH", price="5"))
    server.misbehave("late-around", "GET", "products")
    assert shop.read("5", item).id == "5", "status 500, but whole"


def test_a_field_of_the_content_that_is_not_writable_is_no_silent_loss(server, shop):
    rich(server)
    server.read_only = {"weight", "id_category_default"}
    given = item_for(shop, article(reference="RICH", title="", body="", weight="5", categories="Heat"))
    for name in ("weight", "category_default"):
        with pytest.raises(ItemRefused, match="not writable"):
            shop.update("5", {name: given.fields[name]}, given)


# ---- kills and breaks ------------------------------------------------------------------------------------------------

LATE = ("late-cut", "late-empty", "late-php", "late-around", "late-html")
EARLY = ("401", "403", "404", "413", "429", "500", "503", "off", "nokey", "redirect", "drop", *sorted(set(fake.BODIES) - {"huge"}))


def whole(server):
    """What stands in the shop, for a comparison."""
    rows = copy.deepcopy(server.rows)
    for product in rows["products"].values():
        product |= {"date_add": "", "date_upd": ""}
    return {name: rows[name] for name in ("products", "stock_availables", "categories", "images")}


@pytest.mark.parametrize("way", sorted({*LATE, *EARLY}))
def test_a_break_at_any_request_leaves_nothing_twice_and_nothing_missing(way):
    """The n-th request fails; then the content is synced again by a new process. A break after the work is tried at
    each write, the others at each fifth request, each way at others, so that all requests are broken."""
    with serving() as server:
        sync(connect(server), full(server), {})
        expected, methods = whole(server), [method for method, *_ in server.requests]
    assert len(methods) > 20 and methods.count("POST") == 6
    writes = [n for n, method in enumerate(methods) if method != "GET"]
    for n in writes if way in LATE else range(EARLY.index(way) % 5, len(methods), 5):
        with serving() as server:
            server.misbehave(way, after=n)
            kept: dict[str, str] = {}
            shop = connect(server)
            try:
                sync(shop, full(server), kept)
            except ServiceError as error:
                assert str(error) and fake.KEY not in str(error)
            finally:
                shop.close()
            server.ways.clear()
            again = connect(server)
            found, item = sync(again, full(server), kept)
            again.close()
            there = json.loads(json.dumps(whole(server), default=bytes.hex).replace(server.url, ""))
            assert found.fields == item.fields, (n, server.requests[n][:2])
            assert there == json.loads(json.dumps(expected, default=bytes.hex)), (n, server.requests[n][:2])


def test_a_kill_before_the_answer_of_an_upload_is_noted(server, shop):
    class Killed(BaseException):
        pass

    given, kept = full(server), {}
    for n in range(1, 8):
        calls, notes = [], dict(kept)

        def keep(n=n, calls=calls, notes=notes):
            calls.append(1)
            if len(calls) == n:
                raise Killed
            kept.clear()
            kept.update(notes)

        item = item_for(shop, given, notes, keep)
        try:
            found = shop.find(item)
            changes = {k: v for k, v in item.fields.items() if found and found.fields[k] != v}
            found = shop.update(found.id, changes, item) if found and changes else found or shop.create(item)
        except Killed:
            continue
    assert len(server.rows["products"]) == 1 and len(server.rows["images"]) == 2
    assert found.fields == item.fields


@pytest.mark.parametrize("way", ["hang", "drip", "huge"])
def test_what_never_ends_ends(server, way):
    shop = connect(server, read_s=0.3, total_s=0.8)
    server.misbehave(way, "GET", "languages")
    with pytest.raises(Unavailable) as error:
        shop.fields_of(article(), {})
    assert any(words in str(error.value) for words in ("did not answer", "did not end", "larger than")), str(error.value)
    assert shop.fields_of(article(), {})["name.en"] == "Pump", "and the next call is well"


@pytest.mark.parametrize("seed", range(8))
def test_no_answer_raises_anything_but_a_sentence(server, seed):
    """Answers with pieces cut, doubled, swapped and made odd, at random places."""
    dice, odd = random.Random(seed), [b"", b"-1", b"9" * 40, b"x", b"\xff", b"]]>", b"<a/>", b"\x00", b"1e9", b"</id>", "½٣".encode(), b"<error>"]
    rich(server)
    for _ in range(40):
        shop = connect(server)
        ask, wrong = shop._shop._ask, []

        def asked(*given, ask=ask, wrong=wrong):
            answer = ask(*given)
            if dice.random() < 0.3:
                body = re.split(rb"(<[^<>]*>)", answer.body)
                for _ in range(dice.randint(1, 4)):
                    place = dice.randrange(len(body))
                    body[place] = dice.choice([*odd, body[place] * 2, body[dice.randrange(len(body))]])
                wrong.append(1)
                answer = replace(answer, body=b"".join(body), status=dice.choice([answer.status] * 4 + [200, 404, 500, 503]))
            return answer

        shop._shop._ask = asked
        given = dice.choice([full(server), Article("RICH", "N", "b", {"quantity": "3", "categories": "X > Y", "image": f"{server.url}/pictures/c.jpg"})])
        for do in (shop.check, lambda shop=shop, given=given: sync(shop, given, {}), lambda shop=shop, given=given: shop.read("5", item_for(shop, given))):
            try:
                do()
            except ServiceError as error:
                assert str(error)
        shop.close()


# ---- sentences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "kind", "words"), [
    ("401", Refused, "asks for a password of its own"), ("403", Refused, "Forbidden by the firewall"),
    ("404", Refused, "no webservice of PrestaShop"), ("413", ItemRefused, "smaller"), ("429", Limited, "wait 7 s"),
    ("500", Unavailable, "error 500"), ("503", Limited, "We will be back soon"), ("off", Refused, "switched off"),
    ("nokey", Refused, "drops the Authorization header"), ("html", Unavailable, "Log in"), ("empty", Unavailable, "(nothing)"),
    ("bomb", Unavailable, "entities"), ("dtd", Unavailable, "attack"), ("shape", Unavailable, "product #5"),
    ("latin", Unavailable, "not UTF-8"), ("broken", Unavailable, "broken or incomplete"), ("deep", Unavailable, "too deep"),
    ("noid", Unavailable, "without an id"), ("redirect", Refused, "redirects to https://www.example.org/api/"),
    ("late-php", Unavailable, "an error of its own PHP: [PHP Notice #8]"), ("drop", Unavailable, "broke off"), ("echo", ItemRefused, "[hidden]")])
def test_each_failure_has_its_sentence_and_class(server, shop, way, kind, words):
    rich(server)
    item = item_for(shop, article(reference="RICH", price="5"))
    server.misbehave(way, "GET", "products/5", times=2)
    with pytest.raises(ServiceError) as error:
        shop.read("5", item)
    assert type(error.value).__mro__[:-1].index(kind) < 2 and words in str(error.value), str(error.value)
    assert fake.KEY not in str(error.value)
    server.ways.clear()
    assert shop.read("5", item).id == "5"


@pytest.mark.parametrize("way", ["late-php", "late-html", "late-around", "late-empty"])
def test_an_update_that_was_done_under_an_error_is_looked_at(server, shop, way):
    rich(server)
    item = item_for(shop, article(reference="RICH", price="5"))
    server.misbehave(way, "PUT", "products")
    assert shop.update("5", {"price": "5"}, item).fields["price"] == "5"
    server.misbehave("500", "PUT", "products")
    with pytest.raises(Unavailable, match="error 500") as error:
        shop.update("5", {"price": "6"}, item)
    assert error.value.sent


@pytest.mark.parametrize("way", ["late-php", "late-html", "late-around", "late-empty"])
def test_what_was_made_under_an_error_is_looked_for(server, shop, way):
    for resource in ("products", "categories", "images"):
        server.misbehave(way, "POST", resource)
    item = item_for(shop, full(server))
    assert shop.create(item).fields == item.fields
    assert (server.asked["POST products"], server.asked["POST categories"], server.asked["POST images"]) == (1, 3, 2)


def test_the_shops_own_words_come_to_the_person(server, shop):
    rich(server)
    server.fields["products"]["isbn"] = {"format": "isEan13"}
    item = item_for(shop, article(reference="RICH", price="5"))
    server.rows["products"]["5"]["isbn"] = "no <b>number</b>"
    with pytest.raises(ItemRefused, match="The shop refuses: Validation error: \"Property products->isbn is not valid\""):
        shop.update("5", {"price": "5"}, item)


def test_a_test_of_the_connection_says_what_was_found(server, shop):
    assert str(shop.check()).startswith("The shop Fake & Sons (PrestaShop 8.1.7) gives all rights")
    assert "Languages: en, it" in shop.check() and all(method == "GET" for method, *_ in server.requests)
    assert "DELETE" not in shop.check()
    server.rights["products"] = {"GET", "PUT", "POST"}
    assert re.search("gives all rights.* The right DELETE on products is missing: .* switched off", connect(server).check())
    server.rights |= {"products": {"GET"}, "languages": set()}
    del server.rights["images"]
    with pytest.raises(Refused, match="lacks rights: products PUT POST, images GET POST, languages GET"):
        connect(server).check()


@pytest.mark.parametrize(("way", "kind", "words"), [
    ("html", Refused, "a web page, not with the webservice"), ("empty", Refused, "a web page"), ("404", Refused, "no webservice"),
    ("off", Refused, "switched off"), ("503", Limited, "maintenance"), ("nokey", Refused, "Authorization"), ("500", Unavailable, "500")])
def test_a_shop_without_webservice_is_told_apart(server, way, kind, words):
    server.misbehave(way, times=9)
    with pytest.raises(kind, match=words):
        connect(server).check()


def test_a_wrong_key_and_a_lost_right_have_their_sentences(server, shop):
    with pytest.raises(Refused, match="does not accept the key"):
        connect(server, key="X" * 32).check()
    item = item_for(shop, article(price="5"))
    server.rights["products"] = {"GET"}
    with pytest.raises(Refused, match="lacks the right POST on products"):
        shop.create(item)
    del server.rights["products"]
    with pytest.raises(Refused, match="lacks the right GET on products"):
        shop.find(item)


def test_a_shop_without_mod_rewrite_and_an_address_with_api_work():
    with serving(dispatcher=True) as server:
        shop = connect(server)
        found, item = sync(shop, full(server), {})
        assert found.fields == item.fields and "PrestaShop 8.1.7" in shop.check()
    with serving() as server:
        assert "gives all rights" in connect(server, base=f"{server.url}/api/").check()


# ---- references --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["A[1]", "[A]", "A|B", "1,2", "a%b", "A]x[B", "a_b", "Ä 1", "%[x", "|", "7"])
def test_a_reference_is_compared_exactly_whatever_its_signs(server, shop, reference):
    for id, other in enumerate(("A", "B", "A[2]", "[1]", "1", "1.5", "aXb", "ab", reference.swapcase() + ".", "x"), start=10):
        rich(server, str(id), other)
    item = item_for(shop, article(reference=reference, price="5"))
    assert shop.find(item) is None
    rich(server, "30", reference)
    assert shop.find(item).id == "30"


def test_two_products_with_one_reference_are_refused_until_one_is_ours(server, shop):
    for id in ("12", "9"):
        rich(server, id, "TWO")
    item = item_for(shop, article(reference="TWO", price="5"))
    with pytest.raises(ItemRefused, match=r"2 products with the reference TWO \(#9, #12\)"):
        shop.find(item)
    item.notes["id"] = "12"
    assert shop.find(item).id == "12"
    item.notes = {"making": "1"}
    assert shop.find(item).id == "9", "two claims made them: the oldest is ours"
    item.notes["id"] = "12"
    assert shop.find(item).id == "12"


def test_a_create_that_the_shop_refuses_is_over(server, shop):
    """A product that people make later is not taken for ours."""
    for way, kind in (("403", Refused), ("413", ItemRefused)):
        server.misbehave(way, "POST", "products")
        kept: dict[str, str] = {}
        with pytest.raises(kind):
            sync(shop, full(server), kept)
        assert "making" not in kept
    server.misbehave("403", "POST", "products")
    kept["making"] = "1"  # one whose answer was lost may still arrive
    with pytest.raises(Refused):
        sync(shop, full(server), kept)
    assert kept["making"] == "1"


def test_of_two_made_at_once_the_oldest_is_found_and_the_younger_can_go(server, shop):
    """The engine looks again after a create, and removes its own when another claim was first."""
    given = full(server)
    first, _ = sync(connect(server), given, {})
    item = item_for(shop, given)
    second = shop.create(item)
    assert (first.id, second.id) == ("1", "2") and shop.find(item).id == "1"
    assert item.notes["id"] == "1"
    assert shop.remove("2") == "" and shop.remove("2") == ""
    assert shop.find(item).id == "1" and list(server.rows["products"]) == ["1"]


def test_without_the_right_delete_the_younger_is_switched_off_and_blocks_nothing(server, shop):
    server.rights["products"] = {"GET", "PUT", "POST"}
    given = full(server)
    first, _ = sync(connect(server), given, {})
    shop.create(item_for(shop, given))
    before = copy.deepcopy(server.rows["products"])
    assert re.search("#2 .* same time as #1, .* may not delete", shop.remove("2"))
    row, same = server.rows["products"]["2"], ("name", "description", "price", "associations", "state", "link_rewrite")
    assert (row["active"], row["reference"], server.rows["products"]["1"]) == ("0", "", before["1"])
    assert all(row[name] == before["2"][name] for name in same)
    assert connect(server).find(item_for(shop, given)).id == "1", "not refused as two with one reference"
    assert shop.remove("7") == ""


@pytest.mark.parametrize("columns", [
    {}, {"name": "N", "description_short": "s"}, {"name_en": "E", "description_it": "*due*"}, {"description": "*d*", "Price": "1"}])
def test_what_stands_there_can_be_taken_over(server, shop, columns):
    row = rich(server)
    server.rows["categories"]["9"] = {"id_parent": "2", "name": dict.fromkeys(("1", "2"), "Heat")}
    row["associations"]["categories"] = [{"id": "2"}, {"id": "9"}]
    row |= {"id_category_default": "2", "description": {"1": "<p>A <b>new</b> one</p>", "2": "<p>due</p>"}}
    given = full(server, **columns)
    given = Article("RICH", given.title, given.body, given.attributes)
    item = item_for(shop, given)
    found = shop.read("5", item)
    assert found.fields != item.fields
    taken = shop.accept(found.fields, given)
    expected = {name: value for name, value in found.fields.items() if name != "images"}
    assert {name: value for name, value in shop.fields_of(taken, {}).items() if name != "images"} == expected
    assert taken.reference == "RICH" and json.loads(found.fields["images"]) == ["#21"]


def test_a_deleted_product_and_a_form_never_saved_are_none(server, shop):
    rich(server)
    item = item_for(shop, article(reference="RICH", price="5"))
    assert shop.read("5", item).id == "5" and shop.read("6", item) is None
    server.rows["products"]["5"]["state"] = "0"
    assert shop.read("5", item) is None and shop.find(item) is None
    shop.remove("5")
    shop.remove("5")
    assert not server.rows["products"]


# ---- stock -------------------------------------------------------------------------------------------------------------


def test_a_sale_in_the_moment_of_writing_is_not_overwritten(server, shop):
    rich(server)
    item = item_for(shop, article(reference="RICH", quantity="7"))
    shop.read("5", item)
    server.rows["stock_availables"]["300"]["quantity"] = "3"
    with pytest.raises(Limited, match="at this moment"):
        shop.update("5", {"quantity": "7"}, item)
    assert server.rows["stock_availables"]["300"]["quantity"] == "3"
    assert shop.read("5", item).fields["quantity"] == "3"
    shop.update("5", {"quantity": "7"}, item)
    assert server.rows["stock_availables"]["300"]["quantity"] == "7"


def test_with_the_option_our_stock_wins_over_sales(server):
    """The engine sends it when it changes here; a sale between is no conflict."""
    rich(server)
    shop = connect(server, stock="ours")
    item = item_for(shop, article(reference="RICH", quantity="7"))
    assert shop.update("5", {"quantity": "7"}, item).fields["quantity"] == "7"
    assert shop.one_way == connect(server).lenient == {"quantity"} and shop.lenient == connect(server).one_way == frozenset()
    server.rows["stock_availables"]["300"]["quantity"] = "3"
    assert shop.update("5", {"quantity": "9"}, item_for(shop, article(reference="RICH", quantity="9"))).fields["quantity"] == "9"


def test_stock_that_cannot_be_set_is_refused_before_anything_is_sent(server, shop):
    row = rich(server)
    row["associations"]["combinations"] = [{"id": "1"}]
    item = item_for(shop, article(reference="RICH", quantity="7", price="5"))
    with pytest.raises(ItemRefused, match="has combinations"):
        shop.update("5", {"quantity": "7", "price": "5"}, item)
    assert row["price"] == "99.990000"
    row["associations"]["combinations"] = []
    server.rows["stock_availables"]["300"]["depends_on_stock"] = "1"
    with pytest.raises(ItemRefused, match="depends on stock"):
        shop.update("5", {"quantity": "7"}, item)
    del server.rows["stock_availables"]["300"]
    with pytest.raises(ItemRefused, match="no stock of product #5"):
        shop.read("5", item)


# ---- categories and images -------------------------------------------------------------------------------------------


def test_categories_are_found_without_case_and_made_once(server, shop):
    sync(shop, article(reference="A", categories="Heat > Pumps|Sale"), {})
    count = len(server.rows["categories"])
    found, _ = sync(connect(server), article(reference="B", categories="HEAT > pumps | sale|Home"), {})
    assert len(server.rows["categories"]) == count and found.fields["categories"] == '["Heat > Pumps", "Home", "Sale"]'
    server.rows["categories"]["3"]["id_parent"] = "4"  # a circle of 3 and 4
    assert sync(connect(server), article(reference="C", categories="Sale"), {})[0].fields["categories"] == '["Sale"]'
    assert connect(server).read("1", item_for(shop, article(reference="A", categories="Sale"))).id == "1"


@pytest.mark.parametrize(("address", "words"), [
    ("{0}/pictures/missing.jpg", "status 404"), ("{0}/pictures/page.jpg", "but text/html"),
    ("{0}/pictures/large.jpg", "cannot be downloaded. The answer is larger than 20 MB"),
    ("http://127.0.0.1:{1}/x.jpg", "cannot be downloaded"), ("http://nowhere.invalid/x.jpg", "cannot be downloaded")])
def test_an_image_that_cannot_be_had_is_the_items_and_nothing_is_sent(server, shop, address, words):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = address.format(server.url, closed.getsockname()[1])
        with pytest.raises(ItemRefused) as error:
            sync(shop, article(image=url), {})
    assert words in str(error.value) and not server.rows["products"]


def test_the_images_of_a_content_are_bounded_together(server, shop, monkeypatch):
    monkeypatch.setattr("app.integrations.images.MOST_IMAGES", 30)
    with pytest.raises(ItemRefused, match="have more than 0 MB together"):
        sync(shop, full(server), {})
    assert not server.rows["products"]


def test_images_are_downloaded_without_the_key(server, shop):
    seen = []
    picture = fake.Handler.picture
    fake.Handler.picture = lambda self, path: (seen.append(self.headers.get("Authorization")), picture(self, path))[1]
    try:
        sync(shop, full(server), {})
    finally:
        fake.Handler.picture = picture
    assert seen == [None, None] and all(auth.startswith("Basic ") for *_, auth in server.requests)


def test_an_image_that_the_shop_refuses_is_named_and_leaves_no_note(server, shop):
    kept: dict[str, str] = {}
    server.misbehave("413", "POST", "images")
    with pytest.raises(ItemRefused, match="does not take the image .*/pictures/a.jpg"):
        sync(shop, full(server), kept)
    assert "image?" not in kept
    found, item = sync(shop, full(server), kept)
    assert found.fields == item.fields and len(server.rows["images"]) == 2


def test_an_image_that_people_removed_is_told_and_uploaded_when_wanted(server, shop):
    kept: dict[str, str] = {}
    _, item = sync(shop, full(server), kept)
    del server.rows["products"]["1"]["associations"]["images"][0]
    assert json.loads(shop.read("1", item).fields["images"]) == [f"{server.url}/pictures/b.jpg"]
    shop.update("1", {"images": item.fields["images"]}, item)
    assert len(server.rows["products"]["1"]["associations"]["images"]) == 2


# ---- columns ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "words"), [
    ({"name_fr": "Pompe"}, "name_fr is for a language that the shop does not have; it has en, it"),
    ({"title": "x" * 129}, "name cannot be sent: it has 129 characters, and the shop takes 128"),
    ({"title": "A <b>"}, "it may not contain"), ({"reference": "x" * 65}, "reference cannot be sent: it has 65"),
    ({"reference": "a=b"}, "reference cannot be sent"), ({"body": "<p>x</p><script>1</script>"}, "no scripts"),
    ({"body": "<p><a onclick = 'x()'>x</a></p>"}, "no scripts"), ({"description_it": "<p><iframe></iframe></p>"}, "description_it cannot be sent: the shop takes no iframe"),
    ({"price": "ten"}, "price cannot be sent: it must be a number like"), ({"price": "-1"}, "price cannot be sent: it must be a number from 0"),
    ({"price": "1e9"}, "price"), ({"price": "12345678901"}, "price"), ({"weight": "1.2.3"}, "weight"), ({"active": "maybe"}, "active cannot be sent: it must be 1 or 0"),
    ({"ean13": "12345678901234"}, "ean13"), ({"quantity": "1.5"}, "whole number"), ({"quantity": "9" * 12}, "whole number"),
    ({"categories": "A > > B"}, "no path like"), ({"categories": "A=B"}, "no path like"), ({"categories": "|".join(map(str, range(60)))}, "more than 50"),
    ({"image": "ftp://x/y.jpg"}, "no address that begins with https://"), ({"image": "https://[x/y.jpg"}, "no address"),
    ({"image": " ".join(f"https://x/{n}" for n in range(21))}, "more than 20 images"), ({"link_rewrite": "a b"}, "link_rewrite")])
def test_a_content_that_the_shop_cannot_take_is_refused_with_its_column(server, shop, columns, words):
    with pytest.raises(ItemRefused) as error:
        shop.fields_of(article(**columns), {})
    assert words in str(error.value)
    assert not any(method != "GET" for method, *_ in server.requests)


@pytest.mark.parametrize(("columns", "fields"), [
    ({"price": "10.500000"}, {"price": "10.5"}), ({"price": "0,10"}, {"price": "0.1"}), ({"price": "100"}, {"price": "100"}),
    ({"price": "1.1234567"}, {"price": "1.123457"}), ({"weight": "0.000"}, {"weight": "0"}), ({"active": "Sì"}, {"active": "1"}),
    ({"quantity": "007"}, {"quantity": "7"}), ({"quantity": "-2"}, {"quantity": "-2"}), ({"price": " "}, {}),
    ({"NAME_IT": "  Una\r\nPompa\x00 "}, {"name.it": "Una Pompa"}), ({"name": "N", "name_en": "E"}, {"name.en": "E"}),
    ({"name": "N"}, {"name.en": "N"}), ({"body": "a", "description": "b *c*"}, {"description.en": "<p>b <em>c</em></p>"}),
    ({"format": "html", "body": "a *b*"}, {"description.en": "a *b*"}), ({"name_": "x", "named": "y", "other": "z"}, {}),
    ({"description_short_it": "s"}, {"description_short.it": "<p>s</p>"}), ({"image": "https://x/a|https://x/b https://x/a"}, {"images": '["https://x/a", "https://x/b"]'}),
    ({"categories": "B| A >  C |B"}, {"categories": '["A > C", "B"]', "category_default": "B"}), ({"body": "Online = cheap, description: fine"}, {"description.en": "<p>Online = cheap, description: fine</p>"})])
def test_columns_become_fields_in_one_form(shop, columns, fields):
    assert shop.fields_of(article(**{"title": "", "body": ""} | columns), {}) == fields


def test_a_version_without_a_field_is_not_sent_it(server, shop):
    del server.fields["products"]["ean13"]
    assert "ean13" not in shop.fields_of(full(server), {})
    found, item = sync(shop, full(server), {})
    assert found.fields == item.fields


def test_the_default_language_is_the_shops_the_options_or_the_first(server):
    assert "name.en" in connect(server).fields_of(article(), {}), "the key may not read configurations"
    assert "name.it" in connect(server, language="IT").fields_of(article(), {})
    server.rights["configurations"] = {"GET"}
    assert "name.it" in connect(server).fields_of(article(), {})
    with pytest.raises(Refused, match="option language is fr"):
        connect(server, language="fr").fields_of(article(), {})


def test_a_new_product_needs_a_name_and_the_links_know_the_back_office(server):
    shop = connect(server, admin="/admin77/", tax_rules_group=3)
    with pytest.raises(ItemRefused, match="needs a name"):
        sync(shop, article(title="", price="5"), {})
    with pytest.raises(ItemRefused, match="on sale needs a price"):
        sync(shop, article(active="1"), {})
    assert not server.rows["products"]
    found, _ = sync(shop, article(), {})
    assert found.url == f"{server.url}/index.php?controller=product&id_product=1"
    assert found.edit_url == f"{server.url}/admin77/index.php?controller=AdminProducts&id_product=1&updateproduct"
    assert server.rows["products"]["1"]["id_tax_rules_group"] == "3" and server.rows["products"]["1"]["active"] == "0"


def test_the_version_of_the_shop_is_taken_over_whole(server, shop):
    """What `accept` makes gives the shop's fields again, also with texts in Markdown and columns by language."""
    given, kept = full(server, description_it="*Calda*"), {}
    found, item = sync(shop, given, kept)
    row = server.rows["products"][found.id]
    row["name"] = {"1": "Pump of theirs", "2": "Pompa di loro"}
    row["description"] = row["description"] | {"2": "<p>Fredda</p>"}
    row |= {"price": "12.500000", "active": "0"}
    theirs = shop.read(found.id, item).fields
    taken = shop.accept(theirs, given)
    assert shop.fields_of(taken, {}) == theirs and theirs["price"] == "12.5"
    assert taken.attributes["description_it"] == "<p>Fredda</p>" and taken.attributes["format"] == "html"


def test_a_price_that_is_taken_over_leaves_texts_in_markdown(server, shop):
    found, item = sync(shop, article(price="10"), {})
    server.rows["products"][found.id]["price"] = "11.000000"
    taken = shop.accept(shop.read(found.id, item).fields, article(price="10"))
    assert (taken.body, taken.attributes) == ("# Hot\n\nA *pump*.", {"price": "11"})
