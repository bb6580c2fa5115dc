"""The settings of gunicorn, for run.sh and for the supervisor of a server.

There is one worker process with threads: the pages are small, and one process saves memory and shares its short-lived
caches. Requests are logged to stdout, everything else to stderr; the supervisor writes both to files and rotates them.
"""

import os

from gunicorn.glogging import Logger, SafeAtoms

_host, _port = os.environ.get("HOST") or "127.0.0.1", os.environ.get("PORT") or "8000"
bind = [f"[{_host}]:{_port}" if ":" in _host else f"{_host}:{_port}"]
worker_class = "deploy.gunicorn_worker.PatientWorker"  # threaded; slow connections take no thread
workers = 1
threads = 24
worker_connections = 500  # the limit of open files can be 1,024
sendfile = False  # it would bypass the minimum rate of a connection
preload_app = False
timeout = 60
graceful_timeout = 3
keepalive = 15  # pages poll every 5 seconds and keep their connection
control_socket_disable = True  # gunicorn would create one in the home folder
# A slow disk must not look like a blocked worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
forwarded_allow_ips = ""  # the site itself decides which proxies to trust (TRUSTED_PROXIES)
umask = 0o077

accesslog = "-"
errorlog = "-"
access_log_format = '%(t)s %(h)s "%(m)s %(U)s" %(s)s %(b)s %(L)ss'  # %(U)s is the path without the query string


class _OneLineAtoms(SafeAtoms):
    """Escapes the values of the access log: a line break in a decoded path could forge a line."""

    def __init__(self, atoms):
        super().__init__({name: _plain(value) for name, value in atoms.items()})


class logger_class(Logger):  # noqa: N801  (gunicorn's name for the setting)
    """gunicorn's logger with escaped values in the access log."""

    atoms_wrapper_class = _OneLineAtoms


def _plain(value):
    if not isinstance(value, str):
        return value
    text = value.encode("latin-1", "replace").decode("utf-8", "replace")[:8192].replace("\\", "\\\\")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def post_worker_init(worker):
    """Log the warnings about the settings once, when the worker starts."""
    for line in worker.wsgi.extensions["settings"].warnings:
        worker.log.warning(line)


def post_fork(server, worker):
    """A worker never outlives its master, not even one killed with -9."""
    from scripts.launch.common import die_with_parent  # the master has no need of it

    die_with_parent(server.pid, "SIGKILL")
