"""`flask --app wsgi ...` and `gunicorn wsgi:app`."""

import sys

from app import create_app
from app.config import SettingError

try:
    app = create_app()
except SettingError as error:
    sys.exit(str(error))
