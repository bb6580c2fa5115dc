"""A sync of contents with the fake WordPress, killed before and after each of its requests; with a real one by
bash scripts/real-wordpress.sh."""

from __future__ import annotations

import json
import os
import uuid

import pytest

from app.integrations.outside import Outside
from app.integrations.service_errors import Limited
from app.integrations.wordpress import WordPress
from tests.integrations.test_real_wordpress import Real
from tests.integrations.test_wordpress import Fake
from tests.integrations.wordpress_alike import Pictures
from tests.services.content.test_sync import Here, Killed

REAL = "REAL_WORDPRESS" in os.environ


class Killing(Outside):
    """Dies at request number `at`: before it is sent, or after it was done."""

    at, after, asked = -1, False, 0

    def request(self, *args, **options):
        number, self.asked = self.asked, self.asked + 1
        if number == self.at and not self.after:
            raise Killed
        answer = super().request(*args, **options)
        if number == self.at:
            raise Killed
        return answer


@pytest.fixture(scope="module")
def sites():
    blog, pictures = Real() if REAL else Fake(), Pictures()
    yield blog, pictures
    pictures.shutdown()
    pictures.server_close()
    if not REAL:
        blog.server.shutdown()
        blog.server.server_close()


def service(blog, at=-1, after=False):
    outside = Killing(blog.url, blog.user, blog.password, private=True)
    outside.at, outside.after = at, after
    return WordPress(outside, {})


@pytest.mark.parametrize("after, meta", [(False, False), (True, False), (True, True)][:2 if REAL else 3])
def test_a_kill_at_each_request_makes_nothing_twice_and_loses_nothing(ledger, sites, after, meta):
    blog, pictures = sites
    if not REAL:
        blog.set(meta=meta)
    here = Here(ledger, None)
    steps, whole = 0, False
    while not whole:
        name = uuid.uuid4().hex[:8]
        here.content(name, f"Title {name}", "Text.", image=pictures.picture(f"{name}.png"), categories=f"c {name}", tags=f"t {name}|u {name}")
        for change in ({}, {"title": f"New {name}", "attributes": json.dumps({"tags": f"v {name}"})}):
            here.change(name, **change)
            here.there = service(blog, steps, after)
            whole = True
            try:
                here.sync(name, options={"status": "publish"})
            except Killed:
                whole = False
            here.there.close()
            here.there = service(blog)
            result = here.sync(name, options={"status": "publish"})
            here.there.close()
            assert result.action in ("created", "updated", "unchanged"), (steps, change, result)
        (post,) = blog.ask("GET", "posts", search=name, status="any,trash", context="edit")
        assert (post["title"]["raw"], post["status"]) == (f"New {name}", "publish"), steps
        tags, categories = ({term["name"]: term["id"] for term in blog.ask("GET", kind, search=name)} for kind in ("tags", "categories"))
        assert sorted([*tags, *categories]) == [f"{x} {name}" for x in "ctuv"] and post["tags"] == [tags[f"v {name}"]]
        assert post["categories"] == [categories[f"c {name}"]] and post["_links"]["version-history"][0]["count"] == 1
        assert [row["id"] for row in blog.ask("GET", "media", search=name)] == [post["featured_media"]]
        steps += 1
    assert steps > 8


def test_edits_there_are_conflicts_and_publishing_there_is_none(ledger, sites):
    blog, _pictures = sites
    if not REAL:
        blog.set(meta=False)
    here, name = Here(ledger, service(blog)), uuid.uuid4().hex[:8]
    here.content(name, "Title", "One", tags="a")
    assert here.sync(name).action == "created"
    number = here.link(name).remote_id
    assert blog.ask("GET", f"posts/{number}", context="edit")["status"] == "draft"
    blog.ask("POST", f"posts/{number}", {"status": "publish", "excerpt": "theirs"})
    here.change(name, title="Title 2")
    assert here.sync(name, options={"status": "draft"}).action == "updated"
    post = blog.ask("GET", f"posts/{number}", context="edit")
    assert (post["title"]["raw"], post["status"], post["excerpt"]["raw"]) == ("Title 2", "publish", "theirs")
    blog.ask("POST", f"posts/{number}", {"content": "<p>theirs</p>"})
    assert here.sync(name).action == "conflict"
    assert blog.ask("GET", f"posts/{number}", context="edit")["content"]["raw"] == "<p>theirs</p>"
    here.change(name, body="Two")
    result = here.sync(name)
    assert (result.action, "body" in result.text) == ("conflict", True)
    blog.ask("DELETE", f"posts/{number}")
    assert here.sync(name).action == "gone"
    here.there.close()


def test_two_workers_at_once_make_one_post(ledger, sites):
    """The second one was started because the first was judged dead; both create."""
    blog, _pictures = sites
    here, name = Here(ledger, service(blog)), uuid.uuid4().hex[:8]
    here.content(name, f"Title {name}", "One")
    item_of_first = here.there.create
    here.there.create = lambda item: (here.there.__class__.create(service(blog), item), item_of_first(item))[1]
    here.sync(name)
    assert len(blog.ask("GET", "posts", search=name, status="any,trash", context="edit")) == 1


def raising(error):
    def call(*_):
        raise error
    return call


