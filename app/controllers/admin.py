"""The admin area: everything below /admin is for super-admins only, checked before each request."""

from __future__ import annotations

from flask import Blueprint

from app.controllers import (  # noqa: F401  (some add routes to jobs)
    alerts,
    audit,
    contents,
    costs,
    generations,
    job_list,
    jobs,
    new_job,
    people,
    queues,
    recurring,
    workers,
)
from app.controllers.access import check_csrf, super_admin_required

bp = Blueprint("admin", __name__, url_prefix="/admin")
bp.before_request(super_admin_required)
bp.before_request(check_csrf)
jobs.bp.register_blueprint(workers.bp)
jobs.bp.register_blueprint(new_job.bp)
jobs.bp.register_blueprint(contents.bp)
for _part in (alerts, generations, costs, people):
    jobs.bp.register_blueprint(_part.bp)
bp.register_blueprint(jobs.bp)
