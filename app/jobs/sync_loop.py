"""The loop of a sync job over its contents, for each service.

account of the tenant -> breaker -> service -> contents, one by one (services/content/sync.py) -> sync_actions -> result

* A kill: contents that this round has dealt with have a row in `sync_actions` and are left out; the one under way is
  found again by its key.
* Long lists: an attempt ends SPARE_S before its time limit and goes on in another run, uncounted.
* A call fails and the service answers no other call either: it is away. The job waits, uncounted, and the failure
  counts for the breaker of the connection. After five in a row no job of this connection begins until the next probe.
  Jobs of other connections go on.
* The service answers, but one content makes it fail: the others go on; the attempt fails at its end, and runs again.
* One content is refused: the others go on, the job fails at its end and names the first.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from huey.exceptions import CancelExecution, RetryTask

from app.execution.job_context import JobContext
from app.integrations.remote import Service
from app.integrations.service_errors import Limited, Refused, ServiceError, Unavailable
from app.registry import PermanentError, TemporaryError
from app.services.content import connections, sync_rows, sync_work
from app.services.content.sync import Busy, Choices, Result, Stopped, Sync
from app.support.clock import now_ms
from app.support.messages import Message, text_of
from app.support.settings import settings

SPARE_S, AWAY_S, AGAIN_S = 60.0, 20.0, 1.0
MOST_IN_A_ROW = 5  # contents that make the service fail, one after the other
LEVELS = {"conflict": "WARN", "gone": "WARN", "refused": "ERROR"}
MOST_NAMED = 5


def named(references: list[str] | None, every: bool) -> list[str] | None:
    """The references to sync, None for all. Raises PermanentError unless one of both is given."""
    if bool(references) == every:
        raise PermanentError(Message("Give references, or all: one of both."))
    return None if every else references


def run(ctx: JobContext, service: str, references: list[str] | None, choices: Choices) -> dict[str, Any]:
    """Sync contents of the job's tenant, all without `references`; returns the number of contents by action.

    Raises PermanentError (no connection, refused contents), TemporaryError (the service is away), RetryTask (wait) and
    CancelExecution.
    """
    tenant, name = ctx.tenant_id, connections.SERVICES[service]
    if ctx.created_by == "demo":
        raise PermanentError(Message("A demo opens no connection to a service."))
    if not tenant:
        raise PermanentError(Message("A sync needs a tenant: dispatch it with one."))
    try:
        account = connections.account(ctx.connection, settings(), tenant, service)
    except Refused as error:
        raise PermanentError(text_of(error)) from None
    if account is None:
        raise PermanentError(Message("%(tenant)s has no connection to %(name)s. Add one, then retry.",
                                     tenant=tenant, name=name))
    _wait_for_breaker(ctx, account, name)
    remote = connections.open_service(account, settings())
    ends = time.monotonic() + max(ctx.timeout - SPARE_S, ctx.timeout / 2)
    writer = sync_rows.Writer(ctx.uuid, ctx.retry_round, f"{ctx.uuid}/{ctx.claim_no}", tenant, service)
    sync = Sync(remote, writer, ctx.connection, ctx.save_durably, ctx.cancelled, choices)
    try:
        return _all(ctx, sync, account, references, ends)
    finally:
        remote.close()


def _wait_for_breaker(ctx: JobContext, account: connections.Account, name: str) -> None:
    until = ctx.save_durably(lambda tx: connections.may_try(tx, account.id, tx.now()))
    if until:
        raise _held(name, until)


def _held(name: str, until: int) -> RetryTask:
    return RetryTask(Message("%(name)s is not tried now: it failed five times in a row.", name=name),
                     delay=max((until - now_ms()) / 1000, AGAIN_S))


def _all(ctx: JobContext, sync: Sync, account: connections.Account, references: list[str] | None,
         ends: float) -> dict[str, Any]:
    tx, tenant, worked, in_a_row = ctx.connection, sync.writer.tenant, False, 0
    failed: list[tuple[str, str]] = []
    delays: list[float] = []
    references = list(dict.fromkeys(references)) if references is not None else None
    total = len(references) if references is not None else sync_work.count(tx, tenant)
    done = sync_work.done(tx, ctx.uuid, ctx.retry_round)
    for content in sync_work.contents(tx, tenant, references, ctx.uuid, ctx.retry_round):
        if ctx.cancelled():
            raise _stopped()
        if time.monotonic() > ends:
            raise RetryTask(Message("Goes on with the rest."), delay=AGAIN_S)
        reference = content.article.reference
        try:
            result = sync.one(content)
        except Busy as error:
            delays.append(error.delay)
            continue
        except Stopped:
            raise _stopped() from None
        except Unavailable as error:
            failed.append((reference, text_of(error)))
            ctx.log(Message("%(reference)s: %(what)s", reference=reference, what=text_of(error)), "WARN")
            if not _answers(sync.service):
                raise _away(ctx, account, text_of(error)) from None
            in_a_row += 1
            if in_a_row == MOST_IN_A_ROW:
                break
            continue
        except ServiceError as error:  # it answers
            ctx.save_durably(lambda tx: connections.note_success(tx, account.id))
            raise _failed(error) from None
        if result.action != "refused" and not worked:  # a refusal may come from here
            worked = ctx.save_durably(lambda tx: connections.note_success(tx, account.id)) or True
        done, in_a_row = done + 1, 0
        _tell(ctx, reference, result)
        ctx.progress(done, total, reference)
    if failed:
        (first, why), n = failed[0], len(failed)
        one = Message("%(first)s could not be sent. %(why)s", first=first, why=why)
        raise TemporaryError(one if n == 1 else Message("%(n)s contents could not be sent. %(first)s: %(why)s", n=n,
                                                        first=first, why=why))
    if delays:
        raise RetryTask(Message("%(n)s contents wait: another job is writing them, or the service may still be working "
                                "on them.", n=len(delays)), delay=max(delays))
    if not worked:  # nothing was asked: the next job may be the probe
        ctx.save_durably(lambda tx: connections.let_next_try(tx, account.id, tx.now()))
    return _result(ctx, tenant, references)


def _answers(service: Service) -> bool:
    """Whether the service works at all: then what failed is one content's."""
    try:
        service.check()
    except (Unavailable, Limited):
        return False
    except ServiceError:
        return True
    return True


