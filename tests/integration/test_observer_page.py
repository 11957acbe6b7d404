"""The page of `regrow observe` in a real browser: what is seen of a death, what is done with keys, and how it looks.

One browser and one app for all.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from regrow.cluster import answers
from regrow.cluster.observer_frames import TREE, changes
from tests.integration import chromium
from tests.integration.apps.shop import Note, Pay
from tests.integration.observed import SCRIPT, Observed, lived_in, observed
from tests.integration.waiting import assert_prompt, until_now

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route, ViewportSize

pytestmark = [pytest.mark.slow, pytest.mark.program, pytest.mark.again]

WIDE: ViewportSize = {"width": 1200, "height": 760}
KILLS = 5
WITHIN_S = 1.0
KEY = "[bold]<script>window.owned=1;document.title='owned'"
"""The most that a key may hold of markup: no space, and no slash."""
TIME = re.compile(r"\d{4}-\d\d-\d\d|[0-9a-f]{32}$")
LIVES_AGAIN = (
    "([id, life]) => ![life, undefined].includes(document.getElementById(id)?.querySelector('.life').textContent)"
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """The shop, in which something of everything has happened."""
    with lived_in(tmp_path_factory.mktemp("shop")) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.launched() as made:
        yield made


class Seen(chromium.Heard):
    """A page with all that it has said and asked for."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self.page = page


@pytest.fixture
def seen(browser: Browser) -> Iterator[Seen]:
    """A new page in a wide window."""
    context = browser.new_context(viewport=WIDE, reduced_motion="reduce")
    made = Seen(context.new_page())
    yield made
    context.close()
    assert made.complaints == []


def opened(seen: Seen, address: str) -> Page:
    """The page, once it shows the tree."""
    seen.page.goto(address)
    seen.page.wait_for_selector('[role="treeitem"]')
    return seen.page


def row(agent: str) -> str:
    return f'[id="row:{agent}"]'


@pytest.mark.alone
def test_a_kill_is_seen_on_the_page_within_a_second(shop: Observed, seen: Seen) -> None:
    page = opened(seen, shop.link)
    seen_s = []
    for _ in range(KILLS):
        life = page.inner_text(f"{row('shop/desk/scribe')} .life")
        page.focus(row("shop/desk/scribe"))
        page.keyboard.press("k")
        page.wait_for_selector("dialog[open]")
        page.evaluate(chromium.NOTE_CLICK)
        page.click("#dialog-buttons >> text=Kill")
        page.wait_for_function(LIVES_AGAIN, arg=["row:shop/desk/scribe", life], polling="raf")
        seen_s.append(time.time() - page.evaluate(chromium.CLICKED_AT_S))

    assert_prompt(seen_s, within_s=WITHIN_S)


@pytest.mark.alone
def test_a_page_is_told_of_a_death_within_a_second(shop: Observed) -> None:
    late_s: list[float] = []
    with shop.frames() as frames:
        next(frames)
        for _ in range(KILLS):
            killed_s = time.monotonic()
            shop.tell("shop/desk/scribe", Note(text=SCRIPT))
            next(told for told in frames if told.get("news"))
            late_s.append(time.monotonic() - killed_s)

    assert_prompt(late_s, within_s=WITHIN_S)


def test_a_script_in_a_key_a_message_and_an_error_stays_a_text(shop: Observed, seen: Seen) -> None:
    wallet = shop.running.ref("wallet", key=KEY)
    shop.do(lambda: wallet.tell(Pay(to=SCRIPT, cents=5_000)))
    page = opened(seen, shop.link)
    shop.tell("shop/desk/scribe", Note(text=SCRIPT))
    page.wait_for_selector("#news li:has-text('onerror')")
    page.fill("#find", "wallet/")
    page.wait_for_selector(row(f"shop/wallet/{KEY}"))
    page.wait_for_selector("#waits .card:has-text('onerror')")
    page.fill("#find", "scribe")
    page.wait_for_selector(f"{row('shop/desk/scribe')} .why:has-text('onerror')")
    page.locator("#traces-panel").scroll_into_view_if_needed()
    page.click("#traces tr:has-text('wallet') button")
    page.wait_for_selector(".waterfall li:has-text('wallet')")
    page.fill("#find", "wallet/")
    page.focus(row(f"shop/wallet/{KEY}"))
    page.keyboard.press("k")

    assert KEY in page.inner_text("#dialog-title")
    assert KEY in page.inner_text("#waits")
    assert KEY in page.inner_text(".waterfall")
    assert_nothing_was_markup(page)
    page.keyboard.press("Escape")
    page.click("#waits .card:has-text('onerror') >> text=refuse")
    page.wait_for_selector("#waits .card:has-text('onerror')", state="detached")


