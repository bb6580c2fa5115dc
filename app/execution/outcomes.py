"""What an exception of a job means: an outcome, with one line and a traceback.

An exception is the job's own code: its `str()` may raise, never end, or return a text of any size. So `outcome_of`
keeps the alarm on, reads only as much text as is stored, and returns an outcome of its own when all that fails.
"""

from __future__ import annotations

import traceback
from datetime import UTC, datetime

from huey.exceptions import CancelExecution, RateLimitExceeded, RetryTask, TaskLockedException

from app import registry
from app.execution.alarm import JobTimeout, armed
from app.execution.attempt import Attempt
from app.ledger.claim import Claim
from app.ledger.settle import Outcome, Parked
from app.support.messages import Message, cleaned, text_of
from app.support.redaction import cut, printable, redact
from app.support.values import delay_s

TRACEBACK_BYTES = 64 * 1024
ERROR_BYTES = 2000
MOST_CHARS = 4 * TRACEBACK_BYTES  # of a traceback, what is looked at: redaction costs time with the length of a text
OURS = "app.execution.runner"


def class_name(thing: object) -> str:
    """Name of its class, as Python itself keeps it: a metaclass may say anything, or raise."""
    return type.__dict__["__name__"].__get__(type(thing))[:200]


def outcome_of(attempt: Attempt, error: BaseException) -> Outcome | Parked:
    """The outcome of `error`. Raises nothing, and ends at the time limit."""
    job = attempt.claim
    if isinstance(error, JobTimeout):
        return _outcome(error, job)
    try:
        with armed(attempt):
            return _outcome(error, job)
    except JobTimeout as over:
        return _outcome(over, job)
    except BaseException as other:
        return Outcome("failed", error=Message("%(name)s: its text cannot be shown (%(why)s in its own code)",
                                               name=class_name(error), why=class_name(other)))


def _outcome(error: BaseException, job: Claim) -> Outcome | Parked:
    """What an exception means for the job."""
    if isinstance(error, JobTimeout):
        why = Message("timeout after %(n)s s", n=job.timeout)
        return Outcome("timeout", error=why, traceback=format_traceback(error))
    if isinstance(error, registry.HoldJob):
        return Parked("held", sentence(error), error.code)
    if isinstance(error, registry.WaitForJobs):
        return Parked("waiting", sentence(error))
    if isinstance(error, CancelExecution) and not error.retry:
        return Outcome("cancelled", error=stored(text_of(error) or Message("Stopped on request.")))
    if isinstance(error, TaskLockedException | RateLimitExceeded):
        return _after(Outcome("failed", error=sentence(error)), error, getattr(error, "delay", None) or 5)
    outcome = Outcome("failed", error=sentence(error), traceback=format_traceback(error))
    outcome.retry = not isinstance(error, registry.PermanentError)
    if not outcome.retry:
        outcome.details["permanent"] = True
    if isinstance(error, registry.TemporaryError):
        outcome.wait = error.delay
    if isinstance(error, RetryTask) and error.eta is not None:
        return _after(outcome, error, _until(error.eta))
    if isinstance(error, RetryTask) and error.delay is not None:
        return _after(outcome, error, error.delay)
    return outcome


def _after(outcome: Outcome, error: BaseException, delay: object) -> Outcome:
    """Run again after `delay` seconds, uncounted; a delay that is none is a failure that says so."""
    try:
        if isinstance(delay, Exception):
            raise delay
        outcome.delay = delay_s(Message("The delay of %(name)s", name=type(error).__name__), delay)
    except (TypeError, ValueError) as wrong:
        text = Message("%(why)s It counts as a failure. (%(error)s)", why=text_of(wrong), error=outcome.error)
        outcome.error = stored(text)
    return outcome


def _until(eta: object) -> object:
    """Seconds from now until `eta` (a datetime; without a zone in local time, as Huey reads it), or the error it is."""
    if not isinstance(eta, datetime):
        return TypeError(Message("The eta of RetryTask must be a datetime, not %(value)s.", value=type(eta).__name__))
    try:  # by the job's clock: this is no stored time
        return max((eta - datetime.now(UTC if eta.tzinfo else None)).total_seconds(), 0)
    except (TypeError, ValueError, OverflowError):
        return ValueError(Message("The eta of RetryTask is no time that can be waited for."))


def sentence(error: BaseException) -> str:
    """One line for people: "KeyError: 'x'", or only the text of a UserFacingError or RetryTask."""
    if isinstance(error, registry.UserFacingError | RetryTask) and (text := text_of(error)) and text != "None":
        return stored(text)
    lines = list(traceback.TracebackException(type(error), error, None, compact=True).format_exception_only())
    line = lines[-1 if isinstance(error, SyntaxError) else 0]  # notes follow; a SyntaxError begins with its place
    return stored(line.strip() or type(error).__name__)


def stored(text: str) -> str:
    """A text as a row keeps it: without secrets, at most 2,000 bytes. A longer Message becomes a plain text."""
    return cut(cleaned(text, lambda part: printable(redact(part))), ERROR_BYTES)[0]


def format_traceback(error: BaseException) -> str:
    """Redacted traceback from the job's own first frame on, at most 64 KB (the end is what counts)."""
    tb = error.__traceback__
    while tb is not None and tb.tb_frame.f_globals.get("__name__") == OURS:
        tb = tb.tb_next
    text, whole = "", True
    for part in traceback.TracebackException(type(error), error, tb, compact=True).format():
        text += part
        if len(text) > 2 * MOST_CHARS:
            text, whole = text[-MOST_CHARS:], False
    text = printable(redact(text[-MOST_CHARS:]))
    raw = text.encode()
    if whole and len(raw) <= TRACEBACK_BYTES:
        return text
    return "[cut]\n" + raw[-TRACEBACK_BYTES:].decode("utf-8", "ignore")
