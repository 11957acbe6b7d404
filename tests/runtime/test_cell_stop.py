"""How a life ends: in order, by force, or from inside (SEMANTICS 1, 2; decision 8)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.cell import State
from regrow.runtime.errors import AskFailed, Closed
from regrow.runtime.lifecycle import Crashed, ExitReason, Killed, Normal, Shutdown
from regrow.runtime.message import Request
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Boom, Echo, Hang, Note, Process, Scripted, for_ever, settle

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext


class Both(Request[str]):
    """A request whose handler may run beside others."""


class Stage(Process):
    """A process that notes how its roots ended, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[ExitReason] = []
        self.runtime.on_root_exit = lambda cell, reason: self.ends.append(reason)

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()


async def refuse_to_go(*_: object) -> str:
    """Swallows the cancellation of a stop and that of a kill; the next one comes from the end of the test."""
    for _cancellation in ("stop", "kill"):
        try:
            await for_ever()
        except asyncio.CancelledError:
            pass
    return await for_ever()


@virtual
async def test_a_stop_cancels_a_handler_that_waits_at_once_and_runs_stopping() -> None:
    process, clerk = Stage(), Scripted(for_ever)
    ref = await process.start("clerk", clerk)
    asking = asyncio.ensure_future(ref.ask(Hang()))
    await settle()
    told_s = process.now_s

    await ref.stop()
    await settle()

    assert (process.ends, clerk.stopped, process.now_s) == ([Shutdown()], [Shutdown()], told_s)
    with pytest.raises(AskFailed, match=r"clerk#1 ended while it owed a reply to Hang \(Shutdown\)") as failure:
        await asking
    assert failure.value.reason == Shutdown()


@virtual
async def test_a_stop_ends_an_idle_actor_at_once() -> None:
    process, clerk = Stage(), Scripted()
    ref = await process.start("clerk", clerk)

    await ref.stop(Shutdown(detail="drained"))
    await settle()

    assert clerk.stopped == process.ends == [Shutdown(detail="drained")]


@virtual
async def test_a_handler_may_tidy_up_when_it_is_cancelled_and_even_answer() -> None:
    process = Stage()

    async def handle(message: Hang, ctx: CellContext) -> str:
        try:
            return await for_ever()
        except asyncio.CancelledError:
            return "half done"

    ref = await process.start("clerk", handle)
    asking = asyncio.ensure_future(ref.ask(Hang()))
    await settle()

    await ref.stop()

    assert await asking == "half done"
    assert process.ends == [Shutdown()]


@virtual
async def test_stopping_may_use_timeouts_after_its_handler_was_cancelled() -> None:
    process, log = Stage(), list[str]()

    async def stopping(ctx: CellContext) -> None:
        try:
            async with asyncio.timeout(1.0):
                await for_ever()
        except TimeoutError:
            log.append("timed out")

    ref = await process.start("clerk", Scripted(for_ever, stopping=stopping))
    await ref.tell(Note())
    await settle()
    await ref.stop()
    await pass_time(2.0)

    assert log == ["timed out"]
    assert process.ends == [Shutdown()]


@virtual
async def test_a_handler_that_does_not_let_go_is_killed_at_the_limit() -> None:
    process = Stage()
    ref = await process.start("clerk", refuse_to_go)
    await ref.tell(Note())
    await settle()

    await ref.stop(grace_s=3.0)
    await pass_time(2.9)
    ends_before_the_limit = list(process.ends)
    await pass_time(0.2)

    assert (ends_before_the_limit, process.ends) == ([], [Killed(detail="did not stop within 3 s")])


@virtual
async def test_stopping_that_does_not_end_is_killed_at_the_limit() -> None:
    process = Stage()
    ref = await process.start("clerk", Scripted(stopping=for_ever))

    await ref.stop(grace_s=3.0)
    await pass_time(3.1)

    assert process.ends == [Killed(detail="did not stop within 3 s")]


@virtual
async def test_without_a_limit_a_stop_waits_for_as_long_as_stopping_takes() -> None:
    process = Stage()

    async def stopping(ctx: CellContext) -> None:
        await pass_time(100.0)

    ref = await process.start("clerk", Scripted(stopping=stopping))
    await ref.stop(grace_s=None)
    await pass_time(99.0)
    ends_before = list(process.ends)
    await pass_time(2.0)

    assert (ends_before, process.ends) == ([], [Shutdown()])


