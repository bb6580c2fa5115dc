"""Configures and starts supervisord as a child of the launcher."""

import os
import shlex
import signal
import sys
from pathlib import Path

from common import ROOT, die_with_parent, hold


def write_supervisor_config(folder: Path, grace: int) -> None:
    """Write DATA_DIR/run/supervisord.conf. Workers stop first, within `grace` seconds, so that people can watch the
    last jobs end in the browser.

    Paths are relative to DATA_DIR, where supervisord runs, or come from the environment, because its parser gives `%`,
    ` ;` and ` #` in a path a meaning.
    """
    programs = [("web", 10, 10), ("monitor", 20, 10), ("workers", 30, grace + 10)]
    path = socket_path(folder)
    text = f"""\
; Written at each start by scripts/launch/launcher.py. From DATA_DIR: supervisorctl -c run/supervisord.conf status
[supervisord]
nodaemon=true
silent=true
umask=077
identifier=ainstein
logfile=logs/supervisord.log
logfile_maxbytes=5MB
logfile_backups=3
childlogdir=logs
pidfile=run/supervisord.pid
{"user=" + str(os.geteuid()) if os.geteuid() == 0 else ""}
[unix_http_server]
file={path.replace("%", "%%")}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{path.replace("%", "%%")}
"""
    for name, priority, stop_seconds in programs:
        text += f"""
[program:{name}]
command=%(ENV_AINSTEIN_PROGRAM)s {name}
priority={priority}
autorestart=true
startretries=1000000000
stopasgroup=false
killasgroup=true
stopwaitsecs={stop_seconds}
umask=077
stdout_logfile=logs/{"access" if name == "web" else name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=5
"""
        if name == "web":  # gunicorn writes requests to stdout, all else to stderr
            text += "stderr_logfile=logs/web.log\nstderr_logfile_maxbytes=10MB\nstderr_logfile_backups=5\n"
        else:
            text += "redirect_stderr=true\n"
    (folder / "run" / "supervisord.conf").write_text(text)


def socket_path(folder: Path) -> str:
    """The path of supervisord's socket, relative to DATA_DIR. A path too long for a socket (108 bytes, to which
    supervisord adds its pid for a moment) is replaced by one in a private temporary folder, which the next start
    removes."""
    note = folder / "run" / "socket-folder"
    if note.exists():
        import shutil  # imported here: it and tempfile cost 1 MB and are seldom needed

        old = Path(note.read_text())
        if old.name.startswith("ainstein-") and old.is_dir() and old.stat().st_uid == os.geteuid():
            shutil.rmtree(old, ignore_errors=True)
        note.unlink()
    (folder / "run" / "supervisor.sock").unlink(missing_ok=True)  # of a supervisord that was killed
    if len(os.fsencode(folder / "run" / "supervisor.sock")) <= 95:
        return "run/supervisor.sock"
    import tempfile

    private = tempfile.mkdtemp(prefix="ainstein-")
    note.write_text(private)
    return f"{private}/supervisor.sock"


def start_supervisor(folder: Path, lock: int, environ: dict[str, str]) -> int:
    """Start supervisord; returns its pid. It has a session of its own, so that a Ctrl-C on the terminal reaches only
    the launcher, which stops it in order."""
    launcher = os.getpid()
    program = ROOT / "scripts" / "launch" / "program.py"
    environ = environ | {"AINSTEIN_PROGRAM": shlex.join([sys.executable, str(program)])}
    child = os.fork()
    if child:
        return child
    try:
        os.close(lock)
        os.setsid()
        die_with_parent(launcher, "SIGTERM")
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(signum, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        hold(folder / "run" / "alive")
        os.chdir(folder)
        environ["AINSTEIN_SUPERVISOR"] = str(os.getpid())  # program.py compares it with its parent's pid
        arguments = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", "run/supervisord.conf"]
        os.execve(sys.executable, arguments, environ)
    finally:
        os._exit(127)
