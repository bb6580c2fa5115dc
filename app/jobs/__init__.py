"""The platform's jobs, one file each; and what a team imports to declare its own."""

from app.context import JobContext
from app.registry import PermanentError, UploadedFile, job, recurring

__all__ = ["JobContext", "PermanentError", "UploadedFile", "job", "recurring"]

from app.jobs import csv_import, demo  # noqa: E402,F401  (declare ProcessCsvImport and DemoWork)
