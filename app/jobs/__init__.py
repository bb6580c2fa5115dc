"""The jobs of the platform, one file each, and the names that a team imports to declare its own."""

from app.execution.job_context import JobContext
from app.jobs.declare import job, recurring
from app.registry import PermanentError, TemporaryError, UploadedFile
from app.services.jobs.batches import batch

__all__ = ["JobContext", "PermanentError", "TemporaryError", "UploadedFile", "batch", "job", "recurring"]

from app.jobs import (  # noqa: E402,F401  (declares their types)
    bulk_generation,
    content_generation,
    csv_import,
    demo,
    prestashop_sync,
    wordpress_sync,
)
