"""The story of a job for its page, in the reader's language: who sent it, its rounds, and why no attempt followed."""

from __future__ import annotations

from typing import Any

from flask import url_for
from flask_babel import gettext as _, ngettext

from app import registry
from app.controllers import log_words
from app.services import audit
from app.services.jobs import batches, history, lookup, recurring
from app.services.jobs.views import AttemptView, JobView
from app.support.clock import DAY_MS, millis
from app.support.formatting import duration, number
from app.support.messages import translate_stored
from app.support.validation import parse_uuid


def story(found: JobView, attempts: list[AttemptView]) -> dict[str, Any]:
    """The `rounds` of a job; `numbers` has (round, number of the attempt) by claim, also of the one that runs; `tried`
    is the number of the try that runs or comes next; `sent_by` says who sent it, with an address."""
    known = [name for name in log_words.OF_JOBS if name != "start"]  # who sent it stands at the beginning
    since = millis(found.created_at) if found.created_at else 0
    entries = [row for row in audit.of_job(found.uuid, since, known) if str(row.action) != "start"]
    rounds = history.rounds(found, attempts, entries, lookup.lines_of(found.uuid))
    numbers = {a.outcome.claim_no: (one.number, a.n) for one in rounds for a in one.attempts if a.n}
    if found.state == "processing":
        begun = rounds[-1].attempts if rounds and rounds[-1].number == found.retry_round else []
        numbers.setdefault(found.claim_no, (found.retry_round, len(begun) + 1))
    used = rounds[-1].used if rounds and rounds[-1].number == found.retry_round else 0
    return {"rounds": rounds, "numbers": numbers, "tried": min(used + 1, max(found.tries, 1)),
            "sent_by": by_whom(found), "act_words": log_words.sentence}


def by_whom(found: JobView) -> tuple[str, str | None]:
    """Who or what sent a job, in words, and the address of that."""
    by = found.created_by or ""
    if uuid := parse_uuid(by):
        return _("by the job %(id)s", id=uuid[:8]), url_for("admin.jobs.job", uuid=uuid)
    if by.startswith(recurring.BY):
        return _("by the schedule %(name)s", name=by.removeprefix(recurring.BY)), url_for("admin.jobs.recurring")
    if (batch := by.removeprefix(batches.BY)) != by and parse_uuid(batch):
        return _("after the batch %(id)s", id=batch[:8]), url_for("admin.jobs.batches.one", batch=batch)
    if by.startswith("cli:"):
        return _("on the command line, by %(name)s", name=by.removeprefix("cli:")), None
    return (_("by %(name)s", name=by), url_for("admin.jobs.log", job=found.uuid)) if by else (_("by code"), None)


def why_ended(found: JobView, attempts: list[AttemptView], rounds: list[history.Round]) -> str | None:
    """One or two sentences why no attempt followed this failure; None for a job that did not fail."""
    if found.status not in ("failed", "timeout") or not attempts:
        return None
    last, n, tries = attempts[-1], rounds[-1].used, found.tries
    if last.details.get("permanent"):
        if n < 2:
            return _("It failed at once: another attempt could not succeed.")
        return _("Attempt %(n)s of %(tries)s failed so that another could not succeed.",
                 n=number(n), tries=number(max(tries, n)))
    if not n:
        return translate_stored(found.error)  # it killed its workers, or was lost each time: no attempt has failed
    text = ngettext("%(n)s attempt of %(tries)s failed.", "%(n)s attempts of %(tries)s failed.",
                    n, n=number(n), tries=number(max(tries, n)))
    if last.status == "failed" and any(a.status == "lost" and a.claim_no == last.claim_no for a in attempts):
        return translate_stored(found.error)  # the job killed its worker, which does not count as a failed attempt
    if n >= tries and last.details.get("ended") != "retry_until":
        return text
    return text + " " + _("The next would have begun after the time for retries was over: %(time)s from when it was "
                          "ready or put back by hand.", time=time_for_retries(found.job_type, last.retry_round))


def time_for_retries(job_type: str, retry_round: int) -> str:
    """How long a job is retried automatically, as '24 h': as its type says; a day after a retry by hand."""
    definition = registry.find(job_type)
    seconds = definition.options.retry_until if definition is not None and retry_round == 1 else DAY_MS // 1000
    return f"{number(seconds // 3600)} h" if seconds >= 3600 and seconds % 3600 == 0 else duration(seconds * 1000)
