"""Generations: the row of each, kept so that a paid answer is used and an interrupted request is never paid twice by
itself.

claimed -> budget and rate looked at -> row `asking` (counted, durable) -> headers: `answering` -> text kept every 2 s
        -> answer: `answered`, tokens and cost (one durable transaction) -> content's new body, the old one as a version
Killed while `asking` or `answering`: may have been paid, so it is not asked again until a person retries it.
Killed after `answered`: the text is there, only the rest is done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.config import Settings
from app.integrations.openai_text import Answer
from app.ledger import control, costs, counts
from app.ledger.dialect import Executor
from app.models.job import BY_BUDGET
from app.services.content import prices
from app.support.clock import DAY_MS, MINUTE_MS, month_start
from app.support.messages import Message, from_row, to_json

log = logging.getLogger(__name__)
RATE = "rate limit"
WAYS = "openai_ways"  # the fact of the `meta` table: [way, when (ms)] by server and model
MOST_WAYS, WAY_MS = 200, 7 * DAY_MS
_COLUMNS = "round, status, text, model, raw, error, error_json"
_NEW = """INSERT INTO generations (uuid, round, tenant_id, reference, template, prompt, parameters, model, status, created_ms)
 VALUES (:uuid, :round, :tenant, :reference, :template, :prompt, :parameters, :model, 'new', :now) ON CONFLICT (uuid) DO UPDATE SET
 round = excluded.round, prompt = excluded.prompt, model = excluded.model, reference = excluded.reference, template = excluded.template"""
_ASKING = """UPDATE generations SET status = 'asking', asks = asks + 1, asked_ms = :now, first_ms = NULL, ended_ms = NULL,
 error = NULL, error_json = NULL, text = NULL, raw = NULL, answered_by = NULL, tokens_in = NULL, tokens_cached = NULL, tokens_out = NULL,
 cost_nano = NULL, currency = NULL WHERE uuid = :uuid"""
_ANSWERED = """UPDATE generations SET status = :status, text = :text, raw = :raw, answered_by = :by, tokens_in = :i, tokens_cached = :c,
 tokens_out = :o, cost_nano = :nano, currency = :currency, error = :error, error_json = :error_json, ended_ms = :now,
 maybe_paid = maybe_paid + :maybe WHERE uuid = :uuid"""


@dataclass
class Kept:
    """What is known of a job's generation."""

    retry_round: int
    status: str
    text: str | None
    model: str
    raw: str | None
    error: str | None

    @property
    def spent(self) -> bool:
        """An answer came and was paid, but is of no use."""
        return self.status != "answered" and self.raw is not None


def find(tx: Executor, uuid: str) -> Kept | None:
    rows = tx.fetch_all(f"SELECT {_COLUMNS} FROM generations WHERE uuid = :u", u=uuid)
    return Kept(*rows[0][:-2], from_row(*rows[0][-2:])) if rows else None


def begin(tx: Executor, uuid: str, retry_round: int, tenant: str | None, prompt: str, model: str, reference: str | None,
          template: str | None) -> None:
    """The row, before anything is asked."""
    tx.execute(_NEW, uuid=uuid, round=retry_round, tenant=tenant or "", reference=reference, template=template,
               prompt=prompt, parameters=json.dumps({"model": model}), model=model, now=tx.now())


def asking(tx: Executor, uuid: str) -> None:
    """A request goes out now."""
    tx.execute(_ASKING, uuid=uuid, now=tx.now())


def answering(tx: Executor, uuid: str) -> None:
    tx.execute("UPDATE generations SET status = 'answering', first_ms = :now WHERE uuid = :u", u=uuid, now=tx.now())


def keep_text(tx: Executor, uuid: str, text: str) -> None:
    tx.execute("UPDATE generations SET text = :text WHERE uuid = :u", text=text, u=uuid)


