"""ProcessPrestaShopSync: writes contents of a tenant as products of its PrestaShop shop. sync_loop.py says how."""

from __future__ import annotations

from typing import Any

from app.execution.job_context import JobContext
from app.jobs import sync_loop
from app.jobs.declare import job
from app.services.content import sync_start
from app.services.content.sync import Choices
from app.support.messages import Message


@job("ProcessPrestaShopSync", label="PrestaShop Sync", timeout=300, concurrency=1, per="tenant",
     check=sync_start.checking("prestashop"),
     description=Message("Write contents as products into the PrestaShop shop of a tenant: some references, or all."))
def process_prestashop_sync(references: list[str] | None = None, all: bool = False,
                            overwrite: bool = False, recreate: bool = False, dry_run: bool = False, *,
                            ctx: JobContext) -> dict[str, Any]:
    """Returns the number of contents by what was done: `{"created": 2, "unchanged": 40, "conflict": 1}`.

    `overwrite` sends ours over changes made there, `recreate` makes gone items anew, `dry_run` changes nothing and says
    what would be done.
    """
    chosen = Choices(overwrite, recreate, dry_run, {})
    return sync_loop.run(ctx, "prestashop", sync_loop.named(references, all), chosen)
