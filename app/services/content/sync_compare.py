"""Compares a content with what stands at a service, field by field; sync.py says what the sides are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.integrations.remote import Fields, Found
from app.services.content.sync_rows import Link


class Plan(NamedTuple):
    """The fields to send, and the names of those that are in conflict."""

    changes: Fields
    conflicts: list[str]


@dataclass(frozen=True)
class Rules:
    """How a service treats some of its fields: `one_way` are sent when they change here, whatever stands there;
    `lenient` may change there, unless they changed here too; `blanks` are values that mean "nothing was set"."""

    one_way: frozenset[str] = frozenset()
    lenient: frozenset[str] = frozenset()
    blanks: dict[str, frozenset[str]] = field(default_factory=dict)


def rules_of(service: Any) -> Rules:
    """The rules of a service (integrations/remote.py)."""
    return Rules(service.one_way, getattr(service, "lenient", frozenset()), getattr(service, "blanks", {}))


def compare(wanted: Fields, link: Link, found: Fields, rules: Rules = Rules(), untouched: bool = False,  # noqa: B008
            missing: frozenset[str] = frozenset()) -> Plan:
    """What to send, and what is in conflict; `untouched` and `missing` as in Found."""
    sent, base, sending = link.sent or {}, link.base or {}, link.sending or {}
    changes, conflicts = {}, []
    for name, ours in wanted.items():
        theirs = found.get(name, "")
        if theirs == ours:
            continue
        known = {side[name] for side in (base, sending) if name in side}
        last = sending[name] if name in sending and (theirs == sending[name] or name not in sent) else sent.get(name)
        if name in missing:
            changes[name] = ours
        elif name in rules.one_way or theirs in known or (untouched and name in sending):
            if ours != last:
                changes[name] = ours
        elif name in rules.lenient and ours == last:
            continue
        elif known or theirs not in ("", *rules.blanks.get(name, ())):
            conflicts.append(name)
        else:  # never ours, and nothing was set there
            changes[name] = ours
    return Plan(changes, conflicts)


def as_seen(link: Link, found: Found, one_way: frozenset[str]) -> bool:
    """Whether the item stands there as the person saw it who decided, in the fields that both jobs compare."""
    theirs = link.theirs
    return bool(theirs) and all(found.fields[name] == value for name, value in theirs.items()
                                if name in found.fields and name not in one_way)
