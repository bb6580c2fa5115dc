"""Turns of tenants: the rank that a row of a fair type gets when it joins a queue.

Who puts rows into a queue gives them their rank: dispatch, `manual.requeue` and `control.move`. A row that stays in its
queue keeps its place: rescue, automatic retry, hold, release and delay leave the rank alone. The code says which types
are fair (`@job(fair=True)`), not the row: a row of an older release or of another program would not know. So `requeue`
and `move` take the names of these types without a default: a caller that forgets them gets a TypeError.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from app.ledger.dialect import Executor


def fair_rank(tx: Executor, queue: str, tenant_id: str | None) -> int:
    """Rank of the next job of a tenant in a type whose tenants take turns: one behind the tenant's last, but not before
    the head.

    With n-th jobs of all tenants at the same rank, the claim (highest rank first) serves them in rounds, and a
    newcomer's first job stands beside the head: 10,000 jobs of one tenant hold up another's by one job each. Other
    types (rank 0) go first.
    """
    whose, named = ("tenant_id = :t", {"t": tenant_id}) if tenant_id else ("tenant_id IS NULL", {})
    last = tx.fetch_all(f"SELECT MIN(rank) FROM jobs WHERE queue = :q AND {whose} AND rank < 0", q=queue, **named)[0][0]
    head = tx.fetch_all(
        "SELECT rank FROM jobs WHERE state = 'pending' AND queue = :q AND rank < 0 ORDER BY rank DESC LIMIT 1", q=queue)
    return min(last - 1 if last else -1, head[0][0] if head else -1)


def assign_fair_ranks(tx: Executor, joined: Iterable[tuple[int, str, str | None, str]], fair: Collection[str]) -> None:
    """Ranks for rows that have just joined a queue with rank 0, in the order of their ids: (id, queue, tenant, type)
    each."""
    last: dict[tuple[str, str | None], int] = {}
    ranks = []
    for id_, queue, tenant, name in sorted(joined, key=lambda row: row[0]):
        if name in fair:
            key = queue, tenant
            last[key] = last[key] - 1 if key in last else fair_rank(tx, queue, tenant)
            ranks.append({"id": id_, "rank": last[key]})
    if ranks:
        tx.execute_many("UPDATE jobs SET rank = :rank WHERE id = :id", ranks)
