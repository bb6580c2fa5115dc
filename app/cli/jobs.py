"""`flask --app wsgi jobs ...`: dispatch, list, show, retry, cancel, delete, wait, resume, pause, limit."""

from __future__ import annotations

import json
import shlex
import sys
import time
from itertools import islice
from typing import Any

import click
from flask.cli import AppGroup

from app import registry
from app.cli.command import actor, reading, refuse
from app.extensions import db
from app.services.jobs import actions, limits, listing, lookup, queues, tree, uploads, why
from app.services.jobs.job_filter import ARGS, NAMES, JobFilter
from app.services.jobs.views import JobSummary
from app.support import error_texts
from app.support.json_values import as_json
from app.support.messages import translate as _
from app.support.settings import settings
from app.support.validation import ValidationError, parse_delay, parse_json, parse_queue, parse_tenant

HELP = "Dispatch, look at and act on jobs. UUID may be its first eight digits, as pages show them."
jobs = AppGroup("jobs", help=HELP)
POLL_S, UNANSWERED_S = 0.2, 60.0


@jobs.command("dispatch")
@click.argument("name")
@click.option("--queue", help="high, default or low; the type's own otherwise.")
@click.option("--tenant", help="Tenant id.")
@click.option("--delay", help="Seconds to wait first.")
@click.option("--args", "args_text", default="{}", help="Arguments as a JSON object.")
@click.option("--after", metavar="UUID", multiple=True, help="A job that must complete first; may be repeated.")
def dispatch(name: str, queue: str | None, tenant: str | None, delay: str | None, args_text: str,
             after: tuple[str, ...]) -> None:
    """Write a job and print its uuid on the last line."""
    definition = registry.find(name)
    if definition is None:
        refuse(f"No job type {name}. Known: {', '.join(d.name for d in registry.known_types())}.", 2)
    args = parse_json(args_text)
    tenant_id = parse_tenant(tenant)
    try:
        definition.accept(args, tenant_id)
        for field in uploads.file_fields(definition, args):
            if isinstance(args[field], str) and not uploads.UPLOAD_ID.fullmatch(args[field]):
                args[field] = uploads.copy_in(args[field], tenant_id)
        options = {"tenant_id": tenant_id, "queue": parse_queue(queue), "delay": parse_delay(delay),
                   "after": tree.parse_lines(named_all(after))}
        uuid = actions.start(definition, args, actor(), **options)
    except TypeError as error:
        refuse(error, 2)
    click.echo(uuid)


def named_all(after: tuple[str, ...]) -> tuple[str, ...]:
    """`after` as it is. Raises ValidationError for a blank one: a script whose variable is not set must not run it."""
    if not all(text.strip() for text in after):
        raise ValidationError(_("Name the job to wait for by its uuid."))
    return after


@jobs.command("list")
@click.option("--state", help="A live state or a final status; without it all live ones.")
@click.option("--where", help="Parts of the filter of the list, as in its address: 'error=... worker=... longer=10s'.")
@click.option("--json", "wants_json", is_flag=True)
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=None, help="At most so many.")
@reading
def list_jobs(state: str | None, where: str | None, wants_json: bool, limit: int | None) -> None:
    """List jobs: all live ones, those of a state, or those that a filter finds."""
    rows = lookup.summaries(state, limit) if where is None else matching(where, state, limit)
    if wants_json:
        click.echo(json.dumps(rows, default=as_json))
        return
    for row in rows:
        click.echo(f"{row.uuid}  {row.state:<11} {row.queue:<8} {row.type}  {row.tenant_id or '-'}  {row.attempts}")


def matching(where: str, state: str | None, limit: int | None) -> list[JobSummary]:
    """The jobs that a filter like "worker=w1 longer=10s" finds. Raises ValidationError."""
    try:
        pairs = [part.partition("=") for part in shlex.split(where)]
    except ValueError:
        raise ValidationError(_("A quotation mark is not closed.")) from None
    given = {name: value for name, _equals, value in pairs} | ({"state": state} if state else {})
    if unknown := [name for name in given if name not in NAMES and not name.startswith(ARGS)]:
        raise ValidationError(_("The filter has no part %(name)s.", name=repr(unknown[0][:40])))
    found = listing.iterate(JobFilter.read(given, settings().timezone))
    return [JobSummary(r.uuid, r.job_type, r.queue, r.state, r.tenant_id, r.attempts) for r in islice(found, limit)]


@jobs.command("show")
@click.argument("uuid")
@click.option("--json", "wants_json", is_flag=True)
@reading
def show(uuid: str, wants_json: bool) -> None:
    """Show one job with its attempts."""
    found = lookup.as_json(lookup.called(uuid))
    if found is None:
        refuse(f"No job {uuid}.", 3)
    if wants_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    attempts = found.pop("attempts")
    for key in ("parents", "children", *why.NOTHING):
        if not found[key]:
            del found[key]
    for key, value in found.items():
        plain = isinstance(value, str | int | None)
        click.echo(f"{key}: {value if plain else json.dumps(value, ensure_ascii=False)}")
    for a in attempts:
        error = f", {a['error_message']}" if a["error_message"] else ""
        click.echo(f"  attempt {a['attempt']}: {a['status']} on {a['worker']}, {a['processing_time']} ms{error}")


