"""Why a job waits, as one sentence in the reader's language, and the parents and children of a job.

uuids of waiting children -> one query over their open edges -> {uuid: sentence}: a list asks once, not once a row

A parent may be live, finished, failed, in the bin, or erased: then nothing of it is left but the edge. A parent that
will not complete by itself is named first, because a person must do something.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from app import registry
from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.ledger.rows import among
from app.models.types import as_text
from app.support.formatting import number
from app.support.messages import Message, translate as _, translate_stored

MOST_SHOWN = 50
# By state of the parent, those for which a person must do something first.
SENTENCES = {
    "erased": lambda job: Message("Waits for %(job)s, which was erased", job=job),
    "cancelled": lambda job: Message("Waits for %(job)s, which was cancelled", job=job),
    "bin": lambda job: Message("Waits for %(job)s, which failed and is in the bin", job=job),
    "failed": lambda job: Message("Waits for %(job)s, which failed", job=job),
    "timeout": lambda job: Message("Waits for %(job)s, which timed out", job=job),
    "blocked": lambda job: Message("Waits for %(job)s, which is blocked", job=job),
    "held": lambda job: Message("Waits for %(job)s, which is held", job=job),
    "processing": lambda job: Message("Waits for %(job)s, which is running", job=job),
    "pending": lambda job: Message("Waits for %(job)s, which is ready", job=job),
    "scheduled": lambda job: Message("Waits for %(job)s, which is scheduled", job=job),
    "waiting": lambda job: Message("Waits for %(job)s, which waits too", job=job),
    "completed": lambda job: Message("Waits for %(job)s, which has completed: it goes on within a minute", job=job),
}
NEVER = ("erased", "cancelled")  # such a parent will not complete
STUCK = (*NEVER, "bin", "failed", "timeout")
_OF_STATE = {state: place for place, state in enumerate(SENTENCES)}
_FROM_JOB = """COALESCE(j.job_type, h.job_type, f.job_type), CASE WHEN j.uuid IS NOT NULL THEN j.state
 WHEN f.deleted_at IS NOT NULL THEN 'bin' ELSE COALESCE(f.status, h.status, 'erased') END"""
_JOINS = """LEFT JOIN jobs j ON j.uuid = {key} LEFT JOIN job_history h ON h.uuid = {key}
 LEFT JOIN failed_jobs f ON f.uuid = {key}"""
_OPEN = f"""SELECT e.child_uuid, {_FROM_JOB} AS state, COUNT(*), MIN(e.parent_uuid) FROM job_edges e
 {_JOINS.format(key="e.parent_uuid")} WHERE e.is_open = 1 AND {{children}} GROUP BY 1, 2, 3"""
_KIN = f"""SELECT e.{{other}}, {_FROM_JOB} AS state, e.is_open FROM job_edges e {_JOINS.format(key="e.{other}")}
 WHERE e.{{mine}} = :uuid ORDER BY e.is_open DESC, e.{{other}} LIMIT {{most}}"""


@dataclass(frozen=True)
class Relative:
    """A parent or child of a job. `state` is a live state, a final status, `bin` or `erased`; `is_open`: the child
    still waits."""

    uuid: str
    label: str
    state: str
    is_open: bool


@dataclass(frozen=True)
class Family:
    """The first 50 parents and children of a job, the open edges first; the numbers count all of them."""

    parents: list[Relative]
    children: list[Relative]
    total_parents: int
    total_children: int

    @property
    def stuck(self) -> str | None:
        """`never` when an open parent cannot complete any more, `retry` when a retry of one lets this job go on."""
        states = {parent.state for parent in self.parents if parent.is_open}
        return "never" if states.intersection(NEVER) else "retry" if states.intersection(STUCK) else None


def name_of(job_type: str | None, uuid: str) -> str:
    """'Csv Import 1a2b3c4d'; only the digits when nothing else is known of the job."""
    return f"{registry.label_of(as_text(job_type)[:255])} {uuid[:8]}" if job_type else uuid[:8]


def sentences(children: Iterable[str]) -> dict[str, str]:
    """{uuid: sentence in the reader's language} of those among `children` that wait for others."""
    wanted = list(children)
    if not wanted:
        return {}
    found: dict[str, list[tuple[int, str, str | None, int]]] = {}
    statement = _OPEN.format(children=among(wanted, "e.child_uuid"))
    for child, job_type, state, count, parent in SessionExecutor(db.session).fetch_all(statement):
        found.setdefault(child, []).append((_OF_STATE.get(as_text(state), len(_OF_STATE)), parent, job_type, count))
    return {child: _sentence(groups) for child, groups in found.items()}


def _sentence(groups: list[tuple[int, str, str | None, int]]) -> str:
    states, (place, parent, job_type, _n) = list(SENTENCES), min(groups, key=lambda group: group[:2])
    others = sum(group[3] for group in groups) - 1
    first = SENTENCES[states[min(place, len(states) - 1)]](name_of(job_type, parent))
    if others:
        first = Message("%(first)s, and for %(n)s others", first=first, n=number(others)) if others > 1 else (
            Message("%(first)s, and for one other", first=first))
    return translate_stored(first) or ""


def sentence_of(uuid: str) -> str:
    """The sentence of one waiting job."""
    return sentences([uuid]).get(uuid) or _("Waits for nothing more: it goes on within a minute")


def also(reason: str | None, uuid: str | None) -> str | None:
    """The reason of a held job, and with its uuid for what it waits besides."""
    found = sentences([uuid]) if uuid else {}
    return f"{reason} {found[uuid]}." if reason and uuid in found else reason


def family(uuid: str) -> Family:
    """The parents and children of a job."""
    (parents, total_parents), (children, total_children) = (
        _relatives(uuid, mine, other) for mine, other in (("child_uuid", "parent_uuid"), ("parent_uuid", "child_uuid")))
    return Family(parents, children, total_parents, total_children)


def _relatives(uuid: str, mine: str, other: str) -> tuple[list[Relative], int]:
    tx = SessionExecutor(db.session)
    rows = tx.fetch_all(_KIN.format(mine=mine, other=other, most=MOST_SHOWN), uuid=uuid)
    total = len(rows)
    if total == MOST_SHOWN:
        total = tx.fetch_all(f"SELECT COUNT(*) FROM job_edges WHERE {mine} = :uuid", uuid=uuid)[0][0]
    found = [Relative(key, name_of(job_type, key), as_text(state), bool(is_open))
             for key, job_type, state, is_open in rows]
    return found, total


def kin(uuid: str, most: int = 1000) -> dict[str, list[str]]:
    """`parents` and `children` of a job as uuids, at most 1,000 of each."""
    tx, query = SessionExecutor(db.session), "SELECT {other} FROM job_edges WHERE {mine} = :uuid ORDER BY 1 LIMIT {n}"
    ways = {"parents": ("child_uuid", "parent_uuid"), "children": ("parent_uuid", "child_uuid")}
    return {name: [row[0] for row in tx.fetch_all(query.format(mine=mine, other=other, n=most), uuid=uuid)]
            for name, (mine, other) in ways.items()}
