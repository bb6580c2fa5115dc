"""Which site the links of a tenant's contents are of. At another site their ids name other items.

    address of the connection, or the one that was kept when it was removed -> another site? -> links forgotten
    -> the next sync looks for each content by its key

Host and path make a site; scheme, "www." and a slash at its end do not. A job that runs has the old account and could
write a link of the old site afterwards: so no job may run when the address changes (its claim and the change wait for
each other by the row of the connection).
"""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from app.extensions import db
from app.integrations.site_urls import PORTS
from app.ledger import counts
from app.ledger.dialect import Executor, SessionExecutor
from app.services.content.connections import TYPES

STEP = 1000
_COUNT = "SELECT COUNT(*) FROM sync_links WHERE tenant_id = :t AND service = :s"
_FORGET = f"""DELETE FROM sync_links WHERE id IN
 (SELECT id FROM sync_links WHERE tenant_id = :t AND service = :s LIMIT {STEP})"""
_RUNNING = "SELECT 1 FROM jobs WHERE state = 'processing' AND tenant_id = :t AND job_type = :type LIMIT 1"


def site(url: str) -> tuple[str, int | None, str]:
    """What two addresses of one site have in common."""
    try:
        parts, port = urlsplit(url), urlsplit(url).port
    except ValueError:  # changed by hand
        return url, None, ""
    return (parts.hostname or "").removeprefix("www."), None if port in PORTS.values() else port, parts.path.rstrip("/")


def keep(tx: Executor, tenant: str, service: str, url: str) -> None:
    """Remember the site of a connection that is removed: its links stay."""
    counts.save(tx, _fact(tenant, service), url)


def kept(tx: Executor, tenant: str, service: str) -> str:
    """The address of the connection that was removed last; "" when it is not known."""
    found = counts.load(tx, _fact(tenant, service))
    return str(found[0]) if found else ""


def _fact(tenant: str, service: str) -> str:
    return f"site {service} {hashlib.sha256(tenant.encode()).hexdigest()[:24]}"  # a key has at most 64 characters


def count(tenant: str, service: str) -> int:
    """How many contents of a tenant have a link of a service."""
    return SessionExecutor(db.session).fetch_all(_COUNT, t=tenant, s=service)[0][0]


def forget(tx: Executor, tenant: str, service: str) -> int:
    """Delete at most STEP links; returns how many."""
    return tx.execute(_FORGET, t=tenant, s=service)


def in_use(tx: Executor, tenant: str, service: str) -> bool:
    """Whether a job of the tenant that uses the service runs."""
    return bool(tx.fetch_all(_RUNNING, t=tenant, type=TYPES[service]))
