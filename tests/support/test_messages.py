"""Sentences that are written into rows: each stands once, where it is written, and is told in the reader's language."""

from __future__ import annotations

import ast
import json
import time
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from app.execution.outcomes import sentence, stored
from app.integrations import csv_files
from app.registry import PermanentError
from app.services.content import import_rows
from app.support import messages
from app.support.messages import Message, from_row, text_of, to_json, translate_stored
from app.support.validation import ValidationError

ROOT = Path(__file__).resolve().parents[2]
FOR_PEOPLE = {  # what is raised with a sentence as its first argument
    "UserFacingError", "PermanentError", "TemporaryError", "HoldJob", "ValidationError", "DiskLow", "InvalidArguments", "ActionRefused",
    "CancelExecution", "RetryTask", "ApiError", "RequestRejected", "ApiUnavailable", "TooMuch", "__init__", "lines.add", "ctx.log",
}
PLACES = {  # other functions, and which arguments are sentences
    "progress": (2,), "audit": (1, 3), "_done": (2, 3), "in_steps": (2,), "cancel": (2,), "Parked": (1,), "rescue": (3,),
    "forget_worker": (2,), "_reap": (3,), "_release": (2,),
}
NAMED = {"error", "blocked", "why", "description"}  # keywords of Outcome, Verdict, rescue, @job ...
KEPT_IN = {"fault", "why", "broken", "reason", "result", "error"}  # variables and attributes that are stored later
NOT_FOR_PEOPLE = {
    ("app/execution/lifecycle.py", "this worker has not finished starting"): "Huey alone reads it",
    ("app/execution/lifecycle.py", "nothing to do"): "Huey alone reads it",
    ("app/integrations/openai_stream.py", "stopped"): "a sign for whoever asked, who makes the sentence",
    ("app/integrations/openai_stream.py", "error event"): "always caught and judged",
    ("app/integrations/openai_stream.py", "finish_reason "): "a field of the protocol and the server's word for it",
    ("app/services/people/sign_in.py", "a code is needed"): "the route of the sign-in catches it and asks for the code",
    ("app/services/reports/figures.py", "tenant"): "a code: reports/chapters has its sentence",
    ("app/services/reports/figures.py", "queue"): "a code: reports/chapters has its sentence",
}


def bare(node: ast.AST | None) -> str | None:
    """The text of an expression that may be a plain text with letters in it; of a name, a call or a subscript nothing is known."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) and any(c.isalpha() for c in node.value) else None
    if isinstance(node, ast.JoinedStr):
        return next(filter(None, map(bare, node.values)), None)
    if isinstance(node, ast.IfExp):
        return bare(node.body) or bare(node.orelse)
    if isinstance(node, ast.BoolOp):
        return next(filter(None, map(bare, node.values)), None)
    if isinstance(node, ast.BinOp):
        return bare(node.left) or bare(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr != "join":
        return bare(node.func.value)  # "...".strip()
    return None


def sentences_in(tree: ast.AST):
    """The expressions of a module that become sentences for people."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for place in (0,) if name in FOR_PEOPLE or ast.unparse(node.func) in FOR_PEOPLE else PLACES.get(name, ()):
                if place < len(node.args):
                    yield node.args[place]
            if name in ("Outcome", "Verdict", "rescue", "_release", "replace", "job", "cancel", "metric"):
                yield from (k.value for k in node.keywords if k.arg in NAMED)
        elif isinstance(node, ast.Assign):
            names = {t.attr if isinstance(t, ast.Attribute) else getattr(t, "id", "") for t in node.targets}
            if names & KEPT_IN:
                yield node.value


def written_bare(path: Path, source: str) -> list[str]:
    where = str(path.relative_to(ROOT))
    found = ((node.lineno, bare(node)) for node in sentences_in(ast.parse(source)))
    return [f"{where}:{line} {text!r}" for line, text in found if text and (where, text) not in NOT_FOR_PEOPLE]


