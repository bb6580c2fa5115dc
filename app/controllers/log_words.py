"""The log of actions in words: an entry as one sentence in the reader's language, and from where its jobs came.

AuditRow (action, subject, result; each a Message or, of older versions, a plain text) -> `facts` (numbers, queue, time)
-> a sentence of OF_JOBS (for one job, for many) or OF_OTHERS. An unknown action is shown with its three texts.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from flask_babel import gettext, lazy_gettext as _

from app import registry
from app.config import QUEUES
from app.services.alerts import texts
from app.services.audit import AuditRow
from app.services.jobs import filter_words
from app.support import privacy
from app.support.clock import millis
from app.support.crontab import in_words
from app.support.formatting import number
from app.support.messages import Message, translate_stored
from app.support.moments import clock_text
from app.support.settings import settings
from app.support.validation import parse_uuid, stored_object

OF_JOBS = {  # what was done to one job, and to many
    "start": (_("Started the job"), _("Started %(n)s jobs")),
    "retry": (_("Retried the job"), _("Retried %(n)s of %(total)s jobs")),
    "edit": (_("Edited the arguments of the job"), _("Edited %(n)s jobs")),
    "edit and retry": (_("Edited and retried the job"), _("Edited and retried %(n)s jobs")),
    "delete": (_("Deleted the failed job"), _("Deleted %(n)s of %(total)s failed jobs")),
    "restore": (_("Restored the job from the bin"), _("Restored %(n)s of %(total)s jobs from the bin")),
    "erase": (_("Erased the job for good"), _("Erased %(n)s of %(total)s jobs for good")),
    "cancel": (_("Cancelled the job"), _("Cancelled %(n)s of %(total)s jobs")),
    "stop": (_("Stopped the running job"), _("Stopped %(n)s of %(total)s running jobs")),
    "run now": (_("Ran the scheduled job at once"), _("Ran %(n)s of %(total)s scheduled jobs at once")),
    "run without waiting": (_("Ran the job without waiting for others"), _("Ran %(n)s of %(total)s jobs at once")),
    "hold": (_("Held the job"), _("Held %(n)s of %(total)s jobs")),
    "release": (_("Released the job"), _("Released %(n)s of %(total)s jobs")),
    "delay": (_("Delayed the job until %(time)s"), _("Delayed %(n)s of %(total)s jobs until %(time)s")),
    "move": (_("Moved the job to %(queue)s"), _("Moved %(n)s of %(total)s jobs to %(queue)s")),
    "top": (_("Moved the job to the top"), _("Moved %(n)s of %(total)s jobs to the top")),
    "up": (_("Moved the job one place up"), _("Moved %(n)s jobs one place up")),
    "down": (_("Moved the job one place down"), _("Moved %(n)s jobs one place down")),
    "undo": (_("Took back: %(subject)s"), _("Took back for %(n)s of %(total)s jobs: %(subject)s"))}
OF_OTHERS = {
    "pause": _("Paused %(subject)s, %(result)s"), "resume": _("Resumed %(subject)s"),
    "seal": _("Marked %(subject)s as complete"), "set limit": _("Set the limit of %(subject)s: %(result)s"),
    "switch on": _("Switched the schedule %(subject)s on"), "switch off": _("Switched the schedule %(subject)s off"),
    "run recurring": _("Ran the schedule %(subject)s at once"),
    "make a schedule": _("Made the schedule %(subject)s: %(result)s"),
    "change a schedule": _("Changed the schedule %(subject)s: %(result)s"),
    "retime a schedule": _("Gave the schedule %(subject)s another time: %(result)s"),
    "delete a schedule": _("Deleted the schedule %(subject)s: %(result)s"),
    "restart worker": _("Restarted the worker %(subject)s, %(result)s"),
    "quiet worker": _("Told the worker %(subject)s to take no more jobs, %(result)s"),
    "resume worker": _("Told the worker %(subject)s to take jobs again, %(result)s"),
    "stop worker": _("Told the worker %(subject)s to stop after its job, %(result)s"),
    "kill worker": _("Killed the worker %(subject)s, %(result)s"),
    "start worker": _("Started the worker %(subject)s, %(result)s"),
    "worker started": _("Started a worker on %(subject)s: %(result)s"),
    "worker retired": _("Retired a worker on %(subject)s: %(result)s"),
    "no worker started": _("Started no worker on %(subject)s: %(result)s"),
    "worker not retired": _("Did not retire the worker %(subject)s: %(result)s"),
    "place": _("Moved in the queue: %(result)s"), "undo place": _("Took back a move in the queue: %(result)s"),
    "new view": _("Saved the view %(subject)s, %(result)s"),
    "change view": _("Changed the view %(subject)s, %(result)s"),
    "delete view": _("Deleted the view %(subject)s"),
    "budget": _("Set the budget of %(subject)s: %(result)s"), "mark deploy": _("Marked the deploy: %(subject)s"),
    "set connection": _("Set the connection %(subject)s: %(result)s"),
    "remove connection": _("Removed the connection %(subject)s"),
    "try connection now": _("Let the connection %(subject)s be tried at once"),
    "test connection": _("Tested the connection %(subject)s: %(result)s"),
    "rekey connections": _("Encrypted the connections with the new key: %(result)s"),
    "prompt template": _("Prompt template %(subject)s: %(result)s"),
    "keep ours": _("Kept our side of %(subject)s"), "take theirs": _("Took their side of %(subject)s"),
    "decide later": _("Put off the decision on %(subject)s"), "make anew": _("Had %(subject)s made anew"),
    "accept draft": _("Accepted the draft %(subject)s"), "refuse draft": _("Refused the draft %(subject)s"),
    "new rule": _("Made the rule %(subject)s: %(result)s"),
    "change rule": _("Changed the rule %(subject)s: %(result)s"),
    "switch on rule": _("Switched the rule %(subject)s on"), "switch off rule": _("Switched the rule %(subject)s off"),
    "delete rule": _("Deleted the rule %(subject)s"), "test channel": _("Sent a test to the channel %(subject)s"),
    "new report plan": _("Made the plan of reports %(subject)s: %(result)s"),
    "change report plan": _("Changed the plan of reports %(subject)s: %(result)s"),
    "switch on report plan": _("Switched the plan of reports %(subject)s on"),
    "switch off report plan": _("Switched the plan of reports %(subject)s off"),
    "delete report plan": _("Deleted the plan of reports %(subject)s"),
    "test report plan": _("Sent a test of the plan of reports %(subject)s"),
    "acknowledge alert": _("Acknowledged the alert %(subject)s"),
    "silence alert": _("Silenced the alert %(subject)s for %(result)s"),
    "end silence": _("Ended the silence of the alert %(subject)s"),
    "create account": _("Created the account %(subject)s as %(result)s"),
    "change password": _("Changed the password of %(subject)s; %(result)s"),
    "change role": _("Changed the role of %(subject)s: %(result)s"),
    "disable account": _("Disabled the account %(subject)s; %(result)s"),
    "enable account": _("Enabled the account %(subject)s"),
    "unlock account": _("Let %(subject)s try to sign in again; %(result)s"),
    "sign out everywhere": _("Signed %(subject)s out everywhere; %(result)s"),
    "end session": _("Ended a session of %(subject)s"),
    "choose language": _("Chose the language of %(subject)s: %(result)s"),
    "turn on second factor": _("Turned the second factor of %(subject)s on; %(result)s"),
    "turn off second factor": _("Turned the second factor of %(subject)s off"),
    "reset second factor": _("Reset the second factor of %(subject)s; %(result)s"),
    "new recovery codes": _("Made new recovery codes for %(subject)s"),
    "use recovery code": _("Used a recovery code of %(subject)s; %(result)s"),
    "invite": _("Invited %(subject)s as %(result)s"),
    "withdraw invitation": _("Withdrew the invitation of %(subject)s"),
    "accept invitation": _("Accepted the invitation as %(result)s: made the account %(subject)s"),
    "make token": _("Made the API token %(subject)s: %(result)s"), "upload": _("Uploaded %(subject)s, %(result)s"),
    "revoke token": _("Revoked the API token %(subject)s of %(result)s"),
    "sign in": _("Signed in from %(result)s"), "sign out": _("Signed out, from %(result)s"),
    "sign-in failed": _("Failed to sign in as %(subject)s; %(result)s"),
    "password right, code missing": _("Gave the right password of %(subject)s and no code yet; %(result)s")}
# Names of the parts of the filter of jobs, as sentences name them; others stand as they are.
PARTS = {"state": _("state"), "queue": _("queue"), "type": _("type"), "tenant": _("tenant"), "batch": _("batch"),
         "since": _("from"), "until": _("to"), "q": _("text"), "hold": _("held by"), "error": _("error group"),
         "worker": _("worker"), "attempt": _("attempts"), "longer": _("runs longer than"),
         "shorter": _("runs shorter than"), "waited": _("waited at least"), "heavier": _("memory over"),
         "code": _("code version"), "rescued": _("rescued"), "failed": _("failed"), "outcome": _("outcome"),
         "clock": _("time of day"), "action": _("action"), "deploy": _("since deploy")}
PLAN = {"skip": _("a run is left out while an earlier one is live"), "wait": _("a run waits for an earlier one"),
        "allow": _("runs may overlap"), "catch_up": _("missed runs are caught up once")}
_OPEN_END = re.compile(r"[:;,] …$")
_OF, _OLD_DELAY = re.compile(r"([0-9]{1,9}) of ([0-9]{1,9})"), re.compile(r"seconds ([0-9]{1,9})(?:\.[0-9]{1,3})?")
_OLD_QUEUE, _TICKED = re.compile(r"queue (\w{1,20})"), re.compile(r"([0-9]{1,9}) ticked")
_NAMED, _OF_ALERTS = re.compile(r"%\((\w{1,20})\)s"), ("rule", "alert")


def facts(row: AuditRow) -> dict[str, Any]:
    """Values of the result of an action on jobs: n, total, queue, time; and `more`, what became of other jobs."""
    found: dict[str, Any] = {}
    result, more = row.result, []
    while type(result) is Message and type(result.values.get("done")) is Message:
        found |= {k: v for k, v in result.values.items() if k in ("queue", "time")}
        if not {"queue", "time"} & result.values.keys():
            more.append((translate_stored(result.having(done="")) or "").lstrip("; "))
        result = result.values["done"]
    if type(result) is Message:
        found |= result.values
    elif of := _OF.match(result):  # of versions that wrote plain text
        found |= {"n": int(of[1]), "total": int(of[2])}
    elif queue := _OLD_QUEUE.fullmatch(result):
        found["queue"] = queue[1]
    elif (late := _OLD_DELAY.fullmatch(result)) and row.at:
        found["time"] = clock_text(millis(row.at) + int(late[1]) * 1000, settings().timezone)
    found.setdefault("total", found.get("n"))
    return found | {"more": "; ".join(more)}


def sentence(row: AuditRow, of_one: bool = False) -> str:
    """What was done, as a sentence without its subject when that is a job; with `of_one` as one of its jobs sees it."""
    own, subject, values = str(row.action), translate_stored(_named(row)) or "", facts(row)
    hidden = privacy.hidden()
    result = _planned(row.result) if own.endswith(" a schedule") else translate_stored(row.result) or ""
    if hidden:
        subject, result = subject or "…", result or "…"
    if own in OF_JOBS:
        one, many = OF_JOBS[own]
        single = of_one or row.uuid is not None or values.get("total") == values.get("n") == 1
        if not single and values.get("total") == 1:
            return gettext("No job was as it had to be: %(name)s", name=label(own))
        if single or values.get("n") is not None:
            shown = {k: number(v) if type(v) is int else v for k, v in values.items()}
            text = _filled(one if single else many, subject, shown)
            if text is not None:
                return "; ".join(part for part in (text, values["more"]) if part)
    elif own in OF_OTHERS and (text := _filled(OF_OTHERS[own], subject, {"result": result})) is not None:
        return _OPEN_END.sub("", text) if hidden else text
    if hidden:
        return label(own)
    return f"{translate_stored(row.action)}: {', '.join(part for part in (subject, result) if part)}"


def _filled(what: Any, subject: str, values: dict[str, Any]) -> str | None:
    """The sentence with its values; None when it needs one that the entry does not have."""
    text, given = str(what), values | {"subject": subject}
    if any(given.get(name) is None for name in _NAMED.findall(text)):
        return None
    return _NAMED.sub(lambda found: str(given[found[1]]), text)


def label(own: str) -> str:
    """What an action does, as "Moved the job to the top": its sentence with "…" for what differs."""
    if own == "undo":
        return gettext("Took back an action")
    text = _NAMED.sub("…", str(OF_JOBS[own][0] if own in OF_JOBS else OF_OTHERS.get(own) or translate_stored(own)))
    return _OPEN_END.sub("", text)


def _planned(result: str) -> str:
    """A schedule, or one before and one after, in words."""
    if type(result) is Message:
        return translate_stored(result.having(**{k: _planned(str(v)) for k, v in result.values.items()})) or ""
    cron, *parts = result.split(" · ")
    told = [in_words(cron) or cron, *(registry.label_of(part) for part in parts[:1])]
    for n, part in enumerate(parts[1:], 1):
        last = all(later == "catch_up" for later in parts[n + 1 :])
        told.append(str(PLAN[part]) if part in PLAN and last else
                    gettext("queue %(name)s", name=part) if n == 1 and part in QUEUES else
                    gettext("tenant %(name)s", name=part))
    return ", ".join(told)


def _named(row: AuditRow) -> str:
    """The subject; a rule and an alert by the name of its kind, a paused type without its code, an undone action as a
    sentence."""
    if row.action == "undo":
        values = row.subject.values if type(row.subject) is Message else {"action": row.subject.partition(", ")[0]}
        known = values.get("action") or ""
        if type(values.get("was")) is Message:  # the entry as it was: with its time and its queue
            return sentence(replace(row, action=known, subject="", result=values["was"]))
        return label(str(known))
    kind, _space, id_ = row.subject.partition(" ")
    if str(row.action).endswith(_OF_ALERTS) or row.action == "end silence":
        return f"«{texts.name(kind)}» ({id_})" if id_.isdigit() else row.subject
    if row.subject in QUEUES:
        return gettext("the queue %(name)s", name=row.subject)
    if row.subject.startswith("type:"):
        return gettext("the type %(name)s", name=registry.label_of(row.subject.removeprefix("type:")))
    return row.subject


def origin(row: AuditRow) -> str | None:
    """From where the jobs of an action on many came, as "from the list: state failed"; None for other entries."""
    if row.uuid is not None or str(row.action) not in (*OF_JOBS, "place") or row.action == "undo":
        return None
    if row.subject.startswith("list {"):
        return _list(stored_object(row.subject.removeprefix("list ")))
    if ticked := _TICKED.fullmatch(row.subject):
        return gettext("ticked: %(n)s", n=number(int(ticked[1])))
    return translate_stored(row.subject)


def _list(query: dict[str, Any]) -> str:
    if not query:
        return gettext("from the whole list")
    values = {"state": filter_words.group_label, "type": registry.label_of, "hold": filter_words.hold_label}
    parts = [f"{PARTS.get(name, name)} {values.get(name, str)(str(value)[:200])}"
             for name, value in query.items()]
    return gettext("from the list: %(parts)s", parts=", ".join(parts))


def said(row: AuditRow, **more: Any) -> dict[str, Any]:
    """An entry for a page: `what` and `origin` in words, and its one job, if it has one."""
    job = row.uuid or (row.job if row.jobs == 1 else None) or (parse_uuid(row.result) if row.action == "run recurring"
                                                               else None)
    return {"row": row, "what": sentence(row), "origin": origin(row), "job": job} | more
