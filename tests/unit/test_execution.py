"""What a worker's process is built of: the dispatch without an application, durability by application, one attempt at a time."""

from __future__ import annotations

import subprocess
import sys

from app.config import ROOT


def test_a_dispatch_without_an_application_says_what_is_missing():
    code = (
        "from app import registry\n"
        "@registry.job('Lonely')\n"
        "def lonely(): pass\n"
        "try: lonely.dispatch()\n"
        "except RuntimeError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said == "Lonely.dispatch needs the application: use `with app.app_context(): ...; db.session.commit()`\n"
