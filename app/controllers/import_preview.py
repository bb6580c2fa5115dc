"""The preview of a CSV import, before it starts: encoding, separator, first rows, columns, what would be refused.

POST new (the file is kept as an upload of the tenant) -> GET new/preview/<upload> -> POST: again (other choices), or
start

The choices stand in the address, so the page can be loaded again and sent to a colleague. A file whose import is never
started is swept after an hour, like any upload without a job. Scripts (JSON) start at once.
"""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from sqlalchemy.orm.exc import StaleDataError

from app import registry
from app.controllers.access import wants_json
from app.controllers.responses import actor, render_error
from app.extensions import db, only_read
from app.integrations.csv_files import clean, key_of, peek_csv, placed
from app.integrations.text_files import NAMES, Unsure, find_encoding, shown
from app.registry import JobDefinition
from app.services.content.import_rows import REQUIRED, first_rows, suggested
from app.services.content.import_rows import preview as look
from app.services.jobs import actions, uploads
from app.support.messages import tell, translate_stored
from app.support.validation import ValidationError, check_text, parse_delay, parse_json, parse_queue

TYPE = "ProcessCsvImport"
ASKED_LATER = {TYPE: ("columns",)}  # fields that the preview asks for, with the columns of the file at hand
LONGEST_ADDRESS = 2000
SHOWN_COLUMNS = 12


def wanted(definition: JobDefinition, args: dict[str, Any]) -> bool:
    """Whether a form that was sent leads to a preview first."""
    return definition.name == TYPE and not wants_json() and args.get("path") is not None


def keep(args: dict[str, Any], common: dict[str, Any]):
    """Keep the file and go on to its preview."""
    path = args["path"]
    upload_id = path.upload_id if isinstance(path, registry.UploadedFile) else path
    url = address(
        upload_id, args.get("encoding"), args.get("columns"), {"queue": common["queue"], "delay": common["delay"]}
    )
    uploads.keep()
    return redirect(url, 303)


def add_to(bp: Blueprint) -> None:
    bp.add_url_rule("/preview/<upload_id>", "preview", preview, methods=["GET", "POST"])


def preview(upload_id: str):
    found = uploads.find(upload_id)
    if found is None:
        return render_error(404, gone())
    file, tenant, size = found[0], found[1].tenant_id, found[1].size
    posted, given = request.method == "POST", request.form if request.method == "POST" else request.args
    choices = {"queue": parse_queue(given.get("queue")), "delay": parse_delay(given.get("delay"))}
    encoding = given.get("encoding") or None
    if encoding is not None and encoding not in NAMES:
        raise ValidationError(_("Unknown encoding %(name)s. Choose one of the list.", name=repr(encoding[:40])))
    columns = read_columns(given.get("columns", ""))
    db.session.rollback()  # reading a large file takes seconds: no transaction stays open meanwhile
    page: dict[str, Any] = {"error": None, "unsure": (), "peek": None, "look": None, "mapping": columns}
    try:
        page["peek"] = peek = peek_csv(file.path, REQUIRED, find_encoding(file.path, encoding), columns)
        page["mapping"] = mapped(peek.columns, columns, given)
        if posted and given.get("step") == "start":
            placed(peek, REQUIRED, page["mapping"])
            return start(upload_id, tenant, encoding, page["mapping"], choices)
        if not posted:
            page["look"] = look(peek, page["mapping"])
    except Unsure as error:
        page |= {"error": tell(error).partition("\n")[0], "unsure": error.readings}
    except (ValidationError, registry.InvalidArguments) as error:
        only_read()
        page["error"] = tell(error)
    if posted and given.get("step") != "start" and (page["error"] is None or page["peek"] is None):
        return redirect(address(upload_id, encoding, page["mapping"], choices), 303)
    shown_file = {"name": file.filename, "size": size, "tenant": tenant}
    return render_template(
        "admin/import_preview.html", **shape(page), file=shown_file, encoding=encoding, choices=choices
    ), 400 if posted else 200


