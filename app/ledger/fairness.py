"""Fairness between tenants: the rank that a row of a fair type gets when it joins a queue.

The functions that put rows into a queue set the rank: dispatch, `manual.requeue` and `control.move`. A row that stays
in its queue keeps its place: rescue, automatic retry, hold, release and delay do not change the rank. The code defines
which types are fair (`@job(fair=True)`), not the row, because a row of an older release or of another program would not
contain it. So `requeue` and `move` take the names of these types without a default: a caller that forgets them gets a
TypeError.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from app.ledger.dialect import Executor
from app.ledger.limits import LIMITED


def fair_rank(tx: Executor, queue: str, tenant_id: str | None, job_type: str) -> int:
    """Rank (below 0) of the next job of a tenant in a fair type: one below the tenant's last, but not above the first
    ready row, nor above the first row that the limit of the type holds back (that of a limit for each tenant does not
    count: it holds back that tenant only).

    The n-th jobs of all tenants have the same rank, so the claim (highest rank first) serves the tenants in rounds. The
    first job of a new tenant gets the rank of the first ready row: 10,000 jobs of another tenant delay it by one job.
    Other types (rank 0) go first.
    """
    whose, named = ("tenant_id = :t", {"t": tenant_id}) if tenant_id else ("tenant_id IS NULL", {})
    last = tx.fetch_all(f"SELECT MIN(rank) FROM jobs WHERE queue = :q AND {whose} AND rank < 0", q=queue, **named)[0][0]
    head = tx.fetch_all(
        "SELECT rank FROM jobs WHERE state = 'pending' AND queue = :q AND rank < 0 ORDER BY rank DESC LIMIT 1", q=queue)
    limited = f"{LIMITED} AND job_type = :t AND limit_key = :t"
    held = tx.fetch_all(f"SELECT rank FROM jobs WHERE {limited} AND queue = :q AND rank < 0 ORDER BY rank DESC LIMIT 1",
                        t=job_type, q=queue)
    first = max((row[0] for row in (*head, *held)), default=-1)
    return min(last - 1 if last else -1, first)


def assign_fair_ranks(tx: Executor, joined: Iterable[tuple[int, str, str | None, str]], fair: Collection[str]) -> None:
    """Set the ranks of rows that have just joined a queue with rank 0, in the order of their ids. `joined` are tuples
    (id, queue, tenant, type), `fair` the names of the fair types."""
    last: dict[tuple[str, str | None], int] = {}
    ranks = []
    for id_, queue, tenant, name in sorted(joined, key=lambda row: row[0]):
        if name in fair:
            key = queue, tenant
            last[key] = last[key] - 1 if key in last else fair_rank(tx, queue, tenant, name)
            ranks.append({"id": id_, "rank": last[key]})
    if ranks:
        tx.execute_many("UPDATE jobs SET rank = :rank WHERE id = :id", ranks)
