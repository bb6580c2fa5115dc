"""`scripts/run.sh` and `scripts/start-workers.sh` as a person meets them: real processes, free ports, own folders."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from tests.backends import free_port

ROOT = Path(__file__).resolve().parents[2]
RUN = ["bash", str(ROOT / "scripts" / "run.sh")]
WORKERS = ["bash", str(ROOT / "scripts" / "start-workers.sh")]
PROCESSES = 10  # launcher, supervisord, gunicorn and its worker, monitor, consumer, its scheduler, 3 workers

pytestmark = pytest.mark.timeout(180)


def clean_environment(data_dir: Path, **settings) -> dict[str, str]:
    """Of the machine only what a shell needs, so that no setting of ours leaks in."""
    kept = {n: v for n, v in os.environ.items() if n in ("PATH", "HOME", "LANG", "TMPDIR")}
    return kept | {"DATA_DIR": str(data_dir), "GRACE": "5"} | settings


def ours(data_dir: Path) -> list[psutil.Process]:
    """Living processes that were started with this DATA_DIR."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("DATA_DIR") == str(data_dir) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def command_of(process: psutil.Process) -> str:
    """Its command line; empty when it has ended since it was found."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def wait_until(condition, seconds: float, what: str):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s")


class Site:
    """One run.sh and what it started."""

    def __init__(self, data_dir: Path, port: int | None = None, **settings):
        self.data_dir, self.port = data_dir, port or free_port()
        self.output = data_dir.parent / f"output-{time.monotonic_ns()}"
        environment = clean_environment(data_dir, PORT=str(self.port), **settings)
        with self.output.open("w") as out:
            self.launcher = subprocess.Popen(RUN, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)

    def text(self) -> str:
        return self.output.read_text()

    def ready(self, seconds: float = 60) -> "Site":
        def answered():
            assert self.launcher.poll() is None, self.text()
            return "Running at" in self.text()

        wait_until(answered, seconds, f"site ready ({self.text()})")
        return self

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def supervisor(self) -> psutil.Process:
        return next(p for p in ours(self.data_dir) if "supervisor.supervisord" in command_of(p))

    def program(self, word: str) -> psutil.Process:
        """The process of that program which supervisord started itself."""
        parent = self.supervisor().pid
        return next(p for p in ours(self.data_dir) if word in command_of(p) and p.ppid() == parent)

    def stop(self, signum: int = signal.SIGINT) -> int:
        self.launcher.send_signal(signum)
        return self.launcher.wait(30)

    def gone(self, seconds: float = 15) -> None:
        wait_until(lambda: not ours(self.data_dir), seconds, "everything ended")

    def destroy(self) -> None:
        if self.launcher.poll() is None:
            self.launcher.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.launcher.wait(20)
        for process in ours(self.data_dir):
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.launcher.kill()
        self.launcher.wait()


@pytest.fixture
def start(tmp_path):
    """Start a site in a folder of this test; all that is left of it ends with the test."""
    sites = []

    def starter(name: str = "data", **settings) -> Site:
        sites.append(Site(tmp_path / name, **settings))
        return sites[-1]

    yield starter
    for site in sites:
        site.destroy()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A site whose folder has a blank, an accent, a percent sign and comment signs; for tests that only look."""
    folder = tmp_path_factory.mktemp("site") / "dàti di prova 100%s # uno ; due"
    site = Site(folder, OPENAI_API_KEY="sk-of-the-workers", METRICS_TOKEN="token-of-the-web", ADMIN_EMAIL="first@x.test")
    try:
        yield site.ready()
    finally:
        site.destroy()


def refused(*arguments: str, command=RUN, code: int | None = None, **settings) -> str:
    """Start something that must not start; returns the one line it said."""
    data_dir = Path(settings.pop("DATA_DIR"))
    done = subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env=clean_environment(data_dir, **settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )
    lines = done.stderr.strip().splitlines()
    assert done.returncode == (code or done.returncode) != 0, done
    assert len(lines) == 1, done.stderr
    return lines[0]


# ---- a running site ------------------------------------------------------------------------------


