"""Workers as pages of jobs need them: how many should serve a queue, whose job stands still, which attempts were lost.

consumers, worker_heartbeats, job_metrics -> plain values, once for all rows of a list. That a worker does not report is
the monitor's conclusion (`stale`, `reason`): without a monitor nothing is said of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlalchemy import and_, func, or_, select

from app.config import QUEUES
from app.extensions import db
from app.ledger.dialect import SessionExecutor
from app.models import Consumer, Job, JobHistory, JobMetric, WorkerHeartbeat
from app.services.forecast import outlook
from app.services.forecast.estimate import JobForecast
from app.support.clock import millis, now_ms
from app.support.formatting import duration
from app.support.messages import from_row, translate as _, translate_stored


def crews() -> dict[str, tuple[int, int]]:
    """{queue: (how many workers should serve it, how many of its workers do not respond)}; 0 should when not known."""
    w = WorkerHeartbeat
    wanted = db.session.execute(select(Consumer.queue, Consumer.wanted)).all()
    silent = db.session.scalars(select(w.queue).where(w.status != "stopped", w.stale != 0)).all()
    return {name: (sum(n for queues, n in wanted if name in queues.split(",")),
                   sum(name in queues.split(",") for queues in silent)) for name in QUEUES}


def halted(uuids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """{uuid: (code as in a forecast, sentence)} of the running jobs whose worker does not report, or whose time limit
    has passed."""
    w, now, found, asked = WorkerHeartbeat, now_ms(), {}, set(uuids)
    query = select(Job.uuid, Job.over_time, Job.reserved_ms, Job.timeout, w.last_heartbeat, w.reason, w.reason_json)
    query = query.outerjoin(w, and_(w.worker_id == Job.worker_id, w.status != "stopped", or_(
        w.stale != 0, w.reason.is_not(None)))).where(Job.state == "processing")  # no more rows than the workers hold
    for uuid, over, since, timeout, beat, reason, form in db.session.execute(query) if asked else ():
        said = []
        if beat is not None:
            time = duration(max(now - millis(beat), 0) // 1000 * 1000)
            why = translate_stored(from_row(reason, form)) or _("not reporting")
            said.append(_("Its worker has not reported for %(time)s (%(why)s); after 120 s without a report or CPU "
                          "time it is killed and the job runs again.", time=time, why=why))
        if over or since and now - since > timeout * 1000:
            said.append(_("It is past its time limit; 30 s after that its worker is killed."))
        if said and uuid in asked:
            found[uuid] = "over" if beat is None else "silent", " ".join(said)
    return found


def forecasts(uuids: list[str], exact: bool = False,
              still: Mapping[str, tuple[str, str]] | None = None) -> dict[str, JobForecast]:
    """The forecasts of any number of live jobs, with exact times or those of the last plan. A job that stands still has
    no end; `still` saves another look for these."""
    found = dict(outlook.of_jobs(SessionExecutor(db.session), uuids, exact))
    return found | {uuid: replace(found[uuid], end=None, why=code)
                    for uuid, (code, _said) in (halted(uuids) if still is None else still).items() if uuid in found}


def lost(uuids: Iterable[str]) -> dict[str, int]:
    """{uuid: how many attempts of its present round were lost}: these use up none of its tries."""
    m, asked = JobMetric, list(uuids)
    if not asked:
        return {}
    rounds = (select(table.retry_round).where(table.uuid == m.uuid).scalar_subquery() for table in (Job, JobHistory))
    query = select(m.uuid, func.count()).where(
        m.uuid.in_(asked), m.status == "lost", m.retry_round == func.coalesce(*rounds))
    return {uuid: int(n) for uuid, n in db.session.execute(query.group_by(m.uuid))}