@virtual
async def test_a_second_stop_can_shorten_the_limit_and_not_lengthen_it() -> None:
    process = Stage()
    for name in ("shorter", "longer"):
        await process.start(name, Scripted(stopping=for_ever))

    await process.ref("shorter").stop(grace_s=60.0)
    await process.ref("shorter").stop(grace_s=1.0)
    await process.ref("longer").stop(grace_s=1.0)
    await process.ref("longer").stop(grace_s=60.0)
    await pass_time(2.0)

    assert process.ends == [Killed(detail="did not stop within 1 s")] * 2


@virtual
async def test_a_brutal_kill_asks_nobody() -> None:
    process, clerk = Stage(), Scripted(for_ever)
    ref = await process.start("clerk", clerk)
    await ref.tell(Note())
    await settle()

    await ref.stop(grace_s=0)

    assert process.ends == [Killed(detail="brutal kill")]
    assert clerk.stopped == []
    assert process.dead == {"crashed": 1}


@virtual
async def test_a_brutal_kill_works_while_a_stop_is_under_way() -> None:
    process = Stage()
    ref = await process.start("clerk", Scripted(stopping=for_ever))
    await ref.stop(grace_s=None)
    await settle()
    assert process.state("clerk") is State.STOPPING

    await ref.stop(grace_s=0)

    assert process.ends == [Killed(detail="brutal kill")]


@virtual
async def test_stopping_that_fails_is_a_crash() -> None:
    process = Stage()

    async def stopping(ctx: CellContext) -> None:
        raise Boom("could not save")

    ref = await process.start("clerk", Scripted(stopping=stopping))
    await ref.stop()
    await settle()

    (end,) = process.ends
    assert isinstance(end, Crashed)
    assert end.message == "could not save"


@virtual
async def test_a_cancellation_inside_stopping_is_a_crash_and_no_endless_stop() -> None:
    process = Stage()

    async def stopping(ctx: CellContext) -> None:
        raise asyncio.CancelledError

    ref = await process.start("clerk", Scripted(stopping=stopping))
    await ref.stop(grace_s=None)
    await settle()

    assert [type(end) for end in process.ends] == [Crashed]


@virtual
async def test_a_stop_before_the_first_step_of_a_turn_handles_nothing_more() -> None:
    process, handled = Stage(), list[int]()

    async def handle(message: Note, ctx: CellContext) -> None:
        handled.append(message.n)

    clerk = Scripted(handle)
    ref = await process.start("clerk", clerk)
    ref.tell_nowait(Note(n=1))  # its task is made and has not run

    await ref.stop()
    await settle()

    assert (handled, clerk.stopped, process.ends) == ([], [Shutdown()], [Shutdown()])
    await process.start("clerk", handle)
    await settle()
    assert handled == [1]


@virtual
async def test_a_stop_answers_turns_beside_each_other_that_had_not_begun() -> None:
    process = Stage()
    ref = await process.start("clerk", Scripted(for_ever, beside=(Both,)))
    asking = asyncio.ensure_future(ref.ask(Both()))
    await asyncio.sleep(0)  # sent
    await asyncio.sleep(0)  # taken: the task of its turn is made and has not run
    assert len(process.cell("clerk").turns) == 1

    await ref.stop()

    with pytest.raises(AskFailed, match="Shutdown"):
        await asking
    assert process.ends == [Shutdown()]


# ---- from inside ---------------------------------------------------------------------------------


@virtual
async def test_an_actor_that_stops_itself_finishes_its_turn_and_no_other() -> None:
    process, log = Stage(), list[str]()

    async def handle(message: Echo, ctx: CellContext) -> str:
        ctx.stop()
        await pass_time(1.0)
        log.append(message.text)
        return "done"

    ref = await process.start("clerk", handle, survives_exit=False)
    asks = [asyncio.ensure_future(ref.ask(Echo(text=text))) for text in ("first", "second")]

    assert await asks[0] == "done"
    with pytest.raises(AskFailed, match="clerk has ended for good"):
        await asks[1]
    assert (log, process.ends) == (["first"], [Normal()])


@virtual
async def test_an_actor_that_stops_itself_beside_other_turns_lets_them_finish() -> None:
    process = Stage()

    async def handle(message: Both | Echo, ctx: CellContext) -> str:
        if isinstance(message, Echo):
            ctx.stop()
        await pass_time(1.0)
        return "done"

    ref = await process.start("clerk", Scripted(handle, beside=(Both, Echo)))
    asks = [asyncio.ensure_future(ref.ask(request)) for request in (Both(), Echo())]
    await asyncio.wait(asks)
    await settle()

    assert [ask.result() for ask in asks] == ["done", "done"]
    assert process.ends == [Normal()]