def unanswered(tx: Executor, uuid: str, error: str, sent: bool) -> None:
    """No answer began; `sent`: it may have been paid all the same."""
    tx.execute("UPDATE generations SET status = 'failed', error = :e, error_json = :json, ended_ms = :now, maybe_paid = maybe_paid + :m "
            "WHERE uuid = :u", e=error, json=to_json(error), now=tx.now(), m=int(sent), u=uuid)


def interrupted(tx: Executor, uuid: str, error: str) -> None:
    """The worker that asked was killed before the answer was whole; what had come is kept."""
    tx.execute("UPDATE generations SET status = CASE WHEN text IS NULL OR text = '' THEN 'failed' ELSE 'partial' END, "
            "error = :e, error_json = :json, ended_ms = :now, maybe_paid = maybe_paid + 1 WHERE uuid = :u",
            e=error, json=to_json(error), now=tx.now(), u=uuid)


def answered(tx: Executor, uuid: str, job_type: str, tenant: str | None, status: str, answer: Answer, error: str | None, table: Path) -> None:
    """The answer with its tokens and cost, whatever it is worth: in one durable transaction."""
    known = answer.tokens_in is not None and answer.tokens_out is not None
    tokens = (answer.tokens_in, answer.tokens_cached or 0, answer.tokens_out) if known else None
    doubtful = not known and status != "answered"  # a whole answer was paid, even when nobody tells how much
    model = answer.model or tx.fetch_all("SELECT model FROM generations WHERE uuid = :u", u=uuid)[0][0]
    try:
        nano, currency = prices.cost(table, model, tokens, tx.now())  # type: ignore[arg-type]
    except (prices.BadPrices, OSError) as trouble:  # a paid answer is kept whatever the table looks like
        log.warning("the cost of %s is unknown: %s", uuid, trouble)
        nano, currency = None, "USD"
    nano = nano if nano is not None and nano < 2**63 else None
    i, c, o = tokens or (None, None, None)
    raw = json.dumps({"id": answer.id, "finish": answer.finish, "refusal": answer.refusal, "broken": answer.broken})
    tx.execute(_ANSWERED, uuid=uuid, status=status, text=answer.text, raw=raw, by=model[:100], i=i, c=c, o=o, nano=nano, currency=currency,
            error=error, error_json=to_json(error), now=tx.now(), maybe=int(doubtful))
    costs.add(tx, uuid, job_type, tenant, model, tokens, nano, currency)  # type: ignore[arg-type]


def way_of(tx: Executor, server: str, model: str) -> tuple[int, bool]:
    """How to ask this server for this model, and whether it has answered when asked so: every process learns from the
    first. A humbler way is forgotten after a week, as servers are renewed."""
    kept = counts.load(tx, WAYS)
    ways = dict(kept[0]) if kept else {}  # type: ignore[call-overload]
    way, at = ways.get(_way_key(server, model), (None, 0))
    fresh = way is not None and (way == 0 or 0 <= tx.now() - at < WAY_MS)
    return (way, True) if fresh else (0, False)


def keep_way(tx: Executor, server: str, model: str, way: int) -> None:
    """This server has answered when asked in this way; of 200 the latest are remembered."""
    kept = counts.load(tx, WAYS)
    ways = dict(kept[0]) if kept else {}  # type: ignore[call-overload]
    ways[_way_key(server, model)] = (way, tx.now())
    counts.save(tx, WAYS, dict(sorted(ways.items(), key=lambda item: item[1][1])[-MOST_WAYS:]))


