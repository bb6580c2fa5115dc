"""`huey_consumer app.worker.huey`: the address of the workers. Who they are stands in execution/consumer.py."""

from __future__ import annotations

from app import create_app
from app.execution.consumer import build_consumer

# a power cut repeats at most the last attempts (ledger rule 14)
huey = build_consumer(create_app(synchronous="NORMAL"))
