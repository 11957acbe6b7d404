"""What a turn can do through its context: timers, identity, threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from regrow.runtime.cell import State
from regrow.runtime.errors import MailboxFull, Misuse
from regrow.runtime.lifecycle import Normal
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.message import Message
from regrow.runtime.testing import pass_time, virtual
from regrow.runtime.timer import Timer
from tests.runtime.scripted import Echo, Note, Process, Scripted, settle

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext


class Ticking:
    """Runs a step of the test on an Echo and keeps when Notes came."""

    def __init__(self, step: Callable[[Any], object]) -> None:
        self._step = step
        self._began_s = asyncio.get_running_loop().time()
        self.ticks: list[tuple[int, float]] = []

    async def __call__(self, message: Message, ctx: CellContext) -> str:
        if isinstance(message, Note):
            self.ticks.append((message.n, round(asyncio.get_running_loop().time() - self._began_s, 6)))
        else:
            self._step(ctx)
        return ""


async def ticking(step: Callable[[Any], object]) -> tuple[Process, Ticking]:
    """An actor that has run the step."""
    process, handle = Process(), Ticking(step)
    clerk = await process.start("clerk", handle.__call__)
    await clerk.ask(Echo())
    return process, handle


# ---- timers --------------------------------------------------------------------------------------


@virtual
async def test_timers_come_at_their_time_and_in_its_order() -> None:
    def step(ctx: CellContext) -> None:
        for n, delay_s in enumerate((0.3, 0.1, 0.2)):
            ctx.after(delay_s, Note(n=n))

    _, handle = await ticking(step)
    await pass_time(1.0)

    assert handle.ticks == [(1, 0.1), (2, 0.2), (0, 0.3)]


@virtual
async def test_a_timer_that_was_cancelled_does_not_come() -> None:
    timers: list[Timer] = []
    process, handle = await ticking(lambda ctx: timers.append(ctx.after(0.1, Note())))

    timers[0].cancel()
    timers[0].cancel()
    await pass_time(1.0)

    assert handle.ticks == []
    assert not process.cell("clerk").timers


@virtual
async def test_a_timer_needs_no_room_in_the_mailbox_and_takes_its_turn_there() -> None:
    process, handle = await ticking(lambda ctx: ctx.after(0.0, Note(n=1)))
    process.cell("clerk").mailbox.capacity = 0
    await settle()

    assert handle.ticks == [(1, 0.0)]


@virtual
async def test_timers_that_came_are_not_kept() -> None:
    process, _ = await ticking(lambda ctx: ctx.after(0.1, Note()))

    await pass_time(1.0)

    assert not process.cell("clerk").timers


@virtual
async def test_a_tick_has_neither_sender_nor_deadline() -> None:
    process, seen = Process(), list[object]()

    async def handle(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Note):
            seen.extend((ctx.deadline, ctx.command_id))
        else:
            ctx.after(0.1, Note())
        return ""

    clerk = await process.start("clerk", handle)
    await clerk.ask(Echo())
    await pass_time(1.0)

    assert seen == [None, None]


# ---- identity ------------------------------------------------------------------------------------


@virtual
async def test_a_log_line_names_agent_and_incarnation() -> None:
    process = Process()

    async def handle(message: Message, ctx: CellContext) -> str:
        ctx.log.info("counted", pages=3)
        return ""

    clerk = await process.start("desk/clerk", handle)
    with capture_logs() as logs:
        await clerk.ask(Echo())

    assert logs == [
        {"event": "counted", "log_level": "info", "agent": "desk/clerk", "incarnation": 1, "pages": 3},
    ]


@virtual
async def test_what_a_turn_sends_names_its_sender_hops_and_who_waits() -> None:
    process, origins = Process(), list[Any]()

    async def handle(message: Message, ctx: CellContext) -> str:
        origins.append(ctx.origin())
        return await ctx.ask("desk/back", Echo()) if ctx.id == "desk/front" else ""

    for name in ("desk/front", "desk/back"):
        await process.start(name, handle)
    await process.ref("desk/front").ask(Echo())
    await process.ref("desk/back").tell(Note())
    await settle()

    assert [(str(one.sender), one.hops, one.chain, one.principal) for one in origins] == [
        ("desk/front#1", 1, ("desk/front",), "tester"),
        ("desk/back#2", 2, ("desk/front", "desk/back"), "tester"),
        ("desk/back#2", 1, ("desk/back",), "tester"),
    ]


@virtual
async def test_all_that_follows_from_one_message_from_outside_is_one_run() -> None:
    process, runs = Process(), list[tuple[str, str]]()

    async def handle(message: Message, ctx: CellContext) -> str:
        runs.append((ctx.id, ctx.run))
        if ctx.id == "desk/front":
            await ctx.tell("desk/back", Note())
            await ctx.ask("desk/back", Echo())
        elif ctx.id == "desk/back" and isinstance(message, Note):
            ctx.after(5.0, Echo())
        return ""

    for name in ("desk/front", "desk/back"):
        await process.start(name, handle)
    await process.ref("desk/front").ask(Echo())
    await process.ref("desk/front").ask(Echo())
    await process.ref("desk/front").ask(Echo(), command_id="mine")
    await pass_time(6.0)

    first, second, third = (run for actor, run in runs if actor == "desk/front")
    assert third == "mine"
    assert len({first, second, third}) == 3
    assert [run for actor, run in runs if actor == "desk/back"] == [
        *(run for run in (first, second, third) for _ in range(2)),
        first,
        second,
        third,
    ]


@virtual
async def test_what_follows_from_one_message_of_a_timer_is_one_tick_and_the_next_one_another() -> None:
    process, ticks = Process(), list[str]()

    async def handle(message: Message, ctx: CellContext) -> str:
        ticks.append(ctx.origin().tick)
        if len(ticks) % 3:
            await ctx.tell(ctx.self_ref, message)
        elif len(ticks) < 9:
            ctx.after(5.0, message)
        return ""

    await process.start("desk/clerk", handle)
    await process.ref("desk/clerk").tell(Note())
    await pass_time(11.0)

    assert ticks[:3] == [""] * 3
    assert "" not in ticks[3:]
    assert [len(set(ticks[at : at + 3])) for at in (3, 6)] == [1, 1]
    assert len(set(ticks)) == 3


@virtual
async def test_a_timer_and_what_an_agent_tells_itself_are_no_hops() -> None:
    process, seen = Process(), list[tuple[int, tuple[int, ...]]]()

    async def handle(message: Message, ctx: CellContext) -> str:
        seen.append((ctx.origin().hops, ctx.origin().steps))
        if len(seen) < 3:
            await ctx.tell(ctx.self_ref, message)
        elif len(seen) == 3:
            ctx.after(5.0, message)
        return ""

    await process.start("desk/clerk", handle)
    await process.ref("desk/clerk").tell(Note())
    await pass_time(6.0)

    assert seen == [(1, ()), (1, ()), (1, ()), (0, ())]


@virtual
async def test_the_origin_of_a_turn_is_made_once() -> None:
    process, same = Process(), list[bool]()

    async def handle(message: Message, ctx: CellContext) -> str:
        same.append(ctx.origin() is ctx.origin())
        return ""

    await (await process.start("clerk", handle)).ask(Echo())

    assert same == [True]


@virtual
async def test_a_turn_tells_and_asks_with_all_that_a_ref_offers() -> None:
    process, ids, waited_s = Process(), list[str | None](), list[float]()

    async def note_id(message: Message, ctx: CellContext) -> str:
        ids.append(ctx.command_id)
        return ""

    async def handle(message: Message, ctx: CellContext) -> str:
        await ctx.ask("clerk", Echo(), command_id="order-7")
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(MailboxFull):
            await ctx.tell("full", Note(), send_timeout_s=0.5)
        waited_s.append(asyncio.get_running_loop().time() - began_s)
        return ""

    await process.start("clerk", note_id)
    await process.start("full", mailbox=MailboxSettings(capacity=0))
    await (await process.start("asker", handle)).ask(Echo())

    assert (ids, waited_s) == (["order-7"], [0.5])


# ---- threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda ctx: ctx.tell_nowait("desk/other", Note()),
        lambda ctx: ctx.after(1.0, Note()),
        lambda ctx: ctx.monitor("desk/other"),
        lambda ctx: ctx.demonitor(1),
        lambda ctx: ctx.link("desk/other"),
        lambda ctx: ctx.unlink("desk/other"),
        lambda ctx: ctx.trap_exits(),
        lambda ctx: ctx.ref("desk/other").tell_nowait(Note()),
        lambda ctx: asyncio.run(ctx.ref("desk/other").tell(Note())),
        lambda ctx: asyncio.run(ctx.ref("desk/other").ask(Echo())),
    ],
    ids=[
        *("tell_nowait", "after", "monitor", "demonitor", "link", "unlink", "trap_exits"),
        *("tell_nowait of a ref", "tell of a ref", "ask of a ref"),
    ],
)
def test_what_is_not_safe_in_a_thread_says_so_there(use: Callable[[Any], object]) -> None:
    @virtual
    async def run() -> None:
        process, texts = Process(), list[str]()

        async def handle(message: Message, ctx: CellContext) -> str:
            with pytest.raises(Misuse) as failure:
                await asyncio.get_running_loop().run_in_executor(None, use, ctx)
            texts.append(str(failure.value))
            return ""

        await (await process.start("desk/clerk", handle)).ask(Echo())

        assert texts == ["a `def` handler runs in a thread and can not send; make it `async def`, or return the value"]

    run()


@virtual
async def test_an_actor_may_stop_itself_from_a_thread_and_ends_after_its_turn() -> None:
    process, ends = Process(), list[object]()
    process.runtime.on_root_exit = lambda cell, reason: ends.append(reason)

    async def handle(message: Message, ctx: CellContext) -> str:
        await asyncio.get_running_loop().run_in_executor(None, ctx.stop)
        return "done"

    clerk = await process.start("clerk", handle)

    assert await clerk.ask(Echo()) == "done"
    await settle()
    assert ends == [Normal()]


@virtual
async def test_an_actor_that_stops_itself_from_a_thread_beside_other_turns_ends_after_them() -> None:
    process, ends = Process(), list[object]()
    process.runtime.on_root_exit = lambda cell, reason: ends.append(reason)

    async def handle(message: Message, ctx: CellContext) -> str:
        await asyncio.get_running_loop().run_in_executor(None, ctx.stop)
        await pass_time(1.0)
        return "done"

    clerk = await process.start("clerk", Scripted(handle, beside=(Echo,)))

    assert await asyncio.gather(clerk.ask(Echo()), clerk.ask(Echo())) == ["done", "done"]
    await settle()
    assert ends == [Normal()]


@virtual
async def test_nobody_is_stopped_from_a_thread() -> None:
    process = Process()
    await process.start("other")

    async def handle(message: Message, ctx: CellContext) -> str:
        stop = ctx.ref("other").stop
        with pytest.raises(Misuse, match="runs in a thread and can not stop others"):
            await asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(stop()))
        return ""

    await (await process.start("clerk", handle)).ask(Echo())

    assert process.state("other") is State.RUNNING