CHILDREN = click.option("--children", type=click.Choice(tree.CHOICES), default=tree.WAIT,
                        help="What becomes of jobs that wait for it: they go on waiting, are cancelled, or run.")


def _tell(found: tree.Settled, _entry: int) -> None:
    """Say what became of the jobs that waited for one that was ended."""
    jobs = f"{found.total} {'job' if found.total == 1 else 'jobs'}"
    if found.total and found.choice == tree.WAIT:
        click.echo(f"{jobs} below it go on waiting; --children cancel cancels them, --children run lets them run",
                   err=True)
    elif found.total:
        did = "cancelled" if found.choice == tree.CANCEL else "let go, as they waited for it directly"
        click.echo(f"of {jobs} below it {found.changed} {did}", err=True)


def _act(action: Any, uuid: str, done: str, all_of_them: Any = None, **how: Any) -> None:
    """Do an action to one job, or with `all` to every failed job, and print the result."""
    if uuid == "all" and all_of_them is not None:
        count = all_of_them(actor(), **how)
        click.echo(f"{count} {'job' if count == 1 else 'jobs'} {done}")
        return
    key = lookup.called(uuid)
    result = action(key, actor(), **how, **({"report": _tell} if how else {}))
    click.echo({"cancelled": "cancelled", "asked": "asked to stop: it is running"}.get(result, done))


@jobs.command("retry")
@click.argument("uuid", metavar="UUID|all")
def retry(uuid: str) -> None:
    """Put a failed job (or all) back into its queue, or run a waiting one now."""
    _act(actions.retry, uuid, "requeued", actions.retry_all)


@jobs.command("cancel")
@click.argument("uuid")
@CHILDREN
def cancel(uuid: str, children: str) -> None:
    """Cancel a waiting job; ask a running one to stop."""
    _act(actions.cancel, uuid, "cancelled, or asked to stop if it is running", children=children)


@jobs.command("delete")
@click.argument("uuid", metavar="UUID|all")
@CHILDREN
def delete(uuid: str, children: str) -> None:
    """Put a failed job (or all) into the bin for 7 days."""
    _act(actions.delete_failed, uuid, "deleted", actions.delete_all, children=children)


@jobs.command("wait")
@click.argument("uuid")
@click.option("--timeout", type=float, default=None, help="Seconds to wait at most.")
@reading
def wait(uuid: str, timeout: float | None) -> None:
    """Wait for the end: exit 0 completed, 1 failed, timeout or cancelled, 3 time over or unknown."""
    start = answered = time.monotonic()
    key, state = lookup.called(uuid), None
    while True:
        try:
            state = lookup.state_of(key)
            db.session.rollback()
            answered = time.monotonic()
        except error_texts.errors as error:  # waiting goes on while the database restarts
            db.session.remove()
            if error_texts.kind_of(error) is None or time.monotonic() - answered > UNANSWERED_S:
                raise
        else:
            if state is None:
                refuse(f"No job {uuid}.", 3)
        if state in lookup.FINAL:
            click.echo(state)
            sys.exit(0 if state == "completed" else 1)
        if timeout is not None and time.monotonic() >= start + timeout:
            refuse(f"Still {state} after {timeout:g} s.", 3)
        time.sleep(POLL_S)


@jobs.command("resume")
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="All queues and types, and what a restore has paused.")
def resume(name: str | None, everything: bool) -> None:
    """Resume a queue, a type (`type:X`) or, with --all, everything."""
    if everything == bool(name):
        refuse("Name a queue or type to resume, or use --all.", 2)
    names = queues.resume_all(actor()) if everything else [name]
    if not everything:
        queues.resume(name or "", actor())
    click.echo("resumed: " + (", ".join(names) or "nothing was paused"))


def _limits(concurrency: int | None, rate: str | None) -> str:
    return f"{concurrency or 'no limit'} at once, rate {rate or 'no limit'}"


@jobs.command("limit")
@click.argument("name", metavar="TYPE")
@click.option("--concurrency", help="So many at once; none for no limit, code for what the code says.")
@click.option("--rate", help="So many starts in a time, such as 60/m; none or code as above.")
def limit(name: str, concurrency: str | None, rate: str | None) -> None:
    """Show the limits of a job type, or change them; each claim that begins after it obeys."""
    try:
        name, given = limits.parse_name(name), {}
    except ValidationError as error:
        refuse(error, 3)
    if concurrency is not None:
        given["concurrency"] = limits.parse_concurrency(concurrency)
    if rate is not None:
        given["rate"] = limits.parse_rate(rate)
    if given:
        limits.change(name, actor(), **given)
    now = limits.of(name)
    code = f"; the code says {_limits(*now.by_code)}" if now.set_by else ""
    click.echo(f"{name}: {_limits(now.concurrency, now.rate)}, per {now.per}{code}")
    click.echo(f"now: {now.running} running, {now.waiting} waiting, {now.started} started in the time of the rate")


@jobs.command("pause")
@click.argument("name")
@click.option("--minutes", help="Resume by itself after so many minutes, or after 2h, or 'until 18:00'.")
@click.option("--reason", help="Shown on the queues page.")
def pause(name: str, minutes: str | None, reason: str | None) -> None:
    """Pause a queue, or a type as `type:X`."""
    queues.pause(name, actor(), reason=reason, until=queues.parse_pause(minutes or ""))
    click.echo("paused")
