"""Places of a consumer: the place of a worker that a person has stopped is empty until a person starts it again.

    person: `command = 'start'` in the row of the stopped worker
    -> the Scheduler child of the consumer reads it each second (the parent never uses the database) and takes it with
       one guarded UPDATE -> a byte through a pipe -> the parent starts a worker

The row contains the id of its consumer, so another consumer, or a restarted one, never takes the request. A consumer
that ends writes this into the rows of its empty places. The pipe ends with the consumer and needs no shared folder,
unlike a file.

`stop_code`, in the row of a worker that a person has stopped, is EMPTY while its place is empty, FILLED after another
worker was started there, ENDED when its consumer has ended. RETIRED: autoscaling has ended the worker, and its place is
gone. The sentence in `reason` is for people.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct

from app.ledger.dialect import Connection, database_errors
from app.support.messages import Message, to_json
from app.support.process import has_ended, is_here

EMPTY, FILLED, ENDED, RETIRED = "empty", "filled", "ended", "retired"
STOPPED, AGAIN = Message("stopped by hand"), Message("stopped by hand; started again")
LEAVING, NOTES, _NOTE = (EMPTY, RETIRED), 1024, struct.Struct("ii")
TOO_MANY = Message("retired: autoscaling needs fewer workers")
STARTED_BY_HAND, MORE = b"1", b"+"  # what one byte in the pipe asks for
UNFILLED = Message("stopped by hand; then its consumer ended")
_MINE = f"consumer_id = :c AND status = 'stopped' AND stop_code = '{EMPTY}'"
_ASKED = f"SELECT id FROM worker_heartbeats WHERE {_MINE} AND command = 'start'"
_TAKE = f"""UPDATE worker_heartbeats SET command = NULL, stop_code = '{FILLED}', reason = :why, reason_json = :json
 WHERE id = :id AND {_MINE} AND command = 'start'"""
_END = f"""UPDATE worker_heartbeats SET command = NULL, stop_code = '{ENDED}',
 reason = :why, reason_json = :json WHERE {_MINE}"""


def can_start(status: str, stop_code: str | None, consumer_id: str, host: str) -> bool:
    """Whether the place of this row is empty and its consumer may start a worker: it lives on this machine, or it is on
    another machine."""
    if status != "stopped" or stop_code != EMPTY:
        return False
    return not has_ended(consumer_id) if is_here(consumer_id) else host != socket.gethostname()


class Places:
    """Made by the consumer before it forks. Its Scheduler child calls `look` and `end`, the consumer calls `asked`.

    `kept` is the number of places in which a worker should run, written by the consumer; `empty` is how many a person
    has emptied. A worker that leaves its place notes its pid. All of it is memory that the consumer and its children
    share: by the exit code a job that calls `os._exit` could take the place of its worker away.
    """

    def __init__(self, url: str, consumer_id: str, workers: int = 0) -> None:
        self.connection, self.consumer_id = Connection(url, wait_s=1), consumer_id
        self._shared, self._left = mmap.mmap(-1, 2), mmap.mmap(-1, _NOTE.size * NOTES)
        self.tell(workers, 0)
        self._out, self._in = os.pipe()
        os.set_blocking(self._out, False)
        self._unread = b""

    def tell(self, kept: int, empty: int) -> None:
        """In the consumer: set `kept` and `empty` for its children."""
        self._shared[0], self._shared[1] = kept, empty

    def leave(self, stop_code: str | None) -> None:
        """In a worker that ends: note that its place is empty (EMPTY) or gone (RETIRED)."""
        if stop_code in LEAVING:
            _NOTE.pack_into(self._left, os.getpid() % NOTES * _NOTE.size, os.getpid(), LEAVING.index(stop_code))

    def left(self, pid: int) -> str | None:
        """What the worker with this pid has noted."""
        noted, code = _NOTE.unpack_from(self._left, pid % NOTES * _NOTE.size)
        return LEAVING[code] if noted == pid else None

    kept = property(lambda self: self._shared[0])
    empty = property(lambda self: self._shared[1])

    def look(self) -> None:
        """Take the requests to start workers. An error of the database is ignored: the next call is a second later."""
        with contextlib.suppress(*database_errors()):
            for (id_,) in self.connection.fetch_all(_ASKED, c=self.consumer_id):
                with self.connection.transaction() as tx:
                    taken = tx.execute(_TAKE, id=id_, c=self.consumer_id, why=AGAIN, json=to_json(AGAIN))
                os.write(self._in, STARTED_BY_HAND * taken)
            return
        self.connection.close()

    def end(self) -> None:
        """Write that the empty places of this consumer have ended. Errors of the database are ignored."""
        with contextlib.suppress(*database_errors()):
            if self.connection.fetch_all(f"SELECT 1 FROM worker_heartbeats WHERE {_MINE}", c=self.consumer_id):
                with self.connection.transaction() as tx:
                    tx.execute(_END, c=self.consumer_id, why=UNFILLED, json=to_json(UNFILLED))

    def ask_for_more(self) -> None:
        """In the Scheduler child: ask for one worker more than there are places."""
        os.write(self._in, MORE)

    def asked(self, what: bytes = STARTED_BY_HAND) -> int:
        """How many workers of this kind (a byte) were requested since the last call for it."""
        with contextlib.suppress(BlockingIOError):
            self._unread += os.read(self._out, 1000)
        before, self._unread = self._unread, self._unread.replace(what, b"")
        return len(before) - len(self._unread)