def test_whatever_an_app_says_anywhere_stays_a_text(shop: Observed, seen: Seen) -> None:
    """Every text in all that a page is told: also those that our own rules do not let be a script today."""
    told: list[str] = []

    def spoil(route: Route) -> None:
        frame = hostile(next_frame(shop), keep=("state", "kind"))
        told.extend(frame["tree"]["order"])
        route.fulfill(content_type="text/event-stream", body=f"data: {json.dumps(frame)}\n\n")

    seen.page.route("**/events*", spoil)
    seen.page.route("**/traces", lambda route: route.fulfill(json=hostile(shop.request("/traces").json)))
    page = opened(seen, shop.link)
    page.locator("#traces-panel").scroll_into_view_if_needed()
    page.wait_for_selector("#traces table")
    page.wait_for_selector("#note:visible")

    assert told and all(SCRIPT in each for each in told)
    for part in ("#app", "#tree", "#waits", "#news", "#letters", "#hosts", "#models", "#traces"):
        assert "onerror" in page.inner_text(part), part
    assert_nothing_was_markup(page)


def next_frame(shop: Observed) -> dict[str, Any]:
    """All that a page is told at first, with each part there."""
    known: dict[str, Any] = {}
    with shop.frames(headers=shop.authorized) as frames:
        for told in frames:
            known |= told
            if {"tree", "waits", "letters", "metrics"} <= known.keys():
                return known
    raise AssertionError(f"the stream has ended with {sorted(known)}")


def hostile(told: Any, keep: tuple[str, ...] = ()) -> Any:
    """The same with a script behind each text, also behind the ids of rows."""
    if isinstance(told, dict):
        return {
            name: {f"{id}{SCRIPT}": hostile(row, keep) for id, row in value.items()}
            if name == "rows" and isinstance(value, dict)
            else value
            if name in keep
            else hostile(value, keep)
            for name, value in told.items()
        }
    if isinstance(told, list):
        return [hostile(each, keep) for each in told]
    is_text = isinstance(told, str) and not TIME.match(told)
    return f"{told}{SCRIPT}" if is_text else told


def assert_nothing_was_markup(page: Page) -> None:
    """No element has come of what others have written, and nothing of it has run."""
    assert page.title().endswith("· Regrow")
    assert page.locator("img[src='x'], body script, svg[onload], [onerror]").count() == 0
    assert page.evaluate("window.owned") is None


def test_nothing_is_asked_of_anybody_else_and_the_token_is_in_no_address(shop: Observed, seen: Seen) -> None:
    page = opened(seen, shop.link)
    page.wait_for_selector("#traces table")
    token = shop.link.partition("#token=")[2]

    assert page.inner_text("#may") == "can act"
    assert all(address.startswith(shop.url) for address in seen.asked)
    assert not any(token in address for address in (*seen.asked[1:], page.url))


def test_without_the_token_nothing_can_be_ordered_on_the_page(shop: Observed, seen: Seen) -> None:
    page = opened(seen, shop.url)
    page.wait_for_selector("#waits .card")

    assert page.inner_text("#may") == "read only"
    assert page.locator(".deeds button:visible").count() == 0
    assert "Ann Example" not in page.inner_text("#waits")


def test_a_wrong_token_is_told_and_can_be_forgotten(shop: Observed, seen: Seen) -> None:
    seen.page.goto(f"{shop.url}#token=wrong-wrong-wrong-wrong")
    seen.page.wait_for_selector("#note:visible")

    assert "is not the one" in seen.page.inner_text("#note")
    seen.page.click("#token")
    seen.page.wait_for_selector('[role="treeitem"]')
    seen.page.close()
    seen.complaints.clear()  # the browser tells of each answer 401


def test_all_of_the_tree_is_reached_and_an_agent_restarted_by_keys_alone(shop: Observed, seen: Seen) -> None:
    page = opened(seen, shop.link)
    page.focus(row("shop"))
    keys = page.keyboard

    for key in ("ArrowDown", "ArrowLeft"):
        keys.press(key)
    page.wait_for_selector(f"{row('shop/desk/analyst')}", state="detached")
    keys.press("ArrowRight")
    page.wait_for_selector(row("shop/desk/analyst"))
    keys.press("ArrowDown")
    life = page.inner_text(f"{row('shop/desk/analyst')} .life")
    keys.press("r")
    page.wait_for_selector("dialog[open]")
    keys.press("Tab")
    keys.press("Shift+Tab")
    keys.press("Enter")
    page.wait_for_function(LIVES_AGAIN, arg=["row:shop/desk/analyst", life])

    page.wait_for_selector("#said:visible")
    assert "runs again" in page.inner_text("#said")


def test_a_person_consents_and_decides_about_what_is_in_quarantine(shop: Observed, seen: Seen) -> None:
    page = opened(seen, shop.link)

    page.wait_for_selector("#waits pre")
    assert "Ann Example" in page.inner_text("#waits pre")
    page.click("#waits >> text=approve")
    page.wait_for_selector("#waits-remark >> text=Nothing waits")
    page.click("#quarantine >> text=look and decide")
    page.wait_for_selector("dialog[open] pre")
    page.click("dialog >> text=forget it")
    page.wait_for_selector("#quarantine-remark >> text=Nothing is in quarantine")


