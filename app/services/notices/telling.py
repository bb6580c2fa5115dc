"""The monitor's duty "notices": tells people that what they follow has ended.

rows of `follows` whose job or batch is no longer live, 200 at a time -> what to say, in the person's language
-> one transaction: the follow is deleted, its row of `notices` (browser) or `mails` (mail, channel) is written
Who deletes the row tells it: two monitors, or one that is killed, tell it once. Nothing is told to a person who is
disabled or has lost the right meanwhile, and nothing of a row that cannot be read: such follows are deleted. A job that
is retried afterwards is followed anew by whoever wants to know.
Names of batches and errors are told only to who sees data when it is shown or sent, so a mail is written with them and
without (services/reports/letters.py takes one); arguments to nobody.
"""

from __future__ import annotations

import json
import re
from collections import namedtuple
from typing import Any

from flask import Flask
from flask_babel import force_locale

from app import registry
from app.ledger import counts
from app.ledger.dialect import Connection, Executor
from app.ledger.rows import insert
from app.models.types import as_integer, as_text
from app.services.notices.filling import filled
from app.services.notices.follows import BATCH, BROWSER, JOB, LANGUAGES, MAIL
from app.services.people.roles import ACT, DATA, READ, of_role
from app.support.messages import Message, cleaned, from_row, to_json, translated
from app.support.redaction import one_line, redact

_ID = re.compile(r"[^\s/\x00-\x1f]{1,255}")
STEP, STEPS = 200, 5
MOST_ERROR = 200
Row = namedtuple("Row", "id user_id kind subject via language created_ms role sees_data disabled_ms email")
_ENDED = f"""SELECT f.id, f.user_id, f.kind, f.subject, f.via, f.language, f.created_ms, u.role, u.sees_data,
 u.disabled_ms, u.email FROM follows f LEFT JOIN users u ON u.id = f.user_id WHERE CASE f.kind
 WHEN '{JOB}' THEN NOT EXISTS (SELECT 1 FROM jobs j WHERE j.uuid = f.subject)
 WHEN '{BATCH}' THEN NOT EXISTS (SELECT 1 FROM job_batches b WHERE b.id = f.subject AND b.closed_ms IS NULL
  AND b.finished_at IS NULL) ELSE 1 = 1 END ORDER BY f.id LIMIT {STEP}"""
_DELETE = "DELETE FROM follows WHERE id = :id AND created_ms = :created AND via = :via"
_DROP = "DELETE FROM follows WHERE id = :id"
_JOB = """SELECT h.job_type, h.status, h.error, h.error_json, (SELECT m.processing_time FROM job_metrics m
 WHERE m.uuid = h.uuid AND m.status IN ('completed', 'failed', 'timeout', 'cancelled') ORDER BY m.round DESC LIMIT 1)
 FROM job_history h WHERE h.uuid = :key UNION ALL
 SELECT job_type, COALESCE(status, 'failed'), error, error_json, NULL FROM failed_jobs WHERE uuid = :key"""
_BATCH = "SELECT name, total_jobs, failed_jobs, cancelled_at, created_ms, closed_ms FROM job_batches WHERE id = :key"
_NOTICE = insert("notices", "user_id kind subject title body link created_ms".split())
_LETTER = insert("mails", "kind target language subject body facts next_ms created_ms".split())
Told = tuple[Message, Message]  # title, body


def tell(connection: Connection, app: Flask) -> int:
    """Tell what has ended, at most 1,000 rows; returns how many people were told. Nothing while a restore has paused
    alerts, as what was told before the backup would be told again."""
    told = 0
    for _step in range(STEPS if not counts.paused_after_restore(connection) else 0):
        rows = [Row(*row) for row in connection.fetch_all(_ENDED)]
        if not rows:
            break
        with app.app_context():
            written = [(row, _message(connection, row, app.extensions["settings"].public_url)) for row in rows]
        with connection.transaction() as tx:
            told += sum(_tell(tx, row, message) for row, message in written)
        if len(rows) < STEP:
            break
    return told