def test_says_where_it_is_and_shows_the_sign_in_page(running):
    assert f"Running at http://127.0.0.1:{running.port}" in running.text()
    assert running.get("/healthz") == (200, "ok")
    status, page = running.get("/login")
    assert status == 200
    assert 'name="password"' in page


def test_is_a_small_set_of_processes(running):
    wait_until(lambda: len(ours(running.data_dir)) == PROCESSES, 20, "all processes are there")


def test_first_password_is_in_a_private_file_and_not_in_the_output(running):
    file = running.data_dir / "first-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    password = file.read_text().strip()
    assert len(password) >= 12
    assert password not in running.text()
    assert str(file) in running.text()
    assert "first@x.test" in running.text()


def test_everything_it_writes_is_private(running):
    entries = [running.data_dir, *running.data_dir.rglob("*")]
    assert len(entries) > 10
    open_to_others = [e for e in entries if not e.is_symlink() and stat.S_IMODE(e.stat().st_mode) & 0o077]
    assert open_to_others == []


def test_every_program_knows_only_its_own_secrets(running):
    web, monitor, workers = (running.program(word).environ() for word in ("gunicorn", "monitor", "huey_consumer"))
    assert (web.get("METRICS_TOKEN"), web.get("OPENAI_API_KEY")) == ("token-of-the-web", None)
    assert (workers.get("METRICS_TOKEN"), workers.get("OPENAI_API_KEY")) == (None, "sk-of-the-workers")
    assert not {"METRICS_TOKEN", "OPENAI_API_KEY"} & set(monitor)
    assert not [n for env in (web, monitor, workers, running.supervisor().environ()) for n in env if n.startswith("ADMIN")]


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """A site with what a team sets: a module reads a key while it runs, and declares a schedule by a variable while it is loaded."""
    tmp_path = tmp_path_factory.mktemp("team")
    (tmp_path / "envjobs.py").write_text(
        "import os\nfrom app.jobs import job, recurring\n\n"
        "@job('ReadsKeys')\ndef reads_keys() -> list:\n    return [os.environ.get('STRIPE_MODE'), os.environ.get('AWS_REGION')]\n\n"
        "if os.environ.get('ACME_NIGHTLY'):\n    reads_keys = recurring(os.environ['ACME_NIGHTLY'])(reads_keys)\n"
    )
    site = Site(tmp_path / "data", JOB_MODULES="envjobs", PYTHONPATH=str(tmp_path), STRIPE_MODE="live", AWS_REGION="eu-south-1", ACME_NIGHTLY="* * * * *",
                PUBLIC_URL="https://jobs.example.org/team")
    try:
        yield site.ready()
    finally:
        site.destroy()


def test_what_a_team_sets_reaches_web_monitor_and_workers_alike(team):
    site = team
    for word in ("gunicorn", "monitor", "huey_consumer"):
        assert {"STRIPE_MODE", "AWS_REGION", "ACME_NIGHTLY"} <= set(site.program(word).environ()), word
    database = f"file:{quote(str(site.data_dir / 'ainstein.sqlite3'))}?mode=ro"

    def result():
        with contextlib.closing(sqlite3.connect(database, uri=True)) as connection:
            return connection.execute("SELECT result, created_by FROM job_history WHERE job_type = 'ReadsKeys'").fetchone()

    assert wait_until(result, 80, "the monitor has run the schedule") == ('["live", "eu-south-1"]', "recurring ReadsKeys")


