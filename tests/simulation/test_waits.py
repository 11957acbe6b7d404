"""The judge of rings looks at turns: agents whose other turns wait for each other are no ring."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from regrow.runtime.testing import pass_time, virtual
from tests.simulation.waits import Waits


@virtual
async def test_a_turn_that_handles_what_another_one_asks_leads_to_what_it_waits_for_itself() -> None:
    waits = Waits(most_turns=2, slack_s=1.0)
    with (
        waits.serving(1, "a", beside=False),
        waits.waiting(1, "a", [("b", 2)]),
        waits.serving(2, "b", beside=False),
        waits.waiting(2, "b", [("a", 3)]),
    ):
        assert [wait.of for wait in waits.ring(("a", "b"), now())] == [2, 3]


@virtual
@pytest.mark.parametrize(("turns", "is_ring"), [(1, False), (2, True)])
async def test_turns_beside_others_block_somebody_only_where_there_are_as_many_as_may_be(
    turns: int, is_ring: bool
) -> None:
    waits = Waits(most_turns=2, slack_s=1.0)
    with ExitStack() as held:
        for turn in range(turns):
            held.enter_context(waits.serving(turn, "a", beside=True))
            held.enter_context(waits.waiting(turn, "a", [("b", 10 + turn)]))
        held.enter_context(waits.serving(10, "b", beside=False))
        held.enter_context(waits.waiting(10, "b", [("a", 20)]))

        ring = waits.ring(("a", "b"), now())  # what b asks is queued, and only a full agent keeps it so

        assert bool(ring) is is_ring


@virtual
async def test_what_another_turn_handles_does_not_wait_for_this_one() -> None:
    waits = Waits(most_turns=2, slack_s=1.0)
    with (
        waits.serving(1, "a", beside=False),
        waits.waiting(1, "a", [("b", 2)]),
        waits.serving(2, "b", beside=False),
        waits.waiting(2, "b", [("a", 3)]),
        waits.serving(3, "a", beside=True),  # beside the first turn of a, which so is not what b waits for
    ):
        await pass_time(2.0)

        assert not waits.ring(("a", "b"), now())


@virtual
async def test_a_wait_that_has_ended_counts_for_a_moment() -> None:
    waits = Waits(most_turns=2, slack_s=1.0)
    with waits.serving(1, "a", beside=False), waits.waiting(1, "a", [("a", 2)]):
        pass
    ended_s = now()

    assert waits.ring(("a",), ended_s + 0.9)
    assert not waits.ring(("a",), ended_s + 1.1)


def now() -> float:
    return asyncio.get_running_loop().time()
