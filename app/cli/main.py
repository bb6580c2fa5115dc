"""`flask --app wsgi ...`: db-prepare, check-settings, rollups and demo; registers all commands."""

from __future__ import annotations

import json

import click
from flask import Flask, current_app
from flask.cli import AppGroup
from flask_migrate import Migrate
from flask_migrate.cli import db as migrations

from app import registry
from app.cli.alerts import alerts
from app.cli.batches import batches
from app.cli.capacity import capacity  # noqa: F401  (adds itself to `single`)
from app.cli.command import guard, refuse, single
from app.cli.connections import connections
from app.cli.jobs import jobs
from app.cli.monitor import monitor  # noqa: F401  (adds itself to `single`)
from app.cli.ops import workers
from app.cli.recurring import recurring
from app.cli.report import report  # noqa: F401  (adds itself to `single`)
from app.cli.texts import texts
from app.cli.tokens import make  # noqa: F401  (adds itself to `users`)
from app.cli.users import users
from app.config import ROOT
from app.extensions import db
from app.ledger.dialect import Connection
from app.services.content import prices
from app.services.instance.retention import KEEP_DAYS
from app.services.jobs import rollups as counted
from app.services.stats import usage_fill
from app.support.settings import settings


@single.command("db-prepare")
def db_prepare() -> None:
    """Migrate the database: backup first, one transaction, foreign keys checked."""
    from app.services.instance import migration

    try:
        click.echo(migration.prepare(settings()))
    except migration.CannotMigrate as error:
        refuse(error)
    if current_app.extensions["publisher"].tickets.count() < 0:
        click.echo("QUEUE_URL: the ticket store does not answer now; jobs run without it, a little later", err=True)


@single.command("check-settings")
def check_settings() -> None:
    """Print the settings that the launcher needs as JSON."""
    s = settings()
    try:
        prices.find(s.prices_file, "", 0)
    except (prices.BadPrices, OSError, UnicodeDecodeError) as error:
        refuse(f"PRICES_FILE: {error}", 2)
    if s.alert_channels:
        from app.integrations.apprise_send import known

        for name in (n for n, url in s.alert_channels.items() if not known(url)):
            refuse(f"ALERT_URLS: the address of channel {name} is none that Apprise knows; see its list of services", 2)
    longest = max(registry.known_types(), key=lambda d: d.options.timeout)
    copied = ("host", "port", "public_url", "workers", "grace", "warnings")
    click.echo(json.dumps({
        "longest_job": longest.name, "longest_timeout": longest.options.timeout, "data_dir": str(s.data_dir),
        "database_url_scheme": s.database_url.split(":")[0], "queue_url_scheme": s.queue_url.split(":")[0],
        "worker_queues": ",".join(s.worker_queues), **{name: getattr(s, name) for name in copied}}))


rollups = AppGroup("rollups", help="Hourly figures.")


@rollups.command("rebuild")
def rebuild() -> None:
    """Count the hours anew whose raw rows are all there."""
    connection = Connection(settings().database_url, synchronous="FULL", wait_s=30)
    hours = counted.rebuild(connection, KEEP_DAYS)
    usage_fill.rebuild(connection, KEEP_DAYS)
    click.echo(f"{hours} hours rebuilt")


@single.command("demo")
@click.option("--metrics", type=click.IntRange(0, 5_000_000),
              help="Outcomes of history to write (4,000 when nothing is asked for).")
@click.option("--pending", type=click.IntRange(0, 1_000_000), help="Pending jobs to write.")
@click.option("--traffic", type=click.IntRange(0, 86_400),
              help="Seconds of real demo jobs, two a second, of every kind of outcome.")
@click.option("--mix", is_flag=True, help="Allow a database that holds other jobs.")
@click.option("--remove", is_flag=True, help="Delete everything a demo wrote.")
def demo(metrics: int | None, pending: int | None, traffic: int | None, mix: bool, remove: bool) -> None:
    """Lifelike history and jobs of every kind of outcome, for a look or a benchmark. Rows are marked as a demo's."""
    from app.cli import demo as service

    if remove:
        click.echo(f"{service.remove(settings())} rows of the demo deleted")
        return
    whole = metrics is None and pending is None and traffic is None
    try:
        written = service.fill(settings(), 4000 if whole else metrics or 0, pending or 0, mix)
    except service.NotEmpty as error:
        refuse(error)
    if whole:
        written += service.every_state(settings()) + service.two_batches(settings())
    if whole or traffic:
        written += service.traffic(10 if whole else traffic)
    click.echo(f"{written} rows written. `flask --app wsgi demo --remove` deletes them.")


def register_commands(app: Flask) -> None:
    """Add all commands to the application; those of Flask-Migrate get the exit codes only."""
    Migrate(app, db, directory=str(ROOT / "migrations"))
    for command in (jobs, batches, users, workers, rollups, alerts, texts, connections, recurring,
                    *single.commands.values()):
        app.cli.add_command(guard(command))
    guard(migrations, checked=False)
