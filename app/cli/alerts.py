"""`flask --app wsgi alerts list|test|ack|snooze`."""

from __future__ import annotations

import time

import click
from flask.cli import AppGroup

from app.cli.command import actor, reading, refuse
from app.services.alerts import channels, incident_views, incidents as service
from app.services.audit import ActionRefused
from app.services.stats.job_monitoring import monitor_state
from app.support.settings import settings

WAIT_S = 30

alerts = AppGroup("alerts", help="What is wrong now, and who is told.")


@alerts.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are over.")
@reading
def list_alerts(everything: bool) -> None:
    """Open alerts: number, severity, state, name and what was measured."""
    rows = incident_views.open_alerts() + (incident_views.history() if everything else [])
    for a in rows:
        state = "over" if a.closed_at else "taken" if a.acked_by else "silenced" if a.snoozed_until else "open"
        click.echo(f"{a.id}\t{a.severity}\t{state}\t{a.opened_at:%Y-%m-%d %H:%M:%S} UTC\t{a.name}: {a.text}")
    if not rows:
        click.echo("Nothing is wrong.")


@alerts.command("test")
@click.argument("channel")
def test(channel: str) -> None:
    """Have the monitor send a test message through CHANNEL; exit 0 when it was delivered."""
    try:
        number = channels.request_test(channel, actor())
    except ActionRefused as error:  # the command line shows no list of channels, so the error names them
        refuse(f"{error} Known: {', '.join(channels.listing()) or 'none'}")
    if monitor_state().late:
        click.echo("The monitor, which alone knows the addresses, is not running; the test is sent when it does.",
                   err=True)
    for _ in range(WAIT_S * 5):
        state, error = channels.message_state(number)
        if state in ("sent", "dropped"):
            break
        time.sleep(0.2)
    else:
        refuse(f"Not sent within {WAIT_S} s; it stays in the queue of messages.")
    if state == "dropped":
        refuse(f"Not delivered: {error}")
    click.echo("Delivered.")


@alerts.command("ack")
@click.argument("number", type=int)
def acknowledge(number: int) -> None:
    """Acknowledge alert NUMBER: it stays listed but no longer counts as open."""
    service.acknowledge(number, actor())
    _echo("taken")


@alerts.command("snooze")
@click.argument("number", type=int)
@click.option("--minutes", type=click.IntRange(0, service.MOST_SNOOZE_MIN), default=60, show_default=True,
              help="0 ends the silence.")
def snooze(number: int, minutes: int) -> None:
    """Silence alert NUMBER, and the same thing should it come again."""
    service.snooze(number, minutes, actor())
    _echo(f"silenced for {minutes} minutes" if minutes else "no longer silenced")


def _echo(result: str) -> None:
    """Print the result with the address of the page."""
    click.echo(f"{settings().public_url}/admin/jobs/alerts: {result}")