def test_every_sentence_for_people_is_written_as_a_message():
    """`Message("...")` where it is stored, `_("...")` where it is answered at once. The command line's own are English (app/cli,
    services/instance), and a mistake of a programmer is told in Python's way (TypeError, ValueError)."""
    folders = [p for p in sorted((ROOT / "app").rglob("*.py")) if p.relative_to(ROOT / "app").parts[0] not in ("cli", "config.py")]
    wrong = [line for path in folders if "instance" not in path.parts for line in written_bare(path, path.read_text())]
    assert not wrong, "write Message(...) here:\n" + "\n".join(wrong)
    for where, text in NOT_FOR_PEOPLE:
        assert any(bare(node) == text for node in sentences_in(ast.parse((ROOT / where).read_text()))), f"needs no exemption: {text}"


@pytest.mark.parametrize("line", [
    'raise PermanentError("There is none.")', 'raise ValidationError(f"{n} rows.")', 'Outcome("failed", error=f"timeout after {n} s")',
    'fault = "Too few" if few else "Too many"', 'raise RequestRejected(f"{a} {b} no".strip())', 'audit(actor, Message("x"), name, f"{n} minutes")',
    'Parked("blocked", f"No job type {name}.")', 'ctx.progress(1, 2, f"{n} records")', 'ctx.log("It begins")', 'self.reason = why or "gone"', 'raise HoldJob("Budget " + name)',
])
def test_a_bare_sentence_is_seen(line):
    assert written_bare(ROOT / "app/x.py", line) and not written_bare(ROOT / "app/x.py", 'raise PermanentError(Message("There is none."))')


def test_the_id_of_a_message_is_written_out():
    """Else pybabel does not find it, and nobody translates it."""
    wrong = []
    for path in sorted((ROOT / "app").rglob("*.py")):
        if path.name not in ("messages.py", "queue.py"):  # messages.py makes them of rows; queue.py has Huey's
            wrong += [f"{path.name}:{node.lineno} {ast.unparse(node)}" for node in ast.walk(ast.parse(path.read_text()))
                      if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Message"
                      and not (node.args and isinstance(node.args[0], ast.Constant))]
    assert not wrong


def test_the_sentences_that_are_declared_are_those_of_the_code():
    from babel.messages.extract import extract_from_dir

    with open(ROOT / "app/translations/stored.pot", "rb") as file:
        declared = {m.id for m in read_po(file) if m.id}
    found = {m[2] for m in extract_from_dir(str(ROOT / "app"), [("**.py", "python")], keywords={"Message": None})}
    assert declared == found, "run scripts/i18n.sh"
    with open(ROOT / "app/translations/it/LC_MESSAGES/messages.po", "rb") as file:
        italian = {m.id: m.string for m in read_po(file, locale="it")}
    assert not [id for id in declared if not italian.get(id)], "translate these"


@pytest.fixture
def reader(app):
    """A page's way of telling a row's text and JSON, in a language."""
    def tell(text, stored_json=None, language="it"):
        with app.test_request_context("/", headers={"Accept-Language": language}):
            return translate_stored(from_row(text, stored_json))

    return tell


def test_a_message_is_its_english_text_and_is_told_in_italian(reader):
    why = Message("%(worker)s: %(why)s", worker="host_1", why=Message("unheard for %(n)s s", n=130))
    message = Message("Stopped after killing its worker %(n)s times. Last: %(why)s", n=3, why=why)
    assert message == "Stopped after killing its worker 3 times. Last: host_1: unheard for 130 s" and str(message) == message
    kept = to_json(message)
    assert json.loads(kept)[1]["n"] == 3 and to_json("text") is None and to_json(None) is None
    told = reader(str(message), kept)
    assert told.startswith("Fermato dopo aver") and "130" in told and "Last" not in told and "unheard" not in told
    assert reader(str(message), kept, "en") == message and translate_stored(message) == message


