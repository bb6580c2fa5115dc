"""Costs of paid requests, as exact sums in billionths (nano) of a currency."""

from __future__ import annotations

from typing import NamedTuple

from app.ledger.dialect import Executor
from app.models.types import as_integer, as_text

NANO = 1_000_000_000
MOST = 9 * 10**15  # nine million of a currency for one request: two of 2^63 would stop every sum
_ADD = """INSERT INTO job_costs
 (uuid, job_type, tenant_id, model, at_ms, tokens_in, tokens_cached, tokens_out, cost_nano, currency)
 VALUES (:uuid, :job_type, :tenant, :model, :now, :tokens_in, :cached, :tokens_out, :nano, :currency)"""
_SPENT = f"""SELECT COALESCE(SUM(cost_nano), 0) FROM job_costs WHERE tenant_id = :tenant AND at_ms >= :since
 AND currency = :currency AND cost_nano BETWEEN -{MOST} AND {MOST}"""


_BY_CURRENCY = f"""SELECT currency, SUM(CASE WHEN cost_nano BETWEEN -{MOST} AND {MOST} THEN cost_nano ELSE 0 END),
 SUM(CASE WHEN cost_nano IS NULL THEN 1 ELSE 0 END) FROM job_costs WHERE"""
_OF_TIME = f"""{_BY_CURRENCY} at_ms >= :since AND at_ms < :until AND {{column}} = :name GROUP BY currency
 ORDER BY currency"""
_OF_BATCH = f"""{_BY_CURRENCY} uuid IN
 (SELECT uuid FROM job_history WHERE batch_id = :b UNION ALL SELECT uuid FROM jobs WHERE batch_id = :b)
 GROUP BY currency ORDER BY currency"""


class Cost(NamedTuple):
    """Costs in one currency, `nano` in billionths of its unit, without those of `unknown` requests."""

    currency: str
    nano: int
    unknown: int


def of_batch(tx: Executor, batch_id: str) -> list[Cost]:
    """The costs of the members of a batch whose rows are still kept, by currency."""
    return [Cost(as_text(currency) or "", as_integer(nano, 0) or 0, int(unknown))
            for currency, nano, unknown in tx.fetch_all(_OF_BATCH, b=batch_id)]


def of_time(tx: Executor, column: str, name: str, since: int, until: int) -> list[Cost]:
    """The costs of a `job_type` or `tenant_id` (`column`) from `since` to before `until` (ms), by currency."""
    rows = tx.fetch_all(_OF_TIME.format(column=column), name=name, since=since, until=until)
    return [Cost(as_text(currency) or "", as_integer(nano, 0) or 0, int(unknown)) for currency, nano, unknown in rows]


def add(tx: Executor, uuid: str, job_type: str, tenant: str | None, model: str, tokens: tuple[int, int, int] | None,
        nano: int | None, currency: str) -> None:
    """Write the cost of one paid request in the open transaction. `tokens` are (input, cached part of these, output);
    None means unknown, for `tokens` and for `nano`."""
    tokens_in, cached, tokens_out = tokens or (None, None, None)
    tx.execute(_ADD, uuid=uuid, job_type=job_type, tenant=tenant or "", model=model[:100], now=tx.now(), nano=nano,
               tokens_in=tokens_in, cached=cached, tokens_out=tokens_out, currency=currency[:3].upper())


def spent(tx: Executor, tenant: str, since: int, currency: str) -> int:
    """The known costs of a tenant since `since` (ms) in a currency, in billionths."""
    return int(tx.fetch_all(_SPENT, tenant=tenant, since=since, currency=currency)[0][0])
