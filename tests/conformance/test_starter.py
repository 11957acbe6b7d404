"""What every Starter keeps, in its own process and over wires to another: lives that begin, end and are told of once.

Not over Ray: its starter needs a guardian and hosts, and is proved with them in tests/integration.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.address import ActorId, HostId, Incarnation
from regrow.runtime.errors import AskFailed
from regrow.runtime.lifecycle import Crashed, Exited, ExitReason, Killed, NoProc, Normal, Shutdown
from regrow.runtime.local_starter import LocalStarter
from regrow.runtime.starter import KillOutcome, Started, Starter, StartFailed, StartRequest
from regrow.runtime.testing import FaultPlan, pass_time, run_virtual
from tests.runtime.scripted import Boom, Echo, Note, Scripted, for_ever, ignore
from tests.simulation.wires import AwayStarter, World

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext
    from regrow.runtime.message import Message
    from regrow.runtime.ref import ActorRef

PARENT, CHILD = ActorId("desk"), ActorId("desk/clerk")
LOSSY = FaultPlan(request_lost=0.1, reply_lost=0.1, doubled=0.1, slow=0.02)


class Parent(Scripted):
    """Hears of the ends of its children."""

    def __init__(self, exits: list[Exited]) -> None:
        super().__init__()
        self._exits = exits

    def on_exit_of_child(self, exited: object) -> bool:
        assert isinstance(exited, Exited)
        self._exits.append(exited)
        return True


class Stand:
    """A parent with a starter for its children, who are in this process or in another."""

    def __init__(self, world: World, *, away: bool) -> None:
        self._world = world
        self._home = world.node("home")
        self._there = world.node("away") if away else self._home
        self.exits: list[Exited] = []
        self.starter: Starter = (
            AwayStarter(world, self._home, self._there) if away else LocalStarter(self._home.runtime)
        )
        self._lives = itertools.count(1)

    async def open(self) -> None:
        """Starts the parent."""
        await self._world.start(self._home, PARENT, lambda: Parent(self.exits))

    @property
    def host(self) -> HostId:
        """Where children run."""
        return self._there.host

    @property
    def child(self) -> ActorRef:
        """Reaches the child from outside."""
        return self._home.ref(CHILD)

    @property
    def ends(self) -> list[tuple[int, ExitReason]]:
        """Which lives have ended, and why, as the parent was told."""
        return [(exited.incarnation, exited.reason) for exited in self.exits]

    @property
    def dead(self) -> int:
        """How many dead letters there are."""
        return sum(node.runtime.dead_letters.total for node in {self._home, self._there})

    def request(self, behavior: Callable[[], Scripted] = Scripted, *, survives_exit: bool = True) -> StartRequest:
        """Asks for the next life of the child."""
        return StartRequest(CHILD, Incarnation(next(self._lives)), behavior, parent=PARENT, survives_exit=survives_exit)

    async def start(self, behavior: Callable[[], Scripted] = Scripted) -> Incarnation:
        """Starts the next life of the child."""
        request = self.request(behavior)
        outcome = await self.starter.start(request)
        assert isinstance(outcome, Started)
        return request.incarnation


Scenario = Callable[[Stand], Coroutine[Any, Any, None]]


def conforms(test: Scenario) -> Callable[[str], None]:
    """Runs a test over every starter, on virtual time."""

    @pytest.mark.parametrize("implementation", ["local", "away", "away, lossy"])
    @functools.wraps(test)
    def run(implementation: str) -> None:
        async def play() -> None:
            world = World(7, LOSSY if "lossy" in implementation else FaultPlan())
            stand = Stand(world, away="away" in implementation)
            await stand.open()
            await test(stand)
            await world.close()

        run_virtual(play())

    del run.__wrapped__  # pytest would take its parameters for fixtures
    return run


def failing() -> Scripted:
    async def started(ctx: CellContext) -> None:
        raise Boom("no licence")

    return Scripted(started=started)


def crashing() -> Scripted:
    async def handle(message: Message, ctx: CellContext) -> object:
        if isinstance(message, Note):
            raise Boom("no such page")
        return await ignore(message, ctx)

    return Scripted(handle)


# ---- start ---------------------------------------------------------------------------------------


@conforms
async def test_a_start_returns_when_the_child_has_initialised_and_says_where(stand: Stand) -> None:
    async def started(ctx: CellContext) -> None:
        await pass_time(2.0)
        ready.append(True)

    ready: list[bool] = []

    outcome = await stand.starter.start(stand.request(lambda: Scripted(started=started)))

    assert isinstance(outcome, Started)
    assert (outcome.host, outcome.pid > 0, ready) == (stand.host, True, [True])
    assert await stand.child.ask(Echo(text="hello")) == "hello"
    assert stand.exits == []


@conforms
async def test_a_start_that_fails_says_why_leaves_nothing_and_is_no_exit(stand: Stand) -> None:
    for _ in range(5):
        outcome = await stand.starter.start(stand.request(failing))

        assert isinstance(outcome, StartFailed)
        assert (outcome.cause.type_name, outcome.cause.message) == ("Boom", "no licence")
        assert "in started" in outcome.cause.traceback
    await stand.start()
    await pass_time(1.0)

    assert await stand.child.ask(Echo(text="at last")) == "at last"
    assert stand.exits == []


@conforms
async def test_a_child_that_runs_is_not_started_a_second_time(stand: Stand) -> None:
    await stand.start()

    outcome = await stand.starter.start(stand.request())

    assert isinstance(outcome, StartFailed)
    assert outcome.cause.type_name == "AlreadyStarted"
    assert await stand.child.ask(Echo(text="still here")) == "still here"


@conforms
async def test_cancelling_a_start_ends_what_had_begun(stand: Stand) -> None:
    log: list[str] = []

    async def started(ctx: CellContext) -> None:
        try:
            await for_ever()
        finally:
            log.append("tidied up")

    starting = asyncio.ensure_future(stand.starter.start(stand.request(lambda: Scripted(started=started))))
    await pass_time(1.0)
    starting.cancel()
    await asyncio.wait([starting])

    assert starting.cancelled()
    assert log == ["tidied up"]
    await stand.start()


@conforms
async def test_the_next_life_gets_what_was_sent_between_the_two(stand: Stand) -> None:
    got: list[int] = []

    async def keep(message: Message, ctx: CellContext) -> object:
        if isinstance(message, Note):
            got.append(message.n)
        return await ignore(message, ctx)

    first = await stand.start()
    await stand.child.ask(Echo())
    await stand.starter.kill(CHILD, first)
    for n in range(3):
        await stand.child.tell(Note(n=n))

    await stand.start(lambda: Scripted(keep))
    await stand.child.ask(Echo())

    assert got == [0, 1, 2]


# ---- stop and kill -------------------------------------------------------------------------------


@conforms
async def test_a_stop_ends_the_child_in_order_and_its_parent_is_told_once(stand: Stand) -> None:
    child = Scripted()
    life = await stand.start(lambda: child)

    await stand.starter.stop(CHILD, life, Shutdown(detail="drained"), 10.0)
    await stand.starter.stop(CHILD, life, Shutdown(detail="again"), 10.0)
    await pass_time(5.0)

    assert child.stopped == [Shutdown(detail="drained")]
    assert stand.ends == [(life, Shutdown(detail="drained"))]


@conforms
async def test_a_stop_does_not_wait_for_the_end_and_the_limit_holds(stand: Stand) -> None:
    life = await stand.start(lambda: Scripted(stopping=for_ever))

    await stand.starter.stop(CHILD, life, Shutdown(), 3.0)
    ends_at_once = list(stand.ends)
    await pass_time(5.0)

    assert (ends_at_once, stand.ends) == ([], [(life, Killed(detail="did not stop within 3 s"))])


@conforms
async def test_a_kill_is_certain_and_is_told_to_the_parent(stand: Stand) -> None:
    child = Scripted(for_ever)
    life = await stand.start(lambda: child)
    await stand.child.tell(Note())

    outcome = await stand.starter.kill(CHILD, life)
    await pass_time(1.0)

    assert outcome is KillOutcome.DEAD
    assert stand.ends == [(life, Killed(detail="killed by its supervisor"))]
    assert child.stopped == []


@conforms
async def test_a_stop_or_kill_of_an_earlier_life_leaves_the_next_one_alone(stand: Stand) -> None:
    first = await stand.start()
    await stand.starter.kill(CHILD, first)
    await stand.start()

    await stand.starter.stop(CHILD, first, Shutdown(), 1.0)
    outcome = await stand.starter.kill(CHILD, first)
    await pass_time(5.0)

    assert outcome is KillOutcome.DEAD
    assert await stand.child.ask(Echo(text="still here")) == "still here"
    assert [life for life, _ in stand.ends] == [first]


@conforms
async def test_a_start_that_its_own_kill_has_overtaken_begins_nothing(stand: Stand) -> None:
    began: list[Incarnation] = []

    async def started(ctx: CellContext) -> None:
        began.append(ctx.incarnation)

    late = stand.request(lambda: Scripted(started=started))

    outcome = await stand.starter.kill(CHILD, late.incarnation)
    failed = await stand.starter.start(late)

    assert outcome is KillOutcome.DEAD
    assert isinstance(failed, StartFailed)
    assert failed.cause.type_name == "StoppedWhileStarting"
    assert began == []
    await stand.start()
    assert await stand.child.ask(Echo(text="the next one")) == "the next one"
    assert stand.exits == []


@conforms
async def test_who_never_was_is_dead(stand: Stand) -> None:
    assert await stand.starter.kill(CHILD, Incarnation(1)) is KillOutcome.DEAD
    await stand.starter.stop(CHILD, Incarnation(1), Shutdown(), 1.0)

    assert stand.exits == []


# ---- ends that nobody ordered --------------------------------------------------------------------


@conforms
async def test_a_crash_is_told_to_the_parent_with_what_a_person_needs(stand: Stand) -> None:
    life = await stand.start(crashing)

    await stand.child.tell(Note())
    await pass_time(5.0)

    [exited] = stand.exits
    assert (exited.actor, exited.incarnation) == (CHILD, life)
    assert isinstance(exited.reason, Crashed)
    assert (exited.reason.type_name, exited.reason.message, exited.reason.on_message) == (
        "Boom",
        "no such page",
        "Note",
    )


@conforms
async def test_a_child_that_finishes_by_itself_is_told_as_normal(stand: Stand) -> None:
    async def finish(message: Message, ctx: CellContext) -> None:
        ctx.stop()

    life = await stand.start(lambda: Scripted(finish))

    await stand.child.tell(Note())
    await pass_time(5.0)

    assert stand.ends == [(life, Normal())]


@conforms
async def test_many_lives_are_told_in_their_order_and_once_each(stand: Stand) -> None:
    lives = []
    for _ in range(10):
        lives.append(await stand.start(crashing))
        await stand.child.tell(Note())
        while len(stand.exits) < len(lives):
            await pass_time(0.1)

    assert [life for life, _ in stand.ends] == lives


# ---- no further life -----------------------------------------------------------------------------


@conforms
async def test_forgetting_answers_for_what_still_waits(stand: Stand) -> None:
    life = await stand.start()
    await stand.child.ask(Echo())
    await stand.starter.kill(CHILD, life)
    await stand.child.tell(Note())
    asking = asyncio.ensure_future(stand.child.ask(Echo()))
    await pass_time(1.0)

    stand.starter.forget(CHILD)

    with pytest.raises(AskFailed) as failure:
        await asking
    assert failure.value.reason == NoProc()
    assert stand.dead == 1
    with pytest.raises(AskFailed, match="does not exist or has ended for good"):
        await stand.child.ask(Echo())


@conforms
async def test_a_forgotten_child_can_be_started_anew(stand: Stand) -> None:
    life = await stand.start()
    await stand.starter.kill(CHILD, life)
    stand.starter.forget(CHILD)

    await stand.start()

    assert await stand.child.ask(Echo(text="anew")) == "anew"
