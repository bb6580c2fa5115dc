"""The settings of the running application."""

from __future__ import annotations

from flask import current_app

from app.config import Settings


def settings() -> Settings:
    """The settings of the current application. Raises RuntimeError without an application context."""
    return current_app.extensions["settings"]
