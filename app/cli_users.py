"""`flask --app wsgi users ...`: create, password, first. Passwords come on standard input or are asked for."""

from __future__ import annotations

import sys

import click
from flask.cli import AppGroup

from app.models.user import ROLES
from app.services import accounts
from app.strict import BadInput

users = AppGroup("users", help="Accounts.")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return click.prompt("Password", hide_input=True, confirmation_prompt=True)


def _try(action, *args: str) -> object:
    try:
        return action(*args)
    except BadInput as error:
        click.echo(str(error), err=True)
        sys.exit(2)


@users.command("create")
@click.argument("email")
@click.option("--role", type=click.Choice(ROLES), required=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def create(email: str, role: str, password_stdin: bool) -> None:
    """Create an account."""
    _try(accounts.create_user, email, role, _password(password_stdin))
    click.echo(f"created {email} ({role})")


@users.command("password")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def password(email: str, password_stdin: bool) -> None:
    """Change a password; all sessions of the account end."""
    _try(accounts.set_password, email, _password(password_stdin))
    click.echo(f"password of {email} changed; its sessions have ended")


@users.command("first", hidden=True)
@click.argument("email")
@click.option("--password-stdin", is_flag=True)
def first(email: str, password_stdin: bool) -> None:
    """The first super-admin, if there is no account at all (run.sh calls this)."""
    click.echo("created" if _try(accounts.create_first, email, _password(True)) else "exists")
