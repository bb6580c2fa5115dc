"""Who gets what is sent, by the rights that accounts have at this moment.

target, who asked for it -> `refusal`, a reason why it is not sent; `sees_data`, whether it is sent with the data of
jobs (support/privacy.py) An address of an account gets what the website shows that account: nothing when it is disabled
or may not read. Channels and addresses without an account get all, on behalf of an active account that manages the
installation, or of whoever has its command line. A notice needs the account that follows, and for a channel its right
to act.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.ledger.dialect import Executor
from app.services.people.roles import ACT, DATA, MANAGE, READ, rights_at
from app.services.reports.plan_values import MAIL
from app.support.messages import Message

COMMAND = "cli:"  # begins the name of who uses the command line (cli/command.py); no address has a colon
Rights = Mapping[str, frozenset[str]]


def address_of(target: str) -> str:
    """The address of `mail:ADDRESS` as accounts have it; "" for a channel."""
    return target.removeprefix(MAIL).lower() if target.startswith(MAIL) else ""


def rights_for(tx: Executor, pairs: Iterable[tuple[str, str]]) -> Rights:
    """What the functions below ask, for pairs of a target and who asked."""
    return rights_at(tx, {name for target, by in pairs for name in (address_of(target), by) if name})


def own_refusal(rights: Rights, target: str) -> str:
    """Why the account of an address gets nothing; "" when it gets something, or there is no such account."""
    name = address_of(target)
    if READ in rights.get(name, {READ}):
        return ""
    return Message("the account %(name)s is disabled or may not read here", name=name)


def refusal(rights: Rights, target: str, by: str) -> str:
    """Why nothing of a plan that `by` made is sent to its target; "" when it is sent."""
    if address_of(target) in rights:
        return own_refusal(rights, target)
    if by.startswith(COMMAND) or MANAGE in rights.get(by.lower(), ()):
        return ""
    return Message("%(name)s, who made this plan, may not send there any more; who manages this installation takes it "
                   "over by saving it", name=by or "–")


def notice_refusal(rights: Rights, target: str, by: str) -> str:
    """Why a notice that `by` asked for is not sent; "" when it is sent."""
    needed = READ if address_of(target) else ACT
    if needed in rights.get(by.lower(), ()):
        return own_refusal(rights, target)
    return Message("the account %(name)s is disabled or may not be told there", name=by or "–")


def sees_data(rights: Rights, target: str) -> bool:
    """Whether a report for this target has texts of errors."""
    return DATA in rights.get(address_of(target), {DATA})
