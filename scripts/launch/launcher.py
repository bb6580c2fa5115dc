"""Start the site and stay beside it: what run.sh becomes.

Holds `DATA_DIR/lock` (one instance), migrates under it, makes the first super-admin, starts
supervisord as its child, and waits. The lock is never inherited: supervisord would lose it at
a reload or outlive us with it. Everything that costs memory runs in processes that end.
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

LOCK_SECONDS = 2  # a launcher whose supervisord was killed needs a moment to end
LEFTOVERS_SECONDS, READY_SECONDS = 20, 30
OURS = {"lock", "secret-key", "run", "logs"}  # a folder with one of these was made by us


def main(prepare_only: bool = False) -> None:
    """`prepare_only` stops before anything is started: for a server's own supervisor.

    Runs twice: as it was started, to read the settings; then in an environment without secrets, as this process stays.
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
    """One line for servers; at a terminal nobody wants a Ctrl-C to wait so long."""
    grace, longest = settings["grace"], settings["longest_timeout"]
    if grace < longest and not sys.stdout.isatty():
        print(f"GRACE={grace} is less than the {longest} s that {settings['longest_job']} may run: what still runs at "
              f"a stop is handed back and begins again. GRACE={longest + 30} lets it end (see deploy/README.md).",
              flush=True)


def begin_clean() -> None:
    """Read the settings and become ourselves anew, without them in the environment."""
    if os.environ.get("DATA_DIR", "").strip():  # relative to where the person stands; in .env to the project
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
    """For signal handlers: a signal may arrive while print() holds its buffer, and a second print() then raises."""
    with contextlib.suppress(OSError):  # the terminal is gone: nobody to tell, but still things to do
        os.write(descriptor, text.encode())


# ---- before anything runs ----------------------------------------------------------------------------------------


def make_private(folder: Path) -> Path:
    """DATA_DIR and its folders, 0700 and ours; a folder of somebody else's files is refused, not closed off."""
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
        for entry in [*folder.iterdir(), *(folder / "logs").iterdir()]:  # left by a start with sudo, say
            if entry.name != "lost+found" and belongs_to_another(entry):
                fail(f"{name}: {entry.relative_to(folder)} belongs to another user: give it to the one who starts")
    except OSError as error:
        fail(f"{name} cannot be used: {error.strerror}")
    return folder


def belongs_to_another(path: Path) -> bool:
    try:
        return os.geteuid() not in (0, path.stat().st_uid)  # root can use what is not its own
    except FileNotFoundError:
        return False  # a passing file of an instance that runs


def take_lock(path: Path) -> int:
    """One instance a DATA_DIR; the kernel frees the lock even after kill -9."""
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
    """Programs of a run whose launcher or supervisord was killed end by themselves; give them time."""
    alive = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline, told = time.monotonic() + LEFTOVERS_SECONDS, False
    while not locked(alive):
        if time.monotonic() > deadline:
            pids = " ".join(map(str, holders(alive))) or "unknown"
            fail(f"An earlier run on this DATA_DIR has not ended: end it first (pids: {pids})")
        if not told:
            print("Waiting for an earlier run to end ...", flush=True)
            told = True
        time.sleep(0.1)
    os.close(alive)


def locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def holders(descriptor: int) -> list[int]:
    """Pids, other than ours, that have this file open."""
    wanted, found = os.fstat(descriptor), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            opened = (os.stat(fd) for fd in (process / "fd").iterdir())
            if int(process.name) != os.getpid() and any(os.path.samestat(one, wanted) for one in opened):
                found.append(int(process.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return sorted(found)


def check_port(host: str, port: int) -> None:
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
    """Said before anything is made; whether they are used is another matter (only without any user)."""
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
    """Make the first super-admin, if there is no user at all; returns the sentence to show beside the URL.

    A generated password is shown here, in the foreground, and never in a log: on a terminal once,
    otherwise it goes into a private file, written before the account so that no crash loses it.
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
            print(
                f"\n  First super-admin: {email}\n  Password:          {password}   (shown only this once)\n",
                flush=True,
            )
            return f"Sign in as {email} with the password shown above."
        draft.rename(path)
        return f"Sign in as {email}; the password is in {path}"
    finally:
        draft.unlink(missing_ok=True)


# ---- while it runs ----------------------------------------------------------------------------------------------


def watch(supervisor: int, settings: dict, hint: str) -> int:
    """Say when the site answers, pass signals on, and wait until supervisord has ended; returns the exit code."""
    asked, grace = 0.0, settings["grace"]

    def stop(signum, frame):
        nonlocal asked
        now = time.monotonic()
        if not asked:
            asked = now
            os.kill(supervisor, signal.SIGTERM)
            tell(1, f"\nStopping; running jobs get up to {grace} s (Ctrl-C again stops at once) ...\n")
        elif signum == signal.SIGINT and now - asked > 1:  # a terminal's helper may send the first one twice
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
