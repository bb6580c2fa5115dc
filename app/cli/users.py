"""`flask --app wsgi users ...`: accounts. A password is read from standard input or asked for."""

from __future__ import annotations

import json
import sys

import click
from flask.cli import AppGroup

from app.cli.command import actor, reading
from app.models.user import ROLES
from app.services.people import accounts, invitations as links, second_factor
from app.support.clock import iso, millis
from app.support.json_values import as_json

users = AppGroup("users", help="Accounts.")


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return click.prompt("Password", hide_input=True, confirmation_prompt=True)


@users.command("create")
@click.argument("email")
@click.option("--role", type=click.Choice(ROLES), required=True)
@click.option("--sees-data/--no-sees-data", default=False, help="A viewer sees arguments, logs and results.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def create(email: str, role: str, sees_data: bool, password_stdin: bool) -> None:
    """Create an account."""
    accounts.create_user(email, role, _password(password_stdin), actor(), sees_data)
    click.echo(f"created {email} ({role})")


@users.command("password")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def password(email: str, password_stdin: bool) -> None:
    """Change a password; all sessions of the account end."""
    accounts.set_password(email, _password(password_stdin), actor())
    click.echo(f"password of {email} changed; its sessions have ended")


@users.command("list")
@click.option("--json", "wants_json", is_flag=True)
@reading
def list_users(wants_json: bool) -> None:
    """Each account with its role, state and where it is signed in."""
    rows = accounts.people()
    if wants_json:
        click.echo(json.dumps(rows, default=as_json))
        return
    for p in rows:
        state = "disabled" if p.disabled_at else f"failed sign-ins: {p.failures}" if p.failures else "active"
        devices = ", ".join(f"{s.device or 'unknown'} from {s.network or 'unknown'}" for s in p.sessions)
        click.echo(f"{p.email}\t{accounts.role_words(p.role, p.sees_data)}\t{state}\t{devices or '-'}")


@users.command("role")
@click.argument("email")
@click.argument("role", type=click.Choice(ROLES))
@click.option("--sees-data/--no-sees-data", default=None, help="A viewer sees arguments, logs and results.")
def role_(email: str, role: str, sees_data: bool | None) -> None:
    """Change a role; all sessions of the account end."""
    accounts.set_role(email, role, actor(), sees_data)
    click.echo(f"{email} is now {role}; its sessions have ended")


@users.command("disable")
@click.argument("email")
def disable(email: str) -> None:
    """Refuse an account from now on; all its sessions end."""
    accounts.disable(email, actor())
    click.echo(f"{email} is disabled; its sessions have ended")


@users.command("enable")
@click.argument("email")
def enable(email: str) -> None:
    """Let an account sign in again."""
    accounts.enable(email, actor())
    click.echo(f"{email} is enabled")


@users.command("unlock")
@click.argument("email")
def unlock(email: str) -> None:
    """Forget failed sign-ins: of this account, and of networks that are slowed down now."""
    click.echo(f"{email} may try again; {accounts.unlock(email, actor())} failed sign-ins forgotten")


@users.command("sign-out")
@click.argument("email")
def sign_out(email: str) -> None:
    """End all sessions of an account."""
    click.echo(f"{accounts.end_sessions(email, actor())} sessions of {email} ended")


@users.command("invite")
@click.argument("email")
@click.option("--role", type=click.Choice(ROLES), required=True)
@click.option("--sees-data", is_flag=True, help="A viewer also sees arguments, logs and results.")
def invite(email: str, role: str, sees_data: bool) -> None:
    """Invite an address; the last line is the link, which makes the account once, within 7 days."""
    view, link = links.invite(email, role, sees_data, actor())
    click.echo(f"invited {view.email} ({view.role}) until {iso(millis(view.expires_at))}\n{link}")


@users.command("invitations")
@click.option("--json", "wants_json", is_flag=True)
@reading
def invitations(wants_json: bool) -> None:
    """Each invitation that nobody has used."""
    rows = links.pending()
    if wants_json:
        click.echo(json.dumps(rows, default=as_json))
        return
    for row in rows:
        state = "expired" if row.expired else f"until {row.expires_at and iso(millis(row.expires_at))}"
        click.echo(f"{row.email}\t{row.role}\t{state}\tby {row.invited_by}")


@users.command("uninvite")
@click.argument("email")
def uninvite(email: str) -> None:
    """End an invitation; its link opens nothing any more."""
    links.withdraw_of(email, actor())
    click.echo(f"the invitation of {email} is withdrawn")


@users.command("reset-second-factor")
@click.argument("email")
def reset_second_factor(email: str) -> None:
    """Take the second factor from an account; its sessions end."""
    second_factor.reset(email, actor())
    click.echo(f"{email} has no second factor now; its sessions have ended")


@users.command("first", hidden=True)
@click.argument("email")
@click.option("--password-stdin", is_flag=True)
def first(email: str, password_stdin: bool) -> None:
    """The first super-admin, if there is no account at all (run.sh calls this)."""
    click.echo("created" if accounts.create_first(email, _password(True)) else "exists")
