"""The texts of a bulk, each checked before anything is paid.

Source (prompts, a CSV, or contents without a body) -> read -> Texts: good ones, and rejected rows with their reasons

A template's placeholders are columns of the CSV; {title} and {body} are those of the content that the column
`reference` names, unless the CSV has such columns. A row whose content does not exist is rejected, because its text
would be paid and then have no place; so is a second row of the same content. A file that cannot be used as a whole
raises ValidationError.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import func, select

from app.extensions import db
from app.integrations.csv_files import CsvFile, is_empty, key_of, peek_csv, placed
from app.integrations.text_files import find_encoding
from app.ledger.dialect import SessionExecutor
from app.ledger.limit_keys import arguments
from app.models import Content, Generation, Job
from app.services.content.generations import PLACEHOLDER, template_of
from app.services.content.import_rows import Faults, Row, empty_cell, read_rows
from app.support.messages import Message, text_of
from app.support.validation import ValidationError, check_text

MOST, MOST_ROWS, KEPT, STEP = 10_000, 200_000, 10_000, 500
ROW_BYTES = 200_000  # of one row's values: the arguments of a job have at most 256 KB
TYPE, TEXT_TYPE = "ProcessBulkContentGeneration", "ProcessContentGeneration"
PROMPT, REFERENCE, OF_CONTENT = "prompt", "reference", ("title", "body")


@dataclass(frozen=True)
class Source:
    """Where the prompts come from: a list, a CSV at `path` (its columns renamed by `columns`), or with `missing` the
    contents without a body."""

    prompts: list[str] | None = None
    path: Path | None = None
    missing: bool = False
    encoding: str | None = None
    columns: dict[str, str] | None = None

    def peek(self, wanted: tuple[str, ...]) -> CsvFile:
        """The CSV with its header read. Raises ValidationError, also Unsure of the encoding."""
        path = self.path or Path()
        needs = tuple(name for name in wanted if name != REFERENCE)
        return peek_csv(path, needs, find_encoding(path, self.encoding), self.columns, optional=(REFERENCE,))


class Text(NamedTuple):
    """A text to write: its prompt, the content, values of further placeholders, and the characters that are sent."""

    prompt: str
    reference: str | None
    variables: dict[str, str]
    chars: int


@dataclass
class Texts:
    """What a source gives. `rejected` keeps the first 10,000 rows, `faults` counts all by reason; `more`: further
    contents are left for another bulk. `sample` has the cells of the first rows."""

    texts: list[Text] = field(default_factory=list)
    rows: int = 0
    rejected: list[Row] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)
    more: bool = False
    sample: list[list[str]] = field(default_factory=list)

    @property
    def chars(self) -> int:
        """The characters of all prompts as they are sent."""
        return sum(text.chars for text in self.texts)

    @property
    def refused(self) -> int:
        """How many rows were rejected."""
        return sum(group.count for group in self.faults.values())

    def reject(self, row: Row, fault: str) -> None:
        """Count a row as rejected."""
        row = row._replace(fault=fault)
        self.faults.add(row)
        if len(self.rejected) < KEPT:
            self.rejected.append(row)


class Form:
    """A prompt template, or none: what it needs, and how long it becomes."""

    def __init__(self, name: str | None, text: str | None) -> None:
        self.name, self.parts = name, PLACEHOLDER.split("{prompt}" if text is None else text)
        self.needs = tuple(dict.fromkeys(map(key_of, self.parts[1::2])))

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns of a CSV for it: the reference, which may be missing, comes first."""
        return REFERENCE, *(name for name in self.needs if name != REFERENCE)

    def length(self, sizes: dict[str, int]) -> int:
        """Characters of the filled template, for values of these sizes; other placeholders stay as they are."""
        named = ((sizes.get(key_of(name)), len(name) + 2) for name in self.parts[1::2])
        return sum(map(len, self.parts[::2])) + sum(own if size is None else size for size, own in named)


