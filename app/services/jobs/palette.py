"""What a person may mean by the few letters of a palette: jobs, batches, tenants and workers of the database.

letters -> `found` -> at most `MOST` of each kind. Each kind is one range of an index or a bounded read, so the answer
takes as long with a million rows: jobs by the first digits of the uuid, batches among the newest `READ`, tenants whose
use is counted (one look-up each, `MOST_TENANTS` at most) or that sent one of the newest `READ` live jobs, errors among
the `READ` groups that failed last. Accents and case do not matter. Letters that fit nothing give empty lists; none is
an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import func, select, text

from app import registry
from app.extensions import db
from app.models import ErrorGroup, FailedJob, Job, JobBatch, JobHistory, WorkerHeartbeat
from app.models.types import as_text
from app.models.usage import NAMES
from app.services.jobs import batch_pages
from app.services.jobs.error_pages import clean_title
from app.services.jobs.search_text import fold
from app.support.clock import DAY_MS, now_ms
from app.support.messages import translate_stored

MOST, READ, MOST_TENANTS = 5, 200, 10_000
_TENANTS = f"{NAMES}SELECT name FROM names LIMIT {MOST_TENANTS}"
DIGITS = re.compile(r"[0-9a-f]{4,8}(?:-[0-9a-f-]{0,27})?")


@dataclass(frozen=True)
class Found:
    """Jobs as (uuid, label of the type), batches as (id, name), names of tenants and of workers; errors of the last 7
    days as (key of the group, message, label of the type)."""

    jobs: list[tuple[str, str]]
    batches: list[tuple[str, str]]
    tenants: list[str]
    workers: list[str]
    errors: list[tuple[str, str, str]]


def fits(words: list[str], *texts: str) -> bool:
    """Whether each word begins a word of the texts or stands inside one; the words are folded (search_text)."""
    joined = fold(" ".join(texts))
    return all(word in joined for word in words)


def found(asked: str) -> Found:
    """What the letters may mean; all lists are empty for blank letters."""
    words, digits = fold(asked).split(), asked.strip().casefold()
    if not words:
        return Found([], [], [], [], [])
    jobs = _jobs(digits) if DIGITS.fullmatch(digits) else []
    batches = _batches(digits) if DIGITS.fullmatch(digits) else []
    batches += [(b.id, b.name) for b in batch_pages.listing(size=READ)[0] if fits(words, b.name)]
    named = {*db.session.scalars(text(_TENANTS), {"scope": "tenant"}),
             *db.session.scalars(select(Job.tenant_id).order_by(Job.id.desc()).limit(READ))}
    tenants = sorted(name for name in set(map(as_text, named)) if name and fits(words, name))
    query = select(WorkerHeartbeat.worker_name).distinct().limit(READ)
    workers = sorted(name for name in map(as_text, db.session.scalars(query)) if name and fits(words, name))
    return Found(jobs, list(dict(batches).items())[:MOST], tenants[:MOST], workers[:MOST], _errors(words))


def _errors(words: list[str]) -> list[tuple[str, str, str]]:
    query = select(ErrorGroup.error_group, func.substr(ErrorGroup.title, 1, 400), ErrorGroup.job_type).where(
        ErrorGroup.last_ms >= now_ms() - 7 * DAY_MS).order_by(ErrorGroup.last_ms.desc()).limit(READ)
    stored = ((as_text(key) or "", as_text(title), registry.label_of((as_text(name) or "")[:255]))
              for key, title, name in db.session.execute(query))
    # Without secrets only what may fit, and judged again then: 200 titles take 0.1 s.
    found = ((key, clean_title(title), label) for key, title, label in stored
             if fits(words, translate_stored(title) or "", label))
    return list(islice((one for one in found if one[1] and fits(words, *one[1:])), MOST))


def _batches(digits: str) -> list[tuple[str, str]]:
    query = select(JobBatch.id, JobBatch.name).where(JobBatch.id >= digits, JobBatch.id < digits + "g").limit(MOST)
    found = [(as_text(key), as_text(name)) for key, name in db.session.execute(query)]
    return [(key, translate_stored(name) or key[:8]) for key, name in found]


def _jobs(digits: str) -> list[tuple[str, str]]:
    """Jobs whose uuid begins with these digits, live ones first; "g" follows every digit."""
    rows: dict[str, str] = {}
    for table in (Job, FailedJob, JobHistory):
        query = select(table.uuid, table.job_type).where(table.uuid >= digits, table.uuid < digits + "g")
        for uuid, job_type in db.session.execute(query.order_by(table.uuid).limit(MOST)):
            rows.setdefault(as_text(uuid), registry.label_of((as_text(job_type) or "")[:255]))
    return list(rows.items())[:MOST]
