"""Answers that are read part by part, from outside and by agents (SEMANTICS 4)."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from regrow import AskFailed, AskTimeout, Refused
from regrow.runtime import Window
from tests.conformance.placements.player import Life
from tests.conformance.placements.teller import Hear, Say

if TYPE_CHECKING:
    from regrow import ActorRef
    from regrow.runtime import Stream
    from tests.conformance.placements.stage import Stage
    from tests.conformance.placements.teller import Word

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

SMALL = Window(parts=4)
MANY = 3_000
WITHIN_S = 10.0
"""Far below the 30 s that an ask waits by itself."""


async def heard(stream: Stream[Word, str], limit: int | None = None) -> list[int]:
    numbers: list[int] = []
    async for word in stream:
        numbers.append(word.n)
        if len(numbers) == limit:
            break
    return numbers


async def _read_on(stream: Stream[Word, str], numbers: list[int]) -> None:
    async for word in stream:
        numbers.append(word.n)


async def test_parts_come_in_order_and_behind_the_last_one_is_the_reply_outside_and_between_agents(
    stage: Stage,
) -> None:
    rita, tim = await stage.fresh("rita", "tim")

    async with tim.stream(Say(words=MANY)) as stream:
        numbers = await heard(stream)
    between = await rita.ask(Hear(of=tim, say=Say(words=MANY)))

    assert numbers == list(range(MANY))
    assert stream.reply == f"{MANY} words"
    assert between == f"{MANY}, then {MANY} words"


async def test_asked_for_its_reply_alone_a_teller_waits_for_no_reader(stage: Stage) -> None:
    (tim,) = await stage.fresh("tim")

    assert await tim.ask(Say(words=MANY), timeout_s=WITHIN_S) == f"{MANY} words"


async def test_a_crash_or_a_refusal_ends_a_stream_with_its_reason_behind_all_parts(stage: Stage) -> None:
    rita, tim = await stage.fresh("rita", "tim")
    numbers: list[int] = []

    async with tim.stream(Say(words=5, deed="refuse")) as stream:
        with pytest.raises(Refused, match="not another word"):
            await _read_on(stream, numbers)
    async with tim.stream(Say(words=5, deed="crash")) as stream:
        with pytest.raises(AskFailed, match="lost its voice") as failed:
            await _read_on(stream, numbers)
    between = await rita.ask(Hear(of=tim, say=Say(words=5, deed="crash")))

    assert numbers == [0, 1, 2, 3, 4] * 2
    assert failed.value.type_name == "ValueError"
    assert between.startswith("5, then AskFailed crashed: stage/tim#")


async def test_a_reader_that_stops_reading_holds_up_its_own_teller_and_nobody_else(stage: Stage) -> None:
    rita, tim, bob = await stage.fresh("rita", "tim", "bob")
    gate = stage.record.file()
    hearing = asyncio.create_task(rita.ask(Hear(of=tim, say=Say(words=50), stop_at=2, file=str(gate)), timeout_s=600.0))
    await stage.until_seen("rita", "stops reading")

    for _ in range(20):
        assert await bob.ask(Life(), timeout_s=WITHIN_S) > 0
    said = [text for text in stage.record.seen("tim") if text.startswith("said")]
    gate.touch()

    assert len(said) <= 2 + 4, "two are read, and four may wait"
    assert await hearing == "50, then 50 words"


async def test_leaving_a_stream_early_cancels_its_handler_and_the_agent_lives(stage: Stage) -> None:
    (tim,) = await stage.fresh("tim")
    before = await tim.ask(Life())

    async with tim.stream(Say(words=50, pause_at=3, file=str(stage.record.file())), timeout_s=600.0) as stream:
        assert await heard(stream, 3) == [0, 1, 2]

    assert await tim.ask(Life(), timeout_s=WITHIN_S) == before
    assert stage.record.seen("tim") == ["said 0", "said 1", "said 2", "pauses", "cancelled"]


async def test_the_end_of_a_reading_agent_cancels_the_handler(stage: Stage) -> None:
    rita, tim = await stage.fresh("rita", "tim")
    say = Say(words=50, pause_at=3, file=str(stage.record.file()))
    hearing = asyncio.create_task(rita.ask(Hear(of=tim, say=say), timeout_s=600.0))
    await stage.until_seen("tim", "pauses")

    await rita.stop(grace_s=0)

    await stage.until_seen("tim", "cancelled")
    assert await tim.ask(Life(), timeout_s=WITHIN_S) > 0
    with pytest.raises(AskFailed):
        await hearing


async def test_a_stream_ends_at_its_deadline_behind_what_had_come_and_its_handler_with_it(stage: Stage) -> None:
    (tim,) = await stage.fresh("tim")
    numbers: list[int] = []
    say = Say(words=50, pause_at=3, file=str(stage.record.file()))

    for timeout_s in (0.5, 4.0, 16.0):  # on a busy machine not everything has come by the first
        numbers.clear()
        async with tim.stream(say, timeout_s=timeout_s) as stream:
            with pytest.raises(AskTimeout):
                await _read_on(stream, numbers)
        if len(numbers) == say.pause_at:
            break

    assert numbers == [0, 1, 2]
    await stage.until_seen("tim", "cancelled")
    assert await tim.ask(Life(), timeout_s=WITHIN_S) > 0


@pytest.mark.usefixtures("processes")
async def test_a_stream_of_a_killed_process_ends_at_once_as_killed_behind_what_had_come(stage: Stage) -> None:
    (tess,) = await stage.fresh("tess")
    numbers: list[int] = []

    async with tess.stream(Say(words=50, pause_at=3, file=str(stage.record.file())), timeout_s=600.0) as stream:
        await stage.until_seen("tess", "pauses")
        await _kill(stage, stage.ref("pip"))
        with pytest.raises(AskFailed) as failed:
            await _read_on(stream, numbers)

    assert numbers == [0, 1, 2]
    assert failed.value.reason.kind == "killed"
    assert await tess.ask(Life(), timeout_s=60.0) > 0


@pytest.mark.usefixtures("bystanders")
async def test_the_death_of_the_readers_process_cancels_the_handler(stage: Stage) -> None:
    tess, tim = await stage.fresh("tess", "tim")
    say = Say(words=50, pause_at=3, file=str(stage.record.file()))
    hearing = asyncio.create_task(tess.ask(Hear(of=tim, say=say), timeout_s=600.0))
    await stage.until_seen("tim", "pauses")

    await _kill(stage, stage.ref("pip"))

    await stage.until_seen("tim", "cancelled")
    assert await tim.ask(Life(), timeout_s=WITHIN_S) > 0
    with pytest.raises(AskFailed):
        await hearing
    assert await tess.ask(Life(), timeout_s=60.0) > 0


async def _kill(stage: Stage, ref: ActorRef) -> None:
    """Kills a process, by one of its agents that is idle."""
    await stage.signal(ref, signal.SIGKILL)