def _away(ctx: JobContext, account: connections.Account, why: str) -> RetryTask:
    until = ctx.save_durably(lambda tx: connections.note_failure(tx, account.id, why, tx.now()))
    return _held(connections.SERVICES[account.service], until) if until else RetryTask(why, delay=AWAY_S)


def _tell(ctx: JobContext, reference: str, result: Result) -> None:
    if result.action != "unchanged":
        said = Message("%(reference)s: %(what)s", reference=reference, what=result.text)
        ctx.log(Message("%(said)s %(url)s", said=said, url=result.url) if result.url else said,
                LEVELS.get(result.action, "INFO"))


def _stopped() -> CancelExecution:
    return CancelExecution(Message("Stopped on request; what was sent until then stays."), retry=False)


def _failed(error: ServiceError) -> BaseException:
    if isinstance(error, Limited):
        return RetryTask(text_of(error), delay=error.delay)
    return (PermanentError if isinstance(error, Refused) else TemporaryError)(text_of(error))


def _result(ctx: JobContext, tenant: str, references: list[str] | None) -> dict[str, Any]:
    counts = Counter(sync_work.counts(ctx.connection, ctx.uuid, ctx.retry_round))
    unknown = sync_work.unknown(ctx.connection, tenant, references) if references is not None else []
    if unknown:
        names = ", ".join(unknown[:MOST_NAMED])
        raise PermanentError(Message("%(n)s contents of %(total)s are not known: %(names)s.", n=len(unknown),
                                     total=len(references or ()), names=names))
    if refused := counts["refused"]:
        first, why = sync_work.first_refused(ctx.connection, ctx.uuid, ctx.retry_round)
        if counts.total() == 1:
            raise PermanentError(Message("%(first)s was refused. %(why)s", first=first, why=why))
        raise PermanentError(Message("%(n)s of %(total)s contents were refused. %(first)s: %(why)s", n=refused,
                                     total=counts.total(), first=first, why=why))
    return dict(counts)
