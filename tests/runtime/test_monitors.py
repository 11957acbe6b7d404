"""Monitors and links between running actors (SEMANTICS 3)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.cell import State
from regrow.runtime.errors import AskFailed
from regrow.runtime.lifecycle import Crashed, Down, ExitReason, ExitSignal, Killed, NoProc, Normal, Shutdown
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.message import Message, Request
from regrow.runtime.names import keep_registry
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Boom, Echo, Note, Process, Scripted, settle

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext
    from regrow.runtime.ref import ActorRef


class Run(Request[str]):
    """Run this function of the test inside the actor."""

    step: int


class Watcher:
    """An actor that runs steps of the test in its turns and keeps what else it gets."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._steps: list[Any] = []
        self.got: list[Message] = []

    async def handle(self, message: Message, ctx: CellContext) -> object:
        if not isinstance(message, Run):
            self.got.append(message)
            return None
        result = self._steps[message.step](ctx)
        return str(await result if asyncio.iscoroutine(result) else result)

    async def run(self, step: Any) -> str:
        """What the step gives, run inside the actor."""
        self._steps.append(step)
        return await self._process.ref("watcher").ask(Run(step=len(self._steps) - 1))

    @property
    def downs(self) -> list[tuple[int, ExitReason]]:
        return [(message.monitor, message.reason) for message in self.got if isinstance(message, Down)]

    @property
    def signals(self) -> list[ExitReason]:
        return [message.reason for message in self.got if isinstance(message, ExitSignal)]


async def watching(*others: str) -> tuple[Process, Watcher]:
    """A process with a watcher and others, who do as actors of these tests do by default."""
    process = Process()
    watcher = Watcher(process)
    await process.start("watcher", Scripted(watcher.handle))
    for other in others:
        await process.start(other)
    return process, watcher


# ---- monitors ------------------------------------------------------------------------------------


@virtual
async def test_a_monitor_gives_one_down_with_life_and_reason() -> None:
    process, watcher = await watching("clerk")
    monitor = int(await watcher.run(lambda ctx: ctx.monitor("clerk")))

    process.cell("clerk").kill("by hand")
    await settle()

    assert watcher.got == [Down(monitor=monitor, actor="clerk", incarnation=2, reason=Killed(detail="by hand"))]


@virtual
async def test_monitors_stack() -> None:
    process, watcher = await watching("clerk")
    monitors = [int(await watcher.run(lambda ctx: ctx.monitor("clerk"))) for _ in range(3)]

    process.cell("clerk").stop(Shutdown(), None)
    await settle()

    assert watcher.downs == [(monitor, Shutdown()) for monitor in monitors]


@pytest.mark.parametrize("how", ["never was", "gone for good", "between two lives"])
def test_a_monitor_of_the_dead_gives_noproc_at_once(how: str) -> None:
    @virtual
    async def run() -> None:
        process, watcher = await watching()
        if how != "never was":
            await process.start("clerk", survives_exit=how == "between two lives")
            process.cell("clerk").kill()

        monitor = int(await watcher.run(lambda ctx: ctx.monitor("clerk")))
        await settle()

        assert watcher.downs == [(monitor, NoProc())]

    run()


@virtual
async def test_a_monitor_of_an_earlier_life_gives_noproc_though_the_next_one_runs() -> None:
    process, watcher = await watching("clerk")
    process.cell("clerk").kill()
    await process.start("clerk")

    monitor = int(await watcher.run(lambda ctx: ctx.monitor(process.ref("clerk", life=2))))
    await settle()

    assert watcher.downs == [(monitor, NoProc())]


@virtual
async def test_a_monitor_lasts_for_one_life() -> None:
    process, watcher = await watching("clerk")
    await watcher.run(lambda ctx: ctx.monitor("clerk"))
    for _ in range(3):
        process.cell("clerk").kill()
        await process.start("clerk")
        await settle()

    assert len(watcher.downs) == 1


@virtual
async def test_a_monitor_that_was_taken_back_gives_no_down() -> None:
    process, watcher = await watching("clerk")
    kept = int(await watcher.run(lambda ctx: ctx.monitor("clerk")))
    taken_back = int(await watcher.run(lambda ctx: ctx.monitor("clerk")))
    await watcher.run(lambda ctx: ctx.demonitor(taken_back))

    process.cell("clerk").kill()
    await settle()

    assert watcher.downs == [(kept, Killed())]


