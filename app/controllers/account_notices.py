"""Section of /account: what the person follows, alerts in the browser, and the last notices."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_babel import gettext as _
from flask_login import current_user

from app.controllers import account
from app.controllers.access import sees_data
from app.controllers.notices import page_of, way_words
from app.controllers.responses import done
from app.services.notices import feed, follows
from app.services.people import own


@account.section("notices")
def notices() -> dict[str, Any]:
    """Follows, with their pages; whether new alerts are shown; the last notices."""
    rows, count = follows.listing(current_user.id, sees_data())
    return {"follows": [(row, page_of(row.kind, row.subject), way_words(row.via)) for row in rows], "count": count,
            "alerts": current_user.browser_alerts, "latest": feed.latest(current_user.id, sees_data())}


@account.bp.post("/browser-alerts", endpoint="browser-alerts")
def browser_alerts():
    """Switch new alerts in the browser on (`on=1`) or off."""
    on = request.form.get("on") == "1"
    own.switch_alerts(current_user.id, on)
    return done(_("New alerts are shown in the browser") if on else _("New alerts are no longer shown in the browser"))
