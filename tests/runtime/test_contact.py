"""Contact lost is not death: who is told, what ends as unknown, and what waits for the verdict (SEMANTICS 1)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.ask_all import NoReply, ask_all, paired
from regrow.runtime.errors import AskTimeout, ContactLost, MailboxFull
from regrow.runtime.lifecycle import Down, Killed, Reachable, Unreachable
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.message import Message
from regrow.runtime.testing import FaultPlan, pass_time, virtual
from tests.runtime.scripted import Echo, Hang, Note, Scripted, for_ever
from tests.simulation.wires import NOTICED_S, Node, World

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.context import CellContext

SOON_S = NOTICED_S + 0.1
"""By then everybody knows that a process does not answer."""


class Watcher:
    """Does `bond` whenever it is asked; keeps what else it gets."""

    def __init__(self, bond: Callable[[Any], object] = lambda ctx: ctx.monitor("desk/clerk")) -> None:
        self.bond = bond
        self.got: list[Message] = []
        self.monitors: list[int] = []
        self.on_note: Callable[[Any], Awaitable[None]] | None = None

    def __call__(self) -> Behavior:
        return Scripted(self._handle)

    async def _handle(self, message: Message, ctx: CellContext) -> str:
        if isinstance(message, Echo):
            made = self.bond(ctx)
            self.monitors += [made] if isinstance(made, int) else []
        elif isinstance(message, Note) and self.on_note is not None:
            await self.on_note(ctx)
        else:
            self.got.append(message)
        return ""

    @property
    def shown(self) -> list[str]:
        return [f"{type(message).__name__} {getattr(message, 'monitor', '')}" for message in self.got]


async def watched(world: World, target: Callable[[], Behavior], watcher: Watcher) -> tuple[Node, Node]:
    """A watcher here of `desk/clerk` there; a third process keeps names and says who can be reached."""
    await world.with_guardian()
    here, there = world.node("here"), world.node("there")
    await world.start(there, "desk/clerk", target)
    await world.start(here, "desk/watcher", watcher)
    await here.ref("desk/watcher").ask(Echo())
    await pass_time(0.1)
    return here, there


# ---- monitors ------------------------------------------------------------------------------------


@virtual
async def test_monitors_hear_that_contact_is_lost_and_that_it_is_back_and_stay() -> None:
    world, watcher = World(), Watcher()
    here, there = await watched(world, Scripted, watcher)
    await here.ref("desk/watcher").ask(Echo())
    first, second = watcher.monitors

    world.freeze("there")
    await pass_time(SOON_S)
    assert watcher.got == [
        Unreachable(monitor=first, actor="desk/clerk"),
        Unreachable(monitor=second, actor="desk/clerk"),
    ]
    world.thaw("there")
    await pass_time(1.0)
    assert watcher.got[2:] == [
        Reachable(monitor=first, actor="desk/clerk"),
        Reachable(monitor=second, actor="desk/clerk"),
    ]

    there.cell("desk/clerk").kill("by hand")
    await pass_time(1.0)

    assert watcher.got[4:] == [
        Down(monitor=number, actor="desk/clerk", incarnation=1, reason=Killed(detail="by hand"))
        for number in (first, second)
    ]


@virtual
async def test_the_verdict_of_death_gives_one_down_and_no_word_of_contact_after_it() -> None:
    world, watcher = World(restart_after_s=0.1), Watcher()
    await watched(world, Scripted, watcher)
    (monitor,) = watcher.monitors
    world.freeze("there")
    await pass_time(SOON_S)

    world.kill("there")
    await pass_time(60.0)

    assert watcher.shown == [f"Unreachable {monitor}", f"Down {monitor}"]


@virtual
async def test_nothing_starts_elsewhere_before_the_verdict() -> None:
    world, watcher = World(restart_after_s=0.0), Watcher()
    _, there = await watched(world, Scripted, watcher)

    world.freeze("there")
    await pass_time(3_600.0)

    assert [name for name, node in world.nodes.items() if "desk/clerk" in node.runtime.cells] == ["there"]
    world.kill("there")
    await pass_time(1.0)
    assert [node.host for node in world.living if "desk/clerk" in node.runtime.cells] != []
    assert there.is_dead


@virtual
async def test_a_monitor_made_while_contact_is_lost_is_told_so_at_once() -> None:
    world, watcher = World(), Watcher()
    here, _ = await watched(world, Scripted, watcher)
    world.freeze("there")
    await pass_time(SOON_S)
    watcher.got.clear()

    await here.ref("desk/watcher").ask(Echo())
    assert watcher.shown == [f"Unreachable {watcher.monitors[1]}"]

    world.thaw("there")
    await pass_time(1.0)
    assert watcher.shown[1:] == [f"Reachable {number}" for number in watcher.monitors]


@virtual
async def test_a_monitor_taken_back_brings_no_word_of_contact_not_even_one_that_is_queued() -> None:
    world, watcher = World(), Watcher()
    here, _ = await watched(world, Scripted, watcher)
    (monitor,) = watcher.monitors

    async def lose_and_take_back(ctx: CellContext) -> None:
        await pass_time(SOON_S)
        assert [type(envelope.message) for envelope in here.cell("desk/watcher").mailbox.user] == [Unreachable]
        ctx.demonitor(monitor)

    watcher.on_note = lose_and_take_back
    world.freeze("there")
    await here.ref("desk/watcher").tell(Note())
    await pass_time(SOON_S + 1)
    world.thaw("there")
    await pass_time(5.0)

    assert watcher.got == []


@virtual
async def test_a_pause_that_is_shorter_than_it_takes_to_notice_is_told_to_nobody() -> None:
    world, watcher = World(), Watcher()
    here, _ = await watched(world, Scripted, watcher)

    world.freeze("there")
    asking = asyncio.ensure_future(here.ref("desk/clerk").ask(Echo(text="late")))
    await pass_time(NOTICED_S / 2)
    world.thaw("there")

    assert await asking == "late"
    await pass_time(60.0)
    assert watcher.got == []


@virtual
async def test_who_watches_others_is_told_nothing() -> None:
    world, watcher = World(), Watcher(lambda ctx: ctx.monitor("desk/other"))
    await world.with_guardian()
    here = world.node("here")
    await world.start(world.node("there"), "desk/clerk", Scripted)
    await world.start(world.node("third"), "desk/other", Scripted)
    await world.start(here, "desk/watcher", watcher)
    await here.ref("desk/watcher").ask(Echo())

    world.freeze("there")
    await pass_time(SOON_S)

    assert watcher.got == []


# ---- asks and tells ------------------------------------------------------------------------------


@virtual
async def test_an_ask_in_flight_ends_as_unknown_as_soon_as_the_loss_is_noticed() -> None:
    world = World()
    here, there = await watched(world, lambda: Scripted(for_ever), Watcher())
    asking = asyncio.ensure_future(here.ref("desk/clerk").ask(Hang(), timeout_s=600))
    await pass_time(1.0)
    began_s = asyncio.get_running_loop().time()

    world.freeze("there")

    with pytest.raises(ContactLost) as lost:
        await asking
    assert (lost.value.actor, lost.value.message_type, lost.value.may_have_run) == ("desk/clerk", "Hang", True)
    assert str(lost.value) == (
        "contact with the process of desk/clerk was lost; Hang may have run, or may still run; look whether the work "
        "was done before you send it again, or monitor desk/clerk and wait for Reachable or Down"
    )
    assert asyncio.get_running_loop().time() - began_s < SOON_S
    assert not there.cell("desk/clerk").is_over


@virtual
async def test_the_reply_to_an_ask_that_ended_as_unknown_is_a_late_one() -> None:
    async def slow(message: Message, ctx: CellContext) -> str:
        await pass_time(1.0)
        return "done"

    world = World()
    here, _ = await watched(world, lambda: Scripted(slow), Watcher())
    asking = asyncio.ensure_future(here.ref("desk/clerk").ask(Echo(), timeout_s=600))
    await pass_time(0.5)
    world.freeze("there")
    await asyncio.wait([asking])

    world.thaw("there")
    await pass_time(10.0)

    assert isinstance(asking.exception(), ContactLost)
    assert here.reasons() == {"late_reply": 1}


@virtual
async def test_an_ask_sent_while_contact_is_lost_runs_when_it_is_back_within_its_deadline() -> None:
    world = World()
    here, _ = await watched(world, Scripted, Watcher())
    world.freeze("there")
    await pass_time(SOON_S)
    asking = asyncio.ensure_future(here.ref("desk/clerk").ask(Echo(text="at last")))
    await pass_time(5.0)

    world.thaw("there")

    assert await asking == "at last"


@virtual
async def test_an_ask_sent_while_contact_is_lost_ends_at_its_deadline_as_unknown_and_not_as_late() -> None:
    world = World()
    here, _ = await watched(world, Scripted, Watcher())
    world.freeze("there")
    await pass_time(SOON_S)
    began_s = asyncio.get_running_loop().time()

    with pytest.raises(ContactLost, match="Echo may have run, or may still run"):
        await here.ref("desk/clerk").ask(Echo(), timeout_s=3.0)

    assert asyncio.get_running_loop().time() - began_s == pytest.approx(3.0, abs=0.01)


@virtual
async def test_a_collection_tells_targets_that_are_late_from_those_without_contact() -> None:
    world = World()
    here, _ = await watched(world, Scripted, Watcher())
    await world.start(here, "desk/slow", lambda: Scripted(for_ever))
    await world.start(here, "desk/quick", Scripted)
    world.freeze("there")
    await pass_time(SOON_S)

    pairs = paired(["desk/clerk", "desk/slow", "desk/quick"], Echo())
    outcomes = await ask_all(here.runtime.asking, here.runtime.ref, pairs, 3.0)

    told = [type(each.error) if isinstance(each, NoReply) else each.reply for each in outcomes]
    assert told == [ContactLost, AskTimeout, ""]


@virtual
async def test_an_ask_that_never_left_for_a_process_without_contact_says_so() -> None:
    world = World()
    here, there = await watched(world, Scripted, Watcher())
    await world.start(there, "desk/full", lambda: Scripted(for_ever), mailbox=MailboxSettings(capacity=1))
    for _ in range(2):
        await here.ref("desk/full").tell(Note())
    waiting = asyncio.ensure_future(here.ref("desk/full").tell(Note(), send_timeout_s=60.0))
    await pass_time(0.5)
    world.freeze("there")
    await pass_time(SOON_S)

    with pytest.raises(ContactLost, match="Echo was not sent"):
        await here.ref("desk/full").ask(Echo(), timeout_s=3.0)  # behind the tell that found no room

    waiting.cancel()
    await asyncio.wait([waiting])


@virtual
async def test_asks_of_agents_that_can_be_reached_go_on() -> None:
    world = World()
    here, _ = await watched(world, Scripted, Watcher())

    async def slow(message: Message, ctx: CellContext) -> str:
        await pass_time(20.0)
        return "done"

    await world.start(world.node("third"), "desk/other", lambda: Scripted(slow))
    asking = asyncio.ensure_future(here.ref("desk/other").ask(Echo(), timeout_s=60))
    world.freeze("there")

    assert await asking == "done"


@virtual
async def test_a_tell_that_is_under_way_does_not_wait_for_the_verdict() -> None:
    world = World()
    here, there = await watched(world, Scripted, Watcher())
    world.freeze("there")

    with pytest.raises(ContactLost, match="Note may have run, or may still run"):
        await here.ref("desk/clerk").tell(Note())

    world.thaw("there")
    await pass_time(5.0)
    assert there.runtime.handled == 1
    assert here.reasons() == {}


@virtual
async def test_a_tell_that_did_not_leave_says_so_and_a_lost_one_that_gets_nowhere_is_counted() -> None:
    world = World()
    here, _ = await watched(
        world,
        lambda: Scripted(for_ever),
        Watcher(),
    )
    await world.start(
        world.nodes["there"], "desk/full", lambda: Scripted(for_ever), mailbox=MailboxSettings(capacity=1)
    )
    full = here.ref("desk/full")
    for _ in range(2):
        await full.tell(Note())
    waiting = asyncio.ensure_future(full.tell(Note(), send_timeout_s=SOON_S + 1))
    await pass_time(0.5)
    world.freeze("there")

    with pytest.raises(ContactLost, match="Note was not sent"):
        await waiting
    with pytest.raises(ContactLost, match="Note may have run"):
        await here.ref("desk/clerk").tell(Note())
    world.kill("there")
    await pass_time(5.0)

    assert here.reasons() == {"host_lost": 3}


@virtual
async def test_a_tell_that_is_turned_away_for_want_of_room_after_its_time_waits_for_room_no_longer() -> None:
    world = World()
    here, _ = await watched(world, lambda: Scripted(for_ever), Watcher())
    await world.start(
        world.nodes["there"], "desk/full", lambda: Scripted(for_ever), mailbox=MailboxSettings(capacity=1)
    )
    for _ in range(2):
        await here.ref("desk/full").tell(Note())
    world.freeze("there")
    waiting = asyncio.ensure_future(here.ref("desk/full").tell(Note(), send_timeout_s=1.0))
    await pass_time(1.5)  # it is under way, so it can not be taken back

    world.thaw("there")

    with pytest.raises(MailboxFull):
        await asyncio.wait_for(waiting, 2.0)


# ---- the one that was cut off --------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_after_any_pause_each_side_has_every_message_once_in_order(seed: int) -> None:
    @virtual
    async def play() -> None:
        world = World(seed, FaultPlan(request_lost=0.1, reply_lost=0.1, doubled=0.1, slow=0.02))
        kept: list[int] = []

        async def keep(message: Message, ctx: CellContext) -> None:
            if isinstance(message, Note):
                kept.append(message.n)

        here, _ = await watched(world, lambda: Scripted(keep), Watcher())
        for n in range(300):
            here.ref("desk/clerk").tell_nowait(Note(n=n))
            await pass_time(0.05)
            if n in (50, 150):
                world.freeze("there")
            if n in (60, 250):  # a pause that nobody notices, and a longer one
                world.thaw("there")
        await pass_time(60.0)

        assert kept == list(range(300)), f"seed {seed}"

    play()