@virtual
async def test_demonitor_flushes_a_down_that_is_queued() -> None:
    process, watcher = await watching("clerk")
    monitor = int(await watcher.run(lambda ctx: ctx.monitor("clerk")))

    async def kill_and_take_back(ctx: CellContext) -> None:
        process.cell("clerk").kill()
        assert [type(envelope.message) for envelope in process.cell("watcher").mailbox.user] == [Down]
        ctx.demonitor(monitor)
        ctx.demonitor(monitor)

    await watcher.run(kill_and_take_back)
    await settle()

    assert watcher.got == []


@virtual
async def test_a_down_comes_after_every_message_of_the_dead() -> None:
    process, watcher = await watching()

    async def send_and_die(message: Message, ctx: CellContext) -> None:
        for n in range(3):
            ctx.tell_nowait("watcher", Note(n=n))
        raise Boom

    clerk = await process.start("clerk", send_and_die)
    await watcher.run(lambda ctx: ctx.monitor("clerk"))
    await clerk.tell(Note())
    await settle()

    assert [type(message) for message in watcher.got] == [Note, Note, Note, Down]


@virtual
async def test_a_down_does_not_overtake_a_message_of_the_dead_that_waits_for_room() -> None:
    process, got = Process(), list[Message]()

    async def slow(message: Message, ctx: CellContext) -> None:
        got.append(message)
        if isinstance(message, Note) and message.n == 0:
            ctx.monitor("clerk")
        await pass_time(1.0)

    async def clerk(message: Note, ctx: CellContext) -> None:
        if message.n == 9:
            raise Boom
        await ctx.tell("watcher", message)

    watcher = await process.start("watcher", slow, mailbox=MailboxSettings(capacity=1))
    await process.start("clerk", Scripted(clerk, beside=(Note,)))
    await watcher.tell(Note(n=0))
    await settle()
    for n in (1, 2, 3, 9):
        process.ref("clerk").tell_nowait(Note(n=n))
    await pass_time(9.0)

    # What the dead could no longer wait for was not sent; what was in the mailbox came before the Down.
    assert [message.n if isinstance(message, Note) else type(message).__name__ for message in got][:2] == [0, 1]
    assert [type(message) for message in got].index(Down) == len(got) - 1


@virtual
async def test_in_its_down_handler_a_watcher_can_start_a_namesake() -> None:
    process = Process()
    await keep_registry(process.runtime)
    failures = list[object]()

    async def take_the_name(ctx: CellContext) -> None:
        await ctx.register("the clerk")

    async def handle(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Down):
            failures.append(await process.try_start("clerk", Scripted(started=take_the_name)))
            failures.append(await ctx.whereis("the clerk") == process.ref("clerk", life=3) or None)
        else:
            ctx.monitor("clerk")
        return ""

    watcher = await process.start("watcher", handle)
    await process.start("clerk", Scripted(started=take_the_name), survives_exit=False)
    await watcher.ask(Echo())
    process.cell("clerk").kill()
    await pass_time(0.1)

    assert failures == [None, True]
    assert process.state("clerk") is State.RUNNING


@virtual
async def test_a_down_for_a_watcher_of_an_earlier_life_does_not_reach_the_next_and_is_no_dead_letter() -> None:
    process, watcher = await watching("clerk")
    await watcher.run(lambda ctx: ctx.monitor("clerk"))
    process.cell("watcher").kill()
    await process.start("watcher", Scripted(watcher.handle))

    process.cell("clerk").kill()
    await settle()

    assert watcher.got == []
    assert process.dead == {}


# ---- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies", ["watcher", "clerk"])
def test_a_link_is_symmetric_and_takes_the_other_along_with_the_same_reason(dies: str) -> None:
    @virtual
    async def run() -> None:
        process, watcher = await watching("clerk")
        ends: dict[str, ExitReason] = {}
        process.runtime.on_root_exit = lambda cell, reason: ends.__setitem__(cell.actor, reason)
        await watcher.run(lambda ctx: ctx.link("clerk"))

        process.cell(dies).kill("by hand")
        await settle()

        assert ends == {"watcher": Killed(detail="by hand"), "clerk": Killed(detail="by hand")}

    run()


