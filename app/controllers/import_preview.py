"""The preview of a CSV import: encoding, separator, first rows, columns, and the rows that would be refused.

POST new (keeps the file as an upload of the tenant) -> GET new/preview/<upload> -> POST: other choices, or start

The address has the choices, so a person can reload the page and send it to a colleague. A file whose import is never
started is deleted after an hour, like every upload without a job. Scripts (JSON) start the import without a preview.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from sqlalchemy.orm.exc import StaleDataError

from app import registry
from app.controllers.access import wants_json
from app.controllers.responses import actor, render_error
from app.extensions import db, only_read
from app.integrations.csv_files import CsvFile, clean, key_of, peek_csv
from app.integrations.text_files import NAMES, Unsure, find_encoding, shown
from app.registry import JobDefinition
from app.services.content import sync_start
from app.services.content.content_list import SERVICES
from app.services.content.import_rows import KINDS, REQUIRED, Group, first_rows, located, preview as look, suggested
from app.services.jobs import actions, tree, uploads
from app.support.messages import tell, translate_stored
from app.support.validation import ValidationError, check_text, parse_delay, parse_json, parse_queue

TYPE = "ProcessCsvImport"
ASKED_LATER = {TYPE: ("columns", "kind", "sync")}  # fields that only the preview shows, beside the columns of the file
LONGEST_ADDRESS, MOST_AFTER = 2000, 20  # characters; jobs that an import can wait for, as they stand in the address
SHOWN_COLUMNS = 12


def wanted(definition: JobDefinition, args: dict[str, Any]) -> bool:
    """Whether a form that was sent leads to a preview before the job starts."""
    return definition.name == TYPE and not wants_json() and args.get("path") is not None


def keep(args: dict[str, Any], common: dict[str, Any]):
    """Keep the uploaded file and redirect to its preview. Raises ValidationError as `address` does."""
    path = args["path"]
    upload_id = path.upload_id if isinstance(path, registry.UploadedFile) else path
    url = address(upload_id, args.get("encoding"), args.get("columns"),
                  {"kind": args.get("kind"), "sync": args.get("sync")} | common)
    uploads.keep()
    return redirect(url, 303)


def add_to(bp: Blueprint) -> None:
    """Add the route of the preview to the blueprint of new jobs."""
    bp.add_url_rule("/preview/<upload_id>", "preview", preview, methods=["GET", "POST"])


def preview(upload_id: str):
    """The preview of an upload; a POST starts the import (`step=start`) or redirects to other choices.

    404 when the upload is gone, 400 with the page when the import cannot start.
    """
    found = uploads.find(upload_id)
    if found is None:
        return render_error(404, gone())
    file, tenant, size = found[0], found[1].tenant_id, found[1].size
    posted, given = request.method == "POST", request.form if request.method == "POST" else request.args
    choices = {"queue": parse_queue(given.get("queue")), "delay": parse_delay(given.get("delay")),
               "after": tree.parse_lines(check_text(given.get("after", "")).split(",")),
               "kind": given.get("kind") or KINDS[0], "sync": list(dict.fromkeys(given.getlist("sync")))}
    if choices["kind"] not in KINDS or not set(choices["sync"]) <= SERVICES.keys():
        raise ValidationError(_("The form was changed: load the page again."))
    encoding = given.get("encoding") or None
    if encoding is not None and encoding not in NAMES:
        raise ValidationError(_("Unknown encoding %(name)s. Choose one of the list.", name=repr(encoding[:40])))
    columns = read_columns(given.get("columns", ""))
    db.session.rollback()  # no transaction stays open while a large file is read, which takes seconds
    page: dict[str, Any] = {"error": None, "unsure": (), "peek": None, "look": None, "mapping": columns}
    try:
        page["peek"] = peek = peek_csv(file.path, REQUIRED, find_encoding(file.path, encoding), columns)
        page["mapping"] = mapped(peek.columns, columns, given)
        if posted and given.get("step") == "start":
            located(peek, page["mapping"], choices["kind"])
            for service in choices["sync"]:
                sync_start.Wish(service).check([tenant or ""])
            return start(upload_id, tenant, encoding, page["mapping"], choices)
        if not posted:
            page["look"] = look(peek, page["mapping"], choices["kind"])
    except Unsure as error:
        page |= {"error": tell(error).partition("\n")[0], "unsure": error.readings}
    except (ValidationError, registry.InvalidArguments) as error:
        only_read()
        page["error"] = tell(error)
    if posted and given.get("step") != "start" and (page["error"] is None or page["peek"] is None):
        return redirect(address(upload_id, encoding, page["mapping"], choices), 303)
    about = {"name": file.filename, "size": size, "tenant": tenant}
    body = render_template("admin/import_preview.html", **shape(page), file=about, encoding=encoding, choices=choices,
                           connected=sync_start.connected(tenant or ""), services=SERVICES)
    return body, 400 if posted else 200


def gone() -> str:
    """The sentence for an upload that does not exist any more."""
    return _("This file is no longer here: it waits an hour for its import to be started. Choose it again.")


def address(upload_id: str, encoding: str | None, columns: dict[str, str] | None, choices: dict[str, Any]) -> str:
    """The address of the preview with these choices (`queue`, `delay` in s, `after`, `kind`, `sync`). Raises
    ValidationError when it is too long."""
    url = url_for("admin.jobs.new.preview", upload_id=upload_id, encoding=encoding, queue=choices["queue"],
                  delay=choices["delay"] or None, after=",".join(choices["after"]) or None,
                  columns=json.dumps(columns, ensure_ascii=False) if columns else None,
                  kind=choices["kind"] if choices["kind"] != KINDS[0] else None, sync=choices["sync"] or None)
    if len(url) > LONGEST_ADDRESS:
        if len(choices["after"]) > MOST_AFTER:
            raise ValidationError(_("An import with a preview waits for at most %(n)s jobs.", n=MOST_AFTER))
        raise ValidationError(_("The mapping of the columns is too long for the preview. Map fewer columns by hand."))
    return url


def read_columns(text: str) -> dict[str, str]:
    """The mapping in a form or an address, a JSON object of texts. Raises ValidationError."""
    value = parse_json(check_text(text)) if text.strip() else {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise ValidationError(_("The form was changed: load the page again."))
    return value


def mapped(names: tuple[str, ...], columns: dict[str, str], given: Any,
           wanted: tuple[str, ...] = REQUIRED, usual: tuple[str, ...] = REQUIRED) -> dict[str, str]:
    """Field by column: `columns` with the choices of the fields `map-title` and so on, which hold places of columns.

    Without such a field and without `columns`, a mapping by the usual names of `usual`. Raises ValidationError for a
    column chosen twice.
    """
    if not any(f"map-{name}" in given for name in wanted):
        return columns or suggested(names, usual)
    kept = {source: target for source, target in columns.items() if key_of(target) not in wanted}
    for target in wanted:
        place = given.get(f"map-{target}", "")
        if place.isascii() and place.isdigit() and int(place[:6]) < len(names):
            source = names[int(place[:6])]
            if kept.get(source) in wanted:
                raise ValidationError(_("The column %(name)s cannot be read as two things. Choose the columns again.",
                                        name=repr(source[:40])))
            kept[source] = target
    return {source: target for source, target in kept.items() if key_of(source) != key_of(target)}


def start(upload_id: str, tenant: str | None, encoding: str | None, columns: dict[str, str], choices: dict[str, Any]):
    """Dispatch the import and redirect to its job. Raises ValidationError, also when the upload is gone."""
    chosen = {"path": upload_id, "encoding": encoding, "columns": columns, "sync": choices["sync"],
              "kind": choices["kind"] if choices["kind"] != KINDS[0] else None}
    args = {name: value for name, value in chosen.items() if value}
    options = {name: choices[name] for name in ("queue", "delay", "after")}
    try:
        uuid = actions.start(registry.find(TYPE), args, actor(), tenant_id=tenant, **options)
    except StaleDataError:  # the upload was deleted in this moment
        raise ValidationError(gone()) from None
    flash(_("Job created"), "success")
    return redirect(url_for("admin.jobs.job", uuid=uuid), 303)


def shape(page: dict[str, Any]) -> dict[str, Any]:
    """The values of the template."""
    peek, found = page["peek"], page["look"]
    first = found.first if found else first_rows(peek) if peek else []
    shown = shape_of(peek, page["mapping"], first, found.groups if found else (), page["unsure"])
    return shown | {"error": page["error"], "look": found}


def shape_of(peek: CsvFile | None, mapping: dict[str, str], first: list[list[str]], groups: Iterable[Group],
             unsure: Any, wanted: tuple[str, ...] = REQUIRED) -> dict[str, Any]:
    """The values of the parts that show a CSV: columns with their use, cells of at most 80 characters, translated
    reasons."""
    targets = {key_of(source): key_of(target) for source, target in mapping.items()}
    columns = []
    for place, name in enumerate(peek.columns if peek else ()):
        own = key_of(name)
        target = targets.get(own) or (own if own not in targets.values() else None)
        columns.append({"place": place, "name": name, "target": target if target in wanted else None,
                        "as": clean(mapping.get(name, name))})
    return {
        "peek": peek, "required": wanted,
        "columns": columns, "shown_columns": columns[:SHOWN_COLUMNS],
        "unsure": [{"name": n, "shown": shown(n), "lines": lines} for n, lines in unsure],
        "encodings": [(name, shown(name)) for name in NAMES],
        "mapping": json.dumps(mapping, ensure_ascii=False) if mapping else "",
        "rows": [[cell if len(cell) <= 80 else cell[:79] + "…" for cell in cells[:SHOWN_COLUMNS]] for cells in first],
        "groups": [replace(group, reason=translate_stored(group.reason)) for group in groups],
    }
