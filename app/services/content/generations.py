"""Generations: the row of each, written so that a paid answer is used and no request is paid twice without a person.

claimed, within the rate -> budget is checked -> row `asking` (counted, durable) -> headers: `answering`
        -> text every 2 s -> answer: `answered`, tokens and cost (one durable transaction)
        -> the content's new body, the old as a version
Killed while `asking` or `answering`: it may have been paid, so it is not asked again until a person retries it.
Killed after `answered`: the text is stored, only the steps after it run again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from app.config import Settings
from app.integrations.csv_files import key_of
from app.integrations.openai_text import Answer
from app.ledger import control, costs, counts
from app.ledger.dialect import Executor
from app.models.job import BY_BUDGET
from app.services.content import prices
from app.support.clock import DAY_MS, month_start
from app.support.messages import Message, from_row, to_json
from app.support.number_text import amount

log = logging.getLogger(__name__)
PLACEHOLDER = re.compile(r"\{([^\W\d][\w .-]{0,99})\}")  # in a template; JSON in braces is none
WAYS = "openai_ways"  # the fact of the `meta` table: [way, when (ms)] by server and model
MOST_WAYS, WAY_MS = 200, 7 * DAY_MS
_KEPT = "SELECT round, status, text, raw, error, error_json FROM generations WHERE uuid = :u"
_NEW = """INSERT INTO generations
 (uuid, round, tenant_id, reference, template, prompt, parameters, model, status, created_ms, batch_id)
 VALUES (:uuid, :round, :tenant, :reference, :template, :prompt, :parameters, :model, 'new', :now, :batch)
 ON CONFLICT (uuid) DO UPDATE SET round = excluded.round, prompt = excluded.prompt, model = excluded.model,
 reference = excluded.reference, template = excluded.template"""
_ASKING = """UPDATE generations SET status = 'asking', asks = asks + 1, asked_ms = :now, first_ms = NULL,
 ended_ms = NULL, error = NULL, error_json = NULL, text = NULL, raw = NULL, answered_by = NULL, tokens_in = NULL,
 tokens_cached = NULL, tokens_out = NULL, cost_nano = NULL, currency = NULL WHERE uuid = :uuid"""
_FAILED = """UPDATE generations SET error = :e, error_json = :json, ended_ms = :now, maybe_paid = maybe_paid + :maybe,
 status = CASE WHEN :partial = 1 AND text <> '' THEN 'partial' ELSE 'failed' END WHERE uuid = :u"""
_ANSWERED = """UPDATE generations SET status = :status, text = :text, raw = :raw, answered_by = :by, tokens_in = :i,
 tokens_cached = :c, tokens_out = :o, cost_nano = :nano, currency = :currency, error = :error, error_json = :json,
 ended_ms = :now, maybe_paid = maybe_paid + :maybe WHERE uuid = :uuid"""
_VERSION = """INSERT INTO content_versions (content_id, body, replaced_ms, replaced_by)
 VALUES (:c, :body, :now, :u) ON CONFLICT DO NOTHING"""
_CONTENT = "SELECT id, title, body FROM contents WHERE tenant_id = :t AND reference = :r"
_TEMPLATE = """SELECT body FROM prompt_templates WHERE name = :n AND tenant_id IN (:t, '')
 ORDER BY tenant_id DESC LIMIT 1"""


class Kept(NamedTuple):
    """The stored generation of a job."""

    retry_round: int
    status: str
    text: str | None
    raw: str | None
    error: str | None

    @property
    def spent(self) -> bool:
        """Whether an answer came and was paid, but is of no use."""
        return self.status != "answered" and self.raw is not None


def find(tx: Executor, uuid: str) -> Kept | None:
    """The stored generation of a job, or None."""
    rows = tx.fetch_all(_KEPT, u=uuid)
    return Kept(*rows[0][:-2], from_row(*rows[0][-2:])) if rows else None


def begin(tx: Executor, uuid: str, retry_round: int, tenant: str | None, prompt: str, model: str, reference: str | None,
          template: str | None, batch: str | None = None) -> None:
    """Write the row before the first request; a later round of the job replaces its values."""
    plan(tx, [(uuid, prompt, reference)], retry_round, tenant, model, template, batch)


def plan(tx: Executor, texts: Iterable[tuple[str, str, str | None]], retry_round: int, tenant: str | None, model: str,
         template: str | None, batch: str | None) -> None:
    """Write the rows of texts, each as (uuid of its job, prompt, reference); a bulk does so long before it asks."""
    common = {"round": retry_round, "tenant": tenant or "", "template": template, "model": model, "now": tx.now(),
              "parameters": json.dumps({"model": model}), "batch": batch}
    tx.execute_many(_NEW, [common | {"uuid": uuid, "prompt": prompt, "reference": reference}
                           for uuid, prompt, reference in texts])


def asking(tx: Executor, uuid: str) -> None:
    """Note that a request goes out now."""
    tx.execute(_ASKING, uuid=uuid, now=tx.now())


def answering(tx: Executor, uuid: str) -> None:
    """Note that the answer begins now."""
    tx.execute("UPDATE generations SET status = 'answering', first_ms = :now WHERE uuid = :u", u=uuid, now=tx.now())


def keep_text(tx: Executor, uuid: str, text: str) -> None:
    """Store the part of the answer that has come."""
    tx.execute("UPDATE generations SET text = :text WHERE uuid = :u", text=text, u=uuid)


def unanswered(tx: Executor, uuid: str, error: str, sent: bool) -> None:
    """Note that no answer began; `sent`: the request may have been paid all the same."""
    tx.execute(_FAILED, e=error, json=to_json(error), now=tx.now(), maybe=int(sent), partial=0, u=uuid)


def interrupted(tx: Executor, uuid: str, error: str) -> None:
    """Note that the worker was killed before the answer was whole; the stored part of it stays."""
    tx.execute(_FAILED, e=error, json=to_json(error), now=tx.now(), maybe=1, partial=1, u=uuid)


def answered(tx: Executor, uuid: str, job_type: str, tenant: str | None, status: str, answer: Answer,
             error: str | None, table: Path) -> None:
    """Store the answer, whole or not, with its tokens and its cost by the price table, in the open transaction."""
    known = answer.tokens_in is not None and answer.tokens_out is not None
    tokens = (answer.tokens_in, answer.tokens_cached or 0, answer.tokens_out) if known else None
    doubtful = not known and status != "answered"  # a whole answer was paid, even at an unknown cost
    model = answer.model or tx.fetch_all("SELECT model FROM generations WHERE uuid = :u", u=uuid)[0][0]
    try:
        nano, currency = prices.cost(table, model, tokens, tx.now())  # type: ignore[arg-type]
    except (prices.BadPrices, OSError) as failure:  # a paid answer is stored even when the table is broken
        log.warning("the cost of %s is unknown: %s", uuid, failure)
        nano, currency = None, "USD"
    nano = nano if nano is not None and nano < 2**63 else None
    i, c, o = tokens or (None, None, None)
    raw = json.dumps({"id": answer.id, "finish": answer.finish, "refusal": answer.refusal, "broken": answer.broken})
    tx.execute(_ANSWERED, uuid=uuid, status=status, text=answer.text, raw=raw, by=model[:100], i=i, c=c, o=o, nano=nano,
               currency=currency, error=error, json=to_json(error), now=tx.now(), maybe=int(doubtful))
    costs.add(tx, uuid, job_type, tenant, model, tokens, nano, currency)  # type: ignore[arg-type]


def way_of(tx: Executor, server: str, model: str) -> tuple[int, bool]:
    """(the form of request for this server and model, whether the server has answered it before): all processes share
    it. A form other than 0 is forgotten after a week, because servers are renewed."""
    way, at = _ways(tx).get(_way_key(server, model), (None, 0))
    fresh = way is not None and (way == 0 or 0 <= tx.now() - at < WAY_MS)
    return (way, True) if fresh else (0, False)


def keep_way(tx: Executor, server: str, model: str, way: int) -> None:
    """Store the form of request that this server has answered; the latest 200 are kept."""
    ways = _ways(tx) | {_way_key(server, model): (way, tx.now())}
    counts.save(tx, WAYS, dict(sorted(ways.items(), key=lambda item: item[1][1])[-MOST_WAYS:]))


def _ways(tx: Executor) -> dict[str, tuple[int, int]]:
    kept = counts.load(tx, WAYS)
    return dict(kept[0]) if kept else {}  # type: ignore[call-overload]


def _way_key(server: str, model: str) -> str:
    return hashlib.sha256(f"{server}\n{model}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def apply(tx: Executor, uuid: str, tenant: str | None, reference: str, text: str) -> bool:
    """Make the text the body of the content, once; the old body becomes a version. False without such a content."""
    rows = tx.fetch_all(_CONTENT, t=tenant or "", r=reference)
    if not rows:
        return False
    (content, _title, body), now = rows[0], tx.now()
    if tx.execute(_VERSION, c=content, body=body, now=now, u=uuid):
        tx.execute("UPDATE contents SET body = :text, updated_ms = :now WHERE id = :c", text=text, now=now, c=content)
    tx.execute("UPDATE generations SET applied_ms = :now WHERE uuid = :u", now=now, u=uuid)
    return True


def template_of(tx: Executor, tenant: str | None, name: str) -> str | None:
    """The text of a template, or None. The tenant's own comes before that of all tenants."""
    rows = tx.fetch_all(_TEMPLATE, n=name, t=tenant or "")
    return rows[0][0] if rows else None


