"""Which right each address needs, and which rights a role or a token has.

request -> `right_of` its endpoint -> 403 for whoever does not have it; an endpoint that is not in the table
is forbidden (tests/controllers/test_rights.py compares the table with the URL map)
A right holds for an address whatever the method. What a viewer may not see on a page that it may open is blank already
when it is read (support/privacy.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from app.services.people.roles import ACT, DATA, DISPATCH, MANAGE, OWN, READ, ROLES, of_role

CHANGES = frozenset({ACT, DISPATCH, MANAGE})
SCOPES = {"read": frozenset({READ, DATA}), "act": frozenset({ACT}), "dispatch": frozenset({DISPATCH})}

_NAMES = {
    READ: """index job list queues queue workers recurring recurring-one realtime-stats metrics log palette palette-json
        alerts.index batches.index batches.one capacity.index capacity.hours costs.index costs.days errors.index
        graph.batch graph.job reports.report usage.index usage.one schedules.next views.index views.one costs.export
        export log-export live metrics-csv""",
    DATA: """connections.index contents.index contents.one contents.report generations.index generations.one
        generations.templates syncs.csv syncs.job syncs.json syncs.link texts.csv texts.json texts.one""",
    ACT: """act alerts.act batches.act bulk cancel delete errors.act errors.mark flush-failed pause pause-type place
        recurring-change retry retry-all undo undo-place workers.all workers.command workers.restart""",
    DISPATCH: """new.create new.edit new.form new.preview schedules.edit schedules.new contents.decide contents.sync
        contents.sync-many generations.delete-template generations.save-template syncs.decide texts.create texts.decide
        texts.index texts.preview""",
    MANAGE: """alerts.new-rule alerts.rule alerts.rule-change alerts.test connections.act connections.set
        costs.budget people.change people.end people.index people.invitation people.invite people.reset-factor
        set-limit""",
    OWN: """notices.feed notices.follow notices.unfollow reports.change reports.index reports.new reports.plan
        views.change views.create views.delete""",
}
_ACCOUNT = """browser-alerts end-session factor factor-begin factor-change factor-on index language make-token password
    revoke-token sign-out"""  # below /account, where everything is the person's own
_API = {READ: "list one wait types batch metrics openapi docs", DATA: "log", ACT: "retry cancel delete",
        DISPATCH: "dispatch upload"}
RIGHTS = {f"admin.jobs.{name}": right for right, names in _NAMES.items() for name in names.split()}
RIGHTS |= {f"account.{name}": OWN for name in _ACCOUNT.split()}
RIGHTS |= {f"api.{name}": right for right, names in _API.items() for name in names.split()}


def right_of(endpoint: str) -> str | None:
    """The right that an address of the admin area needs; None for one that is not in the table."""
    return RIGHTS.get(endpoint)


def roles_with(right: str) -> list[str]:
    """The roles that have a right."""
    return [role for role, rights in ROLES.items() if right in rights]


def of_token(rights: frozenset[str], scopes: Iterable[str]) -> frozenset[str]:
    """The rights of a token: those of its person that its scopes contain."""
    return rights & frozenset().union(*(SCOPES.get(scope, frozenset()) for scope in scopes))


def scope_of(right: str) -> str:
    """The scope that contains a right, which a token can have."""
    return next(scope for scope, rights in SCOPES.items() if right in rights)


def scopes_of(rights: frozenset[str]) -> list[str]:
    """The scopes that a token of a person with these rights may have."""
    return [scope for scope, needed in SCOPES.items() if needed & rights]


__all__ = ["ACT", "DATA", "DISPATCH", "MANAGE", "OWN", "READ", "ROLES", "of_role", "of_token", "right_of", "roles_with",
           "scope_of", "scopes_of"]
