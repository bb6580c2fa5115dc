"""Huey's private and inner names that we rely on: a Huey without one fails here, with a sentence, not in a worker."""

from __future__ import annotations

import inspect
from pathlib import Path

import huey
import pytest
from huey import api, consumer, serializer, signals, storage
from huey.registry import Message

from app.config import ROOT
from app.execution.consumer import LedgerConsumer, LedgerHuey, LedgerScheduler, LedgerWorker
from app.queue import TicketSerializer

HUEY = f"Huey {huey.__version__}"
SIGNATURES = {  # what we override, call with arguments or hand something to: its parameters
    (consumer.Worker, "__init__"): "self huey stop_flag default_delay max_delay backoff max_tasks",
    (consumer.Worker, "initialize"): "self",
    (consumer.Worker, "loop"): "self now",
    (consumer.Worker, "sleep"): "self",
    (consumer.Worker, "shutdown"): "self",
    (consumer.Scheduler, "initialize"): "self",
    (consumer.Scheduler, "loop"): "self now",
    (consumer.Scheduler, "shutdown"): "self",
    (consumer.Consumer, "start"): "self",
    (consumer.Consumer, "stop"): "self graceful",
    (consumer.Consumer, "check_worker_health"): "self",
    (consumer.Consumer, "_interrupt_workers"): "self",
    (consumer.Consumer, "_create_worker"): "self",
    (consumer.Consumer, "_create_process"): "self process name",
    (api.Huey, "create_consumer"): "self options",
    (api.Huey, "_timeout_context"): "self task",
    (api.Huey, "is_revoked"): "self task timestamp peek",
    (api.Huey, "delete"): "self key",
    (api.Huey, "dequeue"): "self",
    (api.Huey, "execute"): "self task timestamp",
    (api.Huey, "enqueue"): "self task",
    (api.Huey, "pending_count"): "self",
    (api.Huey, "pre_execute"): "self name",
    (api.Huey, "post_execute"): "self name",
    (api.Huey, "signal"): "self signals",
    (serializer.SignedSerializer, "__init__"): "self secret salt kwargs",
    (serializer.SignedSerializer, "_sign"): "self message",
    (serializer.SignedSerializer, "_unsign"): "self signed",
    (serializer.SignedSerializer, "_serialize"): "self message",
    (serializer.SignedSerializer, "_deserialize"): "self data",
    (storage.BaseSqlStorage, "initialize_schema"): "self",
    (storage.BaseSqlStorage, "close"): "self",
}
USES = (  # who of Huey must use which name, or our override of it or what we read in it means nothing
    (api.Huey, "_execute", "self._timeout_context(task)"),
    (api.Huey, "_execute", "self._tasks_in_flight.add(task)"),
    (api.Huey, "_execute", "self._run_pre_execute(task)"),
    (api.Huey, "_execute", "self._run_post_execute(task, task_value, exception)"),
    (api.Huey, "_execute", "self._emit(S.SIGNAL_INTERRUPTED, task)"),
    (api.Huey, "_execute", "self._emit(S.SIGNAL_CANCELED, task)"),
    (api.Huey, "_execute", "self.delete(task.revoke_id)"),
    (api.Huey, "execute", "self.is_revoked(task, timestamp, False)"),
    (api.Huey, "_run_pre_execute", "callback(task)"),
    (api.Huey, "_run_post_execute", "callback(task, task_value, exception)"),
    (consumer.ProcessEnvironment, "init_child", "process.huey._tasks_in_flight"),  # a stop interrupts only tasks
    (consumer.Worker, "loop", "self.huey.dequeue()"),
    (consumer.Worker, "loop", "self.huey.storage.blocking"),
    (consumer.Worker, "loop", "self.task_count += 1"),
    (consumer.Worker, "loop", "self.sleep()"),
    (consumer.Worker, "loop", "self.delay = self.default_delay"),
    (consumer.Worker, "sleep", "self.stop_flag.wait(self.delay)"),
    (consumer.Consumer, "_create_process", "except WorkerRecycle"),
    (consumer.Consumer, "_create_process", "process.shutdown()"),
    (consumer.Consumer, "_create_process", "process.initialize()"),
    (consumer.Consumer, "stop", "self._interrupt_workers()"),
    (consumer.Consumer, "_interrupt_workers", "self.worker_threads"),
    (consumer.Consumer, "loop", "self.check_worker_health()"),
    (consumer.Consumer, "check_worker_health", "self.worker_threads"),
    (consumer.Consumer, "_create_worker", "self.worker_class("),
    (consumer.Consumer, "_create_scheduler", "self.scheduler_class("),
)