def fill(tx: Executor, tenant: str | None, template: str | None, prompt: str, reference: str | None,
         variables: dict[str, str] | None = None) -> str | None:
    """The template with {prompt}, {reference}, {title}, {body} and the `variables` filled in; the prompt itself without
    a template; None for an unknown one. A variable comes before a value of the content."""
    if not template:
        return prompt
    text = template_of(tx, tenant, template)
    if text is None:
        return None
    content = tx.fetch_all(_CONTENT, t=tenant or "", r=reference or "")
    _id, title, body = content[0] if content else (None, "", "")
    values = {"prompt": prompt, "reference": reference or "", "title": title, "body": body}
    values |= {key_of(name): value for name, value in (variables or {}).items()}
    # In one pass, so that a placeholder within a value stays as it is.
    return PLACEHOLDER.sub(lambda name: values.get(key_of(name[1]), name[0]), text)


def keep_draft(tx: Executor, uuid: str, tenant: str | None, reference: str) -> bool:
    """Let the text wait until a person accepts it as the content's body, once. False without such a content."""
    if not tx.fetch_all(_CONTENT, t=tenant or "", r=reference):
        return False
    tx.execute("UPDATE generations SET draft = 'waiting' WHERE uuid = :u AND draft IS NULL", u=uuid)
    return True


