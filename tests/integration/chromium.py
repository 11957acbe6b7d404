"""Debian's Chromium for tests of pages, and a page that remembers all that it complained of."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Page as AsyncPage
    from playwright.sync_api import Page

ARGUMENTS = ["--no-sandbox"]
WITHIN_MS = 15_000


def program() -> str:
    """Where it lies. CI installs it; elsewhere a test is skipped where it is not there."""
    found = shutil.which("chromium")
    if found is None and not os.environ.get("CI"):
        pytest.skip("there is no chromium here: apt-get install chromium")
    assert found is not None, "CI installs chromium in .ci/run"
    return found


class Heard:
    """What a page has said and asked for, which at the end is nothing bad."""

    def __init__(self, page: Page | AsyncPage) -> None:
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(WITHIN_MS)
        page.on("console", lambda said: self._said(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)
