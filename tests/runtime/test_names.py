"""Names and groups over several processes: the registry is in one of them, and all reach it alike (SEMANTICS 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.errors import AskFailed, InvalidMessage, NameTaken, NotAllowed, Refused
from regrow.runtime.lifecycle import Down, ExitReason, Killed, NoProc
from regrow.runtime.message import Message, Request
from regrow.runtime.names import MAX_NAME_CHARS
from regrow.runtime.registry import REGISTRY
from regrow.runtime.starter import StartRequest
from regrow.runtime.testing import FaultPlan, pass_time, virtual
from tests.runtime.scripted import Boom, Echo, Note, Scripted
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.context import CellContext

UNEVEN = FaultPlan(latency_s=(0.0002, 0.05), request_lost=0.1, reply_lost=0.1, doubled=0.1, verdict_s=(0.005, 0.2))
"""Some links are much slower than others and lose calls, so that whatever only happens to come first does not."""


class Run(Request[str]):
    """Run this step of the test inside the actor."""

    step: int


class Stepper:
    """An actor that runs steps of the test in its turns, and keeps what else it gets."""

    def __init__(self, on_down: Callable[[Any], Any] | None = None) -> None:
        self.steps: list[Any] = []
        self.got: list[Message] = []
        self.on_down_said: list[object] = []
        self._on_down = on_down

    def __call__(self) -> Behavior:
        return Scripted(self._handle)

    async def _handle(self, message: Message, ctx: CellContext) -> object:
        if isinstance(message, Run):
            result = self.steps[message.step](ctx)
            return str(await result if asyncio.iscoroutine(result) else result)
        self.got.append(message)
        if isinstance(message, Down) and self._on_down is not None:
            self.on_down_said.append(await self._on_down(ctx))
        return message.text if isinstance(message, Echo) else None


async def run(node: Node, actor: str, stepper: Stepper, step: Callable[[Any], Any]) -> str:
    """What the step gives, run inside the actor."""
    stepper.steps.append(step)
    return await node.ref(actor).ask(Run(step=len(stepper.steps) - 1))


async def joins(group: str, ctx: CellContext) -> None:
    await ctx.join(group)


async def registers(name: str, ctx: CellContext) -> None:
    await ctx.register(name)


async def three(world: World) -> tuple[Node, Stepper, Node, Stepper]:
    """A process with `desk/a`, another with `desk/b`, and a third that keeps the names."""
    await world.with_guardian()
    here, there = world.node("here"), world.node("there")
    a, b = Stepper(), Stepper()
    await world.start(here, "desk/a", a)
    await world.start(there, "desk/b", b)
    return here, a, there, b


# ---- names ---------------------------------------------------------------------------------------


@virtual
async def test_the_first_who_takes_a_name_has_it_in_the_whole_app_and_the_loser_learns_who() -> None:
    world = World()
    here, a, there, b = await three(world)

    await run(here, "desk/a", a, lambda ctx: ctx.register("clerk"))
    await run(here, "desk/a", a, lambda ctx: ctx.register("clerk"))

    async def lose(ctx: CellContext) -> str:
        with pytest.raises(NameTaken) as taken:
            await ctx.register("clerk")
        assert taken.value.winner is not None
        assert await taken.value.winner.ask(Echo(text="mine")) == "mine"
        return str(taken.value)

    assert (await run(there, "desk/b", b, lose)).startswith(
        "the name 'clerk' belongs to desk/a#1, so desk/b can not have it; send to the winner"
    )
    assert await there.runtime.names.whereis("clerk") == there.ref("desk/a", life=1)


@virtual
async def test_of_many_who_take_a_name_at_once_one_has_it() -> None:
    world = World()
    await world.with_guardian()
    steppers = [(world.node(f"node{n}"), f"desk/{n}", Stepper()) for n in range(5)]
    for node, actor, stepper in steppers:
        await world.start(node, actor, stepper)

    async def take(ctx: CellContext) -> str:
        try:
            await ctx.register("clerk")
        except NameTaken as taken:
            return taken.winner.id if taken.winner is not None else "nobody"
        return ctx.id

    winners = await asyncio.gather(*(run(node, actor, stepper, take) for node, actor, stepper in steppers))

    assert len(set(winners)) == 1


@virtual
async def test_only_its_owner_gives_a_name_back() -> None:
    world = World()
    here, a, there, b = await three(world)
    await run(here, "desk/a", a, lambda ctx: ctx.register("clerk"))

    assert await run(there, "desk/b", b, lambda ctx: ctx.unregister("clerk")) == "False"
    assert await run(here, "desk/a", a, lambda ctx: ctx.unregister("clerk")) == "True"
    assert await run(there, "desk/b", b, lambda ctx: ctx.whereis("clerk")) == "None"


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME_CHARS + 1), 7])
def test_a_name_that_can_not_be_one_is_refused_with_the_limit(name: Any) -> None:
    @virtual
    async def play() -> None:
        here, a, _, _ = await three(World())

        async def take(ctx: CellContext) -> None:
            for use in (ctx.register, ctx.join):
                with pytest.raises(InvalidMessage, match="a name is a text of 1 to 255 characters; got"):
                    await use(name)

        await run(here, "desk/a", a, take)

    play()


@virtual
async def test_a_ref_found_by_a_name_fails_at_once_when_that_life_is_over() -> None:
    world = World(restart_after_s=5.0)
    here, a, there, _ = await three(world)
    await run(here, "desk/a", a, lambda ctx: ctx.register("clerk"))
    clerk = await there.runtime.names.whereis("clerk")
    assert clerk is not None
    here.cell("desk/a").kill()
    began_s = asyncio.get_running_loop().time()

    with pytest.raises(AskFailed) as failed:
        await clerk.ask(Echo())

    assert failed.value.reason in (NoProc(), Killed())
    assert asyncio.get_running_loop().time() - began_s < 0.1
    assert await there.runtime.names.whereis("clerk") is None


@virtual
async def test_whose_capability_reaches_nobody_may_use_names_and_nothing_else_of_the_registry() -> None:
    world = World()
    _, _, there, _ = await three(world)
    found: list[object] = []

    async def use(message: Note, ctx: CellContext) -> None:
        await ctx.register("poor")
        found.append(await ctx.whereis("poor"))
        for reach in (partial(ctx.tell_nowait, "desk/a", Note()), partial(ctx.tell_nowait, str(REGISTRY), Note())):
            with pytest.raises(NotAllowed):
                reach()
        with pytest.raises(NotAllowed):
            await ctx.ref(str(REGISTRY)).stop()
        found.append("refused")

    poor = await world.start(there, "desk/poor", lambda: Scripted(use))
    origin = Origin(principal="eve", capability=("desk/poor",))
    there.runtime.delivery.send(Envelope(Kind.TELL, poor.address.actor, Note(), origin))
    await pass_time(1.0)

    assert found == [there.ref("desk/poor", life=3), "refused"]


@virtual
async def test_what_the_registry_does_not_know_is_refused_and_names_are_kept() -> None:
    world = World()
    here, a, _, _ = await three(world)
    await run(here, "desk/a", a, lambda ctx: ctx.register("clerk"))

    with pytest.raises(Refused, match="~names keeps names and groups and has no use for Echo"):
        await here.ref(REGISTRY).ask(Echo())

    assert await here.runtime.names.whereis("clerk") is not None


# ---- names are free before anybody hears of the end ----------------------------------------------


def takes_over(name: str) -> Callable[[Any], Any]:
    """Takes the name of the dead in the handler of its Down; says how that went."""

    async def on_down(ctx: CellContext) -> str:
        assert not await ctx.members("clerks")
        await ctx.register(name)
        return "taken over"

    return on_down


async def watched(world: World) -> tuple[Node, Stepper, Node]:
    """A watcher here of `desk/clerk` there, who has a name and is in a group."""
    await world.with_guardian()
    here, there = world.node("here"), world.node("there")
    watcher, clerk = Stepper(takes_over("the clerk")), Stepper()
    await world.start(there, "desk/clerk", clerk)
    await world.start(here, "desk/watcher", watcher)
    await run(there, "desk/clerk", clerk, lambda ctx: ctx.register("the clerk"))
    for _ in range(3):
        await run(there, "desk/clerk", clerk, lambda ctx: ctx.join("clerks"))
    await run(here, "desk/watcher", watcher, lambda ctx: ctx.monitor("desk/clerk"))
    await pass_time(5.0)
    return here, watcher, there


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("end", ["the actor is killed", "its process is killed"])
def test_in_the_handler_of_a_down_the_names_of_the_dead_are_free_in_the_whole_app(seed: int, end: str) -> None:
    @virtual
    async def play() -> None:
        world = World(seed, UNEVEN)
        here, watcher, there = await watched(world)

        if end == "the actor is killed":
            there.cell("desk/clerk").kill()
        else:
            world.kill("there")
            here.ref("desk/clerk").tell_nowait(Note())  # so that a failed call may tell here of the death first
        await pass_time(20.0)

        assert watcher.on_down_said == ["taken over"], f"seed {seed}"
        assert await here.runtime.names.whereis("the clerk") == here.ref("desk/watcher", life=2)

    play()


@virtual
async def test_a_linked_actor_and_a_parent_hear_of_an_end_when_its_names_are_free() -> None:
    world = World()
    here, a, there, b = await three(world)
    heard: list[object] = []

    await run(there, "desk/b", b, lambda ctx: ctx.register("clerk"))
    await run(here, "desk/a", a, lambda ctx: (ctx.trap_exits(), ctx.link("desk/b")))
    there.runtime.on_root_exit = lambda cell, reason: heard.append(world.registry.whereis("clerk"))
    await pass_time(1.0)
    there.cell("desk/b").kill()
    await pass_time(1.0)

    assert heard == [None]
    assert [type(message).__name__ for message in a.got] == ["ExitSignal"]


class Boss:
    """A parent in another process: keeps which of its children are over, as a supervisor does."""

    def __init__(self) -> None:
        self.over: list[str] = []

    async def started(self, ctx: CellContext) -> None:
        pass

    async def handle(self, message: Message, ctx: CellContext) -> str:
        return " ".join(self.over)

    async def stopping(self, reason: ExitReason, ctx: CellContext) -> None:
        pass

    def on_exit_of_child(self, exited: Any) -> bool:
        self.over.append(f"{exited.actor}#{exited.incarnation}")
        return True


@pytest.mark.parametrize("seed", range(12))
def test_a_parent_in_another_process_knows_of_an_end_when_a_down_is_handled(seed: int) -> None:
    @virtual
    async def play() -> None:
        world, answers = World(seed, UNEVEN), list[str]()
        guardian = await world.with_guardian()
        here, there = world.node("here"), world.node("there")
        await world.start(guardian, "desk", Boss)

        async def on_down(ctx: CellContext) -> None:
            answers.append(await ctx.ask(ctx.runtime.ref("desk"), Echo()))

        watcher = Stepper(on_down)
        request = StartRequest(ActorId("desk/clerk"), Incarnation(50), Scripted, parent=ActorId("desk"))
        assert await there.runtime.start(request) is None
        world.truth.place(ActorId("desk/clerk"), there.host)
        await world.start(here, "desk/watcher", watcher)
        await run(here, "desk/watcher", watcher, lambda ctx: ctx.monitor("desk/clerk"))
        await pass_time(5.0)

        there.cell("desk/clerk").kill()
        again = StartRequest(ActorId("desk/clerk"), Incarnation(51), Scripted, parent=ActorId("desk"))
        assert await there.runtime.start(again) is None  # a quick supervisor's next start waits for the others' news
        await pass_time(20.0)

        assert answers == ["desk/clerk#50"], f"seed {seed}"
        assert there.cell("desk/clerk").incarnation == 51

    play()


@virtual
async def test_a_start_that_fails_leaves_its_names_free_when_that_is_known() -> None:
    world = World()
    await world.with_guardian()
    here = world.node("here")

    async def fails(ctx: CellContext) -> None:
        await ctx.register("clerk")
        await ctx.join("clerks")
        raise Boom

    for _ in range(3):
        with pytest.raises(AssertionError, match="Boom"):
            await world.start(here, "desk/clerk", lambda: Scripted(started=fails))
        assert (len(world.registry), await here.runtime.names.whereis("clerk")) == (0, None)


@virtual
async def test_the_next_life_of_an_actor_can_take_its_name_again_at_its_start() -> None:
    world, lives = World(restart_after_s=0.0), list[int]()
    await world.with_guardian()
    there = world.node("there")

    async def takes(ctx: CellContext) -> None:
        await ctx.register("clerk")
        lives.append(ctx.incarnation)

    await world.start(there, "desk/clerk", lambda: Scripted(started=takes))
    for _ in range(5):
        there.cell("desk/clerk").kill()
        await pass_time(1.0)

    assert lives == [1, 2, 3, 4, 5, 6]
    assert await there.runtime.names.whereis("clerk") == there.ref("desk/clerk", life=6)


@virtual
async def test_a_name_whose_confirmation_was_cut_off_by_the_end_is_free_as_well() -> None:
    world = World()
    here, a, _, _ = await three(world)
    taking = asyncio.ensure_future(run(here, "desk/a", a, lambda ctx: ctx.register("clerk")))
    await pass_time(0.003)

    here.cell("desk/a").kill()
    await pass_time(1.0)

    assert len(world.registry) == 0
    await asyncio.wait([taking])


@pytest.mark.parametrize("seed", range(10))
def test_a_name_that_was_being_taken_when_its_process_died_is_free_once_all_is_quiet(seed: int) -> None:
    @virtual
    async def play() -> None:
        world = World(seed, UNEVEN)
        here, a, _, _ = await three(world)
        for n in range(20):
            a.steps.append(partial(registers, f"name {n}"))
            here.ref("desk/a").tell_nowait(Note())
            asking = asyncio.ensure_future(here.ref("desk/a").ask(Run(step=n)))
            await pass_time(world.wires.random.uniform(0, 0.01))
            asking.cancel()

        world.kill("here")
        await pass_time(60.0)

        assert list(world.registry.holders()) == [], f"seed {seed}"

    play()


@virtual
async def test_names_are_given_back_as_soon_as_their_keeper_can_be_reached_and_the_down_waits() -> None:
    world = World()
    here, watcher, there = await watched(world)
    world.wires.freeze(world.nodes["guardian"].host)
    there.cell("desk/clerk").kill()
    await pass_time(20.0)
    assert watcher.got == []

    world.wires.thaw(world.nodes["guardian"].host)
    await pass_time(5.0)

    assert watcher.on_down_said == ["taken over"]
    assert here.reasons() == {}


@virtual
async def test_who_holds_no_name_ends_without_asking_anybody() -> None:
    world = World()
    _, _, there, _ = await three(world)
    calls, handled = world.wires.calls, world.nodes["guardian"].runtime.handled

    there.cell("desk/b").kill()

    assert world.ends == [("desk/b", Killed())]
    await pass_time(1.0)
    assert (world.wires.calls, world.nodes["guardian"].runtime.handled) == (calls, handled)


@virtual
async def test_what_a_child_holds_is_free_before_its_parents_end_is_told() -> None:
    world = World()
    here, a, _, _ = await three(world)
    free: list[bool] = []

    async def takes(ctx: CellContext) -> None:
        await ctx.register("child")

    def ended(cell: Any, reason: ExitReason) -> None:
        free.append(len(world.registry) == 0)

    await run(here, "desk/a", a, lambda ctx: ctx.spawn(lambda: Scripted(started=takes)))
    assert len(world.registry) == 1
    here.runtime.on_root_exit = ended
    here.cell("desk/a").kill()
    await pass_time(1.0)

    assert free == [True]


# ---- groups --------------------------------------------------------------------------------------


@virtual
async def test_a_group_has_members_of_all_processes_each_as_often_as_it_joined() -> None:
    world = World()
    here, a, there, b = await three(world)
    for _ in range(2):
        await run(here, "desk/a", a, lambda ctx: ctx.join("readers"))
    await run(there, "desk/b", b, lambda ctx: ctx.join("readers"))

    members = await there.runtime.names.members("readers")

    assert sorted(map(str, members)) == ["<ref desk/a#1>", "<ref desk/a#1>", "<ref desk/b#2>"]
    assert await run(here, "desk/a", a, lambda ctx: ctx.leave("readers")) == "True"
    assert await run(here, "desk/a", a, lambda ctx: ctx.leave("writers")) == "False"
    assert [ref.id for ref in await here.runtime.names.members("readers")] == ["desk/a", "desk/b"]


@virtual
async def test_the_end_of_a_member_ends_all_its_memberships() -> None:
    world = World()
    here, a, there, b = await three(world)
    for group in ("readers", "readers", "writers"):
        await run(here, "desk/a", a, partial(joins, group))
    await run(there, "desk/b", b, lambda ctx: ctx.join("readers"))

    here.cell("desk/a").kill()
    await pass_time(1.0)

    assert [ref.id for ref in await there.runtime.names.members("readers")] == ["desk/b"]
    assert await there.runtime.names.members("writers") == []


@virtual
async def test_a_driver_that_can_not_be_called_looks_names_up() -> None:
    world = World()
    here, a, _, _ = await three(world)
    driver = world.node("driver", listens=True)
    await run(here, "desk/a", a, lambda ctx: ctx.register("clerk"))
    await run(here, "desk/a", a, lambda ctx: ctx.join("readers"))

    found = await driver.runtime.names.whereis("clerk")

    assert found is not None
    assert await found.ask(Echo(text="found")) == "found"
    assert await driver.runtime.names.members("readers") == [found]
    assert await driver.runtime.names.whereis("nobody") is None
