"""Two processes and more, joined by wires that carry real frames (SEMANTICS 3, 4 and 5)."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.address import ActorId, HostId
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.errors import AskFailed, AskTimeout, InvalidMessage, MailboxFull, NotAllowed, Refused
from regrow.runtime.lifecycle import Down, ExitSignal, Killed, NoProc, Shutdown
from regrow.runtime.link import LinkSettings
from regrow.runtime.mailbox import MailboxSettings, Overflow
from regrow.runtime.message import Message, Request
from regrow.runtime.ref import ActorRef
from regrow.runtime.testing import FaultPlan, Probe, pass_time, virtual
from regrow.runtime.verdicts import HostReady
from tests.runtime.scripted import Boom, Echo, Hang, Note, Scripted, for_ever, ignore
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.context import CellContext

LOSSY = FaultPlan(request_lost=0.1, reply_lost=0.1, doubled=0.1, slow=0.02)
"""One of five calls fails; others come twice, or a hundred times as late."""


def scripted(*arguments: Any, **options: Any) -> Callable[[], Behavior]:
    return lambda: Scripted(*arguments, **options)


async def two(
    world: World, target: Callable[[], Behavior] = Scripted, *, mailbox: MailboxSettings | None = None
) -> tuple[Node, Node]:
    """Two processes, and `desk/clerk` in the second."""
    here, there = world.node("here"), world.node("there")
    await world.start(there, "desk/clerk", target, mailbox=mailbox)
    return here, there


class Keeper:
    """Keeps the Notes it gets; answers everything with their number."""

    def __init__(self, kept: list[int], *, takes_s: float = 0.0) -> None:
        self._kept = kept
        self._takes_s = takes_s

    async def __call__(self, message: Message, ctx: CellContext) -> str:
        if self._takes_s:
            await pass_time(self._takes_s)
        if isinstance(message, Note):
            self._kept.append(message.n)
        return str(len(self._kept))


class Mark(enum.Enum):
    HERE = object()


class Marked(Message):
    """Holds what has no form on the wire."""

    mark: Mark


class Where(Request[ActorRef]):
    """Expects a ref to whoever handles it."""


# ---- tell and ask --------------------------------------------------------------------------------


@virtual
async def test_an_ask_crosses_and_its_reply_comes_back() -> None:
    here, _ = await two(World())

    assert await here.ref("desk/clerk").ask(Echo(text="hello")) == "hello"


@virtual
async def test_a_tell_returns_when_the_receivers_process_has_taken_it() -> None:
    world = World()
    here, there = await two(world, scripted(for_ever))
    began_s = asyncio.get_running_loop().time()

    await here.ref("desk/clerk").tell(Note())

    assert there.cell("desk/clerk").in_turn
    assert asyncio.get_running_loop().time() - began_s < 0.1


@virtual
async def test_a_ref_in_a_reply_can_be_used_where_it_arrived() -> None:
    async def handle(message: Message, ctx: CellContext) -> object:
        return ctx.self_ref if isinstance(message, Where) else "from there"

    here, _ = await two(World(), scripted(handle))

    clerk = await here.ref("desk/clerk").ask(Where())

    assert await clerk.ask(Echo()) == "from there"


@virtual
async def test_a_crash_there_reaches_the_asker_here_as_it_would_in_one_process() -> None:
    async def crash(message: Message, ctx: CellContext) -> str:
        raise Boom("no such page")

    here, _ = await two(World(), scripted(crash))

    with pytest.raises(AskFailed) as failure:
        await here.ref("desk/clerk").ask(Echo())

    error = failure.value
    assert (error.actor, error.type_name, error.message) == ("desk/clerk", "Boom", "no such page")
    assert "in crash" in error.traceback
    assert str(error).startswith("desk/clerk#1 died handling Echo (Boom: no such page at test_peers.py:")


@virtual
async def test_a_refusal_there_keeps_its_class_here() -> None:
    async def refuse(message: Message, ctx: CellContext) -> str:
        raise NotAllowed("not today")

    here, there = await two(World(), scripted(refuse))

    with pytest.raises(NotAllowed, match="not today"):
        await here.ref("desk/clerk").ask(Echo())
    assert there.cell("desk/clerk").incarnation == 1


@virtual
async def test_an_ask_of_nobody_fails_without_waiting_for_its_deadline() -> None:
    here, _ = await two(World())
    began_s = asyncio.get_running_loop().time()

    with pytest.raises(AskFailed) as failure:
        await here.ref("desk/nobody").ask(Echo())

    assert failure.value.reason == NoProc()
    assert asyncio.get_running_loop().time() - began_s < 0.1


@virtual
async def test_a_deadline_crosses_and_the_late_reply_is_a_dead_letter_where_it_was_asked() -> None:
    left: list[float | None] = []

    async def slow(message: Message, ctx: CellContext) -> str:
        left.append(ctx.deadline)
        await pass_time(3.0)
        return ""

    here, _ = await two(World(), scripted(slow))

    with pytest.raises(AskTimeout, match="desk/clerk did not answer Echo within 2 s"):
        await here.ref("desk/clerk").ask(Echo(), timeout_s=2.0)
    await pass_time(5.0)

    assert left == [pytest.approx(2.0, abs=0.02)]
    assert here.reasons() == {"late_reply": 1}


class SoldOut(Refused):
    """A refusal of a user that says more than its text."""

    def __init__(self, item: str, *, again_in_days: int) -> None:
        super().__init__(f"no more {item}")
        self.item = item
        self.again_in_days = again_in_days


@virtual
async def test_a_refusal_has_its_class_and_attributes_wherever_it_was_raised() -> None:
    async def refuse(message: Message, ctx: CellContext) -> str:
        raise SoldOut("pears", again_in_days=3)

    here, there = await two(World(), scripted(refuse))

    for node in (here, there):
        with pytest.raises(SoldOut, match="no more pears") as refusal:
            await node.ref("desk/clerk").ask(Echo())
        assert (refusal.value.item, refusal.value.again_in_days) == ("pears", 3)


@virtual
async def test_an_ask_circle_over_two_processes_is_found() -> None:
    caught: list[str] = []

    async def back(message: Message, ctx: CellContext) -> str:
        try:
            return await ctx.ask("desk/front", Echo())
        except Exception as error:  # any: the test says which
            caught.append(f"{type(error).__name__}: {error}")
            return "found"

    async def front(message: Message, ctx: CellContext) -> str:
        return await ctx.ask("desk/clerk", Echo())

    world = World()
    here, _ = await two(world, scripted(back))
    await world.start(here, "desk/front", scripted(front))

    assert await here.ref("desk/front").ask(Echo()) == "found"
    assert caught[0].startswith("AskCycle: desk/front → desk/clerk → desk/front: desk/front already waits")


@virtual
async def test_a_ref_of_an_earlier_life_fails_at_once_across_processes() -> None:
    world = World()
    here, there = await two(world)
    there.cell("desk/clerk").kill()
    await world.start(there, "desk/clerk", scripted())

    with pytest.raises(AskFailed) as failure:
        await here.ref("desk/clerk", life=1).ask(Echo())

    assert failure.value.reason == NoProc()
    assert await here.ref("desk/clerk", life=2).ask(Echo(text="here")) == "here"


@virtual
async def test_a_value_that_can_not_travel_is_an_error_to_its_sender_at_once() -> None:
    here, there = await two(World())

    with pytest.raises(InvalidMessage, match=r"Marked\.mark\.value is a object, which has no form on the wire"):
        here.ref("desk/clerk").tell_nowait(Marked(mark=Mark.HERE))
    await pass_time(1.0)

    assert there.runtime.handled == 0


@virtual
async def test_what_its_sender_should_not_have_sent_is_refused_where_it_arrives() -> None:
    world, kept = World(), list[int]()
    here, there = await two(world, scripted(Keeper(kept)))
    origin = Origin(principal="eve", capability=("other",))

    here.peers.send(there.host, Envelope(Kind.TELL, there.cell("desk/clerk").actor, Note(), origin))
    await pass_time(1.0)

    assert (kept, there.reasons()) == ([], {"NotAllowed": 1})


@virtual
async def test_a_process_can_be_told_to_stop_an_actor_of_another() -> None:
    world = World()
    here, _ = await two(world)

    await here.ref("desk/clerk").stop(Shutdown(detail="from afar"))
    await pass_time(1.0)

    assert world.ends == [("desk/clerk", Shutdown(detail="from afar"))]


# ---- order and room ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_doubled_or_overtaken_while_one_call_in_five_fails(seed: int) -> None:
    @virtual
    async def run() -> None:
        world, kept = World(seed, LOSSY), list[int]()
        here, _ = await two(world, scripted(Keeper(kept)))
        clerk = here.ref("desk/clerk")
        for n in range(200):
            clerk.tell_nowait(Note(n=n))
            await pass_time(0.001)
        answers = await asyncio.gather(*(clerk.ask(Echo()) for _ in range(5)))

        assert kept == list(range(200)), f"seed {seed}"
        assert answers == ["200"] * 5, f"seed {seed}"

    run()


@virtual
async def test_a_receiver_that_never_reads_holds_up_nobody_else() -> None:
    world, kept = World(), list[int]()
    here, there = await two(world, scripted(Keeper(kept)))
    await world.start(there, "desk/stuck", scripted(for_ever), mailbox=MailboxSettings(capacity=3))
    stuck = [asyncio.ensure_future(here.ref("desk/stuck").tell(Note(), send_timeout_s=2.0)) for _ in range(20)]

    for n in range(50):
        await here.ref("desk/clerk").tell(Note(n=n), send_timeout_s=0.05)
    await asyncio.wait(stuck)

    assert kept == list(range(50))
    # One is being handled; a peer is not called for the one place that it left, only for a half of all.
    assert len(there.cell("desk/stuck").mailbox) == 2
    taken = [tell for tell in stuck if tell.exception() is None]
    assert len(taken) == 3
    assert {type(tell.exception()) for tell in stuck if tell not in taken} == {MailboxFull}
    assert here.reasons() == there.reasons() == {}


@virtual
async def test_what_a_link_can_not_even_keep_for_one_receiver_holds_up_nobody_else() -> None:
    kept = list[int]()
    world = World(settings=LinkSettings(max_waiting_rows=3, max_unsettled_rows=4))
    here, there = await two(world, scripted(Keeper(kept)))
    await world.start(there, "desk/stuck", scripted(for_ever), mailbox=MailboxSettings(capacity=1))
    stuck = [asyncio.ensure_future(here.ref("desk/stuck").tell(Note(), send_timeout_s=60)) for _ in range(20)]
    await pass_time(1.0)  # one is handled, one is in the mailbox, three are in the link's line, the rest are outside

    burst = [asyncio.ensure_future(here.ref("desk/clerk").tell(Note(n=n), send_timeout_s=1.0)) for n in range(50)]
    await asyncio.gather(*burst)

    assert kept == list(range(50))
    for tell in stuck:
        tell.cancel()


@virtual
async def test_a_full_mailbox_elsewhere_is_filled_in_order_as_it_is_read() -> None:
    world, kept = World(), list[int]()
    here, _ = await two(world, scripted(Keeper(kept, takes_s=0.01)), mailbox=MailboxSettings(capacity=4))
    clerk = here.ref("desk/clerk")

    await asyncio.gather(*(clerk.tell(Note(n=n), send_timeout_s=60.0) for n in range(60)))
    answer = await clerk.ask(Echo())

    assert kept == list(range(60))
    assert answer == "60"


@virtual
async def test_senders_of_two_processes_share_a_full_mailbox_and_both_get_through() -> None:
    world, kept = World(), list[int]()
    here, _ = await two(world, scripted(Keeper(kept, takes_s=0.01)), mailbox=MailboxSettings(capacity=4))
    third = world.node("third")

    tells = [
        node.ref("desk/clerk").tell(Note(n=base + n), send_timeout_s=60.0)
        for n in range(30)
        for node, base in ((here, 0), (third, 1000))
    ]
    await asyncio.gather(*tells)
    await here.ref("desk/clerk").ask(Echo())

    assert [n for n in kept if n < 1000] == list(range(30))
    assert [n - 1000 for n in kept if n >= 1000] == list(range(30))


@virtual
async def test_a_mailbox_elsewhere_that_rejects_says_so_to_its_sender() -> None:
    here, _ = await two(World(), scripted(for_ever), mailbox=MailboxSettings(1, Overflow.REJECT))
    clerk = here.ref("desk/clerk")
    for _ in range(2):
        await clerk.tell(Note())

    with pytest.raises(MailboxFull, match=r"the mailbox of desk/clerk is full \(waited 0 s\)"):
        await clerk.tell(Note())
    with pytest.raises(MailboxFull):
        await clerk.ask(Echo())
    clerk.tell_nowait(Note())
    await pass_time(1.0)

    assert here.reasons() == {"mailbox_full": 1}


@virtual
async def test_tell_nowait_to_a_full_mailbox_elsewhere_sends_until_as_much_waits_here_as_may() -> None:
    world = World(settings=LinkSettings(max_waiting_rows=3))
    here, _ = await two(world, scripted(for_ever), mailbox=MailboxSettings(capacity=1))
    clerk = here.ref("desk/clerk")
    for _ in range(2):
        await clerk.tell(Note())
    clerk.tell_nowait(Note())
    await pass_time(1.0)  # it has come back refused

    for _ in range(2):
        clerk.tell_nowait(Note())
    with pytest.raises(MailboxFull, match=r"the mailbox of desk/clerk is full \(waited 0 s\)"):
        clerk.tell_nowait(Note())

    assert here.reasons() == {}


@virtual
async def test_what_waits_elsewhere_for_room_is_turned_away_when_the_receiver_ends_for_good() -> None:
    world = World()
    here, there = await two(world, scripted(for_ever), mailbox=MailboxSettings(capacity=1))
    clerk = here.ref("desk/clerk")
    for _ in range(5):
        clerk.tell_nowait(Note())
    asking = asyncio.ensure_future(clerk.ask(Echo()))
    await pass_time(1.0)

    world.truth.remove(there.cell("desk/clerk").actor)
    there.cell("desk/clerk").kill()
    there.runtime.forget(there.cell("desk/clerk").actor)
    await asyncio.wait([asking], timeout=1.0)

    assert isinstance(asking.exception(), AskFailed)
    await pass_time(1.0)
    assert there.reasons() == {"crashed": 1, "no_such_agent": 1}
    assert here.reasons() == {"no_such_agent": 3}


@virtual
async def test_messages_wait_while_their_receiver_restarts_in_a_living_process() -> None:
    world, kept = World(restart_after_s=0.5), list[int]()
    here, there = await two(world, scripted(Keeper(kept)))
    clerk = here.ref("desk/clerk")
    await clerk.tell(Note(n=1))
    there.cell("desk/clerk").kill()

    await clerk.tell(Note(n=2))
    answer = await clerk.ask(Echo())

    assert (kept, answer) == ([1, 2], "2")


# ---- monitors and links --------------------------------------------------------------------------


class Watcher:
    """Monitors or links with `desk/clerk` when it is told to, and keeps what it hears."""

    def __init__(self, bond: Callable[[Any], object]) -> None:
        self._bond = bond
        self.got: list[Message] = []

    async def __call__(self, message: Message, ctx: CellContext) -> str:
        if isinstance(message, Echo):
            self._bond(ctx)
        else:
            self.got.append(message)
        return ""


@virtual
async def test_a_monitor_reaches_across_processes() -> None:
    world, watcher = World(), Watcher(lambda ctx: ctx.monitor("desk/clerk"))
    here, there = await two(world)
    await world.start(here, "desk/watcher", scripted(watcher))
    for _ in range(2):
        await here.ref("desk/watcher").ask(Echo())
    await pass_time(1.0)

    there.cell("desk/clerk").kill("by hand")
    await pass_time(1.0)

    assert [(down.incarnation, down.reason) for down in watcher.got if isinstance(down, Down)] == [
        (1, Killed(detail="by hand"))
    ] * 2


@virtual
async def test_a_link_across_processes_takes_the_other_along_or_tells_it() -> None:
    world = World()
    trapping = Watcher(lambda ctx: (ctx.trap_exits(), ctx.link("desk/clerk")))
    here, there = await two(world)
    await world.start(here, "desk/watcher", scripted(trapping))
    await world.start(here, "desk/friend", scripted(Watcher(lambda ctx: ctx.link("desk/clerk"))))
    for name in ("desk/watcher", "desk/friend"):
        await here.ref(name).ask(Echo())
    await pass_time(1.0)

    there.cell("desk/clerk").kill("by hand")
    await pass_time(1.0)

    assert trapping.got == [ExitSignal(actor="desk/clerk", incarnation=1, reason=Killed(detail="by hand"))]
    assert ("desk/friend", Killed(detail="by hand")) in world.ends


@virtual
async def test_a_down_does_not_overtake_messages_that_wait_for_room_across_processes() -> None:
    got: list[Message] = []

    async def slow(message: Message, ctx: CellContext) -> str:
        got.append(message)
        if isinstance(message, Echo):
            ctx.monitor("desk/clerk")
        await pass_time(0.1)
        return ""

    async def chatty(message: Note, ctx: CellContext) -> None:
        for n in range(message.n):
            ctx.tell_nowait("desk/watcher", Note(n=n))
        raise Boom

    world = World()
    here, _ = await two(world, scripted(chatty))
    await world.start(here, "desk/watcher", scripted(slow), mailbox=MailboxSettings(capacity=1))
    await here.ref("desk/watcher").ask(Echo())
    await here.ref("desk/clerk").tell(Note(n=6))
    await pass_time(5.0)

    assert [message.n for message in got if isinstance(message, Note)] == [0, 1, 2, 3, 4, 5]
    assert isinstance(got[-1], Down)


@virtual
async def test_a_monitor_of_nobody_gives_noproc_across_processes() -> None:
    world, watcher = World(), Watcher(lambda ctx: ctx.monitor("desk/nobody"))
    here, _ = await two(world)
    await world.start(here, "desk/watcher", scripted(watcher))

    await here.ref("desk/watcher").ask(Echo())
    await pass_time(1.0)

    assert [message.reason for message in watcher.got if isinstance(message, Down)] == [NoProc()]


@virtual
async def test_what_no_line_has_room_for_does_not_hold_up_messages_to_others() -> None:
    world = World(settings=LinkSettings(max_waiting_rows=2))
    here, there = await two(world, scripted(for_ever), mailbox=MailboxSettings(capacity=1))
    await world.start(there, "desk/other", Scripted)
    stuck = []
    for n in range(9):
        stuck.append(asyncio.ensure_future(here.ref("desk/clerk").tell(Note(n=n), send_timeout_s=60.0)))
        await pass_time(0.1)
    began_s = asyncio.get_running_loop().time()

    await here.ref("desk/other").tell(Note(), send_timeout_s=60.0)
    here.ref("desk/other").tell_nowait(Note())

    assert asyncio.get_running_loop().time() - began_s < 0.1
    assert sum(one.done() for one in stuck) == 2  # in its turn, and in its mailbox


@virtual
async def test_messages_that_no_line_has_room_for_keep_their_order() -> None:
    world, kept = World(settings=LinkSettings(max_waiting_rows=2)), list[int]()
    here, _ = await two(world, scripted(Keeper(kept, takes_s=0.01)), mailbox=MailboxSettings(capacity=1))

    async with asyncio.TaskGroup() as group:
        for n in range(40):
            group.create_task(here.ref("desk/clerk").tell(Note(n=n), send_timeout_s=60.0))
            await pass_time(0.002)
    await pass_time(1.0)

    assert kept == list(range(40))


# ---- processes that can only listen --------------------------------------------------------------


@virtual
async def test_a_process_that_can_not_be_called_asks_and_is_answered() -> None:
    async def slow(message: Echo, ctx: CellContext) -> str:
        await pass_time(1.0)
        return message.text

    world = World()
    driver = world.node("driver", listens=True)
    await two(world, scripted(slow))

    answers = await asyncio.gather(*(driver.ref("desk/clerk").ask(Echo(text=str(n))) for n in range(5)))

    assert answers == ["0", "1", "2", "3", "4"]


@virtual
async def test_a_process_that_can_not_be_called_is_sent_messages_all_the_same() -> None:
    world, probe = World(), Probe()
    driver = world.node("driver", listens=True)

    async def speak(message: Echo, ctx: CellContext) -> str:
        for n in range(20):
            await ctx.tell("desk/probe", Note(n=n))
        return ""

    await two(world, scripted(speak))
    await world.start(driver, "desk/probe", lambda: probe)

    await driver.ref("desk/clerk").ask(Echo())

    assert [(await probe.expect(Note)).n for _ in range(20)] == list(range(20))


@pytest.mark.parametrize("seed", range(4))
def test_a_listening_process_loses_nothing_when_its_listen_calls_are_lost(seed: int) -> None:
    @virtual
    async def run() -> None:
        world, kept = World(seed, LOSSY), list[int]()
        driver = world.node("driver", listens=True)

        async def speak(message: Echo, ctx: CellContext) -> str:
            for n in range(100):
                ctx.tell_nowait("desk/keeper", Note(n=n))
                await pass_time(0.005)
            return ""

        await two(world, scripted(speak))
        await world.start(driver, "desk/keeper", scripted(Keeper(kept)))
        await driver.ref("desk/clerk").ask(Echo())
        await pass_time(10.0)

        assert kept == list(range(100)), f"seed {seed}"

    run()


@virtual
async def test_a_lost_listen_call_leaves_nothing_pending_at_the_peer() -> None:
    world = World(1, FaultPlan(reply_lost=0.5))
    driver = world.node("driver", listens=True)
    _, _ = await two(world)
    for _ in range(20):
        await driver.ref("desk/clerk").ask(Echo())
    await pass_time(10.0)

    listening = [task for task in asyncio.all_tasks() if "listened" in repr(task.get_coro())]

    assert len(listening) == 1


# ---- the end of a process ------------------------------------------------------------------------


@virtual
async def test_a_silent_pair_of_processes_makes_no_calls() -> None:
    world = World()
    here, _ = await two(world)
    await here.ref("desk/clerk").ask(Echo())
    await pass_time(5.0)
    calls = world.wires.calls

    await pass_time(600.0)

    assert world.wires.calls == calls


@virtual
async def test_a_process_that_stops_ends_what_waits_and_leaves_no_task() -> None:
    world = World()
    here, _ = await two(world, scripted(for_ever), mailbox=MailboxSettings(capacity=1))
    clerk = here.ref("desk/clerk")
    waiting = [asyncio.ensure_future(clerk.tell(Note(), send_timeout_s=60.0)) for _ in range(5)]
    asking = asyncio.ensure_future(clerk.ask(Hang()))
    await pass_time(1.0)

    await world.close()
    await asyncio.wait([*waiting, asking], timeout=1.0)
    await pass_time(5.0)

    assert all(task.done() for task in (*waiting, asking))
    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual
async def test_ignoring_is_what_actors_of_these_tests_do_by_default() -> None:
    here, _ = await two(World(), scripted(ignore))

    await here.ref("desk/clerk").tell(Note())

    with pytest.raises(AskFailed, match="the reply to Hang must be str, not NoneType"):
        await here.ref("desk/clerk").ask(Hang())
    assert issubclass(NotAllowed, Refused)


@virtual
async def test_a_process_that_is_to_end_can_wait_until_its_last_words_have_arrived() -> None:
    world = World(3, LOSSY)
    here, there = await two(world, scripted(for_ever))
    asking = asyncio.create_task(here.ref("desk/clerk").ask(Hang(), timeout_s=300))
    await pass_time(60.0)

    there.runtime.cells[ActorId("desk/clerk")].kill("enough")
    there.runtime.forget(ActorId("desk/clerk"))
    await there.peers.wait_delivered(30.0)
    there.peers.close()

    with pytest.raises(AskFailed) as failed:
        await asking
    assert failed.value.reason == Killed(detail="enough")


@virtual
async def test_the_wait_for_the_arrival_of_last_words_has_an_end() -> None:
    world = World(plan=FaultPlan(request_lost=1.0))
    loop = asyncio.get_running_loop()
    here = world.node("here")
    there = world.node("there")
    here.peers.meet(there.runtime.host)
    here.peers.tell_all(Note())
    began_s = loop.time()

    await here.peers.wait_delivered(1.0)

    assert loop.time() - began_s == pytest.approx(1.0, abs=0.01)


@virtual
async def test_watchers_on_a_host_that_died_are_not_kept_by_those_they_watched() -> None:
    world, watcher = World(), Watcher(lambda ctx: ctx.monitor("desk/clerk"))
    here, there = await two(world)
    await world.start(here, "desk/watcher", scripted(watcher))
    await here.ref("desk/watcher").ask(Echo())
    await pass_time(1.0)
    watched = there.cell("desk/clerk").bonds
    assert len(watched.watchers) == 1

    world.kill("here")
    await pass_time(1.0)

    assert not watched.watchers and not watched.watchers_at


@virtual
async def test_a_host_that_is_said_to_be_ready_is_greeted_if_the_guardian_says_so() -> None:
    world = World()
    guardian = await world.with_guardian()
    here, there, third = world.node("here"), world.node("there"), world.node("third")

    for teller, told_of in ((there, third), (guardian, there)):
        teller.peers.meet(here.host)
        teller.peers.tell(here.host, HostReady(host=told_of.host))
    await pass_time(1.0)

    assert there.host in here.transport.met
    assert third.host not in here.transport.met


@virtual
async def test_the_way_to_a_dead_peer_is_not_kept() -> None:
    world = World()
    here, _ = await two(world)
    await here.ref("desk/clerk").ask(Echo())
    met = here.transport.met

    world.kill("there")
    await pass_time(1.0)

    assert len(met) == 1
    assert here.transport.met == frozenset()


@virtual
async def test_of_many_dead_hosts_only_the_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regrow.runtime.peers.MAX_DEAD_HOSTS", 3)
    here = World().node("here")

    for number in range(5):
        here.peers.died(HostId(f"h{number}"), Killed())

    assert [here.peers.is_dead(HostId(f"h{number}")) for number in range(5)] == [False, False, True, True, True]
    assert await here.peers.listened(HostId("h4")) == b""
    assert here.peers.known() == []
