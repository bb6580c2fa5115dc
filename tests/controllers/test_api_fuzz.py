"""Requests made up from the API's own document, valid and not: no error 500, and every answer as the document says.

The seed is fixed and nothing is kept between runs, so that a failure comes back. Each address is asked with a token of just its scope.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from app import create_app
from app.config import load_settings
from app.controllers import api_wait, openapi, rate_limits
from app.extensions import db
from app.ledger.dialect import Connection
from app.services.people import accounts, tokens
from app.support.clock import DAY_MS, now_ms
from tests.both.rows import fill, fill_batches
from tests.conftest import PASSWORD
from tests.ledger_fixture import Ledger, prepare_empty

EXAMPLES = {GenerationMode.POSITIVE: 4, GenerationMode.NEGATIVE: 3}
NAMES = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
         "response_headers_conformance")
load_all_checks()
WANTED = [CHECKS.get_one(name) for name in NAMES]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The product with rows of every state, a token of each scope, and the document as schemathesis reads it."""
    app = create_app(load_settings({"DATA_DIR": str(tmp_path_factory.mktemp("fuzz")), "JOB_MODULES": "tests.jobtypes", "ALERT_LANGUAGE": "en"}))
    app.config["PROPAGATE_EXCEPTIONS"] = False
    with app.app_context():
        prepare_empty(app.extensions["settings"])
        accounts.create_user("api@example.org", "super-admin", PASSWORD)
        user = accounts.account("api@example.org")
        made = {scope: tokens.make(user.id, user.email, scope, [scope], now_ms() + DAY_MS, "test") for scope in tokens.SCOPES}
        db.session.remove()
    ledger = Ledger(app, Connection(app.extensions["settings"].database_url), "sqlite")
    uuids, batches = fill(ledger), fill_batches(ledger)
    limits = pytest.MonkeyPatch()
    for name in ("REQUESTS", "DISPATCHES"):
        limits.setattr(rate_limits, name, rate_limits.RateLimitItemPerMinute(10**6))
    limits.setattr(api_wait, "USUAL_S", 0.05)
    limits.setattr(api_wait, "MOST_S", 0.05)
    client = app.test_client()
    document = client.get("/api/openapi.json", headers={"Authorization": f"Bearer {made['read']}"})
    assert document.status_code == 200, document.text
    known = {"uuid": list(uuids.values()), "batch": list(batches.values()), "id": ["1", "2"], "name": ["high", "TestEcho", "yearly"]}
    yield SimpleNamespace(app=app, tokens=made, known=known, document=document.json, client=client,
                          schema=schemathesis.openapi.from_wsgi("/api/openapi.json", app, headers={"Authorization": f"Bearer {made['read']}"}))
    limits.undo()
    ledger.connection.close()
    with app.app_context():
        db.session.remove()
        db.engine.dispose()


def headers(site, operation) -> dict[str, str]:
    scope = operation.definition.raw["security"][0]["token"][0]
    return {"Authorization": f"Bearer {site.tokens[scope]}"}


def try_out(site, operation, mode: GenerationMode, found: list[str]) -> None:
    """Send some requests; half of those with ids get ids that exist."""
    count = [0]

    @seed(18)
    @settings(max_examples=EXAMPLES[mode], database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case):
        count[0] += 1
        if count[0] % 2 and isinstance(case.path_parameters, dict):
            for name in case.path_parameters.keys() & site.known.keys():
                case.path_parameters[name] = site.known[name][count[0] % len(site.known[name])]
        answer = case.call(headers=headers(site, operation))
        try:
            case.validate_response(answer, checks=WANTED)
        except BaseException as failure:
            found.append(f"{operation.label}: {' '.join(str(failure).split())[:700]}")

    send()


@pytest.mark.parametrize("part", range(4))
def test_answers_are_as_the_document_says(site, part):
    """In four parts, so that one shows where another has failed."""
    operations, found = [result.ok() for result in site.schema.get_all_operations()], []
    assert len(operations) >= len(openapi.ROUTES)
    for operation in operations[part::4]:
        for mode in EXAMPLES:
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.headers):
                continue
            try_out(site, operation, mode, found)
    assert not found, "\n\n".join(found[:12])


def test_a_token_without_the_scope_gets_403_everywhere(site):
    for result in site.schema.get_all_operations():
        operation = result.ok()
        scope = operation.definition.raw["security"][0]["token"][0]
        other = next(name for name in site.tokens if name != scope)
        path = operation.path
        for parameter in operation.path_parameters:
            value = (parameter.definition.get("schema") or {}).get("enum", site.known.get(parameter.name, ["x"]))[0]
            path = path.replace(f"{{{parameter.name}}}", str(value))
        answer = site.client.open(path, method=operation.method.upper(), headers={"Authorization": f"Bearer {site.tokens[other]}"})
        assert answer.status_code == 403 and scope in json.loads(answer.text)["error"], operation.label
