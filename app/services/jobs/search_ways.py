"""The ways by which the list finds the jobs of a search. Together they find all of them; each keeps its own order.

words -> live jobs and finished ones past the watermark: read and compared one by one (search_index.read_on)
      -> finished ones up to it: compared in SQL, through the trigram index where there is one
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from app.ledger.dialect import Executor
from app.services.jobs import search_index, search_text
from app.services.jobs.job_filter import JobFilter
from app.support.validation import parse_uuid


@dataclass(frozen=True)
class Way:
    """One way to read rows of a part: `condition` over `source` (alias r) with its parameters; `key` is the id there.

    `unordered`: the condition has an index of its own; the rows are sorted afterwards, not read in the order of ids.
    With `words` the rows are read on and compared with them by the program, because no SQL can.
    """

    source: str
    condition: str
    values: dict[str, Any]
    key: str = "r.id"
    unordered: bool = False
    words: tuple[str, ...] = ()


def ways(tx: Executor, kind: str, wanted: JobFilter) -> list[Way]:
    """Of the live jobs (`l`) or the finished ones (`h`): by the whole uuid of a job; else by words and by the start of
    a uuid."""
    table = "jobs r" if kind == "l" else "job_history r"
    text, own_index = wanted.q.strip().lower(), bool(wanted.batch)  # that of a batch reads its members only
    if (uuid := parse_uuid(text)) and _exists(tx, uuid):
        return [Way(table, "r.uuid = :uuid", {"uuid": uuid})]
    words = tuple(search_text.words(wanted.q))
    if not words:
        return [Way(table, "1 = 1", {}, unordered=own_index)]
    found, reach = [Way(table, "1 = 1", {}, words=words)], 0 if kind == "l" else search_index.reach(tx)
    if reach:
        also = [search_text.fold(one) for one in (wanted.type, wanted.tenant) if one]
        source, condition, values = search_index.condition(tx, words, also)
        found = [Way(table, "r.id > :reach", {"reach": reach}, words=words),
                 Way(table, search_index.CHANGED, {}, words=words),
                 Way(source, f"{condition} AND t.id <= :reach", values | {"reach": reach}, "t.id", own_index)]
    if re.fullmatch(r"[0-9a-f-]{4,35}", text):
        start = {"start": text, "stop": text + "g"}
        found.append(Way(table, "r.uuid >= :start AND r.uuid < :stop", start, unordered=True))
    return found


def _exists(tx: Executor, uuid: str) -> bool:
    return any(tx.fetch_all(f"SELECT 1 FROM {table} WHERE uuid = :uuid", uuid=uuid)
               for table in ("jobs", "job_history"))
