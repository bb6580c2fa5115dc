"""`flask --app wsgi batches ...`: list, show, cancel, retry."""

from __future__ import annotations

import json

import click
from flask.cli import AppGroup

from app.cli.command import actor, reading, refuse
from app.services.content import estimates
from app.services.jobs import batch_actions, batch_pages
from app.support.json_values import as_json

WORDS = {"undecided": "failed", "bin": "in the bin"}
HELP = "Look at and act on batches. ID may be the first eight digits, as pages show them."
batches = AppGroup("batches", help=HELP)


def _called(text: str) -> batch_pages.BatchView:
    return batch_pages.find(text) or refuse(f"No batch {text}.", 3)


@batches.command("list")
@click.option("--json", "wants_json", is_flag=True)
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, help="At most so many, 50 by default.")
@reading
def list_batches(wants_json: bool, limit: int) -> None:
    """List batches: open ones, then the latest to end."""
    rows, _more = batch_pages.listing(size=limit)
    if wants_json:
        click.echo(json.dumps([batch_pages.as_json(row) for row in rows], default=as_json, ensure_ascii=False))
        return
    for b in rows:
        click.echo(f"{b.id}  {b.state:<11} {b.ended}/{b.total_jobs}, {b.failed_jobs} failed  {b.tenant_id or '-'}  "
                   f"{b.name}")


@batches.command("show")
@click.argument("id")
@click.option("--json", "wants_json", is_flag=True)
@reading
def show(id: str, wants_json: bool) -> None:
    """Show one batch with the numbers of its members."""
    found = batch_pages.page_as_json(batch_pages.one(_called(id)))
    if wants_json:
        click.echo(json.dumps(found, default=as_json, ensure_ascii=False))
        return
    found["members"] = ", ".join(f"{n} {WORDS.get(state, state)}" for state, n in found["members"].items() if n)
    found["costs"] = ", ".join(estimates.amount(c["nano"], c["currency"]) + (f" + {c['unknown']} unknown" * (
        c["unknown"] > 0)) for c in found["costs"])
    found["newest_failed"] = " ".join(found["newest_failed"])
    found["left"] = None if (left := found.pop("left_ms")) is None else f"about {left / 1000:.0f} s"
    for key, value in found.items():
        if value not in (None, ""):
            click.echo(f"{key.replace('_', ' ')}: {value}")


@batches.command("cancel")
@click.argument("id")
def cancel(id: str) -> None:
    """Cancel the members that have not ended; what follows does not run."""
    count, _of = batch_actions.change_members(_called(id), "cancel", actor())
    click.echo(f"{count} {'job' if count == 1 else 'jobs'} cancelled, or asked to stop if running")


@batches.command("retry")
@click.argument("id")
def retry(id: str) -> None:
    """Put the failed members back into their queues."""
    count, _of = batch_actions.change_members(_called(id), "retry", actor())
    click.echo(f"{count} {'job' if count == 1 else 'jobs'} requeued")
