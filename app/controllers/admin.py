"""The admin area: everything below /admin needs a right, which is checked before each request."""

from __future__ import annotations

from flask import Blueprint

import app.controllers.audit  # noqa: F401  (these add routes to jobs.bp)
import app.controllers.bulk  # noqa: F401
import app.controllers.invitations  # noqa: F401
import app.controllers.job_list  # noqa: F401
import app.controllers.live_socket  # noqa: F401
import app.controllers.metrics_csv  # noqa: F401
import app.controllers.palette  # noqa: F401
import app.controllers.queues  # noqa: F401
import app.controllers.recurring  # noqa: F401
from app.controllers import (
    alerts,
    batches,
    bulk_texts,
    capacity,
    connections,
    contents,
    costs,
    errors,
    form_again,
    generations,
    graph,
    jobs,
    known_parts,
    new_job,
    notices,
    people,
    reports,
    schedules,
    syncs,
    usage,
    views,
    workers,
)
from app.controllers.access import check_csrf, right_required

bp = Blueprint("admin", __name__, url_prefix="/admin")
bp.before_request(right_required)
bp.before_request(check_csrf)
bp.before_request(form_again.forget)
bp.before_request(known_parts.check)
for _part in (alerts, batches, bulk_texts, capacity, connections, contents, costs, errors, generations, graph, new_job,
              notices, people, reports, schedules, syncs, usage, views, workers):
    jobs.bp.register_blueprint(_part.bp)
bp.register_blueprint(jobs.bp)
