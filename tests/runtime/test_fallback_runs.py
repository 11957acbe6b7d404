"""A store of runs that is away or hangs costs calls of tools a moment, and their loops are found all the same."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from regrow.runtime.fallback_runs import ANSWER_LIMIT_S, FIRST_PAUSE_S, LONGEST_PAUSE_S, FallbackRuns
from regrow.runtime.guard_errors import RunsUnreachable
from regrow.runtime.guards import Guards
from regrow.runtime.likeness import Likenesses
from regrow.runtime.memory_runs import MemoryRuns
from regrow.runtime.run_store import NOTHING, Amounts, CallNote, Calls, Taken, WireCounts
from regrow.runtime.testing import pass_time, virtual

ALIKE = Likenesses(1, 1, 1, 1, 1)
UNCAPPED = Guards()


def call(number: int) -> CallNote:
    return CallNote(id=str(number), what=ALIKE, outcome=ALIKE)


class Store(MemoryRuns):
    """One that can be cut off, or hang, and knows how often it was asked."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop().time)
        self.trouble = ""
        self.asked = 0

    async def _reached(self) -> None:
        self.asked += 1
        if self.trouble == "hangs":
            await asyncio.Event().wait()
        if self.trouble:
            raise RunsUnreachable(self.trouble)

    async def take(self, run: str, amounts: Amounts, guards: Guards, *, id: str = "", held: Amounts = NOTHING) -> Taken:
        await self._reached()
        return await super().take(run, amounts, guards, id=id, held=held)

    async def note(self, run: str, agent: str, call: CallNote) -> None:
        await self._reached()
        await super().note(run, agent, call)

    async def calls(self, run: str, agent: str) -> Calls:
        await self._reached()
        return await super().calls(run, agent)

    async def sent(self, address: str, counts: WireCounts) -> WireCounts:
        await self._reached()
        return await super().sent(address, counts)


def made() -> tuple[Store, FallbackRuns]:
    store = Store()
    return store, FallbackRuns(store, asyncio.get_running_loop().time)


async def noted(runs: FallbackRuns) -> list[str]:
    return [each.id for each in (await runs.calls("run", "desk/a")).notes]


@virtual
async def test_calls_are_noted_in_this_process_while_the_store_does_not_answer() -> None:
    store, runs = made()
    await runs.note("run", "desk/a", call(1))
    store.trouble = "cut off"

    for number in (2, 3):
        await runs.note("run", "desk/a", call(number))

    assert await noted(runs) == ["2", "3"]
    with pytest.raises(RunsUnreachable, match="cut off"):  # the process that asks knows what it has sent itself
        await runs.sent("example", WireCounts(calls=1))


@virtual
async def test_a_store_that_answers_again_is_asked_again_and_knows_what_it_had() -> None:
    store, runs = made()
    await runs.note("run", "desk/a", call(1))
    store.trouble = "cut off"
    await runs.note("run", "desk/a", call(2))
    store.trouble = ""

    before = await noted(runs)
    await pass_time(FIRST_PAUSE_S)

    assert (before, await noted(runs)) == (["2"], ["1"])
    store.trouble = "cut off"
    assert await noted(runs) == []  # and what was noted beside it before is over


@virtual
async def test_of_a_store_that_hangs_one_waits_a_moment_at_times_and_nobody_else() -> None:
    store, runs = made()
    store.trouble = "hangs"
    loop = asyncio.get_running_loop()
    began_s, slow = loop.time(), 0

    while loop.time() - began_s < 10 * LONGEST_PAUSE_S:
        at_s = loop.time()
        await asyncio.gather(*(runs.note("run", "desk/a", call(number)) for number in range(2)))
        slow += loop.time() - at_s >= ANSWER_LIMIT_S
        await pass_time(0.1)

    assert slow <= 20
    assert store.asked == slow + 1  # the first time both, for nobody had known
    assert loop.time() - began_s < 11 * LONGEST_PAUSE_S


@virtual
async def test_what_takes_from_a_cap_is_refused_while_the_store_is_away_and_asks_it_each_time() -> None:
    store, runs = made()
    store.trouble = "cut off"
    for _ in range(3):
        with pytest.raises(RunsUnreachable, match="cut off"):
            await runs.take("run", Amounts(calls=1), UNCAPPED)
    store.trouble = ""

    assert (await runs.take("run", Amounts(calls=1), UNCAPPED)).counts.calls == 1


@virtual
async def test_that_a_store_is_away_is_one_line_of_the_log_and_that_it_is_back_another() -> None:
    store, runs = made()
    with structlog.testing.capture_logs() as lines:
        store.trouble = "cut off"
        for number in range(50):
            await runs.note("run", "desk/a", call(number))
            await pass_time(1.0)
        store.trouble = ""
        await pass_time(LONGEST_PAUSE_S)
        await noted(runs)

    assert [(line["log_level"], line.get("reason")) for line in lines] == [("warning", "cut off"), ("info", None)]
