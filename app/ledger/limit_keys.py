"""The limits that are declared or set, and the keys by which rows are counted (limits.py counts them).

a worker starts -> `declare`; a person changes a limit -> `set_by_person`: the row of the type in `job_limits`
a type gets its first limit, or another `per` -> `key_running`: the running rows count at once, in the same transaction
                                              -> `key_rows`: the others get their keys in steps (the person's process,
                                                 and the monitor in case that ends before)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from app.ledger.dialect import Connection, Executor
from app.ledger.rows import insert
from app.support.messages import Message
from app.support.validation import stored_object

MOST_KEY, STEP = 200, 200
_OF_TYPE = """SELECT COALESCE(set_concurrency, concurrency), COALESCE(set_rate_count, rate_count),
 COALESCE(set_rate_ms, rate_ms), CASE rate_per WHEN 'type' THEN 1 ELSE 0 END, per, per_default
 FROM job_limits WHERE job_type = :t"""
_SOME = f"job_type = :t AND id > :last ORDER BY id LIMIT {STEP}"
_DECLARED = insert("job_limits", ("job_type", "per", "per_default", "concurrency", "rate_count", "rate_ms",
                                   "rate_per"),
                   """(job_type) DO UPDATE SET per = excluded.per, per_default = excluded.per_default,
 rate_per = excluded.rate_per,
 concurrency = excluded.concurrency, rate_count = excluded.rate_count, rate_ms = excluded.rate_ms""")


class Limit(NamedTuple):
    """At most `concurrency` jobs at once, and `rate_count` starts in `rate_ms`; 0 is no limit. `whole_type`: the starts
    are those of the whole type, whatever the jobs at once are counted per."""

    concurrency: int = 0
    rate_count: int = 0
    rate_ms: int = 0
    whole_type: int = 0

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return bool(self.concurrency or self.rate_count)

    def rate_key(self, job_type: str, key: str) -> str:
        """The key of the starts of jobs with this key."""
        return job_type if self.whole_type else key

    def at_once(self, per: Per) -> Message:
        """A sentence about `concurrency`."""
        if per.name == "type":
            return Message("Its type is limited to %(n)s at once.", n=self.concurrency)
        return Message("Its type is limited to %(n)s at once for each %(name)s.", n=self.concurrency, name=per.what)

    def in_time(self, per: Per) -> Message:
        """A sentence about the rate."""
        values = {"n": self.rate_count, "s": self.rate_ms // 1000}
        if per.name == "type" or self.whole_type:
            return Message("Its type is limited to %(n)s starts in %(s)s s.", **values)
        return Message("Its type is limited to %(n)s starts in %(s)s s for each %(name)s.", name=per.what, **values)


class Per(NamedTuple):
    """What is counted together: `name` is "type", "tenant" or "args.NAME"; `default` is the argument of a job that
    gives none, as `text_of` writes it."""

    name: str = "type"
    default: str = ""

    @property
    def what(self) -> str:
        """What is counted for itself, in words."""
        return Message("tenant") if self.name == "tenant" else self.name.removeprefix("args.")


def text_of(value: object) -> str:
    """The text of an argument within a key."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, sort_keys=True, default=str)


def key_of(job_type: str, per: Per, tenant_id: str | None, args: dict[str, Any]) -> str:
    """The key of a job: its type, with its tenant or an argument."""
    if per.name == "type":
        return job_type
    name = per.name.removeprefix("args.")
    value = tenant_id or "" if per.name == "tenant" else text_of(args[name]) if name in args else per.default
    key = f"{job_type} {per.name}={value}"
    return key if len(key) <= MOST_KEY else f"{key[:MOST_KEY - 33]} {hashlib.sha256(key.encode()).hexdigest()[:32]}"