def test_a_trace_is_drawn_as_a_waterfall(shop: Observed, seen: Seen) -> None:
    page = opened(seen, shop.url)
    page.locator("#traces-panel").scroll_into_view_if_needed()
    page.click("#traces tr:has-text('analyst') button")
    page.wait_for_selector(".waterfall li")

    names = page.locator(".waterfall .name").all_inner_texts()
    widths = page.eval_on_selector_all(".waterfall .bar", "bars => bars.map(bar => bar.getBoundingClientRect().width)")
    assert names[:2] == ["send shop/desk/analyst", "invoke_agent shop/desk/analyst"]
    assert any(name.startswith("chat ") for name in names)
    assert widths[0] > 100 and min(widths) >= 2


def test_an_observer_that_ends_is_told_on_the_page(seen: Seen, tmp_path: Path) -> None:
    with observed(folder=tmp_path, tracing=False) as short_lived:
        page = opened(seen, short_lived.url)
    page.wait_for_selector("#note:visible")

    assert page.inner_text("#state") == "not connected"
    page.close()  # or it would go on trying, and complaining
    seen.complaints.clear()  # the browser tells of each connection that it did not get


def test_a_stream_that_falls_silent_is_begun_anew(shop: Observed, seen: Seen) -> None:
    # As after a sleep of the machine: the connection has gone, and nobody has told the page.
    seen.page.clock.install()
    page = opened(seen, shop.url)

    def begun_anew() -> bool:
        page.clock.fast_forward(60_000)  # again, where a word of the stream came in between
        return sum("/events" in address for address in seen.asked) > 1

    until_now(begun_anew, "the page asks for its stream again")
    page.wait_for_selector("body:not(.stale) #state.running")


def test_a_link_that_is_opened_where_the_page_is_open_lets_act(shop: Observed, seen: Seen) -> None:
    page = opened(seen, shop.url)
    page.evaluate("hash => { location.hash = hash }", shop.link.partition("#")[2])
    page.wait_for_selector("#may >> text=can act")

    assert "token" not in page.url


def test_what_somebody_has_in_hand_stays_while_the_page_goes_on(shop: Observed, seen: Seen) -> None:
    if not waiting(shop):
        shop.tell("shop/till", Pay(to="Ann Example", cents=5_000))
    page = opened(seen, shop.link)
    page.focus("#waits button")
    before = page.locator("#waits .card").count()
    shop.tell("shop/till" if before == 1 else "shop/cashier", Pay(to="Bob Example", cents=5_000))
    page.wait_for_function("before => document.querySelectorAll('#waits .card').length > before", arg=before)

    assert page.evaluate("document.activeElement === document.querySelector('#waits button')")
    page.click("#waits .card:has-text('Bob Example') >> text=refuse")
    page.wait_for_selector("#waits .card:has-text('Bob Example')", state="detached")


def test_the_page_puts_changes_together_as_they_are_meant(shop: Observed, seen: Seen) -> None:
    draw = random.Random(7)
    frames = [random_frame(draw) for _ in range(200)]
    told = [changes(before, after) for before, after in zip([None, *frames], frames, strict=False)]
    page = opened(seen, shop.url)

    known = page.evaluate(
        """async told => {
            const { change, noFrame } = await import("/observer_frame.js");
            const frame = noFrame();
            return told.map((each) => {
                change(frame, each);
                const row = (id) => Object.entries(frame.rows.get(id)).filter(([, value]) => value !== null);
                const rows = frame.order.map((id) => [id, row(id)]);
                return structuredClone({ ...frame.parts, size: frame.rows.size, rows });
            });
        }""",
        told,
    )

    for frame, shown in zip(frames, known, strict=True):
        assert (shown["p"], shown["size"]) == (frame["p"], len(frame[TREE]))
        assert [(id, dict(row)) for id, row in shown["rows"]] == list(frame[TREE].items())


def random_frame(draw: random.Random) -> dict[str, Any]:
    """A frame of some rows in some order, of which each may have a field that others have not."""
    ids = draw.sample("abcdef", draw.randint(0, 6))
    rows = {id: {"x": draw.randint(0, 2)} | ({"more": draw.randint(0, 2)} if draw.random() < 0.5 else {}) for id in ids}
    return {"p": draw.randint(0, 2), TREE: rows}


def test_numbers_and_times_are_told_as_people_read_them(shop: Observed, seen: Seen) -> None:
    page = opened(seen, shop.url)

    told = page.evaluate(
        """async () => {
            const { count, distance, money, span, took } = await import("/observer_words.js");
            const now = Date.parse("2026-05-01T12:00:00Z");
            return [
                count(10000), money(null), money(0), money(0.00002), money(0.0123), money(1234.5),
                took(37), took(1500), took(2500000), took(125000000), span(0.2), span(3700), span(86400),
                distance("2026-05-01T11:57:55Z", now), distance("2026-05-08T11:00:00Z", now),
            ];
        }"""
    )

    assert told == [
        *("10,000", "–", "$0", "< $0.0001", "$0.0123", "$1,234.50"),
        *("37 µs", "1.5 ms", "2.50 s", "2 min 5 s", "0 s", "1 h 1 min", "1 d"),
        *("2 min 5 s ago", "in 6 d 23 h"),
    ]


def waiting(shop: Observed) -> bool:
    """Whether anything waits for a person."""
    return bool(shop.do(lambda: answers.waits(shop.running, ""))["waits"])
