"""Where a person can go from an error page: back, to the overview, or to sign in.

The templates of errors call it. The database may be what has failed, so a person who cannot be read counts as nobody.
"""

from __future__ import annotations

from contextlib import suppress

from flask import request, url_for
from flask_babel import gettext as _
from flask_login import current_user
from werkzeug.routing import BuildError

from app.controllers.access import may_open
from app.controllers.responses import page_of_route


def ways_out() -> list[tuple[str, str]]:
    """Addresses and words of where this person can go from an error page. It asks for nothing that may fail too."""
    try:
        person = current_user if current_user.is_authenticated else None
    except Exception:  # the database is what does not answer
        person = None
    if person is None:
        return [(url_for("admin.jobs.index"), _("To the overview")), (url_for("auth.login"), _("Sign in"))]
    if not person.rights:
        return [(url_for("auth.logout"), _("Sign in as someone else"))]
    pages = [(url_for("admin.jobs.index"), _("To the overview")), (url_for("admin.jobs.list"), _("All jobs"))]
    pages = [way for way in pages if may_open(way[0])]
    with suppress(BuildError):  # a blueprint without a page of its own
        if (request.endpoint or "").startswith("admin.jobs.") and (back := page_of_route()) not in dict(pages):
            return [(back, _("Go back")), *pages] if back != request.path and may_open(back) else pages
    return pages
