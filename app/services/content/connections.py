"""The account of a tenant at a service, as jobs use it, and the breaker of each connection.

    row -> decrypted account -> service within the address rules (integrations/outside.py)
    failures in a row -> from the fifth on held for 60 s -> one attempt is let through -> works: all go on;
    fails: held for twice as long, up to 900 s

The attempt that is let through doubles the hold before it begins, in one statement: so exactly one caller gets it, a
killed one does no harm, and failures of others that began before the hold change nothing. connection_pages.py has what
people do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from app.config import Settings
from app.integrations.outside import Outside
from app.integrations.remote import Service
from app.integrations.service_errors import Refused
from app.ledger.dialect import Executor
from app.support.messages import to_json
from app.support.redaction import encodable, redact
from app.support.validation import stored_object
from app.support.vault import Unreadable, Vault

SERVICES = {"openai": "OpenAI", "wordpress": "WordPress", "prestashop": "PrestaShop"}
TYPES = {"openai": "ProcessContentGeneration", "wordpress": "ProcessWordPressSync",
         "prestashop": "ProcessPrestaShopSync"}  # the jobs that use each service
LOCK = "connections"  # of changes and of new keys
OPENAI_URL = "https://api.openai.com/v1"
MOST_FAILURES, FIRST_HOLD_S, LONGEST_HOLD_S = 5, 60, 900
# The lock waits for a change of the address under way (connection_sites.py).
_ACCOUNT = """SELECT id, tenant_id, service, url, user_name, options, secret FROM connections j
 WHERE tenant_id = :t AND service = :s {lock}"""
_LONGER = (f"CASE WHEN hold_s < {FIRST_HOLD_S} THEN {FIRST_HOLD_S} WHEN hold_s * 2 > {LONGEST_HOLD_S} "
           f"THEN {LONGEST_HOLD_S} ELSE hold_s * 2 END")
_PROBE = f"""UPDATE connections SET hold_s = {_LONGER}, held_until_ms = :now + 1000 * ({_LONGER})
 WHERE id = :id AND held_until_ms = :seen RETURNING held_until_ms"""
_FAILED = """UPDATE connections SET failures = failures + 1, error = :why, error_json = :json WHERE id = :id
 RETURNING failures, held_until_ms"""
_HOLD = f"""UPDATE connections SET hold_s = CASE WHEN hold_s < {FIRST_HOLD_S} THEN {FIRST_HOLD_S} ELSE hold_s END,
 held_until_ms = :now + 1000 * (CASE WHEN hold_s < {FIRST_HOLD_S} THEN {FIRST_HOLD_S} ELSE hold_s END)
 WHERE id = :id RETURNING held_until_ms"""
_WORKS = """UPDATE connections SET failures = 0, hold_s = 0, held_until_ms = NULL, error = NULL, error_json = NULL
 WHERE id = :id AND failures > 0"""


@dataclass(frozen=True)
class Account:
    """A connection with its secret; `url` "" is the service's own address (OpenAI). `repr` does not show the secret."""

    id: int
    tenant_id: str
    service: str
    url: str
    user_name: str
    options: dict[str, str]
    secret: str = field(repr=False)


def label_of(tenant: str, service: str, url: str, user: str | None) -> str:
    """What a secret is sealed with: it opens for this address and user only."""
    return "\n".join((tenant, service, url, user or ""))


def account(tx: Executor, settings: Settings, tenant_id: str | None, service: str) -> Account | None:
    """The account of a tenant at a service, or None. Raises Refused when its secret cannot be read."""
    rows = tx.fetch_all(_ACCOUNT, t=tenant_id, s=service) if tenant_id else []
    try:
        return opened(rows[0], settings.data_dir) if rows else None
    except Refused:  # a rekey may have ended between the row and the key file
        rows = tx.fetch_all(_ACCOUNT, t=tenant_id, s=service)
        return opened(rows[0], settings.data_dir) if rows else None


def opened(row: tuple, data_dir: Path) -> Account:
    """The account of a row (id, tenant, service, url, user, options, secret). Raises Refused when its secret cannot be
    read."""
    id, tenant, name, url, user, options, sealed = row
    try:
        secret = Vault(data_dir).open(sealed, label_of(tenant, name, url, user))
    except Unreadable as error:
        raise Refused(error.args[0]) from None
    return Account(id, tenant, name, url, user or "", options_of(options), secret)


def options_of(stored: str) -> dict[str, str]:
    """The options of a row, whatever it holds."""
    return {encodable(key): encodable(value) for key, value in stored_object(stored).items() if isinstance(value, str)}


def open_outside(account: Account, settings: Settings, **limits: float) -> Outside:
    """The HTTP client of an account. PrestaShop's key is the user of its basic auth, with an empty password; `limits`
    are `total_s` and `within_s`."""
    user, secret = (account.secret, "") if account.service == "prestashop" else (account.user_name, account.secret)
    if account.service == "openai":
        user = secret = ""  # its key is a header of its own
    return Outside(account.url or OPENAI_URL, user, secret, private=settings.allow_private_hosts, **limits)


def open_service(account: Account, settings: Settings, **limits: float) -> Service:
    """The connected service of a WordPress or PrestaShop account. Raises ValueError for another one."""
    outside = open_outside(account, settings, **limits)
    if account.service == "wordpress":
        from app.integrations.wordpress import WordPress

        return WordPress(outside, account.options)
    if account.service == "prestashop":
        from app.integrations.prestashop import PrestaShop

        return PrestaShop(outside, account.options)
    raise ValueError(account.service)


# ---- the breaker: each function runs in the caller's transaction -----------------------------------------------------


def may_try(tx: Executor, account_id: int, now_ms: int) -> int:
    """0 when this caller may use the connection, else the time (ms) until which it is held.

    When the hold is over one caller gets 0, and it is held again until that one has noted how it went.
    """
    rows = tx.fetch_all("SELECT held_until_ms, hold_s FROM connections WHERE id = :id", id=account_id)
    held, hold_s = rows[0] if rows else (None, 0)
    if held is None:
        return 0
    if now_ms < held <= now_ms + 1000 * hold_s:  # a later time was noted before the clock was set back
        return held
    if tx.fetch_all(_PROBE, id=account_id, seen=held, now=now_ms):
        return 0
    rows = tx.fetch_all("SELECT held_until_ms FROM connections WHERE id = :id", id=account_id)
    return rows[0][0] or 0 if rows else 0


def note_failure(tx: Executor, account_id: int, why: str, now_ms: int) -> int | None:
    """Count a failure of the connection; returns until when (ms) it is held now, or None."""
    why = why if redact(why) == why else redact(why)
    rows = tx.fetch_all(_FAILED, id=account_id, why=why, json=to_json(why))
    failures, held = rows[0] if rows else (0, None)
    if failures < MOST_FAILURES or (held is not None and held > now_ms):
        return held
    return tx.fetch_all(_HOLD, id=account_id, now=now_ms)[0][0]


def let_next_try(tx: Executor, account_id: int, now_ms: int) -> None:
    """End a hold at once: the caller that was let through has asked nothing."""
    tx.execute("UPDATE connections SET held_until_ms = :now WHERE id = :id AND held_until_ms > :now", id=account_id,
               now=now_ms)


def note_success(tx: Executor, account_id: int) -> None:
    """Note that the connection works: the next failure is the first one again."""
    tx.execute(_WORKS, id=account_id)
