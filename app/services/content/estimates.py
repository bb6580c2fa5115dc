"""What a bulk will cost, and whether the tenant's budget has room for all of it.

history of the model and template, or a stated assumption -> tokens -> price table -> cost
budget of the month - spent - what bulks under way have still to spend = left

An estimate above what is left is refused. When the budget holds texts at 100 %, nobody can overrule that: the bulk
would stop half-way. When the budget only warns, a person may start all the same, because nothing would stop the texts.
What cannot be compared (no price, or a price in another currency) is refused and overruled by the same rule.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from app.config import Settings
from app.ledger import costs
from app.ledger.dialect import Executor
from app.models.types import as_integer
from app.services.content import prices
from app.support import number_text
from app.support.clock import month_start
from app.support.messages import Message
from app.support.validation import stored_object

LOOKED_AT, RESTS_ON, LEAST = 2000, 200, 5  # generations of the model, those that count, and how few are no history
CHARS, TOKENS_OUT = 4, 800  # assumed: characters a token, tokens of an answer
_HISTORY = f"""SELECT COUNT(*), SUM(LENGTH(prompt)), SUM(tokens_in), SUM(tokens_out) FROM (SELECT * FROM (
 SELECT * FROM generations WHERE model = :m ORDER BY id DESC LIMIT {LOOKED_AT}) l WHERE status = 'answered'
 AND COALESCE(template, '') = :t AND tokens_in BETWEEN 1 AND 10000000 AND tokens_out BETWEEN 1 AND 10000000
 ORDER BY id DESC LIMIT {RESTS_ON}) h"""
_OPEN = """SELECT id, options FROM job_batches WHERE closed_ms IS NULL AND COALESCE(tenant_id, '') = :t
 AND options LIKE '%estimate_nano%'"""


@dataclass(frozen=True)
class Estimate:
    """`nano` (billionths of `currency`) is None when the model has no price; `basis` says what it rests on."""

    texts: int
    tokens_in: int
    tokens_out: int
    nano: int | None
    currency: str
    basis: str


@dataclass(frozen=True)
class Room:
    """The monthly budget of a tenant in billionths of `currency`: `spent`, and `reserved` for bulks under way."""

    tenant: str
    limit: int
    currency: str
    hold: bool
    spent: int
    reserved: int

    @property
    def left(self) -> int:
        """What is left, at least 0."""
        return max(self.limit - self.spent - self.reserved, 0)


def estimate(tx: Executor, settings: Settings, model: str, template: str | None, texts: int, chars: int) -> Estimate:
    """The cost of `texts` answers to prompts of `chars` characters together."""
    known, *sums = (as_integer(value, 0) for value in tx.fetch_all(_HISTORY, m=model, t=template or "")[0])
    if known >= LEAST and sums[0] > 0:
        by_length = sums[0] / CHARS  # a template and a system prompt cost the same for each text, whatever its length
        fixed, rate = max(sums[1] - by_length, 0) / known, min(sums[1] / by_length, 1)
        tokens_in, tokens_out = math.ceil(texts * fixed + chars / CHARS * rate), math.ceil(texts * sums[2] / known)
        basis = Message("It rests on the last %(n)s answers of this model and template: %(i)s tokens for a prompt of "
                        "%(c)s characters, and %(o)s for an answer, on average.", n=known, i=round(sums[1] / known),
                        c=round(sums[0] / known), o=round(sums[2] / known))
    else:
        tokens_in, tokens_out = math.ceil(chars / CHARS), texts * TOKENS_OUT
        basis = Message("There are too few answers of this model and template: it assumes a token for %(c)s characters "
                        "of a prompt and %(o)s tokens for an answer.", c=CHARS, o=TOKENS_OUT)
    try:
        nano, currency = prices.cost(settings.prices_file, model, (tokens_in, 0, tokens_out), tx.now())
    except (prices.BadPrices, OSError):
        nano, currency = None, "USD"
    return Estimate(texts, tokens_in, tokens_out, nano, currency, basis)


def room(tx: Executor, settings: Settings, tenant: str | None) -> Room | None:
    """What the budget of a tenant has left this month; None without a budget."""
    rows = tx.fetch_all("SELECT month_nano, currency, hold FROM tenant_budgets WHERE tenant_id = :t", t=tenant or "")
    if not rows:
        return None
    limit, currency, hold = rows[0]
    spent = costs.spent(tx, tenant or "", month_start(tx.now(), settings.timezone), currency)
    return Room(tenant or "", limit, currency, bool(hold), spent, _reserved(tx, tenant, currency))


def _reserved(tx: Executor, tenant: str | None, currency: str) -> int:
    """The estimates of the tenant's open bulks, each for the share of its texts that have not ended."""
    total = 0
    for batch_id, options in tx.fetch_all(_OPEN, t=tenant or ""):
        kept = stored_object(options)
        nano, texts = as_integer(kept.get("estimate_nano"), 0), as_integer(kept.get("texts"), 0)
        if kept.get("currency") == currency and 0 < nano <= costs.MOST and texts > 0:
            live = tx.fetch_all("SELECT COUNT(*) FROM jobs WHERE batch_id = :b", b=batch_id)[0][0]
            total += nano * min(live, texts) // texts
    return total


def options_of(found: Estimate) -> str:
    """The JSON that the batch of a bulk keeps of its estimate."""
    return json.dumps({"texts": found.texts, "estimate_nano": found.nano, "currency": found.currency})


def refusal(found: Estimate, left: Room | None, overrule: bool) -> str | None:
    """Why a bulk of this estimate may not start, or None. `overrule` counts only for a budget that does not hold."""
    if left is None or (overrule and not left.hold):
        return None
    budget = {"limit": amount(left.limit, left.currency), "tenant": left.tenant or "-"}
    if found.nano is None:
        return Message("The model has no price in the price table, so the monthly budget of %(tenant)s (%(limit)s) "
                       "cannot be checked.", **budget)
    if found.currency != left.currency:
        return Message("The price is in %(currency)s, so the monthly budget of %(tenant)s (%(limit)s) cannot be "
                       "checked.", currency=found.currency, **budget)
    if found.nano <= left.left:
        return None
    return Message("The estimate of %(cost)s is above what the monthly budget of %(tenant)s has left: %(left)s of "
                   "%(limit)s (%(spent)s are spent, %(reserved)s go to bulks under way).", **budget,
                   cost=amount(found.nano, found.currency), left=amount(left.left, left.currency),
                   spent=amount(left.spent, left.currency), reserved=amount(left.reserved, left.currency))


def amount(nano: int, currency: str) -> str:
    """'1.20 USD', rounded as on pages, without a language."""
    return f"{number_text.amount(nano):f} {currency}"
