"""What a worker's process is built of: dispatch and its application, durability, one alarm for one attempt."""

from __future__ import annotations

import subprocess
import sys

from app import create_app
from app.config import ROOT, load_settings
from app.extensions import db


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_dispatch_without_an_application_says_what_is_missing():
    code = (
        "from app.jobs import job\n"
        "@job('Lonely')\n"
        "def lonely(): pass\n"
        "try: lonely.dispatch()\n"
        "except RuntimeError as error: print(error)\n"
    )
    assert run(code).startswith("Lonely.dispatch needs the application: use `with app.app_context(): ...;")


def test_durability_is_an_application_s_own(tmp_path):
    """A worker beside a web in one process: neither changes what a power cut may take from the other."""
    levels = {}
    for name, options in (("worker", {"synchronous": "NORMAL"}), ("web", {})):
        application = create_app(load_settings({"DATA_DIR": str(tmp_path / name)}), **options)
        (tmp_path / name).mkdir(exist_ok=True)
        levels[name] = application
    for name, application in levels.items():
        with application.app_context(), db.engine.connect() as connection:
            levels[name] = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
    assert levels == {"worker": 1, "web": 2}


ALARM = """
import threading, time
from types import SimpleNamespace
from app.execution.alarm import JobAlarm, JobTimeout, armed, signals_blocked
from app.execution.attempt import Attempt
threading.Thread(target=time.sleep, args=(2,), daemon=True).start()  # the kernel gives it the signal that we block
first = Attempt(SimpleNamespace(timeout=0.05, over=False))
with JobAlarm(first):
    try:
        with armed(first):
            with signals_blocked():
                time.sleep(0.2)
                print("the block ends")
            print("never")
    except JobTimeout:
        print("then the alarm", first.timed_out, first.armed)
    time.sleep(0.1)
second = Attempt(SimpleNamespace(timeout=0.05, over=False))
with JobAlarm(second):
    time.sleep(0.2)
    print("unarmed", second.timed_out)
third = Attempt(SimpleNamespace(timeout=0.05, over=False), outcome=object())
with JobAlarm(third), armed(third):
    time.sleep(0.2)
print("an outcome is set", third.timed_out)
"""


def test_the_alarm_waits_for_a_block_and_serves_one_attempt():
    """In a process of its own: the alarm is the process's one timer."""
    said = run(ALARM).splitlines()
    assert said == ["the block ends", "then the alarm True False", "unarmed True", "an outcome is set False"]