def test_outside_a_request_a_text_waits_for_its_reader(app, reader):
    said = messages.translate("Unknown state %(state)s.", state="text")
    assert type(said) is Message and "Unknown" not in reader(str(said), to_json(said))
    assert messages.translate("%(text)s of %(id)s", text=1, id=2) == "1 of 2"
    with app.test_request_context("/", headers={"Accept-Language": "it"}):
        told = messages.translate("%(name)s must be %(wanted)s, not %(value)s.", name="n", wanted=Message("a number"), value=1)
        assert type(told) is str and "un numero" in told and translate_stored(told) == told


def test_a_name_with_words_of_a_sentence_in_it_is_told_as_it_is(reader):
    """What matching by text gets wrong: a value that reads like the sentence around it."""
    message = Message("No job type %(name)s is known here. Deploy the code that declares it, or delete the job.", name="x is known here. Deploy y")
    assert "x is known here. Deploy y" in reader(str(message), to_json(message))


@pytest.mark.parametrize("kept", [
    "", "null", "[]", "{}", "[1, 2]", '["x"]', '["x", []]', '["x", {}]', '[null, {}]', '["", {}]', "[" * 50_000, '["x", {"a": ["x", "b"]}]', '["frozen", {}]',
    '["%(a)s", {"a": ' + '["%(a)s", {"a": ' * 9 + '"busy"' + "}]" * 9 + "}]", '["busy"', b"x", 7, "x" * 10**6,
])
def test_json_that_says_something_else_than_the_text_is_not_looked_at(reader, kept):
    assert reader("busy as a bee", kept) == "busy as a bee" and reader(None, kept) is None


def test_an_id_of_a_row_formats_nothing(reader):
    for id in ("%(n)999999999d", "%(n)s%", "%s %s", "%(n.__class__)s", "100 %% of %(n)s", "{0.__class__}"):
        message = Message(id, n=7)
        assert reader(str(message), to_json(message)) == message
    assert Message("100 %% of %(n)s", n=7) == "100 % of 7" and Message("%(a)s %(b)s", a=1) == "1 %(b)s"


def test_a_monstrous_message_grows_no_row():
    deep = Message("x")
    for _n in range(200):
        deep = Message("%(a)s%(b)s", a=deep, b=deep)
    wide, empty = Message("%(a)s" * 10_000, a="y" * 10_000), Message("%(a)s" * 10_000, a="")
    nest = Message("")
    for _n in range(30):
        nest = Message("%(a)s%(b)s%(c)s", a=nest, b=nest, c=nest, d="z" * 1000)
    began = time.monotonic()
    for message in (deep, wide, empty, nest, Message("x", y="z" * 10**6), Message("%(n)s", n=10**4000)):
        assert len(message) <= messages.LONGEST
        kept = stored(message)
        assert len(kept.encode()) <= 2000 and len(to_json(kept) or "") <= 2 * messages.MOST_JSON
        assert len(to_json(message) or "") <= 8 * messages.MOST_JSON
    assert time.monotonic() - began < 5


def test_nothing_of_a_message_that_a_job_has_changed_is_called_later():
    class Evil(str):
        def __str__(self):
            raise AssertionError("called")

        __len__ = __getitem__ = encode = __eq__ = replace = __str__
        __hash__ = str.__hash__

    class Values(dict):
        items = None

    class Sub(Message):
        def __eq__(self, other):
            raise AssertionError("called")

        __hash__ = str.__hash__

    for change in ({"id": Evil("x")}, {"id": 5}, {"values": Values()}, {"values": None}, {"values": {"n": Evil("x")}}, {"values": {"n": object()}}):
        message = Message("busy, %(n)s", n=1)
        message.__dict__.update(change)
        kept = stored(message)
        assert (type(kept), str(kept), to_json(kept), to_json(message)) == (str, "busy, 1", None, None)
    assert type(stored(Sub("busy"))) is str and to_json(Sub("busy")) is None


