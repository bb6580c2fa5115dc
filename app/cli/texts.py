"""`flask --app wsgi texts ...`: results and drafts of a bulk of texts."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from app.cli.command import actor, reading, refuse
from app.extensions import db
from app.services.content import bulk, drafts
from app.support.validation import parse_uuid

HELP = "Results and drafts of bulks of texts. ID is that of the batch: the uuid of the bulk's job."
texts = AppGroup("texts", help=HELP)


def batch_of(text: str) -> str:
    """The id of a batch that has texts; else the command ends with 3."""
    key = parse_uuid(text)
    if key is None or not bulk.exists(key):
        refuse(f"There are no texts of a batch {text}.", 3)
    return key


@texts.command("results")
@click.argument("id")
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", help="csv by default.")
@reading
def results(id: str, form: str) -> None:
    """Print all texts of a batch, in the order of its prompts."""
    key = batch_of(id)
    db.session.rollback()  # the lines are read in transactions of their own
    for piece in (bulk.as_csv if form == "csv" else bulk.as_json)(db.engine, key):
        click.echo(piece, nl=False)


def _decide(id: str, decision: str) -> None:
    done, total = drafts.decide_all(batch_of(id), decision, actor())
    click.echo(f"{done} of {total} drafts {drafts.DECISIONS[decision]}")


@texts.command("accept")
@click.argument("id")
def accept(id: str) -> None:
    """Accept all drafts of a batch that wait: each becomes the body of its content."""
    _decide(id, "accept")


@texts.command("refuse")
@click.argument("id")
def refuse_drafts(id: str) -> None:
    """Refuse all drafts of a batch that wait."""
    _decide(id, "refuse")
