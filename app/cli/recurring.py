"""`flask --app wsgi recurring list|next NAME`: the schedules, and when one runs next."""

from __future__ import annotations

import json

import click
from flask.cli import AppGroup

from app.cli.command import reading
from app.services.jobs import recurring as schedule_list, schedules
from app.support.crontab import in_words
from app.support.json_values import as_json
from app.support.settings import settings

recurring = AppGroup("recurring", help="Look at the schedules.")


@recurring.command("list")
@click.option("--json", "wants_json", is_flag=True)
@reading
def list_schedules(wants_json: bool) -> None:
    """Each schedule with its time, whether it is on, and its next run."""
    found = schedule_list.listing(settings().timezone)
    if wants_json:
        click.echo(json.dumps(found, default=as_json, ensure_ascii=False))
        return
    for s in found:
        state = s.trouble or ("off" if not s.enabled else s.next_at.isoformat(" ", "minutes") if s.next_at else "never")
        click.echo(f"{s.name}\t{s.job_type or '-'}\t{s.cron}\t{state}")


@recurring.command("next")
@click.argument("name")
@click.option("--count", type=click.IntRange(1, 1000), default=10, help="So many, 10 by default.")
@reading
def next_runs(name: str, count: int) -> None:
    """The next runs of a schedule, in APP_TIMEZONE, as if it was on."""
    plan = schedules.find(name)
    click.echo(in_words(plan.cron) or plan.cron)
    for at in schedule_list.coming(plan.cron, settings().timezone, count):
        click.echo(f"{at.isoformat(' ', 'minutes')} {at.tzname()}")