def test_no_process_that_stays_has_a_secret_in_its_environment_or_open_files(start):
    secrets = {"SECRET_KEY": "key-of-the-site-0123456789", "ADMIN_PASSWORD": "first-password-of-ada", "OPENAI_API_KEY": "sk-of-the-workers", "METRICS_TOKEN": "token-of-the-web",
               "ALERT_URLS": "team=json://secret-host/x", "SENTRY_DSN": "", "JOB_TOKEN": "of-the-jobs", "AWS_SECRET_ACCESS_KEY": "of-the-cloud", "DATABASE_URL": ""}
    site = start(**secrets).ready()
    values = [v for v in secrets.values() if v]
    for pid in (site.launcher.pid, site.supervisor().pid):
        shown = Path(f"/proc/{pid}/environ").read_bytes().decode()
        assert [v for v in values if v in shown] == []
        files = [os.readlink(f) for f in _descriptors(pid)]
        assert len([f for f in files if "memfd" in f]) == (pid == site.launcher.pid), "what the programs are given, and nothing of ours before"
        if pid == site.launcher.pid:
            kept = next(Path(f) for f in _descriptors(pid) if "memfd" in os.readlink(f)).read_text()
            assert "first-password-of-ada" not in kept and "sk-of-the-workers" in kept
    for process in ours(site.data_dir):
        assert "first-password-of-ada" not in Path(f"/proc/{process.pid}/environ").read_text()
    assert not any(value in path.read_bytes().decode(errors="replace") for path in (site.data_dir / "run").iterdir() if path.is_file() for value in values)
    workers = site.program("huey_consumer")
    assert workers.environ()["OPENAI_API_KEY"] == "sk-of-the-workers" and workers.environ()["SECRET_KEY"] == secrets["SECRET_KEY"]
    workers.kill()

    def again():
        with contextlib.suppress(psutil.Error, StopIteration):
            process = site.program("huey_consumer")
            return process.pid != workers.pid and process.environ()["OPENAI_API_KEY"]

    assert wait_until(again, 20, "workers again") == "sk-of-the-workers", "a restart by supervisord gets everything too"
    site.stop()
    second = start(port=site.port, OPENAI_API_KEY="sk-new").ready()
    assert second.program("huey_consumer").environ()["OPENAI_API_KEY"] == "sk-new"


def test_the_first_password_goes_with_the_first_sign_in_and_is_not_a_common_one(start, tmp_path):
    line = refused(DATA_DIR=tmp_path / "weak", PORT=str(free_port()), ADMIN_PASSWORD="Password2026", code=2)
    assert "ADMIN_PASSWORD" in line and "guessed" in line
    site = start(ADMIN_EMAIL="first@x.test").ready()
    file = site.data_dir / "first-password"
    jar = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    page = jar.open(f"http://127.0.0.1:{site.port}/login").read().decode()
    sent = {"email": "first@x.test", "password": file.read_text().strip(), "csrf_token": re.search(r'csrf_token"[^>]*value="([^"]+)', page)[1]}
    assert jar.open(f"http://127.0.0.1:{site.port}/login", urllib.parse.urlencode(sent).encode()).url.rstrip("/").endswith("/admin/jobs")
    assert not file.exists()


def test_https_without_a_proxy_that_is_trusted_is_said_at_the_start(team):
    site = team
    assert len([line for line in site.text().splitlines() if "TRUSTED_PROXIES=0" in line]) == 1
    assert "Running at https://jobs.example.org/team" in site.text()
    wait_until(lambda: "TRUSTED_PROXIES=0" in (site.data_dir / "logs" / "web.log").read_text(), 10, "said in the log of the web")


def test_only_the_launcher_has_the_lock_open(running):
    lock = str(running.data_dir / "lock")
    owners = [p.pid for p in ours(running.data_dir) if lock in {os.path.realpath(f) for f in _descriptors(p.pid)}]
    assert owners == [running.launcher.pid]