@pytest.mark.parametrize("owner, name", SIGNATURES, ids=lambda value: getattr(value, "__name__", value))
def test_huey_has_what_we_override_and_call(owner, name):
    method = getattr(owner, name, None)
    assert method is not None, f"{HUEY} has no {owner.__name__}.{name} any more"
    has, wanted = " ".join(inspect.signature(method).parameters), SIGNATURES[owner, name]
    assert has == wanted, f"{HUEY}: {owner.__name__}.{name} takes ({has}), we count on ({wanted})"


@pytest.mark.parametrize("owner, name, text", USES, ids=lambda value: getattr(value, "__name__", value))
def test_huey_uses_what_we_replace_and_read(owner, name, text):
    method = getattr(owner, name, None)
    assert method is not None, f"{HUEY} has no {owner.__name__}.{name} any more, in which we count on `{text}`"
    assert text in inspect.getsource(method), f"{HUEY}: {owner.__name__}.{name} no longer says `{text}`"


@pytest.mark.parametrize("ours, theirs", [
    (LedgerWorker, consumer.Worker), (LedgerScheduler, consumer.Scheduler), (LedgerConsumer, consumer.Consumer),
    (LedgerHuey, api.Huey), (TicketSerializer, serializer.SignedSerializer),
], ids=lambda value: value.__name__)
def test_each_name_that_we_override_is_listed(ours, theirs):
    own = {name for name, value in vars(ours).items() if inspect.isfunction(value) and hasattr(theirs, name)}
    listed = {name for owner, name in SIGNATURES if owner is theirs}
    assert own <= listed, f"{ours.__name__} overrides {sorted(own - listed)}: add it to SIGNATURES"


def test_huey_s_objects_have_the_attributes_that_we_read(tmp_path):
    instance = huey.SqliteHuey("x", filename=str(tmp_path / "one.db"), fsync=False, timeout=1, create_tables=False)
    parent = instance.create_consumer(workers=1, worker_type="process", periodic=False)
    worker, process = parent.worker_threads[0]
    for thing, names in (
        (worker, "task_count delay default_delay stop_flag huey"), (process, "pid exitcode start join is_alive kill"),
        (parent, "worker_threads scheduler huey"), (parent.scheduler, "pid"), (worker.stop_flag, "is_set wait"),
        (instance, "_tasks_in_flight storage"), (instance.storage, "_conn filename blocking close initialize_schema"),
        (instance.task(context=True, name="t", retries=0)(lambda task=None: None), "task_class s"),
        (Message(id="", name=""), "id name eta retries args kwargs"), (signals, "SIGNAL_INTERRUPTED SIGNAL_CANCELED"),
    ):
        for name in names.split():
            assert hasattr(thing, name), f"{HUEY}: {type(thing).__name__} has no {name} any more"


def test_a_ticket_file_is_changed_by_its_name_and_connection(tmp_path):
    """What `Tickets.open` does: the store has one connection, in `_conn`, and opens `filename` when that is None."""
    store = huey.SqliteHuey("x", filename=str(tmp_path / "one.db"), create_tables=False).storage
    for name in ("two.db", "three.db"):
        store._conn, store.filename = None, str(tmp_path / name)
        store.initialize_schema()
        store.enqueue(b"x")
        assert (tmp_path / name).exists(), f"{HUEY}: a store opened {store.filename} no more"
    assert store.queue_size() == 1 and not (tmp_path / "one.db").exists()


def test_huey_s_version_is_held():
    lines = Path(ROOT / "pyproject.toml").read_text().splitlines()
    assert any(line.strip().startswith('"huey>=3.5,<3.6",') for line in lines)
    assert huey.__version__.startswith("3.5."), f"{HUEY}: read its changes, then this file"
