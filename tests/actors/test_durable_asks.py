"""What a durable turn asks of many at once is recorded, each ask by itself (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from regrow.actors import Agent, DurableAgent, DurableContext, on
from regrow.actors.durable_errors import InQuarantine
from regrow.actors.turn_history import read_about
from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.ask_all import AskOutcome, Replied
from regrow.runtime.errors import Misuse, Refused
from regrow.runtime.journal_entries import JournalLimits
from regrow.runtime.lifecycle import Crashed
from regrow.runtime.message import Message, Request
from regrow.runtime.starter import StartRequest
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, Unreliable, memory_journal, on_virtual_time

BOSS = ActorId("desk/boss")
CLERKS = ("desk/ann", "desk/bob", "desk/cid")
PLAIN = ActorId("desk/plain")


class Nothing(BaseModel):
    pass


class Count(Request[str]):
    number: int = 0


class Note(Message):
    pass


class Survey(Request[str]):
    """Asks all of these; `how` says what more is done."""

    targets: tuple[str, ...] = CLERKS
    how: str = ""


class Reads(Request[str]):
    pass


class World:
    def __init__(self) -> None:
        self.counted: list[str] = []
        self.refuses = ""
        self.hangs: dict[str, asyncio.Event] = {}
        self.crashes = 0
        self.caught: Misuse | None = None


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know


async def counted(id: str, request: Count) -> str:
    world.counted.append(f"{id} {request.number}")
    if id in world.hangs:
        await world.hangs[id].wait()
    if world.refuses == id:
        raise Refused(f"{id} is busy")
    return f"{id}: {len(world.counted)}"


class Clerk(DurableAgent[Nothing]):
    @on
    async def count(self, request: Count, ctx: DurableContext) -> str:
        return await counted(ctx.id, request)

    @on
    async def note(self, message: Note) -> None:
        pass


class Plain(Agent):
    @on
    async def count(self, request: Count) -> str:
        return await counted(PLAIN, request)


def told(outcomes: list[AskOutcome[str]]) -> str:
    return ", ".join(each.reply if isinstance(each, Replied) else type(each.error).__name__ for each in outcomes)


class Boss(DurableAgent[Nothing]):
    @on
    async def survey(self, request: Survey, ctx: DurableContext) -> str:
        if request.how == "tells first":
            await ctx.tell(request.targets[-1], Note())
        if request.how == "numbered":
            outcomes = await ctx.ask_all((target, Count(number=n)) for n, target in enumerate(request.targets))
        else:
            outcomes = await ctx.ask_all(request.targets, Count())
        if world.crashes:
            world.crashes -= 1
            raise ValueError("as the test wants it")
        return told(outcomes)

    @on(read_only=True)
    async def reads(self, request: Reads, ctx: DurableContext) -> str:
        return told(await ctx.ask_all(CLERKS, Count()))


async def desk(journal: Any = None) -> Host:
    host = await Host.on(journal if journal is not None else memory_journal())
    for id in CLERKS:
        assert await host.start(Clerk, id) is None
    assert await host.runtime.start(StartRequest(PLAIN, Incarnation(50), Plain, survives_exit=False)) is None
    assert await host.start(Boss, BOSS) is None
    return host


@on_virtual_time
async def test_each_of_many_asks_of_a_turn_is_made_once_though_the_turn_is_run_again() -> None:
    journal = memory_journal()
    host = await desk(journal)
    world.crashes = 2

    reply = await host.ref(BOSS).ask(Survey(targets=(*CLERKS, PLAIN)))

    assert reply == "desk/ann: 1, desk/bob: 2, desk/cid: 3, desk/plain: 4"
    assert world.counted == [f"{id} 0" for id in (*CLERKS, PLAIN)]  # the plain one, too, which knows no ids
    (turn,) = [turn for turn in await journal.history(BOSS) if turn.failed == 2]
    assert sorted(step.name for step in read_about(turn.about).steps) == sorted(f"ask:{id}" for id in (*CLERKS, PLAIN))


@on_virtual_time
async def test_a_refusal_among_many_is_recorded_as_well() -> None:
    host = await desk()
    world.refuses, world.crashes = "desk/bob", 1
    asking = asyncio.create_task(host.ref(BOSS).ask(Survey()))
    while not host.ends:
        await pass_time(0.01)
    world.refuses = ""

    assert await asking == "desk/ann: 1, Refused, desk/cid: 3"
    assert len(world.counted) == 3


@on_virtual_time
async def test_those_that_have_replied_when_a_life_ends_are_not_asked_again_and_the_others_under_their_ids() -> None:
    host = await desk()
    world.hangs["desk/bob"] = world.hangs[PLAIN] = asyncio.Event()
    asking = asyncio.create_task(host.ref(BOSS).ask(Survey(targets=(*CLERKS, PLAIN))))
    await pass_time(1)
    assert len(world.counted) == 4

    host.runtime.cells[BOSS].kill()
    await pass_time(1)
    world.hangs["desk/bob"].set()

    assert await asking == "desk/ann: 1, desk/bob: 4, desk/cid: 3, desk/plain: 5"
    assert world.counted == [f"{id} 0" for id in (*CLERKS, PLAIN, PLAIN)]  # a durable one answers once


@on_virtual_time
async def test_who_can_not_be_asked_keeps_the_others_from_nothing() -> None:
    host = await desk()

    reply = await host.ref(BOSS).ask(Survey(targets=("desk/nobody", "desk/ann", str(BOSS))))

    assert reply == "AskFailed, desk/ann: 1, CallingSelf"


@on_virtual_time
async def test_none_is_asked_behind_a_tell_to_one_of_them_that_is_not_committed() -> None:
    host = await desk()

    with pytest.raises(InQuarantine, match="desk/boss asks desk/cid behind a tell to it"):
        await host.ref(BOSS).ask(Survey(how="tells first"))

    assert world.counted == []
    assert [type(reason) for _, reason in host.ends] == [Crashed] * Boss.poison_after


@pytest.mark.parametrize("number", [1, 2, 3])
def test_two_that_go_to_one_receiver_arrive_in_their_order_though_the_journal_is_cut(number: int) -> None:
    @on_virtual_time
    async def in_order() -> None:
        journal = Unreliable(memory_journal())
        host = await desk(journal)
        journal.cuts["start_step", number] = "before"
        ann = CLERKS[0]

        await host.ref(BOSS).ask(Survey(targets=(ann, ann, ann), how="numbered"))

        assert world.counted == [f"{ann} {n}" for n in range(3)]

    in_order()


@on_virtual_time
async def test_more_than_a_message_has_records_are_refused_before_one_is_asked() -> None:
    host = await desk(memory_journal(JournalLimits(steps=2)))

    with pytest.raises(InQuarantine, match="asks 3 at once in one turn, and a message keeps 2 records"):
        await host.ref(BOSS).ask(Survey())

    assert world.counted == []


@on_virtual_time
async def test_a_handler_that_only_reads_asks_many_no_more_than_it_asks_one() -> None:
    host = await desk()

    with pytest.raises(Exception, match="read_only"):
        await host.ref(BOSS).ask(Reads())

    assert world.counted == []