def _descriptors(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    return [os.path.join(folder, name) for name in os.listdir(folder)]


def test_access_log_has_no_query_and_no_forged_line(running):
    running.get("/healthz%0AFORGED%1B%5B31m?token=secret-in-the-query")
    log = running.data_dir / "logs" / "access.log"
    wait_until(lambda: "FORGED" in log.read_text(), 10, "request in the log")
    text = log.read_text()
    assert "secret-in-the-query" not in text
    assert r"/healthz\nFORGED\x1b[31m" in text


def test_supervisorctl_reaches_it(running):
    command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", "run/supervisord.conf", "status"]

    def status() -> str:
        return subprocess.run(command, cwd=running.data_dir, capture_output=True, text=True, timeout=20).stdout

    wait_until(lambda: status().count("RUNNING") == 3, 10, "three programs run")


def test_second_instance_is_refused_with_one_line(running):
    line = refused(DATA_DIR=running.data_dir, PORT=str(free_port()), code=1)
    assert "Already running" in line
    assert str(running.launcher.pid) in line


def test_taken_port_is_refused_before_anything_is_made(running, tmp_path):
    line = refused(DATA_DIR=tmp_path / "other", PORT=str(running.port), code=1)
    assert line.startswith(f"PORT={running.port} ")
    assert not list((tmp_path / "other").glob("*.sqlite3"))


def test_web_that_is_killed_comes_back(running):
    web = running.program("gunicorn")
    children = web.children()
    web.kill()
    wait_until(lambda: not any(c.is_running() for c in children), 15, "its worker ended too")

    def answers():
        with contextlib.suppress(OSError):
            return running.get("/healthz")[0] == 200

    wait_until(answers, 20, "web is back")


# ---- stopping, and starting again ----------------------------------------------------------------


def stops_everything(site: Site, signum: int) -> None:
    assert site.stop(signum) == 0
    assert ours(site.data_dir) == []
    assert "Stopped." in site.text()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", site.port))


def test_stops_everything_when_asked_and_started_again_keeps_the_password(start):
    first = start().ready()
    password = (first.data_dir / "first-password").read_text()
    stops_everything(first, signal.SIGINT)
    second = start(ADMIN_PASSWORD="another-password-1").ready()
    assert (second.data_dir / "first-password").read_text() == password
    assert "another-password-1" not in second.text()
    stops_everything(second, signal.SIGTERM)


def test_supervisord_killed_and_started_again_at_once_is_one_set(start):
    began = time.monotonic()
    first = start().ready()
    usual = time.monotonic() - began  # seconds that a start takes on this machine now
    before = {p.pid for p in ours(first.data_dir)}
    first.supervisor().kill()
    second = start(port=first.port).ready(15 + usual)
    wait_until(lambda: len(ours(second.data_dir)) == PROCESSES, 15, "one set")
    assert not before & {p.pid for p in ours(second.data_dir)}
    assert first.launcher.wait(15) == 1


def test_launcher_killed_ends_everything(start):
    site = start().ready()
    site.launcher.kill()
    site.gone()


def test_leftovers_that_do_not_end_are_named(tmp_path, start):
    """A process that holds the mark of an earlier run, as a program stuck in the kernel would."""
    (tmp_path / "data" / "run").mkdir(parents=True, mode=0o700)
    (tmp_path / "data").chmod(0o700)
    code = f"import common,pathlib,time; common.hold(pathlib.Path({str(tmp_path / 'data/run/alive')!r})); time.sleep(99)"
    left = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT / "scripts" / "launch")
    try:
        wait_until((tmp_path / "data" / "run" / "alive").exists, 15, "mark is held")
        line = refused(DATA_DIR=tmp_path / "data", PORT=str(free_port()), code=1)
        assert f"(pids: {left.pid})" in line
    finally:
        left.kill()
        left.wait()


def test_on_a_terminal_the_password_is_shown_and_ctrl_c_stops_in_order(tmp_path):
    data_dir = tmp_path / "data"
    environment = clean_environment(data_dir, PORT=str(free_port()))
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(ROOT)
        os.execvpe("bash", RUN, environment)
    shown = ""
    try:
        for text in ("Running at", "Stopped."):
            deadline = time.monotonic() + 60
            while text not in shown:
                assert time.monotonic() < deadline, shown
                shown += os.read(terminal, 4096).decode(errors="replace")
            if text == "Running at":
                os.write(terminal, b"\x03")  # Ctrl-C: the terminal tells its whole foreground group
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert re.search(r"First super-admin: admin@localhost\s+Password:\s+\S{12,}", shown)
        assert not (data_dir / "first-password").exists()
        assert ours(data_dir) == []
        assert "terminated by SIGKILL" not in (data_dir / "logs" / "supervisord.log").read_text()
    finally:
        os.close(terminal)
        for process in ours(data_dir):
            process.kill()


