"""A sync of contents with the fake WordPress, killed before and after each of its requests; with a real one by
bash scripts/real-wordpress.sh."""

from __future__ import annotations

import json
import os
import uuid

import pytest

from app.integrations.outside import Outside
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
