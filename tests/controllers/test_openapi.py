"""The OpenAPI document against the URL map, the rights and the standard it follows."""

from __future__ import annotations

import re

import jsonschema_rs
import pytest

from app.controllers import openapi, rights
from app.controllers.json_schema import of_arguments, of_hint
from app.extensions import db
from app.registry import find
from app.services.people import accounts, tokens
from app.support.clock import DAY_MS, now_ms
from tests.conftest import PASSWORD
from tests.controllers.test_gate import JSON


@pytest.fixture
def document(admin):
    return admin.get("/api/openapi.json").json


def places(value, name: str):
    """Every value under this key, at any depth."""
    if isinstance(value, dict):
        if name in value:
            yield value[name]
        for inner in value.values():
            yield from places(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from places(inner, name)


def test_every_address_of_the_api_is_in_the_document_with_each_method_and_its_right(app, document):
    missing, own = [], set()
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:[^<>:]*:)?(\w+)>", r"{\1}", re.sub(r"\([^()]*\)", "", rule.rule))
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            found = document["paths"].get(path, {}).get(method.lower())
            if rule.endpoint in openapi.ENDPOINTS:
                assert found and found["x-right"] == rights.right_of(rule.endpoint), (path, method)
                own.add((path, method.lower()))
            elif rule.endpoint.startswith("api.") and rule.endpoint != "api.docs":
                missing.append((path, method))
    assert not missing and {(path, method) for path, methods in document["paths"].items() for method in methods} == own
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_every_page_that_answers_json_is_in_the_table_or_is_not_for_tokens(app, admin):
    """What a token must not open: rights of managing and of one's own; the others answer no JSON at all."""
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.startswith("admin.") or rule.endpoint in openapi.ENDPOINTS or "GET" not in rule.methods:
            continue
        if rights.RIGHTS[rule.endpoint] in (rights.MANAGE, rights.OWN):
            continue
        path = app.url_map.bind("localhost").build(rule.endpoint, {n: 1 if "Integer" in type(c).__name__ else "x" for n, c in rule._converters.items()})
        answer = admin.get(path, headers=JSON)
        assert answer.status_code != 200 or answer.mimetype != "application/json", rule.endpoint


def test_the_document_keeps_to_its_standard(document):
    assert document["openapi"] == "3.1.0" and document["info"]["title"]
    for target in places(document, "$ref"):
        found = document
        for part in target.removeprefix("#/").split("/"):
            found = found[part]
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.Draft202012Validator({"$defs": {}} | schema | {"components": document["components"]})
    for methods in document["paths"].values():
        for method, operation in methods.items():
            placed = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert placed <= set(re.findall(r"\{(\w+)\}", next(path for path, found in document["paths"].items() if found is methods)))
            assert operation["responses"] and operation["summary"] and ("requestBody" not in operation or method in ("post", "delete"))


def test_arguments_have_the_schema_of_their_type_hints():
    schema = of_arguments(find("TestForm"))
    assert schema["required"] == ["text", "number", "kind"] and schema["additionalProperties"] is False
    parts = schema["properties"]
    assert parts["kind"] == {"enum": ["a", "b"]} and parts["ratio"] == {"type": "number", "default": 0.5} and parts["flag"]["default"] is False
    assert parts["file"]["anyOf"][0]["pattern"] == "^up_[0-9a-f]{32}$" and parts["extra"] == {"anyOf": [{"type": "object"}, {"type": "null"}]}
    assert of_hint(list[dict[str, int]])["items"]["additionalProperties"]["type"] == "integer" and of_hint(object) == {} == of_hint(object | None)


