"""The decisions of a sync against a service in memory that is edited, cut and killed in the middle of each step."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace

import pytest

from app.integrations.remote import Article, Found, Item
from app.integrations.service_errors import ItemRefused, Unavailable
from app.services.content import sync_rows, sync_work
from app.services.content.sync import Busy, Choices, Stopped, Sync
from app.services.content.sync_compare import Rules, compare
from app.services.content.sync_rows import Link

WANTED = {"title": "Ours", "body": "Text"}


@pytest.mark.parametrize(("link", "found", "changes", "conflicts"), [
    # never written by us
    (Link(), {"title": "Ours", "body": "Text"}, {}, []),
    (Link(), {"title": "Theirs", "body": ""}, {"body": "Text"}, ["title"]),
    # written by us, nothing changed there
    (Link(sent={"title": "Old", "body": "Text"}, base={"title": "Old", "body": "Text"}), {"title": "Old", "body": "Text"}, {"title": "Ours"}, []),
    # the service keeps another form of what was sent: neither a change here nor there
    (Link(sent=WANTED, base={"title": "Ours", "body": "<p>Text</p>"}), {"title": "Ours", "body": "<p>Text</p>"}, {}, []),
    # changed there
    (Link(sent=WANTED, base=WANTED), {"title": "Theirs", "body": "Text"}, {}, ["title"]),
    # changed there to what we want
    (Link(sent={"title": "Old", "body": "Text"}, base={"title": "Old", "body": "Text"}), {"title": "Ours", "body": "Text"}, {}, []),
    # a create whose answer was lost: as sent, in another form but untouched, edited
    (Link(sending=WANTED), {"title": "Ours", "body": "Text"}, {}, []),
    (Link(sending={"title": "Before", "body": "Text"}), {"title": "Before", "body": "Text"}, {"title": "Ours"}, []),
    (Link(sending=WANTED), {"title": "Ours", "body": "Edited"}, {}, ["body"]),
    # an update whose answer was lost: not arrived, arrived, arrived and edited
    (Link(sent={"title": "Old", "body": "Text"}, base={"title": "Old", "body": "Text"}, sending={"title": "Ours"}), {"title": "Old", "body": "Text"}, {"title": "Ours"}, []),
    (Link(sent={"title": "Old", "body": "Text"}, base={"title": "Old", "body": "Text"}, sending={"title": "Between"}), {"title": "Between", "body": "Text"}, {"title": "Ours"}, []),
    (Link(sent={"title": "Old", "body": "Text"}, base={"title": "Old", "body": "Text"}, sending={"title": "Ours"}), {"title": "Edited", "body": "Text"}, {}, ["title"]),
])
def test_what_is_sent_and_what_is_in_conflict(link, found, changes, conflicts):
    assert compare(WANTED, link, found) == (changes, conflicts)


def test_an_untouched_item_in_another_form_is_as_it_was_sent():
    link, found = Link(sending=WANTED), {"title": "Ours", "body": "<p>Text</p>"}
    assert compare(WANTED, link, found, untouched=True) == ({}, [])
    assert compare(WANTED | {"title": "New"}, link, found, untouched=True) == ({"title": "New"}, [])


def test_a_field_of_one_way_is_no_conflict_and_is_sent_only_when_it_changes_here():
    link, ways = Link(sent={"status": "draft"}, base={"status": "draft"}), Rules(one_way=frozenset({"status"}))
    assert compare({"status": "draft"}, link, {"status": "publish"}, ways) == ({}, [])
    assert compare({"status": "future"}, link, {"status": "publish"}, ways) == ({"status": "future"}, [])


class Killed(BaseException):
    """The worker dies here."""


@dataclass
class There:
    """A service in memory. `fuse` steps until something happens: killed before or after a request is done, or cut."""

    items: dict[str, dict] = field(default_factory=dict)
    fuse: int | None = None
    name: str = "wordpress"
    one_way: frozenset[str] = frozenset()
    refuse: bool = False
    creates: int = 0

    def step(self) -> None:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.fuse = None
                raise Killed

    def fields_of(self, article, options):
        if self.refuse:
            raise ItemRefused("The title is too long.")
        return {"title": article.title, "body": article.body.strip(), **({"slug": article.attributes["slug"]} if "slug" in article.attributes else {})}

    def accept(self, found, article):
        return replace(article, title=found["title"], body=found["body"], attributes={**article.attributes, **({"slug": found["slug"]} if "slug" in found else {})})

    def _found(self, number):
        item = self.items[number]
        return Found(number, f"https://blog.example/{number}", f"https://blog.example/{number}/edit", {**item["fields"]}, item["untouched"], item["binned"])

    def find(self, item):
        self.step()
        mine = sorted((n for n, i in self.items.items() if i["key"] == item.key), key=lambda n: (self.items[n]["binned"], int(n)))
        return self._found(mine[0]) if mine else None

    def read(self, number, item):
        self.step()
        return self._found(number) if number in self.items else None

    def create(self, item):
        self.step()
        self.creates += 1
        number = str(self.creates)
        self.items[number] = {"key": item.key, "fields": {"title": "", "body": "", "slug": ""} | item.fields, "untouched": True, "binned": False}
        self.step()
        return self._found(number)

    def update(self, number, changes, item):
        self.step()
        self.items[number]["fields"] |= changes
        self.step()
        return self._found(number)

    def remove(self, number):
        del self.items[number]

    def edit(self, number, **fields):
        self.items[number]["fields"] |= fields
        self.items[number]["untouched"] = False


@dataclass
class Here:
    """Contents, and jobs that sync them; each run is another claim."""

    ledger: object
    there: There
    claims: int = 0
    uuid: str = "00000000-0000-8000-8000-000000000001"
    kill_save: int | None = None

    def content(self, reference="one", title="Title", body="Body", **attributes) -> int:
        import json
        self.ledger.change("INSERT INTO contents (tenant_id, reference, title, body, attributes, created_ms, updated_ms) VALUES ('acme', :r, :t, :b, :a, 1, 1)", r=reference, t=title, b=body, a=json.dumps(attributes))
        return self.ledger.one("SELECT id FROM contents WHERE reference = :r", r=reference)

    def change(self, reference="one", **columns):
        for name, value in columns.items():
            self.ledger.change(f"UPDATE contents SET {name} = :v, updated_ms = updated_ms + 1 WHERE reference = :r", v=value, r=reference)

    def _save(self, change):
        if self.kill_save is not None:
            self.kill_save -= 1
            if self.kill_save < 0:
                self.kill_save = None
                raise Killed
        with self.ledger.connection.transaction(durable=True) as tx:
            return change(tx)

    def sync(self, reference="one", stopped=False, waited=61, **choices):
        """Sync a content, `waited` seconds after what happened before."""
        self.claims += 1
        self.ledger.change("UPDATE sync_links SET asked_ms = asked_ms - :ms", ms=waited * 1000)
        writer = sync_rows.Writer(self.uuid, self.claims, f"{self.uuid}/{self.claims}", "acme", "wordpress")
        sync = Sync(self.there, writer, self.ledger.connection, self._save, lambda: stopped, Choices(**choices))
        (content,) = sync_work.contents(self.ledger.connection, "acme", [reference], self.uuid, self.claims)
        return sync.one(content)

    def article(self, reference="one") -> Article:
        return next(sync_work.contents(self.ledger.connection, "acme", [reference], "x", 0)).article

    def link(self, reference="one") -> Link:
        content = next(sync_work.contents(self.ledger.connection, "acme", [reference], "x", 0))
        return sync_rows.link(self.ledger.connection, content, "wordpress")

    def decide(self, decision, reference="one"):
        self.ledger.change("UPDATE sync_links SET decision = :d WHERE reference = :r", d=decision, r=reference)


@pytest.fixture
def here(ledger) -> Here:
    return Here(ledger, There())


def test_a_content_is_created_then_only_what_changed_is_sent(here):
    here.content(slug="a-title")
    assert here.sync().action == "created"
    assert here.sync().action == "unchanged"
    here.change(title="New")
    here.there.edit("1", footnote="theirs")
    result = here.sync()
    assert (result.action, result.text) == ("updated", "Updated: title.")
    assert here.there.items["1"]["fields"] == {"title": "New", "body": "Body", "slug": "a-title", "footnote": "theirs"}


def test_a_change_there_waits_for_a_person_who_chooses_ours(here):
    here.content()
    here.sync()
    here.there.edit("1", title="Edited there")
    here.change(body="New body")
    assert [here.sync().action, here.sync().action] == ["conflict", "conflict"]
    assert here.there.items["1"]["fields"]["body"] == "Body", "nothing is sent while a person has not chosen"
    kept = "SELECT ours FROM sync_links"
    assert json.loads(here.ledger.one(kept)) == {"title": "Title", "body": "New body"}, "for the person who chooses"
    here.decide("ours")
    assert here.sync().action == "updated" and here.ledger.one(kept) is None
    assert here.there.items["1"]["fields"] | {"slug": ""} == {"title": "Title", "body": "New body", "slug": ""}
    assert here.link().decision is None and here.sync().action == "unchanged"


def test_a_change_there_can_be_taken_over_and_ours_is_kept_as_a_version(here):
    number = here.content()
    here.sync()
    here.there.edit("1", body="Edited there")
    here.sync()
    here.decide("theirs")
    assert here.sync().action == "accepted"
    assert here.article().body == "Edited there"
    assert here.ledger.one("SELECT body FROM content_versions WHERE content_id = :c", c=number) == "Body"
    assert here.sync().action == "unchanged" and here.there.items["1"]["fields"]["body"] == "Edited there"


def changed_here(here) -> bool:
    return here.ledger.one("SELECT c.updated_ms <> l.content_ms FROM contents c JOIN sync_links l ON l.content_id = c.id")


def test_a_content_is_known_as_it_was_sent_and_a_change_meanwhile_is_not_missed(here):
    here.content()
    here.sync()
    assert not changed_here(here)
    here.change(attributes='{"price": "5"}')  # which this service does not show
    assert changed_here(here) and here.sync().action == "unchanged" and not changed_here(here)
    update = here.there.update

    def slow(number, changes, item):
        here.change(title="Newest")
        return update(number, changes, item)
    here.there.update = slow
    here.change(body="New body")
    assert here.sync().action == "updated" and changed_here(here), "it was sent without the newest title"
    here.there.update = update
    assert here.sync().action == "updated" and not changed_here(here) and here.there.items["1"]["fields"]["title"] == "Newest"


def test_theirs_replaces_nothing_that_was_changed_here_meanwhile(here):
    here.content()
    here.sync()
    here.there.edit("1", title="Edited there")
    here.sync()
    here.decide("theirs")
    accept = here.there.accept

    def slow(found, article):
        here.change(body="Newest")
        return accept(found, article)
    here.there.accept = slow
    with pytest.raises(Busy):
        here.sync()
    assert here.article().title == "Title" and here.link().decision == "theirs" and here.ledger.one("SELECT COUNT(*) FROM content_versions") == 0
    here.there.accept = accept
    assert here.sync().action == "accepted" and (here.article().title, here.article().body) == ("Edited there", "Body") and not changed_here(here)
    assert here.ledger.one("SELECT body FROM content_versions") == "Newest"


@pytest.mark.parametrize("decision", ["ours", "theirs"])
def test_a_choice_counts_only_for_what_the_person_saw(here, decision):
    here.content()
    here.sync()
    here.there.edit("1", title="Edited there")
    here.sync()
    here.decide(decision)
    here.there.edit("1", title="Edited once more")
    assert here.sync().action == "conflict"
    assert here.there.items["1"]["fields"]["title"] == "Edited once more" and here.article().title == "Title"
    assert here.link().decision is None


def test_what_is_gone_there_is_made_anew_only_when_asked(here):
    here.content()
    here.sync()
    here.there.items["1"]["binned"] = True
    assert [here.sync().action, here.link().state] == ["gone", "gone"]
    del here.there.items["1"]
    assert here.sync(overwrite=True).action == "gone"
    here.decide("again")
    assert here.sync().action == "created" and list(here.there.items) == ["2"]
    assert here.sync().action == "unchanged"


def test_a_kill_while_an_item_is_made_anew_makes_it_once(here):
    here.content()
    here.sync()
    here.there.items["1"]["binned"] = True
    here.sync()
    here.decide("again")
    here.there.fuse = 3  # read, find, create, killed
    with pytest.raises(Killed):
        here.sync()
    assert here.sync().action in ("unchanged", "updated") and sorted(here.there.items) == ["1", "2"]


def test_a_dry_run_changes_nothing(here):
    here.content()
    assert here.sync(dry_run=True).action == "would_create"
    assert not here.there.items and here.link() == Link()
    here.sync()
    here.change(title="New")
    assert here.sync(dry_run=True).text == "It would be updated: title."
    assert here.there.items["1"]["fields"]["title"] == "Title"
    here.there.edit("1", title="Edited there")
    assert here.sync(dry_run=True).action == "conflict" and here.link().state == "synced"


def test_a_refused_content_says_why_and_loses_nothing(here):
    here.content()
    here.there.refuse = True
    assert here.sync() == ("refused", "The title is too long.", None) and here.link().state == "refused"
    here.there.refuse = False
    assert here.sync().action == "created"
    here.there.refuse = True
    assert [here.sync().action, here.link().state, here.link().remote_id] == ["refused", "refused", "1"]
    here.there.refuse = False
    assert [here.sync().action, here.link().state] == ["unchanged", "synced"]


def test_a_refused_update_is_not_taken_for_synced(here):
    """An import that syncs what changed must offer it again."""
    number = here.content()
    here.sync()
    here.ledger.change("UPDATE contents SET title = 'New', updated_ms = 5 WHERE id = :c", c=number)
    here.there.refuse = True
    here.sync()
    assert here.link().content_ms == 1


def test_a_create_that_may_still_arrive_is_waited_for(here):
    here.content()
    here.there.fuse = 1  # find, killed before the create is done
    with pytest.raises(Killed):
        here.sync()
    with pytest.raises(Busy) as waits:
        here.sync(waited=10)
    assert 40 < waits.value.delay <= 50 and not here.there.items
    here.there.create(Item("one", sync_rows.key_of("acme", "one"), {"title": "Title", "body": "Body"}))  # it arrives
    assert here.sync(waited=0).action == "unchanged" and list(here.there.items) == ["1"]


def test_a_create_that_was_answered_or_not_sent_is_not_waited_for(here):
    here.content()
    made = here.there.create

    def away(item):
        raise Unavailable("an error of its own", sent=True)

    here.there.create = away
    with pytest.raises(Unavailable):
        here.sync()
    here.there.create = made
    assert here.sync(waited=0).action == "created"


def test_a_choice_made_while_a_job_looks_stays(here):
    here.content()
    here.sync()
    here.there.edit("1", title="Edited there")
    here.sync()
    read = here.there.read

    def slow(number, item):
        here.ledger.change("UPDATE sync_links SET decision = 'ours', decided_ms = 77")
        return read(number, item)

    here.there.read = slow
    assert here.sync().action == "conflict"
    here.there.read = read
    assert here.sync().action == "updated"


def test_a_choice_counts_for_a_job_with_other_options(here):
    """The conflict was found by a job that sets the status too; the one that carries out the choice does not."""
    here.content()
    here.there.one_way = frozenset({"status"})
    plain = here.there.fields_of
    here.there.fields_of = lambda article, options: plain(article, options) | {"status": "draft"}
    here.sync()
    here.there.edit("1", title="Edited there")
    here.sync()
    here.decide("ours")
    here.there.fields_of = plain
    here.there.items["1"]["fields"].pop("status")
    assert here.sync().action == "updated"


def test_notes_are_kept_whatever_becomes_of_the_content(here):
    here.content()
    here.sync()

    def update(number, changes, item):
        item.notes["image:one"] = "7"
        item.keep()
        raise ItemRefused("The second image is no image.")

    here.there.update = update
    here.change(title="New")
    assert here.sync().action == "refused"
    assert here.link().notes == {"image:one": "7"} and here.link().sending == {"title": "New"}


def test_what_people_made_again_is_found_before_it_is_made_anew(here):
    here.content()
    here.sync()
    item = here.there.items.pop("1")
    here.there.items["9"] = item
    assert here.sync(recreate=True).action == "unchanged" and list(here.there.items) == ["9"]


@pytest.mark.parametrize(("last", "theirs", "changes", "conflicts"), [("5", "3", {}, []), ("4", "3", {}, ["stock"]), ("4", "4", {"stock": "5"}, [])])
def test_a_lenient_field_may_change_there_unless_it_changed_here_too(last, theirs, changes, conflicts):
    link = Link(sent={"stock": last}, base={"stock": last})
    assert compare({"stock": "5"}, link, {"stock": theirs}, Rules(lenient=frozenset({"stock"}))) == (changes, conflicts)


def test_a_column_added_later_is_sent_where_nothing_was_set():
    rules = Rules(blanks={"stock": frozenset({"0"})})
    assert compare({"stock": "5"}, Link(sent={}, base={}), {"stock": "0"}, rules) == ({"stock": "5"}, [])
    assert compare({"stock": "5"}, Link(sent={}, base={}), {"stock": "2"}, rules) == ({}, ["stock"])


def test_the_claim_of_a_running_job_keeps_others_off(here):
    here.content()
    uuid = here.ledger.dispatch()
    claim = here.ledger.claim()
    here.sync()
    here.change(title="New")
    here.ledger.change("UPDATE sync_links SET owner = :o", o=f"{uuid}/{claim.claim_no}")
    with pytest.raises(Busy):
        here.sync()
    here.ledger.settle(claim)
    assert here.sync().action == "updated"


def test_a_job_that_must_stop_writes_nothing_there(here):
    here.content()
    with pytest.raises(Stopped):
        here.sync(stopped=True)
    assert not here.there.items


def test_of_two_claims_at_once_the_younger_item_is_removed(here):
    number = here.content()
    other = Sync(here.there, sync_rows.Writer(here.uuid, 9, f"{here.uuid}/9", "acme", "wordpress"), here.ledger.connection, here._save, lambda: False, Choices())
    made = here.there.create

    def slow(item):  # the other claim is between its look and its create
        here.there.create = made
        assert here.sync().action == "created"
        return made(item)

    here.there.create = slow
    (content,) = sync_work.contents(here.ledger.connection, "acme", ["one"], here.uuid, 9)
    other.one(content)
    assert list(here.there.items) == ["1"] and here.link().remote_id == "1" and number


def test_a_service_that_fails_leaves_what_was_on_its_way(here):
    here.content()
    made = here.there.create

    def cut(item):
        made(item)
        error = Unavailable("cut", sent=True)
        error.unanswered = True
        raise error

    here.there.create = cut
    with pytest.raises(Unavailable):
        here.sync()
    here.there.create = made
    assert here.link().asked_ms, "it may still be written there"
    assert here.link().state == "sending"
    assert here.sync().action == "unchanged" and list(here.there.items) == ["1"]


@pytest.mark.parametrize("seed", range(30))
def test_random_edits_and_kills_lose_nothing(here, seed):
    """Edits on both sides, bins, decisions, and kills at any request and any commit; then both sides are compared."""
    rng, there, human, told = random.Random(seed), here.there, {}, set()
    references = ["one", "two"]
    for reference in references:
        here.content(reference, title=f"Title {reference}")

    def alive():
        return [n for n, item in there.items.items() if not item["binned"]]

    def check(decided=()):
        keys = [there.items[n]["key"] for n in alive()]
        assert len(keys) == len(set(keys)), "an item stands there twice"
        for link in map(here.link, references):  # taken over, it is ours too
            for name, value in (link.base or {}).items() if link.state == "synced" else ():
                if human.get((link.remote_id, name)) == value and there.items[link.remote_id]["fields"][name] == value:
                    del human[link.remote_id, name]
        for (number, name), value in list(human.items()):
            if number in there.items and there.items[number]["fields"][name] != value:
                assert (number, name) in decided or number in decided, f"the edit of {name} was overwritten in silence"
                del human[number, name]

    for n in range(60):
        match rng.randrange(8):
            case 0:
                here.change(rng.choice(references), **{rng.choice(["title", "body"]): f"here {n}"})
            case 1 if alive():
                number, name = rng.choice(alive()), rng.choice(["title", "body"])
                there.edit(number, **{name: f"there {n}"})
                human[number, name] = f"there {n}"
            case 2 if alive() and rng.random() < 0.3:
                there.items[rng.choice(alive())]["binned"] = True
            case 3:
                reference = rng.choice(references)
                link = here.link(reference)
                if link.state in ("conflict", "gone"):
                    decision = rng.choice(["ours", "theirs", "later"]) if link.state == "conflict" else "again"
                    here.decide(decision, reference)
                    if decision == "ours" and link.theirs is not None:
                        told |= {(link.remote_id, name) for name in ("title", "body") if human.get((link.remote_id, name)) == link.theirs.get(name)}
            case _:
                there.fuse = rng.choice([None, None, rng.randrange(6)])
                here.kill_save = rng.choice([None, None, rng.randrange(4)])
                try:
                    here.sync(rng.choice(references))
                except Killed:
                    pass
                there.fuse = here.kill_save = None
        check(told)
    for reference in references:
        for _ in range(4):
            state = here.sync(reference).action
            if state in ("conflict", "gone"):
                here.decide("theirs" if state == "conflict" else "again", reference)
        article, link = here.article(reference), here.link(reference)
        assert (link.state, here.sync(reference).action) == ("synced", "unchanged")
        fields = there.items[link.remote_id]["fields"]
        assert (fields["title"], fields["body"]) == (article.title, article.body)
    check(told)
