"""Log output: JSON lines, or plain lines on a terminal. Each line names the job that wrote it. Secrets are redacted.

    {"time", "level", "logger", "pid", "message", "exception"?, "job"?: {"uuid", "type", "tenant", "attempt", "worker"}}

With SENTRY_DSN set, errors go to Sentry: the job as tags, but no arguments, no local variables and no request bodies.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from contextvars import ContextVar
from typing import Any

from app.support.clock import iso
from app.support.redaction import one_line, printable, redact, redact_json

TRACEBACK_BYTES = 16_384
job_of_line: ContextVar[dict[str, Any] | None] = ContextVar("job_of_line", default=None)


class _Formatter(logging.Formatter):
    """A job's own message or exception can raise while it is formatted; this must not stop the code that logs it."""

    def redacted(self, record: logging.LogRecord) -> tuple[str, str]:
        """(message, traceback), both redacted; the traceback is '' without an exception and has at most 16 KB."""
        try:
            message = one_line(redact(record.getMessage()))
        except Exception:
            message = "a message that cannot be formatted"
        if not record.exc_info:
            return message, ""
        try:
            trace = self.formatException(record.exc_info)[-4 * TRACEBACK_BYTES:]
            return message, printable(redact(trace))[-TRACEBACK_BYTES:]
        except Exception:
            return message, "a traceback that cannot be formatted"


class LineFormatter(_Formatter):
    """For people: '2026-11-23 14:00:00,123 WARNING pid name: message', then the traceback, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The redacted record as text, of several lines when it has a traceback."""
        job = job_of_line.get()
        where = f" [{job['type']} {job['uuid'][:8]}]" if job else ""
        message, trace = self.redacted(record)
        line = f"{self.formatTime(record)} {record.levelname} {record.process} {record.name}{where}: {message}"
        return line + "\n  " + trace.replace("\n", "\n  ") if trace else line


class JsonFormatter(_Formatter):
    """For machines: one JSON object a line, with the fields that the module names."""

    def format(self, record: logging.LogRecord) -> str:
        """The redacted record as one line of JSON."""
        message, trace = self.redacted(record)
        line: dict[str, Any] = {"time": iso(record.created * 1000), "level": record.levelname, "logger": record.name,
                                "pid": record.process, "message": message}
        if trace:
            line["exception"] = trace
        if job := job_of_line.get():
            line["job"] = job
        return json.dumps(line, ensure_ascii=False)


class ThrottledWarning:
    """Logs a problem when it begins, once a minute, and when it is over, instead of at each of a thousand attempts."""

    def __init__(self, logger: logging.Logger) -> None:
        self.log, self.text, self.reported = logger, "", 0.0

    def report(self, text: str) -> None:
        """Report the present state: `text` describes the problem, '' means that there is none."""
        if text and (text != self.text or time.monotonic() - self.reported > 60):
            self.log.warning(text)
            self.reported = time.monotonic()
        elif self.text and not text:
            self.log.warning("over: %s", self.text)
        self.text = text


def setup_logging(level: int = logging.INFO) -> None:
    """Install one handler on the root logger, for stderr; noisy libraries log from WARNING on. The format is text on a
    terminal and JSON elsewhere; LOG_FORMAT (json or text) overrides it."""
    handler = logging.StreamHandler()
    wanted = os.environ.get("LOG_FORMAT") or ("text" if sys.stderr is not None and sys.stderr.isatty() else "json")
    handler.setFormatter(LineFormatter() if wanted == "text" else JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("huey", "apprise", "urllib3", "httpx2", "httpcore2", "openai", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def setup_sentry(dsn: str, release: str) -> None:
    """Send errors and failed jobs to Sentry; nothing without a DSN. Raises ImportError when sentry-sdk is missing."""
    if not dsn:
        return
    import sentry_sdk

    def clean(event: dict[str, Any], _hint: Any) -> dict[str, Any]:
        for name, value in (job_of_line.get() or {}).items():
            if value is not None:
                event.setdefault("tags", {})[f"job_{name}"] = value
        for name in ("request", "extra", "breadcrumbs", "modules"):
            event.pop(name, None)
        return redact_json(json.loads(json.dumps(event, default=str)))

    sentry_sdk.init(dsn=dsn, release=release, before_send=clean, traces_sample_rate=0.0, include_local_variables=False,
                    send_default_pii=False, max_request_body_size="never", default_integrations=False,
                    auto_enabling_integrations=False)


def report_failure(error: BaseException) -> None:
    """Send the error of a failed attempt to Sentry; nothing happens when Sentry is off."""
    if "sentry_sdk" in sys.modules:
        sys.modules["sentry_sdk"].capture_exception(error)
