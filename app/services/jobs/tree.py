"""What becomes of the jobs that wait for one that a person ends, and the jobs that a person lets a new one wait for.

cancel, stop, delete, erase of a job -> `below` counts the whole tree under it -> the person chooses one of CHOICES ->
                                        `settle_tree`, in the transaction of the change
    wait    they stay; a retry of the failed job, however late, lets them go on
    cancel  they are cancelled too, with all that waits for them
    run     those that wait for this job alone become ready
On PostgreSQL the tree is read after the job's own row is locked or gone: a child dispatched at the same moment is
either in the tree, or its dispatch sees the job's end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from app.extensions import db
from app.ledger import graph, manual, undo
from app.ledger.dialect import SessionExecutor
from app.ledger.rows import among
from app.models import Job, JobHistory
from app.services.jobs import lookup
from app.support.messages import Message, translate as _
from app.support.validation import ValidationError

CHOICES = WAIT, CANCEL, RUN = "wait", "cancel", "run"
MOST_COUNTED = 10_000
_DIRECT = """SELECT DISTINCT e.child_uuid FROM job_edges e JOIN jobs c ON c.uuid = e.child_uuid
 WHERE e.is_open = 1 AND """
_GO_ON = """SELECT uuid FROM jobs WHERE {among} AND cancel_requested = 0
 UNION SELECT uuid FROM failed_jobs WHERE {among} AND deleted_at IS NULL"""


def parse_lines(texts: Iterable[str]) -> list[str]:
    """The uuids of the jobs that these texts name by uuid or first digits, each once. Raises ValidationError for what
    is no known job, and for a cancelled one, which will not complete."""
    found = [lookup.called(text.strip()) for text in texts if text.strip()]
    known = set(db.session.scalars(select(Job.uuid).where(Job.uuid.in_(found))))
    ended = dict(db.session.execute(select(JobHistory.uuid, JobHistory.status).where(JobHistory.uuid.in_(found))).all())
    known.update(ended)
    if cancelled := [key for key in dict.fromkeys(found) if ended.get(key) == "cancelled"]:
        raise ValidationError(_("It cannot wait for %(names)s: a cancelled job does not complete any more.",
                                names=", ".join(key[:8] for key in cancelled[:5])))
    if unknown := [key for key in dict.fromkeys(found) if key not in known]:
        raise ValidationError(_("It cannot wait for %(names)s: no such job is known here.",
                                names=", ".join(key[:40] for key in unknown[:5])))
    return list(dict.fromkeys(found))


def parse_choice(text: str | None) -> str:
    """One of CHOICES; nothing means `wait`. Raises ValidationError."""
    choice = (text or "").strip() or WAIT
    if choice not in CHOICES:
        raise ValidationError(_("children is %(names)s.", names=", ".join(CHOICES)))
    return choice


@dataclass(frozen=True)
class Settled:
    """What became of the tree: how many jobs waited (`total`), how many were changed as chosen, how many of these may
    be ready now; `touched` are those that were changed, for the log."""

    choice: str = WAIT
    total: int = 0
    changed: int = 0
    freed: int = 0
    touched: list[tuple[str, None]] = field(default_factory=list)

    def __add__(self, other: Settled) -> Settled:
        return Settled(other.choice, self.total + other.total, self.changed + other.changed, self.freed + other.freed)

    def told(self, done: str) -> str:
        """The result for the log of actions; `done` alone when nothing waited."""
        if not self.total:
            return done
        if self.choice == CANCEL:
            return Message("%(done)s; cancelled with it: %(n)s of %(total)s", done=done, n=self.changed,
                           total=self.total)
        if self.choice == RUN:
            return Message("%(done)s; let go: %(n)s", done=done, n=self.changed)
        return Message("%(done)s; left waiting: %(n)s", done=done, n=self.total)


def parents_among(table: str, ids: Collection[int]) -> list[str]:
    """The uuids of those rows of `jobs` or `failed_jobs` for which other jobs wait."""
    rows = SessionExecutor(db.session).fetch_all(
        f"SELECT r.uuid FROM {table} r WHERE {among(ids, 'r.id')} AND EXISTS "
        "(SELECT 1 FROM job_edges e WHERE e.parent_uuid = r.uuid AND e.is_open = 1)")
    return [row[0] for row in rows]


def below(uuids: Collection[str], but: Collection[int] = ()) -> int:
    """How many live jobs wait for these, directly or through others; rows of the ids `but` are not counted. For more
    than MOST_COUNTED it is MOST_COUNTED + 1."""
    most, left_out = MOST_COUNTED + 1, set(but)
    found = graph.descendants_up_to(SessionExecutor(db.session), list(uuids), most + len(left_out)) if uuids else []
    return min(sum(id_ not in left_out for id_ in found), most)


def settle_tree(tx: SessionExecutor, uuids: Sequence[str], choice: str, actor: str) -> Settled:
    """Do what a person has chosen with the jobs that wait for some that have just been ended, in the same transaction.
    Those among `uuids` that go on, because they had changed meanwhile, keep their children."""
    if uuids:
        go_on = {row[0] for row in tx.fetch_all(_GO_ON.format(among=among(uuids, "uuid")))}
        uuids = [uuid for uuid in uuids if uuid not in go_on]
    mine, found = set(uuids), graph.descendants(tx, uuids, "j.id, j.uuid") if uuids else []
    ids = [id_ for id_, uuid in found if uuid not in mine]
    if not ids:
        return Settled()
    if choice == CANCEL:
        why, before = Message("Cancelled by %(name)s, with the job that it waited for.", name=actor), dict(found)
        changed = sum(manual.cancel(tx, ids, why))
        left = {id_ for id_, row in undo.snapshot(tx, "jobs", ids).items() if not row["cancel_requested"]}
        return Settled(choice, len(ids), changed, touched=[(before[id_], None) for id_ in ids if id_ not in left])
    if choice == WAIT:
        return Settled(choice, len(ids))
    freed = [(row[0], None) for row in tx.fetch_all(_DIRECT + among(uuids, "e.parent_uuid"))]
    graph.release_children(tx, uuids)
    return Settled(choice, len(ids), len(freed), len(freed), freed)
