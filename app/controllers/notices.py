"""/admin/jobs/notices: what this browser shows, and following a job or batch.

poll of static/js/notices.js -> `feed`; form "Tell me when it ends" on the page of a job or
batch -> `follow` or `unfollow` -> back to that page
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify, request, url_for
from flask_babel import get_locale, gettext as _
from flask_login import current_user

from app.controllers.access import sees_data
from app.controllers.responses import done
from app.controllers.rights import ACT, OWN
from app.services.notices import feed, follows
from app.support.clock import iso, millis
from app.support.validation import ValidationError, check_text

bp = Blueprint("notices", __name__, url_prefix="/notices")
MOST_DIGITS = 18


@bp.get("/", endpoint="feed")
def show():
    """`{"notices": [{"id", "kind", "title", "body", "link", "at"}], "last": {"id"}}`: those of the person behind
    `after`, and the id of the last one. Without `after` no notices. Raises ValidationError."""
    text = check_text(request.args.get("after", ""))
    if text and not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise ValidationError(_("after is the id of a notice: a whole number."))
    found, last = feed.since(current_user.id, int(text) if text else None, sees_data())
    shown = [{"id": one.id, "kind": one.kind, "title": one.title, "body": one.body, "link": request.script_root
              + one.link, "at": one.at and iso(millis(one.at))} for one in found]
    answer = jsonify({"notices": shown, "last": {"id": last}})
    answer.headers["Cache-Control"] = "no-store"
    return answer


@bp.post("/follow", endpoint="follow")
def follow():
    """Tell the person when the job or batch `subject` ends, by `via`."""
    kind = _kind()
    via = check_text(request.form.get("via", ""))
    key = follows.follow(current_user.id, kind, _subject(), via, ACT in current_user.rights, str(get_locale()))
    return done(_("You are told when it ends: %(how)s", how=way_words(via)), back=page_of(kind, key))


@bp.post("/unfollow", endpoint="unfollow")
def unfollow():
    """No longer tell the person."""
    kind, subject = _kind(), _subject()
    count = follows.unfollow(current_user.id, kind, subject)
    return done(_("You are no longer told when it ends") if count else _("You did not follow it any more"), count)


def _kind() -> str:
    kind = request.form.get("kind", "")
    if kind not in (follows.JOB, follows.BATCH):
        raise ValidationError(_("kind is job or batch."))
    return kind


def _subject() -> str:
    return check_text(request.form.get("subject", ""))[:255]


def page_of(kind: str, subject: str) -> str:
    """Address of the page of a job or batch."""
    if kind == follows.JOB:
        return url_for("admin.jobs.job", uuid=subject)
    return url_for("admin.jobs.batches.one", batch=subject)


def way_words(via: str) -> str:
    """A way of being told, in words."""
    if via.startswith(follows.CHANNEL):
        return _("by the channel %(name)s", name=via.removeprefix(follows.CHANNEL))
    return _("by mail to %(email)s", email=current_user.email) if via == follows.MAIL else _("in the browser")


def following(kind: str, subject: str) -> dict[str, Any] | None:
    """For the form on the page of a job or batch: `via`, how the person is told now; `ways`, (value, words) of those
    that there are; `browser`, whether that is in the browser; `no_mail`, what to set. None for who cannot follow."""
    if OWN not in getattr(current_user, "rights", ()):
        return None
    ways = follows.ways(ACT in current_user.rights)
    via = follows.via_of(current_user.id, kind, subject)
    return {"kind": kind, "subject": subject, "via": via and way_words(via), "browser": via == follows.BROWSER,
            "ways": [(way, way_words(way)) for way in ways],
            "no_mail": "" if follows.MAIL in ways else follows.no_mail()}
