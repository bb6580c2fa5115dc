"""What the start scripts and `flask --app wsgi` share: the project's root, `.env`, settings, parent-death signal.

Standard library only, and few modules of it: the launcher stays in memory for as long as
the site runs.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OWN_FILE_ONLY = {"FLASK_SKIP_DOTENV": "1"}  # `.env` is read here and for whom it is meant, never by Flask
READ = "AINSTEIN_SETTINGS_READ"  # set once settings are in the environment: what is started from there reads no file


def fail(line: str, code: int = 1) -> None:
    """End with one clear line."""
    print(line, file=sys.stderr, flush=True)
    sys.exit(code)


def load_env_file(path: Path = ROOT / ".env") -> None:
    """Put NAME=value lines into the environment; variables that are already set win."""
    for name, value in read_env_file(path).items():
        os.environ.setdefault(name, value)
    os.environ[READ] = "1"


def read_env_file(path: Path) -> dict[str, str]:
    """Its variables. Never sourced: values may hold `$` and `;`."""
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
    """The table of settings in app/config.py; the package itself, which needs Flask, is not loaded for it."""
    if "app" not in sys.modules:
        from types import ModuleType

        sys.modules["app"] = ModuleType("app")
        sys.modules["app"].__path__ = [str(ROOT / "app")]
    from app.config import SETTINGS

    return SETTINGS


def names_that_reach(*whom: str) -> list[str]:
    """Names of the settings with one of these values of `reach`."""
    return [setting.name for setting in known_settings() if setting.reach in whom]


def adopt_settings() -> None:
    """For a command that a person types: what is set wins, then what the running instance uses, then `.env`.

    The instance is the one that runs on DATA_DIR, which in the shell is relative to where the person stands and in
    `.env` to the project, as for run.sh.
    """
    if os.environ.get(READ):
        return
    given = read_env_file(ROOT / ".env")
    if os.environ.get("DATA_DIR", "").strip():
        folder = Path(os.environ["DATA_DIR"].strip()).expanduser().absolute()
    else:
        named = "" if "DATA_DIR" in os.environ else given.get("DATA_DIR", "").strip()
        folder = ROOT / Path(named or "instance").expanduser()
    told = settings_of_instance(folder)
    hidden = told.pop("hidden database", None)
    if hidden and not (os.environ.get("DATABASE_URL") or given.get("DATABASE_URL")):
        fail(f"The instance that runs on DATA_DIR={str(folder)!r} uses {hidden}; its password is kept in no file, "
             "so set DATABASE_URL here too.", 2)
    of_the_start = names_that_reach("start")
    for name, value in (given | told).items():
        if name not in of_the_start:
            os.environ.setdefault(name, value)
    os.environ |= {"DATA_DIR": str(folder), READ: "1"}


def tell_settings(folder: Path) -> None:
    """Write DATA_DIR/run/settings.json for commands: the settings of this environment that are no secret.

    Of an address that has a password only the host, so that a command can say what it lacks.
    """
    told = {name: os.environ.get(name, "") for name in names_that_reach("all")}
    for name in names_that_reach("address"):
        url = os.environ.get(name, "").strip()
        host = url.rpartition("@")[2].partition("?")[0]
        if ":" not in url.rpartition("@")[0].partition("://")[2] and "password" not in url:
            told[name] = url
        elif name == "DATABASE_URL":
            told["hidden database"] = f"a database at {host}"
    draft = folder / "run" / f".settings-{os.getpid()}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(told, file)
    draft.rename(folder / "run" / "settings.json")


def settings_of_instance(folder: Path) -> dict[str, str]:
    """What `tell_settings` of a program that runs on this folder has written; nothing when none runs."""
    import fcntl

    try:
        with open(folder / "run" / "alive") as alive:
            try:
                fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return {}
            except BlockingIOError:
                told = json.loads((folder / "run" / "settings.json").read_text())
    except (OSError, ValueError):
        return {}
    known = (*names_that_reach("all", "address"), "hidden database")
    return {n: v for n, v in told.items() if n in known and isinstance(v, str)} if isinstance(told, dict) else {}


def _env_value(text: str, place: str) -> str:
    """`"quoted"`, `'quoted'` or bare, where ` #` begins a comment."""
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


# What a process that stays may have in its environment, which `/proc/PID/environ` shows as it was at its start.
PLAIN = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
         "PYTHONPATH", "TERM", "PYTHONDONTWRITEBYTECODE", "DATA_DIR")
HANDED = "AINSTEIN_ENVIRONMENT"  # names the place from which the rest is read


def plain_environment() -> dict[str, str]:
    """Of our environment what holds no secret."""
    return {name: value for name, value in os.environ.items() if name in PLAIN or name.startswith("LC_")}


def hand_over(values: dict[str, str], heir: bool = False) -> str:
    """Keep variables in memory for processes of ours; returns the address under which `take_over` finds them.

    It holds as long as this process lives, and only its own user can open it. `heir`: for the program that this process
    turns into. Where there is no such memory (not Linux) a private file does.
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
    """Put the variables that were handed to us into our environment, in memory; whether there were any."""
    place = os.environ.pop(HANDED, None)
    if place is None:
        return False
    try:
        with open(place, "rb") as source:
            os.environ.update(json.loads(source.read()))
        own = f"/proc/{os.getpid()}/fd/"
        if place.startswith(own):  # from ourselves, before exec: it has served
            os.close(int(place.removeprefix(own)))
    except OSError as error:
        fail(f"The settings cannot be read from {place} ({error.strerror}): start with scripts/run.sh")
    return True


def flask(*arguments: str, **options) -> subprocess.CompletedProcess:
    """Run one command of the site's command line; it dies with us, so it never works on without our lock."""
    launcher = os.getpid()
    command = [sys.executable, "-m", "flask", "--app", "wsgi", *arguments]
    options.setdefault("preexec_fn", lambda: die_with_parent(launcher, "SIGKILL"))
    return subprocess.run(command, cwd=ROOT, text=True, env=dict(os.environ) | OWN_FILE_ONLY, **options)


def check_settings() -> dict:
    """The resolved settings; a bad one ends the start with the one line that the site wrote about it.

    Exit code 2 tells systemd that starting again would not help.
    """
    done = flask("check-settings", stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(2)
    return json.loads(done.stdout)


def die_with_parent(parent: int, signal_name: str) -> None:
    """Get that signal when `parent` ends; it outlives exec. A parent already gone ends us now.

    Workers use the one of app/support/process.py: this file must not import it, for with it comes app/__init__.py and
    Flask.
    """
    import ctypes  # only in short-lived children: it costs a megabyte
    import signal

    try:
        ctypes.CDLL(None).prctl(1, getattr(signal, signal_name), 0, 0, 0)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        pass  # not Linux: the programs check their parent's pid themselves
    if os.getppid() != parent:
        os._exit(1)


def hold(path: Path) -> None:
    """Mark `path` as in use by this process and all that it starts, until the last of them has ended.

    A shared `flock` belongs to the open file, so it goes through exec and fork; the launcher
    sees by it whether anything of an earlier run is left, and `/proc` tells which processes.
    """
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os.set_inheritable(descriptor, True)
