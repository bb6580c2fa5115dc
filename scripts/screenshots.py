"""Takes screenshots of every page: two languages, two themes, two widths (desktop and phone), three amounts of data.

    .venv/bin/python scripts/screenshots.py [--out screenshots] [--states empty,normal,full] [--readme]

Starts the product three times, each on a temporary folder: empty, with realistic data, and with 100,000 rows. It needs
the extra `dev` and Chromium. `--readme` renews docs/images from the realistic data.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "only for pictures"  # noqa: S105 (of a site that lives for a minute)
PAGES = {
    "dashboard": "/admin/jobs/", "jobs": "/admin/jobs/list", "jobs-failed": "/admin/jobs/list?state=unsuccessful",
    "workers": "/admin/jobs/workers", "new": "/admin/jobs/new/", "import": "/admin/jobs/new/?type=ProcessCsvImport",
    "contents": "/admin/jobs/contents/", "queues": "/admin/jobs/queues", "alerts": "/admin/jobs/alerts/",
    "rule": "/admin/jobs/alerts/rules/1", "log": "/admin/jobs/log", "generations": "/admin/jobs/generations/",
    "templates": "/admin/jobs/generations/templates", "costs": "/admin/jobs/costs/",
    "people": "/admin/jobs/people/",
}
JOBS = ("processing", "failed", "completed", "scheduled", "blocked")  # a job page of each, when there is one
README = {"dashboard-light": ("dashboard", "it", "light", 1440), "dashboard-dark": ("dashboard", "en", "dark", 1440),
          "job": ("job-failed", "en", "light", 1440), "jobs": ("jobs", "it", "light", 1440),
          "phone": ("dashboard", "it", "light", 390)}
DATA = {"empty": [], "normal": [[]], "full": [["--metrics", "100000", "--pending", "100000"]]}


def main() -> None:
    """Take the screenshots that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "screenshots")
    parser.add_argument("--states", default="empty,normal,full")
    parser.add_argument("--readme", action="store_true")
    options = parser.parse_args()
    for state in ["normal"] if options.readme else options.states.split(","):
        folder = Path(tempfile.mkdtemp(prefix="pictures-"))
        try:
            with_product(state, folder / "data", lambda base, state=state: pictures(base, options, state))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def with_product(state: str, data: Path, act) -> None:
    """Start the product on the folder `data`, fill it, call `act` with its URL, and stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    env |= {"DATA_DIR": str(data), "PORT": str(port), "ADMIN_PASSWORD": PASSWORD}
    product = subprocess.Popen(["bash", str(ROOT / "scripts/run.sh")], env=env, stdout=subprocess.PIPE, text=True)
    try:
        if not any("Running at" in line for line in product.stdout):
            sys.exit("the product did not start")
        flask = [str(ROOT / ".venv/bin/flask"), "--app", "wsgi"]
        for arguments in DATA[state]:
            subprocess.run([*flask, "demo", *arguments], env=env, cwd=ROOT, check=True)
        if state == "normal":
            work = ["DemoWork", "--args", '{"ms": 60000, "text": "listino-autunno-2026.csv"}']
            command = [*flask, "jobs", "dispatch", *work]
            subprocess.run(command, env=env, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        act(f"http://127.0.0.1:{port}")
    finally:
        product.send_signal(signal.SIGINT)
        product.wait(90)


def pictures(base: str, options, state: str) -> None:
    """Take the screenshots of one amount of data."""
    from playwright.sync_api import sync_playwright

    chromium = next(p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p)
    with sync_playwright() as play:
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        browser = play.chromium.launch(executable_path=chromium, args=quiet)
        for lang, locale in (("it", "it-IT"), ("en", "en-GB")):
            for theme in ("light", "dark"):
                for width, height in ((1440, 900), (390, 844)):
                    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme,
                                                  locale=locale, base_url=base)
                    page = context.new_page()
                    page.goto("/login")
                    if not options.readme:
                        shoot(page, options.out / state / f"sign-in-{lang}-{theme}-{width}.png")
                    page.fill("[name=email]", "admin@localhost")
                    page.fill("[name=password]", PASSWORD)
                    page.click("button[type=submit]")
                    for name, path in (PAGES | job_pages(page)).items():
                        if options.readme:
                            for file, wanted in README.items():
                                if wanted == (name, lang, theme, width):
                                    page.goto(path)
                                    shoot(page, ROOT / "docs/images" / f"{file}.png", whole=False)
                            continue
                        page.goto(path)
                        shoot(page, options.out / state / f"{name}-{lang}-{theme}-{width}.png")
                    context.close()
        browser.close()


def job_pages(page) -> dict[str, str]:
    """The path of one job's page for each state that has a job, by name of the picture."""
    found = {}
    for state in JOBS:
        answer = page.request.get(f"/admin/jobs/list?state={state}", headers={"Accept": "application/json"})
        if jobs := answer.json()["jobs"]:
            found[f"job-{state}"] = f"/admin/jobs/job/{jobs[0]['uuid']}"
    return found


def shoot(page, path: Path, whole: bool = True) -> None:
    """Save a screenshot; `whole`: of the whole page, else of the window."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(700)  # until the charts' animation ends
    page.evaluate("document.activeElement && document.activeElement.blur()")
    page.screenshot(path=path, full_page=whole)
    print(re.sub(rf"^{re.escape(str(ROOT))}/", "", str(path)))


if __name__ == "__main__":
    main()
