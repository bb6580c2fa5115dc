"""The tests of wordpress_alike.py and the look of a post, on a real WordPress: bash scripts/real-wordpress.sh."""

from __future__ import annotations

import os
import shlex
import subprocess
import urllib.request
import uuid
from pathlib import Path

import pytest

from tests.integrations.wordpress_alike import *  # noqa: F403  (its tests run here)
from tests.integrations.wordpress_alike import Blog, item_of

pytestmark = pytest.mark.skipif("REAL_WORDPRESS" not in os.environ, reason="scripts/real-wordpress.sh starts one")
OPTIONS = {"pretty": [("permalink_structure", "/%postname%/"), ("rewrite_rules", "")], "meta": [("ainstein_meta", "")],
           "filter": [("ainstein_filter", "")]}


class Real(Blog):
    def __init__(self) -> None:
        url, user, password, self.command = Path(os.environ["REAL_WORDPRESS"]).read_text().splitlines()
        super().__init__(url, user, password)
        self.accounts: dict[str, tuple[str, str]] = {}
        self.changed: set[str] = set()

    def set(self, **options) -> None:
        for name, value in options.items():
            for option, usual in OPTIONS[name]:
                new = (usual if name == "pretty" else "1") if value else ""
                subprocess.run([*shlex.split(self.command), option, new], check=True, timeout=60)
            self.changed.add(name)

    def account(self, role: str) -> tuple[str, str]:
        if role not in self.accounts:
            user = self.ask("POST", "users", {"username": role, "password": uuid.uuid4().hex, "email": f"{role}@example.org", "roles": [role]})
            made = self.ask("POST", f"users/{user['id']}/application-passwords", {"name": "test"})
            self.accounts[role] = role, made["password"]
        return self.accounts[role]


@pytest.fixture(scope="module")
def real():
    return Real()


@pytest.fixture
def blog(real):
    yield real
    for name in real.changed:
        real.set(**{name: name == "pretty"})
    real.changed.clear()
    while real.opened:
        real.opened.pop().close()


@pytest.mark.parametrize("body, seen", [
    ("one\ntwo\n\n- a\n- b", "<p>one two</p>\n<ul>\n<li>a</li>\n<li>b<!-- KEY --></li>\n</ul>\n"),
    ("<p>one</p>\n<p>two</p>", "<p>one</p>\n<p>two<!-- KEY --></p>\n"),
    ("<!-- wp:paragraph -->\n<p>a</p>\n<!-- /wp:paragraph -->", "<p>a</p>\n\n\n<!-- KEY -->"),
])
def test_readers_see_no_trace_of_the_key(blog, body, seen):
    service = blog.service()
    item = item_of(service, body=body, status="publish")
    found = service.create(item)
    rendered = blog.ask("GET", f"posts/{found.id}")["content"]["rendered"]
    assert rendered.replace(f"ainstein-key:{item.key}", "KEY").strip() == seen.strip()
    with urllib.request.urlopen(found.url, timeout=30) as page:
        assert page.status == 200
