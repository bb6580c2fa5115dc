"""Decides what a sync does with one content. Three sides are compared field by field:

    wanted  ours now             sent  ours when it was last written there
    found   theirs now           base  theirs right after that write

found = base: nobody changed it there. wanted = sent: nothing changed here, nothing is sent. Only fields that changed
here are sent. A field that changed there, to something else than ours, is a conflict: nothing is sent, and a person
chooses ours, theirs or later.

Failure cases:
* Killed while a create was on its way: `sending` and `since_ms` stand in the link, durably, before the request. The
  next attempt looks for our key there before it creates. It waits LATE_S after the request, because the service may
  still be working on it.
* Killed while an update was on its way: a field that has the value of `sending` is ours, not changed there.
* Two claims at once (a worker wrongly judged dead): `owner` is the claim that writes; after a create the key is looked
  for again, and the younger of two is removed by the claim that created it.
* The item is gone or binned there: said; made anew only when a person asks.
* An item stands there that we never wrote (same reference in a shop): fields that differ are a conflict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from app.integrations.remote import Fields, Found, Item, Service
from app.integrations.service_errors import ItemRefused, ServiceError
from app.ledger.dialect import Connection
from app.services.content.sync_compare import as_seen, compare, rules_of
from app.services.content.sync_rows import Link, Writer, key_of, link as read_link
from app.services.content.sync_work import Content
from app.support.messages import Message, text_of

Change = Callable[[Connection], Any]


LATE_S = 60.0  # after a request that may have arrived: PHP stops after 30 s of work


class Busy(Exception):
    """This content must wait `delay` seconds: another job that runs is writing it, it was changed here since it was
    read, or a create may still arrive there."""

    def __init__(self, delay: float = 20.0) -> None:
        super().__init__(delay)
        self.delay = delay


class Stopped(Exception):
    """The job is asked to stop, or its claim is lost: nothing more may be written there."""


@dataclass(frozen=True)
class Choices:
    """What a person asked for: `overwrite` sends ours over changes made there, `recreate` makes gone items anew,
    `dry_run` changes nothing; `options` go to the service."""

    overwrite: bool = False
    recreate: bool = False
    dry_run: bool = False
    options: dict[str, Any] | None = None


class Result(NamedTuple):
    """What was done with a content: an action of models/sync.py, a sentence, and the address there."""

    action: str
    text: str
    url: str | None = None


class Sync:
    """Syncs contents with one service. `save` runs a change in a durable transaction; `stopped` says whether the job
    must end."""

    def __init__(self, service: Service, writer: Writer, connection: Connection, save: Callable[[Change], Any],
                 stopped: Callable[[], bool], choices: Choices) -> None:
        self.service, self.writer, self.connection, self.save = service, writer, connection, save
        self.stopped, self.choices, self.rules = stopped, choices, rules_of(service)

    def one(self, content: Content) -> Result:
        """Sync a content and write what was done. Raises Busy, Stopped, and ServiceError when the service does not
        work; ItemRefused is a result."""
        link = read_link(self.connection, content, self.service.name)
        item = Item(content.article.reference, key_of(self.writer.tenant, content.article.reference), {},
                    dict(link.notes), link.since_ms)
        item.keep = lambda: self.save(lambda tx: self.writer.keep_notes(tx, content, item.notes))
        try:
            item.fields = self.service.fields_of(content.article, self.choices.options or {})
            result = self._one(content, link, item)
        except ItemRefused as error:
            result = Result("refused", text_of(error), link.url)
            if not self.choices.dry_run:
                self.save(lambda tx: self.writer.refused(tx, content, item.notes))
        self.save(lambda tx: self.writer.action(tx, content, *result))
        return result

    def _one(self, content: Content, link: Link, item: Item) -> Result:
        found = self.service.read(link.remote_id, item) if link.remote_id else self.service.find(item)
        if found is None and not link.remote_id:
            return self._create(content, link, item)
        if found is None or found.binned:
            return self._gone(content, link, item, found)
        return self._update(content, link, item, found)

    def _create(self, content: Content, link: Link, item: Item, anew: bool = False) -> Result:
        if self.choices.dry_run:
            return Result("would_create", Message("It would be created."))
        if link.asked_ms and (wait := link.asked_ms / 1000 + LATE_S - self.connection.now() / 1000) > 0:
            raise Busy(min(wait, LATE_S))
        self._own(content, item.fields, anew)
        try:
            found = self.service.create(item)
        except ServiceError as error:
            if not error.unanswered:
                self.save(lambda tx: self.writer.not_asked(tx, content))
            raise
        first = self.service.find(item)
        if first is not None and not first.binned and first.id != found.id and _older(first.id, found.id):
            why = self.service.remove(found.id)
            link = Link(sending=item.fields, notes=item.notes, decided_ms=link.decided_ms)
            result = self._update(content, link, item, first)
            text = Message("%(sentence)s %(said)s", sentence=result.text, said=why) if why else result.text
            return result._replace(text=text)
        self._write(content, link, found, item)
        return Result("created", Message("Created."), found.url)

    def _gone(self, content: Content, link: Link, item: Item, found: Found | None) -> Result:
        if self.choices.recreate or link.decision == "again":
            item.notes.clear()
            other = self.service.find(item)
            if other is not None and not other.binned:  # people have made it again
                return self._update(content, Link(decided_ms=link.decided_ms), item, other)
            return self._create(content, Link(decided_ms=link.decided_ms), item, anew=True)
        text = Message("It lies in the bin there. Restore it there, or have it made anew.") if found else Message(
            "It was deleted there. It is made anew only when somebody asks for it.")
        if not self.choices.dry_run:
            self.save(lambda tx: self.writer.stands(tx, content, "gone", link, theirs=link.theirs, notes=item.notes,
                                                    decision=link.decision))
        return Result("gone", text, found and found.edit_url)

    def _update(self, content: Content, link: Link, item: Item, found: Found) -> Result:
        seen = as_seen(link, found, self.rules.one_way)
        if seen and link.decision == "theirs" and not self.choices.dry_run:
            return self._accept(content, link, item, found)
        plan = compare(item.fields, link, found.fields, self.rules, found.untouched, found.missing)
        changes = plan.changes
        if self.choices.overwrite or (seen and link.decision == "ours"):
            changes = changes | {name: item.fields[name] for name in plan.conflicts}
        elif plan.conflicts:
            return self._conflict(content, link, item, found, plan.conflicts)
        names = ", ".join(changes)
        if self.choices.dry_run:
            return (Result("would_update", Message("It would be updated: %(names)s.", names=names), found.url)
                    if changes else Result("unchanged", Message("Nothing has changed."), found.url))
        if changes:
            self._own(content, changes)
            found = self.service.update(found.id, changes, item)
        self._write(content, link, found, item)
        return (Result("updated", Message("Updated: %(names)s.", names=names), found.url) if changes else
                Result("unchanged", Message("Nothing has changed."), found.url))

    def _conflict(self, content: Content, link: Link, item: Item, found: Found, names: list[str]) -> Result:
        decision = link.decision if as_seen(link, found, self.rules.one_way) else None
        if not self.choices.dry_run:
            self.save(lambda tx: self.writer.stands(
                tx, content, "conflict", _with_id(link, found), found, ours=item.fields, theirs=found.fields,
                decision=decision, notes=item.notes))
        shown = {"names": ", ".join(names)}
        known = all(name in (link.base or {}) or name in (link.sending or {}) for name in names)
        text = (Message("Changed there meanwhile: %(names)s. Nothing was sent; choose ours or theirs.", **shown)
                if known else
                Message("Other values stand there: %(names)s. Nothing was sent; choose ours or theirs.", **shown))
        return Result("conflict", text, found.edit_url)

    def _accept(self, content: Content, link: Link, item: Item, found: Found) -> Result:
        article = self.service.accept(found.fields, content.article)
        sent = self.service.fields_of(article, self.choices.options or {})

        def change(tx: Connection) -> None:
            if (at := self.writer.accept(tx, content, article)) is None:
                raise Busy
            self.writer.stands(tx, content, "synced", link, found, sent=sent, notes=item.notes, content_ms=at)

        self.save(change)
        return Result("accepted", Message("Their version was taken over; ours is kept as a version."), found.url)

    def _own(self, content: Content, sending: Fields, anew: bool = False) -> None:
        if self.stopped():
            raise Stopped
        if not self.save(lambda tx: self.writer.own(tx, content, sending, anew)):
            raise Busy

    def _write(self, content: Content, link: Link, found: Found, item: Item) -> None:
        sent = (link.sent or {}) | item.fields
        left = {name: link.base[name] for name in self.rules.lenient if link.base and name in link.base
                and found.fields.get(name) != item.fields.get(name)}  # changed there only: no common text
        found = replace(found, fields=found.fields | left)
        was, stands = (link.sent, link.base, link.notes), (sent, found.fields, item.notes)
        if link.state == "synced" and was == stands and link.content_ms == content.updated_ms:
            return  # as it was
        self.save(lambda tx: self.writer.stands(tx, content, "synced", link, found, sent=sent, notes=item.notes))


def _older(one: str, other: str) -> bool:
    return (len(one), one) < (len(other), other)  # ids are numbers


def _with_id(link: Link, found: Found) -> Link:
    return link if link.remote_id else replace(link, remote_id=found.id)