def _tell(tx: Executor, row: Row, message: dict[str, Any] | None) -> int:
    if message is None:
        tx.execute(_DROP, id=row.id)
        return 0
    if not tx.execute(_DELETE, id=row.id, created=row.created_ms, via=row.via):
        return 0  # another monitor has told it, or the person has changed it
    now = tx.now()
    if row.via == BROWSER:
        tx.execute(_NOTICE, **message, created_ms=now)
    else:
        tx.execute(_LETTER, **message, next_ms=now, created_ms=now)
    return 1


def _message(connection: Connection, row: Row, url: str) -> dict[str, Any] | None:
    """The columns of the row to write, without times; None when nothing is told."""
    subject = row.subject if isinstance(row.subject, str) else ""
    rights = of_role(as_text(row.role) or "", as_integer(row.sees_data, 0) == 1)
    may = row.disabled_ms is None and READ in rights and row.kind in (JOB, BATCH) and _ID.fullmatch(subject)
    by_channel = re.fullmatch(r"channel:[A-Za-z0-9_.-]{1,40}", str(row.via))
    if not may or not (row.via in (BROWSER, MAIL) or by_channel and ACT in rights):
        return None
    language = row.language if row.language in LANGUAGES else LANGUAGES[0]
    tell = _job if row.kind == JOB else _batch
    with force_locale(language):
        title, body = tell(connection, subject, DATA in rights)
        link = f"/admin/jobs/{'job' if row.kind == JOB else 'batches'}/{subject}"
        if row.via == BROWSER:
            return {"user_id": row.user_id, "kind": row.kind, "subject": subject, "title": to_json(title) or "",
                    "body": to_json(body) or "", "link": link}
        target = f"mail:{row.email}" if row.via == MAIL else row.via
        whole, bare = (_letter(told, url + link) for told in ((title, body), tell(connection, subject, False)))
        return {"kind": "notice", "target": target, "language": language, **bare,
                "facts": json.dumps({"by": row.email, **whole})}


def _letter(told: Told, url: str) -> dict[str, str]:
    title, body = told
    return {"subject": translated(title), "body": f"{translated(filled(body))}\n\n{url}"}


def _job(connection: Connection, uuid: str, data: bool) -> Told:
    found = connection.fetch_all(_JOB, key=uuid)
    if not found:
        return Message("Job deleted: %(name)s", name=uuid[:8]), Message("It is no longer there.")
    kind, status, error, stored, ms = found[0]
    name = f"{registry.label_of((as_text(kind) or '')[:255])} {uuid[:8]}".strip()
    titles = {"completed": Message("Job completed: %(name)s", name=name),
              "cancelled": Message("Job cancelled: %(name)s", name=name),
              "timeout": Message("Job stopped, its time was over: %(name)s", name=name)}
    ran = as_integer(ms)
    body = Message("It ran for %(time)s.", time=ran) if ran else Message("It did not run.")
    if ran is None:
        body = Message("It has ended.")
    if data and status != "completed" and (line := _line(error, stored)):
        body = Message("%(told)s %(error)s", told=body, error=line)
    return titles.get(status) or Message("Job failed: %(name)s", name=name), body


def _line(error: Any, stored: Any) -> str:
    """The first line of an error without secrets; a sentence of ours stays one that can be translated."""
    text = from_row(as_text(error), as_text(stored)) or ""
    if "\n" in text or len(text) > MOST_ERROR:
        text = str(text).strip().split("\n", 1)[0]
    return cleaned(text, lambda part: one_line(redact(part), MOST_ERROR))


def _batch(connection: Connection, batch_id: str, data: bool) -> Told:
    found = connection.fetch_all(_BATCH, key=batch_id)
    if not found:
        return Message("Batch deleted: %(name)s", name=batch_id[:8]), Message("It is no longer there.")
    title, *numbers = found[0]
    total, failed, cancelled, begun, ended = (as_integer(value) for value in numbers)
    name = one_line(redact(as_text(title) or ""), 120) if data else ""
    name = name or batch_id[:8]
    told = Message("Batch completed: %(name)s", name=name)
    if cancelled is not None:
        told = Message("Batch cancelled: %(name)s", name=name)
    elif failed:
        told = Message("Batch ended with failures: %(name)s", name=name)
    lasted = ended - begun if ended and begun and ended >= begun else "–"
    return told, Message("Jobs: %(total)s, failed: %(failed)s. From begin to end: %(time)s.", total=total or 0,
                         failed=failed or 0, time=lasted)


