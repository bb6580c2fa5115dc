"""What the long-lived programs do not load: each of these costs memory in every one of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.process.product import ROOT

SHOWN = "import sys; print(*sorted(set(sys.modules) & set(sys.argv[1].split())))"
PROGRAMS = {
    "monitor": "from app import create_app; create_app(pages=False, commands=False); import app.monitor.loop",
    "workers": "import app.worker",
    "web": "import wsgi",
    "a command": "import os, sys; os.environ['FLASK_RUN_FROM_CLI'] = 'true'; sys.argv[0] = '/bin/flask'; import wsgi",
}
NOT = "reportlab apprise openai pyotp segno"
LEAN = {
    "monitor": f"{NOT} alembic flask_migrate app.cli.main app.controllers.routes flask_login flask_wtf limits wsproto",
    "workers": f"{NOT} alembic flask_migrate app.cli.main app.controllers.routes flask_login flask_wtf limits wsproto",
    "web": f"{NOT} alembic flask_migrate app.cli.main app.execution.consumer",
    "a command": f"{NOT} app.controllers.routes limits wsproto",
}


def test_a_web_server_that_a_flask_command_has_started_has_its_pages(data_dir):
    code = "import os, sys; os.environ['FLASK_RUN_FROM_CLI'] = 'true'; sys.argv[0] = '/bin/gunicorn'; import wsgi; print(len(list(wsgi.app.url_map.iter_rules())) > 100)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"DATA_DIR": str(data_dir)}, capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n", done.stderr


def test_a_bad_setting_of_the_monitor_is_one_sentence(data_dir):
    done = subprocess.run([sys.executable, "-m", "app.cli.monitor"], cwd=ROOT, env=os.environ | {"DATA_DIR": str(data_dir), "WORKERS": "many"}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.startswith("WORKERS") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_loads_only_what_it_needs(data_dir, program):
    env = {n: v for n, v in os.environ.items() if n not in ("FLASK_RUN_FROM_CLI",)} | {"DATA_DIR": str(data_dir)}
    done = subprocess.run([sys.executable, "-c", f"{PROGRAMS[program]}\n{SHOWN}", LEAN[program]], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
