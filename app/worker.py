"""`huey_consumer app.worker.huey`: the address of the workers. The workers themselves are in execution/consumer.py."""

from __future__ import annotations

from app import create_app
from app.execution.consumer import LedgerHuey
from app.execution.runtime import WorkerRuntime

# a power cut repeats at most the last attempts
huey = WorkerRuntime(create_app(synchronous="NORMAL", pages=False, commands=False), LedgerHuey).huey
