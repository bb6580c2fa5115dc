"""WordPress() against the fake WordPress, which also misbehaves."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import pytest

from tests.integrations.wordpress_alike import *  # noqa: F403  (its tests run here)
from tests.integrations.wordpress_alike import Blog

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("fake_wordpress", ROOT / "scripts" / "fake-wordpress.py")
fake = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fake)


class Fake(Blog):
    def __init__(self) -> None:
        self.server = fake.Server()
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        super().__init__(self.server.url, "editor", "fake password")

    def set(self, **options) -> None:
        for name, value in options.items():
            setattr(self.server.site, name, value)

    def account(self, role: str) -> tuple[str, str]:
        return role, "fake password"


@pytest.fixture
def blog():
    blog = Fake()
    yield blog
    for service in blog.opened:
        service.close()
    blog.server.over.set()
    blog.server.shutdown()
    blog.server.server_close()
