"""The address `/` leads to the dashboard."""

from flask import Blueprint, redirect, url_for

bp = Blueprint("home", __name__)


@bp.get("/")
def index():
    """A redirect to the dashboard."""
    return redirect(url_for("admin.jobs.index"), 302)


@bp.get("/favicon.ico")
def favicon():
    """A redirect to the icon, for browsers that ask for it without reading the page."""
    return redirect(url_for("static", filename="favicon.svg"), 301)
