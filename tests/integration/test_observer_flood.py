"""Ten thousand dead letters a second, with the page and `regrow top` open: work goes on, and nothing grows."""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from pathlib import Path

import pytest

from tests.integration.apps.shop import Note, Say
from tests.integration.observed import Observed, observed
from tests.terminal import TopProgram

pytestmark = [pytest.mark.slow, pytest.mark.program, pytest.mark.again, pytest.mark.alone]

FLOOD_S = 3.0
AT_ONCE = 200
"""So many are sent in one go, and then others have their turn."""
RATE_PER_S = 10_000
"""In a second of processor time: a machine that is busy with something else has less of them."""
PAGE_BYTES_S = 200_000
ASK_EACH = 10
"""Of so many goes, one has an ask among them."""
ANSWER_S = 0.5
GROWTH_BYTES = 32 * 1_048_576
LINES_PER_S = 8
"""Of the log about dead letters: the first few of each second, and how many more there were."""
TAIL_S = 2.0


def test_a_flood_of_dead_letters_holds_up_no_ask_and_floods_no_page_no_terminal_and_no_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with observed(folder=tmp_path, tracing=False) as shop, TopProgram("shop", rows=24, columns=80) as top:
        top.shows("dead letters")
        page = Counted(shop)
        answers: list[float] = []
        shop.do(lambda: asked(shop, []))  # the first one starts what answers it
        before_bytes, begun_s, spent_s = peak_bytes(), time.monotonic(), time.process_time()
        sent = shop.do(lambda: flood(shop, answers))
        taken_s, spent_s = time.monotonic() - begun_s, time.process_time() - spent_s
        page.sees(sent)
        top.shows(f"{sent:,} dead letters")
        size_bytes, told_s = page.close()
        log = capfd.readouterr()

    lines = [line for line in (log.out + log.err).splitlines() if "dead letter" in line]
    assert sent / spent_s >= RATE_PER_S
    assert size_bytes / told_s < PAGE_BYTES_S
    assert max(answers) < ANSWER_S, answers
    assert len(answers) >= FLOOD_S
    assert peak_bytes() - before_bytes < GROWTH_BYTES
    assert len(lines) <= LINES_PER_S * (taken_s + TAIL_S)


async def flood(shop: Observed, answers: list[float]) -> int:
    """Sends to nobody for a while, and asks somebody in between; how many were sent."""
    nobody, note = shop.running.ref("shop/nobody"), Note(text="x" * 100)
    loop = asyncio.get_running_loop()
    until_s, sent = loop.time() + FLOOD_S, 0
    while loop.time() < until_s:
        tells = [nobody.tell(note) for _ in range(AT_ONCE)]
        asks = [] if sent % (ASK_EACH * AT_ONCE) else [asked(shop, answers)]
        await asyncio.gather(*asks, *tells)
        sent += AT_ONCE
    return sent


async def asked(shop: Observed, answers: list[float]) -> None:
    """Asks somebody, and notes how long the answer took."""
    loop = asyncio.get_running_loop()
    asked_s = loop.time()
    await shop.running.ref("shop/desk/analyst").ask(Say(text="When does the shop open?"))
    answers.append(loop.time() - asked_s)


class Counted:
    """A page that counts what it is told, in a thread of its own."""

    def __init__(self, shop: Observed) -> None:
        self._shop = shop
        self._over = threading.Event()
        self._known = threading.Condition()
        self._total = -1
        self._size_bytes = 0
        self._begun_s = time.monotonic()
        self._thread = threading.Thread(target=self._read, name="page")
        self._thread.start()
        self.sees(0)

    def sees(self, total: int) -> None:
        """Waits until it shows so many dead letters."""
        with self._known:
            assert self._known.wait_for(lambda: self._total == total, 30), f"{self._total} and not {total}"

    def close(self) -> tuple[int, float]:
        """How many bytes it was told, and for how long."""
        told_s = time.monotonic() - self._begun_s
        self._over.set()
        self._shop.tell("shop/nobody", Note(text="the last"))
        self._thread.join()
        return self._size_bytes, told_s

    def _read(self) -> None:
        with self._shop.frames(size=self._count) as frames:
            for told in frames:
                with self._known:
                    self._total = told.get("letters", {}).get("total", self._total)
                    self._known.notify_all()
                if self._over.is_set():
                    return

    def _count(self, size_bytes: int) -> None:
        self._size_bytes += size_bytes


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024
