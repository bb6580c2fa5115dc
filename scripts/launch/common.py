"""Shared by the start scripts and `flask --app wsgi`: the project's root, `.env`, settings, the parent-death signal.

It imports only the standard library, and few modules of it, because the launcher stays in memory while the site runs.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OWN_FILE_ONLY = {"FLASK_SKIP_DOTENV": "1"}  # this module reads `.env`; Flask must not
READ = "AINSTEIN_SETTINGS_READ"  # set when the settings are in the environment: child processes read no file


def fail(line: str, code: int = 1) -> None:
    """Print one line to stderr and end the process with exit code `code`."""
    print(line, file=sys.stderr, flush=True)
    sys.exit(code)


def load_env_file(path: Path = ROOT / ".env") -> None:
    """Put the variables of a file into the environment; variables that are already set win."""
    for name, value in read_env_file(path).items():
        os.environ.setdefault(name, value)
    os.environ[READ] = "1"


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of NAME=value lines. No shell evaluates the file, so values may contain `$` and `;`. An error ends
    the process with exit code 2; a missing file has no variables."""
    found: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return found
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path.name} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}", 2)
    for number, line in enumerate(lines, 1):
        line = line.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        name, separator, value = line.partition("=")
        name = name.strip()
        if not separator or not name.isidentifier() or not name.isascii():
            fail(f"{path.name}, line {number}: expected NAME=value", 2)
        found.setdefault(name, _env_value(value.strip(), f"{path.name}, line {number}: {name}"))
    return found


def known_settings() -> tuple:
    """The table of settings in app/config.py, imported without app/__init__.py, which needs Flask."""
    if "app" not in sys.modules:
        from types import ModuleType

        sys.modules["app"] = ModuleType("app")
        sys.modules["app"].__path__ = [str(ROOT / "app")]
    from app.config import SETTINGS

    return SETTINGS


def names_that_reach(*whom: str) -> list[str]:
    """The names of the settings whose `reach` is one of the arguments."""
    return [setting.name for setting in known_settings() if setting.reach in whom]


def adopt_settings() -> None:
    """Set the environment of a command that a person types: first the variables that are set, then the settings of the
    running instance, then `.env`.

    The instance is the one on DATA_DIR. A relative DATA_DIR of the shell is below the current folder, one of `.env` is
    below the project, as for run.sh.
    """
    if os.environ.get(READ):
        return
    given = read_env_file(ROOT / ".env")
    if os.environ.get("DATA_DIR", "").strip():
        folder = Path(os.environ["DATA_DIR"].strip()).expanduser().absolute()
    else:
        named = "" if "DATA_DIR" in os.environ else given.get("DATA_DIR", "").strip()
        folder = ROOT / Path(named or "instance").expanduser()
    shared = settings_of_instance(folder)
    hidden = shared.pop("hidden database", None)
    if hidden and not (os.environ.get("DATABASE_URL") or given.get("DATABASE_URL")):
        fail(f"The instance that runs on DATA_DIR={str(folder)!r} uses {hidden}; its password is kept in no file, "
             "so set DATABASE_URL here too.", 2)
    of_the_start = names_that_reach("start")
    for name, value in (given | shared).items():
        if name not in of_the_start:
            os.environ.setdefault(name, value)
    os.environ |= {"DATA_DIR": str(folder), READ: "1"}


def tell_settings(folder: Path) -> None:
    """Write the settings of this environment that are not secret to DATA_DIR/run/settings.json, for commands.

    Of a database URL with a password only the host is written, so that a command can name what is missing.
    """
    shared = {name: os.environ.get(name, "") for name in names_that_reach("all")}
    for name in names_that_reach("address"):
        url = os.environ.get(name, "").strip()
        host = url.rpartition("@")[2].partition("?")[0]
        if ":" not in url.rpartition("@")[0].partition("://")[2] and "password" not in url:
            shared[name] = url
        elif name == "DATABASE_URL":
            shared["hidden database"] = f"a database at {host}"
    draft = folder / "run" / f".settings-{os.getpid()}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(shared, file)
    draft.rename(folder / "run" / "settings.json")


