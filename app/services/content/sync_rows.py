"""The rows that a sync writes: where a content lives (`sync_links`), and what a job did with it (`sync_actions`).

Each write is one short transaction of the job's own connection; none is open while a service is asked.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from app.integrations.remote import Article, Fields, Found
from app.ledger.dialect import Executor
from app.services.content.sync_work import Content
from app.support.messages import to_json
from app.support.validation import stored_json

_LINK = """SELECT id, state, remote_id, url, edit_url, sent, base, sending, theirs, notes, since_ms, owner, decision,
 content_ms, decided_ms, asked_ms FROM sync_links WHERE content_id = :c AND service = :s"""
_NEW = """INSERT INTO sync_links (content_id, tenant_id, reference, service, state, uuid, changed_ms)
 VALUES (:c, :t, :r, :s, :state, :u, :now) ON CONFLICT (content_id, service) DO NOTHING"""
# The claim that owns a link writes to the service. Its row in `jobs` says whether it still runs.
_OWN = """UPDATE sync_links SET owner = :owner, state = 'sending', sending = :sending, uuid = :u, reference = :r,
 since_ms = CASE WHEN remote_id IS NULL THEN COALESCE(since_ms, :now) END,
 asked_ms = CASE WHEN remote_id IS NULL THEN :now END WHERE content_id = :c AND service = :s
 AND (owner IS NULL OR owner = :owner OR NOT EXISTS (SELECT 1 FROM jobs j WHERE j.state = 'processing'
 AND j.uuid = substr(sync_links.owner, 1, 36) AND j.claim_no = CAST(substr(sync_links.owner, 38) AS INTEGER)))"""
_ANEW = """UPDATE sync_links SET remote_id = NULL, sent = NULL, base = NULL, theirs = NULL, notes = '{}',
 since_ms = :now, asked_ms = :now WHERE content_id = :c AND service = :s"""
_STANDS = """UPDATE sync_links SET state = CAST(:state AS VARCHAR), remote_id = :id, url = :url, edit_url = :edit,
 sent = :sent, base = :base, sending = NULL, theirs = :theirs, notes = :notes, since_ms = NULL, asked_ms = NULL,
 owner = NULL, uuid = :u, ours = CASE WHEN CAST(:state AS VARCHAR) = 'conflict' THEN COALESCE(:ours, ours) END,
 decision = CASE WHEN COALESCE(decided_ms, 0) = :decided THEN :decision ELSE decision END,
 synced_ms = CASE WHEN CAST(:state AS VARCHAR) = 'synced' THEN :now ELSE synced_ms END,
 content_ms = CASE WHEN CAST(:state AS VARCHAR) = 'synced' THEN :content ELSE content_ms END,
 changed_ms = CASE WHEN CAST(:changed AS INTEGER) = 1 THEN :now ELSE changed_ms END
 WHERE content_id = :c AND service = :s"""
# What was on its way may have arrived in part: `sending` stays.
_REFUSED = """UPDATE sync_links SET changed_ms = CASE WHEN state = 'refused' THEN changed_ms ELSE :now END,
 state = 'refused', owner = NULL, asked_ms = NULL, notes = :notes, uuid = :u WHERE content_id = :c AND service = :s"""
_ACTION = """INSERT INTO sync_actions
 (uuid, round, content_id, reference, service, action, text, text_json, url, at_ms)
 VALUES (:u, :round, :c, :r, :s, :action, :text, :json, :url, :now)
 ON CONFLICT (uuid, content_id) DO UPDATE SET round = excluded.round, action = excluded.action, text = excluded.text,
 text_json = excluded.text_json, url = excluded.url, at_ms = excluded.at_ms"""
_VERSION = """INSERT INTO content_versions (content_id, body, replaced_ms, replaced_by)
 VALUES (:c, :body, :now, :u) ON CONFLICT DO NOTHING"""

_REPLACE = """UPDATE contents SET title = :title, body = :body, attributes = :a, updated_ms = :now
 WHERE id = :c AND updated_ms = :read"""


@dataclass
class Link:
    """Where a content lives at a service; see models/sync.py. `state` is "" without a row."""

    state: str = ""
    remote_id: str | None = None
    url: str | None = None
    edit_url: str | None = None
    sent: Fields | None = None
    base: Fields | None = None
    sending: Fields | None = None
    theirs: Fields | None = None
    notes: dict[str, str] = field(default_factory=dict)
    since_ms: int | None = None
    owner: str | None = None
    decision: str | None = None
    content_ms: int | None = None
    decided_ms: int | None = None
    asked_ms: int | None = None


def key_of(tenant: str, reference: str) -> str:
    """Our key of a content at a service: 24 hex digits that follow from tenant and reference. So it is found again even
    when this database was restored from an older backup."""
    return hashlib.sha256(f"{tenant}\0{reference}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


def link(tx: Executor, content: Content, service: str) -> Link:
    """Where the content lives at the service."""
    rows = tx.fetch_all(_LINK, c=content.id, s=service)
    if not rows:
        return Link()
    _id, state, remote_id, url, edit_url, sent, base, sending, theirs, notes, *rest = rows[0]
    return Link(state, remote_id, url, edit_url, _fields(sent), _fields(base), _fields(sending), _fields(theirs),
                _fields(notes) or {}, *rest)


def _fields(text: str | None) -> Fields | None:
    found = stored_json(text) if text else None
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else None


def as_json(fields: Fields | None) -> str | None:
    """Fields as they are stored."""
    return None if fields is None else json.dumps(fields, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True)
class Writer:
    """Writes the rows of one job: its uuid, round and claim, its tenant, and the service."""

    uuid: str
    round_no: int
    owner: str
    tenant: str
    service: str

    def own(self, tx: Executor, content: Content, sending: Fields, anew: bool = False) -> bool:
        """Note that these fields are sent now, `anew` in place of an item that is gone. False when another job that
        runs is writing this content."""
        keys = {"c": content.id, "s": self.service, "u": self.uuid, "r": content.article.reference, "now": tx.now()}
        tx.execute(_NEW, t=self.tenant, state="sending", **keys)
        if not tx.execute(_OWN, owner=self.owner, sending=as_json(sending), **keys):
            return False
        if anew:
            tx.execute(_ANEW, c=content.id, s=self.service, now=tx.now())
        return True

    def keep_notes(self, tx: Executor, content: Content, notes: dict[str, str]) -> None:
        """Store the notes of the service about this content."""
        tx.execute("UPDATE sync_links SET notes = :notes WHERE content_id = :c AND service = :s", notes=as_json(notes),
                   c=content.id, s=self.service)

    def stands(self, tx: Executor, content: Content, state: str, before: Link, found: Found | None = None, *,
               sent: Fields | None = None, theirs: Fields | None = None, decision: str | None = None,
               notes: dict[str, str] | None = None, ours: Fields | None = None,
               content_ms: int | None = None) -> None:
        """Write what stands there now: `found` after a write of `sent`, or an older state with a conflict between
        `theirs` and `ours`. `content_ms`: the content is of that time now."""
        tx.execute(_NEW, c=content.id, s=self.service, u=self.uuid, r=content.article.reference, now=tx.now(),
                   t=self.tenant, state=state)
        base = found.fields if found is not None and sent is not None else before.base
        changed = state != before.state or theirs != before.theirs
        tx.execute(
            _STANDS, c=content.id, s=self.service, u=self.uuid, now=tx.now(), state=state,
            id=found.id if found else before.remote_id, url=found.url if found else before.url,
            edit=found.edit_url if found else before.edit_url, sent=as_json(sent if sent is not None else before.sent),
            base=as_json(base), theirs=as_json(theirs), decision=decision, decided=before.decided_ms or 0,
            changed=int(changed), ours=as_json(ours), notes=as_json(before.notes if notes is None else notes),
            content=content_ms or content.updated_ms)

    def refused(self, tx: Executor, content: Content, notes: dict[str, str]) -> None:
        """Write that the service does not take the content; what stands there is as it was."""
        keys = {"c": content.id, "s": self.service, "u": self.uuid, "now": tx.now()}
        tx.execute(_NEW, r=content.article.reference, t=self.tenant, state="refused", **keys)
        tx.execute(_REFUSED, notes=as_json(notes), **keys)

    def not_asked(self, tx: Executor, content: Content) -> None:
        """Note that the request of the create did not go out."""
        tx.execute("UPDATE sync_links SET asked_ms = NULL WHERE content_id = :c AND service = :s", c=content.id,
                   s=self.service)

    def action(self, tx: Executor, content: Content, action: str, text: str, url: str | None) -> None:
        """Write what was done with a content."""
        tx.execute(_ACTION, u=self.uuid, round=self.round_no, c=content.id, r=content.article.reference, s=self.service,
                   action=action, text=text, json=to_json(text), url=url, now=tx.now())

    def accept(self, tx: Executor, content: Content, article: Article) -> int | None:
        """Replace the content by the one of the service; the body of today becomes a version. Returns the new
        `updated_ms`; None, with nothing replaced, when the content was changed here since it was read."""
        now, old = max(tx.now(), content.updated_ms + 1), content.article
        if not tx.execute(_REPLACE, title=article.title, body=article.body, a=as_json(article.attributes), now=now,
                          c=content.id, read=content.updated_ms):
            return None
        if article.body != old.body:
            tx.execute(_VERSION, c=content.id, body=old.body, now=now, u=self.uuid)
        return now
