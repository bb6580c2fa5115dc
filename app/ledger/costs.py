"""What paid requests cost: exact sums in billionths (nano) of a currency."""

from __future__ import annotations

from app.ledger.dialect import Executor

NANO = 1_000_000_000
_ADD = """INSERT INTO job_costs (uuid, job_type, tenant_id, model, at_ms, tokens_in, tokens_cached, tokens_out, cost_nano, currency)
 VALUES (:uuid, :job_type, :tenant, :model, :now, :i, :c, :o, :nano, :currency)"""


def add(tx: Executor, uuid: str, job_type: str, tenant: str | None, model: str, tokens: tuple[int, int, int] | None, nano: int | None,
        currency: str) -> None:
    """One paid request, in the open transaction; `tokens` are in, cached of these, and out; `nano` None is unknown."""
    i, c, o = tokens or (None, None, None)
    tx.execute(_ADD, uuid=uuid, job_type=job_type, tenant=tenant or "", model=model[:100], now=tx.now(), i=i, c=c, o=o, nano=nano,
            currency=currency[:3].upper())


def spent(tx: Executor, tenant: str, since: int, currency: str) -> int:
    """What a tenant has spent since `since` (ms) in a currency, as far as it is known."""
    return int(tx.fetch_all("SELECT COALESCE(SUM(cost_nano), 0) FROM job_costs WHERE tenant_id = :t AND at_ms >= :since AND currency = :c",
                       t=tenant, since=since, c=currency)[0][0])
