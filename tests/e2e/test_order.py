"""The order of waiting jobs, by mouse, keyboard, touch and plain form, and what a second person sees of it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from app import registry
from app.extensions import db
from app.services.jobs import actions, queues
from tests.e2e.test_pages import accessible

PATH = "/admin/jobs/queues/low"
TOUCH = """([from, to]) => {
  const centre = (element) => { const box = element.getBoundingClientRect(); return { x: box.left + 20, y: box.top + box.height / 2 }; };
  const handle = document.querySelector(`[data-uuid="${from}"] .handle`);
  const send = (type, at, target) => target.dispatchEvent(new PointerEvent(type, { bubbles: true, cancelable: true, pointerId: 7,
    pointerType: "touch", isPrimary: true, clientX: at.x, clientY: at.y }));
  send("pointerdown", centre(handle), handle);
  const end = centre(document.querySelector(to));
  end.y += 9; // its lower half: behind it
  send("pointermove", end, handle);
  send("pointerup", end, handle);
}"""


@pytest.fixture
def line(site):
    """Six jobs of `low` and one of `default`, both paused; `shown()` is their order."""
    with site.app.app_context():
        for name in ("default", "low"):
            queues.pause(name, "ada")
        uuids = [registry.find("TestNoop").with_options(queue="low").dispatch() for _ in range(6)]
        other = registry.find("TestNoop").with_options(queue="default").dispatch()
        db.session.commit()
        yield uuids, other
        for uuid in (*uuids, other):
            actions.cancel(uuid, "ada")
        for name in ("default", "low"):
            queues.resume(name, "ada")


def stored(queue: str = "low") -> list[str]:
    db.session.rollback()
    found = [job.uuid for job in queues.next_jobs(queue)]
    db.session.rollback()  # or the site waits for its lock
    return found


def shown(page, queue: str = "low") -> list[str]:
    return page.locator(f"[data-queue={queue}] > [data-uuid]").evaluate_all("rows => rows.map((row) => row.dataset.uuid)")


def drag(page, uuid: str, onto: str, meanwhile=lambda: None) -> None:
    """Lifts a row, calls `meanwhile`, and drops the row on another one."""
    page.locator(f"[data-uuid='{uuid}'] .handle").hover()  # waits until the row stands still
    page.mouse.down()
    expect(page.locator(f"[data-uuid='{uuid}'].lifted")).to_have_count(1)
    meanwhile()
    row = page.locator(onto).bounding_box()
    page.mouse.move(row["x"] + 20, row["y"] + 4, steps=4)
    page.mouse.up()


def test_two_people_order_a_queue_by_mouse_keyboard_and_touch(open_page, site, line):
    (a, b, c, d, e, f), other = line
    page, second = open_page(PATH, locale="en-GB"), open_page(PATH, locale="en-GB")
    said = page.locator("#order-said")
    drag(page, e, f"[data-uuid='{b}']")
    expect(said).to_contain_text("moved: place 2 of low")
    assert stored() == [a, e, b, c, d, f] == shown(page)
    expect(second.locator("[data-queue=low] > [data-uuid]").nth(1)).to_have_attribute("data-uuid", e, timeout=8000)

    handle = page.locator(f"[data-uuid='{f}'] .handle")
    handle.focus()
    for key in ("Space", "ArrowUp", "ArrowUp", "Space"):
        page.keyboard.press(key)
    expect(said).to_contain_text("moved: place 4 of low")
    assert stored() == [a, e, b, f, c, d]
    expect(handle).to_be_focused()
    page.keyboard.press("Space")
    expect(said).to_contain_text("lifted: place 4 of 6 in low")
    page.keyboard.press("Home")
    page.evaluate("window.dispatchEvent(new CustomEvent('live:now'))")  # a refresh does not tear it away
    page.wait_for_timeout(300)
    assert shown(page)[0] == f
    page.keyboard.press("Escape")
    expect(said).to_contain_text("is back at place 4")
    assert shown(page) == [a, e, b, f, c, d] == stored()
    expect(handle).to_be_focused()

    page.evaluate(TOUCH, [c, "[data-queue=default] > [data-uuid]"])
    expect(said).to_contain_text("moved: place 2 of default")
    assert stored("default") == [other, c] and stored() == [a, e, b, f, d]
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".flash.success")).to_contain_text("Move undone: place 5 of low")
    assert stored() == [a, e, b, f, c, d] and stored("default") == [other]

    size = page.viewport_size
    accessible(open_page, page, "order")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "scrolls sideways at 360 px"
    page.set_viewport_size(size)

    def held_by_another():  # while the row is lifted: before that, the refresh takes the row from the list
        actions.act("hold", d, "bob")
        expect(second.locator(f"[data-uuid='{d}']")).to_have_count(0, timeout=8000)

    drag(page, d, f"[data-uuid='{a}']", held_by_another)
    expect(said).to_contain_text("it is now held")
    expect(page.locator(f"[data-uuid='{d}']")).to_have_count(0)


def test_an_order_is_made_without_a_script(open_page, site, line):
    (a, b, c, d, e, f), other = line
    page = open_page(PATH, locale="en-GB", width=390, javascript=False)
    page.get_by_role("radio", name=f"Choose Test Noop {c[:8]}").check()
    page.get_by_role("button", name="To the top").click()
    assert stored() == [c, a, b, d, e, f]
    page.get_by_label("Job", exact=True).fill(f)
    page.get_by_label("Place", exact=True).fill("2")
    page.get_by_role("button", name="Move", exact=True).click()
    assert stored() == [c, f, a, b, d, e]
    page.get_by_role("radio", name=f"Choose Test Noop {a[:8]}").check()
    page.get_by_label("To the queue").select_option("default")
    page.get_by_role("button", name="Move", exact=True).click()
    expect(page.locator(".flash.success")).to_contain_text("place 2 of default")
    assert stored("default") == [other, a]
    page.get_by_label("Place", exact=True).fill("many")
    page.get_by_role("radio", name=f"Choose Test Noop {b[:8]}").check()
    page.get_by_role("button", name="Move", exact=True).click()
    expect(page.locator(".wrong")).to_contain_text("A place is a whole number from 1.")
