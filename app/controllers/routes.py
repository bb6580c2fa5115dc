"""Connects all controllers to the application."""

from __future__ import annotations

from flask import Flask
from flask_compress import Compress

import app.controllers.account_factor  # noqa: F401  (these add routes and sections)
import app.controllers.account_notices  # noqa: F401
import app.controllers.account_own  # noqa: F401
import app.controllers.account_tokens  # noqa: F401
import app.controllers.auth_code  # noqa: F401
import app.controllers.invited  # noqa: F401
from app.controllers import account, admin, api, auth, bearer, home, probes, security, template_globals
from app.controllers.access import csrf, login


def register(app: Flask) -> None:
    """Connect blueprints, headers, error pages, languages and template filters to the application."""
    app.url_map.strict_slashes = False
    for extension in (csrf, login, Compress()):
        extension.init_app(app)
    template_globals.install(app)
    auth.install(app)
    for blueprint in (auth.bp, probes.bp, home.bp, account.bp, admin.bp, api.bp):
        app.register_blueprint(blueprint)
    security.protect(app)
    bearer.install(app)
