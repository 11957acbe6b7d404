"""The asks that wait in one process, each with a deadline (SEMANTICS 4)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.runtime.address import ActorId
from regrow.runtime.asks import GRAIN_S, Asks, PendingAsk
from regrow.runtime.errors import AskTimeout, Closed
from regrow.runtime.testing import run_virtual, virtual
from tests.runtime.scripted import Echo

CLERK = ActorId("desk/clerk")


class Desk:
    """Asks on the running loop, opened by how long they may take."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.asks = Asks(self.loop)

    def open(self, timeout_s: float) -> PendingAsk:
        return self.asks.open(CLERK, Echo(), timeout_s, self.loop.time() + timeout_s)


async def ends_after(desk: Desk, ask: PendingAsk) -> float:
    """How long an ask that gets no reply takes to end."""
    began_s = desk.loop.time()
    with pytest.raises(AskTimeout):
        await ask.future
    return desk.loop.time() - began_s


@virtual
async def test_a_reply_ends_its_ask_and_no_other() -> None:
    desk = Desk()
    first, second = desk.open(1.0), desk.open(1.0)

    assert desk.asks.reply(second.ask_id, "second")

    assert await second.future == "second"
    assert not first.future.done()
    assert desk.asks.get(first.ask_id) is first
    assert desk.asks.get(second.ask_id) is None
    assert list(desk.asks) == [first]


@virtual
async def test_a_deadline_says_who_did_not_answer_what_in_what_time() -> None:
    desk = Desk()
    ask = desk.open(1.5)

    with pytest.raises(AskTimeout, match=r"desk/clerk did not answer Echo within 1.5 s") as failure:
        await ask.future

    assert (failure.value.actor, failure.value.message_type, failure.value.timeout_s) == ("desk/clerk", "Echo", 1.5)


@virtual
async def test_a_reply_that_is_there_at_the_deadline_wins() -> None:
    desk = Desk()
    ask = desk.open(1.0)
    desk.loop.call_at(ask.deadline, desk.asks.reply, ask.ask_id, "just in time")
    desk.open(0.9999)  # the look at its deadline sets the next one behind the reply

    assert await ask.future == "just in time"


@virtual
async def test_a_late_reply_finds_nobody() -> None:
    desk = Desk()
    ask = desk.open(1.0)
    await ends_after(desk, ask)

    assert not desk.asks.reply(ask.ask_id, "late")
    assert not desk.asks.fail(ask.ask_id, Closed("late"))


@virtual
async def test_a_reply_to_an_asker_that_went_away_finds_nobody() -> None:
    desk = Desk()
    given_up, cancelled = desk.open(1.0), desk.open(1.0)
    desk.asks.close(given_up)
    cancelled.future.cancel()

    assert not desk.asks.reply(given_up.ask_id, "late")
    assert not desk.asks.reply(cancelled.ask_id, "late")


@virtual
async def test_an_ask_fails_with_what_it_is_told() -> None:
    desk = Desk()
    ask = desk.open(1.0)

    assert desk.asks.fail(ask.ask_id, Closed("over"))

    with pytest.raises(Closed, match="over"):
        await ask.future


@virtual
async def test_all_waiting_asks_end_once_when_the_runtime_closes() -> None:
    desk = Desk()
    asks = [desk.open(timeout_s) for timeout_s in (1.0, 2.0)]
    desk.asks.reply(asks[0].ask_id, "answered")

    desk.asks.fail_all(lambda ask: Closed(f"over for {ask.ask_id}"))

    assert await asks[0].future == "answered"
    with pytest.raises(Closed, match=f"over for {asks[1].ask_id}"):
        await asks[1].future
    assert len(desk.asks) == 0


@virtual
async def test_an_ask_without_end_never_times_out() -> None:
    desk = Desk()
    endless, short = desk.open(float("inf")), desk.open(1.0)

    await ends_after(desk, short)

    assert not endless.future.done()


@virtual
async def test_an_ask_whose_time_is_over_already_fails_at_once() -> None:
    desk = Desk()

    assert await ends_after(desk, desk.open(-1.0)) == 0.0


@pytest.mark.slow
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30), st.sets(st.integers(0, 29)))
def test_deadlines_come_true_at_most_a_grain_late_and_never_early(timeouts: list[float], answered: set[int]) -> None:
    async def run() -> None:
        desk = Desk()
        asks = [desk.open(timeout_s) for timeout_s in timeouts]
        for index in answered:
            if index < len(asks):
                desk.asks.reply(asks[index].ask_id, "")
        waiting = [index for index in range(len(asks)) if index not in answered]

        took_s = await asyncio.gather(*(ends_after(desk, asks[index]) for index in waiting))

        for index, seconds in zip(waiting, took_s, strict=True):
            assert timeouts[index] - 1e-9 <= seconds <= timeouts[index] + GRAIN_S + 1e-9

    run_virtual(run())
