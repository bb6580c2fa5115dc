"""The SQL of the filter's parts beyond state, queue, type, tenant, batch and days.

JobFilter -> `live`, conditions on jobs (r): attempts and claims of their own, of running jobs also the worker's report
          -> `Facts`, conditions on job_facts (f), the facts of finished jobs, with the index that serves each
          -> `clock` and `arguments`: the time of day in SQL, one argument in Python, after what SQL can rule out
Names of arguments and all values are parameters of the statements. Facts follow within a second: rows past the
watermark `facts_reach` are not found by them yet (`behind` counts these).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from app.ledger.dialect import Executor
from app.models.types import as_integer, as_text
from app.services.jobs import facts, payloads
from app.services.jobs.job_filter import JobFilter
from app.support.clock import DAY_MS, offsets, stamp
from app.support.secret_names import hides

MOST_NAMES = 200
MOST_BEHIND = 1000
_YEARS_MS = 10 * 366 * DAY_MS
_RUNNING = "r.state = 'processing'"  # names the partial index; few jobs run, 100,000 wait
_BY = f"{_RUNNING} AND r.worker_id IN (SELECT w.worker_id FROM worker_heartbeats w WHERE {{}})"
_VERSION = "CASE WHEN w.revision IS NULL THEN w.code_version ELSE w.revision || '.' || w.code_version END"
_RAN = f"CASE WHEN {_RUNNING} THEN :now - r.reserved_ms END"
_WAITED = ("CASE r.state WHEN 'pending' THEN :now - r.available_ms "
           "WHEN 'processing' THEN r.reserved_ms - r.available_ms END")
_HEAVY = (f"CASE WHEN {_RUNNING} THEN (SELECT w.memory FROM worker_heartbeats w "
          "WHERE w.worker_id = r.worker_id) END")
# The value of each order, and what rows with it and rows without it are.
LIVE_SORTS = {"run": (_RAN, f"{_RUNNING} AND {_RAN} IS NOT NULL", f"{_RAN} IS NULL"),
              "wait": (_WAITED, f"{_WAITED} IS NOT NULL", f"{_WAITED} IS NULL"),
              "memory": (_HEAVY, f"{_RUNNING} AND {_HEAVY} IS NOT NULL", f"{_HEAVY} IS NULL")}
FACT_SORTS = {"run": "f.run_ms", "wait": "f.wait_ms", "memory": "f.memory"}
_METRICS = {"job_type": "job_type", "tenant_id": "tenant_id", "worker": "worker", "code_version": "code_version",
            "run_ms": "processing_time", "wait_ms": "wait_ms", "memory": "memory_used"}  # facts, as outcomes name them
OF_OUTCOME = dict.fromkeys(("worker", "longer", "shorter", "waited", "heavier", "code"), "")
_TEXTS = ("f.error_group", "f.worker", "f.code_version")
_SAFE = re.compile(r"[A-Za-z0-9._:@,;+=*()-]+")  # parts of a text that every program writes alike into JSON
_NAMES_OF = """WITH RECURSIVE found(name) AS (SELECT MIN({0}) FROM job_facts UNION ALL
 SELECT (SELECT MIN({0}) FROM job_facts WHERE {0} > found.name) FROM found WHERE found.name IS NOT NULL)
 SELECT name FROM found WHERE name IS NOT NULL LIMIT :most"""


@dataclass(frozen=True)
class Fact:
    """A condition on job_facts. `index` is the column whose index serves it ('' without one); `ordered`: the rows come
    from that index in the order of ids."""

    condition: str
    index: str = ""
    ordered: bool = False

    def sql(self, driving: bool = False) -> str:
        """The condition; only when it is `driving` may its index be used: no index holds a sum or a joined text."""
        hidden = f"({self.index} || '')" if self.index in _TEXTS else f"+{self.index}"
        return self.condition if driving or not self.index else self.condition.replace(self.index, hidden)


def live(wanted: JobFilter) -> tuple[list[str], dict[str, Any]] | None:
    """Conditions on live rows and their parameters; None when no live job can match."""
    if wanted.error:
        return None
    found = [(wanted.worker, _BY.format("w.worker_name = :worker")),
             (wanted.attempt, "r.attempts BETWEEN :least AND :most"),
             (wanted.longer, f"{_RUNNING} AND {_RAN} >= :longer"),
             (wanted.shorter, f"{_RUNNING} AND {_RAN} < :shorter"),
             (wanted.waited, f"{_WAITED} >= :waited"), ("-" in wanted.waited, f"{_WAITED} < :waited_below"),
             (wanted.heavier, _BY.format("w.memory >= :heavier")),
             (wanted.code, _BY.format(f"substr({_VERSION}, 1, :length) = :code")),
             (wanted.rescued == "1", "r.claim_no > 0 AND EXISTS (SELECT 1 FROM job_metrics m WHERE m.uuid = r.uuid "
                              "AND m.status = 'lost')")]
    return [condition for part, condition in found if part], _values(wanted)


def of_facts(tx: Executor, wanted: JobFilter) -> tuple[list[Fact], dict[str, Any]]:
    """Conditions on the facts of finished jobs, and their parameters."""
    values, found = _values(wanted), []
    if wanted.error:
        found.append(Fact("f.error_group = :error", "f.error_group"))
    if wanted.worker:
        found.append(Fact("f.worker = :worker", "f.worker", True))
    if wanted.rescued == "1":
        found.append(Fact("f.lost > 0", "f.lost", True))
    if wanted.code:
        found.append(_of_code(tx, wanted.code, values))
    bounds = [(wanted.longer, "f.run_ms >= :longer"), (wanted.shorter, "f.run_ms < :shorter")]
    if runs := [condition for part, condition in bounds if part]:
        found.append(Fact(" AND ".join(runs), "f.run_ms"))
    if wanted.waited:
        below = " AND f.wait_ms < :waited_below" if "-" in wanted.waited else ""
        found.append(Fact(f"f.wait_ms >= :waited{below}", "f.wait_ms"))
    if wanted.heavier:
        found.append(Fact("f.memory >= :heavier", "f.memory"))
    if wanted.attempt:
        found.append(Fact("f.attempts BETWEEN :least AND :most"))
    return found, values


def had_outcome(tx: Executor, wanted: JobFilter) -> tuple[str, dict[str, Any]] | None:
    """The condition on a row and its parameters that it was lost, or failed, between two times; None without them. What
    OF_OUTCOME names is that of this outcome. The type and the tenant of outcomes have indexes, which serve a month
    better than that of the time."""
    found, values, named = [], {}, {"of_type": wanted.type, "of_tenant": wanted.tenant}
    facts, own = of_facts(tx, replace(wanted, error="", rescued="", attempt=""))
    own |= {name: value for name, value in named.items() if value}
    tests = [*(fact.condition for fact in facts), *(f"f.{of} = :{name}" for name, of in (
        ("of_type", "job_type"), ("of_tenant", "tenant_id")) if named[name])]
    also = "".join(f" AND {test}" for test in tests)
    for name in _METRICS:
        also = also.replace(f"f.{name}", f"m.{_METRICS[name]}")
    for name in ("rescued", "failed", "outcome"):
        statuses = "'lost'" if name == "rescued" else "'failed', 'timeout'"
        if times := wanted.between(name):
            found.append(f"r.uuid IN (SELECT m.uuid FROM job_metrics m WHERE m.status IN ({statuses}) AND "
                         f"m.completed_at >= :{name}_from AND m.completed_at < :{name}_to{also})")
            values |= {f"{name}_from": stamp(times[0]), f"{name}_to": stamp(times[1])}
    return (" AND ".join(found), values | own) if found else None


def _of_code(tx: Executor, start: str, values: dict[str, Any]) -> Fact:
    """Versions that begin so are looked up first, because an index by a beginning depends on the database's order."""
    known = names(tx, "code_version")
    fitting = [name for name in known if name.startswith(start)]
    if len(known) >= MOST_NAMES or len(fitting) > 20:
        return Fact("substr(f.code_version, 1, :length) = :code", "")
    values |= {f"code{n}": name for n, name in enumerate(fitting or [start])}
    places = ", ".join(f":code{n}" for n in range(max(len(fitting), 1)))
    return Fact(f"f.code_version IN ({places})", "f.code_version", len(fitting) <= 1)


