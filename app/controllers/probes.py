"""/healthz says ok and touches nothing; /readyz names the parts as ok, late or down, and nothing more."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify
from sqlalchemy import func, select

from app.extensions import db
from app.models import WorkerHeartbeat
from app.services import schema
from app.services.job_monitoring import monitor_state

bp = Blueprint("probes", __name__)


@bp.get("/healthz")
def healthz():
    return Response("ok", mimetype="text/plain")


@bp.get("/readyz")
def readyz():
    state = schema.check(current_app.extensions["settings"])
    parts = {"database": "down" if state == "down" else "ok", "schema": "ok" if state == "current" else "down"}
    if state == "current":
        monitor = monitor_state()
        parts["monitor"] = "down" if monitor["age_s"] is None else "late" if monitor["late"] else "ok"
        parts["tickets"] = "down" if "ticket store" in monitor["errors"] else "ok"
        alive = db.session.scalar(select(func.count()).select_from(WorkerHeartbeat.alive().subquery()))
        parts["workers"] = "ok" if alive else "down"
    else:
        parts |= {"monitor": "down", "workers": "down"}
    good = all(part == "ok" for part in parts.values())
    return jsonify(parts), 200 if good else 503
