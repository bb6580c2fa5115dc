"""/account: a person's own page. Each topic is a section: a template of its own and the values that it shows.

GET -> of each name in ORDER that has a function (`section`): its values -> templates/account/NAME.html, as `part`
A form with an error -> `page(NAME, values)`: the whole page, with those values for that section.
A module with a section adds its routes to `bp`, its names to rights._ACCOUNT, and itself to controllers/__init__.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, jsonify, render_template
from flask_login import current_user

from app.controllers import form_again
from app.controllers.access import check_csrf, right_required, wants_json
from app.extensions import only_read

ORDER = ("sessions", "password", "language", "second_factor", "tokens", "notices")
Values = Callable[[], dict[str, Any]]
_SECTIONS: dict[str, Values] = {}

bp = Blueprint("account", __name__, url_prefix="/account")
bp.before_request(right_required)
bp.before_request(check_csrf)
bp.before_request(form_again.forget)


def section(name: str) -> Callable[[Values], Values]:
    """Decorator: the function gives the values of the section `name`, one of ORDER."""
    def add(values: Values) -> Values:
        _SECTIONS[name] = values
        return values

    return add


def page(name: str = "", values: dict[str, Any] | None = None) -> str:
    """The page; the section `name` has also these values. No write lock is taken while it is read, after a change."""
    only_read()
    parts = [(one, _SECTIONS[one]() | (values or {} if one == name else {})) for one in ORDER if one in _SECTIONS]
    return render_template("account/index.html", parts=parts)


@bp.get("/", endpoint="index")
def index():
    """The sections; for scripts who the person is."""
    if wants_json():
        return jsonify({"email": current_user.email, "role": current_user.role, "language": current_user.language})
    return page()
