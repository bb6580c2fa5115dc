"""What a sync job has to do, and what it has done: the contents of its tenant, and its rows of `sync_actions`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.integrations.remote import Article
from app.ledger.dialect import Executor
from app.support.messages import from_row
from app.support.validation import stored_json

STEP = 200
_NOT_DONE = """NOT EXISTS
 (SELECT 1 FROM sync_actions a WHERE a.uuid = :u AND a.round = :round AND a.content_id = c.id)"""
_ALL = f"SELECT c.id FROM contents c WHERE c.tenant_id = :t AND c.id > :last AND {_NOT_DONE} ORDER BY c.id LIMIT {STEP}"
_NAMED = f"SELECT c.id FROM contents c WHERE c.tenant_id = :t AND c.reference = :r AND {_NOT_DONE}"
_ONE = "SELECT id, updated_ms, reference, title, body, attributes FROM contents WHERE id = :id"


@dataclass(frozen=True)
class Content:
    """A content of a tenant as it stands here since `updated_ms`."""

    id: int
    updated_ms: int
    article: Article


def contents(tx: Executor, tenant: str, references: list[str] | None, uuid: str, round_no: int) -> Iterator[Content]:
    """The contents of a tenant (all without `references`) that this round of the job has not dealt with yet; each is
    read when its turn comes."""
    done = {"t": tenant, "u": uuid, "round": round_no}
    for number in _ids(tx, references, done):
        for row in tx.fetch_all(_ONE, id=number):
            yield _content(row)


def _ids(tx: Executor, references: list[str] | None, done: dict[str, object]) -> Iterator[int]:
    for reference in references or ():
        yield from (row[0] for row in tx.fetch_all(_NAMED, r=reference, **done))
    last = 0
    while references is None and (rows := tx.fetch_all(_ALL, last=last, **done)):
        yield from (row[0] for row in rows)
        last = rows[-1][0]


def _content(row: tuple) -> Content:
    number, updated, reference, title, body, attributes = row
    found = stored_json(attributes)
    known = {str(k): str(v) for k, v in found.items() if v is not None} if isinstance(found, dict) else {}
    return Content(number, updated, Article(str(reference), str(title or ""), str(body or ""), known))


def count(tx: Executor, tenant: str) -> int:
    """How many contents a tenant has."""
    return tx.fetch_all("SELECT COUNT(*) FROM contents WHERE tenant_id = :t", t=tenant)[0][0]


def unknown(tx: Executor, tenant: str, references: list[str]) -> list[str]:
    """Those references that no content of the tenant has."""
    sql = "SELECT 1 FROM contents WHERE tenant_id = :t AND reference = :r"
    return [reference for reference in references if not tx.fetch_all(sql, t=tenant, r=reference)]


def done(tx: Executor, uuid: str, round_no: int) -> int:
    """How many contents this round of a job has dealt with."""
    return sum(counts(tx, uuid, round_no).values())


def counts(tx: Executor, uuid: str, round_no: int) -> dict[str, int]:
    """The number of contents by action that this round of a job has dealt with."""
    return dict(tx.fetch_all("SELECT action, COUNT(*) FROM sync_actions WHERE uuid = :u AND round = :n GROUP BY action",
                             u=uuid, n=round_no))


def first_refused(tx: Executor, uuid: str, round_no: int) -> tuple[str, str]:
    """Reference and sentence of the first content that was refused in this round."""
    rows = tx.fetch_all("SELECT reference, text, text_json FROM sync_actions WHERE uuid = :u AND round = :n "
                        "AND action = 'refused' ORDER BY id LIMIT 1", u=uuid, n=round_no)
    reference, text, stored = rows[0]
    return reference, from_row(text, stored) or ""
