"""What is left of the machine: files of control groups, processes that compute."""

from __future__ import annotations

import multiprocessing
import os
import time

import psutil
import pytest

from app.support import machine as module
from app.support.machine import Machine

MB = 2**20


def group(root, path: str, **files: str) -> None:
    (root / path).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / path / name.replace("_", ".", 1)).write_text(text)


def test_without_a_control_group_it_is_the_machine(tmp_path):
    free, total = Machine(tmp_path / "none", tmp_path / "none").memory()
    assert total == psutil.virtual_memory().total and 0 < free <= total


def test_the_nearest_bound_of_all_groups_above_counts_and_old_files_in_the_cache_are_free(tmp_path):
    own = tmp_path / "own"
    own.write_text("1:name=systemd:/x\n0::/site/workers\n")
    group(tmp_path, "site", memory_max=f"{400 * MB}\n", memory_current=f"{350 * MB}\n")
    (tmp_path / "site/memory.stat").write_text(f"anon 1\ninactive_file {30 * MB}\nfile 3\n")
    group(tmp_path, "site/workers", memory_max="max\n", memory_current="1\n")
    assert Machine(tmp_path, own).memory() == (80 * MB, 400 * MB)
    (tmp_path / "site/memory.current").write_text(str(900 * MB))
    assert Machine(tmp_path, own).memory() == (0, 400 * MB)
    (tmp_path / "site/memory.max").write_text("nonsense")
    assert Machine(tmp_path, own).memory()[1] == psutil.virtual_memory().total


def test_version_1_counts_too(tmp_path):
    (tmp_path / "memory").mkdir()
    for name, text in (("limit_in_bytes", 300 * MB), ("usage_in_bytes", 100 * MB)):
        (tmp_path / "memory" / f"memory.{name}").write_text(str(text))
    assert Machine(tmp_path, tmp_path / "none").memory() == (200 * MB, 300 * MB)


def test_a_container_that_uses_all_of_its_share_is_busy_on_an_idle_machine(tmp_path, monkeypatch):
    clock = iter((0.0, 2.0, 4.0, 6.0))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    times = iter([(5.0 * n, 0.0, 0.0, 90.0 * n, 5.0 * n) for n in range(5)])  # user, nice, system, idle, waiting for a disk
    monkeypatch.setattr(module.psutil, "cpu_times", lambda: next(times))
    group(tmp_path, "", cpu_max="50000 100000")
    (tmp_path / "cpu.stat").write_text("usage_usec 1000000\n")
    found = Machine(tmp_path, tmp_path / "none")
    (tmp_path / "cpu.stat").write_text("usage_usec 1900000\n")
    assert found.busy() == 0.9, "0.9 s of the 1 s that half a core has in 2 s"
    assert found.busy() == pytest.approx(0.05)
    (tmp_path / "cpu.max").write_text("max 100000")
    (tmp_path / "cpu.stat").write_text("usage_usec 99000000\n")
    assert found.busy() == pytest.approx(0.05)


def burn() -> None:
    while True:
        pass


def test_processes_that_compute_are_told_from_those_that_wait():
    spawn = multiprocessing.get_context("fork")
    computing, waiting = (spawn.Process(target=target, args=args) for target, args in ((burn, ()), (time.sleep, (60,))))
    try:
        computing.start()
        waiting.start()
        found = []
        while found[-1:] != [1] and len(found) < 200:  # one that is to wait computes until it has begun, for a while on a busy machine
            time.sleep(0.1)
            found.append(Machine().computing(os.getpid()))
        assert found[-1] == 1, found
    finally:
        computing.kill()
        waiting.kill()
        computing.join()
        waiting.join()