def _values(wanted: JobFilter) -> dict[str, Any]:
    values: dict[str, Any] = {name: wanted.amount(name) for name in ("longer", "shorter", "waited", "heavier")
                              if getattr(wanted, name)}
    values |= {name: getattr(wanted, name) for name in ("error", "worker", "code") if getattr(wanted, name)}
    if "-" in wanted.waited:
        values["waited_below"] = wanted.waited_below()
    if wanted.code:
        values["length"] = len(wanted.code)
    if wanted.attempt:
        values["least"], values["most"] = wanted.attempts()
    return values


def names(tx: Executor, column: str) -> list[str]:
    """The values of an indexed column of job_facts, at most 200: one look into the index for each."""
    return [name for row in tx.fetch_all(_NAMES_OF.format(column), most=MOST_NAMES) if (name := as_text(row[0]))]


def behind(tx: Executor) -> int:
    """How many finished jobs have no facts yet, counted to 1,000."""
    reach = reach_of(tx)
    sql = f"SELECT COUNT(*) FROM (SELECT 1 FROM job_history WHERE id > :reach LIMIT {MOST_BEHIND}) few"
    return int(tx.fetch_all(sql, reach=reach)[0][0])


def reach_of(tx: Executor) -> int:
    """The highest id of job_history whose facts are known."""
    rows = tx.fetch_all("SELECT value FROM meta WHERE key = :key", key=facts.KEY)
    text = as_text(rows[0][0]) if rows else ""
    return int(text) if text and text.isdecimal() else 0


