"""Starts the site and waits until it ends; run.sh executes it.

It holds the lock DATA_DIR/lock, so that one instance runs, migrates the database, creates the first super-admin, starts
supervisord as its child, and waits. Children do not inherit the lock: supervisord would lose it at a reload, or keep it
after the launcher has ended. Work that needs much memory runs in short-lived processes.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from common import HANDED, ROOT, check_settings, fail, flask, hand_over, load_env_file, plain_environment, take_over
from program import data_dir
from supervised import start_supervisor, write_supervisor_config

LOCK_SECONDS = 2  # seconds in which a launcher ends after its supervisord was killed
LEFTOVERS_SECONDS, READY_SECONDS = 20, 30
OURS = {"lock", "secret-key", "run", "logs"}  # a folder with one of these is a DATA_DIR


def main(prepare_only: bool = False) -> None:
    """Start the site; `prepare_only` ends after the preparation, for a server with a supervisor of its own.

    It runs twice: first to read the settings; then, after exec, in an environment without secrets, because this process
    is long-lived.
    """
    os.umask(0o077)
    if not take_over():
        begin_clean()
    os.chdir(ROOT)
    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(signum, _stop_early)
    admin = os.environ.pop("ADMIN_EMAIL", "").strip() or "admin@localhost"
    password = os.environ.pop("ADMIN_PASSWORD", "")
    check_admin(admin, password)

    folder = make_private(data_dir())
    settings = check_settings()
    lock = take_lock(folder / "lock")
    wait_for_leftovers(folder / "run" / "alive")
    if not prepare_only:
        check_port(settings["host"], settings["port"])
    if flask("db-prepare").returncode:
        fail("The database could not be prepared (the reason stands above); nothing was started.")
    warn_of_grace(settings)
    hint = first_admin(admin, password, folder / "first-password")
    if prepare_only:
        print(f"The database is ready. {hint}")
        return
    names = ("data_dir", "host", "port", "public_url", "workers", "grace")
    resolved = {name.upper(): str(settings[name]) for name in names}
    write_supervisor_config(folder, settings["grace"])
    handed = hand_over(dict(os.environ) | resolved)
    supervisor = start_supervisor(folder, lock, plain_environment() | {"DATA_DIR": str(folder), HANDED: handed})
    sys.exit(watch(supervisor, settings, hint))


def warn_of_grace(settings: dict) -> None:
    """Print a warning when GRACE is shorter than the longest timeout; not on a terminal, where people stop quickly."""
    grace, longest = settings["grace"], settings["longest_timeout"]
    if grace < longest and not sys.stdout.isatty():
        print(f"GRACE={grace} is less than the {longest} s that {settings['longest_job']} may run: what still runs at "
              f"a stop is handed back and begins again. GRACE={longest + 30} lets it end (see deploy/README.md).",
              flush=True)


def begin_clean() -> None:
    """Read the settings and execute this program again without secrets in its environment."""
    if os.environ.get("DATA_DIR", "").strip():  # relative to the current folder; one of .env to the project
        os.environ["DATA_DIR"] = str(data_dir())
    os.chdir(ROOT)
    load_env_file()
    os.environ["DATA_DIR"] = str(data_dir())
    handed = hand_over(dict(os.environ), heir=True)
    os.execve(sys.executable, [sys.executable, "-S", __file__, *sys.argv[1:]], plain_environment() | {HANDED: handed})


def _stop_early(signum, frame) -> None:
    tell(2, "Stopped before anything was started.\n")
    sys.exit(128 + signum)


def tell(descriptor: int, text: str) -> None:
    """Write a text in a signal handler. print() raises there when the signal interrupts another print()."""
    with contextlib.suppress(OSError):  # the terminal may be closed
        os.write(descriptor, text.encode())


# ---- before anything runs ----------------------------------------------------------------------------------------


def make_private(folder: Path) -> Path:
    """Create DATA_DIR and its folders with mode 0700; returns DATA_DIR. It ends this process when the folder belongs to
    another user or is open to others and has other files."""
    name = f"DATA_DIR={str(folder)!r}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            fail(f"{name} belongs to another user: start as its owner, or set another DATA_DIR")
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            content = {entry.name for entry in folder.iterdir()} - {"lost+found"}
            if content and not content & OURS:
                fail(f"{name} is open to others and holds other files: set DATA_DIR to a new or empty folder")
            folder.chmod(0o700)
        for part in ("run", "logs", "backups"):
            (folder / part).mkdir(mode=0o700, exist_ok=True)
            (folder / part).chmod(0o700)
        for entry in [*folder.iterdir(), *(folder / "logs").iterdir()]:  # for example after a start with sudo
            if entry.name != "lost+found" and belongs_to_another(entry):
                fail(f"{name}: {entry.relative_to(folder)} belongs to another user: give it to the one who starts")
    except OSError as error:
        fail(f"{name} cannot be used: {error.strerror}")
    return folder


def belongs_to_another(path: Path) -> bool:
    """Whether another user owns a file; False for root, who can use every file."""
    try:
        return os.geteuid() not in (0, path.stat().st_uid)
    except FileNotFoundError:
        return False  # a temporary file of a running instance


def take_lock(path: Path) -> int:
    """Take the lock of DATA_DIR, or fail after 2 s; returns its descriptor. After kill -9 the kernel frees the lock."""
    lock, deadline = os.open(path, os.O_RDWR | os.O_CREAT, 0o600), time.monotonic() + LOCK_SECONDS
    while not locked(lock):
        time.sleep(0.1)
        if time.monotonic() < deadline:
            continue
        owner = os.read(lock, 20).decode().strip()
        where = f"DATA_DIR={str(path.parent)!r} (pid {owner or 'unknown'})"
        fail(f"Already running on {where}: stop it first, or set another DATA_DIR")
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def wait_for_leftovers(path: Path) -> None:
    """Wait at most 20 s for programs of a run whose launcher or supervisord was killed: they end by themselves."""
    alive = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline, shown = time.monotonic() + LEFTOVERS_SECONDS, False
    while not locked(alive):
        if time.monotonic() > deadline:
            pids = " ".join(map(str, holders(alive))) or "unknown"
            fail(f"An earlier run on this DATA_DIR has not ended: end it first (pids: {pids})")
        if not shown:
            print("Waiting for an earlier run to end ...", flush=True)
            shown = True
        time.sleep(0.1)
    os.close(alive)


def locked(descriptor: int) -> bool:
    """Take an exclusive `flock` without waiting; returns whether it succeeded."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def holders(descriptor: int) -> list[int]:
    """Pids of other processes that have this file open."""
    wanted, found = os.fstat(descriptor), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            opened = (os.stat(fd) for fd in (process / "fd").iterdir())
            if int(process.name) != os.getpid() and any(os.path.samestat(one, wanted) for one in opened):
                found.append(int(process.name))
        except OSError:
            continue  # it has ended, or belongs to another user
    return sorted(found)


