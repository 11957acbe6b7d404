"""Many asks at once, answers of others, rings of asks, and messages set aside (SEMANTICS 4 and 5)."""

from __future__ import annotations

import asyncio
import time

import pytest

from regrow import ActorRef, AskFailed, AskTimeout
from regrow.runtime import NoReply, Replied, StashFull
from regrow.runtime.turn import MAX_CONCURRENT_TURNS
from tests.conformance.placements.caller import (
    AskMany,
    Beside,
    Delegate,
    DelegateAndKeep,
    GiveUp,
    Knock,
    Meet,
    Open,
    Shut,
)
from tests.conformance.placements.player import After, AskFor, Crash, Gate, Life, Note, Refuse
from tests.conformance.placements.stage import Stage
from tests.conformance.placements.troupe import STASH
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

SOON_S = 0.2
"""Long enough for a message to arrive, short enough to wait for."""

ALL_S = 4.0
"""Within which all of many asks end; two deadlines one after the other would take twice as long."""

CLOCKS_S = 0.1
"""What two clocks that tell of one span may differ by."""

FOUND_S = 30.0
"""Two probes of a second each, on a busy machine; the asks themselves wait ten minutes."""
LOOKED_FOR_S = 1.2
"""A ring is found within a second."""


async def test_what_came_of_each_of_many_asks_is_told_in_their_order_under_one_deadline(stage: Stage) -> None:
    cal, bob, ben, amy = await stage.fresh("cal", "bob", "ben", "amy")
    gates = [await stage.held(late) for late in (bob, ben)]
    opened = stage.record.file()
    opened.touch()

    began_s = time.monotonic()
    told = await cal.ask(
        AskMany(of=(bob, stage.ref("nobody"), amy, ben), request=Gate(file=str(opened)), within_s=ALL_S),
        timeout_s=60.0,
    )
    took_s = time.monotonic() - began_s
    refused = await cal.ask(AskMany(of=(amy, amy), request=Refuse(), within_s=60.0))
    crashed = await cal.ask(AskMany(of=(amy,), request=Crash(), within_s=60.0))

    assert told == ("AskTimeout", "AskFailed noproc", "open", "AskTimeout")
    assert ALL_S - CLOCKS_S <= took_s < 2 * ALL_S - CLOCKS_S, "the two that are late share one deadline"
    assert refused == ("NotToday", "NotToday")
    assert crashed == ("AskFailed crashed",)
    from_outside = await stage.running.ask_all([stage.ref("nobody"), amy], Gate(file=str(opened)), timeout_s=60.0)
    assert [type(outcome) for outcome in from_outside] == [NoReply, Replied]
    for gate, waiting in gates:
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

    told = await asyncio.wait_for(asyncio.gather(*asks), FOUND_S)
    assert sorted(text.partition(":")[0] for text in told) == ["AskCycle", "met"]
    (ring,) = [text for text in told if text != "met"]
    assert "stage/cal" in ring and "stage/cob" in ring


async def test_agents_that_are_slow_are_no_ring(stage: Stage) -> None:
    ann, bob, cal, amy = await stage.fresh("ann", "bob", "cal", "amy")
    gate, waiting = await stage.held(bob)
    other = Gate(file=str(gate))
    pairs = ((ann, bob), (cal, ann))
    asks = [asyncio.create_task(one.ask(AskFor(to=to, request=other), timeout_s=60.0)) for one, to in pairs]
    asks.append(asyncio.create_task(cal.ask(Beside(file=str(gate), to=ann, request=other), timeout_s=60.0)))

    await amy.tell(After(delay_s=LOOKED_FOR_S, text="rings have been looked for"))
    await stage.until_seen("amy", "rings have been looked for")
    gate.touch()

    assert await asyncio.gather(waiting, *asks) == ["open"] * 4


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
    asks = await _set_aside(cob, 3)

    await cob.tell(Crash())

    assert await asyncio.gather(*asks) == ["in"] * 3


async def test_an_ask_that_was_set_aside_expires_there_and_is_never_run(stage: Stage) -> None:
    cob, ben = await stage.fresh("cob", "ben")
    expired = await stage.dead_letters("expired")
    await cob.tell(Shut())

    with pytest.raises(AskTimeout):
        await cob.ask(Knock(), timeout_s=SOON_S)
    await ben.tell(After(delay_s=SOON_S, text="later there, too"))
    await stage.until_seen("ben", "later there, too")
    await cob.tell(Open())

    assert await cob.ask(Knock()) == "in"
    assert stage.record.seen("cob") == ["knocked"]

    async def counted() -> bool:
        return await stage.dead_letters("expired") == expired + 1

    await until(counted, "the expired one is counted")


