"""Connections as pages and the command line show them: never with a secret.

    row -> view, with the state of the last test -> whether the key file still opens the secret, which a restore without
    keys ends; a view of a secret that cannot be read says so, whatever the last test said
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from app.extensions import db
from app.models import Connection
from app.services.content import connections
from app.services.content.connections import SERVICES
from app.support.clock import when
from app.support.messages import from_row, translate_stored
from app.support.settings import settings
from app.support.vault import Vault


@dataclass(frozen=True)
class ConnectionView:
    """A connection without its secret. `url` "" is the service's own address.

    `test_ok` is None before the first test. `failures` have come in a row; nothing is tried before `held_until`, and
    `error` is the sentence of the last one. Not `readable`: no key in DATA_DIR opens the secret.
    """

    id: int
    tenant_id: str
    service: str
    label: str
    url: str
    user_name: str | None
    options: dict[str, str]
    updated_at: datetime
    updated_by: str | None
    tested_at: datetime | None
    test_ok: bool | None
    test_text: str | None
    failures: int
    held_until: datetime | None
    error: str | None
    readable: bool


def listing() -> list[ConnectionView]:
    """All connections by tenant and service."""
    rows = db.session.scalars(select(Connection).order_by(Connection.tenant_id, Connection.service))
    vault = Vault(settings().data_dir)
    return [shown(row, vault.reads(row.secret)) for row in rows]


def shown(row: Connection, readable: bool = True) -> ConnectionView:
    """A row as its view."""
    def told(name: str) -> str | None:
        column = "test_text" if name == "test" else name
        return translate_stored(from_row(getattr(row, column), getattr(row, f"{name}_json")))

    return ConnectionView(
        id=row.id, tenant_id=row.tenant_id, service=row.service, label=SERVICES.get(row.service, row.service),
        url=row.url, user_name=row.user_name, options=connections.options_of(row.options),
        updated_at=when(row.updated_ms), updated_by=row.updated_by, tested_at=when(row.tested_ms),
        test_ok=None if row.tested_ms is None else bool(row.test_ok), test_text=told("test"), failures=row.failures,
        held_until=when(row.held_until_ms), error=told("error"), readable=readable)


def find(tenant: str, service: str, lock: bool = False) -> Connection | None:
    """The row of a tenant's connection to a service; with `lock` as it is now, and nobody changes it meanwhile."""
    query = select(Connection).where(Connection.tenant_id == tenant, Connection.service == service)
    return db.session.scalar(query.with_for_update().execution_options(populate_existing=True) if lock else query)
