"""/admin/jobs/capacity: how busy the workers were by hour, and how long jobs would have waited with more or fewer."""

from __future__ import annotations

from flask import Blueprint, jsonify, request

from app.controllers.responses import live
from app.services.instance import deploys
from app.services.stats import capacity

bp = Blueprint("capacity", __name__, url_prefix="/capacity")


def _period() -> str:
    period = request.args.get("period", "")
    return period if period in capacity.PERIODS else "24h"


@bp.get("/", endpoint="index")
def index():
    """The page; for scripts `{"period", "hours", "peaks", "replay"}`. An unknown period is 24h."""
    hours, replay = capacity.busy_hours(_period()), capacity.last_replay()
    context = {"period": _period(), "hours": deploys.on_chart([vars(h) for h in hours]),
               "peaks": capacity.peaks(hours), "replay": replay}
    words = {"verdict": capacity.verdict, "trust": capacity.trust}
    return live("admin/capacity.html", context | words, follow=False, plain=lambda: context)


@bp.get("/hours", endpoint="hours")
def hours():
    """The hours of a period as JSON, for the chart."""
    return jsonify(deploys.on_chart([vars(h) for h in capacity.busy_hours(_period())]))