def declare(tx: Executor, limits: Iterable[tuple[str, Per, Limit]], known: Iterable[str]) -> None:
    """Store the limits of the code, as (type, per, limit); those of other `known` types end."""
    limits, known = list(limits), set(known)
    named = {limit[0] for limit in limits}
    for (job_type,) in tx.fetch_all("SELECT job_type FROM job_limits ORDER BY job_type"):
        if job_type in known - named:
            limits.append((job_type, Per(), Limit()))
    for job_type, per, limit in sorted(limits):
        before = stored(tx, job_type)
        tx.execute(_DECLARED, job_type=job_type, per=per.name, per_default=per.default,
                   concurrency=limit.concurrency or None, rate_count=limit.rate_count or None,
                   rate_ms=limit.rate_ms or None, rate_per="type" if limit.whole_type else "")
        if before is None or before[1] != per:
            key_running(tx, job_type, per)


def set_by_person(tx: Executor, job_type: str, by: str, concurrency: int | None, rate: tuple[int, int] | None,
                  per: Per) -> None:
    """Store the limits that a person sets; 0 is "no limit", None is "as the code says". `per` counts for a type that
    had no limit."""
    tx.execute(insert("job_limits", ("job_type", "per", "per_default"), "DO NOTHING"), job_type=job_type,
                        per=per.name, per_default=per.default)
    count, ms = rate if rate is not None else (None, None)
    tx.execute("UPDATE job_limits SET set_concurrency = :n, set_rate_count = :count, set_rate_ms = :ms, set_by = :by, "
               "set_at_ms = :now WHERE job_type = :t", t=job_type, n=concurrency, count=count, ms=ms, by=by,
               now=tx.now())
    key_running(tx, job_type, (stored(tx, job_type) or (None, per))[1])


def of_type(tx: Executor, job_type: str) -> Limit:
    """The limit of a type that counts now: a person's, else the code's."""
    found = stored(tx, job_type)
    return found[0] if found else Limit()


def stored(tx: Executor, job_type: str) -> tuple[Limit, Per] | None:
    """The limit of a type that counts now, and what it counts together; None for a type that never had one."""
    rows = tx.fetch_all(_OF_TYPE, t=job_type)
    return (Limit(*(value or 0 for value in rows[0][:4])), Per(rows[0][4], rows[0][5] or "")) if rows else None


def key_running(tx: Executor, job_type: str, per: Per) -> None:
    """Give the running rows of a type their keys by `per`, so that they count at once; the others follow."""
    tx.execute("UPDATE job_limits SET is_keyed = 0 WHERE job_type = :t", t=job_type)
    _key(tx, job_type, per, "state = 'processing' AND job_type = :t")


def key_rows(connection: Connection) -> int:
    """Give the live rows of types whose limit has begun, or whose `per` has changed, their keys, 200 a transaction;
    returns how many were looked at."""
    total = 0
    for job_type, *per in connection.fetch_all(
            "SELECT job_type, per, COALESCE(per_default, '') FROM job_limits WHERE is_keyed = 0"):
        last: int | None = 0
        while last is not None:
            with connection.transaction() as tx:
                rows = _key(tx, job_type, Per(*per), _SOME, last=last)
            total, last = total + len(rows), rows[-1] if len(rows) == STEP else None
        with connection.transaction() as tx:
            tx.execute("UPDATE job_limits SET is_keyed = 1 WHERE job_type = :t AND per = :per "
                       "AND COALESCE(per_default, '') = :default", t=job_type, per=per[0], default=per[1])
    return total


def _key(tx: Executor, job_type: str, per: Per, where: str, **values: Any) -> list[int]:
    payload = "payload" if per.name.startswith("args.") else "'{}'"
    rows = tx.fetch_all(f"SELECT id, tenant_id, {payload}, limit_key FROM jobs WHERE {where}", t=job_type, **values)
    keys = {id_: key_of(job_type, per, tenant, arguments(text)) for id_, tenant, text, _ in rows}
    tx.execute_many("UPDATE jobs SET limit_key = :key WHERE id = :id",
                    [{"id": id_, "key": keys[id_]} for id_, _, _, before in rows if before != keys[id_]])
    return list(keys)


def arguments(payload: str) -> dict[str, Any]:
    """The arguments in a payload; {} when it has none."""
    args = stored_object(payload).get("args")
    return args if isinstance(args, dict) else {}
