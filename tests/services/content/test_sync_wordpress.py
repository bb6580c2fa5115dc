"""A sync of contents with the fake WordPress, killed before and after each of its requests."""

from __future__ import annotations

import json
import uuid

import pytest

from app.integrations.outside import Outside
from app.integrations.wordpress import WordPress
from tests.integrations.test_wordpress import Fake
from tests.integrations.wordpress_alike import Pictures
from tests.services.content.test_sync import Here, Killed


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
    blog, pictures = Fake(), Pictures()
    yield blog, pictures
    for server in (blog.server, pictures):
        server.shutdown()
        server.server_close()


def service(blog, at=-1, after=False):
    outside = Killing(blog.url, blog.user, blog.password, private=True)
    outside.at, outside.after = at, after
    return WordPress(outside, {})


@pytest.mark.parametrize("after, meta", [(False, False), (True, False), (True, True)])
def test_a_kill_at_each_request_makes_nothing_twice_and_loses_nothing(ledger, sites, after, meta):
    blog, pictures = sites
    blog.set(meta=meta)
    here = Here(ledger, None)
    steps = 0
    while True:
        name = uuid.uuid4().hex[:8]
        here.content(name, f"Title {name}", "Text.", image=pictures.picture(f"{name}.png"), categories=f"c {name}", tags=f"t {name}|u {name}")
        for change in ({}, {"title": f"New {name}", "attributes": json.dumps({"tags": f"v {name}"})}):
            here.change(name, **change)
            blog.server.log.clear()
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
        mine = [post for post in blog.server.site.posts.values() if name in post["title"]]
        assert [post["title"] for post in mine] == [f"New {name}"] and mine[0]["status"] == "publish", steps
        terms = blog.server.site.terms
        assert sorted(t["name"] for kind in terms.values() for t in kind.values() if name in t["name"]) == [f"{x} {name}" for x in "ctuv"]
        assert [terms["tags"][number]["name"] for number in mine[0]["tags"]] == [f"v {name}"]
        assert mine[0]["featured_media"] in blog.server.site.media and mine[0]["revisions"] == 1
        steps += 1
        if whole:
            break
    assert steps > 5 and len(blog.server.site.media) == len({m["slug"].rpartition("-")[2] for m in blog.server.site.media.values()})


def test_edits_there_are_conflicts_and_publishing_there_is_none(ledger, sites):
    blog, _pictures = sites
    blog.set(meta=False)
    here, name = Here(ledger, service(blog)), uuid.uuid4().hex[:8]
    here.content(name, "Title", "One", tags="a")
    assert here.sync(name).action == "created"
    number = max(blog.server.site.posts)
    assert blog.server.site.posts[number]["status"] == "draft"
    blog.ask("POST", f"posts/{number}", {"status": "publish", "excerpt": "theirs"})
    here.change(name, title="Title 2")
    assert here.sync(name, options={"status": "draft"}).action == "updated"
    post = blog.server.site.posts[number]
    assert (post["title"], post["status"], post["excerpt"]) == ("Title 2", "publish", "theirs")
    blog.ask("POST", f"posts/{number}", {"content": "<p>theirs</p>"})
    assert here.sync(name).action == "conflict" and "theirs" in blog.server.site.posts[number]["content"]
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
    assert [post["title"] for post in blog.server.site.posts.values() if name in post["title"]] == [f"Title {name}"]
