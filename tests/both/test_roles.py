"""Every address as every role against the table of rights, and the buttons of every page against what its reader may press.

Rights are decided before the database is asked: PostgreSQL gets one role, and test_hidden.py looks there at what a viewer sees.
"""

from __future__ import annotations

import html
import re
from collections import defaultdict
from urllib.parse import unquote, urlsplit

import pytest
from werkzeug.exceptions import NotFound

from app.controllers import rights
from app.services.people import accounts
from tests.both.test_pages import HTML, JSON, addresses, posts, some
from tests.conftest import PASSWORD, sign_in

ROLES = {"operator": ("operator", False), "viewer": ("viewer", False), "seeing": ("viewer", True), "user": ("user", False)}
# What nobody below a super-admin may change, and what a viewer may: written out here, so that a change of the table is seen.
MANAGED = {"alerts.new-rule", "alerts.rule", "alerts.rule-change", "alerts.test", "connections.act", "connections.set", "costs.budget", "people.change", "people.end", "people.invitation", "people.invite", "people.reset-factor", "set-limit"}
OWN = {"notices.follow", "notices.unfollow", "reports.change", "reports.new", "reports.plan", "views.change", "views.create", "views.delete"}
on_sqlite = pytest.mark.parametrize("site", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def people(site):
    """A client by role; "nobody" has not signed in."""
    with site.app.app_context():
        for name, (role, sees_data) in ROLES.items():
            accounts.create_user(f"{name}@example.org", role, PASSWORD, sees_data=sees_data)
    clients = {name: sign_in(site.app, f"{name}@example.org") for name in ROLES}
    for client in (site.client, *clients.values()):
        client.set_cookie("lang", "en")
    return clients | {"super-admin": site.client, "nobody": site.app.test_client()}


def granted(name: str) -> frozenset[str]:
    return rights.of_role(*ROLES.get(name, (name, False)))


@pytest.mark.parametrize(("site", "name"), [*(("sqlite", name) for name in (*ROLES, "nobody", "super-admin")), ("postgresql", "viewer")], indirect=["site"])
def test_every_address_answers_a_role_as_the_table_says(people, site, name):
    client, wrong = people[name], []
    tries = [("get", name_, address, None) for name_, rows in some(addresses(site), site).items() for address in rows]
    if name != "super-admin":  # presses all of them in test_pages.py
        tries += [("post", name_, *row) for name_, rows in some(posts(site), site, 1).items() for row in rows]
    for method, endpoint, address, form in tries:
        endpoint = endpoint.split()[0]
        needed = rights.right_of(endpoint)
        if method == "post" and (endpoint in ("auth.logout", "auth.login") or needed == rights.OWN and endpoint.startswith("account.") and needed in granted(name)):
            continue  # it would end the session of this test
        csrf = {"csrf_token": getattr(client, "csrf", "")}
        answer = client.open(address, method=method.upper(), headers=JSON, data=None if form is None else form | csrf)
        code = answer.status_code
        answer.close()
        if needed and name == "nobody":
            fits = code == 401
        elif needed and needed not in granted(name):
            fits = code == 403
        else:
            fits = code != 403 and (code < 500 or endpoint == "probes.readyz") or endpoint == "auth.form-again" and name == "user"
        if not fits:
            wrong.append((method, address, code))
    assert not wrong


@on_sqlite
def test_what_each_role_may_is_written_here_too(site):
    changes = {rule.endpoint.removeprefix("admin.jobs.") for rule in site.app.url_map.iter_rules() if rule.endpoint.startswith("admin.") and rule.methods & {"POST", "DELETE"}}
    may = {name: {e for e in changes if rights.right_of(f"admin.jobs.{e}") in granted(name)} for name in (*ROLES, "super-admin")}
    assert changes - may["operator"] >= MANAGED and not MANAGED & may["operator"]
    assert may["viewer"] == may["seeing"] >= OWN and may["user"] == set() and may["super-admin"] == changes
    assert {rights.RIGHTS[f"admin.jobs.{e}"] for e in may["viewer"]} == {rights.OWN}


def pressed(page: str) -> set[str]:
    """The addresses of the forms of a page that change something."""
    return {html.unescape(action).partition("?")[0] for action in re.findall(r'<form[^>]*method="post"[^>]* action="([^"]*)"', page)}


@on_sqlite
def test_a_page_has_exactly_the_buttons_and_links_that_its_reader_may_use(people, site):
    match, wrong, seen = site.app.url_map.bind("localhost").match, [], defaultdict(set)

    def may(name: str, address: str, method: str) -> bool:
        try:
            endpoint = match(unquote(urlsplit(address).path), method)[0]
        except NotFound:  # a page of a batch or an alert of another program
            return True
        seen[name].add((method, endpoint))
        return (needed := rights.right_of(endpoint)) is None or needed in granted(name)

    def of_a_person(address: str) -> bool:
        """A form about a row of its owner's: a token, a plan, what one follows."""
        try:
            endpoint, values = match(unquote(urlsplit(address).path), "POST")
        except NotFound:
            return False
        return rights.right_of(endpoint) == rights.OWN and (bool(values) or ".notices." in endpoint)

    for rows in (*some(addresses(site), site, 2).values(), ["/admin/jobs/list?state=failed"]):
        for address in rows:
            every = people["super-admin"].get(address, headers=HTML)
            if "text/html" not in every.content_type or every.status_code > 300:
                every.close()
                continue
            for name in ("operator", "viewer", "seeing"):
                answer = people[name].get(address, headers=HTML)
                page = answer.text
                there, all_of_them = pressed(page), pressed(every.text)
                unfit = {a for a in there if not may(name, a or address, "POST")}
                missing = {a for a in all_of_them - there if may(name, a or address, "POST") and not of_a_person(a or address)} if answer.status_code == every.status_code == 200 else set()
                links = {html.unescape(a) for a in re.findall(r'href="(/admin/[^"]*)"', page)}
                closed = {a for a in links if not may(name, a, "GET")}
                if unfit or missing or closed:
                    wrong.append((name, address, unfit, missing, closed))
    assert not wrong, wrong[:12]
    assert ("POST", "admin.jobs.bulk") in seen["operator"] and ("POST", "admin.jobs.views.create") in seen["viewer"]


@on_sqlite
def test_ticks_handles_and_keys_are_there_only_for_who_can_use_them(people):
    for name, expected in (("operator", True), ("viewer", False), ("seeing", False)):
        client = people[name]
        pages = {path: client.get(f"/admin/jobs/{path}", headers=HTML).text for path in ("list", "queues/high", "", "workers", "palette?q=new+job")}
        assert ('class="tick"' in pages["list"], 'class="bulk' in pages["list"], 'type="radio" name="uuid"' in pages["queues/high"], "js/order.js" in pages["queues/high"],
                "<kbd>x</kbd>" in pages[""], "<kbd>r</kbd>" in pages[""]) == (expected,) * 6, name
        assert all(("/new" in text) == expected for text in (pages[""], pages["palette?q=new+job"])), name


@on_sqlite
def test_a_403_says_who_may_and_where_to_go(people):
    for name in ("operator", "viewer", "user"):
        people[name].set_cookie("lang", "en")  # an address above was that of the other language
    page = people["operator"].get("/admin/jobs/people", headers=HTML).text
    assert "operator" in page and "super-admin" in page and 'href="/admin/jobs/"' in page
    page = people["viewer"].get("/admin/jobs/new", headers=HTML).text
    assert "super-admin, operator" in page
    assert "data of jobs" in people["viewer"].get("/admin/jobs/contents", headers=HTML).text
    page = people["user"].get("/admin/jobs", headers=HTML)
    assert page.status_code == 403 and "/logout" in page.text and "/admin/" not in page.text
