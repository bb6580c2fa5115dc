"""Makes the OpenAPI 3.1 document from the table of openapi.py: paths and methods from the URL map, rights from
rights.py, arguments of jobs from the registry, limits from rate_limits.py."""

from __future__ import annotations

from typing import Any

from flask import request
from werkzeug.routing import Rule

from app.controllers import api_wait, openapi_parts, openapi_schemas, rate_limits
from app.controllers.api_dispatch import KEY
from app.controllers.openapi import PLACE, ROUTES, SENT, Route, path_of
from app.controllers.rights import right_of

ABOUT = f"""Send jobs, read their results, and act on them.

Send a personal token as `Authorization: Bearer TOKEN`. People make tokens on their account page. A token has scopes
(read, act, dispatch) and never more rights than the role of its person. A signed-in browser may use these addresses
too; it sends its CSRF token as `X-CSRFToken` with each change.

Errors are `{{"error": sentence}}`, with `fields` when parts of the body are wrong: a sentence for each.

A token may send {rate_limits.REQUESTS.amount} requests a minute, and a person's tokens together may make
{rate_limits.DISPATCHES.amount} jobs or uploads a minute. The headers RateLimit-Limit, RateLimit-Remaining and
RateLimit-Reset (seconds) say what is left; an answer 429 has Retry-After. At most {api_wait.MOST} requests wait for
jobs at once.

Sentences are in the language of Accept-Language (en, it). Secrets in arguments, results, errors and logs are shown as
[hidden]. Times are UTC. A job runs at least once, so it may run again after a crash. The queue is the priority of a
job: high, default, low, strictly in that order."""
ERRORS = {
    400: "Something that was sent is wrong", 401: "No token or session, or one that is over",
    403: "The right is missing", 404: "There is no such thing", 405: "Not with this method",
    409: "It has changed meanwhile", 413: "Too large",
    415: "Send application/json", 429: "Too many requests", 503: "Busy: try again later", 507: "The disk is full"}
FILES = {"csv": ("text/csv",), "file": ("application/pdf", "text/html", "text/plain", "text/csv", "application/zip")}
COMMON = (400, 401, 403, 404, 405, 413, 429, 503, 507)


def ref(name: str, of: str = "schemas") -> dict[str, str]:
    """A reference to a component."""
    return {"$ref": f"#/components/{of}/{name}"}


def build() -> dict[str, Any]:
    """The document, for the server at which it is asked for."""
    from app import __version__  # here, because app imports this package

    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        for rule, method in route.rules():
            paths.setdefault(path_of(rule), {})[method.lower()] = operation(route, rule, method)
    rate = {"description": "Of the last minute", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
    return {
        "openapi": "3.1.0", "info": {"title": "Ainstein Jobs", "version": __version__, "description": ABOUT},
        "servers": [{"url": request.script_root or "/"}], "paths": paths, "security": [{"token": []}, {"session": []}],
        "components": {
            "schemas": openapi_schemas.build(), "headers": {"Rate": rate},
            "responses": {str(code): {"description": text, "content": {"application/json": {"schema": ref("Error")}}}
                          for code, text in ERRORS.items()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "ainj_..."},
                "session": {"type": "apiKey", "in": "cookie", "name": "session"}}}}


def operation(route: Route, rule: Rule, method: str) -> dict[str, Any]:
    """One method of one address."""
    sends = method in SENT
    codes = [*COMMON, *([409] if sends else []), *([415] if "NewJob" in route.form else [])]
    kinds = FILES.get(route.answer, ("application/json",))
    good = {"description": str(route.summary), "content": {kind: {"schema": ref(route.answer)} for kind in kinds}} | (
        {"headers": {f"RateLimit-{name}": ref("Rate", "headers") for name in ("Limit", "Remaining", "Reset")}})
    first = {"Sent": ("200", "201"), "Uploaded": ("201",)}.get(route.answer, ("200",))
    answers = {code: good for code in first} | {str(code): ref(str(code), "responses") for code in codes}
    if sends and route.answer == "Object":
        answers["303"] = {"description": "Go on there"}
    parts = [placed(*found) for found in PLACE.findall(rule.rule)]
    parts += [{"name": name, "in": "query", "required": False, **openapi_parts.of(route.endpoint, name)}
              for name in (route.query if not sends else ())]
    if "NewJob" in route.form:
        parts.append({"name": KEY, "in": "header", "required": False, "description":
                      "A repeated request with the same key and body answers the same job.",
                      "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}})
    return {
        "operationId": f"{route.endpoint}-{method.lower()}-{len(parts)}", "summary": str(route.summary),
        "tags": [route.endpoint.split(".")[0]], "security": [{"token": [route.scope()]}, {"session": []}],
        "x-right": right_of(route.endpoint), **({"parameters": parts} if parts else {}),
        **({"requestBody": body(route)} if sends and route.form else {}), "responses": answers}


def placed(converter: str, given: str, name: str) -> dict[str, Any]:
    """A part of the path, with the schema of its converter."""
    schema: dict[str, Any] = {"type": "string", "minLength": 1}
    if converter == "any":
        schema = {"enum": [word.strip() for word in given.split(",")]}
    elif converter == "int":
        schema = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def body(route: Route) -> dict[str, Any]:
    """What is sent: JSON below /api, else a form."""
    named = next((name for name in route.form if name in ("NewJob", "Upload")), None)
    if named == "Upload":
        return {"required": True, "content": {"multipart/form-data": {"schema": ref(named)}}}
    if named or route.endpoint.startswith("api."):
        return {"required": bool(named), "content": {"application/json": {"schema": ref(named or "Children")}}}
    fields = {name: openapi_parts.of(route.endpoint, name)["schema"] for name in route.form}
    form = {"schema": {"type": "object", "properties": fields}}
    return {"required": False, "content": {"application/x-www-form-urlencoded": form}}
