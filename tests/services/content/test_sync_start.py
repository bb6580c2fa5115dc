"""What a sync can never do is refused when it is dispatched, by every way."""

from __future__ import annotations

import pytest

from app import registry
from app.extensions import db
from app.models import Job
from app.services.content import sync_start
from app.support.validation import ValidationError
from tests.syncing import connect

TYPES = sorted(sync_start.TYPES.items())


@pytest.fixture
def site(ledger):
    with ledger.app.app_context():
        connect("acme", "wordpress")
        connect("beta", "prestashop")
        db.session.commit()
        yield ledger.app


@pytest.mark.parametrize(("service", "name"), TYPES)
@pytest.mark.parametrize(("args", "tenant", "why"), [
    ({}, "own", "one of both"), ({"references": []}, "own", "one of both"), ({"references": ["a"], "all": True}, "own", "one of both"),
    ({"all": False}, "own", "one of both"), ({"all": True}, None, "needs a tenant"), ({"all": True}, "none", "has no connection to"),
    ({"references": ["a"]}, "other", "has no connection to")])
def test_what_can_never_work_is_not_dispatched(site, service, name, args, tenant, why):
    connected = {"wordpress": ("acme", "beta"), "prestashop": ("beta", "acme")}[service]
    tenant = {"own": connected[0], "other": connected[1]}.get(tenant, tenant)
    with pytest.raises(ValidationError, match=why):
        registry.find(name).with_options(tenant_id=tenant).dispatch(**args)
    db.session.rollback()
    assert db.session.query(Job).count() == 0


@pytest.mark.parametrize(("service", "name"), TYPES)
@pytest.mark.parametrize("args", [{"references": ["a"]}, {"all": True}, {"all": True, "references": []}, {"references": ["a"], "all": False, "dry_run": True}])
def test_what_can_work_is(site, service, name, args):
    registry.find(name).with_options(tenant_id={"wordpress": "acme", "prestashop": "beta"}[service]).dispatch(**args)
    db.session.commit()
    assert db.session.query(Job).count() == 1
