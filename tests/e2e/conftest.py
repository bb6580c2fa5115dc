"""A running site (web, two workers, monitor) and a real Chromium that fails on any script error or policy violation."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import urllib.request

import pytest

from app.services.people import accounts
from tests.backends import free_port
from tests.conftest import PASSWORD, token_in
from tests.process.product import ROOT, Product

ARGS = ("--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync").split()
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)


@pytest.fixture(scope="session")
def site(migrated, tmp_path_factory):
    """The address of a running product with one failed and some finished jobs; `.product` acts on it."""
    folder = tmp_path_factory.mktemp("site") / "data"
    shutil.copytree(migrated, folder)
    product = Product(folder, grace=3)
    port = free_port()
    product.env |= {"PORT": str(port), "GRACE": "3"}
    with product.app.app_context():
        accounts.create_user("admin@example.org", "super-admin", PASSWORD)
    web = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py", "wsgi:app"],
        env=product.env | {"PYTHONPATH": product.env["PYTHONPATH"]}, cwd=ROOT, stdout=product.log, stderr=product.log,
    )
    product.started.append(web)
    product.workers(2)
    product.monitor()
    product.address = f"http://127.0.0.1:{port}"

    def answers() -> bool | None:
        assert web.poll() is None, product.tail()
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{product.address}/healthz", timeout=10).status == 200

    product.until(answers, 60, "the site answers")
    product.failed = product.dispatch("TestPermanent")[0]
    product.talked = product.dispatch("TestTalk", lines=5)[0]
    product.ended()
    yield product
    product.stop()


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have Chromium: .ci/run installs it")
        pytest.skip("no Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, site):
    """`open_page(path, theme=..., locale=..., width=..., javascript=...)`: a signed-in page; trouble fails the test."""
    contexts, trouble = [], []

    def judge(path: str, text: str) -> None:
        if "Content Security Policy" in text and not getattr(open_, "measuring", False):
            trouble.append(f"{path}: {text}")

    def open_(path: str, theme: str = "light", locale: str = "it-IT", width: int = 1440, javascript: bool = True):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, locale=locale, java_script_enabled=javascript, base_url=site.address
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: trouble.append(f"{path}: {error}"))
        page.on("console", lambda message: judge(path, message.text))
        form = {"email": "admin@example.org", "password": PASSWORD, "csrf_token": token_in(context.request.get("/login").text())}
        assert context.request.post("/login", form=form, headers={"Origin": site.address}, max_redirects=0).status == 303
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not trouble
