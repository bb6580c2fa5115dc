"""Executes one program of the site: `program.py web|monitor|workers [--env-file FILE]`.

A supervisor starts it. It makes new files private, asks the kernel to end it with the supervisor, removes secrets that
only another program needs from the environment, and executes the command. Under run.sh the launcher has read `.env`;
the supervisor of a server names a file.
"""

import os
import sys
from pathlib import Path

import common
from common import ROOT, fail, names_that_reach

# Variables of the supervisor, Flask and gunicorn (like FLASK_DEBUG) reach no program. A secret of the product reaches
# only the program that needs it (`reach` in the table of settings). All other variables reach web, monitor and workers:
# the jobs of a team read some, and others decide at import which job types and schedules exist, which must be the same
# in all three.
NOBODYS = ("AINSTEIN_", "SUPERVISOR_", "FLASK_", "GUNICORN_")
# The signal that each program gets when its supervisor ends. The web finishes its answers. Monitor and workers end at
# once, as after a power cut, so that the next start never waits for a long job.
AFTER_SUPERVISOR = {"web": "SIGTERM", "monitor": "SIGKILL", "workers": "SIGKILL"}


def main(name: str, env_file: str | None = None) -> None:
    """Become the program `name`, with the settings of `env_file` if there is one."""
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
        if name == "monitor":  # a site has one monitor, so it writes the settings
            common.tell_settings(data_dir())
    except OSError as error:
        fail(f"DATA_DIR={str(data_dir())!r} cannot be used: {error.strerror}", 2)
    become(name, {"AINSTEIN_PARENT_PID": str(parent)})


def become(name: str, extra: dict[str, str]) -> None:
    """Execute the program in this process: it keeps the pid, so the supervisor's signals reach it."""
    arguments = [sys.executable, "-m", *command(name)]
    os.execve(sys.executable, arguments, environment(name) | extra | {common.READ: "1"})


def command(name: str) -> list[str]:
    """The Python module of a program and its arguments, for `python -m`."""
    if name == "web":
        return ["gunicorn", "--config", "deploy/gunicorn.conf.py", "wsgi:app"]
    if name == "monitor":
        return ["app.cli.monitor"]
    default = {setting.name: setting.default for setting in common.known_settings()}
    workers, grace = (os.environ.get(variable) or default[variable] for variable in ("WORKERS", "GRACE"))
    # never -f, because it empties the queue; -n turns off Huey's own cron; the delays were chosen by measured latency
    options = f"-k process -w {workers} -g TERM -n -c 1 -d 0.05 -m 0.5 -t {grace}"
    return ["huey.bin.huey_consumer", "app.worker.huey", *options.split()]


def environment(name: str) -> dict[str, str]:
    """The environment without the secrets that only another program needs."""
    others = names_that_reach("start", *(program for program in AFTER_SUPERVISOR if program != name))
    kept = {n: v for n, v in os.environ.items() if n not in others and not n.startswith(NOBODYS)}
    return kept | common.OWN_FILE_ONLY | {"DATA_DIR": str(data_dir())}


def data_dir() -> Path:
    """The absolute path of DATA_DIR; the project's `instance` when it is not set."""
    return Path(os.environ.get("DATA_DIR", "").strip() or ROOT / "instance").expanduser().absolute()


if __name__ == "__main__":
    given = sys.argv[1:]
    known = given and given[0] in AFTER_SUPERVISOR
    if not known or given[1:2] not in ([], ["--env-file"]) or len(given) not in (1, 3):
        fail(f"usage: program.py {'|'.join(AFTER_SUPERVISOR)} [--env-file FILE]", 2)
    main(given[0], given[2] if len(given) == 3 else None)
