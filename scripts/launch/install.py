"""Creates `.venv` and installs the dependencies of pyproject.toml in the versions of constraints.txt.

    python scripts/launch/install.py [EXTRA...]

It runs with any Python from 3.11 on, before any package is installed, so it uses only the standard library. A file in
`.venv` says what was installed last. While that is up to date, this takes 0.1 s and needs neither the network nor the
right to write.
"""

import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import tomllib

from common import ROOT, fail, load_env_file

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed"
PROJECT, CONSTRAINTS = ROOT / "pyproject.toml", ROOT / "constraints.txt"


def main(extras: list[str]) -> None:
    """Install the dependencies with these extras, unless they are installed."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    optional = project["optional-dependencies"]
    if unknown := set(extras) - set(optional):
        fail(f"Unknown extra {', '.join(sorted(unknown))}: pyproject.toml has {', '.join(optional)}")
    wanted = set(extras) | _extras_of_the_stores()
    with PROJECT.open() as only_one:  # of two starts at once the second waits for the first
        fcntl.flock(only_one, fcntl.LOCK_EX)
        version, installed = _read_stamp()
        if version == _version() and wanted <= installed and _works():
            _quiet_flask()
            return
        _make_venv()
        wanted |= installed
        print(f"Installing the dependencies into .venv{_named(wanted)} (about a minute the first time) ...", flush=True)
        _pip(project["dependencies"] + [r for e in sorted(wanted) for r in optional.get(e, [])])
        _quiet_flask()
        STAMP.write_text(f"{_version()}\n{' '.join(sorted(wanted))}\n")


def _extras_of_the_stores() -> set[str]:
    """The extras that DATABASE_URL, QUEUE_URL, METRICS_TOKEN and SENTRY_DSN (environment or .env) need."""
    load_env_file()
    urls = [os.environ.get(name, "").strip() for name in ("DATABASE_URL", "QUEUE_URL")]
    drivers = {"postgres": "postgres", "redis": "redis"}
    named = {"METRICS_TOKEN": "prometheus", "SENTRY_DSN": "sentry"}
    asked = {extra for name, extra in named.items() if os.environ.get(name, "").strip()}
    return asked | {extra for prefix, extra in drivers.items() for url in urls if url.startswith(prefix)}


def _version() -> str:
    """A hash of the two files and of the Python version; a new hash causes an installation."""
    content = PROJECT.read_bytes() + CONSTRAINTS.read_bytes()
    config = VENV / "pyvenv.cfg"
    return hashlib.sha256(content + (config.read_bytes() if config.exists() else b"")).hexdigest()


def _read_stamp() -> tuple[str, set[str]]:
    try:
        version, extras = STAMP.read_text().split("\n")[:2]
        return version, set(extras.split())
    except (OSError, ValueError):
        return "", set()


def _works() -> bool:
    """Whether the interpreter of `.venv` starts and has pip; it fails after the system's Python was removed."""
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-c", "import pip"], capture_output=True).returncode == 0


def _make_venv() -> None:
    if _works():
        return
    print("Creating .venv ...", flush=True)
    if not _has_venv():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        fail(f"Python {version} has no venv module here: install it (Debian and Ubuntu: apt install python3-venv)")
    # the base interpreter, because that of an incomplete .venv may not work
    python = getattr(sys, "_base_executable", None) or sys.executable
    made = subprocess.run([python, "-m", "venv", "--clear", VENV], capture_output=True, text=True)
    if made.returncode or not _works():
        detail = (made.stderr or made.stdout).strip().splitlines()
        fail(f"Could not create {VENV}: {detail[-1] if detail else 'python -m venv failed'}")


def _has_venv() -> bool:
    """Whether `python -m venv` can work; Debian has `ensurepip` in a package of its own, python3-venv."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return False
    return True


def _pip(requirements: list[str]) -> None:
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    done = subprocess.run([*command, "-c", CONSTRAINTS, *requirements], capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        fail("The dependencies could not be installed (pip's own words stand above); nothing was started.")


def _quiet_flask() -> None:
    """Stop Flask from reading `.env` with python-dotenv, whose rules differ from those of run.sh and wsgi.py."""
    with contextlib.suppress(OSError):  # a .venv without the right to write works as well
        for folder in VENV.glob("lib/python3*/site-packages"):
            if not (folder / "ainstein.pth").exists():
                (folder / "ainstein.pth").write_text("import os; os.environ.setdefault('FLASK_SKIP_DOTENV', '1')\n")


def _named(extras: set[str]) -> str:
    return f" with {', '.join(sorted(extras))}" if extras else ""


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        fail("Stopped while the environment was being made; the next start goes on from there.", 130)
    except OSError as error:
        fail(f"{VENV} cannot be made: {error.strerror}")