def _way_key(server: str, model: str) -> str:
    return hashlib.sha256(f"{server}\n{model}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def apply(tx: Executor, uuid: str, tenant: str | None, reference: str, text: str) -> bool:
    """The text becomes the content's body, once; the body before becomes a version. False when there is no such
    content."""
    rows = tx.fetch_all("SELECT id, body FROM contents WHERE tenant_id = :t AND reference = :r", t=tenant or "", r=reference)
    if not rows:
        return False
    (content, body), now = rows[0], tx.now()
    if tx.execute("INSERT INTO content_versions (content_id, body, replaced_ms, replaced_by) VALUES (:c, :body, :now, :u) ON CONFLICT DO NOTHING",
               c=content, body=body, now=now, u=uuid):
        tx.execute("UPDATE contents SET body = :text, updated_ms = :now WHERE id = :c", text=text, now=now, c=content)
    tx.execute("UPDATE generations SET applied_ms = :now WHERE uuid = :u", now=now, u=uuid)
    return True


def fill(tx: Executor, tenant: str | None, template: str | None, prompt: str, reference: str | None) -> str | None:
    """The prompt put into its template ({prompt}, {reference}, {title}, {body}); None when there is no such template.
    """
    if not template:
        return prompt
    rows = tx.fetch_all("SELECT body FROM prompt_templates WHERE name = :n AND tenant_id IN (:t, '') ORDER BY tenant_id DESC LIMIT 1",
                   n=template, t=tenant or "")
    if not rows:
        return None
    content = tx.fetch_all("SELECT title, body FROM contents WHERE tenant_id = :t AND reference = :r", t=tenant or "", r=reference or "")
    title, body = content[0] if content else ("", "")
    values = {"prompt": prompt, "reference": reference or "", "title": title, "body": body}
    return re.sub(r"\{(prompt|reference|title|body)\}", lambda name: values[name[1]], rows[0][0])  # one pass: no value is filled again


# ---- budget and rate -----------------------------------------------------------------------------------------------


def over_budget(tx: Executor, tenant: str | None, settings: Settings) -> str | None:
    """Why a tenant's generations are held now, or None."""
    rows = tx.fetch_all("SELECT month_nano, currency FROM tenant_budgets WHERE tenant_id = :t AND hold = 1", t=tenant or "")
    if not rows:
        return None
    limit, currency = rows[0]
    spent = costs.spent(tx, tenant or "", month_start(tx.now(), settings.timezone), currency)
    if spent < limit:
        return None
    amounts = {"spent": f"{spent / costs.NANO:.2f}", "limit": f"{limit / costs.NANO:.2f} {currency}"}
    return Message("The monthly budget of %(tenant)s is spent (%(spent)s).", tenant=tenant,
                   spent=Message("%(spent)s of %(limit)s", **amounts))


def release_within_budget(connection: Any, settings: Settings) -> int:
    """Rows held for a budget that has been raised, or whose month has turned, go on; returns how many."""
    total = 0
    rows = connection.fetch_all(f"SELECT DISTINCT COALESCE(tenant_id, '') FROM jobs WHERE state = 'held' AND hold_code = '{BY_BUDGET}'")
    for (tenant,) in rows:
        if over_budget(connection, tenant, settings) is None:
            total += control.free_held(connection, f"hold_code = '{BY_BUDGET}' AND COALESCE(tenant_id, '') = :t", t=tenant)
    return total


def take_slot(tx: Executor, limit: int, job_type: str) -> float:
    """One request of this minute's `limit` for the whole account: 0 when taken, else seconds to the next minute, until
    when the type is paused for everybody (unless a person has paused it)."""
    if not limit:
        return 0.0
    now = tx.now()
    minute = now - now % MINUTE_MS
    if tx.execute("INSERT INTO ask_minutes (minute_ms, count) VALUES (:m, 1) ON CONFLICT (minute_ms) DO UPDATE SET count = ask_minutes.count + 1 "
               "WHERE ask_minutes.count < :limit", m=minute, limit=limit):
        tx.execute("DELETE FROM ask_minutes WHERE minute_ms < :old", old=minute - 60 * MINUTE_MS)
        return 0.0
    until = minute + MINUTE_MS
    name = control.TYPE + job_type
    if not tx.fetch_all("SELECT 1 FROM queues WHERE name = :n AND paused_at IS NOT NULL", n=name):
        control.pause(tx, name, until, RATE, None)
    return max((until - now) / 1000, 0.1)
