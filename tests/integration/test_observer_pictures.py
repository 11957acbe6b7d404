"""How the page of `regrow observe` looks: it fits its window, and the pictures in the guide show it as it is.

REGROW_SCREENSHOTS=docs/guides/images makes the pictures anew: look at them, and put them into the change.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import chromium
from tests.integration.apps.shop import Note
from tests.integration.observed import Observed, lived_in
from tests.integration.test_examples import REPOSITORY

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

pytestmark = [pytest.mark.slow, pytest.mark.program, pytest.mark.again]

IMAGES = REPOSITORY / "docs/guides/images"
PHONE: ViewportSize = {"width": 390, "height": 844}
WIDE: ViewportSize = {"width": 1200, "height": 760}
DIFFERS_SHARE = 0.015
"""Times, numbers of processes and other letters come to half of that; rows three pixels higher to three times."""
OTHER_STYLE = """() => {
    const style = new CSSStyleSheet();
    style.replaceSync("button { display: none !important }");
    document.adoptedStyleSheets = [style];
}"""
COMPARED = """async ([one, other]) => {
    const CELL = 10, FAR = 24;
    const cells = async (data) => {
        const image = new Image();
        image.src = `data:image/png;base64,${data}`;
        await image.decode();
        const [width, height] = [image.width / CELL, image.height / CELL].map(Math.floor);
        const canvas = Object.assign(document.createElement("canvas"), { width, height });
        const context = canvas.getContext("2d");
        context.imageSmoothingQuality = "high";
        context.drawImage(image, 0, 0, width, height);
        return { size: [image.width, image.height], values: context.getImageData(0, 0, width, height).data };
    };
    const [first, second] = [await cells(one), await cells(other)];
    let far = 0;
    for (let at = 0; at < first.values.length; at += 4)
        if ([0, 1, 2].some((part) => Math.abs(first.values[at + part] - second.values[at + part]) > FAR)) far += 1;
    return { sizes: [first.size, second.size], share: far / (first.values.length / 4) };
}"""
"""Of two pictures their sizes, and in what share of their cells of ten pixels the mean colours are far apart."""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Observed]:
    """The shop, in which something of everything has happened, and nothing else."""
    with lived_in(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.launched() as made:
        yield made


@pytest.mark.parametrize(
    ("name", "size", "scheme"), [("phone", PHONE, "light"), ("dark", WIDE, "dark"), ("wide", WIDE, "light")]
)
def test_the_page_fits_its_window_and_is_what_the_guide_shows(
    shop: Observed, browser: Browser, tmp_path: Path, name: str, size: ViewportSize, scheme: str
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page = context.new_page()
    heard = chromium.Heard(page)
    all_is_shown(page, shop)
    page.evaluate("scrollTo(0, 0)" if scheme == "light" else "document.getElementById('traces-panel').scrollIntoView()")
    page.mouse.move(0, 0)

    picture = Path(os.environ.get("REGROW_SCREENSHOTS", tmp_path)) / f"observe-{name}.png"
    page.screenshot(path=picture)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    found = compared(context.new_page(), picture, IMAGES / picture.name)
    page.evaluate(OTHER_STYLE)
    other = tmp_path / "other.png"
    page.screenshot(path=other)
    found_other = compared(context.new_page(), other, IMAGES / picture.name)
    context.close()

    assert overflow <= 0
    assert paper == ("rgb(18, 22, 20)" if scheme == "dark" else "rgb(246, 247, 245)")
    assert found["sizes"] == [[size["width"], size["height"]]] * 2
    assert found["share"] <= DIFFERS_SHARE, f"the guide shows another page: {found['share']:.1%} differ"
    assert found_other["share"] > DIFFERS_SHARE, "a page without its buttons looks the same"
    assert heard.complaints == []


def all_is_shown(page: Page, shop: Observed) -> None:
    """Waits for each part of the page, with one death that it has seen, and a trace that is open."""
    page.goto(shop.link)
    page.wait_for_selector("#waits .card")
    page.wait_for_selector("#quarantine .card")
    page.wait_for_selector("#letters li")
    shop.tell("shop/desk/scribe", Note(text="there is no such shelf"))
    page.wait_for_selector("#news li:has-text('scribe')")
    page.locator("#traces-panel").scroll_into_view_if_needed()
    page.wait_for_selector("#traces tr:has-text('scribe')")
    page.click("#traces tr:has-text('analyst') button")
    page.wait_for_selector(".waterfall li")
    page.wait_for_selector("#cost tr:has-text('analyst')")
    page.wait_for_selector(".row.back", state="detached")


def compared(page: Page, one: Path, other: Path) -> dict[str, Any]:
    """How two pictures differ; a page decodes them, since nothing else here can."""
    told: dict[str, Any] = page.evaluate(COMPARED, [encoded(one), encoded(other)])
    return told


def encoded(picture: Path) -> str:
    return base64.b64encode(picture.read_bytes()).decode()
