"""Repository-wide rules: imports go one way, files stay short, templates keep to the policy, catalogues are whole."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from app.services.instance import schema
from scripts import bench

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "app").rglob("*.py"))
PACKAGES = (  # each line may import the lines above it; a package imports its own modules without a circle
    "addresses", "kept_key", "config", "support", "extensions", "models signature queue integrations", "ledger registry", "services.audit services.outbox",
    "services.forecast",
    "services.instance", "services.jobs", "services.content", "services.people services.alerts", "services.stats",
    "services.reports services.notices",
    "controllers execution monitor", "jobs cli", "__init__", "worker",
)
RANKS = {name: rank for rank, line in enumerate(PACKAGES) for name in line.split()}
DOCUMENTED = 0.95
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "app").with_suffix("").parts).removesuffix(".__init__") or "__init__"


def package_of(module: str) -> str:
    """The line of PACKAGES that a module stands on."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "services" else parts[0]


MODULES = {module_of(path): path for path in SOURCES}


def imports_of(path: Path) -> set[str]:
    """Modules of app that a file imports when it is loaded (those inside functions are for commands only)."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "app":
            base = node.module.removeprefix("app").removeprefix(".")
            for name in (alias.name for alias in node.names):
                inner = f"{base}.{name}" if base else name
                assert inner in MODULES or (base or "__init__") in MODULES, f"{path.name}: there is no app.{inner}"
                found.add(inner if inner in MODULES else base or "__init__")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = package_of(module_of(path))
    for module in imports_of(path):
        wanted = package_of(module)
        assert wanted == own or RANKS[wanted] < RANKS[own], f"{path.relative_to(ROOT)} ({own}) imports {module}"


def test_no_module_is_part_of_a_circle():
    left = {name: imports_of(path) - {name} for name, path in MODULES.items()}
    while free := [name for name, wanted in left.items() if not wanted & left.keys()]:
        for name in free:
            del left[name]
    assert not left


@pytest.mark.parametrize("path", [p for folder in ("scripts", "tests") for p in sorted((ROOT / folder).rglob("*.py"))], ids=lambda p: str(p.relative_to(ROOT)))
def test_code_in_texts_imports_what_exists(path):
    """Scripts and tests run small programs that stand in texts, where no tool looks."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for module, names in re.findall(r"^\s*from app\.([\w.]+) import ([\w, ]+)$", node.value, re.M):
                for name in names.split(","):
                    known = MODULES.get(f"{module}.{name.strip()}") or MODULES.get(module)
                    assert known, f"app.{module}"
                    text = known.read_text()
                    assert module in MODULES and re.search(rf"\b{name.strip()}\b", text) or f"{module}.{name.strip()}" in MODULES


def public_names(path: Path) -> dict[str, ast.AST]:
    """Functions and classes of a module and methods of these classes whose names begin with no underscore."""
    found: dict[str, ast.AST] = {}

    def walk(body: list[ast.stmt], before: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                found[f"{before}{node.name}"] = node
                if isinstance(node, ast.ClassDef):
                    walk(node.body, f"{before}{node.name}.")

    walk(ast.parse(path.read_text()).body, f"{path.relative_to(ROOT)}: ")
    return found


def test_public_names_say_what_they_do():
    names = {name: node for path in SOURCES for name, node in public_names(path).items()}
    silent = [name for name, node in names.items() if not ast.get_docstring(node)]
    assert 1 - len(silent) / len(names) >= DOCUMENTED, "\n".join(silent)


def test_no_twelve_lines_stand_in_two_places():
    """Blank lines, comments, imports and lines of signs alone do not count."""
    seen: dict[tuple[str, ...], str] = {}
    for path in [p for folder in ("app", "tests", "templates", "scripts") for p in sorted((ROOT / folder).rglob("*.*"))]:
        if path.suffix in (".py", ".html", ".sh"):
            lines = [line.strip() for line in path.read_text().splitlines()]
            lines = [line for line in lines if re.search(r"\w", line) and not line.startswith(("#", "from ", "import "))]
            for start in range(len(lines) - 11):
                place = f"{path.relative_to(ROOT)}: {lines[start]}"
                assert (first := seen.setdefault(tuple(lines[start : start + 12]), place)) == place, f"{first}\nand {place}"


def test_the_root_of_app_stays_small():
    assert len(list((ROOT / "app").glob("*.py"))) <= 8


def test_the_tests_stand_in_the_packages_of_app():
    """Suites of the whole product have a folder of their own; files beside this one are helpers."""
    folders = {module_of(path.parent / "__init__.py") for path in SOURCES if path.parent.name != "app"}
    for path in (ROOT / "tests").rglob("*.py"):
        folder = ".".join(path.parent.relative_to(ROOT / "tests").parts)
        assert folder in {*folders, "", "process", "e2e", "both", "chaos"}, f"{path.relative_to(ROOT)}: no such package in app/"
        assert folder or path == Path(__file__) or not path.name.startswith("test_"), f"{path.name} belongs in a folder"


@pytest.mark.parametrize("bound", bench.code_bounds(), ids=lambda bound: bound.what)
def test_the_product_stays_compact(bound):
    assert bound.value <= bound.most


def test_lines_are_at_most_120_characters_long():
    assert not bench.wide_lines()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: str(p.relative_to(ROOT)))
