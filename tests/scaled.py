"""`huey_consumer tests.scaled.huey`: workers whose autoscaling has short times, so that a test sees a day in a minute."""

from __future__ import annotations

from app.services.forecast.scaling import Pace
from app.worker import huey

huey.runtime.pace = Pace(calm_s=5, start_gap_s=2, retire_gap_s=2, saturated=2)  # other tests may load this machine
