"""No text freezes the product: each of its patterns, and each function that reads text of others, reads its own worst characters
in linear time. What takes long on `FEW` characters is measured on `MANY`, four times as many: linear reading takes 4 times as long,
quadratic 16 times. What goes back and forth without end does not come back from the first, and `LIMIT_S` ends it."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
import re._constants as sre
import re._parser
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache

import app as package
from app.config import ROOT

FEW, MANY, LONG, LIMIT_S = 8_000, 32_000, 100_000, 110
LONG_S, RATIO = 0.003, 9  # seconds of `FEW`: as a quadratic reader that takes half a second for 100,000
GENERIC = (
    "_token", "_token\n", "password", "a:", "://", "://a:", "@", "basic ", "bearer\t", " ", "7", "'", '"', "\\", ".", "-", "=", "eyJ", "eyJ-", "-----BEGIN PRIVATE KEY-----",
    "x_key=", "tokens=[", "tokens=['", "x_token=self.", "token='1", "token:\n", "\\\"secret\\\":\\\"", "cookie:", "a_key='", 'password="', "password='\\", "password=[", 'password=["', "<password>", "<a", "--password ", "token is ", "password is '", 'File "', '", line 1', ", in ", "A", "aA",
    "[", "{", "\x00", "\u2028", "\u202e", "\n", "\r\n", ";", ",", "[hidden]", "sk-", "key-", "123456789:", "hooks.slack.com/a/", "é", "\U0001f600",
)


@cache
def patterns() -> dict[str, tuple[re.Pattern, set[str]]]:
    """Every pattern of app/ and scripts/ with the methods that are called on it: compiled ones of the modules, and literals given to `re`."""
    found: dict[str, tuple[re.Pattern, set[str]]] = {}
    for module in pkgutil.walk_packages(package.__path__, "app."):
        if module.name not in ("app.worker",):
            loaded = importlib.import_module(module.name)
            source = inspect.getsource(loaded)
            for name, value in vars(loaded).items():
                used = set(re.findall(rf"\b{name}\.(\w+)\(", source)) & {"match", "fullmatch", "search"}
                for n, one in enumerate(value if isinstance(value, tuple | list) else (value,)):
                    if isinstance(one, re.Pattern):
                        found[f"{module.name}.{name}.{n}"] = one, used or {"search"}
    compiled = {pattern.pattern for pattern, _used in found.values()}
    for path in (*(ROOT / "app").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "re" and node.args:
                for literal in ast.walk(node.args[0]):
                    if isinstance(literal, ast.Constant) and isinstance(literal.value, str | bytes) and literal.value not in compiled and node.func.attr != "escape" and not isinstance(node.args[0], ast.JoinedStr):
                        found.setdefault(f"{path.name}:{node.lineno}", (re.compile(literal.value), {node.func.attr} & {"match", "fullmatch"} or {"search"}))
    return found


def own(pattern: re.Pattern) -> list[str]:
    """Characters and words that the pattern itself names."""
    letters: list[int] = []

    def walk(items) -> None:
        for op, value in items:
            if op in (sre.LITERAL, sre.NOT_LITERAL):
                letters.append(value)
            elif op is sre.RANGE:
                letters.extend(value)
            elif op is sre.IN:
                walk(value)
            elif op is sre.BRANCH:
                for branch in value[1]:
                    walk(branch)
            elif isinstance(value, tuple):
                for part in value:
                    if isinstance(part, re._parser.SubPattern):
                        walk(part)
            elif isinstance(value, re._parser.SubPattern):
                walk(value)

    walk(re._parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags))
    word = "".join(map(chr, letters))
    return list(dict.fromkeys([word[:200], word[:200] + " ", *word[:40:3]])) if word else []


def readers():
    """Functions that read what jobs, people and other programs wrote."""
    from app import create_app
    from app.config import load_settings
    from app.controllers import redirects
    from app.services.alerts import texts
    from app.services.jobs import payloads, search_index, search_text, uploads
    from app.support import messages, redaction, tracebacks, validation
    from app.support.formatting import FILTERS  # noqa: F401

    app = create_app(load_settings({"DATA_DIR": sys.argv[1]}))
    context = app.test_request_context("/")
    context.push()
    sentences = [parts for parts, _names, _text in messages._patterns()]
    worst = ["".join(p) for p in sentences if len(p) > 2][:25] + [p[0] or p[1] for p in sentences][:25]
    yield messages.translate_stored, [*GENERIC, *worst]
    yield lambda text: messages._match(("a ", " b ", " c ", "."), text), ["a  b ", "a x b ", " c "]
    for function in (redaction.redact, redaction.one_line, redaction.printable, lambda t: redaction.redact_json({t: [t, {t: t}]}), lambda t: tracebacks.parse_traceback(t, "/x/"), search_index.like, search_text.fold,
                     search_text.words, lambda t: search_text.has([t], t, t, t, t), texts.sanitize, uploads.clean_name, redirects.safe_next, validation.parse_uuid, payloads.arguments,
                     lambda t: payloads.arguments(json.dumps({"args": {t: t}}))):
        yield (lambda text, f=function: f(text, "/") if f is redirects.safe_next else f(text)), GENERIC


def seconds(function: Callable[[str], object], text: str, times: int) -> float:
    """The least time of the processor that one call took."""
    took = []
    for _ in range(times):
        begun = time.process_time()
        function(text)
        took.append(time.process_time() - begun)
    return min(took)


def measure(name: str, function: Callable[[str], object], piece: str) -> None:
    """Says what it is at, so that whoever waits knows where it stopped, and what is not linear."""
    few, many = ((piece * (size // len(piece) + 1))[:size] for size in (FEW, MANY))
    print(f"{name} on {piece[:60]!r}", flush=True)
    ratios: list[float] = []
    if seconds(function, few, 1) > LONG_S and (less := seconds(function, few, 3)) > LONG_S:
        while len(ratios) < 3 and min(ratios, default=RATIO + 1) > RATIO:  # again: something else may have had the processor
            ratios.append(seconds(function, many, 3) / seconds(function, few, 3))
    if min(ratios, default=0) > RATIO:
        print(f"NOT LINEAR: {name} on {piece[:60]!r}: {less:.4f} s, {min(ratios):.1f} times that for four times as much", flush=True)


def searcher(pattern: re.Pattern, used: set[str]) -> Callable[[str], None]:
    def read(text: str) -> None:
        subject = text.encode("utf-8", "replace") if isinstance(pattern.pattern, bytes) else text
        for method in used:
            getattr(pattern, method)(subject)
        if "search" in used:
            pattern.sub(subject[:0], subject)
    return read


def main() -> None:
    """The child."""
    for name, (pattern, used) in patterns().items():
        for piece in (*GENERIC, *own(pattern)):
            measure(name, searcher(pattern, used), piece)
    for function, pieces in readers():
        for piece in pieces:
            measure(str(function), function, piece)
            function((piece * (LONG // len(piece) + 1))[:LONG])  # a reader may do something else with a long text
    print("all", flush=True)


def test_no_text_freezes_a_pattern_or_a_reader(tmp_path):
    command = [sys.executable, "-c", "from tests.support.test_linear import main; main()", str(tmp_path)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
        said, error = done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        said, error = (late.stdout or b"").decode(), ""
    assert said.endswith("all\n"), f"stopped at {said.splitlines()[-1:]} {error[-2000:]}"
    assert not (slow := [line for line in said.splitlines() if line.startswith("NOT LINEAR")]), slow


def test_what_is_quadratic_is_found(capsys):
    measure("linear", searcher(re.compile(r"(?:a|b)+"), {"search"}), "ab")
    assert "NOT LINEAR" not in capsys.readouterr().out
    measure("quadratic", lambda text: [text.count("x", n) for n in range(len(text))], "ab")
    assert "NOT LINEAR: quadratic" in capsys.readouterr().out


def test_a_line_number_of_any_length_is_text():
    from app.support.tracebacks import parse_traceback

    for digits in ("9" * 5000, "٣", "-1", ""):
        assert parse_traceback(f'  File "/x/a.py", line {digits}, in f', "/x/") is None
    assert parse_traceback('  File "/x/a.py", line 12, in f\n    x\nKeyError: 1', "/x/")["groups"][0]["frames"][0]["line"] == 12


def test_the_patterns_are_all_found():
    names = " ".join(patterns())
    assert len(patterns()) > 40 and "secret_text._HEAD" in names and "tracebacks.FRAME" in names and "redirects.py" in names