@virtual
async def test_a_stop_from_outside_cancels_the_turn_that_has_stopped_itself() -> None:
    process, clerk = Stage(), Scripted()

    async def handle(message: Note, ctx: CellContext) -> None:
        ctx.stop(Shutdown(detail="tired"))
        await for_ever()

    clerk = Scripted(handle)
    ref = await process.start("clerk", clerk)
    await ref.tell(Note())
    await settle()
    assert process.ends == []

    await ref.stop()
    await settle()

    assert clerk.stopped == process.ends == [Shutdown(detail="tired")]


@virtual
async def test_an_actor_may_stop_itself_when_it_starts() -> None:
    process = Stage()

    async def started(ctx: CellContext) -> None:
        ctx.stop(Shutdown(detail="nothing to do"))

    clerk = Scripted(started=started)
    failed = await process.try_start("clerk", clerk, survives_exit=False)

    assert failed is not None and failed.type_name == "StoppedWhileStarting"
    assert clerk.stopped == [Shutdown(detail="nothing to do")]
    assert not process.runtime.cells


# ---- after the end -------------------------------------------------------------------------------


@virtual
async def test_code_that_runs_on_after_its_end_can_send_nothing() -> None:
    process, raised, got = Stage(), list[str](), list[int]()

    async def handle(message: Note, ctx: CellContext) -> None:
        try:
            await for_ever()
        finally:
            for send in (
                lambda: ctx.tell_nowait("other", Note()),
                lambda: ctx.after(1.0, Note()),
                lambda: ctx.monitor("other"),
                lambda: ctx.link("other"),
                ctx.stop,
            ):
                try:
                    send()
                except Closed as error:
                    raised.append(str(error))

    async def count(message: Note, ctx: CellContext) -> None:
        got.append(message.n)

    await process.start("other", count)
    ref = await process.start("clerk", handle)
    await ref.tell(Note())
    await settle()
    process.cell("clerk").kill()
    await pass_time(5.0)

    assert raised == ["clerk#2 has ended; what is left of it can send nothing"] * 5
    assert got == []


@virtual
async def test_an_actor_whose_children_are_ending_can_send_nothing_any_more() -> None:
    process, raised = Stage(), list[str]()

    async def slow(ctx: CellContext) -> None:
        await pass_time(2.0)

    async def handle(message: Echo, ctx: CellContext) -> str:
        await ctx.spawn(Scripted(stopping=slow), "copy")
        try:
            return await for_ever()
        except asyncio.CancelledError:
            with pytest.raises(Closed) as failure:
                await ctx.tell("other", Note())
            raised.append(str(failure.value))
            raise

    ref = await process.start("clerk", handle)
    asking = asyncio.ensure_future(ref.ask(Echo()))
    await settle()
    process.cell("clerk").kill()
    assert process.state("clerk") is State.EXITING
    await asyncio.wait([asking])

    assert len(raised) == 1


@virtual
async def test_timers_of_an_earlier_life_never_arrive() -> None:
    process, ticks = Stage(), list[Any]()

    async def handle(message: Note | Echo, ctx: CellContext) -> str:
        if isinstance(message, Echo):
            ctx.after(1.0, Note(n=ctx.incarnation))
        else:
            ticks.append((message.n, ctx.incarnation))
        return ""

    ref = await process.start("clerk", handle)
    await ref.ask(Echo())
    process.cell("clerk").kill()
    await process.start("clerk", handle)
    await ref.ask(Echo())
    await pass_time(5.0)

    assert ticks == [(2, 2)]


@virtual
async def test_a_tick_that_waits_in_the_mailbox_does_not_reach_the_next_life() -> None:
    process, ticks = Stage(), list[int]()

    async def handle(message: Note | Echo, ctx: CellContext) -> str:
        if isinstance(message, Echo):
            ctx.after(1.0, Note())
            await pass_time(2.0)
            raise Boom
        ticks.append(ctx.incarnation)
        return ""

    ref = await process.start("clerk", handle)
    with pytest.raises(AskFailed):
        await ref.ask(Echo())
    await process.start("clerk", handle)
    await pass_time(5.0)

    assert ticks == []
    assert process.dead == {}


@virtual
async def test_an_ended_behavior_is_told_before_anybody_else() -> None:
    process, order = Stage(), list[str]()

    class Tidy(Scripted):
        async def ended(self, reason: ExitReason) -> None:
            await pass_time(1.0)
            order.append(f"ended {reason}")

    process.runtime.on_root_exit = lambda cell, reason: order.append("told")
    await process.start("clerk", Tidy())

    process.cell("clerk").kill()
    await pass_time(2.0)

    assert order == ["ended Killed", "told"]
