"""Everything that a person can read has an Italian text: the catalogue, and each page of a site with rows of all kinds."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser

import pytest
from babel.messages.pofile import read_po

from app.config import ROOT
from tests.both.test_pages import HTML, addresses

CATALOGUE = ROOT / "app/translations/it/LC_MESSAGES/messages.po"
PLACE = re.compile(r"%\(\w+\)[sd]|\{\w+\}")
# Words that are the same in both languages, and the specification's own ("Retry All", "Success rate").
REFUSALS = {"ValidationError", "FilterError", "ActionRefused", "PermanentError", "TemporaryError", "InvalidArguments"}
SAME = {"API", "Token", "Cron", "Database", "database", "WAL", "Batch", "batch", "worker", "Budget", "budget", "CSV", "Consumer", "EAN-13", "Email", "ID", "JSON", "Log", "Menu", "Password", "Prompt", "Queue", "Retry All", "Retry All Failed", "Success rate", "Tenant", "tenant", "Traceback",
        "Worker", "Zoom", "in", "no", "slug"}
ARGUMENTS = {"text", "Text", "Path", "Encoding", "code"}  # names of arguments, as the code of a type has them; an actor
TOLD = ("aria-label", "title", "placeholder", "alt")


def entries() -> list:
    with CATALOGUE.open("rb") as file:
        return [entry for entry in read_po(file, locale="it") if entry.id]


def texts(entry) -> list[tuple[str, str]]:
    """(English, Italian) of an entry, both forms of a plural."""
    if isinstance(entry.id, str):
        return [(entry.id, entry.string)]
    return list(zip(entry.id, entry.string, strict=True))


def test_every_sentence_has_an_italian_text_of_its_own():
    missing = [english for entry in entries() for english, italian in texts(entry) if not italian or entry.fuzzy]
    assert not missing, "scripts/i18n.sh adds them; translate them"
    left = {english for entry in entries() for english, italian in texts(entry)
            if english == italian and english not in SAME and re.search(r"[A-Za-z]{3}", PLACE.sub("", english))}
    assert left <= {"%(n)s worker", "Tenant: %(name)s", "Batch: %(name)s", "%(n)s in %(minutes)s min", "batch %(name)s (%(id)s)", "tenant %(name)s"}, left
    for entry in entries():
        for english, italian in texts(entry):
            assert set(PLACE.findall(italian)) <= set(PLACE.findall(english)) | {"%(n)s", "%(num)s"}, english


class Reader(HTMLParser):
    """The texts of a page that a person reads or hears: text and labels, without code, typed text and rows' data."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        given = dict(attrs)
        if tag in ("script", "style", "pre", "code", "textarea") or self.silent and tag == self.silent[0] or "mono" in (given.get("class") or "").split() and tag not in ("input", "img"):
            self.silent.append(tag)
        self.found += [value for name, value in attrs if value and (name in TOLD or name.startswith("data-confirm"))]

    def handle_endtag(self, tag) -> None:
        if self.silent and tag == self.silent[-1]:
            self.silent.pop()

    def handle_data(self, data) -> None:
        if not self.silent:
            self.found.append(data)


def english_texts() -> tuple[set[str], list[re.Pattern[str]]]:
    """The English texts that have another Italian text: whole ones, and those with places for values as patterns."""
    differing = [english for entry in entries() for english, italian in texts(entry) if italian and english != italian]
    italian = {text for entry in entries() for _english, text in texts(entry)}
    whole = {text for text in differing if not PLACE.search(text)} - SAME - italian
    placed = [text for text in differing if PLACE.search(text) and len(re.findall(r"[A-Za-z]{2,}", PLACE.sub(" ", text))) >= 2]
    return whole, [re.compile(r"(?s)" + "(.+?)".join(re.escape(part.replace("%%", "%")) for part in PLACE.split(text))) for text in placed]


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
def test_no_page_shows_an_english_sentence_to_an_italian_reader(site):
    whole, placed = english_texts()
    site.client.set_cookie("lang", "it")
    wrong: dict[str, str] = {}
    known: set[str] = set()
    for address in addresses(site):
        answer = site.client.get(address, headers=HTML)
        if not answer.content_type.startswith("text/html"):
            answer.close()
            continue
        reader = Reader()
        reader.feed(answer.text)
        for text in {" ".join(text.split()) for text in reader.found} - known - ARGUMENTS:
            known.add(text)
            sentences = [text, *re.split(r"(?<=[.;:]) ", text)]
            if any(s in whole or s.rstrip(".:") in whole for s in sentences) or any(form.fullmatch(s) for s in sentences for form in placed):
                wrong.setdefault(text, address)
    assert len(known) > 1000 and not wrong, "\n".join(f"{address}: {text[:150]}" for text, address in wrong.items())


LITERALS = {"openapi.json", "Job Monitoring Dashboard", "CSV Import", "pid", "UUID", "15 min", "English", "Italiano", "(!)", "· Ainstein Jobs", "Ainstein Jobs", "Ainstein Jobs,", "(!) · Ainstein Jobs"}


def test_no_template_has_a_word_that_is_not_in_the_catalogue():
    found = set()
    for path in (ROOT / "templates").rglob("*.html"):
        text = re.sub(r"\{#.*?#\}", "", path.read_text(), flags=re.S)
        text = re.sub(r"<(script|style|code|pre|svg)\b.*?</\1>", "", re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "¤", text, flags=re.S), flags=re.S)
        words = [*re.findall(r">([^<>]*)<", text), *re.findall(r'(?:aria-label|title|placeholder)="([^"¤]*)"', text)]
        found |= {said for word in words if "=" not in word and re.search(r"[A-Za-z]{2}", said := " ".join(word.replace("¤", " ").split()))}
    assert found - LITERALS <= {"A-12, 5, true", "2h, until 18:00"}


def test_every_refusal_that_a_person_reads_is_in_the_catalogue():
    plain = []
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args and ast.unparse(node.exc.func) in REFUSALS:
                said = node.exc.args[-1 if ast.unparse(node.exc.func) == "FilterError" else 0]
                if isinstance(said, ast.JoinedStr) or isinstance(said, ast.Constant) and isinstance(said.value, str):
                    plain.append(f"{path.name}:{node.lineno}")
    assert not plain, 'raise with _("...") or Message("...")'
