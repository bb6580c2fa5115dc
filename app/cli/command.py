"""What all commands share: who asks, how one that fails ends, and which only read.

    guard(command): the database looked at first -> the command -> an error as one sentence on stderr and an exit code

Exit codes: 1 it was refused or failed, 2 what was typed does not fit, 3 unknown or too late, 4 database or disk do not
serve now.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

import click
from flask import g
from flask.cli import ScriptInfo

from app.ledger.dialect import database_errors
from app.services.audit import ActionRefused
from app.services.instance import schema
from app.support import error_texts
from app.support.disk import DiskLow
from app.support.validation import ValidationError

UNAVAILABLE = 4
LOOK_FOR_THEMSELVES = ("monitor", "db-prepare", "check-settings", "restore")  # the database may be not as it should be


def actor() -> str:
    """Who acts, as the log of actions names it."""
    return f"cli:{os.environ.get('USER') or os.getuid()}"


def refuse(sentence: object, code: int = 1) -> NoReturn:
    """End with a sentence on stderr; stdout stays what a script may parse."""
    click.echo(str(sentence), err=True)
    sys.exit(code)


def reading(function: Callable[..., Any]) -> Callable[..., Any]:
    """For commands that change nothing: on SQLite they take no write lock, so they answer while another holds it."""
    @wraps(function)
    def read(*args: Any, **kwargs: Any) -> Any:
        g.reads = True
        return function(*args, **kwargs)
    return read


def guard(command: click.Command, looks: bool = True) -> click.Command:
    """Give a command, or all of a group, its ending; `looks`: only on a database that is migrated and answers."""
    looks = looks and command.name not in LOOK_FOR_THEMSELVES
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            guard(inner, looks)
    elif not hasattr(command, "unguarded"):
        command.unguarded = command.invoke  # type: ignore[attr-defined]
        command.invoke = lambda ctx: _run(command.unguarded, ctx, looks)  # type: ignore[attr-defined,method-assign]
    return command


def _run(invoke: Callable[[click.Context], Any], ctx: click.Context, looks: bool) -> Any:
    try:
        if looks or ctx.params.get("once"):
            state, why = schema.look(ctx.ensure_object(ScriptInfo).load_app().extensions["settings"])
            if state != "current":
                refuse(why, UNAVAILABLE)
        return invoke(ctx)
    except ActionRefused as error:
        refuse(error, 3 if error.unknown else 1)
    except DiskLow as error:
        refuse(error, UNAVAILABLE)
    except ValidationError as error:
        refuse(error, 2)
    except UnicodeError:
        refuse("What was typed has bytes that are no UTF-8 text.", 2)
    except (*error_texts.errors, *database_errors(), OSError) as error:
        if error_texts.kind_of(error) is None and isinstance(error, OSError):
            raise
        refuse(error_texts.sentence(error), UNAVAILABLE if error_texts.kind_of(error) else 1)