def test_a_secret_in_a_value_or_across_id_and_value_is_hidden(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-0123456789")
    kept = stored(Message("The API answered: %(why)s", why="key sk-very-secret-0123456789 is bad"))
    assert "0123456789" not in kept and "0123456789" not in to_json(kept) and type(kept) is Message
    kept = stored(Message("password: %(why)s", why="hunter2hunter2"))
    assert "hunter2" not in kept and "hunter2" not in (to_json(kept) or "")


def test_the_sentence_of_an_exception_is_its_message():
    error = PermanentError(Message("There is no prompt template %(name)s. Create it, or choose another, then retry.", name="x"))
    assert type(text_of(error)) is type(sentence(error)) is Message
    assert type(text_of(PermanentError("plain"))) is type(sentence(PermanentError("plain"))) is str

    class Other(PermanentError):
        def __str__(self):
            return "says something else"

    assert sentence(Other(Message("busy, not reporting"))) == "says something else" and to_json(sentence(Other(Message("frozen")))) is None


@pytest.mark.parametrize("text", [
    "timeout after 300 s", "Held by ada@example.org.", "unheard for 130 s", "recycled: 140 MB over its start, limit 128 MB",
    "Stopped after killing its worker 3 times. Last: host_12: the process is gone", "The monthly budget of acme is spent (1.00 of 1.00 USD).",
    "No job type Process.News-X is known here. Deploy the code that declares it, or delete the job.", "restored from a backup",
    "The file has no column body. Its first line must name the columns reference, title and body, separated by comma, semicolon or tab; it has: a, b.",
    "The answer is empty. It was paid and is kept; retry asks for a new one, which is paid again.",
])
def test_a_row_of_before_is_told_too(reader, text):
    assert translate_stored(text) == text  # the command line reads what was written
    told = reader(text)
    assert told != text and "%(" not in told and reader(text, language="en") == text


def test_what_nobody_knows_stays_as_it_is(reader):
    for text in ("KeyError: 'x'", "bread and butter", "1 of 2", "two words", "tea or coffee", None, ""):
        assert reader(text) == text


FILES = [  # each with a fault of its own; the sentence is what pages and reports show
    b"", b"PK\x03\x04", b"%PDF", b"\x1f\x8b", b"\x89PNG", b"SQLite format 3", b"\xd0\xcf\x11\xe0", b"a\0b", bytes(range(1, 128)) * 40,
    b"a,b,c\n" + "è".encode() * 9 + b"\xff", b"a,b,c\n1,\xe9,\x81\n", "a,b,c\n1,Dvořák,c\n".encode("cp1250"), "東京都は日本の首都です。\n".encode("cp932") * 5,
    b"a,b\n", b"x\n", b"b,c\n", b"a,c\n", b'a,b,"c\n1,2,3\n', b"a,b,c" + b",d" * 2000, b"a,b,c,A\n", b"a" * ((4 << 20) + 5), b"\x1b$B",
    "a,b,c\n1,2,3\n".encode("utf-16")[:-1], b"a,b,c\n1,,3\n" + b"x" * 256 + b",2,3\n1,2\n1,2,3,4\n1,\"b\" x,c\n1,\"" + b"y" * (2 << 20) + b"\",c\n",
    b"a,b,c,d,e\n1,b,\"c\n2,b,c\n3,b,c\n4,b,24\"\n",
]


@pytest.mark.parametrize("content", FILES, ids=range(len(FILES)))
def test_every_sentence_about_a_file_is_told_in_italian(tmp_path, content, monkeypatch, reader):
    monkeypatch.setattr(import_rows, "REQUIRED", ("a", "b", "c"))
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    try:
        source = csv_files.open_csv(path, ("a", "b", "c"))
        said = [row.fault for row in import_rows.read_rows(source) if row.fault]
    except ValidationError as error:
        said = [text_of(error)]
    assert said
    for message in said:
        told = reader(str(message), to_json(stored(message)))
        assert type(message) is Message and told != message
        assert not {"the", "is", "line", "and", "again", "of"} & set(told.lower().split()), told
