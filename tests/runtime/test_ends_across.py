"""Monitors, links and refs of one life between processes, and the order of what they bring (SEMANTICS 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.errors import AskFailed
from regrow.runtime.lifecycle import Down, ExitSignal, Killed, NoProc, Shutdown
from regrow.runtime.link import LinkSettings
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.message import Message
from regrow.runtime.testing import FaultPlan, pass_time, virtual
from tests.runtime.scripted import Boom, Echo, Note, Scripted
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.context import CellContext
    from regrow.runtime.ref import ActorRef

UNEVEN = FaultPlan(latency_s=(0.0002, 0.05), request_lost=0.1, reply_lost=0.1, doubled=0.1)


class Listener:
    """Does `bond` when it is asked; keeps what it is told, each after `takes_s`."""

    def __init__(self, bond: Callable[[Any], object] = lambda ctx: None, *, takes_s: float = 0.0) -> None:
        self.bond = bond
        self._takes_s = takes_s
        self.got: list[Message] = []

    def __call__(self) -> Behavior:
        return Scripted(self._handle)

    async def _handle(self, message: Message, ctx: CellContext) -> str:
        if isinstance(message, Echo):
            self.bond(ctx)
            return message.text
        self.got.append(message)
        if self._takes_s:
            await pass_time(self._takes_s)
        return ""

    @property
    def shown(self) -> list[object]:
        """Notes as numbers, the rest by class name."""
        return [m.n if isinstance(m, Note) else type(m).__name__ for m in self.got]


def link_with(other: str, ctx: CellContext) -> None:
    ctx.link(other)


async def speak(message: Note, ctx: CellContext) -> None:
    """Tells the listener as many Notes as it is told, and crashes."""
    for n in range(message.n):
        ctx.tell_nowait("desk/listener", Note(n=n))
    raise Boom


async def pair(world: World, listener: Listener, *, capacity: int = 1_000) -> tuple[Node, Node]:
    """A listener here, and there `desk/speaker`, which it has its bond with."""
    here, there = world.node("here"), world.node("there")
    await world.start(there, "desk/speaker", lambda: Scripted(speak))
    await world.start(here, "desk/listener", listener, mailbox=MailboxSettings(capacity=capacity))
    await here.ref("desk/listener").ask(Echo())
    await pass_time(0.5)
    return here, there


# ---- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [1, 3, 1_000])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("news", ["Down", "ExitSignal"])
def test_a_down_or_trapped_exit_comes_after_every_message_of_the_dead(news: str, seed: int, capacity: int) -> None:
    @virtual
    async def play() -> None:
        def bond(ctx: CellContext) -> None:
            if news == "Down":
                ctx.monitor("desk/speaker")
            else:
                ctx.trap_exits()
                ctx.link("desk/speaker")

        listener = Listener(bond, takes_s=0.01)
        here, _ = await pair(World(seed, UNEVEN), listener, capacity=capacity)

        await here.ref("desk/speaker").tell(Note(n=12))
        await pass_time(60.0)

        assert listener.shown == [*range(12), news], f"seed {seed}"

    play()


@pytest.mark.parametrize("news", ["Down", "ExitSignal"])
def test_it_comes_after_messages_whose_receiver_was_still_looked_for(news: str) -> None:
    @virtual
    async def play() -> None:
        world, listener = World(), Listener()
        here, there = world.node("here"), world.node("there")
        await world.start(here, "desk/listener", listener)

        async def bond_and_speak(message: Note, ctx: CellContext) -> None:
            there.directory.clear()  # so that what follows is looked for, and waits for that
            await speak(message, ctx)

        await world.start(there, "desk/speaker", lambda: Scripted(bond_and_speak))
        listener.bond = lambda ctx: (
            ctx.monitor("desk/speaker") if news == "Down" else (ctx.trap_exits(), ctx.link("desk/speaker"))
        )
        await here.ref("desk/listener").ask(Echo())
        await pass_time(0.5)

        await here.ref("desk/speaker").tell(Note(n=5))
        await pass_time(5.0)

        assert listener.shown == [0, 1, 2, 3, 4, news]

    play()


@virtual
async def test_an_exit_that_is_not_trapped_overtakes_every_message() -> None:
    world, listener = World(), Listener(lambda ctx: ctx.link("desk/speaker"), takes_s=10.0)
    here, _ = await pair(world, listener, capacity=1)

    await here.ref("desk/speaker").tell(Note(n=9))
    await pass_time(1.0)

    assert [(actor, type(reason).__name__) for actor, reason in world.ends] == [
        ("desk/speaker", "Crashed"),
        ("desk/listener", "Crashed"),
    ]
    assert listener.shown == []


@virtual
async def test_a_stop_from_another_process_overtakes_messages_that_wait_for_room() -> None:
    world, listener = World(), Listener(takes_s=10.0)
    here, there = await pair(world, listener, capacity=1)
    for n in range(9):
        there.ref("desk/listener").tell_nowait(Note(n=n))
    await pass_time(0.5)

    await there.ref("desk/listener").stop()
    await pass_time(0.5)

    assert world.ends == [("desk/listener", Shutdown())]
    assert here.cell("desk/listener").is_over


@virtual
async def test_what_comes_after_the_down_is_counted_and_delivered_to_nobody() -> None:
    # Every packet takes a hundred times as long, longer than the news of the death.
    each_alone = LinkSettings(max_frame_rows=1, max_calls_in_flight=8)
    world = World(plan=FaultPlan(slow=1.0, doubled=0.5, verdict_s=(0.0001, 0.0001)), settings=each_alone)
    listener = Listener(lambda ctx: ctx.monitor("desk/silent"))
    here, there = world.node("here"), world.node("there")
    await world.start(there, "desk/silent", Scripted)
    await world.start(here, "desk/listener", listener)
    await here.ref("desk/listener").ask(Echo())
    await there.ref("desk/listener").tell(Note(n=0))
    await pass_time(5.0)
    for n in range(1, 6):
        there.ref("desk/listener").tell_nowait(Note(n=n))
        await pass_time(0.001)

    world.kill("there")
    await pass_time(30.0)

    assert listener.shown == [0, "Down"]
    assert here.reasons() == {"host_lost": 5}


# ---- monitors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["the actor", "the process"])
def test_each_of_many_monitors_from_another_process_gives_one_down(end: str) -> None:
    @virtual
    async def play() -> None:
        world, monitors = World(3, UNEVEN), list[int]()
        listener = Listener(lambda ctx: monitors.extend(ctx.monitor("desk/speaker") for _ in range(20)))
        _, there = await pair(world, listener)
        await pass_time(5.0)

        if end == "the actor":
            there.cell("desk/speaker").kill()
        else:
            world.kill("there")
        await pass_time(30.0)

        downs = [message for message in listener.got if isinstance(message, Down)]
        assert sorted(down.monitor for down in downs) == sorted(monitors)
        assert {(down.actor, down.incarnation) for down in downs} == {("desk/speaker", 1)}

    play()


@virtual
async def test_a_down_on_its_way_does_not_come_when_its_monitor_is_taken_back() -> None:
    monitors = list[int]()
    listener = Listener(lambda ctx: monitors.append(ctx.monitor("desk/speaker")), takes_s=1.0)
    world = World()
    here, _ = await pair(world, listener, capacity=1)
    await here.ref("desk/speaker").tell(Note(n=5))
    await pass_time(0.5)  # the dead one's messages wait for room, and the Down behind them

    listener.bond = lambda ctx: ctx.demonitor(monitors[0])
    asking = asyncio.ensure_future(here.ref("desk/listener").ask(Echo()))
    await pass_time(30.0)

    assert asking.done()
    assert listener.shown == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("what", ["never was", "an earlier life", "restarting", "its process is dead"])
def test_a_monitor_of_the_dead_in_another_process_gives_noproc_at_once(what: str) -> None:
    @virtual
    async def play() -> None:
        world = World(restart_after_s=60.0)
        await world.with_guardian()
        target: list[ActorRef] = []
        listener = Listener(lambda ctx: ctx.monitor(target[0]) if target else None)
        here, there = await pair(world, listener)
        target.append(here.ref("desk/nobody") if what == "never was" else here.ref("desk/speaker", life=1))
        if what == "its process is dead":
            world.kill("there")
        elif what != "never was":
            there.cell("desk/speaker").kill()
        if what == "an earlier life":
            await world.start(there, "desk/speaker", lambda: Scripted(speak))
        await pass_time(1.0)
        listener.got.clear()

        await here.ref("desk/listener").ask(Echo())
        await pass_time(0.1)

        assert [message.reason for message in listener.got if isinstance(message, Down)] == [NoProc()]

    play()


# ---- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies", ["desk/speaker", "desk/listener"])
def test_a_link_between_processes_is_symmetric_and_made_twice_is_one_link(dies: str) -> None:
    @virtual
    async def play() -> None:
        world = World()
        there_got = Listener(lambda ctx: (ctx.trap_exits(), ctx.link("desk/listener")))
        here_got = Listener(lambda ctx: (ctx.trap_exits(), ctx.link("desk/speaker"), ctx.link("desk/speaker")))
        here, there = world.node("here"), world.node("there")
        await world.start(there, "desk/speaker", there_got)
        await world.start(here, "desk/listener", here_got)
        await here.ref("desk/listener").ask(Echo())
        await here.ref("desk/speaker").ask(Echo())
        await pass_time(1.0)

        (here if dies == "desk/listener" else there).cell(dies).kill("by hand")
        await pass_time(1.0)

        survivor = there_got if dies == "desk/listener" else here_got
        life = 2 if dies == "desk/listener" else 1
        assert survivor.got == [ExitSignal(actor=dies, incarnation=life, reason=Killed(detail="by hand"))]
        assert [actor for actor, _ in world.ends] == [dies]

    play()


@virtual
async def test_an_undone_link_between_processes_brings_nothing_not_even_a_trapped_exit_on_its_way() -> None:
    listener = Listener(lambda ctx: (ctx.trap_exits(), ctx.link("desk/speaker")), takes_s=1.0)
    world = World()
    here, _ = await pair(world, listener, capacity=1)
    await here.ref("desk/speaker").tell(Note(n=4))
    await pass_time(0.5)

    listener.bond = lambda ctx: ctx.unlink("desk/speaker")
    await here.ref("desk/listener").ask(Echo())
    await pass_time(30.0)

    assert listener.shown == [0, 1, 2, 3]


@virtual
async def test_a_trapped_exit_is_told_though_the_process_dies_before_its_message_came() -> None:
    listener = Listener(lambda ctx: (ctx.trap_exits(), ctx.link("desk/speaker")), takes_s=1.0)
    world = World()
    here, _ = await pair(world, listener, capacity=1)
    await here.ref("desk/speaker").tell(Note(n=9))
    await pass_time(0.5)  # the exit has overtaken, its message waits behind nine others

    world.kill("there")
    await pass_time(30.0)

    assert listener.shown[-1] == "ExitSignal"
    assert listener.shown.count("ExitSignal") == 1


@virtual
async def test_a_kill_can_not_be_trapped_and_goes_through_a_chain_of_links_as_killed() -> None:
    """`a` is killed; `b` traps nothing and ends with it; `c` traps and is told of `b`; `d` hangs on `c` and lives."""
    world = World()
    nodes = {name: world.node(name) for name in ("one", "two", "three", "four")}
    listeners = {
        "a": Listener(lambda ctx: ctx.trap_exits()),
        "b": Listener(lambda ctx: ctx.link("desk/a")),
        "c": Listener(lambda ctx: (ctx.trap_exits(), ctx.link("desk/b"))),
        "d": Listener(lambda ctx: ctx.link("desk/c")),
    }
    for (name, listener), node in zip(listeners.items(), nodes.values(), strict=True):
        await world.start(node, f"desk/{name}", listener)
        await node.ref(f"desk/{name}").ask(Echo())
    await pass_time(1.0)

    await nodes["four"].ref("desk/a").stop(grace_s=0)
    await pass_time(1.0)

    killed = Killed(detail="brutal kill")
    assert world.ends == [("desk/a", killed), ("desk/b", killed)]
    assert listeners["c"].got == [ExitSignal(actor="desk/b", incarnation=2, reason=killed)]
    assert (listeners["a"].got, listeners["d"].got) == ([], [])


@virtual
async def test_a_ring_of_links_through_three_processes_falls_once() -> None:
    world = World()
    names = ["desk/a", "desk/b", "desk/c"]
    for n, name in enumerate(names):
        other = names[(n + 1) % 3]
        await world.start(world.node(f"node{n}"), name, Listener(partial(link_with, other)))
    for node in world.living:
        await node.ref(names[int(node.host[4])]).ask(Echo())
    await pass_time(1.0)

    world.nodes["node1"].cell("desk/b").kill("by hand")
    await pass_time(1.0)

    assert sorted(world.ends, key=str) == [(name, Killed(detail="by hand")) for name in names]


# ---- refs of one life ----------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["restarting", "in the next life", "its process is dead"])
@pytest.mark.parametrize("from_where", ["here", "there", "third"])
def test_a_ref_of_an_earlier_life_fails_at_once_and_does_not_wait_for_the_next(state: str, from_where: str) -> None:
    @virtual
    async def play() -> None:
        world = World(restart_after_s=60.0)
        await world.with_guardian()
        _, there = await pair(world, Listener())
        world.node("third")
        if state == "its process is dead":
            world.kill("there")
        else:
            there.cell("desk/speaker").kill()
        if state == "in the next life":
            await world.start(there, "desk/speaker", Scripted)
        await pass_time(1.0)
        node = world.nodes.get(from_where, world.nodes["here"])
        began_s = asyncio.get_running_loop().time()

        with pytest.raises(AskFailed) as failed:
            await node.ref("desk/speaker", life=1).ask(Echo())
        await node.ref("desk/speaker", life=1).tell(Note())

        assert failed.value.reason == NoProc()
        assert asyncio.get_running_loop().time() - began_s < 0.1
        assert sum(node.reasons().values()) == 1

    play()


@pytest.mark.parametrize("from_where", ["here", "there"])
def test_what_was_queued_for_one_life_ends_with_it_and_what_was_for_any_waits(from_where: str) -> None:
    @virtual
    async def play() -> None:
        world, got = World(restart_after_s=60.0), Listener()

        async def slow(message: Message, ctx: CellContext) -> str:
            await pass_time(1.0)
            return ""

        await world.with_guardian()
        here, there = world.node("here"), world.node("there")
        await world.start(there, "desk/slow", lambda: Scripted(slow), mailbox=MailboxSettings(capacity=3))
        node = here if from_where == "here" else there
        await node.ref("desk/slow").tell(Note(n=0))
        asking = asyncio.ensure_future(node.ref("desk/slow", life=1).ask(Echo()))
        await node.ref("desk/slow", life=1).tell(Note(n=1))
        await node.ref("desk/slow").tell(Note(n=2))
        world.next_life("desk/slow", got)
        await pass_time(0.1)
        began_s = asyncio.get_running_loop().time()

        there.cell("desk/slow").kill("by hand")

        with pytest.raises(
            AskFailed, match=r"desk/slow#1 ended \(Killed \(by hand\)\) before it came to Echo"
        ) as failed:
            await asking
        assert failed.value.reason == Killed(detail="by hand")
        assert asyncio.get_running_loop().time() - began_s < 0.1
        await pass_time(100.0)
        assert got.shown == [2]
        assert there.reasons() == {"crashed": 1, "earlier_life": 1}

    play()
