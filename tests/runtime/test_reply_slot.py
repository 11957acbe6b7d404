"""Replies that another agent gives later (SEMANTICS 4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime import reply_slot
from regrow.runtime.errors import AskFailed, AskTimeout, Closed, InvalidMessage, Misuse, Refused, SlotsFull
from regrow.runtime.lifecycle import Crashed, Down, Killed, Shutdown
from regrow.runtime.message import Message, Request
from regrow.runtime.reply_slot import ReplySlot
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Boom, Echo, Note, Process, Scripted, settle
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext


class Job(Message):
    """Somebody is to answer."""

    slot: ReplySlot[str]


class Count(Request[tuple[int, ...]]):
    """Expects numbers."""


class LastDown(Request[Down]):
    """Expects what the kernel also tells monitors."""


class Front:
    """Takes the slot of each ask and hands it to `desk/back`."""

    def __init__(self) -> None:
        self.slots: list[ReplySlot[Any]] = []

    async def __call__(self, message: Message, ctx: CellContext) -> object:
        if isinstance(message, Note):
            raise Boom
        slot = ctx.defer_reply()
        self.slots.append(slot)
        if isinstance(message, Echo):
            await ctx.tell("desk/back", Job(slot=slot))
        return slot


async def answer(message: Message, ctx: CellContext) -> None:
    """Answers what it is handed."""
    assert isinstance(message, Job)
    message.slot.reply(f"from {ctx.id}")


async def keep(message: Message, ctx: CellContext) -> None:
    """Keeps the slot to itself."""


async def desk(back: Any = keep) -> tuple[Process, Front]:
    process, front = Process(), Front()
    await process.start("desk/front", front.__call__)
    await process.start("desk/back", back)
    return process, front


# ---- in one process ------------------------------------------------------------------------------


@virtual
async def test_another_agent_answers_while_the_one_that_was_asked_serves_on() -> None:
    process, front = await desk()
    first = asyncio.ensure_future(process.ref("desk/front").ask(Echo()))
    second = asyncio.ensure_future(process.ref("desk/front").ask(Echo()))
    await settle()

    front.slots[1].reply("second")
    front.slots[0].reply("first")

    assert [await first, await second] == ["first", "second"]
    assert len(process.cell("desk/front").open_slots) == 0


@virtual
async def test_an_answer_may_be_a_message_that_the_kernel_sends_itself() -> None:
    process, front = await desk()
    asking = asyncio.ensure_future(process.ref("desk/front").ask(LastDown()))
    await settle()
    down = Down(monitor=1, actor="desk/back", incarnation=1, reason=Shutdown())

    front.slots[0].reply(down)

    assert await asking == down


@virtual
async def test_whoever_has_the_slot_may_refuse() -> None:
    process, front = await desk()
    asking = asyncio.ensure_future(process.ref("desk/front").ask(Echo()))
    await settle()

    front.slots[0].refuse(Refused("not today"))

    with pytest.raises(Refused, match="not today"):
        await asking


@virtual
async def test_a_second_answer_is_a_dead_letter() -> None:
    process, front = await desk()
    asking = asyncio.ensure_future(process.ref("desk/front").ask(Echo()))
    await settle()

    front.slots[0].reply("once")
    front.slots[0].reply("twice")

    assert await asking == "once"
    assert process.dead == {"late_reply": 1}


@virtual
async def test_an_answer_of_another_type_is_an_error_to_whoever_gives_it() -> None:
    process, front = await desk()
    asking = asyncio.ensure_future(process.ref("desk/front").ask(Echo()))
    await settle()

    with pytest.raises(InvalidMessage, match="the reply to Echo must be str, not int"):
        front.slots[0].reply(3)
    front.slots[0].reply("three")

    assert await asking == "three"


@pytest.mark.parametrize(
    ("end", "reason"),
    [("crash", Crashed), ("kill", Killed), ("stop", Shutdown)],
)
def test_the_asker_fails_at_once_when_the_life_that_took_its_request_ends(end: str, reason: type) -> None:
    @virtual
    async def run() -> None:
        process, front = await desk()
        asking = asyncio.ensure_future(process.ref("desk/front").ask(Echo()))
        await settle()

        match end:
            case "crash":
                await process.ref("desk/front").tell(Note())
            case "kill":
                process.cell("desk/front").kill()
            case _:
                await process.ref("desk/front").stop()

        with pytest.raises(AskFailed) as failure:
            await asyncio.wait_for(asking, 1.0)
        assert isinstance(failure.value.reason, reason)
        front.slots[0].reply("too late")
        assert process.dead["late_reply"] == 1

    run()


@virtual
async def test_an_answer_that_never_comes_leaves_nothing_behind() -> None:
    process, front = await desk()

    with pytest.raises(AskTimeout):
        await process.ref("desk/front").ask(Echo(), timeout_s=2.0)

    assert len(process.cell("desk/front").open_slots) == 0
    assert len(process.runtime.asks) == 0
    front.slots[0].reply("late")
    assert process.dead == {"late_reply": 1}


@virtual
async def test_an_agent_that_owes_too_many_replies_refuses_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply_slot, "MAX_OPEN_SLOTS", 2)
    process, _ = await desk()
    asks = [asyncio.ensure_future(process.ref("desk/front").ask(Echo(), timeout_s=9.0)) for _ in range(3)]

    with pytest.raises(SlotsFull, match=r"desk/front has deferred 2 replies"):
        await asks[2]

    for asking in asks[:2]:
        with pytest.raises(AskTimeout):
            await asking


@virtual
async def test_a_refusal_behind_the_deferral_answers_the_asker() -> None:
    process = Process()

    async def front(message: Message, ctx: CellContext) -> object:
        ctx.defer_reply()
        raise Refused("changed my mind")

    await process.start("desk/front", front)

    with pytest.raises(Refused, match="changed my mind"):
        await process.ref("desk/front").ask(Echo())
    assert process.dead == {}


@virtual
async def test_a_turn_that_takes_its_slot_and_replies_too_is_a_crash() -> None:
    process = Process()

    async def front(message: Message, ctx: CellContext) -> object:
        ctx.defer_reply()
        return "both"

    await process.start("desk/front", front)

    with pytest.raises(AskFailed, match="took its reply slot and returned 'both' too"):
        await process.ref("desk/front").ask(Echo())


@virtual
async def test_there_is_a_slot_only_in_the_turn_of_a_request_and_once() -> None:
    process, said = Process(), list[str]()

    async def front(message: Message, ctx: CellContext) -> object:
        slot = ctx.defer_reply(message) if isinstance(message, Echo) else None
        try:
            ctx.defer_reply()
        except Misuse as misuse:
            said.append(str(misuse))
        return slot

    await process.start("desk/front", front)

    await process.ref("desk/front").tell(Note())
    with pytest.raises(AskTimeout):
        await process.ref("desk/front").ask(Echo(), timeout_s=1.0)

    assert [text.split(";")[0] for text in said] == [
        "only the turn of a request that was asked and not set aside has a reply to defer",
        "desk/front has taken its reply slot in this turn already",
    ]


@virtual
async def test_code_of_an_ended_life_answers_nobody() -> None:
    process, front = Process(), Front()
    tried: list[asyncio.Task[None]] = []

    async def back(message: Message, ctx: CellContext) -> None:
        assert isinstance(message, Job)

        async def late() -> None:
            await pass_time(1.0)
            with pytest.raises(Closed, match="desk/back#2 has ended"):
                message.slot.reply("from the dead")

        tried.append(asyncio.ensure_future(late()))

    await process.start("desk/front", front.__call__)
    await process.start("desk/back", back)
    asking = asyncio.ensure_future(process.ref("desk/front").ask(Echo(), timeout_s=3.0))
    await settle()

    process.cell("desk/back").kill()

    with pytest.raises(AskTimeout):
        await asking
    await tried[0]


@virtual
async def test_whoever_deferred_may_ask_the_asker_meanwhile() -> None:
    process = Process()

    async def front(message: Message, ctx: CellContext) -> object:
        if isinstance(message, Note):
            return await ctx.ask("desk/back", Echo(text="start"), timeout_s=5.0)
        return "served"

    async def back(message: Message, ctx: CellContext) -> object:
        slot = ctx.defer_reply()
        await ctx.tell("desk/third", Job(slot=slot))
        return slot

    async def third(message: Message, ctx: CellContext) -> None:
        assert isinstance(message, Job)
        message.slot.reply("by the third")

    for name, handle in (("front", front), ("back", back), ("third", third)):
        await process.start(f"desk/{name}", handle)
    await process.ref("desk/front").tell(Note())

    assert await process.ref("desk/front").ask(Echo()) == "served"


# ---- across processes ----------------------------------------------------------------------------


async def three(back: Any = answer, *, listens: bool = False) -> tuple[World, Node, Front]:
    """An asker's process, one with the agent that defers and one with the agent that answers."""
    world, front = World(), Front()
    here, there, third = world.node("here", listens=listens), world.node("there"), world.node("third")
    await world.start(there, "desk/front", lambda: Scripted(front.__call__))
    await world.start(third, "desk/back", lambda: Scripted(back))
    return world, here, front


