"""Shared by all commands: the actor, the exit codes, and the mark of commands that only read.

    guard(command): check the database -> run the command -> print an error as one sentence on stderr, set the exit code

Exit codes: 1 refused or failed, 2 the arguments do not fit, 3 unknown or too late, 4 the database does not answer or
the disk is full.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

import click
from flask import g
from flask.cli import AppGroup, ScriptInfo

from app.ledger.dialect import database_errors
from app.services.audit import ActionRefused
from app.services.instance import schema
from app.support import error_texts
from app.support.disk import DiskLow
from app.support.validation import ValidationError

UNAVAILABLE = 4
# These run on a database that is not migrated or does not answer; `monitor --once` is checked all the same.
UNCHECKED = ("monitor", "db-prepare", "check-settings", "restore")
single = AppGroup()  # commands without a group


def actor() -> str:
    """The name of the user for the audit log: 'cli:' and the user name, or the number of a user without one."""
    try:
        return f"cli:{os.environ.get('USER') or pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"cli:{os.getuid()}"


def refuse(sentence: object, code: int = 1) -> NoReturn:
    """Print a sentence on stderr and exit with `code`; stdout stays readable for scripts."""
    click.echo(str(sentence), err=True)
    sys.exit(code)


def reading(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a command that only reads: on SQLite it takes no write lock, so it runs while another process writes."""
    @wraps(function)
    def read(*args: Any, **kwargs: Any) -> Any:
        g.reads = True
        return function(*args, **kwargs)
    return read


def guard(command: click.Command, checked: bool = True) -> click.Command:
    """Give a command, or all commands of a group, the exit codes; returns it. `checked`: it runs only on a database
    that is migrated and answers."""
    checked = checked and command.name not in UNCHECKED
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            guard(inner, checked)
    elif not hasattr(command, "unguarded"):
        command.unguarded = command.invoke  # type: ignore[attr-defined]
        command.invoke = lambda ctx: _run(command.unguarded, ctx, checked)  # type: ignore[attr-defined,method-assign]
    return command


def _run(invoke: Callable[[click.Context], Any], ctx: click.Context, checked: bool) -> Any:
    try:
        if checked or ctx.params.get("once"):
            state, why = schema.look(ctx.ensure_object(ScriptInfo).load_app().extensions["settings"])
            if state != "current":
                refuse(why, UNAVAILABLE)
        return invoke(ctx)
    except ActionRefused as error:
        refuse(error, 3 if error.unknown else 1)
    except ValidationError as error:
        refuse(error, UNAVAILABLE if isinstance(error, DiskLow) else 2)
    except UnicodeError:
        refuse("What was typed has bytes that are no UTF-8 text.", 2)
    except (*error_texts.errors, *database_errors(), OSError) as error:
        if error_texts.kind_of(error) is None and isinstance(error, OSError):
            raise
        refuse(error_texts.sentence(error), UNAVAILABLE if error_texts.kind_of(error) else 1)
