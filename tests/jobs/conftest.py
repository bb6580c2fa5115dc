"""A site on a SQLite file of its own, and imports in it."""

from __future__ import annotations

import pytest

from app import create_app
from app.config import load_settings
from app.extensions import db
from tests.jobs.importing import Imports


@pytest.fixture
def site(tmp_path):
    """The application (not named `app`: pytest-flask would push a GET request around the test)."""
    site = create_app(load_settings({"DATA_DIR": str(tmp_path / "data")}))
    with site.app_context():
        db.create_all()
    yield site
    with site.app_context():
        db.engine.dispose()


@pytest.fixture
def imports(site, tmp_path):
    found = Imports(site, tmp_path)
    yield found
    found.claims.close()
    found.notes.close()
