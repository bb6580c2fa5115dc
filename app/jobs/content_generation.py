"""ProcessContentGeneration: writes a text with OpenAI and pays for it once.

app/services/content/generations.py says what is saved at which time. A tenant with a connection to OpenAI pays with
that account, whose breaker delays its jobs only; all others use the account of the environment. OPENAI_RPM is the rate
of the type: the claim takes a start, which counts from the moment in which the request goes out; each further request
takes one more, and an attempt that sends none gives its start back.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from huey.exceptions import CancelExecution, RetryTask

from app.execution.job_context import JobContext
from app.integrations import openai_text
from app.integrations.openai_errors import ApiError, ApiUnavailable, Humbler, RequestRejected, Throttled
from app.integrations.service_errors import Refused
from app.jobs.declare import job
from app.ledger.dialect import Connection
from app.models.job import BY_BUDGET
from app.registry import HoldJob, PermanentError, TemporaryError
from app.services.content import connections, generations
from app.support.messages import Message, text_of
from app.support.settings import settings

TYPE = "ProcessContentGeneration"
SPARE_S, KEEP_S = 15.0, 2.0  # left of the job's timeout when the request ends; between two saves of the text
POLL_S, AGAIN_S = 0.25, 5.0  # between two looks for a start of the rate; until the next attempt without one
UNDER_WAY = ("asking", "answering")


@job(TYPE, label="Content Generation", timeout=300, durable=True, fair=True, concurrency=4, per="tenant",
     rate="OPENAI_RPM", rate_per="type",
     description=Message("Write a text with OpenAI; with a reference it becomes that content's body."))
def process_content_generation(prompt: str, model: str = "gpt-4o-mini", reference: str | None = None,
                               template: str | None = None, variables: dict[str, str] | None = None,
                               approve: bool = False, *, ctx: JobContext) -> dict:
    """Returns {"characters": number, "reference": reference}. An answer that an earlier attempt has saved is used.

    `variables` fill further placeholders of the template. With `approve` the text is a draft of the content until a
    person accepts it.
    """
    try:
        return finish(ctx, reference, text_for(ctx, prompt, model, reference, template, variables), approve)
    finally:
        ctx.give_back_start()


def text_for(ctx: JobContext, prompt: str, model: str, reference: str | None, template: str | None,
             variables: dict[str, str] | None) -> str:
    """The text that an earlier attempt has saved, else that of a new answer. Raises as `ask`, and PermanentError when
    nothing may be asked."""
    api, connection = account_of(ctx)
    if ctx.created_by == "demo" and not api.is_local:
        raise PermanentError(Message(
            "A demo asks no real model. For one that answers, "
            "set OPENAI_BASE_URL to scripts/fake-openai.py on 127.0.0.1."))
    kept = generations.find(ctx.connection, ctx.uuid)
    if kept is not None and kept.status in UNDER_WAY:
        error = _maybe_paid(Message("The worker stopped while the API answered."))
        ctx.save_durably(lambda tx: generations.interrupted(tx, ctx.uuid, error))
        if kept.retry_round == ctx.retry_round:
            ctx.log(error, "WARN")
            raise PermanentError(error)
    if kept is not None and kept.status == "answered":
        ctx.log(Message("The answer of an earlier attempt is used; nothing is asked again."))
        return kept.text or ""
    if kept is not None and kept.spent and kept.retry_round == ctx.retry_round:
        raise PermanentError(kept.error or _paid(Message("The answer is of no use.")))
    return ask(ctx, api, connection, prompt, model, reference, template, variables)


def account_of(ctx: JobContext) -> tuple[openai_text.Api, int | None]:
    """The account that pays, and the id of the connection that it is of. Raises PermanentError when its key cannot be
    read."""
    try:
        own = connections.account(ctx.connection, settings(), ctx.tenant_id, "openai")
    except Refused as error:
        raise PermanentError(text_of(error)) from None
    if own is None:
        return openai_text.of_environment(), None
    private = settings().allow_private_hosts
    return openai_text.Api(own.url or connections.OPENAI_URL, own.secret, own.options, private), own.id


def ask(ctx: JobContext, api: openai_text.Api, connection: int | None, prompt: str, model: str, reference: str | None,
        template: str | None, variables: dict[str, str] | None) -> str:
    """Send the prompt and save the answer with its cost; returns its text.

    Raises HoldJob when the budget is used up, RetryTask to wait for a limit of requests or for a connection that is
    held, CancelExecution when somebody
    cancelled the job, and PermanentError or TemporaryError when no useful answer came.
    """
    filled = generations.fill(ctx.connection, ctx.tenant_id, template, prompt, reference, variables)
    if filled is None:
        raise PermanentError(
            Message("There is no prompt template %(name)s. Create it, or choose another, then retry.", name=template))
    if why := generations.over_budget(ctx.connection, ctx.tenant_id, settings()):
        raise HoldJob(why, code=BY_BUDGET)

    def begin(tx: Connection) -> None:
        if connection and (until := connections.may_try(tx, connection, tx.now())):
            why = Message("The connection of %(tenant)s to %(service)s is held, because it failed.",
                          tenant=ctx.tenant_id, service="OpenAI")
            raise RetryTask(why, delay=max(until - tx.now(), 1000) / 1000)
        if not ctx.take_start(tx):
            raise _no_request_left()
        generations.begin(tx, ctx.uuid, ctx.retry_round, ctx.tenant_id, filled, model, reference, template,
                          ctx.batch_id)
        generations.asking(tx, ctx.uuid)

    openai_text.load()  # takes up to a second: not after the start is counted
    ctx.save_durably(begin)
    next_keep = 0.0

    def grows(text: str) -> bool:
        nonlocal next_keep
        ctx.progress(len(text), None, Message("characters so far"))
        if time.monotonic() > next_keep:
            next_keep = time.monotonic() + KEEP_S
            ctx.save_soft(lambda tx: generations.keep_text(tx, ctx.uuid, text))
        return not ctx.cancelled()

    way, proven = generations.way_of(ctx.connection, api.server, model)
    try:
        answer, way = _ask_in_some_way(ctx, api, filled, model, grows, way, proven)
    except ApiError as error:
        why, sent, down = text_of(error), error.sent, isinstance(error, ApiUnavailable)

        def failed(tx: Connection) -> None:
            generations.unanswered(tx, ctx.uuid, why, sent)
            if connection and down:
                connections.note_failure(tx, connection, why, tx.now())

        ctx.save_durably(failed)
        if isinstance(error, Throttled):
            ctx.log(why, "WARN")
            raise RetryTask(why, delay=error.delay) from None
        raise (PermanentError if isinstance(error, RequestRejected) else TemporaryError)(why) from None
    status, wrong = judge(answer)
    prices = settings().prices_file

    def answered(tx: Connection) -> None:
        generations.answered(tx, ctx.uuid, TYPE, ctx.tenant_id, status, answer, wrong, prices)
        if connection:
            connections.note_success(tx, connection)

    ctx.save_durably(answered)
    if not proven and answer.begun:
        ctx.save_soft(lambda tx: generations.keep_way(tx, api.server, model, way))
    if status == "cancelled":
        raise CancelExecution(Message("Stopped on request."), retry=False)
    if wrong:
        raise PermanentError(wrong)
    return answer.text


def _ask_in_some_way(ctx: JobContext, api: openai_text.Api, prompt: str, model: str, grows: Callable[[str], bool],
                     way: int, proven: bool) -> tuple[openai_text.Answer, int]:
    """(answer, way of the request that got it): at most two further ways are tried, each with fewer fields. A refused
    request costs nothing. Each try is a request: it takes a start of the rate, or waits for one."""
    end = time.monotonic() + max(ctx.timeout - SPARE_S, ctx.timeout / 2)
    while True:
        try:
            began = lambda: ctx.save_durably(lambda tx: generations.answering(tx, ctx.uuid))  # noqa: E731
            sending = lambda: ctx.save_soft(ctx.take_start)  # noqa: E731
            left = max(end - time.monotonic(), 1.0)
            return openai_text.generate(prompt, model, left, began, grows, way, proven, sending, api), way
        except Humbler as error:
            ctx.log(text_of(error))
            way, proven = error.way, False
            why = text_of(error)
            ctx.save_durably(lambda tx, why=why: generations.unanswered(tx, ctx.uuid, why, False))
            _wait_for_a_start(ctx, end)
            ctx.save_durably(lambda tx: generations.asking(tx, ctx.uuid))


def _wait_for_a_start(ctx: JobContext, end: float) -> None:
    """Take one more start of the rate. It waits here and does not begin again: the server has refused the request in
    its first form, and would do so again. Raises RetryTask at `end` (monotonic), and CancelExecution."""
    while not ctx.save_durably(lambda tx: ctx.take_start(tx, more=True)):
        if ctx.cancelled():
            raise CancelExecution(Message("Stopped on request."), retry=False)
        if time.monotonic() > end - POLL_S:
            raise _no_request_left()
        time.sleep(POLL_S)


def _no_request_left() -> RetryTask:
    return RetryTask(Message("The account's limit of %(n)s requests a minute is reached.", n=settings().openai_rpm),
                     delay=AGAIN_S)


def judge(answer: openai_text.Answer) -> tuple[str, str | None]:
    """(status of the generation, sentence about its failure or None)."""
    if answer.broken == "stopped":
        return "cancelled", _maybe_paid(Message("Stopped on request."))
    if answer.refusal or answer.finish == "content_filter":
        why = Message("The model refused to write this.")
        if answer.refusal:
            why = Message("%(sentence)s %(said)s", sentence=why, said=answer.refusal)
        return "failed", _paid(why)
    if answer.broken or answer.finish is None:
        why = Message("The answer broke off (%(why)s).", why=answer.broken or Message("the stream ended early"))
        return ("partial" if answer.text.strip() else "failed"), _maybe_paid(why)
    if answer.finish == "length":
        return "partial", _paid(Message("The answer was cut at the model's length limit."))
    if not answer.text.strip():
        return "failed", _paid(Message("The answer is empty."))
    return "answered", None


def _paid(what: Message) -> Message:
    return Message("%(what)s It was paid and is kept; retry asks for a new one, which is paid again.", what=what)


def _maybe_paid(what: Message) -> Message:
    return Message(
        "%(what)s It may have been paid; what came is kept. Retry asks for a new one, which is paid again.", what=what)


def finish(ctx: JobContext, reference: str | None, text: str, approve: bool) -> dict:
    """Write the text into the content `reference`, if one is given, or with `approve` keep it as a draft of it; returns
    the result of the job. Raises PermanentError when there is no such content."""
    def write(tx: Connection) -> bool:
        if approve:
            return generations.keep_draft(tx, ctx.uuid, ctx.tenant_id, reference or "")
        return generations.apply(tx, ctx.uuid, ctx.tenant_id, reference or "", text)

    if reference and not ctx.save_durably(write):
        raise PermanentError(Message(
            "There is no content %(name)s. The text is kept with the generation: import the content, then retry; "
            "nothing is paid again.", name=reference))
    return {"characters": len(text), "reference": reference}
