"""Become one program of the site: `program.py web|monitor|workers [--env-file FILE]`.

A supervisor starts this; it makes files private, ties its life to the supervisor's, leaves out
the secrets that only another program needs, and turns into the real command.
Under run.sh the launcher has read `.env`; a server's own supervisor names a file instead.
"""

import os
import sys
from pathlib import Path

import common
from common import ROOT, fail, names_that_reach

# Variables of the supervisor, Flask and gunicorn themselves (FLASK_DEBUG) are no program's. A secret of the product
# reaches the one program that needs it (`reach` in the table of settings); all else reaches web, monitor and workers
# alike: what a team's jobs read, and what decides at import whether a job type or a schedule is declared, must be the
# same in all three.
NOBODYS = ("AINSTEIN_", "SUPERVISOR_", "FLASK_", "GUNICORN_")
# What each gets when its supervisor is gone: the web may finish its answers, and a monitor or worker
# ends at once, as after a power cut, so that the next start never waits for a long job.
AFTER_SUPERVISOR = {"web": "SIGTERM", "monitor": "SIGKILL", "workers": "SIGKILL"}


def main(name: str, env_file: str | None = None) -> None:
    os.umask(0o077)
    common.take_over()
    parent = int(os.environ.get("AINSTEIN_SUPERVISOR") or os.getppid())
    common.die_with_parent(parent, AFTER_SUPERVISOR[name])
    os.chdir(ROOT)
    if env_file:
        common.load_env_file(Path(env_file))
    run = data_dir() / "run"
    try:
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        common.hold(run / "alive")
        if name == "monitor":  # one a site, whoever starts it
            common.tell_settings(data_dir())
    except OSError as error:
        fail(f"DATA_DIR={str(data_dir())!r} cannot be used: {error.strerror}", 2)
    become(name, {"AINSTEIN_PARENT_PID": str(parent)})


def become(name: str, extra: dict[str, str]) -> None:
    """Replace this process by the program; it keeps the pid, and with it the supervisor's signals."""
    arguments = [sys.executable, "-m", *command(name)]
    os.execve(sys.executable, arguments, environment(name) | extra | {common.READ: "1"})


def command(name: str) -> list[str]:
    if name == "web":
        return ["gunicorn", "--config", "deploy/gunicorn.conf.py", "wsgi:app"]
    if name == "monitor":
        return ["flask", "--app", "wsgi", "monitor"]
    default = {setting.name: setting.default for setting in common.known_settings()}
    workers, grace = (os.environ.get(variable) or default[variable] for variable in ("WORKERS", "GRACE"))
    # never -f, which would throw away the queue; -n: Huey's own cron stays off; the rest is measured latency
    options = f"-k process -w {workers} -g TERM -n -c 1 -d 0.05 -m 0.5 -t {grace}"
    return ["huey.bin.huey_consumer", "app.worker.huey", *options.split()]


def environment(name: str) -> dict[str, str]:
    """The whole environment, but for secrets of the product that another program alone needs."""
    others = names_that_reach("start", *(program for program in AFTER_SUPERVISOR if program != name))
    kept = {n: v for n, v in os.environ.items() if n not in others and not n.startswith(NOBODYS)}
    return kept | common.OWN_FILE_ONLY | {"DATA_DIR": str(data_dir())}


def data_dir() -> Path:
    return Path(os.environ.get("DATA_DIR", "").strip() or ROOT / "instance").expanduser().absolute()


if __name__ == "__main__":
    given = sys.argv[1:]
    known = given and given[0] in AFTER_SUPERVISOR
    if not known or given[1:2] not in ([], ["--env-file"]) or len(given) not in (1, 3):
        fail(f"usage: program.py {'|'.join(AFTER_SUPERVISOR)} [--env-file FILE]", 2)
    main(given[0], given[2] if len(given) == 3 else None)