# ---- budget --------------------------------------------------------------------------------------------------------


def over_budget(tx: Executor, tenant: str | None, settings: Settings) -> str | None:
    """Why the generations of a tenant must wait now, or None."""
    sql = "SELECT month_nano, currency FROM tenant_budgets WHERE tenant_id = :t AND hold = 1"
    rows = tx.fetch_all(sql, t=tenant or "")
    if not rows:
        return None
    limit, currency = rows[0]
    spent = costs.spent(tx, tenant or "", month_start(tx.now(), settings.timezone), currency)
    if spent < limit:
        return None
    amounts = {"spent": f"{amount(spent):f}", "limit": f"{amount(limit):f} {currency}"}
    return Message("The monthly budget of %(tenant)s is spent (%(spent)s).", tenant=tenant,
                   spent=Message("%(spent)s of %(limit)s", **amounts))


def release_within_budget(connection: Any, settings: Settings) -> int:
    """Release the jobs held for a budget that was raised, or whose month is over; returns how many."""
    held = f"hold_code = '{BY_BUDGET}'"
    rows = connection.fetch_all(f"SELECT DISTINCT COALESCE(tenant_id, '') FROM jobs WHERE state = 'held' AND {held}")
    return sum(control.free_held(connection, f"{held} AND COALESCE(tenant_id, '') = :t", t=tenant)
               for (tenant,) in rows if over_budget(connection, tenant, settings) is None)