async def test_half_of_a_mailbox_may_be_set_aside_and_the_next_one_is_refused(stage: Stage) -> None:
    (coy,) = await stage.fresh("coy")
    before = await coy.ask(Life())
    await coy.tell(Shut())
    asks = await _set_aside(coy, STASH)

    with pytest.raises(StashFull):
        await coy.ask(Knock())
    assert await coy.ask(Life()) == before, "a refusal is no crash"
    await coy.tell(Open())

    assert await asyncio.gather(*asks) == ["in"] * STASH


async def test_a_circle_through_one_that_serves_others_meanwhile_is_found(stage: Stage) -> None:
    """Its turn beside others keeps nobody out, so no chain says that it is blocked: that has to be looked for."""
    cal, cob = await stage.fresh("cal", "cob")
    file = stage.record.file()
    file.touch()
    back_to_cob = Beside(file=str(file), to=cob, request=Knock())

    told = await cob.ask(AskFor(to=cal, request=back_to_cob), timeout_s=600.0)

    assert "AskCycle" in told
    assert await cob.ask(Knock()) == "in"


async def test_one_that_serves_others_meanwhile_may_be_called_back(stage: Stage) -> None:
    cal, cob = await stage.fresh("cal", "cob")
    file = stage.record.file()
    file.touch()

    called_back = await cal.ask(Beside(file=str(file), to=cob, request=AskFor(to=cal, request=Knock())))

    assert called_back == "in"


async def test_who_has_given_up_an_ask_may_be_asked_by_the_one_that_still_works_on_it(stage: Stage) -> None:
    cal, cob = await stage.fresh("cal", "cob")
    gives_up, asks_back = stage.record.file(), stage.record.file()
    given_up = asyncio.create_task(
        cal.ask(GiveUp(file=str(gives_up), to=cob, request=Meet(file=str(asks_back), to=(cal,))))
    )
    await stage.until_seen("cob", "meets")

    gives_up.touch()
    assert await given_up == "given up"
    asks_back.touch()

    assert await stage.until_seen("cal", "meets") == ["meets"]


async def test_whose_asker_has_died_may_ask_its_next_life(stage: Stage) -> None:
    cal, cob = await stage.fresh("cal", "cob")
    never, asks_back = stage.record.file(), stage.record.file()
    asking = asyncio.create_task(cal.ask(GiveUp(file=str(never), to=cob, request=Meet(file=str(asks_back), to=(cal,)))))
    await stage.until_seen("cob", "meets")

    await cal.stop(grace_s=0)
    with pytest.raises(AskFailed):
        await asking
    asks_back.touch()

    assert await stage.until_seen("cal", "meets") == ["started", "meets"]


async def test_an_agent_all_of_whose_turns_wait_for_a_call_back_is_found(stage: Stage) -> None:
    cal, cob = await stage.fresh("cal", "cob")
    file = stage.record.file()
    calls_back = Beside(file=str(file), to=cob, request=Beside(file=str(file), to=cal, request=Knock()))
    asks = [asyncio.create_task(cal.ask(calls_back, timeout_s=600.0)) for _ in range(MAX_CONCURRENT_TURNS)]
    await stage.until_seen("cal", "beside", MAX_CONCURRENT_TURNS)

    file.touch()

    told = await asyncio.wait_for(asyncio.gather(*asks), 60.0)
    failed = [text for text in told if text != "in"]
    assert len(failed) == 1
    assert f"all the {MAX_CONCURRENT_TURNS} turns that it may have at once" in failed[0]


async def _set_aside(shut: ActorRef, number: int) -> list[asyncio.Task[str]]:
    """So many asks that a caller which is shut has set aside."""
    asks = [asyncio.create_task(shut.ask(Knock(), timeout_s=60.0)) for _ in range(number)]
    # A task like them, so that it is sent behind them: when it is answered, they have been handled.
    await asyncio.create_task(shut.ask(Life()))
    assert not any(ask.done() for ask in asks)
    return asks
