"""Make `.venv` and install the dependencies of pyproject.toml, pinned by constraints.txt.

    python scripts/launch/install.py [EXTRA...]

Runs with any Python 3.11+, before anything is installed, so it uses the standard library
only. A stamp inside `.venv` says what was installed last: while it fits, this takes 0.1 s,
touches no network and needs no right to write.
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
    project = tomllib.loads(PROJECT.read_text())["project"]
    optional = project["optional-dependencies"]
    if unknown := set(extras) - set(optional):
        fail(f"Unknown extra {', '.join(sorted(unknown))}: pyproject.toml has {', '.join(optional)}")
    wanted = set(extras) | _extras_of_the_stores()
    with PROJECT.open() as only_one:  # two starts at once: the second finds the first one's work done
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
    """What DATABASE_URL, QUEUE_URL, METRICS_TOKEN and SENTRY_DSN (environment or .env) ask for."""
    load_env_file()
    urls = [os.environ.get(name, "").strip() for name in ("DATABASE_URL", "QUEUE_URL")]
    drivers = {"postgres": "postgres", "redis": "redis"}
    named = {"METRICS_TOKEN": "prometheus", "SENTRY_DSN": "sentry"}
    asked = {extra for name, extra in named.items() if os.environ.get(name, "").strip()}
    return asked | {extra for prefix, extra in drivers.items() for url in urls if url.startswith(prefix)}


def _version() -> str:
    """Changes with the two files and with the Python: any of them makes us install again."""
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
    """Whether the interpreter starts and can install: it breaks when the system's Python goes away."""
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
    # not the interpreter of a broken or half-made .venv, but the one it came from
    python = getattr(sys, "_base_executable", None) or sys.executable
    made = subprocess.run([python, "-m", "venv", "--clear", VENV], capture_output=True, text=True)
    if made.returncode or not _works():
        detail = (made.stderr or made.stdout).strip().splitlines()
        fail(f"Could not create {VENV}: {detail[-1] if detail else 'python -m venv failed'}")


def _has_venv() -> bool:
    """Debian splits `ensurepip` off into python3-venv; without it `python -m venv` fails half-way."""
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
    """wsgi.py reads `.env` by the rules of run.sh; Flask would first ask for python-dotenv, whose rules are others."""
    with contextlib.suppress(OSError):  # a .venv that is not ours to write works as well
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