@virtual
async def test_an_exit_that_is_not_abnormal_leaves_the_linked_alone() -> None:
    process, watcher = await watching("clerk", "scribe")
    await watcher.run(lambda ctx: (ctx.link("clerk"), ctx.link("scribe")))

    process.cell("clerk").stop(Normal(), None)
    process.cell("scribe").stop(Shutdown(), None)
    await settle()

    assert process.state("watcher") is State.RUNNING
    assert watcher.got == []


@pytest.mark.parametrize("reason", [Normal(), Shutdown(), Killed(), Crashed(type_name="Boom", message="")], ids=str)
def test_a_trapped_exit_arrives_as_a_message(reason: ExitReason) -> None:
    @virtual
    async def run() -> None:
        process, watcher = await watching("clerk")
        await watcher.run(lambda ctx: (ctx.trap_exits(), ctx.link("clerk")))

        process.cell("clerk").end(reason)
        await settle()

        assert watcher.got == [ExitSignal(actor="clerk", incarnation=2, reason=reason)]
        assert process.state("watcher") is State.RUNNING

    run()


@virtual
async def test_trapping_can_be_ended() -> None:
    process, watcher = await watching("clerk")
    await watcher.run(lambda ctx: (ctx.trap_exits(), ctx.link("clerk"), ctx.trap_exits(False)))

    process.cell("clerk").kill()

    assert process.state("watcher") is State.RESTARTING


@virtual
async def test_an_undone_link_takes_nobody_along() -> None:
    process, watcher = await watching("clerk")
    await watcher.run(lambda ctx: (ctx.link("clerk"), ctx.link("clerk"), ctx.unlink("clerk")))

    process.cell("clerk").kill()

    assert process.state("watcher") is State.RUNNING


@pytest.mark.parametrize("there", [False, True], ids=["never was", "between two lives"])
def test_a_link_with_the_dead_is_an_exit_noproc(there: bool) -> None:
    @virtual
    async def run() -> None:
        process, watcher = await watching()
        if there:
            await process.start("clerk")
            process.cell("clerk").kill()

        await watcher.run(lambda ctx: (ctx.trap_exits(), ctx.link("clerk")))
        await settle()

        assert watcher.signals == [NoProc()]

    run()


@virtual
async def test_a_link_holds_for_one_life_of_each_side() -> None:
    process, watcher = await watching("clerk")
    await watcher.run(lambda ctx: ctx.link("clerk"))
    process.cell("clerk").stop(Normal(), None)
    await settle()
    await process.start("clerk")

    process.cell("clerk").kill()

    assert process.state("watcher") is State.RUNNING


@virtual
async def test_a_chain_of_links_falls_together_once() -> None:
    process = Process()
    ends = list[str]()
    process.runtime.on_root_exit = lambda cell, reason: ends.append(cell.actor)

    async def link_to(message: Echo, ctx: CellContext) -> str:
        ctx.link(message.text)
        return ""

    refs: list[ActorRef] = [await process.start(name, link_to) for name in "abc"]
    for ref, other in zip(refs, ("b", "c", "a"), strict=True):
        await ref.ask(Echo(text=other))

    process.cell("b").kill()

    assert sorted(ends) == ["a", "b", "c"]


@virtual
async def test_an_asker_learns_why_a_linked_death_cost_its_answer() -> None:
    process, watcher = await watching("clerk")
    await watcher.run(lambda ctx: ctx.link("clerk"))

    async def hang(ctx: CellContext) -> None:
        await pass_time(60.0)

    asking = asyncio.ensure_future(watcher.run(hang))
    await settle()
    process.cell("clerk").kill("by hand")

    with pytest.raises(AskFailed, match=r"watcher#1 ended while it owed a reply to Run \(Killed \(by hand\)\)"):
        await asking


@virtual
async def test_watchers_that_have_ended_are_not_kept_by_those_they_watched() -> None:
    process, watcher = await watching("desk/clerk")
    await watcher.run(lambda ctx: ctx.monitor("desk/clerk"))
    watched = process.cell("desk/clerk").bonds
    assert len(watched.watchers) == 1

    process.cell("watcher").kill()
    await settle()

    assert not watched.watchers and not watched.watchers_at
