"""Debian's Chromium for tests of pages, and a page that remembers all that it complained of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Page as AsyncPage
    from playwright.sync_api import Browser, Page

ARGUMENTS = ["--no-sandbox"]
WITHIN_MS = 60_000
NOTE_CLICK = """() => document.addEventListener(
    "click", () => { window.clickedAt = Date.now() }, { capture: true, once: true })"""
"""The next click is noted where it happens, since how long a test takes to come to it is not the page's."""
CLICKED_AT_S = "window.clickedAt / 1000"
"""When that was, by the clock of this machine."""


def program() -> str:
    """Where it lies. CI installs it; elsewhere a test is skipped where it is not there."""
    found = shutil.which("chromium")
    if found is None and not os.environ.get("CI"):
        pytest.skip("there is no chromium here: apt-get install chromium")
    assert found is not None, "CI installs chromium in .ci/run"
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser for the tests of one module."""
    found = program()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield made
        made.close()


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