def test_a_signal_in_the_middle_of_a_line_stops_in_order(tmp_path):
    data_dir, (reader, writer) = tmp_path / "data", os.pipe()
    launcher = subprocess.Popen(RUN, env=clean_environment(data_dir, PORT=str(free_port())), stdout=writer, stderr=writer, start_new_session=True)
    try:
        wait_until(lambda: any("supervisor.supervisord" in command_of(p) for p in ours(data_dir)), 60, "supervisord")
        filler = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)  # a description of its own
        with contextlib.suppress(BlockingIOError):
            while os.write(filler, b"." * 4096):
                pass
        os.close(filler)
        os.close(writer)
        wait_until(lambda: "pipe" in Path(f"/proc/{launcher.pid}/wchan").read_text(), 60, "it waits inside its line")
        launcher.send_signal(signal.SIGTERM)
        wait_until(lambda: not any("supervisor.supervisord" in command_of(p) for p in ours(data_dir)), 20, "the site stops")
        with os.fdopen(reader, errors="replace") as rest:
            shown = rest.read().lstrip(".")
        assert launcher.wait(20) == 0
        assert "Stopping; running jobs" in shown
        assert "Running at" in shown
        assert shown.endswith("Stopped.\n")
    finally:
        for process in ours(data_dir):
            process.kill()


def test_path_too_long_for_a_socket(start):
    long = "x" * 120
    site = start(long).ready()
    note = Path((site.data_dir / "run" / "socket-folder").read_text())
    assert stat.S_IMODE(note.stat().st_mode) == 0o700
    site.stop()
    again = start(long).ready()
    assert not note.exists()
    again.stop()


def test_prepare_makes_database_and_account_and_starts_nothing(tmp_path):
    data_dir = tmp_path / "data"
    environment = clean_environment(data_dir)
    for _ in range(2):
        done = subprocess.run([*RUN, "--prepare"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done
    assert (data_dir / "first-password").exists()
    assert list(data_dir.glob("*.sqlite3"))
    assert ours(data_dir) == []


# ---- bad settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "99999"),
        ("PORT", "eighty"),
        ("WORKERS", "0"),
        ("GRACE", "-1"),
        ("HOST", "0.0.0.0"),
        ("PUBLIC_URL", "jobs.example.org"),
        ("DATABASE_URL", "mysql://db/x"),
        ("QUEUE_URL", "kafka:"),
        ("QUEUE_URL", "redis://///"),
        ("QUEUE_URL", "sqlite:////nonexistent/q.db"),
        ("DATABASE_URL", "sqlite:////nonexistent/x.db"),
        ("PUBLIC_URL", "https://a b/"),
        ("SECRET_KEY_FALLBACKS", "x"),
        ("ADMIN_PASSWORD", "short"),
        ("ADMIN_PASSWORD", "\udcff\udcfe long enough pass"),
        ("ADMIN_EMAIL", "foo"),
        ("APP_TIMEZONE", "Rome"),
        ("WORKER_QUEUES", "high,urgent"),
        ("JOB_MODULES", "no_such_module_anywhere"),
        ("SECRET_KEY", "short"),
    ],
)
def test_bad_setting_is_one_line_that_names_it(tmp_path, name, value):
    settings = {"PORT": str(free_port())} | {name: value}
    line = refused(DATA_DIR=tmp_path / "data", code=2, **settings)
    assert name in line
    assert not list((tmp_path / "data").glob("*.sqlite3"))


def test_open_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    folder.chmod(0o755)  # whatever the umask of the one who tests
    (folder / "letter.txt").write_text("mine")
    assert "DATA_DIR=" in refused(DATA_DIR=folder, code=1)
    assert [e.name for e in folder.iterdir()] == ["letter.txt"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to someone else")
def test_folder_of_another_user_is_refused(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    assert "belongs to another user" in refused(DATA_DIR=folder, code=1)
    assert list(folder.iterdir()) == []


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "data").write_text("")
    assert "DATA_DIR=" in refused(DATA_DIR=tmp_path / "data", code=1)


# ---- workers alone -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["none"], "WORKERS"),
        (["0"], "WORKERS"),
        (["1", "--queue", "urgent"], "WORKER_QUEUES"),
        (["--queue", ""], "queue"),
    ],
)
def test_workers_refuse_a_bad_number_or_queue(tmp_path, arguments, word):
    assert word in refused(*arguments, command=WORKERS, DATA_DIR=tmp_path / "data", code=2)


