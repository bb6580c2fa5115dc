"""What a chunk of a CSV changes in `contents`, and its writing.

values of rows by reference -> plan: new contents, changed ones, replaced bodies -> write, in the caller's transaction

* A column that the file lacks keeps its value in a content that is there already. An empty cell of a column that the
  file has empties it.
* A body that the file replaces stays as a version by this job. A further round of the job keeps what it replaces then,
  in place of what an earlier round replaced: a version is one by content and job.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from app.extensions import db
from app.integrations.csv_files import CsvFile
from app.models import Content, ContentVersion
from app.services.content.import_rows import Row
from app.support.validation import stored_object

CONTENTS, VERSIONS = Content.__table__, ContentVersion.__table__
CHANGED = ("title", "body", "attributes", "updated_ms")


@dataclass
class Plan:
    """What a chunk writes: the rows of new contents, values and id ("at") of changed ones, and replaced bodies."""

    new: list[dict[str, Any]]
    changed: list[dict[str, Any]] = field(default_factory=list)
    replaced: list[dict[str, Any]] = field(default_factory=list)

    def write(self, again: bool) -> None:
        """Write it with one statement for each kind. `again`: an earlier round of the job may have kept versions."""
        session = db.session
        if self.new:
            session.execute(insert(CONTENTS), self.new)
        if self.changed:
            columns = {name: bindparam(f"new_{name}") for name in CHANGED}
            session.execute(update(CONTENTS).where(CONTENTS.c.id == bindparam("at")).values(columns), self.changed)
        if self.replaced:
            if again:
                ids = [version["content_id"] for version in self.replaced]
                session.execute(delete(VERSIONS).where(VERSIONS.c.content_id.in_(ids),
                                                       VERSIONS.c.replaced_by == self.replaced[0]["replaced_by"]))
            session.execute(insert(VERSIONS), self.replaced)


def article(row: Row, source: CsvFile) -> dict[str, str]:
    """The values of a row by column of `contents`. An empty cell of a column without a name is left out."""
    cells, places = row.record.cells, source.places
    attributes = {name: cells[at] for at, name in enumerate(source.columns)
                  if at not in places.values() and (cells[at] or name != f"column {at + 1}")}
    return {name: cells[at] for name, at in places.items()} | {
        "reference": row.reference, "attributes": json.dumps(attributes, ensure_ascii=False, sort_keys=True)}


def plan(uuid: str, tenant: str, articles: dict[str, dict[str, str]], now: int) -> Plan:
    """What `articles` (values by reference) change for the import `uuid`; `now` in ms. Locks their rows, so that the
    bodies kept are those that are replaced."""
    new, found, c = dict(articles), Plan([]), CONTENTS.c
    query = select(c.id, c.reference, c.title, c.body, c.attributes).where(
        c.tenant_id == tenant, c.reference.in_(list(articles))).with_for_update()
    for at, reference, title, body, attributes in db.session.execute(query) if articles else ():
        given = {"body": body} | new.pop(reference)  # a file without bodies leaves them as they are
        values = given["title"], given["body"], merged(attributes, given["attributes"]), now
        if (title, body, attributes) != values[:3]:
            found.changed.append({"at": at} | {f"new_{name}": v for name, v in zip(CHANGED, values, strict=True)})
        if body and body != given["body"]:
            found.replaced.append({"content_id": at, "body": body, "replaced_ms": now, "replaced_by": uuid})
    common = {"tenant_id": tenant, "created_ms": now, "updated_ms": now}
    found.new = [{"body": "", **given, **common} for given in new.values()]
    return found


def merged(old: str, new: str) -> str:
    """The attributes of a content, as they are stored: those of the file, and the others as they were. `old` itself
    when nothing differs."""
    if old == new:
        return old
    was = stored_object(old)
    found = was | json.loads(new)
    return old if found == was else json.dumps(found, ensure_ascii=False, sort_keys=True)
