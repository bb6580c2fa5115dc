"""The settings of the running application."""

from __future__ import annotations

from flask import current_app

from app.config import Settings


def settings() -> Settings:
    """Those of the application in whose context this is called; RuntimeError without one."""
    return current_app.extensions["settings"]
