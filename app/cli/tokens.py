"""`flask --app wsgi users token|tokens|revoke-token`: personal tokens of any account."""

from __future__ import annotations

import json

import click

from app.cli.command import actor, reading
from app.cli.users import users
from app.controllers.rights import of_role, scopes_of
from app.services.people import accounts, tokens
from app.support.clock import now_ms
from app.support.json_values import as_json


@users.command("token")
@click.argument("email")
@click.option("--name", required=True, help="What the token is for.")
@click.option("--scope", "scopes", multiple=True, required=True, help="read, act or dispatch; may be repeated.")
@click.option("--days", default="30", show_default=True, help="How long it is accepted, at most a year; or a last day.")
def make(email: str, name: str, scopes: tuple[str, ...], days: str) -> None:
    """Make a token and print it on the last line: it is not shown again."""
    user = accounts.account(email)
    wanted = [part for scope in scopes for part in scope.replace(",", " ").split()]
    allowed = scopes_of(of_role(user.role, bool(user.sees_data)))
    made = (user.id, user.email, tokens.parse_name(name), tokens.parse_scopes(wanted, allowed),
            tokens.parse_expiry(days, now_ms()))
    click.echo(tokens.make(*made, actor()))


@users.command("tokens")
@click.argument("email", required=False)
@click.option("--json", "wants_json", is_flag=True)
@reading
def listing(email: str | None, wants_json: bool) -> None:
    """The tokens of an account, or of all."""
    rows = tokens.listing(accounts.account(email).id if email else None)
    if wants_json:
        click.echo(json.dumps(rows, default=as_json))
        return
    for t in rows:
        used = f"last used {t.used_at:%Y-%m-%d %H:%M} UTC from {t.used_from}" if t.used_at else "never used"
        ends = f"{t.expires_at:%Y-%m-%d}" if t.expires_at else "-"
        click.echo(f"{t.id}\t{t.email}\t{t.name}\t{t.prefix}\t{','.join(t.scopes)}\t{t.state}\tends {ends}\t{used}")


@users.command("revoke-token")
@click.argument("id", type=int)
def revoke(id: int) -> None:
    """Refuse a token from now on."""
    click.echo(f"{tokens.revoke(id, actor())} is revoked")