def test_the_page_shows_every_address_in_both_languages(app, admin):
    for language, word in (("en", "Addresses of the API"), ("it", "Indirizzi")):
        admin.set_cookie("lang", language)
        page = admin.get("/api/docs")
        assert page.status_code == 200 and word in page.text and "POST /api/jobs" in page.text and "TestForm" in page.text
        assert "Idempotency-Key" in page.text and "TOKEN=ainj_" in page.text and "/admin/jobs/retry/{uuid}" in page.text
    assert app.test_client().get("/api/docs").status_code == 302
    refused = app.test_client().get("/api/openapi.json")
    assert refused.status_code == 401 and refused.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_is_made_shown_once_and_revoked_on_the_account_page(app, admin):
    form = {"csrf_token": admin.csrf, "name": "nightly import", "scope": ["read", "dispatch"], "days": "7", "own_password": PASSWORD}
    for password, sentence in (("", "own_password"), ("wrong", "own_password")):
        refused = admin.post("/account/tokens", data=form | {"own_password": password}, headers=JSON)
        assert refused.status_code == 400 and refused.json["fields"].keys() == {sentence}
    page = admin.post("/account/tokens", data=form | {"own_password": "wrong one"})
    assert page.status_code == 400 and 'id="e-t-password"' in page.text and "wrong one" not in page.text and 'value="nightly import"' in page.text
    made = admin.post("/account/tokens", data=form)
    token = re.search(r"ainj_[\w-]{51}", made.text)[0]
    assert made.status_code == 200 and token not in admin.get("/account").text and token[:13] in admin.get("/account").text
    script = app.test_client()
    assert script.get("/api/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    wrong = admin.post("/account/tokens", data=form | {"name": "", "scope": [], "until": "2020-01-01"})
    assert wrong.status_code == 400 and wrong.text.count('class="wrong"') == 3 and 'value="2020-01-01"' in wrong.text
    for other in ({"name": token}, {"scope": "root"}, {"days": "367"}, {"days": "0"}, {"until": "soon"}, {"name": "x" * 81}, {"name": "a\nb"}):
        assert admin.post("/account/tokens", data=form | other, headers=JSON).status_code == 400, other
    with app.app_context():
        id_ = tokens.listing()[0].id
        accounts.create_user("other@example.org", "operator", PASSWORD)
        other = tokens.make(accounts.account("other@example.org").id, "other@example.org", "hers", ["read"], now_ms() + DAY_MS, "x")
        hers = tokens.listing()[0].id
        db.session.remove()
    assert other[:13] not in admin.get("/account").text, "a page lists one's own"
    assert admin.post(f"/account/tokens/{hers}/revoke", data={"csrf_token": admin.csrf}, headers=JSON).status_code == 404, "one's own only"
    assert "<form" in admin.post(f"/account/tokens/{id_}/revoke", data={"csrf_token": admin.csrf, "ask": "1"}).text
    assert admin.post(f"/account/tokens/{id_}/revoke", data={"csrf_token": admin.csrf}).status_code == 303
    assert script.get("/api/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    said = admin.get("/admin/jobs/log").text
    assert "nightly import" in said and token not in said
    runner = app.test_cli_runner()
    assert "hers" in runner.invoke(args=["users", "tokens", "other@example.org"]).output
    assert runner.invoke(args=["users", "revoke-token", str(hers)]).exit_code == 0
    assert script.get("/api/jobs", headers={"Authorization": f"Bearer {other}"}).status_code == 401
    told = runner.invoke(args=["users", "token", "other@example.org", "--name", "n", "--scope", "read,act", "--days", "7"])
    assert script.get("/api/jobs", headers={"Authorization": f"Bearer {told.output.split()[-1]}"}).status_code == 200


def test_parts_with_certain_values_have_them_in_the_document_and_others_are_refused(app, admin, document):
    """Each value of an enum is taken; where a page refuses others with a sentence, the document has an enum."""
    parts = {(path, part["name"]): part for path, methods in document["paths"].items() for operation in methods.values()
             for part in operation.get("parameters", ()) if part["in"] == "query"}
    report = {name: part for (path, name), part in parts.items() if path == "/admin/jobs/reports/report"}
    assert report["format"]["schema"]["enum"] == ["pdf", "html", "csv", "txt"] and report["lang"]["schema"]["enum"] == report["language"]["schema"]["enum"] == ["it", "en"]
    assert report["period"]["schema"]["enum"] == ["day", "week", "month", "24h", "7d", "30d"] and all(report[name]["description"] for name in ("period", "from", "until", "format", "lang"))
    lacking = []

    def status(path: str, name: str, value: str) -> tuple[int, str]:
        with admin.get(path, query_string={name: value} | ({"format": "txt"} if path.endswith("/report") else {}), headers=JSON) as answer:
            return answer.status_code, answer.get_data(as_text=True)

    for (path, name), part in parts.items():
        if "{" in path or name in ("type", "job_type", "format") or name.startswith("lang"):  # types are data; a report is drawn below
            continue
        for value in part["schema"].get("enum", ()):
            assert status(path, name, value)[0] == 200 or (name, value) == ("bucket", "day"), (path, name, value)  # of 24 hours no page has days
        code, text = status(path, name, "zz")
        if code == 400 and re.search(r"Unknown|Choose|Use ", text) and "enum" not in part["schema"]:
            lacking.append((path, name, text))
    assert not lacking
    address = "/admin/jobs/reports/report?period=day&format=txt"
    english, italian = (admin.get(f"{address}&language={name}").text for name in ("en", "it"))
    assert "Key numbers" in english and "Key numbers" not in italian and english[:300] == admin.get(f"{address}&lang=en").text[:300]
    assert admin.get(f"{address}&language=de", headers=JSON).status_code == 400
