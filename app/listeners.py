"""The one table of which Huey hook or signal calls what."""

from __future__ import annotations

from huey import signals
from huey.api import Huey

from app.lifecycle import Lifecycle

EVENTS = (
    # Huey's event               what we do
    ("pre_execute", "ticket_taken"),
    ("post_execute", "job_ran"),
    (signals.SIGNAL_INTERRUPTED, "job_interrupted"),
    (signals.SIGNAL_CANCELED, "ticket_refused"),
)


def listen(huey: Huey, lifecycle: Lifecycle) -> None:
    """Connect the table; called last, so that no other hook runs between our claim and the job."""
    for event, name in EVENTS:
        order = getattr(lifecycle, name)
        if event in ("pre_execute", "post_execute"):
            getattr(huey, event)(name)(order)
        else:
            huey.signal(event)(order)
