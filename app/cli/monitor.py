"""The monitor's command: `flask --app wsgi monitor`, and `python -m app.cli.monitor`, which loads no page and no other
command and so has 18 MB less.
"""

from __future__ import annotations

import sys

import click
from flask import current_app
from flask.cli import ScriptInfo

from app.cli.command import guard, refuse, single
from app.config import SettingError


@single.command("monitor")
@click.option("--once", is_flag=True, help="Run every duty once and exit: 0, or 1 with what failed.")
def monitor(once: bool) -> None:
    """Run the monitor: rescue, promotion, tickets, counts, retention."""
    from app.monitor import loop

    sys.exit(loop.run(current_app._get_current_object(), once))


if __name__ == "__main__":
    from app import create_app

    try:
        guard(monitor)(obj=ScriptInfo(create_app=lambda: create_app(pages=False, commands=False)))
    except SettingError as error:
        refuse(error, 2)
