"""`flask --app wsgi report`: a report of any period and filter as a file or on standard output.

It only reads the database, so it works while everything runs and when nothing runs.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path

import click
from flask_babel import force_locale

from app.cli.command import reading, refuse, single
from app.services.reports import figures, files, periods, plan_values
from app.support.clock import now_ms
from app.support.settings import settings

TEXTS = ("html", "txt")


@single.command("report")
@click.option("--period", default="", help="day, week or month: the last whole one; 24h, 7d, 30d: until now. Without a "
              "range the last week.")
@click.option("--from", "since", default="", help="First day (2026-11-23) or time (2026-11-23T14:00).")
@click.option("--until", default="", help="Last day, which is included, or time.")
@click.option("--type", "job_type", default="", help="Only this job type.")
@click.option("--tenant", default="", help="Only this tenant.")
@click.option("--queue", default="", help="Only this queue.")
@click.option("--language", type=click.Choice(plan_values.LANGUAGES), default="it", show_default=True)
@click.option("--format", "form", type=click.Choice(list(files.FORMATS)), help="By default that of FILE, else txt. The "
              "CSVs are one zip.")
@click.option("-o", "--output", default="-", show_default=True, help="The file to write; - is standard output.")
@click.option("--force", is_flag=True, help="Overwrite FILE if there is one.")
@reading
def report(period: str, since: str, until: str, job_type: str, tenant: str, queue: str, language: str, form: str | None,
           output: str, force: bool) -> None:
    """Write the report of a period: volume, times, errors, costs and capacity beside the period before."""
    ending = Path(output).suffix.removeprefix(".").lower()
    form = form or {"zip": "csv"}.get(ending, ending if ending in files.FORMATS else "txt")
    window = periods.parse(period, since, until, now_ms(), settings().timezone)
    limits = plan_values.parse_filter(job_type, tenant, queue)
    path = None if output == "-" else Path(output)
    if path is None and form not in TEXTS and sys.stdout.isatty():
        refuse(f"A {form} is not written to a terminal: give a file with -o.", 2)
    if path is not None and path.is_file() and not force:
        refuse(f"{output} exists already: --force overwrites it.")
    found = figures.collect(window, limits)
    with force_locale(language):
        _name, _mime, content = files.one(found, form, language)
    if path is None:
        click.get_binary_stream("stdout").write(content)
        return
    try:
        _write(path, content, force)
    except FileExistsError:
        refuse(f"{output} exists already: --force overwrites it.")
    except OSError as error:
        refuse(f"{output} cannot be written: {error.strerror}")
    click.echo(f"{output}: {len(content)} bytes", err=True)


def _write(path: Path, content: bytes, force: bool) -> None:
    """Write the whole file or none: beside it first. Raises OSError, FileExistsError unless `force`."""
    if path.exists() and not path.is_file():  # /dev/stdout, a pipe
        path.write_bytes(content)
        return
    beside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        beside.write_bytes(content)
        if force:
            beside.replace(path)
        else:
            os.link(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
