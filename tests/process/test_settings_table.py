"""One table says what can be set: the papers, the start scripts and the examples agree with it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from app.config import ROOT, SETTINGS, load_settings
from app.registry import Options

README = (ROOT / "README.md").read_text()
DOCUMENTED = [s for s in SETTINGS if s.words]


def shown(default: str) -> str:
    """A default as people read it: paths relative to the project."""
    return default.removeprefix(f"{ROOT}/")


def rows_of(heading: str) -> list[list[str]]:
    """Cells of the table that has this heading, in README.md."""
    table = README.split(heading)[1].split("\n\n")[0]
    return [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in table.splitlines()[2:]]


def test_the_readme_has_each_setting_with_its_default_and_its_words():
    expected = {(f"`{s.name}`", f"`{shown(s.default)}`" if s.default else s.computed or "none", s.words)
                for s in DOCUMENTED}
    assert {tuple(row) for row in rows_of("| variable | default | meaning |")} == expected


def test_the_example_has_each_setting_with_its_default():
    found = dict(re.findall(r"^#([A-Z_]+)=(.*?)(?: +#.*)?$", (ROOT / ".env.example").read_text(), re.M))
    assert found.pop("ACME_TOKEN") == "", "a variable of a team's own"
    assert found.keys() == {s.name for s in DOCUMENTED}
    assert not {s.name: found[s.name] for s in DOCUMENTED if s.default and found[s.name] != shown(s.default)}


def test_the_examples_values_are_accepted(tmp_path):
    text = (ROOT / ".env.example").read_text()
    given = {n: v.strip('"') for n, v in re.findall(r"^#([A-Z_]+)=(.*?)(?: +#.*)?$", text, re.M)}
    given |= {"DATA_DIR": str(tmp_path), "PRICES_FILE": str(ROOT / given["PRICES_FILE"]), "ALERT_URLS": ""}
    assert load_settings(given).public_url == given["PUBLIC_URL"]


def test_names_are_said_once_and_each_says_whom_it_reaches():
    names = [s.name for s in SETTINGS]
    assert len(set(names)) == len(names)
    assert {s.reach for s in SETTINGS} == {"all", "address", "programs", "web", "monitor", "workers", "start"}


def test_a_bare_python_reads_who_may_know_what():
    """The start scripts run before anything is installed: `-S` leaves every package out."""
    code = "import common; print(*(','.join(common.names_that_reach(w)) for w in ('start', 'web', 'monitor', 'workers')))"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT / "scripts" / "launch", env={}, capture_output=True,
                          text=True)
    secrets = "METRICS_TOKEN ALERT_URLS,SMTP_URL,HEARTBEAT_URL OPENAI_API_KEY"
    assert (done.stdout.strip(), done.stderr) == (f"ADMIN_EMAIL,ADMIN_PASSWORD {secrets}", "")


def test_defaults_that_stand_where_the_table_costs_too_much_memory_are_the_same():
    default = {s.name: s.default for s in SETTINGS}
    web = (ROOT / "deploy" / "gunicorn.conf.py").read_text()
    assert all(f'os.environ.get("{name}") or "{default[name]}"' in web for name in ("HOST", "PORT"))
    assert f'"ADMIN_EMAIL", "").strip() or "{default["ADMIN_EMAIL"]}"' in (ROOT / "scripts/launch/launcher.py").read_text()


def options_of(text: str) -> dict[str, dict[str, str]]:
    """Options by program of a supervisor configuration, without comments."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[program:(?:ainstein-)?(\w+)\]", line):
            found[heading[1]] = {}
        elif found and "=" in line and not line.startswith(";"):
            name, _, value = line.partition("=")
            found[list(found)[-1]][name] = value
    return found


def test_run_sh_and_the_servers_supervisor_are_told_the_same(tmp_path):
    """One grace of 330 s for both; where the files lie, who runs them and by which command differs."""
    (tmp_path / "run").mkdir()
    code = "import pathlib, sys, supervised; supervised.write_supervisor_config(pathlib.Path(sys.argv[1]), 330)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT / "scripts" / "launch", check=True)
    ours = options_of((tmp_path / "run" / "supervisord.conf").read_text())
    theirs = options_of((ROOT / "deploy" / "supervisor.conf").read_text())
    assert ours.keys() == theirs.keys() == {"web", "monitor", "workers"}
    for program, options in theirs.items():
        assert options.pop("user") == "ainstein" and options.pop("environment", 'GRACE="330"') == 'GRACE="330"'
        assert f"scripts/launch/program.py {program} --env-file " in options.pop("command")
        assert Path(ROOT / "scripts/launch/program.py").exists() and ours[program].pop("command").endswith(f" {program}")
        assert ours[program] == {n: v.removeprefix("/var/lib/ainstein/") for n, v in options.items()}


def test_the_readme_has_each_option_of_a_job_with_its_default():
    expected = {(f"`{f.name}`", f"`{f.default!r}`") for f in fields(Options)}
    assert {tuple(row[:2]) for row in rows_of("| option | default | meaning |")} == expected