def test_templates_keep_to_the_content_policy(path):
    text = path.read_text()
    assert not re.search(r'\s(style|on[a-z]+)\s*=\s*"', text), "inline style or handler"
    assert not re.search(r"<script(?![^>]*(src=|type=\"application/json\"))", text), "inline script"
    assert not re.search(r'\s(x-[\w:.-]+|:[\w-]+|@[\w.:-]+)="[^"]*\{\{', text), "{{ }} inside an Alpine attribute is code injection"


def test_the_italian_catalogue_is_whole_and_compiled():
    folder = ROOT / "app" / "translations" / "it" / "LC_MESSAGES"
    catalogue = read_po(open(folder / "messages.po", "rb"), locale="it")
    missing = [m.id for m in catalogue if m.id and not all(m.string if isinstance(m.string, tuple) else [m.string])]
    assert not missing
    for message in catalogue:
        if message.id:
            texts = message.string if isinstance(message.string, tuple) else [message.string]
            ids = message.id if isinstance(message.id, tuple) else [message.id]
            wanted = set(re.findall(r"%\((\w+)\)s", " ".join(ids)))
            assert set(re.findall(r"%\((\w+)\)s", " ".join(texts))) <= wanted, message.id
            for text in texts if wanted else ():  # as pages fill it in: Italian has its own plurals, and % is no text
                text % dict.fromkeys(wanted, "1")
            assert len(texts) == (2 if isinstance(message.id, tuple) else 1), message.id
    compiled = read_mo(open(folder / "messages.mo", "rb"))
    first = lambda m: m.id if isinstance(m.id, str) else m.id[0]  # noqa: E731
    assert {first(m) for m in compiled if m.id} == {first(m) for m in catalogue if m.id}, "run scripts/i18n.sh"


def test_every_text_of_the_code_is_in_the_catalogue(tmp_path):
    from babel.messages.extract import extract_from_dir

    methods = [("**.py", "python"), ("**.html", "jinja2")]
    keywords = {"_": None, "Message": None, "gettext": None, "ngettext": (1, 2), "pgettext": ((1, "c"), 2)}
    catalogue = read_po(open(ROOT / "app/translations/it/LC_MESSAGES/messages.po", "rb"), locale="it")
    have = {(m.id if isinstance(m.id, str) else m.id[0]) for m in catalogue if m.id}
    for folder in ("app", "templates"):
        for _, _, message, _, _ in extract_from_dir(str(ROOT / folder), methods, keywords=keywords):
            assert (message if isinstance(message, str) else message[0]) in have, f"run scripts/i18n.sh and translate {message!r}"


def test_the_code_knows_the_newest_migration():
    files = sorted(p.name for p in (ROOT / "migrations" / "versions").glob("[0-9]*.py"))
    assert files[-1].split("_")[0] == schema.HEAD


def test_no_migration_imports_living_code():
    """It would write another schema as soon as that code changes, and old databases would differ from new ones."""
    for path in (ROOT / "migrations" / "versions").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "app" for name in names), path.name


def test_nothing_names_this_machine():
    for path in [*SOURCES, *TEMPLATES, *(ROOT / "scripts").rglob("*"), *(ROOT / "deploy").rglob("*")]:
        if path.is_file() and path.suffix != ".pyc":
            assert str(ROOT.parent) + "/" not in path.read_text(errors="ignore") or str(ROOT.parent) == "/", path


def test_each_test_that_the_readme_names_exists():
    code = "".join(p.read_text() for p in (ROOT / "tests").rglob("test_*.py"))
    for name in set(re.findall(r"`(test_\w+)`", (ROOT / "README.md").read_text())):
        assert f"def {name}(" in code, name