def at(node: Node, slot: ReplySlot[Any]) -> ReplySlot[Any]:
    """The slot as it is in another process."""
    return ReplySlot(node.runtime.ref_to(slot.taker.address), slot.reply_host, slot.ask_id, slot.request)


@pytest.mark.parametrize("listens", [False, True], ids=["a host", "a driver"])
def test_an_agent_of_a_third_process_answers_the_asker_of_the_first(listens: bool) -> None:
    @virtual
    async def run() -> None:
        world, here, _ = await three(listens=listens)

        assert await here.ref("desk/front").ask(Echo(), timeout_s=5.0) == "from desk/back"

        await pass_time(1.0)
        assert len(world.nodes["there"].cell("desk/front").open_slots) == 0
        await world.close()

    run()


@virtual
async def test_a_refusal_of_a_third_process_keeps_its_class() -> None:
    async def refuse(message: Message, ctx: CellContext) -> None:
        assert isinstance(message, Job)
        message.slot.refuse(Refused("not here"))

    world, here, _ = await three(refuse)

    with pytest.raises(Refused, match="not here"):
        await here.ref("desk/front").ask(Echo())
    await world.close()


@virtual
async def test_a_second_answer_of_a_third_process_is_a_dead_letter_where_the_slot_was_taken() -> None:
    async def twice(message: Message, ctx: CellContext) -> None:
        assert isinstance(message, Job)
        message.slot.reply("once")
        message.slot.reply("twice")

    world, here, _ = await three(twice)

    assert await here.ref("desk/front").ask(Echo()) == "once"
    await pass_time(1.0)
    assert world.nodes["there"].reasons() == {"late_reply": 1}
    await world.close()


