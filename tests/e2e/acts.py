"""What a person does, by the words on the screen: within a row, a form or a question, press, fill, choose, tick and see.

    within_row(page, uuid).press("Retry")
    answer(page, "Delete 3 failed jobs?", "Delete 3")
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from playwright.sync_api import Locator, Page, expect


@dataclass(frozen=True)
class Within:
    """A part of the page."""

    place: Locator

    def press(self, name: str, key: str | None = None) -> Within:
        """The button of that name; with a key (Enter) by the keyboard."""
        button = self.place.get_by_role("button", name=name).first
        if key:
            button.press(key)
        else:
            button.click()
        return self

    def fill(self, label: str, text: str) -> Within:
        self.place.get_by_label(label).fill(text)
        return self

    def choose(self, label: str, option: str) -> Within:
        self.place.get_by_label(label).select_option(label=option)
        return self

    def tick(self) -> Within:
        self.place.get_by_role("checkbox").check()
        return self

    def ticked(self) -> bool:
        return self.place.get_by_role("checkbox").is_checked()

    def sees(self, text: str) -> Within:
        expect(self.place).to_contain_text(text)
        return self


def row(page: Page, words: str) -> Locator:
    """The row of a job, by its uuid, or the first in which these words stand alone."""
    if re.fullmatch(r"[0-9a-f-]{36}", words):
        return page.locator(f'tr[data-key$="{words}"]')
    return page.locator("tr", has=page.get_by_text(words, exact=True)).first


def within_row(page: Page, words: str) -> Within:
    return Within(row(page, words))


def within_form(page: Page) -> Within:
    """The form that the page is about."""
    return Within(page.locator("main form[method=post]").last)


def answer(page: Page, question: str, button: str) -> None:
    """Answer what is asked: in a dialog, or without JavaScript on a page of its own."""
    asked = page.get_by_role("heading", name=question)
    asked.wait_for()
    page.locator("dialog[open], main").filter(has=asked).get_by_role("button", name=button, exact=True).click()


def told(page: Page, sentence: str) -> None:
    """What the page says after an act."""
    page.get_by_text(sentence).first.wait_for()


def refresh(page: Page) -> None:
    """The next poll, now."""
    page.evaluate("dispatchEvent(new Event('online'))")
