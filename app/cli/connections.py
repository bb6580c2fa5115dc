"""`flask --app wsgi connections ...`: the accounts of tenants at services. A secret comes on standard input."""

from __future__ import annotations

import json
import sys

import click
from flask.cli import AppGroup

from app.cli.command import actor, reading, refuse
from app.extensions import db
from app.services.content import connection_check, connection_keys, connection_pages as service, connection_views
from app.services.content.connection_values import MOST_SECRET
from app.services.content.connections import SERVICES
from app.support.json_values import as_json
from app.support.settings import settings

connections = AppGroup("connections", help="Accounts of tenants at OpenAI, WordPress and PrestaShop.")
_tenant = click.argument("tenant")
_service = click.argument("service_name", type=click.Choice(list(SERVICES)), metavar="SERVICE")


def _secret() -> str:
    """All of standard input, or what a person types unseen. It is blank when an existing secret is to stay."""
    if sys.stdin.isatty():
        return click.prompt("Secret (empty keeps the present one)", default="", hide_input=True, show_default=False)
    return sys.stdin.buffer.read(MOST_SECRET + 3).decode("utf-8")


def _number(tenant: str, name: str) -> int:
    row = connection_views.find(tenant, name)
    if row is None:
        db.session.rollback()
        refuse(f"{tenant} has no connection to {name}.", 3)
    return row.id


@connections.command("set")
@_tenant
@_service
@click.option("--url", default="", help="Address of the site; not needed for OpenAI itself.")
@click.option("--user", default="", help="WordPress: the user whose application password the secret is.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="A further value; can be repeated.")
def set_(tenant: str, service_name: str, url: str, user: str, options: tuple[str, ...]) -> None:
    """Make or change a connection; its secret (key or application password) is read from standard input."""
    given = dict(option.partition("=")[::2] for option in options)
    _id, forgotten = service.save(tenant, service_name, url, user, _secret(), given, actor(), settings(), forget=True)
    if forgotten:
        links = "link" if forgotten == 1 else "links"
        click.echo(f"Another site: {forgotten} {links} to the one before forgotten. The next sync looks for each "
                   "content by its key.")
    click.echo(f"{tenant} is connected to {service_name}; test it: "
               f"flask --app wsgi connections test {tenant} {service_name}")


@connections.command("test")
@_tenant
@_service
def test(tenant: str, service_name: str) -> None:
    """Make a call that needs the secret; exit 0 when it works, else 1. It takes at most 20 s."""
    ok, said = connection_check.test(_number(tenant, service_name), actor(), settings())
    if not ok:
        refuse(said)
    click.echo(said)


@connections.command("list")
@click.option("--json", "wants_json", is_flag=True)
@reading
def list_(wants_json: bool) -> None:
    """Each connection: tenant, service, address, user, state. Secrets are never shown."""
    rows = connection_views.listing()
    if wants_json:
        click.echo(json.dumps(rows, default=as_json))
        return
    for c in rows:
        tested = "unreadable: enter the secret again" if not c.readable else "not tested" if c.tested_at is None else (
            f"{'works' if c.test_ok else 'failed'}, tested {c.tested_at:%Y-%m-%d %H:%M:%S} UTC")
        held = f"; held until {c.held_until:%Y-%m-%d %H:%M:%S} UTC: {c.error}" if c.held_until else ""
        click.echo(f"{c.tenant_id}\t{c.service}\t{c.url or '-'}\t{c.user_name or '-'}\t{tested}{held}")


@connections.command("remove")
@_tenant
@_service
def remove(tenant: str, service_name: str) -> None:
    """Remove a connection with its secret."""
    click.echo(f"removed: {service.remove(_number(tenant, service_name), actor())}")


@connections.command("rekey")
def rekey() -> None:
    """Encrypt all secrets with a new key and forget the old one."""
    try:
        count = connection_keys.rekey(actor(), settings())
    except OSError as error:
        refuse(f"DATA_DIR/connections-key cannot be written: {error.strerror}")
    click.echo(f"{count} {'secret' if count == 1 else 'secrets'} encrypted with a new key")
