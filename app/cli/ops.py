"""`flask --app wsgi backup|restore|workers`: the commands of an operator."""

from __future__ import annotations

from pathlib import Path

import click
from flask.cli import AppGroup

from app.cli.command import actor, reading, refuse, single
from app.services.instance import backup as backups, deploys, restore as restores
from app.services.jobs import worker_commands
from app.services.stats import workers as worker_list
from app.support.clock import iso
from app.support.settings import settings


@single.command("backup")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--with-keys", is_flag=True,
              help="Also the keys: whoever has the file can then sign sessions and read the secrets of connections.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def backup(path: Path, with_keys: bool, force: bool) -> None:
    """Write ledger and uploads into one .tar.gz while everything runs."""
    try:
        manifest = backups.backup(settings(), path, with_keys, force)
    except (OSError, backups.CannotBackup) as error:
        refuse(f"The backup was not written: {error}")
    keys = "with the keys: keep it as secret as they are" if with_keys else "without keys (--with-keys adds them)"
    click.echo(f"{path}: revision {manifest['revision']}, {len(manifest['files'])} files, {keys}")


@single.command("restore")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(path: Path) -> None:
    """Put a backup in place of what is in DATA_DIR (kept aside). Everything is paused until `jobs resume --all`."""
    try:
        manifest = restores.restore(settings(), path)
    except (restores.CannotRestore, restores.HalfRestored) as error:
        refuse(error)
    click.echo(f"Restored the backup of {manifest['created']}. All queues, schedules and alerts are paused.\n"
               "Start the site, look at it, then: flask --app wsgi jobs resume --all")


@single.command("deploy-mark")
@click.argument("text")
def deploy_mark(text: str) -> None:
    """Mark a deploy of now: a line on the charts, and what "since the last deploy" counts from."""
    found = deploys.mark(text, actor())
    click.echo(f"Deploy {found.id} at {iso(found.at_ms)}: {found.text}")


workers = AppGroup("workers", help="Look at workers and tell them what to do.")


@workers.command("list")
@reading
def list_workers() -> None:
    """Each worker with its number, state and job."""
    for w in worker_list.workers(settings().worker_memory_mb):
        click.echo(f"{w.id}\t{w.name}\t{w.health}\t{w.current_job_type or '-'}\t{w.reason or ''}")


class WorkerOrAll(click.ParamType):
    """The type of an argument that is a worker's number or `all`."""

    name = "ID|all"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        """The number, or 'all'. Raises click's BadParameter for any other value."""
        return value if value == "all" else click.IntRange(1, 2**63 - 1).convert(value, param, ctx)


def _command(name: str, help_: str) -> None:
    @workers.command(name, help=help_)
    @click.argument("worker", type=WorkerOrAll(), metavar="ID|all")
    def command(worker: int | str) -> None:
        if worker == "all":
            count = worker_commands.command_workers(name, actor())
            click.echo(f"{count} {'worker' if count == 1 else 'workers'}: {name} asked")
        else:
            click.echo(f"{worker_commands.command_worker(int(worker), name, actor())}: {name} asked")


for _name, _help in {
    "restart": "End after its job; another takes its place.", "quiet": "Take no more jobs until resume.",
    "resume": "Take jobs again.", "stop": "End after its job, until started again.",
    "start": "Another worker in the place of one that was stopped.",
    "kill": "Kill it now; its job runs elsewhere, and nothing is counted against it."}.items():
    _command(_name, _help)
