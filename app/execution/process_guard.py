"""What a job may not leave behind in its worker's process, so that it does not affect the next job.

`ProcessGuard.restore` runs after each job and costs some microseconds when nothing was changed. It restores working
folder, umask, environment, handlers of signals, limits, standard streams and logging, and it ends transactions that a
job has left open on the pool of SQLAlchemy: one of them would keep SQLite's write lock from all others, this worker's
own settle included. A copy of the worker that a job has made with os.fork and that returns into our code is ended:
two processes must never settle one claim.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
import traceback
import warnings
from _signal import getsignal  # as in alarm.py
from typing import Any

from flask import Flask, has_app_context
from flask.globals import app_ctx
from sqlalchemy import Engine, Pool, event

from app.execution import capture
from app.execution.alarm import JobAlarm
from app.ledger.dialect import Connection
from app.support.open_files import in_transaction
from app.support.redaction import printable, redact

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_limit = resource.getrlimit
_LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_CPU)


def _working_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return None


def _interpreter() -> tuple[Any, ...]:
    return sys.getrecursionlimit(), socket.getdefaulttimeout(), gc.isenabled(), sys.gettrace()


class _Never(Warning):
    """A category that no warning has."""


class WorkerContext:
    """One application context for all jobs of a worker, each with a new `g`: to push and pop one costs a tenth of a
    short job."""

    def __init__(self, app: Flask) -> None:
        self.app, self._context = app, None

    def __enter__(self) -> None:
        if has_app_context() and app_ctx._get_current_object() is self._context:
            self._context.g = self.app.app_ctx_globals_class()
        else:  # the first job, or one that has pushed or popped contexts of its own
            self._context = self.app.app_context()
            self._context.push()

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        if len(self.app.teardown_appcontext_funcs) > 1:  # more than SQLAlchemy's, whose session the runner has removed
            self.app.do_teardown_appcontext(error)


class ProcessGuard:
    """The state of a worker's process when it has started, which `restore` compares and puts back. Made once."""

    def __init__(self, connection: Connection, app: Flask) -> None:
        self.pid, self.connection, self.context = os.getpid(), connection, WorkerContext(app)
        self.streams = capture.install()
        self._folder, self._umask = os.getcwd(), 0o077
        self._environ = dict(os.environb)
        self._handlers = {int(number): getsignal(number) for number in _SIGNALS}
        self._limits = list(map(_limit, _LIMITS))
        self._interpreter = _interpreter()
        root = logging.getLogger()
        self._logging = list(root.handlers), root.level
        self._threads = threading.enumerate()
        self._checked_out: dict[int, Any] = {}
        event.listen(Engine, "begin", lambda _: connection.files and connection.files.check())
        event.listen(Pool, "checkout", lambda raw, record, _: self._checked_out.__setitem__(id(record), record))
        event.listen(Pool, "checkin", lambda _, record: self._checked_out.pop(id(record), None))
        os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        """Run in a process that a job has forked (multiprocessing, os.fork). It is no worker: SIGTERM ends it, and it
        keeps no log lines."""
        if capture.Capture.lines is not None:
            capture.Capture.lines.after_fork()
        capture.Capture.lines = JobAlarm.current = None
        for number in (*_SIGNALS, signal.SIGALRM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGINT})

    def end_if_forked(self, error: BaseException | None = None) -> None:
        """End this process if it is a copy of the worker that a job has forked; `error` is what the job raised."""
        if os.getpid() == self.pid:
            return
        if error is not None and not isinstance(error, SystemExit):
            with contextlib.suppress(Exception):
                os.write(2, printable(redact("".join(traceback.format_exception(error))[-16_384:])).encode())
        code = error.code if isinstance(error, SystemExit) else int(error is not None)
        os._exit(code if isinstance(code, int) else int(code is not None))

    def restore(self) -> list[str]:
        """Put back what a job has changed; returns the names of what it was."""
        if self._is_unchanged():
            return []
        changed = []
        if os.umask(self._umask) != self._umask:
            changed.append("umask")
        if _working_folder() != self._folder:
            os.chdir(self._folder)
            changed.append("working folder")
        if getattr(os.environ, "_data", None) != self._environ and dict(os.environb) != self._environ:
            for name in set(os.environb) - set(self._environ):
                del os.environb[name]
            os.environb.update(self._environ)
            changed.append("environment")
        for number, handler in self._handlers.items():
            if getsignal(number) is not handler:
                signal.signal(number, handler)
                changed.append(f"handler of {signal.Signals(number).name}")
        changed += [*self._restore_limits(), *self._restore_output(), *self._close_transactions()]
        if capture.Capture.warned:
            capture.Capture.warned = False
            warnings.simplefilter("ignore", category=_Never, append=True)  # its only effect: warnings are shown again
        return changed

    def _is_unchanged(self) -> bool:
        """Whether `restore` has nothing to do; fast, because each job pays for it."""
        root = logging.root
        one, two, three = self._handlers.items()
        return (
            os.umask(self._umask) == self._umask and _working_folder() == self._folder
            and not self._checked_out and not capture.Capture.warned
            and getattr(os.environ, "_data", None) == self._environ
            and getsignal(one[0]) is one[1] and getsignal(two[0]) is two[1] and getsignal(three[0]) is three[1]
            and _limit(resource.RLIMIT_FSIZE) == self._limits[1] and _limit(resource.RLIMIT_NOFILE) == self._limits[0]
            and sys.stdout is self.streams[0] and sys.stderr is self.streams[1]
            and root.handlers == self._logging[0] and root.level == self._logging[1] and not root.manager.disable
            and _interpreter() == self._interpreter)

    def new_threads(self) -> list[str]:
        """Names of the threads that the last job has left running."""
        if threading.active_count() == len(self._threads):
            return []
        alive = [thread for thread in threading.enumerate() if thread.is_alive()]
        names = [thread.name[:40] for thread in alive if thread not in self._threads]
        self._threads = alive
        return names

    def _restore_limits(self) -> list[str]:
        changed = []
        for limit, before in zip(_LIMITS, self._limits, strict=True):
            if resource.getrlimit(limit) != before:
                with contextlib.suppress(OSError, ValueError):  # a lowered hard limit stays, unless we are root
                    resource.setrlimit(limit, before)
                changed.append("limits")
        if _interpreter() != self._interpreter:
            depth, timeout, collects, trace = self._interpreter
            sys.setrecursionlimit(depth)
            socket.setdefaulttimeout(timeout)
            (gc.enable if collects else gc.disable)()
            sys.settrace(trace)
            changed.append("interpreter")
        return changed

    def _restore_output(self) -> list[str]:
        changed, root = [], logging.getLogger()
        if sys.stdout is not self.streams[0] or sys.stderr is not self.streams[1]:
            sys.stdout, sys.stderr = self.streams
            changed.append("standard output")
        handlers, level = self._logging
        if root.handlers != handlers or root.level != level or root.manager.disable:
            root.handlers[:] = handlers
            root.setLevel(level)
            logging.disable(logging.NOTSET)
            changed.append("logging")
        return changed

    def _close_transactions(self) -> list[str]:
        left = [record for record in list(self._checked_out.values())
                if record.dbapi_connection is not None and in_transaction(record.dbapi_connection)]
        for record in left:
            with contextlib.suppress(Exception):
                record.invalidate()
        return ["an open transaction"] * bool(left)
