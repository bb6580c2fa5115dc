"""gunicorn's settings, used by run.sh and by a server's own supervisor alike.

One worker process with threads: the pages are small, and one process keeps memory low and
short-lived caches whole. Requests go to stdout, everything else to stderr; the supervisor
writes both to files and rotates them.
"""

import os

from gunicorn.glogging import Logger, SafeAtoms

from scripts.common import die_with_parent

_host, _port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "8000"
bind = [f"[{_host}]:{_port}" if ":" in _host else f"{_host}:{_port}"]
worker_class = "deploy.gunicorn_worker.PatientWorker"  # threads; slow connections wait outside them
workers = 1
threads = 24
worker_connections = 500  # open files may be limited to 1,024
sendfile = False  # it would go past the pace that each connection must keep
preload_app = False
timeout = 60
graceful_timeout = 3
keepalive = 15  # pages ask every 5 seconds: they keep their connection
control_socket_disable = True  # otherwise it makes one in the home folder
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  (a slow disk must not look like a hang)
forwarded_allow_ips = ""  # the site itself decides whom to believe, by TRUSTED_PROXIES
umask = 0o077

accesslog = "-"
errorlog = "-"
access_log_format = '%(t)s %(h)s "%(m)s %(U)s" %(s)s %(b)s %(L)ss'  # %(U)s has no query string


class _OneLineAtoms(SafeAtoms):
    """The path arrives decoded: a line break or terminal code in it must not forge a line of the log."""

    def __init__(self, atoms):
        super().__init__({name: _plain(value) for name, value in atoms.items()})


class logger_class(Logger):  # noqa: N801  (gunicorn's name for the setting)
    atoms_wrapper_class = _OneLineAtoms


def _plain(value):
    if not isinstance(value, str):
        return value
    text = value.encode("latin-1", "replace").decode("utf-8", "replace")[:8192].replace("\\", "\\\\")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def post_worker_init(worker):
    """Said once, where an operator looks: what the settings mean for the web."""
    for line in worker.wsgi.extensions["settings"].warnings:
        worker.log.warning(line)


def post_fork(server, worker):
    """A worker never outlives its master, not even one killed with -9."""
    die_with_parent(server.pid, "SIGKILL")
