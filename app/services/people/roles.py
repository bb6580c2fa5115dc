"""What an account may do: its role, and whether a viewer sees data.

controllers/rights.py asks it for addresses of the site, the monitor for what it sends (`rights_at`): what a person may
know is decided when it is shown or sent, not when it is written.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.ledger.dialect import Executor
from app.models.types import as_integer, as_text

READ = "read"  # figures, lists, pages of jobs
DATA = "data"  # arguments, logs, results and contents
ACT = "act"  # retry, cancel, delete, pause, order, commands of workers
DISPATCH = "dispatch"  # new jobs, schedules, contents
MANAGE = "manage"  # accounts, connections, alert rules, limits, budgets
OWN = "own"  # what belongs to the person: sessions, second factor, tokens, views, reports

ROLES = {
    "super-admin": frozenset({READ, DATA, ACT, DISPATCH, MANAGE, OWN}),
    "operator": frozenset({READ, DATA, ACT, DISPATCH, OWN}),
    "viewer": frozenset({READ, OWN}),
    "user": frozenset(),
}


def of_role(role: str, sees_data: bool) -> frozenset[str]:
    """The rights of an account; none for an unknown role."""
    rights = ROLES.get(role, frozenset())
    return rights | {DATA} if sees_data and READ in rights else rights


def rights_at(tx: Executor, addresses: Iterable[str]) -> dict[str, frozenset[str]]:
    """The rights of those mail addresses (any case) that have an account, by address in lower case: none of a disabled
    one."""
    names = {f"a{n}": address for n, address in enumerate(sorted({address.lower() for address in addresses}))}
    if not names:
        return {}
    rows = tx.fetch_all(f"""SELECT email, role, sees_data, disabled_ms FROM users
        WHERE email IN ({', '.join(':' + name for name in names)})""", **names)
    return {(as_text(email) or "").lower(): frozenset() if disabled is not None else of_role(
        as_text(role) or "", as_integer(sees, 0) == 1) for email, role, sees, disabled in rows}