def settings_of_instance(folder: Path) -> dict[str, str]:
    """The settings that `tell_settings` wrote, while a program runs on this folder; {} when none runs."""
    import fcntl

    try:
        with open(folder / "run" / "alive") as alive:
            try:
                fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return {}
            except BlockingIOError:
                shared = json.loads((folder / "run" / "settings.json").read_text())
    except (OSError, ValueError):
        return {}
    known = (*names_that_reach("all", "address"), "hidden database")
    return {n: v for n, v in shared.items() if n in known and isinstance(v, str)} if isinstance(shared, dict) else {}


def _env_value(text: str, place: str) -> str:
    """The value of `"quoted"`, `'quoted'` or bare text; in bare text ` #` begins a comment."""
    if text[:1] not in ('"', "'"):
        bare, separator, _ = f" {text}".replace("\t#", " #").partition(" #")
        return (bare if separator else text).strip()
    end = text.find(text[0], 1)
    rest = text[end + 1 :].strip()
    if end < 0 or (rest and not rest.startswith("#")):
        fail(f"{place}: the quotes do not close, or something stands behind them", 2)
    value = text[1:end]
    if "\0" in value:
        fail(f"{place}: a NUL character cannot be part of a value", 2)
    return value


# Variables that a long-lived process may have: /proc/PID/environ shows its environment as it was at the start.
PLAIN = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
         "PYTHONPATH", "TERM", "PYTHONDONTWRITEBYTECODE", "DATA_DIR")
HANDED = "AINSTEIN_ENVIRONMENT"  # the path from which the other variables are read


def plain_environment() -> dict[str, str]:
    """The variables of this environment that contain no secret."""
    return {name: value for name, value in os.environ.items() if name in PLAIN or name.startswith("LC_")}


def hand_over(values: dict[str, str], heir: bool = False) -> str:
    """Store variables in an anonymous memory file for child processes; returns the path for `take_over`.

    It exists as long as this process, and only the same user can open it. With `heir` it survives exec in this process.
    Outside Linux it is a private file.
    """
    text = json.dumps(values).encode("ascii")
    try:
        descriptor = os.memfd_create("environment", 0 if heir else os.MFD_CLOEXEC)
        place = f"/proc/{os.getpid()}/fd/{descriptor}"
    except (AttributeError, OSError):
        place = os.path.join(values["DATA_DIR"], "run", "environment")
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    while text:
        text = text[os.write(descriptor, text) :]
    return place


def take_over() -> bool:
    """Read the variables that `hand_over` stored into `os.environ`; returns whether there were any."""
    place = os.environ.pop(HANDED, None)
    if place is None:
        return False
    try:
        with open(place, "rb") as source:
            os.environ.update(json.loads(source.read()))
        own = f"/proc/{os.getpid()}/fd/"
        if place.startswith(own):  # stored by this process before exec, and no longer needed
            os.close(int(place.removeprefix(own)))
    except OSError as error:
        fail(f"The settings cannot be read from {place} ({error.strerror}): start with scripts/run.sh")
    return True


def flask(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run a command of `flask --app wsgi`. The kernel kills it when this process ends, because it must not go on
    without the lock of the launcher."""
    launcher = os.getpid()
    command = [sys.executable, "-m", "flask", "--app", "wsgi", *arguments]
    options.setdefault("preexec_fn", lambda: die_with_parent(launcher, "SIGKILL"))
    return subprocess.run(command, cwd=ROOT, text=True, env=dict(os.environ) | OWN_FILE_ONLY, **options)


def check_settings() -> dict:
    """The resolved settings. A bad one ends this process, after the one line that the command wrote about it.

    Exit code 2 tells systemd not to start again.
    """
    done = flask("check-settings", stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(2)
    return json.loads(done.stdout)


def die_with_parent(parent: int, signal_name: str) -> None:
    """Have the kernel send this process a signal when `parent` ends, also after exec. If the parent has already ended,
    this process ends now.

    Workers use the function in app/support/process.py. This module cannot import it, because app/__init__.py imports
    Flask.
    """
    import ctypes  # imported here: it costs 1 MB, and only short-lived children need it
    import signal

    try:
        ctypes.CDLL(None).prctl(1, getattr(signal, signal_name), 0, 0, 0)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        pass  # not Linux: the programs check their parent's pid themselves
    if os.getppid() != parent:
        os._exit(1)


def hold(path: Path) -> None:
    """Hold a shared lock on `path` until this process and all that it starts have ended.

    A `flock` belongs to the open file, so exec and fork keep it. By it the launcher sees whether processes of an
    earlier run are left; /proc shows which ones.
    """
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os.set_inheritable(descriptor, True)
