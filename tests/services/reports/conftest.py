"""An application without a database: reports are drawn from their figures alone."""

from __future__ import annotations

import pytest

from app import create_app
from app.config import load_settings


@pytest.fixture(scope="module")
def languages(tmp_path_factory):
    """A context in which both languages are known and no table exists."""
    with create_app(load_settings({"DATA_DIR": str(tmp_path_factory.mktemp("empty"))})).app_context() as context:
        yield context