def test_workers_alone_log_their_pids_and_stop(start, tmp_path):
    site = start().ready()
    output = tmp_path / "workers"
    with output.open("w") as out:
        alone = subprocess.Popen(
            [*WORKERS, "2", "--queue", "low,high"],
            cwd=ROOT,
            env=clean_environment(site.data_dir, WORKERS_MIN="5", WORKERS_MAX="9"),
            stdout=out,
            stderr=out,
        )
    try:
        pids = wait_until(
            lambda: (p := set(re.findall(r"worker started: pid (\d+)", output.read_text()))) and len(p) == 2 and p,
            30,
            "two workers say their pids",
        )
        assert "high,low" in output.read_text()
        assert pids <= {str(c.pid) for c in psutil.Process(alone.pid).children()}
        alone.terminate()
        assert alone.wait(20) == 0
        assert not any(psutil.pid_exists(int(pid)) for pid in pids)
        assert site.stop() == 0  # workers of one's own do not keep the site from stopping
    finally:
        alone.kill()
        alone.wait()


# ---- the machine ---------------------------------------------------------------------------------


def _scripts_only(folder: Path) -> list[str]:
    """A checkout without .venv."""
    (folder / "scripts" / "launch").mkdir(parents=True)
    for name in ("scripts/run.sh", "scripts/venv.sh", "scripts/launch/install.py", "scripts/launch/common.py",
                 "pyproject.toml", "constraints.txt"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return ["bash", str(folder / "scripts" / "run.sh")]


def test_old_python_is_one_line(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname"):
        (tools / tool).symlink_to(subprocess.check_output(["which", tool], text=True).strip())
    (tools / "python3").write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    (tools / "python3").chmod(0o755)
    line = refused(command=_scripts_only(tmp_path / "checkout"), DATA_DIR=tmp_path / "data", PATH=str(tools), code=1)
    assert "Python 3.11 or newer is needed" in line
    assert "3.9.2" in line


def test_missing_venv_module_is_one_line(tmp_path):
    (tmp_path / "broken" / "ensurepip").mkdir(parents=True)
    (tmp_path / "broken" / "ensurepip" / "__init__.py").write_text("raise ImportError('split off by the distribution')")
    command = _scripts_only(tmp_path / "checkout")
    line = refused(command=command, DATA_DIR=tmp_path / "data", PYTHONPATH=str(tmp_path / "broken"), code=1)
    assert "no venv module" in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nexport B = two words \n# C=3\n\n", {"A": "1", "B": "two words"}),
        ("A=\"x # y\" # why\nB='$HOME;`id`'\nC=a#b # note\n", {"A": "x # y", "B": "$HOME;`id`", "C": "a#b"}),
        ("\ufeffA=\r\nB= # only a note\r\nC==x=\r\n", {"A": "", "B": "", "C": "=x="}),
        ("SET=from the file\n", {"SET": "already"}),
    ],
)
def test_env_file_is_read_and_never_run(tmp_path, text, expected):
    (tmp_path / ".env").write_text(text)
    done = _load(tmp_path / ".env", SET="already")
    assert done.returncode == 0, done
    seen = json.loads(done.stdout)
    assert {name: seen.get(name) for name in expected} == expected
    assert "C" in expected or "C" not in seen


@pytest.mark.parametrize("text", ["A=1\nnonsense\n", 'A=1\nB="open\n', "A=1\nB-C=2\n", 'A=1\nB="x" y\n'])
def test_env_file_names_the_bad_line(tmp_path, text):
    (tmp_path / ".env").write_text(text)
    done = _load(tmp_path / ".env")
    assert done.returncode == 2
    assert done.stderr.startswith(".env, line 2")
    assert len(done.stderr.splitlines()) == 1


def _load(path: Path, **environment) -> subprocess.CompletedProcess:
    code = "import common, json, os, pathlib, sys; common.load_env_file(pathlib.Path(sys.argv[1])); "
    code += "print(json.dumps(dict(os.environ)))"
    return subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT / "scripts" / "launch",
        env=environment,
        capture_output=True,
        text=True,
    )