@virtual
async def test_an_answer_after_the_life_that_took_the_slot_is_a_dead_letter() -> None:
    world, here, front = await three(keep)
    asking = asyncio.ensure_future(here.ref("desk/front").ask(Echo()))
    await pass_time(1.0)
    world.nodes["there"].cell("desk/front").kill()
    with pytest.raises(AskFailed):
        await asking
    await world.start(world.nodes["there"], "desk/front", Scripted)

    at(world.nodes["third"], front.slots[0]).reply("late")
    await pass_time(1.0)

    assert sum(node.reasons().get("late_reply", 0) for node in world.living) == 1
    await world.close()


@virtual
async def test_the_asker_fails_when_the_process_of_the_one_it_asked_dies_before_the_answer() -> None:
    world, here, _ = await three(keep)
    asking = asyncio.ensure_future(here.ref("desk/front").ask(Echo()))
    await pass_time(1.0)

    world.kill("there")

    with pytest.raises(AskFailed) as failure:
        await asyncio.wait_for(asking, 1.0)
    assert isinstance(failure.value.reason, Killed)
    await world.close()


@virtual
async def test_an_answer_that_only_the_request_can_type_is_rebuilt() -> None:
    world, front = World(), Front()
    here, there = world.node("here"), world.node("there")
    await world.start(there, "desk/front", lambda: Scripted(front.__call__))
    asking = asyncio.ensure_future(here.ref("desk/front").ask(Count()))
    await pass_time(1.0)

    at(here, front.slots[0]).reply((1, 2))

    assert await asking == (1, 2)
    await world.close()


@virtual
async def test_slots_are_equal_by_the_ask_that_they_answer() -> None:
    process, front = await desk()
    for _ in range(2):
        asyncio.ensure_future(process.ref("desk/front").ask(Echo(), timeout_s=1.0)).add_done_callback(
            lambda done: done.exception()
        )
    await settle()
    first, second = front.slots

    again = ReplySlot[str](process.ref("desk/other"), first.reply_host, first.ask_id, first.request)

    assert first == again and hash(first) == hash(again)
    assert first != second
    assert "reply slot of desk/front#1" in repr(first)
    await pass_time(2.0)
