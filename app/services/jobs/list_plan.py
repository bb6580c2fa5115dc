"""How the list reads a table: the conditions of a part, the order of its rows, and the index that is read.

conditions (filter_sql.py) -> `sort_live` | `sort_finished` -> segments (rows with the value of the order, rows without
it), each with its ways -> `Part.read`, rows after a cursor

SQLite has no statistics and would often choose the wrong index. So the indexes are asked first: one that has at most
2,000 rows for its condition is read whole and sorted. Else the rows are read in the order of the list until the page
is full, which is fast unless the jobs are few and far apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from app.ledger.dialect import Executor, TooSlow
from app.models.types import as_integer
from app.services.jobs import filter_sql, search_index
from app.services.jobs.history_order import NO_END
from app.services.jobs.job_filter import JobFilter
from app.services.jobs.search_text import has

FEW, CHUNK = 2_000, 500


@dataclass(frozen=True)
class Way:
    """One way to read rows of a part: `condition` over `source` (alias r) with its parameters; `key` is the id there.

    `unordered`: the condition has an index of its own; the rows are sorted afterwards, not read in their order.
    `window`: that index is the one of the ids, between their bounds.
    `words`: the text of each row is compared with these folded words, after the conditions.
    """

    source: str
    condition: str
    values: dict[str, Any]
    key: str = "r.id"
    unordered: bool = False
    window: bool = False
    words: tuple[str, ...] = ()


@dataclass
class Part:
    """Rows of one of the two tables (`kind`: l live, h finished): conditions over alias r with their parameters,
    exclusive bounds of the ids, and the ways to read it, which together find all matching rows.

    `value` is the expression of the order ('': by id only); `segment` is `kind`, or m and i for the rows without that
    value. `at` is the (value, id) of a cursor, which is exclusive. `check` decides by the payload, after the
    conditions. `by_facts`: only rows with facts can match. After `until` (on time.monotonic()) no more words are
    compared: `stopped` is the id of the last row that was read; with an order of values, or without words, TooSlow is
    raised.
    """

    kind: str
    where: list[str] = field(default_factory=lambda: ["1 = 1"])
    values: dict[str, Any] = field(default_factory=dict)
    above: int = -1
    below: int = NO_END
    ways: list[Way] = field(default_factory=list)
    segment: str = ""
    value: str = ""
    at: tuple[int, int] | None = None
    check: Callable[[Any], bool] | None = None
    by_facts: bool = False
    until: float | None = None
    stopped: int | None = None

    def __post_init__(self) -> None:
        self.segment = self.segment or self.kind

    def add(self, condition: str, **values: Any) -> None:
        """Add a condition with its parameters."""
        self.where.append(condition)
        self.values |= values

    def join(self, table: str, condition: str) -> None:
        """Keep only the rows that have a row in `table` (with its alias) for which `condition` holds."""
        self.ways = [replace(way, source=f"{way.source} JOIN {table}") for way in self.ways]
        self.add(condition)

    def beside(self, other: Part) -> Part:
        """This part with the ways of another too, whose further conditions and bounds hold for its own ways only."""
        ways = []
        for way in other.ways:
            key = f"+{way.key}" if (other.value or way.unordered) and not way.window else way.key
            within = [way.condition, *other.where, f"{key} > {other.above:d}", f"{key} < {other.below:d}"]
            values = {name: v for name, v in (other.values | way.values).items() if name not in self.values}
            ways.append(replace(way, condition=" AND ".join(within), values=values))
        return replace(self, ways=[*self.ways, *ways], by_facts=self.by_facts or other.by_facts)

    def cursor(self, value: int, key: int, now: int) -> str:
        """The cursor of a row, given its value and id."""
        return f"{self.segment}{key}" + (f".{value}.{now}" if self.value else "")

    def read(self, tx: Executor, way: Way, columns: str, size: int, descending: bool) -> list[tuple]:
        """At most `size` rows of a way: (value, id, payload where there is a check, *columns)."""
        found: list[tuple] = []
        words, texts = way.words, search_index.COLUMNS.format("reason" if self.kind == "l" else "error")
        order, sign = ("DESC", "<") if descending else ("ASC", ">")
        plus, at, few = "+" if way.unordered else "", self.at, CHUNK if words or self.check else size
        bound = f"+{way.key}" if (self.value or way.unordered) and not way.window else way.key
        value = f"{plus}{self.value}" if self.value else "0"
        by = f"{value} {order}, {plus}{way.key} {order}" if self.value else f"{plus}{way.key} {order}"
        wanted = f"{self.value or 0}, {way.key}, {'r.payload' if self.check else 'NULL'}, {columns}"
        wanted += f", {texts}" * bool(words)
        while True:
            where = [way.condition, *self.where, f"{bound} > :above AND {bound} < :below"]
            if at:
                where.append(f"({value}, {way.key}) {sign} (:at_value, :at_id)" if self.value else
                             f"{way.key} {sign} :at_id")
            cut = {"at_value": at[0], "at_id": at[1]} if at else {}
            rows = tx.fetch_all(
                f"SELECT {wanted} FROM {way.source} WHERE {' AND '.join(where)} ORDER BY {by} LIMIT {few}",
                above=self.above, below=self.below, **self.values, **way.values, **cut)
            rows = [(as_integer(row[0], 0), *row[1:]) for row in rows]
            fitting = [row for row in rows if self.check is None or self.check(row[2])]
            found += [row[:-4] for row in fitting if has(words, *row[-4:])] if words else fitting
            if len(rows) < few or len(found) >= size:
                return found[:size]
            if self.until is not None and monotonic() > self.until:
                if not words or self.value or not descending:
                    raise TooSlow
                self.stopped = max(rows[-1][1], self.stopped or 0)
                return found
            at = rows[-1][0], rows[-1][1]


def sort_live(part: Part, wanted: JobFilter) -> list[Part]:
    """The part in the order of the filter: rows with the value of the order, and rows without it."""
    if not (found := filter_sql.LIVE_SORTS.get(wanted.sort.removeprefix("-"))):
        return [part]
    value, having, without = found
    return [replace(part, value=value, where=[*part.where, having]),
            replace(part, segment="m", where=[*part.where, without])]


def sort_finished(tx: Executor, part: Part, wanted: JobFilter, states: list[str], few: bool = False) -> list[Part]:
    """The part with the conditions on facts, in the order of the filter, read by the index with the fewest rows.

    `few`: it is known that few jobs match: they are found as without an order, and sorted.
    """
    tests, values = filter_sql.of_facts(tx, wanted)
    value = filter_sql.FACT_SORTS.get(wanted.sort.removeprefix("-"), "")
    if not tests and not value:
        return [part]
    part.values |= values
    part.by_facts = bool(tests)
    if wanted.error and not wanted.sort:
        value = "f.finished_ms"  # rises with the ids, and the index of the group has it
    indexed, driver = [test for test in tests if test.index], None
    joined = bool(wanted.q or wanted.args or wanted.batch or wanted.action
                  or wanted.between("rescued") or wanted.failed or wanted.outcome) or _few_rows(tx, wanted, states)
    if not joined:
        driver = next((test for test in indexed if _few(tx, f"job_facts f WHERE {test.condition}", values)), None)
        joined = few and not tests
    own = driver or _serving(indexed, value)
    told = " AND ".join(["f.id = r.id", *(test.sql(test is own and not joined) for test in tests)])
    extra = [replace(way, source=f"{way.source} CROSS JOIN job_facts f", condition=f"{way.condition} AND {told}",
                     unordered=way.unordered or bool(value)) for way in part.ways]
    if not joined:
        window = driver is None and (few or part.below - part.above <= FEW)
        extra = [Way("job_facts f CROSS JOIN job_history r", told, {}, "f.id", window or driver is not None, window)]
    if not value or value == "f.finished_ms":
        return [replace(part, ways=extra, value=value)]
    without = [replace(way, condition=f"{way.condition} AND {value} IS NULL") for way in extra]
    if not tests:
        uncopied = f"r.id > {filter_sql.reach_of(tx):d} AND NOT EXISTS (SELECT 1 FROM job_facts f WHERE f.id = r.id)"
        without += [replace(way, condition=f"{way.condition} AND {uncopied}") for way in part.ways]
    return [replace(part, ways=extra, value=value, where=[*part.where, f"{value} IS NOT NULL"]),
            replace(part, segment="i", ways=without)]


def _serving(tests: list[filter_sql.Fact], value: str) -> filter_sql.Fact | None:
    """The condition whose index has the rows in the order of the list."""
    return next((test for test in tests if (test.index == value or value == "f.finished_ms" and
                                            test.index == "f.error_group" or not value and test.ordered)), None)


def _few_rows(tx: Executor, wanted: JobFilter, states: list[str]) -> bool:
    """Whether the conditions on the row itself have an index with few rows."""
    sources, values = [], {}
    if wanted.state and "completed" not in states:
        fitting = ", ".join(map(repr, states))
        sources.append(f"job_history r WHERE r.status IN ({fitting}) AND r.status <> 'completed'")
    fields = {"job_type": wanted.type, "tenant_id": wanted.tenant, "queue": wanted.queue}
    fields = {name: value for name, value in fields.items() if value}
    if fields and search_index.has_index(tx):
        values["match"] = search_index.of_columns(fields)
        sources.append(f"job_search s WHERE {search_index.MATCHES}")
    return any(_few(tx, source, values) for source in sources)


def _few(tx: Executor, source: str, values: dict[str, Any]) -> bool:
    sql = f"SELECT COUNT(*) FROM (SELECT 1 FROM {source} LIMIT {FEW + 1}) few"
    return int(tx.fetch_all(sql, **values)[0][0]) <= FEW