def form_of(tenant: str | None, template: str | None) -> Form:
    """The template of a tenant, by its name. Raises ValidationError when there is none of that name."""
    text = template_of(SessionExecutor(db.session), tenant, template) if template else None
    if template and text is None:
        raise ValidationError(Message("There is no prompt template %(name)s. Create it, or choose another.",
                                      name=repr(template[:100])))
    return Form(template, text)


def read(source: Source, tenant: str | None, template: str | None, approve: bool) -> Texts:
    """The texts of a source. Raises ValidationError when nothing of it can be used, whatever its rows are."""
    check(source.prompts, source.path is not None, source.missing, approve)
    form = form_of(tenant, template)
    if not form.needs:
        raise ValidationError(Message("The template %(name)s has no placeholder: all texts would be the same.",
                                      name=template))
    if source.path is not None:
        return from_csv(source, form, tenant, approve)
    known = (PROMPT, REFERENCE, *OF_CONTENT) if source.missing else (PROMPT,)
    if unknown := [name for name in form.needs if name not in known]:
        raise ValidationError(Message("The template %(name)s has %(names)s, which only a CSV with such columns fills.",
                                      name=template, names=", ".join(f"{{{name}}}" for name in unknown)))
    return without_body(form, tenant) if source.missing else from_list(source.prompts or [], form)


def check(prompts: list[str] | None, has_file: bool, missing: bool, approve: bool) -> None:
    """Raises ValidationError for a source that can be refused before a template or a file is read."""
    if (prompts is not None) + has_file + missing != 1:
        raise ValidationError(Message("Give one of three: prompts, a CSV as path, or missing."))
    if prompts is None:
        return
    if approve:
        raise ValidationError(Message("Only texts of contents wait for approval: name the contents in a CSV."))
    if not prompts:
        raise ValidationError(Message("There is no text to write: give at least one prompt."))
    if len(prompts) > MOST:
        raise too_many()
    if empty := [n for n, prompt in enumerate(prompts, 1) if is_empty(prompt)]:
        raise ValidationError(Message("Prompt %(n)s is empty.", n=empty[0]))


def from_list(prompts: list[str], form: Form) -> Texts:
    """A text for each prompt."""
    return Texts([Text(prompt, None, {}, form.length({PROMPT: len(prompt)})) for prompt in prompts], len(prompts))


def without_body(form: Form, tenant: str | None) -> Texts:
    """A text for each content of the tenant that has no body, the oldest first; its title is the prompt. Contents whose
    text is under way or waits for approval are left out."""
    check_tenant(tenant)
    g = Generation
    under_way = select(g.id).where(g.tenant_id == Content.tenant_id, g.reference == Content.reference)
    under_way = under_way.where((g.draft == "waiting") | select(Job.id).where(Job.uuid == g.uuid).exists())
    query = select(Content.reference, Content.title).where(
        Content.tenant_id == (tenant or ""), func.trim(Content.body) == "", func.trim(Content.title) != "",
        ~under_way.exists())
    queued = _queued(tenant)
    rows = [row for row in db.session.execute(query.order_by(Content.id).limit(MOST + 1 + len(queued)))
            if row.reference not in queued]
    found = Texts(rows=min(len(rows), MOST), more=len(rows) > MOST)
    for reference, title in rows[:MOST]:
        sizes = {PROMPT: len(title), "title": len(title), REFERENCE: len(reference), "body": 0}
        found.texts.append(Text(title, reference, {}, form.length(sizes)))
    return found


def check_tenant(tenant: str | None) -> None:
    """Raises ValidationError without a tenant, unless there are contents without one."""
    if not tenant and db.session.scalar(select(Content.id).where(Content.tenant_id == "").limit(1)) is None:
        raise ValidationError(Message("Name the tenant whose contents get a body."))


def _queued(tenant: str | None) -> set[str]:
    """The contents of the live texts that were dispatched one by one: they have no generation before they ask."""
    query = select(Job.payload).where(
        Job.job_type == TEXT_TYPE, func.coalesce(Job.tenant_id, "") == (tenant or ""),
        ~select(Generation.id).where(Generation.uuid == Job.uuid).exists())
    found = (arguments(payload).get(REFERENCE) for payload in db.session.scalars(query))
    return {reference for reference in found if isinstance(reference, str)}


