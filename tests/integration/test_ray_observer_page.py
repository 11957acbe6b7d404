"""The page of an app on Ray in a real browser: each kill of a process, orders, two observers, a new start."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from regrow import Running
from regrow.cluster.app import EngineName
from regrow.cluster.control import ControlSocket
from tests.integration import chromium
from tests.integration.apps import shop
from tests.integration.apps.shop import Pay, Say
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import kill
from tests.integration.lives import node_of
from tests.integration.shells import REGROW, Program, Shell
from tests.integration.waiting import assert_prompt, until

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = [
    *(pytest.mark.slow, pytest.mark.ray, pytest.mark.redis, pytest.mark.program, pytest.mark.again),
    pytest.mark.asyncio(loop_scope="module"),
]

KILLS = 5
WITHIN_S = 1.0
PATIENCE_S = 60.0
SCRIBE = "shop/scribe"
ENDED = """async ([id, life]) => {
    const told = (part) => document.getElementById(id).querySelector(part).textContent;
    while (told(".life") === life && told(".state") === "running") await new Promise(requestAnimationFrame);
    return Date.now();
}"""
"""When the page shows that a life is over."""
RUNS = """([id, life]) => {
    const told = (part) => document.getElementById(id)?.querySelector(part).textContent;
    return told(".life") !== life && told(".state") === "running";
}"""


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there a process to kill."""
    return "ray"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    program = chromium.program()
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(executable_path=program, args=chromium.ARGUMENTS)
        yield made
        await made.close()


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, root: Path) -> object:
    """Where control sockets are made; the test leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="rg") as short, nothing_left(root):
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        yield


@asynccontextmanager
async def running(start: Start) -> AsyncIterator[Running]:
    """The shop on Ray, with its control socket."""
    control = ControlSocket("shop", engine="ray", request_stop=lambda: None)
    async with control, start(shop.abroad) as app:
        control.attach(app)
        yield app


@asynccontextmanager
async def shown(browser: Browser, folder: Path) -> AsyncIterator[Page]:
    """A page of an observer of its own, in a browser of its own, with the token."""
    observer = Program(Shell(folder, dict(os.environ)), "-c", REGROW, "observe", "shop", "--port", "0", "--json")
    try:
        link = json.loads((await asyncio.to_thread(observer.out.wait, "link"))[0])["link"]
        context = await browser.new_context(reduced_motion="reduce")
        page = await context.new_page()
        heard = chromium.Heard(page)
        page.set_default_timeout(PATIENCE_S * 1_000)
        await page.goto(link)
        await page.wait_for_selector(row(SCRIBE))
        yield page
        await context.close()
        # Of two who answer one message, the second is refused, which the page says and the browser as well.
        assert [text for text in heard.complaints if "400 (Bad Request)" not in text] == []
    finally:
        await asyncio.to_thread(observer.kill)


def row(agent: str) -> str:
    return f'[id="row:{agent}"]'


async def life_of(page: Page, agent: str) -> str:
    return await page.inner_text(f"{row(agent)} .life")


async def order_kill(page: Page, agent: str) -> float:
    """Kills by keys on the page; the time at which that was ordered."""
    await page.focus(row(agent))
    await page.keyboard.press("k")
    await page.wait_for_selector("dialog[open]")
    await page.evaluate(chromium.NOTE_CLICK)
    await page.click("#dialog-buttons >> text=Kill")
    return float(await page.evaluate(chromium.CLICKED_AT_S))


@pytest.mark.alone
async def test_each_kill_on_ray_is_seen_on_the_page_within_a_second(
    start: Start, browser: Browser, tmp_path: Path
) -> None:
    late_s: list[float] = []
    async with running(start) as app, shown(browser, tmp_path) as page:
        await until(
            lambda: a_spare_stands_by(app), "a spare host stands by, as it does in an app that is not just started"
        )
        for number in range(2 * KILLS):
            life = await life_of(page, SCRIBE)
            seen = asyncio.create_task(page.evaluate(ENDED, [f"row:{SCRIBE}", life]))
            if number % 2:
                at_s = await order_kill(page, SCRIBE)
            else:
                at_s = time.time() - time.monotonic() + await kill(app, SCRIBE)
            async with asyncio.timeout(PATIENCE_S):
                late_s.append(await seen / 1_000 - at_s)
            await page.wait_for_function(RUNS, arg=[f"row:{SCRIBE}", life])

    assert_prompt(late_s, within_s=WITHIN_S)


async def test_a_person_consents_restarts_and_puts_back_on_the_page_of_an_app_on_ray(
    start: Start, browser: Browser, tmp_path: Path
) -> None:
    async with running(start) as app, shown(browser, tmp_path) as page:
        cashier = app.ref("shop/cashier")
        await cashier.tell(Pay(to="", cents=1))
        paid = asyncio.create_task(cashier.ask(Pay(to="Ann Example", cents=5_000), timeout_s=60))
        await page.click("#waits .card:has-text('Ann Example') >> text=Approve")
        assert await paid == "5000 cents are Ann Example's"

        await page.click("#quarantine .card >> text=Look and decide")
        await page.wait_for_selector("dialog[open] .why:has-text('there is nobody to pay')")
        await page.click("#dialog-buttons >> text=Requeue")
        await page.wait_for_selector("#said:has-text('in its agent\\'s mailbox again')")
        await page.wait_for_selector("#news li:has-text('shop/cashier')")

        before = await node_of(app, "shop/analyst")
        await page.focus(row("shop/analyst"))
        await page.keyboard.press("r")
        await page.click("#dialog-buttons >> text=Restart")
        await page.wait_for_selector("#said:has-text('runs again after')")
        after = await node_of(app, "shop/analyst")

    assert after.incarnation > before.incarnation


async def test_two_observers_show_and_do_the_same_to_one_app(start: Start, browser: Browser, tmp_path: Path) -> None:
    async with running(start) as app, AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(shown(browser, tmp_path)) for _ in range(2)]
        life = await life_of(one, SCRIBE)
        await order_kill(one, SCRIBE)
        for page in (one, other):
            await page.wait_for_function(RUNS, arg=[f"row:{SCRIBE}", life])
        lives = [await life_of(page, SCRIBE) for page in (one, other)]

        paid = asyncio.create_task(app.ref("shop/cashier").ask(Pay(to="Ann", cents=5_000), timeout_s=60))
        for page in (one, other):
            await page.wait_for_selector("#waits .card:has-text('Ann')")
        for page in (one, other):  # both at once, and of two answers one counts
            await page.evaluate("document.querySelector('#waits button.good').click()")
        assert await paid == "5000 cents are Ann's"
        for page in (one, other):
            await page.wait_for_selector("#waits .card", state="detached")

        async def is_told() -> bool:
            return any(["has its answer" in await page.inner_text("#said") for page in (one, other)])

        await until(is_told, "the one whose answer counts is told so")

    assert lives[0] == lives[1]


async def test_an_app_that_stops_and_starts_again_is_shown_on_the_page_that_was_open(
    start: Start, browser: Browser, tmp_path: Path
) -> None:
    async with AsyncExitStack() as pages:
        async with running(start):
            page = await pages.enter_async_context(shown(browser, tmp_path))
        await page.wait_for_selector("#state.not-running")
        assert "Start it with regrow run" in await page.inner_text("#note")
        assert await page.locator(".row").count() == 0
        async with running(start) as app:
            await page.wait_for_selector("#state.running")
            await page.wait_for_selector(row(SCRIBE))
            node = await node_of(app, SCRIBE)
            await page.wait_for_selector(f"{row(SCRIBE)} .place:has-text('pid {node.pid}')")
            await order_kill(page, SCRIBE)
            await page.wait_for_selector("#said:has-text('was killed')")
            await until(lambda: another_pid(app, node.pid), "what is ordered is done to the new app")
            assert (await app.ref("shop/analyst").ask(Say(text="Are you there?"), timeout_s=60)) is not None


async def a_spare_stands_by(app: Running) -> bool:
    used = {node.pid for tree in await app.tree() for _, node in tree.walk()}
    return any(host["alive"] and host["pid"] not in {*used, os.getpid()} for host in (await app.metrics())["hosts"])


async def another_pid(app: Running, pid: int) -> bool:
    return (await node_of(app, SCRIBE)).pid not in (pid, 0)
