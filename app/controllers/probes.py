"""Probes: /healthz (the web process answers), /readyz (each part is ok, late or down), /metrics for Prometheus."""

from __future__ import annotations

import hmac

from flask import Blueprint, Response, abort, jsonify, request
from flask_babel import gettext as _

from app.controllers.access import wants_json
from app.services.instance import schema
from app.services.stats.job_monitoring import JobMonitoringService, monitor_state
from app.services.stats.prometheus import exposition
from app.support.settings import settings

bp = Blueprint("probes", __name__)


@bp.get("/healthz")
def healthz():
    """200 "ok", without a query to the database."""
    return Response("ok", mimetype="text/plain")


@bp.get("/metrics")
def metrics():
    """Metrics for Prometheus. 401 without METRICS_TOKEN as bearer token; 404 when METRICS_TOKEN is not set."""
    token = settings().metrics_token
    if not token:
        abort(404)
    given = request.headers.get("Authorization", "").encode("utf-8", "replace")
    if not hmac.compare_digest(given, f"Bearer {token}".encode()):
        text = Response("401: send the token as Authorization: Bearer ...\n", mimetype="text/plain")
        error = {"error": _("Send the token as Authorization: Bearer ...")}
        return jsonify(error) if wants_json() else text, 401, {"WWW-Authenticate": "Bearer"}
    return Response(exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


@bp.get("/readyz")
def readyz():
    """200 when every part is ok, else 503: `{"database", "schema", "monitor", "tickets", "workers"}`.

    Without a current schema `monitor` and `workers` are down and `tickets` is left out.
    """
    state = schema.check(settings())
    parts = {"database": "down" if state == "down" else "ok", "schema": "ok" if state == "current" else "down"}
    if state == "current":
        monitor = monitor_state()
        parts["monitor"] = "down" if monitor.age_s is None else "late" if monitor.late else "ok"
        parts["tickets"] = "down" if "ticket store" in monitor.errors else "ok"
        parts["workers"] = "ok" if JobMonitoringService.count_workers().active else "down"
    else:
        parts |= {"monitor": "down", "workers": "down"}
    good = all(part == "ok" for part in parts.values())
    return jsonify(parts), 200 if good else 503