def check_port(host: str, port: int) -> None:
    """End this process with one line when the site cannot listen on this address."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except PermissionError:
        fail(f"PORT={port} needs rights that you do not have: set PORT to 1024 or more")
    except socket.gaierror:
        fail(f"HOST={host} is not an address of this machine")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            fail(f"HOST={host} PORT={port} cannot be listened on: {error.strerror}")
        fail(f"PORT={port} is already taken on {host}: stop the program that uses it, or set another PORT")


def check_admin(email: str, password: str) -> None:
    """End this process when ADMIN_EMAIL or ADMIN_PASSWORD is not valid, also if they will not be used."""
    name, at, host = email.partition("@")
    if not (name and at and host) or any(c.isspace() for c in email) or not email.isprintable():
        fail("ADMIN_EMAIL is not an e-mail address; use one like ada@example.org", 2)
    try:
        password.encode()
    except UnicodeEncodeError:
        fail("ADMIN_PASSWORD has bytes that are no UTF-8 text", 2)
    if password and not 8 <= len(password) <= 256:
        fail("ADMIN_PASSWORD must have 8 to 256 characters", 2)


def first_admin(email: str, given: str, path: Path) -> str:
    """Create the first super-admin if there is no user; returns the sentence about the sign-in, shown beside the URL.

    A generated password is never in a log. It is shown once on a terminal; without one it is written to a private file,
    before the account is created, so that no crash loses it.
    """
    password = given or secrets.token_urlsafe(12)
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    terminal = sys.stdout.isatty()
    if not given and not terminal:
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password + "\n")
    try:
        done = flask("users", "first", email, input=password + "\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            fail(f"The first super-admin could not be made from ADMIN_EMAIL and ADMIN_PASSWORD: {reason}", 2)
        sys.stderr.write(done.stderr)
        if done.stdout.split()[-1:] != ["created"]:
            return f"Sign in with your account{f' (first password: {path})' if path.exists() else ''}."
        if given:
            return f"Sign in as {email} with the password from ADMIN_PASSWORD."
        if terminal:
            print(f"\n  First super-admin: {email}\n  Password:          {password}   (shown only this once)\n",
                  flush=True)
            return f"Sign in as {email} with the password shown above."
        draft.rename(path)
        return f"Sign in as {email}; the password is in {path}"
    finally:
        draft.unlink(missing_ok=True)


# ---- while it runs ----------------------------------------------------------------------------------------------


def watch(supervisor: int, settings: dict, hint: str) -> int:
    """Print a line when the site answers, pass signals on, and wait for supervisord; returns the exit code."""
    asked, grace = 0.0, settings["grace"]

    def stop(signum, frame):
        """The first signal stops the site in order; a second Ctrl-C kills it."""
        nonlocal asked
        now = time.monotonic()
        if not asked:
            asked = now
            os.kill(supervisor, signal.SIGTERM)
            tell(1, f"\nStopping; running jobs get up to {grace} s (Ctrl-C again stops at once) ...\n")
        elif signum == signal.SIGINT and now - asked > 1:  # some terminals send the first one twice
            os.kill(supervisor, signal.SIGKILL)  # the programs end with it, as after a power cut

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, stop)
    deadline, open_ = time.monotonic() + READY_SECONDS, False
    while not open_ and not asked and time.monotonic() < deadline:
        if os.waitpid(supervisor, os.WNOHANG)[0]:
            fail("supervisord ended; the reason stands above or in DATA_DIR/logs/supervisord.log")
        open_ = healthy(settings)
        time.sleep(0 if open_ else 0.2)
    logs = Path(settings["data_dir"]) / "logs"
    if open_:
        for line in settings["warnings"]:
            print(f"Mind: {line}")
        print(f"Running at {settings['public_url']}\n{hint}\nLogs: {logs}   Ctrl-C stops everything.", flush=True)
    elif not asked:
        print(f"The site has not answered for {READY_SECONDS} s and goes on trying; see {logs / 'web.log'}", flush=True)
    status = os.waitstatus_to_exitcode(os.waitpid(supervisor, 0)[1])
    if asked:
        print("Stopped.", flush=True)
        return 0
    print(f"supervisord ended unasked ({status}); its programs end by themselves.", file=sys.stderr, flush=True)
    return 1


def healthy(settings: dict) -> bool:
    """Whether /healthz answers 200 within 2 s."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings["host"], settings["host"])  # noqa: S104
    request = f"GET /healthz HTTP/1.0\r\nHost: {urlsplit(settings['public_url']).netloc}\r\n\r\n"
    try:
        with socket.create_connection((host, settings["port"]), timeout=2) as connection:
            connection.sendall(request.encode())
            return connection.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--prepare"]):
        fail("usage: run.sh [--prepare]    (--prepare: database and first super-admin only)", 2)
    main(prepare_only=bool(sys.argv[1:]))
