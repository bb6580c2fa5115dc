"""A consumer's row in `consumers`: how many workers it should run now, and that it lives.

consumer (parent) -> one byte of shared memory (places.kept) -> its Scheduler child -> the row, each 5 s and at a change

The child writes, because the parent never uses the database. A row that somebody deleted is written again. A clean end
deletes the row; the row of a killed consumer stays until a consumer starts that can see that its process has ended, or
until the monitor forgets it. A host name proves nothing: containers and copied machines share one.
"""

from __future__ import annotations

import socket
import time

from app.ledger.dialect import Connection, Executor
from app.ledger.rows import insert, replacing
from app.support.messages import to_json
from app.support.process import has_ended

BEAT_S = 5.0
_NAMES = "consumer_id host process_id queue wanted least most started_ms beat_ms stale"
_REGISTER = insert("consumers", _NAMES.split(), "(consumer_id) " + replacing("wanted beat_ms stale"), stale="0")
_BEAT = "UPDATE consumers SET wanted = :wanted, beat_ms = :now WHERE consumer_id = :c"
_NOTE = "UPDATE consumers SET note = :note, note_json = :json, note_ms = :now WHERE consumer_id = :c"


class ConsumerRow:
    """The row of one consumer with workers for `queues`, `least` to `most` of them. Each method raises the errors of
    the database."""

    def __init__(self, connection: Connection, consumer_id: str, pid: int, queues: tuple[str, ...], least: int,
                 most: int) -> None:
        self.connection, self.consumer_id, self.started_ms = connection, consumer_id, 0
        self.least, self.most = least, most
        self.values = {"host": socket.gethostname(), "process_id": pid, "queue": ",".join(queues), "least": least,
                       "most": most}
        self._written: tuple[int, float] | None = None  # what, and when by the clock of this process

    def keep(self, wanted: int) -> None:
        """Write the row when it is new, when `wanted` differs, or when the last write was 5 s ago."""
        now = time.monotonic()
        if self._written and self._written[0] == wanted and now < self._written[1] + BEAT_S:
            return
        with self.connection.transaction() as tx:
            at = tx.now()
            if not (self._written and tx.execute(_BEAT, wanted=wanted, now=at, c=self.consumer_id)):
                for (id_,) in tx.fetch_all("SELECT consumer_id FROM consumers"):
                    if has_ended(id_):
                        tx.execute("DELETE FROM consumers WHERE consumer_id = :c", c=id_)
                self.started_ms = self.started_ms or at
                tx.execute(_REGISTER, consumer_id=self.consumer_id, wanted=wanted, started_ms=self.started_ms,
                           beat_ms=at, **self.values)
        self._written = wanted, now

    def note(self, tx: Executor, why: str) -> None:
        """Write the last decision of autoscaling, in the open transaction."""
        tx.execute(_NOTE, note=why, json=to_json(why), now=tx.now(), c=self.consumer_id)

    def end(self) -> None:
        """Delete the row."""
        if self._written:
            with self.connection.transaction() as tx:
                tx.execute("DELETE FROM consumers WHERE consumer_id = :c", c=self.consumer_id)
