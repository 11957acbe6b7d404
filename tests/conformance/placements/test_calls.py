"""Many asks at once, answers of others, rings of asks, and messages set aside (SEMANTICS 4 and 5)."""

from __future__ import annotations

import asyncio

import pytest

from regrow import AskFailed
from regrow.runtime import NoReply, Replied
from tests.conformance.placements.caller import (
    AskMany,
    Delegate,
    DelegateAndKeep,
    Knock,
    Meet,
    Open,
    Shut,
)
from tests.conformance.placements.player import Crash, Gate, Life, Note, Refuse
from tests.conformance.placements.stage import Stage
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]


async def test_what_came_of_each_of_many_asks_is_told_in_their_order_under_one_deadline(stage: Stage) -> None:
    cal, bob, amy = await stage.fresh("cal", "bob", "amy")
    gate, waiting = await stage.held(bob)
    closed, opened = stage.record.file(), stage.record.file()
    opened.touch()

    told = await cal.ask(
        AskMany(of=(bob, stage.ref("nobody"), amy), request=Gate(file=str(opened)), within_s=1.0), timeout_s=60.0
    )
    refused = await cal.ask(AskMany(of=(amy, amy), request=Refuse(), within_s=60.0))
    crashed = await cal.ask(AskMany(of=(amy,), request=Crash(), within_s=60.0))

    assert told == ("AskTimeout", "AskFailed noproc", "open")
    assert refused == ("NotToday", "NotToday")
    assert crashed == ("AskFailed crashed",)
    from_outside = await stage.running.ask_all([stage.ref("nobody"), amy], Gate(file=str(opened)), timeout_s=60.0)
    assert [type(outcome) for outcome in from_outside] == [NoReply, Replied]
    assert not closed.exists()
    gate.touch()
    await waiting


async def test_another_agent_answers_in_ones_place(stage: Stage) -> None:
    cal, cob = await stage.fresh("cal", "cob")
    late = await stage.dead_letters("late_reply")

    assert await cal.ask(Delegate(to=cob)) == "from stage/cob"

    async def counted() -> bool:
        return await stage.dead_letters("late_reply") == late + 1

    await until(counted, "the second answer is a dead letter")


@pytest.mark.parametrize("kind", ["crashed", "killed"])
async def test_who_owes_a_reply_and_dies_fails_its_asker_at_once(stage: Stage, kind: str) -> None:
    cal, cob = await stage.fresh("cal", "cob")
    asking = asyncio.create_task(cal.ask(DelegateAndKeep(to=cob), timeout_s=600.0))
    await stage.until_seen("cob", "keeps")
    await cal.ask(Life())

    if kind == "crashed":
        await cal.tell(Crash())
    else:
        await cal.stop(grace_s=0)

    with pytest.raises(AskFailed) as failed:
        await asking
    assert failed.value.reason.kind == kind


async def test_agents_that_block_each_other_are_found_and_one_of_them_is_told(stage: Stage) -> None:
    cal, cob = await stage.fresh("cal", "cob")
    file = stage.record.file()
    asks = [
        asyncio.create_task(one.ask(Meet(file=str(file), to=(other,)), timeout_s=600.0))
        for one, other in ((cal, cob), (cob, cal))
    ]
    for who in ("cal", "cob"):
        await stage.until_seen(who, "meets")

    file.touch()

    told = await asyncio.wait_for(asyncio.gather(*asks), 30.0)
    assert sorted(text.partition(":")[0] for text in told) == ["AskCycle", "met"]


async def test_what_was_set_aside_comes_first_and_in_its_order(stage: Stage) -> None:
    (cob,) = await stage.fresh("cob")
    await cob.tell(Shut())
    for number in range(5):
        await cob.tell(Note(text=str(number)))
    assert await cob.ask(Life()) > 0
    assert stage.record.seen("cob") == []

    await cob.tell(Open())
    await cob.tell(Note(text="last"))

    assert await stage.until_seen("cob", "last") == [*map(str, range(5)), "last"]


async def test_what_was_set_aside_outlives_a_crash_in_its_order(stage: Stage) -> None:
    (cob,) = await stage.fresh("cob")
    await cob.tell(Shut())
    for number in range(3):
        await cob.tell(Note(text=str(number)))
    await cob.tell(Crash())
    await cob.tell(Note(text="last"))

    assert await stage.until_seen("cob", "last") == ["started", "0", "1", "2", "last"]


async def test_an_ask_that_was_set_aside_is_answered_by_the_next_life(stage: Stage) -> None:
    (cob,) = await stage.fresh("cob")
    await cob.tell(Shut())
    asks = [asyncio.create_task(cob.ask(Knock(), timeout_s=60.0)) for _ in range(3)]
    await asyncio.sleep(0)  # they are sent before what follows

    await cob.tell(Crash())

    assert await asyncio.gather(*asks) == ["in"] * 3
