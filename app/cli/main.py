"""`flask --app wsgi ...`: jobs, users, monitor, demo, rollups, db-prepare, check-settings."""

from __future__ import annotations

import json
import sys

import click
from flask import Flask, current_app
from flask.cli import with_appcontext
from flask_migrate.cli import db as migrations

from app import registry
from app.cli.alerts import alerts
from app.cli.command import guard
from app.cli.jobs import jobs
from app.cli.ops import backup, restore, workers
from app.cli.users import users
from app.ledger import rollups as counted
from app.ledger.dialect import Connection
from app.services.content import prices
from app.services.instance.retention import KEEP_DAYS
from app.support.settings import settings


@click.command("monitor")
@click.option("--once", is_flag=True, help="Run every duty once and exit: 0, or 1 with what failed.")
@with_appcontext
def monitor(once: bool) -> None:
    """Run the monitor: rescue, promotion, tickets, counts, retention."""
    from app.monitor import loop as room

    sys.exit(room.run(current_app._get_current_object(), once))


@click.command("db-prepare")
@with_appcontext
def db_prepare() -> None:
    """Migrate the database: backup first, one transaction, foreign keys checked."""
    from app.services.instance import migration

    try:
        click.echo(migration.prepare(settings()))
    except migration.CannotMigrate as error:
        raise SystemExit(str(error)) from None
    if current_app.extensions["publisher"].tickets.count() < 0:
        click.echo("QUEUE_URL: the ticket store does not answer now; jobs run without it, a little later", err=True)


@click.command("check-settings")
@with_appcontext
def check_settings() -> None:
    """Print the settings that the launcher needs as JSON."""
    s = settings()
    try:
        prices.find(s.prices_file, "", 0)
    except (prices.BadPrices, OSError, UnicodeDecodeError) as error:
        click.echo(f"PRICES_FILE: {error}", err=True)
        sys.exit(2)
    if s.alert_channels:
        from app.integrations.apprise_send import known

        for name in (n for n, url in s.alert_channels.items() if not known(url)):
            click.echo(f"ALERT_URLS: the address of channel {name} is none that Apprise knows; see its list of services", err=True)
            sys.exit(2)
    longest = max(registry.known_types(), key=lambda d: d.options.timeout)
    click.echo(json.dumps({
        "longest_job": longest.name, "longest_timeout": longest.options.timeout,
        "data_dir": str(s.data_dir), "host": s.host, "port": s.port, "public_url": s.public_url, "workers": s.workers,
        "grace": s.grace, "database_url_scheme": s.database_url.split(":")[0], "queue_url_scheme": s.queue_url.split(":")[0],
        "worker_queues": ",".join(s.worker_queues), "warnings": s.warnings,
    }))


@click.group("rollups")
def rollups() -> None:
    """Hourly figures."""


@rollups.command("rebuild")
@with_appcontext
def rebuild() -> None:
    """Count the hours anew whose raw rows are all there."""
    hours = counted.rebuild(Connection(settings().database_url, synchronous="FULL", wait_s=30), KEEP_DAYS)
    click.echo(f"{hours} hours rebuilt")


@click.command("demo")
@click.option("--metrics", type=click.IntRange(0, 5_000_000), help="Outcomes of history to write (4,000 when nothing is asked for).")
@click.option("--pending", type=click.IntRange(0, 1_000_000), help="Pending jobs to write.")
@click.option("--traffic", type=click.IntRange(0, 86_400), help="Seconds of real demo jobs, two a second, of every kind of outcome.")
@click.option("--mix", is_flag=True, help="Allow a database that holds other jobs.")
@click.option("--remove", is_flag=True, help="Delete everything a demo wrote.")
@with_appcontext
def demo(metrics: int | None, pending: int | None, traffic: int | None, mix: bool, remove: bool) -> None:
    """Lifelike history and jobs of every kind of outcome, for a look or a benchmark. Rows are marked as a demo's."""
    from app.cli import demo as room

    here = settings()
    if remove:
        click.echo(f"{room.remove(here)} rows of the demo deleted")
        return
    whole = metrics is None and pending is None and traffic is None
    try:
        written = room.fill(here, 4000 if whole else metrics or 0, 0 if whole else pending or 0, mix)
    except room.NotEmpty as error:
        raise SystemExit(str(error)) from None
    if whole:
        written += room.every_state(here)
    if whole or traffic:
        written += room.traffic(10 if whole else traffic)
    click.echo(f"{written} rows written. `flask --app wsgi demo --remove` deletes them.")


def register_commands(app: Flask) -> None:
    for command in (jobs, users, workers, monitor, db_prepare, check_settings, rollups, demo, backup, restore, alerts):
        app.cli.add_command(guard(command))
    guard(migrations, looks=False)
