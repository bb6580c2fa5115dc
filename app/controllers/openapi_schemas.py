"""The schemas of the OpenAPI document: bodies and answers by name. Those of dataclasses and of job types are read from
the code; keys of objects that are written here stand also in tests/controllers/json_shapes.json."""

from __future__ import annotations

from typing import Any

from app import registry
from app.config import QUEUES
from app.controllers.json_schema import Schema, closed, of_arguments, of_class, of_hint
from app.models import LIVE_STATES
from app.models.job_metric import FINAL
from app.registry import JobDefinition
from app.services.jobs.tree import CHOICES
from app.services.jobs.views import JobSummary, LogLine
from app.support.validation import MAX_DELAY_S, TENANT

TEXT, FLAG, ANY = {"type": "string"}, {"type": "boolean"}, {}
MAYBE, NUMBER, MAYBE_NUMBER = of_hint(str | None), of_hint(int), of_hint(int | None)
UUID = {"type": "string", "format": "uuid"}
TIME = {"type": "string", "format": "date-time"}
OPEN: Schema = {"type": "object"}
RANGE = {"anyOf": [{"type": "object"}, {"type": "null"}]}
STATE = {"type": "string", "enum": [*LIVE_STATES, *FINAL]}
TENANT_ID = {"anyOf": [{"type": "string", "pattern": f"^{TENANT.pattern}$"}, {"type": "null"}]}
PLANNED = {"why": MAYBE, "begins": RANGE, "ends": RANGE, "place": MAYBE_NUMBER, "basis": MAYBE}
ATTEMPT = closed({
    "attempt": NUMBER, "status": TEXT, "worker": MAYBE, "started_at": MAYBE, "processing_time": MAYBE_NUMBER,
    "memory_used": MAYBE_NUMBER, "error_message": MAYBE, "code_version": MAYBE})
JOB = {
    "uuid": TEXT, "type": TEXT, "queue": TEXT, "state": TEXT, "tenant_id": MAYBE,
    "args": {"type": ["object", "null"]}, "result": ANY, "error": MAYBE, "in_bin": FLAG,
    "attempts": {"type": "array", "items": ATTEMPT}, "parents": {"type": "array", "items": TEXT},
    "children": {"type": "array", "items": TEXT}} | PLANNED
HIDDEN = {"hidden": FLAG | {"description": "The reader sees no data of jobs: they are left out."}}


def listed(schema: Schema) -> Schema:
    """An array of these."""
    return {"type": "array", "items": schema}


def new_job(definition: JobDefinition) -> Schema:
    """The body that sends a job of one type."""
    return closed({
        "type": {"const": definition.name}, "args": of_arguments(definition),
        "queue": {"enum": [*QUEUES, None], "default": definition.options.queue}, "tenant_id": TENANT_ID,
        "delay": {"type": "number", "minimum": 0, "maximum": MAX_DELAY_S, "description": "Seconds to wait first."},
        "at": TIME | {"description": "In place of delay: not before this time."},
        "after": listed(UUID) | {"maxItems": 1000, "description": "Jobs that must complete first."},
        "batch": UUID | {"description": "An open batch that the job joins."},
        "idempotency_key": {"type": "string", "minLength": 1, "maxLength": 255,
                            "description": "As the header Idempotency-Key."},
    }, ["type", *(["args"] if any(field.required for field in definition.fields) else [])])


def build() -> dict[str, Schema]:
    """All schemas by name."""
    types = [definition for definition in registry.known_types() if definition.options.web]
    summary = of_class(JobSummary)
    page = {"jobs": listed(summary), "older": MAYBE, "newer": MAYBE}
    found: dict[str, Any] = {
        "Object": OPEN, "List": {"type": "array"}, "csv": TEXT, "file": TEXT,
        "Job": closed(JOB | HIDDEN, JOB), "Jobs": closed(page),
        "Page": closed(page | {"total": NUMBER, "exact": FLAG}),
        "Waited": closed({"ended": FLAG} | JOB | HIDDEN, ["ended", *JOB]),
        "Log": closed({"lines": listed(of_class(LogLine))}),
        "Done": {"type": "object", "properties": {"ok": FLAG, "count": NUMBER}},
        "Sent": closed({"uuid": UUID, "url": TEXT, "repeated": FLAG, "state": TEXT, "error": MAYBE, "why": MAYBE,
                        "begins": RANGE}),
        "Uploaded": closed({"upload_id": TEXT, "filename": TEXT, "size": NUMBER}),
        "Upload": closed({"file": {"type": "string", "contentMediaType": "application/octet-stream"},
                          "tenant_id": {"type": "string"}}, ["file"]),
        "Types": closed({"types": listed(closed({
            "name": TEXT, "label": TEXT, "description": MAYBE, "queue": TEXT, "tries": NUMBER, "timeout": NUMBER,
            "args": OPEN}))}),
        "Batch": {"type": "object", "properties": {
            "id": TEXT, "name": TEXT, "state": TEXT, "total_jobs": NUMBER, "pending_jobs": NUMBER,
            "failed_jobs": NUMBER, "members": OPEN}, "required": ["id", "state", "members"]},
        "Error": closed({"error": TEXT, "fields": {"type": "object", "additionalProperties": TEXT}}, ["error"]),
        "Children": closed({"children": {"enum": list(CHOICES)}}, []),
        "NewJob": {"oneOf": [{"$ref": f"#/components/schemas/NewJob.{d.name}"} for d in types],
                   "discriminator": {"propertyName": "type", "mapping": {
                       d.name: f"#/components/schemas/NewJob.{d.name}" for d in types}}}}
    return found | {f"NewJob.{definition.name}": new_job(definition) for definition in types}