def from_csv(source: Source, form: Form, tenant: str | None, approve: bool) -> Texts:
    """A text for each good row of a CSV. Raises ValidationError when the file cannot be read, lacks a column, or has
    more than 10,000 good rows."""
    peek = source.peek(form.wanted)
    named = REFERENCE in map(key_of, placed(peek, (), source.columns).columns)
    if approve and not named:
        raise ValidationError(Message("Only texts of contents wait for approval: the file needs a column reference."))
    needs = tuple(n for n in form.needs if n != REFERENCE and not (named and n in OF_CONTENT))
    file = placed(peek, (REFERENCE, *needs) if named else form.needs, source.columns)
    own = {key_of(name): at for at, name in enumerate(file.columns)}
    places = {name: own[name] for name in form.needs if name in own}
    # A text without a content has no {title} of it, and nothing to approve.
    of_content = [n for n in OF_CONTENT if n in form.needs and n not in own]
    whole = named and bool(approve or REFERENCE in form.needs or of_content)
    filled = tuple(name for name in (REFERENCE, PROMPT) if name in file.places and (whole or name != REFERENCE))
    found, lines = Texts(), {}
    rows = read_rows(file, filled or (() if named else needs[:1]))
    while chunk := list(islice(rows, STEP)):
        good = [row for row in chunk if row.fault is None]
        contents = _contents(tenant, [row.reference for row in good if row.reference]) if named else {}
        for row in chunk:
            found.rows = row.number
            if not row.record.fault and len(found.sample) < 5:
                found.sample.append(row.record.cells)
            fault = row.fault or (_fault(row, contents, lines) if row.reference else None)
            values = {name: row.record.cells[at] for name, at in places.items()} if fault is None else {}
            if fault is None and not row.reference and all(map(is_empty, values.values())):
                fault = empty_cell(needs[0] if needs else REFERENCE)
            if fault := fault or _unusable(values):
                found.reject(row, fault)
                continue
            lines[row.reference] = row.record.line
            title, size = contents.get(row.reference, ("", 0))
            sizes = {"title": len(title), "body": size} | {name: len(value) for name, value in values.items()}
            prompt = values.pop(PROMPT, title)
            values.pop(REFERENCE, None)
            found.texts.append(Text(prompt, row.reference or None, values, form.length(sizes)))
        if len(found.texts) > MOST or found.rows > MOST_ROWS:
            raise too_many()
    return found


def _contents(tenant: str | None, references: list[str]) -> dict[str, tuple[str, int]]:
    """Title, and length of the body, of those of the references that are contents of the tenant."""
    query = select(Content.reference, Content.title, func.length(Content.body)).where(
        Content.tenant_id == (tenant or ""), Content.reference.in_(references))
    return {reference: (title, size) for reference, title, size in db.session.execute(query)}


def _fault(row: Row, contents: dict[str, tuple[str, int]], lines: dict[str, int]) -> str | None:
    name = repr(row.reference[:80])
    if row.reference not in contents:
        return Message("The tenant has no content %(name)s: import it first.", name=name)
    if row.reference in lines:
        return Message("The content %(name)s stands already in line %(n)s.", name=name, n=lines[row.reference])
    return None


def _unusable(values: dict[str, str]) -> str | None:
    """Why the values of a row cannot be arguments of a job, or None."""
    if len(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")) > ROW_BYTES:
        return Message("The row has more than %(n)s KB of text for one prompt.", n=ROW_BYTES // 1000)
    try:
        for value in values.values():
            check_text(value)
    except ValidationError as error:
        return text_of(error)
    return None


def too_many() -> ValidationError:
    """The refusal of a source that is too large."""
    return ValidationError(Message("A bulk has at most %(n)s texts: split it.", n=MOST))
