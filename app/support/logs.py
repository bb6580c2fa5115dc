"""Logs: JSON lines, each with the job it was written in; a readable form on a terminal. All of it through the redactor.

    {"time", "level", "logger", "pid", "message", "exception"?, "job"?: {"uuid", "type", "tenant", "attempt", "worker"}}

Sentry is told of errors when SENTRY_DSN is set: the job as tags, no arguments, no local variables, no request bodies.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from app.support.redaction import one_line, printable, redact, redact_json

TRACEBACK_BYTES = 16_384
job_of_line: ContextVar[dict[str, Any] | None] = ContextVar("job_of_line", default=None)


class _Formatter(logging.Formatter):
    """What it formats may be a job's own: an exception or a message that raises when it is told must not stop whoever logs it."""

    def redacted(self, record: logging.LogRecord) -> tuple[str, str]:
        """Message and traceback (or nothing), redacted."""
        try:
            message = one_line(redact(record.getMessage()))
        except Exception:
            message = "a message that cannot be told"
        if not record.exc_info:
            return message, ""
        try:
            return message, printable(redact(self.formatException(record.exc_info)[-4 * TRACEBACK_BYTES:]))[-TRACEBACK_BYTES:]
        except Exception:
            return message, "a traceback that cannot be told"


class LineFormatter(_Formatter):
    """'2026-11-23 14:00:00,123 WARNING pid name: message' for people; tracebacks follow indented."""

    def format(self, record: logging.LogRecord) -> str:
        job = job_of_line.get()
        where = f" [{job['type']} {job['uuid'][:8]}]" if job else ""
        message, trace = self.redacted(record)
        line = f"{self.formatTime(record)} {record.levelname} {record.process} {record.name}{where}: {message}"
        return line + "\n  " + trace.replace("\n", "\n  ") if trace else line


class JsonFormatter(_Formatter):
    """One JSON object a line, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        message, trace = self.redacted(record)
        line: dict[str, Any] = {"time": at, "level": record.levelname, "logger": record.name, "pid": record.process, "message": message}
        if trace:
            line["exception"] = trace
        if job := job_of_line.get():
            line["job"] = job
        return json.dumps(line, ensure_ascii=False)


def setup_logging(level: int = logging.INFO) -> None:
    """One handler on the root logger; noisy libraries at WARNING. LOG_FORMAT (json or text) overrides the choice by terminal."""
    handler = logging.StreamHandler()
    wanted = os.environ.get("LOG_FORMAT") or ("text" if sys.stderr is not None and sys.stderr.isatty() else "json")
    handler.setFormatter(LineFormatter() if wanted == "text" else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("huey", "apprise", "urllib3", "httpx2", "httpcore2", "openai", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def setup_sentry(dsn: str, release: str) -> None:
    """Errors and failed jobs to Sentry; does nothing without a DSN. Raises ImportError when the extra is not installed."""
    if not dsn:
        return
    import sentry_sdk

    def clean(event: dict[str, Any], _hint: Any) -> dict[str, Any]:
        if job := job_of_line.get():
            event.setdefault("tags", {}).update({f"job_{name}": value for name, value in job.items() if value is not None})
        event.pop("request", None)
        for name in ("extra", "breadcrumbs", "modules"):
            event.pop(name, None)
        return redact_json(json.loads(json.dumps(event, default=str)))

    sentry_sdk.init(dsn=dsn, release=release, include_local_variables=False, send_default_pii=False, max_request_body_size="never",
                    before_send=clean, default_integrations=False, auto_enabling_integrations=False, traces_sample_rate=0.0)


def report_failure(error: BaseException) -> None:
    """A failed attempt, for Sentry when it is on."""
    if "sentry_sdk" in sys.modules:
        sys.modules["sentry_sdk"].capture_exception(error)
