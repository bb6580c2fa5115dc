"""The platform's jobs, one file each; and what a team imports to declare its own."""

from app.execution.job_context import JobContext
from app.registry import PermanentError, TemporaryError, UploadedFile, job, recurring

__all__ = ["JobContext", "PermanentError", "TemporaryError", "UploadedFile", "job", "recurring"]

from app.jobs import content_generation, csv_import, demo  # noqa: E402,F401  (they declare their types)
