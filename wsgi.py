"""`flask --app wsgi ...` and `gunicorn wsgi:app`."""

import contextlib
import os
import sys
from pathlib import Path

from app import create_app
from app.config import SettingError, load_settings
from scripts.launch.common import ROOT, adopt_settings

try:
    adopt_settings()
    with contextlib.chdir(ROOT):  # paths in settings are relative to the project, as for run.sh
        settings = load_settings()
    # a command shows no page, and no page runs a command: each starts faster and needs less memory without the other
    is_command = os.environ.get("FLASK_RUN_FROM_CLI") == "true" and "flask" in Path(sys.argv[0]).parts[-2:]
    app = create_app(settings, pages=not is_command or not {"run", "routes", "shell"}.isdisjoint(sys.argv),
                     commands=is_command)
except SettingError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
