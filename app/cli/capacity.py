"""`flask --app wsgi capacity`: how long jobs would have waited with more or fewer workers.

The monitor runs it once an hour (app/monitor/studies.py) and names itself in the environment: then it gives way to all
other processes and ends with the monitor.
"""

from __future__ import annotations

import json
import os

import click
from flask_babel import force_locale

from app.cli.command import refuse, single
from app.ledger import counts
from app.ledger.dialect import Connection
from app.services.forecast import boosting, capacity as replays
from app.services.stats import capacity as shown
from app.support import process
from app.support.formatting import duration
from app.support.settings import settings


def give_way() -> None:
    """For a process that a monitor has started: the lowest priority, and the end with the monitor."""
    if parent := os.environ.get(replays.STUDY_OF):
        os.nice(19)
        process.die_with_parent(int(parent))


@single.command("capacity")
@click.option("--hours", type=click.IntRange(1, 168), default=24, show_default=True, help="The last hours to replay.")
@click.option("--store", is_flag=True, help="Store the result for the page.")
@click.option("--learn", is_flag=True, help="Learn run times with scikit-learn (the extra ml) instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def capacity(hours: int, store: bool, learn: bool, as_json: bool) -> None:
    """Replay yesterday and the last hours with more and with fewer workers."""
    give_way()
    own = settings()
    connection = Connection(own.database_url, synchronous="FULL", wait_s=30)
    if learn:
        return _learn(connection)
    workers = replays.today(connection, own.worker_queues, own.workers)
    found = replays.whole(connection, workers, own.timezone, hours)
    if store:
        with connection.transaction() as tx:
            counts.save(tx, replays.FACT, found)
        if boosting.installed():
            boosting.learn(connection)
    if as_json:
        click.echo(json.dumps(found))
        return
    with force_locale("en"):
        for name, study in (("Yesterday", found["yesterday"]), (f"Last {hours} hours", found["last"])):
            click.echo(f"{name}: {study['runs']} runs. {' '.join(shown.verdict(study))}")
            for row in (r for r in study["rows"] if r["waits"]):
                waits = (duration(row["waits"][key]) for key in ("median_ms", "ninety_ms", "longest_ms"))
                click.echo("\t".join((f"{row['workers']} worker{'s' * (row['workers'] > 1)}", *waits)))
            click.echo("".join(f"{sentence}\n" for sentence in shown.trust(study)), nl=False)


def _learn(connection: Connection) -> None:
    """Print what was learned of each type, or refuse with the command that installs scikit-learn."""
    if not boosting.installed():
        refuse(boosting.MISSING)
    for job_type, gain in boosting.learn(connection).items():
        said = "used" if (gain or 0) >= boosting.GAIN else "not used"
        why = f"fewer than {boosting.LEAST} runs in a week" if gain is None else f"the loss changes by {-gain:+.1%}"
        click.echo(f"{job_type}\t{said}: {why}")