def clock(tx: Executor, wanted: JobFilter, table: str, column: str, now: int) -> str:
    """The condition that the time of day of a column (ms) of the table lies in the part `clock`.

    The changes of the zone's clock since the first row stand in the statement, so each row is read by the clock of its
    own day.
    """
    rows = tx.fetch_all(f"SELECT {column} FROM {table} ORDER BY id LIMIT 1")
    first = as_integer(rows[0][0], now) if rows else now
    changes = offsets(wanted.zone, min(max(first or 0, now - _YEARS_MS), now), now + DAY_MS)
    later = " ".join(f"WHEN r.{column} >= {at:d} THEN {offset:d}" for at, offset in reversed(changes[1:]))
    offset = f"CASE {later} ELSE {changes[0][1]:d} END" if later else f"{changes[0][1]:d}"
    time, (start, end) = f"((r.{column} + {offset}) % {DAY_MS})", wanted.hours()
    return f"({time} >= {start:d} {'AND' if start < end else 'OR'} {time} < {end:d})"


def arguments(wanted: JobFilter) -> tuple[list[str], dict[str, Any], Callable[[Any], bool] | None]:
    """Conditions that rule out most rows, their parameters, and the check of the payload of the others."""
    if not wanted.args:
        return [], {}, None
    conditions, values = [], {}
    for n, (name, _text) in enumerate(wanted.args):
        if re.fullmatch(r"[A-Za-z0-9_-]+", last := name.rpartition(".")[2]) and not last.isdecimal():
            conditions.append(f"r.payload LIKE :arg{n}")
            values[f"arg{n}"] = f'%{last}"%'
    return conditions, values, lambda payload: _fits(payloads.raw(as_text(payload)), wanted.args)


def words_of(wanted: JobFilter) -> list[str]:
    """Words that the arguments of each matching job hold, for the search index."""
    found: list[str] = []
    for _name, text in wanted.args:
        asked = _json(text)
        if isinstance(asked, str):
            found += _SAFE.findall(asked)
        elif asked is _NO_JSON or type(asked) in (int, float) and json.dumps(asked) == text:
            found += _SAFE.findall(text)
    return sorted(found, key=len)[-3:]


_NO_JSON = object()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NO_JSON


def _fits(args: dict[str, Any], asked: tuple[tuple[str, str], ...]) -> bool:
    return all(any(_equal(value, text) for value in _at(args, name.split("."))) for name, text in asked)


def _at(value: Any, path: list[str]) -> list[Any]:
    """The values at a path of names; a name may hold dots itself, a number is a place in a list. Secrets are none."""
    if not path:
        return [value]
    if isinstance(value, list):
        inside = path[0].isascii() and path[0].isdecimal() and int(path[0][:9]) < len(value)
        return _at(value[int(path[0][:9])], path[1:]) if inside else []
    if not isinstance(value, dict):
        return []
    keys = [(n, key) for n in range(1, len(path) + 1) if (key := ".".join(path[:n])) in value]
    return [found for n, key in keys if not hides(key, value[key]) for found in _at(value[key], path[n:])]


def _equal(value: Any, text: str) -> bool:
    if isinstance(value, str) and value == text:
        return True
    asked = _json(text)
    return asked is not _NO_JSON and isinstance(asked, bool) == isinstance(value, bool) and asked == value
