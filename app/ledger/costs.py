"""What paid requests cost: exact sums in billionths (nano) of a currency."""

from __future__ import annotations

from app.ledger.dialect import Executor

NANO = 1_000_000_000  # billionths of a currency's unit
MOST = 9 * 10**15  # nine million of a currency for one request: two of 2^63 would stop every sum
_ADD = """INSERT INTO job_costs (uuid, job_type, tenant_id, model, at_ms, tokens_in, tokens_cached, tokens_out, cost_nano, currency)
 VALUES (:uuid, :job_type, :tenant, :model, :now, :i, :c, :o, :nano, :currency)"""


def add(tx: Executor, uuid: str, job_type: str, tenant: str | None, model: str, tokens: tuple[int, int, int] | None, nano: int | None,
        currency: str) -> None:
    """One paid request, in the open transaction; `tokens` are in, cached of these, and out; `nano` None is unknown."""
    i, c, o = tokens or (None, None, None)
    tx.execute(_ADD, uuid=uuid, job_type=job_type, tenant=tenant or "", model=model[:100], now=tx.now(), i=i, c=c, o=o, nano=nano,
            currency=currency[:3].upper())


def spent(tx: Executor, tenant: str, since: int, currency: str) -> int:
    """What a tenant has spent since `since` (ms) in a currency, in billionths, as far as it is known."""
    rows = tx.fetch_all("SELECT SUM(cost_nano) FROM job_costs WHERE tenant_id = :t AND at_ms >= :since "
                        f"AND currency = :c AND cost_nano BETWEEN -{MOST} AND {MOST}",
                        t=tenant, since=since, c=currency)
    return int(rows[0][0] or 0)