def gone() -> str:
    return _("This file is no longer here: it waits an hour for its import to be started. Choose it again.")


def address(upload_id: str, encoding: str | None, columns: dict[str, str] | None, choices: dict[str, Any]) -> str:
    """Of the preview with these choices. Raises ValidationError when they do not fit into an address."""
    url = url_for(
        "admin.jobs.new.preview",
        upload_id=upload_id,
        encoding=encoding,
        queue=choices["queue"],
        delay=choices["delay"] or None,
        columns=json.dumps(columns, ensure_ascii=False) if columns else None,
    )
    if len(url) > LONGEST_ADDRESS:
        raise ValidationError(_("The mapping of the columns is too long for the preview. Map fewer columns by hand."))
    return url


def read_columns(text: str) -> dict[str, str]:
    """The mapping in a form or an address: a JSON object of texts."""
    value = parse_json(check_text(text)) if text.strip() else {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise ValidationError(_("The form was changed: load the page again."))
    return value


def mapped(names: tuple[str, ...], columns: dict[str, str], given: Any) -> dict[str, str]:
    """The mapping as chosen in the fields `map-title` and so on (places of columns); without them, by other usual
    names."""
    if not any(f"map-{name}" in given for name in REQUIRED):
        return columns or suggested(names)
    kept = {source: target for source, target in columns.items() if key_of(target) not in REQUIRED}
    for target in REQUIRED:
        place = given.get(f"map-{target}", "")
        if place.isascii() and place.isdigit() and int(place[:6]) < len(names):
            source = names[int(place[:6])]
            if kept.get(source) in REQUIRED:
                raise ValidationError(
                    _(
                        "The column %(name)s cannot be read as two things. Choose the columns again.",
                        name=repr(source[:40]),
                    )
                )
            kept[source] = target
    return {source: target for source, target in kept.items() if key_of(source) != key_of(target)}


def start(upload_id: str, tenant: str | None, encoding: str | None, columns: dict[str, str], choices: dict[str, Any]):
    args: dict[str, Any] = {"path": upload_id}
    args |= {"encoding": encoding} if encoding else {}
    args |= {"columns": columns} if columns else {}
    try:
        uuid = actions.start(registry.find(TYPE), args, actor(), tenant_id=tenant, **choices)
    except StaleDataError:  # swept in this very moment
        raise ValidationError(gone()) from None
    flash(_("Job created"), "success")
    return redirect(url_for("admin.jobs.job", uuid=uuid), 303)


def shape(page: dict[str, Any]) -> dict[str, Any]:
    """What the template shows: columns with their use, cells cut, sentences in the reader's language."""
    peek, found, mapping = page["peek"], page["look"], page["mapping"]
    targets = {key_of(source): key_of(target) for source, target in mapping.items()}
    first = found.first if found else first_rows(peek) if peek else []
    columns = []
    for at, name in enumerate(peek.columns if peek else ()):
        target = targets.get(key_of(name)) or (
            key_of(name) if key_of(name) in REQUIRED and key_of(name) not in targets.values() else None
        )
        columns.append(
            {
                "place": at,
                "name": name,
                "target": target if target in REQUIRED else None,
                "as": clean(mapping.get(name, name)),
            }
        )
    return {
        "error": page["error"],
        "unsure": [{"name": n, "shown": shown(n), "lines": lines} for n, lines in page["unsure"]],
        "peek": peek,
        "columns": columns,
        "shown_columns": columns[:SHOWN_COLUMNS],
        "required": REQUIRED,
        "look": found,
        "encodings": [(name, shown(name)) for name in NAMES],
        "mapping": json.dumps(mapping, ensure_ascii=False) if mapping else "",
        "rows": [[cell if len(cell) <= 80 else cell[:79] + "…" for cell in cells[:SHOWN_COLUMNS]] for cells in first],
        "groups": [
            {"reason": translate_stored(g.reason), "count": g.count, "lines": g.lines, "example": g.example} for g in found.groups
        ]
        if found
        else [],
    }