@pytest.mark.parametrize("when", ["2020-01-01T00:00:00", ""])
def test_a_persons_post_without_our_key_is_never_overwritten(ledger, sites, when):
    """It has our slug and date, or was made while our create failed; nobody has edited it."""
    blog, _pictures = sites
    if not REAL:
        blog.set(meta=False)
    here, name = Here(ledger, service(blog)), uuid.uuid4().hex[:8]
    theirs = {"title": f"T {name}", "content": "<p>A person wrote this</p>", "status": "publish", "slug": name}
    person = blog.ask("POST", "posts", theirs | ({"date_gmt": when} if when else {}))["id"]
    here.content(name, f"T {name}", "Ours", slug=name, **({"date": f"{when}Z"} if when else {}))
    works, here.there.create = here.there.create, raising(Killed())
    with pytest.raises(Killed):
        here.sync(name, options={"status": "publish"})
    here.there.create = works
    done = [here.sync(name, options={"status": "publish"}).action]
    here.change(name, body="Ours 2")
    done.append(here.sync(name, options={"status": "publish"}).action)
    assert blog.ask("GET", f"posts/{person}", context="edit")["content"]["raw"] == "<p>A person wrote this</p>"
    assert done == (["created", "updated"] if when else ["conflict", "conflict"])
    here.there.close()


@pytest.mark.parametrize("field, value", [("content", "<p>A person saved this</p>"), ("title", "By a person")])
def test_what_a_person_saves_while_the_image_is_made_stays(ledger, sites, field, value):
    blog, pictures = sites
    here, name = Here(ledger, service(blog)), uuid.uuid4().hex[:8]
    here.content(name, f"T {name}", "One")
    here.sync(name)
    number = here.link(name).remote_id
    upload = here.there.outside.request

    def request(method, url, **options):
        if "media" in url and method == "POST":
            blog.ask("POST", f"posts/{number}", {field: value})
        return upload(method, url, **options)

    here.there.outside.request = request
    here.change(name, body="Two", attributes=json.dumps({"image": pictures.picture(f"{name}.png")}))
    with pytest.raises(Limited, match=f"Somebody changed post #{number} in WordPress"):
        here.sync(name)
    assert here.sync(name).action == "conflict"
    assert blog.ask("GET", f"posts/{number}", context="edit")[field]["raw"].startswith(value)
    here.decide("ours", name)
    assert here.sync(name).action == "updated"
    assert len(blog.ask("GET", "media", search=name)) == 1
    here.there.close()


def test_a_slug_with_a_number_is_its_own_unless_wordpress_made_it(ledger, sites):
    blog, _pictures = sites
    here, name = Here(ledger, service(blog)), f"s{uuid.uuid4().hex[:8]}"
    number = 0

    def sync(slug: str | None = None) -> tuple[str, str]:
        if slug:
            here.change(name, attributes=json.dumps({"slug": slug}))
        done = here.sync(name, options={"status": "publish"}).action
        return done, blog.ask("GET", f"posts/{number or here.link(name).remote_id}", context="edit")["slug"]

    here.content(name, f"T {name}", "One", slug=f"{name}-2024")
    assert sync() == ("created", f"{name}-2024")
    number = here.link(name).remote_id
    assert sync(name) == ("updated", name)
    blog.ask("POST", f"posts/{number}", {"slug": f"{name}-2"})  # a person
    assert sync() == ("conflict", f"{name}-2")
    here.decide("ours", name)
    assert sync() == ("updated", name)
    blog.ask("POST", "posts", {"title": "x", "slug": f"{name}-taken", "status": "publish"})
    assert sync(f"{name}-taken") == ("updated", f"{name}-taken-2")
    assert sync() == ("unchanged", f"{name}-taken-2")
    assert sync(f"{name}-free") == ("updated", f"{name}-free"), "no conflict: nobody changed it there"
    assert sync() == ("unchanged", f"{name}-free")
    here.there.close()


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_while_a_taken_slug_gets_its_number_is_no_conflict(ledger, sites, after):
    blog, _pictures = sites
    here, whole, steps = Here(ledger, None), False, 0
    while not whole:
        name = uuid.uuid4().hex[:8]
        for slug in (name, f"{name}-b"):
            blog.ask("POST", "posts", {"title": "x", "slug": slug, "status": "publish", "date_gmt": "2020-01-01T00:00:00"})
        here.content(name, f"Title {name}", "Text.", slug=name)
        for change in ({}, {"title": "T", "attributes": json.dumps({"slug": f"{name}-b"})}, {"title": "U"}):
            here.change(name, **change)
            here.there, whole = service(blog, steps, after), True
            try:
                here.sync(name, options={"status": "publish"})
            except Killed:
                whole = False
            here.there.close()
            here.there = service(blog)
            ledger.change("UPDATE sync_links SET since_ms = since_ms - 3600000 WHERE since_ms > 0")
            result = here.sync(name, options={"status": "publish"})
            here.there.close()
            assert result.action in ("created", "updated", "unchanged"), (steps, change, result)
        assert blog.ask("GET", f"posts/{here.link(name).remote_id}", context="edit")["slug"] == f"{name}-b-2"
        steps += 1


def test_columns_that_come_later_are_no_conflict(ledger, sites):
    """A post without a category stands in the site's first one."""
    blog, _pictures = sites
    here, name = Here(ledger, service(blog)), uuid.uuid4().hex[:8]
    here.content(name, f"T {name}", "One")
    here.sync(name)
    here.change(name, attributes=json.dumps({"tags": f"a {name}|b {name}", "categories": f"c {name}"}))
    assert here.sync(name).action == "updated"
    blog.ask("POST", f"posts/{here.link(name).remote_id}", {"categories": []})  # a person
    assert here.sync(name).action == "conflict"
    here.there.close()
