"""What the death of a process means to the others (SEMANTICS 3, 4 and 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.errors import AskFailed
from regrow.runtime.lifecycle import Down, ExitSignal, Killed
from regrow.runtime.link import LinkSettings
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.message import Message
from regrow.runtime.testing import CALM, FaultPlan, pass_time, virtual
from tests.runtime.scripted import Echo, Hang, Note, Scripted, for_ever
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.context import CellContext

SLOW_NEWS = FaultPlan(verdict_s=(0.5, 1.0))
"""A death that others hear of late, so that a test can send meanwhile."""


def scripted(*arguments: Any, **options: Any) -> Callable[[], Behavior]:
    return lambda: Scripted(*arguments, **options)


def keeping(kept: list[int]) -> Callable[[], Behavior]:
    """An actor that keeps the Notes it gets and echoes."""

    async def handle(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Note):
            kept.append(message.n)
        return message.text if isinstance(message, Echo) else ""

    return scripted(handle)


async def three(world: World, target: Callable[[], Behavior], **options: Any) -> tuple[Node, Node]:
    """A process here, `desk/clerk` in another, and a third where its next life can be."""
    here, there = world.node("here", listens=True), world.node("there")
    await world.start(there, "desk/clerk", target, **options)
    world.node("third")
    return here, there


@virtual
async def test_an_ask_that_was_taken_fails_with_the_reason_of_the_death() -> None:
    world = World(restart_after_s=0.01)
    here, _ = await three(world, scripted(for_ever))
    asking = asyncio.ensure_future(here.ref("desk/clerk").ask(Hang()))
    await pass_time(1.0)
    died_s = asyncio.get_running_loop().time()

    world.kill("there")

    with pytest.raises(AskFailed) as failure:
        await asking
    assert failure.value.reason == Killed(detail="there was killed")
    assert str(failure.value) == (
        "desk/clerk ended while it owed a reply to Hang (Killed (there was killed)); "
        "its supervisor starts it again unless it is temporary; not retried, since Agent delivers at most once"
    )
    assert asyncio.get_running_loop().time() - died_s < 0.1


@virtual
async def test_a_tell_that_was_taken_and_not_handled_is_a_dead_letter_host_lost() -> None:
    world = World(restart_after_s=0.01)
    here, _ = await three(world, scripted(for_ever))
    for _ in range(3):
        await here.ref("desk/clerk").tell(Note())

    world.kill("there")
    await pass_time(1.0)

    assert here.reasons() == {"host_lost": 3}


@virtual
async def test_a_message_that_was_handled_is_no_dead_letter() -> None:
    world, kept = World(restart_after_s=0.01), list[int]()
    here, _ = await three(world, keeping(kept))
    await here.ref("desk/clerk").tell(Note(n=1))
    await pass_time(1.0)

    world.kill("there")
    await pass_time(1.0)

    assert (kept, here.reasons()) == ([1], {})


@virtual
async def test_messages_sent_after_a_death_reach_the_next_life_in_order() -> None:
    world, kept = World(plan=SLOW_NEWS, restart_after_s=0.01), list[int]()
    here, _ = await three(world, keeping(kept))
    clerk = here.ref("desk/clerk")
    await clerk.ask(Echo())
    world.kill("there")
    await pass_time(3.0)

    for n in range(5):
        clerk.tell_nowait(Note(n=n))
    answer = await clerk.ask(Echo(text="grown back"))

    assert (answer, kept) == ("grown back", [0, 1, 2, 3, 4])


@virtual
async def test_messages_that_never_left_reach_the_next_life_in_order_and_so_do_asks() -> None:
    # One call at a time with one row each: while the first is on its way to the dead, all others wait here.
    settings = LinkSettings(max_calls_in_flight=1, max_frame_rows=1, max_unsettled_rows=3)
    plan = FaultPlan(fails_after_s=(5.0,), request_lost=0.0, verdict_s=(0.2, 0.3))
    world, kept = World(plan=plan, settings=settings, restart_after_s=0.01), list[int]()
    here, _ = await three(world, keeping(kept))
    clerk = here.ref("desk/clerk")
    await clerk.ask(Echo())
    await pass_time(1.0)
    world.kill("there")
    tells = [asyncio.ensure_future(clerk.tell(Note(n=n))) for n in range(8)]
    asking = asyncio.ensure_future(clerk.ask(Echo(text="grown back")))

    assert await asking == "grown back"
    await asyncio.wait(tells)
    assert kept == list(range(8 - len(kept), 8))
    assert len(kept) >= 5
    assert here.reasons() == {"host_lost": 8 - len(kept)}


@virtual
async def test_messages_that_wait_for_room_at_the_dead_reach_the_next_life_in_order() -> None:
    world, kept = World(restart_after_s=0.01), list[int]()
    here, there = await three(world, scripted(for_ever), mailbox=MailboxSettings(capacity=1))
    clerk = here.ref("desk/clerk")
    for n in range(6):
        clerk.tell_nowait(Note(n=n))
    asking = asyncio.ensure_future(clerk.ask(Echo(text="grown back")))
    await pass_time(1.0)
    waiting = 6 - 1 - len(there.cell("desk/clerk").mailbox)
    world.next_life("desk/clerk", keeping(kept))

    world.kill("there")

    assert await asking == "grown back"
    assert kept == list(range(6 - waiting, 6))
    assert here.reasons() == {"host_lost": 6 - waiting}


@virtual
async def test_who_hears_of_a_death_before_the_directory_does_waits_for_the_next_life() -> None:
    world, kept = World(plan=FaultPlan(verdict_s=(0.001, 0.001)), restart_after_s=0.5), list[int]()
    here, there = await three(world, keeping(kept))
    clerk = here.ref("desk/clerk")
    await clerk.ask(Echo())
    host_died, world._host_died = world._host_died, lambda node: None  # type: ignore[method-assign]
    world.kill("there")
    await pass_time(0.1)

    asking = asyncio.ensure_future(clerk.ask(Echo(text="grown back")))
    await pass_time(1.0)
    host_died(there)

    assert await asking == "grown back"


@virtual
async def test_a_message_overtakes_none_on_its_way_to_the_dead_when_the_next_life_starts_beside_its_sender() -> None:
    world, kept = World(settings=LinkSettings(max_calls_in_flight=1, max_frame_rows=1)), list[int]()
    here, there = world.node("here"), world.node("there")
    await world.start(there, "desk/clerk", keeping(kept))
    clerk = here.ref("desk/clerk")
    await clerk.ask(Echo())
    await pass_time(1.0)
    # No call comes back any more, and a second passes until anybody knows why.
    world.wires.plan = FaultPlan(request_lost=1.0, fails_after_s=(5.0,), verdict_s=(1.0, 1.0))
    world.kill("there")
    for n in range(9):
        clerk.tell_nowait(Note(n=n))
    await pass_time(0.1)
    await world.start(here, "desk/clerk", keeping(kept))

    clerk.tell_nowait(Note(n=9))
    answer = await clerk.ask(Echo(text="grown back"))

    assert (answer, len(kept) > 4, kept) == ("grown back", True, list(range(10 - len(kept), 10)))
    assert here.reasons() == {"host_lost": 10 - len(kept)}  # those that had left


@virtual
async def test_a_reply_to_a_dead_process_goes_nowhere_else() -> None:
    world, got = World(), list[Message]()

    async def slow(message: Message, ctx: CellContext) -> str:
        got.append(message)
        await pass_time(2.0)
        return "late"

    there = world.node("there")
    await world.start(there, "desk/clerk", scripted(slow))
    asker = world.node("asker")
    asking = asyncio.ensure_future(asker.ref("desk/clerk").ask(Echo()))
    await pass_time(1.0)

    world.kill("asker")
    await pass_time(5.0)

    assert [type(message) for message in got] == [Echo]
    assert there.reasons() == {"host_lost": 1}
    await asyncio.wait([asking])


# ---- monitors and links --------------------------------------------------------------------------


class Watcher:
    """Monitors, or links with, `desk/clerk` as often as it is asked to, and keeps what it hears."""

    def __init__(self, bond: Callable[[Any], object] = lambda ctx: ctx.monitor("desk/clerk")) -> None:
        self._bond = bond
        self.got: list[Message] = []

    async def __call__(self, message: Message, ctx: CellContext) -> str:
        if isinstance(message, Echo):
            self._bond(ctx)
        else:
            self.got.append(message)
        return ""

    @property
    def downs(self) -> list[object]:
        return [message.reason for message in self.got if isinstance(message, Down)]


async def watched(world: World, watcher: Watcher, target: Callable[[], Behavior]) -> tuple[Node, Node]:
    """A watcher here of an actor there, and a third process."""
    here, there = world.node("here"), world.node("there")
    await world.start(there, "desk/clerk", target)
    await world.start(here, "desk/watcher", scripted(watcher))
    world.node("third")
    await here.ref("desk/watcher").ask(Echo())
    await pass_time(0.1)
    return here, there


@virtual
async def test_each_monitor_of_an_actor_there_gives_one_down() -> None:
    world, watcher = World(restart_after_s=0.01), Watcher()
    here, _ = await watched(world, watcher, scripted(for_ever))
    await here.ref("desk/watcher").ask(Echo())

    world.kill("there")
    await pass_time(1.0)

    assert watcher.downs == [Killed(detail="there was killed")] * 2


@virtual
async def test_the_down_comes_after_every_message_of_the_dead() -> None:
    async def chatty(message: Note, ctx: CellContext) -> None:
        for n in range(5):
            await ctx.tell("desk/watcher", Note(n=n))

    world, watcher = World(plan=FaultPlan(slow=0.3)), Watcher()
    here, _ = await watched(world, watcher, scripted(chatty))
    here.ref("desk/clerk").tell_nowait(Note())
    await pass_time(0.01)

    world.kill("there")
    await pass_time(5.0)

    assert [type(message) for message in watcher.got].count(Down) == 1
    assert isinstance(watcher.got[-1], Down)


@virtual
async def test_a_monitor_whose_down_came_gives_none_when_the_process_of_the_next_life_dies() -> None:
    world, watcher = World(restart_after_s=0.01), Watcher()
    _, there = await watched(world, watcher, scripted(for_ever))
    there.cell("desk/clerk").kill("by hand")
    await pass_time(1.0)

    world.kill("there")
    await pass_time(1.0)

    assert watcher.downs == [Killed(detail="by hand")]


@virtual
async def test_a_monitor_is_told_though_messages_to_the_dead_were_on_their_way() -> None:
    world, watcher = World(plan=SLOW_NEWS, restart_after_s=0.01), Watcher()
    here, _ = await watched(world, watcher, scripted(for_ever))
    world.kill("there")
    for _ in range(5):
        here.ref("desk/clerk").tell_nowait(Note())

    await pass_time(5.0)

    assert watcher.downs == [Killed(detail="there was killed")]


@virtual
async def test_a_monitor_set_before_the_death_was_known_is_told_of_it_or_of_nobody() -> None:
    world, watcher = World(plan=SLOW_NEWS), Watcher()
    here, _ = await watched(world, watcher, scripted(for_ever))
    world.kill("there")

    await here.ref("desk/watcher").ask(Echo())
    await pass_time(5.0)

    assert watcher.downs == [Killed(detail="there was killed")] * 2


@pytest.mark.parametrize("traps", [True, False], ids=["told", "taken along"])
def test_a_link_with_an_actor_there_takes_along_or_is_told(traps: bool) -> None:
    @virtual
    async def run() -> None:
        world = World()
        watcher = Watcher(lambda ctx: (ctx.trap_exits(traps), ctx.link("desk/clerk")))
        await watched(world, watcher, scripted(for_ever))

        world.kill("there")
        await pass_time(1.0)

        reason = Killed(detail="there was killed")
        told = [message for message in watcher.got if isinstance(message, ExitSignal)]
        assert told == ([ExitSignal(actor="desk/clerk", incarnation=1, reason=reason)] if traps else [])
        assert world.ends == ([] if traps else [("desk/watcher", reason)])

    run()


@virtual
async def test_a_link_made_from_the_process_that_died_counts_too() -> None:
    world, watcher = World(), Watcher(lambda ctx: ctx.trap_exits())

    async def link(message: Message, ctx: CellContext) -> str:
        ctx.link("desk/watcher")
        return ""

    here, _ = await watched(world, watcher, scripted(link))
    await here.ref("desk/clerk").ask(Echo())
    await pass_time(0.1)

    world.kill("there")
    await pass_time(1.0)

    assert [type(message) for message in watcher.got] == [ExitSignal]


@virtual
async def test_a_watcher_between_two_lives_passes_no_down_on_to_the_next() -> None:
    world, watcher = World(), Watcher()
    here, _ = await watched(world, watcher, scripted(for_ever))
    here.cell("desk/watcher").kill()

    world.kill("there")
    await pass_time(1.0)
    await world.start(here, "desk/watcher", scripted(watcher))
    await pass_time(1.0)

    assert watcher.got == []


# ---- the dead process itself ---------------------------------------------------------------------


@virtual
async def test_what_a_dead_process_had_sent_is_not_delivered_after_the_verdict() -> None:
    # Every packet takes a hundred times as long, longer than the news of the death.
    world, kept = World(plan=FaultPlan(slow=1.0, verdict_s=(0.0001, 0.0001))), list[int]()
    here, there = world.node("here"), world.node("there")
    await world.start(here, "desk/keeper", keeping(kept))
    await there.directory.locate(here.cell("desk/keeper").actor)
    there.ref("desk/keeper").tell_nowait(Note(n=1))
    await pass_time(0.01)

    world.kill("there")
    await pass_time(5.0)

    assert kept == []


@virtual
async def test_a_process_that_comes_back_is_another_process() -> None:
    world, kept = World(plan=CALM), list[int]()
    here, _ = await three(world, keeping(kept))
    await here.ref("desk/clerk").ask(Echo())
    world.kill("there")
    await pass_time(1.0)

    await world.start(world.node("there"), "desk/clerk", keeping(kept))

    assert await here.ref("desk/clerk").ask(Echo(text="again")) == "again"
