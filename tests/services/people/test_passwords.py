"""The product's own hash, which other tests replace by a cheap one."""

from __future__ import annotations

import pytest

from app.services.people import passwords
from tests.cheaper import usual_hash


@pytest.fixture(autouse=True)
def _usual(monkeypatch):
    monkeypatch.setattr(passwords, "generate_password_hash", usual_hash)
    passwords._dummy.cache_clear()
    yield
    passwords._dummy.cache_clear()


def test_a_password_is_kept_as_a_salted_hash_that_takes_16_mb():
    one, other = (passwords.hash_password("correct horse battery") for _ in range(2))
    assert one.startswith("scrypt:32768:8:1$") and one != other and "horse" not in one
    assert passwords.matches(one, "correct horse battery") and not passwords.matches(one, "correct horse batterie")


def test_nobodys_password_costs_the_same_as_somebodys():
    assert passwords._dummy().startswith("scrypt:32768:8:1$")
    assert not passwords.matches(None, "correct horse battery")
