"""ProcessWordPressSync: writes contents of a tenant as posts of its WordPress site; sync_loop.py says how."""

from __future__ import annotations

from typing import Any, Literal

from app.execution.job_context import JobContext
from app.jobs import sync_loop
from app.jobs.declare import job
from app.services.content import sync_start
from app.services.content.sync import Choices
from app.support.messages import Message


@job("ProcessWordPressSync", label="WordPress Sync", timeout=300, concurrency=1, per="tenant",
     check=sync_start.checking("wordpress"),
     description=Message("Write contents to the WordPress site of a tenant: some references, or all."))
def process_wordpress_sync(references: list[str] | None = None, all: bool = False,
                           status: Literal["draft", "publish", "future"] | None = None, overwrite: bool = False,
                           recreate: bool = False, dry_run: bool = False, *, ctx: JobContext) -> dict[str, Any]:
    """Returns the number of contents by what was done: `{"created": 2, "unchanged": 40, "conflict": 1}`.

    `status` None leaves that of a post as it is; a new one is a draft. `overwrite` sends ours over changes made there,
    `recreate` makes gone items anew, `dry_run` changes nothing and says what would be done.
    """
    chosen = Choices(overwrite, recreate, dry_run, {"status": status} if status else {})
    return sync_loop.run(ctx, "wordpress", sync_loop.named(references, all), chosen)
