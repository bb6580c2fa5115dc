"""A schedule is made in the browser: what its time means appears while one types."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_the_meaning_of_a_time_appears_while_one_types_and_the_schedule_is_made(open_page, site):
    page = open_page("/admin/jobs/schedules/new?type=TestEcho", locale="en-GB")
    page.get_by_label("Time").press_sequentially("*/20 8-9 * * mon", delay=5)
    expect(page.locator("#meaning-words")).to_have_text("Every Monday at 08:00, 08:20, 08:40, 09:00, 09:20, and 09:40")
    expect(page.locator("#meaning-next li")).to_have_count(5)
    page.get_by_label("Time").fill("61 * * * *")
    expect(page.locator("#meaning-words")).to_have_text("The minute cannot be 61.")
    page.get_by_label("Time").fill("0 3 1 1 *")
    page.get_by_label("Name").fill("new year")
    page.get_by_role("button", name="Make the schedule").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("new year")
    page.get_by_role("button", name="Delete").click()
    page.locator("#ask-yes").click()
    expect(page.get_by_text("Schedule deleted")).to_be_visible()
