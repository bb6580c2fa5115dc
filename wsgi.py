"""`flask --app wsgi ...` and `gunicorn wsgi:app`."""

import contextlib
import sys

from app import create_app
from app.config import SettingError, load_settings
from scripts.launch.common import ROOT, adopt_settings

try:
    adopt_settings()
    with contextlib.chdir(ROOT):  # paths in settings are relative to the project, as for run.sh
        settings = load_settings()
    app = create_app(settings)
except SettingError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
