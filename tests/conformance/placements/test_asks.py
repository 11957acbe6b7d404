"""Asks, deadlines and who is still there to answer (SEMANTICS 3 and 4)."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic

import pytest

from regrow import AskFailed, AskTimeout
from regrow.runtime import NoProc
from tests.conformance.placements.player import (
    After,
    AskFor,
    Chain,
    Crash,
    Finish,
    Gate,
    Heir,
    Life,
    Note,
    Refuse,
    Send,
    Spawn,
    Watch,
)
from tests.conformance.placements.stage import Stage
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

SOON_S = 0.2
"""Long enough for a message to arrive, short enough to wait for."""

WITHIN_S = 10.0
"""Far below the 30 s that an ask waits by itself."""

HELD_UP_S = 4.0
"""Within so long a request is answered by another process, also on a busy machine."""


async def test_an_ask_of_who_never_was_fails_at_once(stage: Stage) -> None:
    (ann,) = await stage.fresh("ann")

    with pytest.raises(AskFailed) as failed:
        await stage.ref("nobody").ask(Life(), timeout_s=600.0)
    of_an_agent = await ann.ask(AskFor(to=stage.ref("nobody"), request=Refuse()))

    assert failed.value.reason == NoProc()
    assert of_an_agent.startswith("AskFailed noproc: stage/nobody does not exist")


async def test_an_ask_of_oneself_is_refused(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")

    told = await bob.ask(AskFor(to=bob, request=Refuse()))

    assert told.startswith("CallingSelf: stage/bob asked itself")


async def test_a_chain_of_asks_that_comes_back_is_refused_and_names_itself(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")

    told = await ann.ask(AskFor(to=bob, request=Chain(through=(ann,))))

    assert told.startswith("AskFailed crashed: stage/bob#")
    assert "AskCycle" in told
    assert "stage/ann → stage/bob → stage/ann" in told


async def test_a_timeout_leaves_the_callee_alone_and_its_late_reply_is_a_dead_letter(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    before, late = await bob.ask(Life()), await stage.dead_letters("late_reply")
    gate = stage.record.file()

    for timeout_s in (1.0, 4.0, 16.0):  # what comes to its receiver later than that is not begun any more
        with pytest.raises(AskTimeout):
            await bob.ask(Gate(file=str(gate)), timeout_s=timeout_s)
        if "at the gate" in stage.record.seen("bob"):
            break
    gate.touch()

    assert await bob.ask(Life()) == before
    assert stage.record.seen("bob") == ["at the gate", "through"]
    await until(lambda: _counted(stage, "late_reply", late + 1), "the late reply is counted")


async def test_asks_of_a_turn_inherit_its_deadline(stage: Stage) -> None:
    """Else an agent whose own asker has long given up would go on waiting."""
    ann, bob = await stage.fresh("ann", "bob")
    gate, waiting = await stage.held(bob)

    with pytest.raises(AskTimeout):
        await ann.ask(AskFor(to=bob, request=Refuse()), timeout_s=SOON_S)

    assert await ann.ask(Life(), timeout_s=WITHIN_S) > 0, "it waits no longer"
    gate.touch()
    assert await waiting == "open"


@pytest.mark.usefixtures("processes")
async def test_a_reply_that_has_come_by_the_deadline_wins_however_late_the_loop_looks(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    gate, deadline_s = stage.record.file(), monotonic() + HELD_UP_S
    asking = asyncio.create_task(bob.ask(Gate(file=str(gate)), timeout_s=HELD_UP_S))
    await stage.until_seen("bob", "at the gate")

    gate.touch()
    threading.Event().wait(deadline_s + SOON_S - monotonic())  # nothing of this process runs, and the deadline goes by

    assert await asking == "open"


async def test_an_expired_request_is_dropped_before_it_runs(stage: Stage) -> None:
    bob, ben = await stage.fresh("bob", "ben")
    expired = await stage.dead_letters("expired")
    gate, waiting = await stage.held(bob)

    with pytest.raises(AskTimeout):
        await bob.ask(Crash(), timeout_s=SOON_S)
    await ben.tell(After(delay_s=SOON_S, text="in its process it is later by what the way there took"))
    await stage.until_seen("ben", "in its process it is later by what the way there took")
    gate.touch()

    assert await waiting == "open"
    await bob.ask(Life())
    assert stage.record.seen("bob") == ["at the gate", "through"]
    await until(lambda: _counted(stage, "expired", expired + 1), "the expired one is counted")


async def test_a_ref_of_an_earlier_life_fails_at_once(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    kid = await bob.ask(Spawn(name="kid"))
    assert await kid.ask(Life()) > 0
    await bob.ask(Watch(of=kid))
    await bob.tell(Send(to=kid, message=Finish()))
    await stage.until_seen("bob", "down bob/kid normal")
    namesake = await bob.ask(Spawn(name="kid"))

    with pytest.raises(AskFailed) as failed:
        await kid.ask(Life(), timeout_s=600.0)

    assert failed.value.reason == NoProc()
    assert await namesake.ask(Life()) > 0


@pytest.mark.parametrize("how", ["crash", "finish", "kill"])
async def test_a_spawned_child_ends_with_its_parent(stage: Stage, how: str) -> None:
    (bob,) = await stage.fresh("bob")
    kid = await bob.ask(Spawn(name="kid"))
    await kid.ask(Life())

    match how:
        case "kill":
            await bob.stop(grace_s=0)
        case "crash":
            await bob.tell(Crash())
        case _:
            await bob.tell(Finish())

    await stage.until_seen("bob/kid", "stopping")
    await bob.ask(Life())
    assert [text for text in stage.record.story("bob", "bob/kid") if text != "bob stopping"] == [
        "bob/kid started",
        "bob/kid stopping",
        "bob started",
    ], "the child has ended before the next life of its parent begins"
    with pytest.raises(AskFailed):
        await kid.ask(Life(), timeout_s=600.0)


async def test_a_namesake_can_be_started_in_the_down_handler(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    kid = await bob.ask(Spawn(name="kid"))
    await bob.ask(Watch(of=kid))
    await bob.tell(Heir(name="kid"))

    await bob.tell(Send(to=kid, message=Finish()))

    await stage.until_seen("bob/kid", "started", 2)
    assert stage.record.seen("bob") == ["down bob/kid normal"]


async def test_a_crash_of_a_spawned_child_ends_its_parent(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    before = await bob.ask(Life())
    kid = await bob.ask(Spawn(name="kid"))

    await kid.tell(Crash())

    async def later_life() -> bool:
        return await bob.ask(Life()) > before

    await until(later_life, "bob has another life")


async def test_timers_of_an_earlier_life_never_arrive(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    gate, waiting = await stage.held(bob)
    await bob.tell(After(delay_s=SOON_S, text="of the first life"))
    await bob.tell(Crash())
    await bob.tell(After(delay_s=2 * SOON_S, text="of the second life"))

    gate.touch()  # from here on it handles one after the other, and the first is not yet due when it crashes

    assert await waiting == "open"
    seen = await stage.until_seen("bob", "of the second life")
    assert seen == ["at the gate", "through", "started", "of the second life"]


async def test_a_message_to_one_that_restarts_reaches_its_next_life(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    with stage.record.fails("bob", 3):
        await ann.tell(Send(to=bob, message=Crash()))
        await stage.until_seen("bob", "start fails")

        await asyncio.gather(*(bob.tell(Note(text=str(n))) for n in range(5)))

        seen = await stage.until_seen("bob", "4")
    assert seen == ["start fails"] * 3 + ["started"] + [str(n) for n in range(5)]


async def _counted(stage: Stage, reason: str, number: int) -> bool:
    return await stage.dead_letters(reason) == number
