"""The table of rights is whole: each address of the admin area and of one's own page has a right, and no right is of an address that is gone."""

from __future__ import annotations

from app.controllers import rights


def test_the_table_names_each_address_of_the_admin_area_once(app):
    there = {rule.endpoint for rule in app.url_map.iter_rules() if rule.endpoint.startswith(("admin.", "account.", "api."))}
    assert there == set(rights.RIGHTS)
    names = [name for text in rights._NAMES.values() for name in text.split()] + [f"account.{name}" for name in rights._ACCOUNT.split()]
    names += [f"api.{name}" for text in rights._API.values() for name in text.split()]
    assert len(names) == len(set(names))
