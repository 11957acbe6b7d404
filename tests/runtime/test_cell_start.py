"""How a life begins: initialised or gone without a trace (SEMANTICS 2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.cell import State
from regrow.runtime.errors import AskFailed, Closed
from regrow.runtime.lifecycle import Killed, NoProc, Shutdown
from regrow.runtime.runtime import MAX_NEVER
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Boom, Echo, Note, Process, Scripted, for_ever, settle

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext


async def fail(ctx: CellContext) -> None:
    raise Boom("no licence")


async def take_a_second(ctx: CellContext) -> None:
    await pass_time(1.0)


@virtual
async def test_messages_sent_while_an_actor_starts_wait_until_it_has_initialised() -> None:
    process, log = Process(), list[str]()

    async def started(ctx: CellContext) -> None:
        await pass_time(1.0)
        log.append("started")

    async def handle(message: Note, ctx: CellContext) -> None:
        log.append("handled")

    starting = asyncio.ensure_future(process.start("clerk", Scripted(handle, started=started)))
    await settle()
    process.ref("clerk").tell_nowait(Note())
    await starting
    await settle()

    assert log == ["started", "handled"]


@virtual
async def test_a_start_that_fails_says_why_and_leaves_nothing() -> None:
    process = Process()

    failed = await process.try_start("clerk", Scripted(started=fail), survives_exit=False)

    assert failed is not None
    assert (failed.type_name, failed.message) == ("Boom", "no licence")
    assert "no licence" in failed.traceback
    assert not process.runtime.cells
    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual
async def test_a_constructor_that_fails_is_a_failed_start() -> None:
    process = Process()

    class Fragile(Scripted):
        def __init__(self) -> None:
            raise Boom("no disk")

    failed = await process.try_start("clerk", Fragile)

    assert failed is not None and failed.message == "no disk"
    assert not process.runtime.cells


@virtual
async def test_what_is_no_behavior_is_a_failed_start_that_says_what_it_lacks() -> None:
    process = Process()

    failed = await process.try_start("clerk", cast("Any", object), survives_exit=False)

    assert failed is not None
    assert failed.type_name == "InvalidDefinition"
    assert "it has no started, handle, stopping; derive its class from Agent" in failed.message
    assert not process.runtime.cells


@virtual
@pytest.mark.parametrize("result", [False, {"ok": 1}, "x" * 10_000], ids=["false", "a dict", "a long text"])
async def test_a_start_that_returns_something_is_a_failed_start_that_says_what_is_allowed(result: object) -> None:
    process = Process()

    class Talkative(Scripted):
        async def started(self, ctx: CellContext) -> Any:
            return result

    failed = await process.try_start("clerk", Talkative, survives_exit=False)

    assert failed is not None
    assert failed.type_name == "InvalidDefinition"
    assert failed.message.startswith(f"clerk: started returned {repr(result)[:100]}")
    assert "allowed: None" in failed.message
    assert len(failed.message) < 500
    assert not process.runtime.cells


@pytest.mark.parametrize("survives_exit", [True, False])
def test_a_hundred_retries_of_a_failed_start_never_meet_already_started(survives_exit: bool) -> None:
    @virtual
    async def run() -> None:
        process = Process()

        causes = [
            await process.try_start("clerk", Scripted(started=fail), survives_exit=survives_exit) for _ in range(100)
        ]

        assert {cause.type_name for cause in causes if cause is not None} == {"Boom"}
        assert len(causes) == 100

    run()


@virtual
async def test_a_failed_start_takes_what_it_had_spawned_with_it_before_it_says_so() -> None:
    process = Process()

    async def spawn_and_fail(ctx: CellContext) -> None:
        await ctx.spawn(Scripted(stopping=take_a_second), "helper")
        raise Boom("no licence")

    causes = [await process.try_start("clerk", Scripted(started=spawn_and_fail)) for _ in range(3)]

    assert {cause.type_name for cause in causes if cause is not None} == {"Boom"}
    assert process.state("clerk/helper") is None


@virtual
async def test_a_name_that_is_taken_refuses_a_second_start() -> None:
    process = Process()
    await process.start("clerk")

    failed = await process.try_start("clerk")

    assert failed is not None
    assert (failed.type_name, failed.message) == ("AlreadyStarted", "clerk runs already in this host")
    assert await process.ref("clerk").ask(Echo(text="still here")) == "still here"


@virtual
async def test_a_failed_restart_keeps_the_mailbox_for_the_next_try() -> None:
    process, handled = Process(), list[int]()

    async def handle(message: Note, ctx: CellContext) -> None:
        handled.append(message.n)

    clerk = await process.start("clerk", handle)
    process.cell("clerk").kill()
    clerk.tell_nowait(Note(n=1))
    await process.try_start("clerk", Scripted(started=fail))
    clerk.tell_nowait(Note(n=2))

    await process.start("clerk", handle)
    await settle()

    assert handled == [1, 2]


# ---- a start that is cut short -------------------------------------------------------------------


@virtual
async def test_a_cancelled_start_leaves_nothing_when_it_returns() -> None:
    process, log = Process(), list[str]()

    async def started(ctx: CellContext) -> None:
        try:
            await for_ever()
        finally:
            log.append("tidied up")

    starting = asyncio.ensure_future(process.try_start("clerk", Scripted(started=started), survives_exit=False))
    await settle()
    starting.cancel()
    await asyncio.wait([starting])

    assert starting.cancelled()
    assert log == ["tidied up"]
    assert not process.runtime.cells


@virtual
async def test_a_kill_during_the_start_fails_the_start_at_once() -> None:
    process = Process()
    starting = asyncio.ensure_future(process.try_start("clerk", Scripted(started=for_ever), survives_exit=False))
    await settle()

    process.cell("clerk").kill()
    failed = await starting

    assert failed is not None
    assert (failed.type_name, failed.message) == ("StoppedWhileStarting", "clerk was stopped before it had started")
    assert not process.runtime.cells


@virtual
async def test_a_kill_before_the_first_step_of_a_start_runs_nothing_of_it() -> None:
    process, log = Process(), list[str]()

    async def started(ctx: CellContext) -> None:
        log.append("ran")

    async def start() -> None:
        failed = await process.try_start("clerk", Scripted(started=started))
        assert failed is not None

    starting = asyncio.ensure_future(start())
    await asyncio.sleep(0)  # the cell is there, its task has not run
    process.cell("clerk").kill()
    await starting

    assert log == []


@virtual
async def test_a_stop_during_the_start_lets_it_initialise_and_then_stops_it() -> None:
    process = Process()
    clerk = Scripted(started=take_a_second)
    starting = asyncio.ensure_future(process.try_start("clerk", clerk, survives_exit=False))
    await settle()

    process.cell("clerk").stop(Shutdown(detail="the app stops"), 10.0)
    failed = await starting

    assert failed is not None and failed.type_name == "StoppedWhileStarting"
    assert clerk.stopped == [Shutdown(detail="the app stops")]
    assert not process.runtime.cells


@virtual
async def test_a_start_that_does_not_end_within_the_grace_of_a_stop_is_killed() -> None:
    process = Process()
    loop = asyncio.get_running_loop()
    starting = asyncio.ensure_future(process.try_start("clerk", Scripted(started=for_ever), survives_exit=False))
    await settle()
    told_s = loop.time()

    process.cell("clerk").stop(Shutdown(), 3.0)
    failed = await starting

    assert failed is not None and failed.type_name == "StoppedWhileStarting"
    assert loop.time() - told_s == pytest.approx(3.0)


@virtual
async def test_a_killed_start_whose_code_does_not_let_go_does_not_touch_the_next_life() -> None:
    process, released = Process(), asyncio.Event()

    async def stubborn(ctx: CellContext) -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                pass

    first = asyncio.ensure_future(process.try_start("clerk", Scripted(started=stubborn)))
    await settle()
    process.cell("clerk").kill()
    second = asyncio.ensure_future(process.try_start("clerk", Scripted(started=take_a_second)))
    await settle()
    released.set()

    assert (failed := await first) is not None and failed.type_name == "StoppedWhileStarting"
    assert await second is None
    assert process.state("clerk") is State.RUNNING
    assert process.cell("clerk").incarnation == 2


@virtual
async def test_a_life_that_is_killed_while_its_start_waits_for_the_end_of_the_one_before_never_begins() -> None:
    process, clerk = Process(), ActorId("clerk")

    async def spawn(ctx: CellContext) -> None:
        await ctx.spawn(Scripted(stopping=take_a_second), "helper")

    await process.start("clerk", Scripted(started=spawn))
    process.cell("clerk").kill()
    starting = asyncio.ensure_future(process.try_start("clerk"))
    await settle()

    assert process.runtime.kill(clerk, Incarnation(2), "no longer wanted") is None
    failed = await starting

    assert failed is not None
    assert (failed.type_name, failed.message) == ("StoppedWhileStarting", "clerk was stopped before it had started")
    assert process.state("clerk") is State.RESTARTING
    await process.start("clerk")


@virtual
async def test_kills_of_lives_that_have_not_begun_are_remembered_up_to_a_bound() -> None:
    process = Process()
    actors = [ActorId(f"clerk-{n}") for n in range(MAX_NEVER + 1)]

    for actor in actors:
        process.runtime.kill(actor, Incarnation(MAX_NEVER), "no longer wanted")

    outcomes = [await process.try_start(actor) for actor in (actors[0], actors[1], actors[-1])]
    assert [failed and failed.type_name for failed in outcomes] == [None, *["StoppedWhileStarting"] * 2]


# ---- children of an actor ------------------------------------------------------------------------


async def spawning(message: Echo, ctx: CellContext) -> str:
    """Spawns a child that hangs and answers with its id."""
    child = await ctx.spawn(for_ever, message.text or None)
    return child.id


@virtual
async def test_a_spawned_child_is_named_below_its_parent_or_numbered() -> None:
    process = Process()
    clerk = await process.start("desk/clerk", spawning)

    named, first, second = [await clerk.ask(Echo(text=text)) for text in ("copy", "", "")]

    assert named == "desk/clerk/copy"
    assert first.startswith("desk/clerk/") and second.startswith("desk/clerk/")
    assert first != second


@pytest.mark.parametrize("how", ["stop", "kill", "crash"])
def test_a_child_ends_before_its_parents_end_is_told(how: str) -> None:
    @virtual
    async def run() -> None:
        process, order = Process(), list[str]()

        async def crash_or_spawn(message: Echo | Note, ctx: CellContext) -> str:
            if isinstance(message, Note):
                raise Boom
            await ctx.spawn(Scripted(stopping=note_the_end), "copy")
            return ""

        async def note_the_end(ctx: CellContext) -> None:
            await pass_time(1.0)
            order.append("child")

        process.runtime.on_root_exit = lambda cell, reason: order.append("parent")
        clerk = await process.start("clerk", crash_or_spawn)
        await clerk.ask(Echo())
        match how:
            case "stop":
                process.cell("clerk").stop(Shutdown(), 10.0)
            case "kill":
                process.cell("clerk").kill()
            case _:
                await clerk.tell(Note())
        await pass_time(10.0)

        assert order == ["child", "parent"]
        assert process.state("clerk/copy") is None

    run()


@virtual
async def test_a_child_that_crashes_ends_its_parent() -> None:
    process = Process()
    ended = list[object]()
    process.runtime.on_root_exit = lambda cell, reason: ended.append(reason)

    async def crash(message: Note, ctx: CellContext) -> None:
        raise Boom("child")

    async def parent(message: Echo, ctx: CellContext) -> str:
        child = await ctx.spawn(crash, "copy")
        await child.tell(Note())
        return await for_ever()

    clerk = await process.start("clerk", parent)

    with pytest.raises(AskFailed, match=r"clerk#1 died handling Echo \(Boom: child"):
        await clerk.ask(Echo())

    assert [getattr(reason, "type_name", "") for reason in ended] == ["Boom"]
    assert process.state("clerk/copy") is None


@virtual
async def test_a_child_that_ends_normally_leaves_its_parent_alone() -> None:
    process = Process()

    async def finish(message: Note, ctx: CellContext) -> None:
        ctx.stop()

    async def parent(message: Echo, ctx: CellContext) -> str:
        child = await ctx.spawn(finish, "copy")
        await child.tell(Note())
        await settle()
        return "still here"

    clerk = await process.start("clerk", parent)

    assert await clerk.ask(Echo()) == "still here"
    assert not process.cell("clerk").children


@virtual
async def test_a_child_that_does_not_start_fails_its_spawn() -> None:
    process = Process()

    async def parent(message: Echo, ctx: CellContext) -> str:
        with pytest.raises(AskFailed, match=r"clerk/copy did not start \(Boom: no licence\)"):
            await ctx.spawn(Scripted(started=fail), "copy")
        return "still here"

    clerk = await process.start("clerk", parent)

    assert await clerk.ask(Echo()) == "still here"
    assert process.state("clerk/copy") is None


@virtual
async def test_a_parent_that_is_killed_while_it_spawns_leaves_no_child() -> None:
    process = Process()

    async def parent(message: Echo, ctx: CellContext) -> str:
        await ctx.spawn(Scripted(started=for_ever), "copy")
        return ""

    clerk = await process.start("clerk", parent)
    asking = asyncio.ensure_future(clerk.ask(Echo()))
    await settle()
    process.cell("clerk").kill()
    await asyncio.wait([asking])

    assert process.state("clerk/copy") is None
    assert isinstance(asking.exception(), AskFailed)


@virtual
async def test_a_context_of_an_ended_life_spawns_nothing() -> None:
    process, kept = Process(), list[Any]()

    async def handle(message: Echo, ctx: CellContext) -> str:
        kept.append(ctx)
        return ""

    clerk = await process.start("clerk", handle)
    await clerk.ask(Echo())
    process.cell("clerk").kill()

    with pytest.raises(Closed, match="clerk#1 has ended; what is left of it can send nothing"):
        await kept[0].spawn(for_ever)


@virtual
async def test_an_actor_that_never_comes_again_is_gone_from_the_process() -> None:
    process = Process()
    clerk = await process.start("clerk", survives_exit=False)

    process.cell("clerk").kill()

    assert process.state("clerk") is None
    with pytest.raises(AskFailed, match="clerk does not exist or has ended for good") as failure:
        await clerk.ask(Echo())
    assert failure.value.reason == NoProc()


@virtual
async def test_forgetting_an_actor_empties_its_mailbox() -> None:
    process = Process()
    clerk = await process.start("clerk")
    process.cell("clerk").kill()
    clerk.tell_nowait(Note())
    asking = asyncio.ensure_future(clerk.ask(Echo()))
    await settle()

    process.runtime.forget(process.cell("clerk").actor)

    with pytest.raises(AskFailed, match="clerk has ended for good") as failure:
        await asking
    assert failure.value.reason == NoProc()
    assert process.dead == {"no_such_agent": 1}
    assert process.state("clerk") is None


@virtual
async def test_an_actor_that_is_forgotten_while_its_children_end_is_gone_with_them() -> None:
    process = Process()

    async def parent(message: Echo, ctx: CellContext) -> str:
        await ctx.spawn(Scripted(stopping=take_a_second), "copy")
        return ""

    clerk = await process.start("clerk", parent)
    await clerk.ask(Echo())
    process.cell("clerk").end(Killed())
    assert process.state("clerk") is State.EXITING

    process.runtime.forget(process.cell("clerk").actor)
    await pass_time(5.0)

    assert not process.runtime.cells
