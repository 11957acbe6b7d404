"""Agents that block each other are found, and nobody else is taken for one (SEMANTICS 4)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime import ask_rings
from regrow.runtime.envelope import Envelope
from regrow.runtime.errors import AskCycle, AskFailed, AskTimeout
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Echo, Note, Process, Scripted, settle
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.context import CellContext
    from regrow.runtime.ref import ActorRef


class Go(Message):
    """Ask each of these agents, and note what comes of it."""

    to: tuple[str, ...]
    timeout_s: float = 30.0
    at_once: bool = False


class Beside(Request[str]):
    """May be served beside other messages."""


class GoBeside(Go):
    """The same, in a turn beside others."""


class Later(Request[str]):
    """Somebody else replies, in three seconds."""


class Players:
    """Agents that ask each other when they are told to; what came of each ask, and when."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], Any] = {}
        self.took_s: dict[tuple[str, str], float] = {}
        self.slow_s = 0.0

    async def handle(self, message: Any, ctx: CellContext) -> object:
        match message:
            case Go():
                if message.at_once:
                    await asyncio.gather(*(self.ask(ctx, to, message.timeout_s) for to in message.to))
                else:
                    for to in message.to:
                        await self.ask(ctx, to, message.timeout_s)
                return ""
            case Note():
                await pass_time(message.n)
            case Later():
                slot = ctx.defer_reply()
                asyncio.get_running_loop().call_later(3.0, slot.reply, "later")
                return slot
            case _:
                await pass_time(self.slow_s)
        return f"by {ctx.id}"

    async def ask(self, ctx: CellContext, to: str, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            self.seen[ctx.id, to] = await ctx.ask(to, self.request(to), timeout_s=timeout_s)
        except (AskCycle, AskTimeout) as error:
            self.seen[ctx.id, to] = error
        self.took_s[ctx.id, to] = loop.time() - began_s

    def request(self, to: str) -> Request[str]:
        return {"open": Beside(), "later": Later()}.get(to.rpartition("/")[2], Echo())

    def make(self) -> Behavior:
        return Scripted(self.handle, beside=(Beside, GoBeside))

    @property
    def rings(self) -> list[AskCycle]:
        return [each for each in self.seen.values() if isinstance(each, AskCycle)]


async def in_one_process(players: Players, names: list[str]) -> Callable[[str], ActorRef]:
    process = Process()
    for name in names:
        await process.start(name, players.make)
    return process.ref


async def in_as_many(players: Players, names: list[str]) -> Callable[[str], ActorRef]:
    world, nodes = World(), dict[str, Node]()
    for name in names:
        nodes[name] = world.node(name)
        await world.start(nodes[name], name, players.make)
    return lambda name: nodes[name].ref(name)


Stage = Callable[[Players, list[str]], Any]
STAGES = pytest.mark.parametrize("stage", [in_one_process, in_as_many])


@STAGES
@pytest.mark.parametrize("size", [2, 3, 5])
def test_agents_that_block_each_other_are_found_within_a_second_and_one_of_them_fails(stage: Stage, size: int) -> None:
    @virtual
    async def run() -> None:
        players = Players()
        names = [f"ring/{number}" for number in range(size)]
        ref = await stage(players, names)

        for name, following in zip(names, [*names[1:], names[0]], strict=True):
            await ref(name).tell(Go(to=(following,)))
        await pass_time(1.0)

        assert len(players.seen) == size
        (ring,) = players.rings
        assert set(ring.chain) == set(names) and len(ring.chain) == size
        assert ring.chain[0] == ring.actor
        assert f"{' → '.join(ring.chain)} → {ring.actor}" in str(ring)
        assert players.seen[ring.actor, ring.chain[1]] is ring
        assert all(isinstance(each, str) for each in players.seen.values() if each is not ring)

    run()


@STAGES
def test_a_chain_that_runs_into_a_turn_of_its_own_origin_is_found(stage: Stage) -> None:
    @virtual
    async def run() -> None:
        players = Players()
        ref = await stage(players, ["a", "b", "c"])

        # a waits for b, which handles its request behind one that waits for c; c waits for a.
        await ref("b").tell(Go(to=("c",)))
        await ref("c").tell(Go(to=("a",)))
        await ref("a").tell(Go(to=("b",)))
        await pass_time(1.0)

        assert len(players.rings) == 1 and len(players.seen) == 3

    run()


@STAGES
def test_a_ring_through_one_of_many_asks_at_once_is_found(stage: Stage) -> None:
    @virtual
    async def run() -> None:
        players = Players()
        ref = await stage(players, ["a", "b", "c", "d"])

        await ref("a").tell(Go(to=("c", "b", "d"), at_once=True))
        await ref("b").tell(Go(to=("a",)))
        await pass_time(1.0)

        assert len(players.rings) == 1 and len(players.seen) == 4

    run()


@STAGES
def test_agents_that_are_slow_are_no_ring(stage: Stage) -> None:
    @virtual
    async def run() -> None:
        players = Players()
        players.slow_s = 8.0
        ref = await stage(players, ["a", "b", "c"])

        await ref("b").tell(Note(n=5))
        await ref("c").tell(Note(n=5))
        await ref("a").tell(Go(to=("b", "c")))
        await ref("b").tell(Go(to=("c",)))
        await pass_time(60.0)

        assert players.seen == {("a", "b"): "by b", ("a", "c"): "by c", ("b", "c"): "by c"}

    run()


@STAGES
def test_what_is_served_beside_a_turn_is_no_ring(stage: Stage) -> None:
    @virtual
    async def run() -> None:
        players = Players()
        players.slow_s = 3.0
        ref = await stage(players, ["a/open", "b/open"])

        await ref("a/open").tell(Go(to=("b/open",)))
        await ref("b/open").tell(Go(to=("a/open",)))
        await pass_time(10.0)

        assert players.seen == {("a/open", "b/open"): "by b/open", ("b/open", "a/open"): "by a/open"}

    run()


@STAGES
def test_a_slow_turn_is_no_ring_though_another_beside_it_waits_for_the_asker(stage: Stage) -> None:
    @virtual
    async def run() -> None:
        players = Players()
        ref = await stage(players, ["a", "b"])

        await ref("a").tell(GoBeside(to=()))  # so that both are known where they ask
        await ref("b").tell(Note(n=5))
        await ref("b").tell(GoBeside(to=("a",)))
        await ref("a").tell(Go(to=("b",)))
        await pass_time(0.01)
        await ref("b").tell(GoBeside(to=("a",)))
        await pass_time(10.0)

        assert players.seen == {("a", "b"): "by b", ("b", "a"): "by a"}

    run()


@STAGES
def test_who_waits_for_a_deferred_reply_is_in_no_ring(stage: Stage) -> None:
    @virtual
    async def run() -> None:
        players = Players()
        ref = await stage(players, ["a", "later"])

        await ref("a").tell(Go(to=("later",)))
        await pass_time(0.1)
        await ref("later").tell(Go(to=("a",)))  # it has deferred its reply to a, and is free to ask
        await pass_time(10.0)

        assert players.seen == {("a", "later"): "later", ("later", "a"): "by a"}

    run()


@STAGES
def test_a_ring_that_a_deadline_opens_in_time_is_none(stage: Stage) -> None:
    @virtual
    async def run() -> None:
        players = Players()
        ref = await stage(players, ["a", "b"])

        await ref("a").tell(Go(to=("b",), timeout_s=0.2))
        await ref("b").tell(Go(to=("a",)))
        await pass_time(5.0)

        assert isinstance(players.seen["a", "b"], AskTimeout)
        assert players.seen["b", "a"] == "by a"

    run()


@STAGES
def test_the_request_of_the_ask_that_failed_need_not_run(stage: Stage) -> None:
    @virtual
    async def run() -> None:
        players = Players()
        ref = await stage(players, ["a", "b"])

        await ref("a").tell(Go(to=("b",)))
        await ref("b").tell(Go(to=("a",)))
        await pass_time(1.0)
        (ring,) = players.rings
        other = ring.chain[1]

        assert len(ref(other).runtime.cells[ref(other).address.actor].mailbox) == 0
        assert sum(ref(name).runtime.dead_letters.total for name in ("a", "b")) == 0

    run()


@virtual
async def test_agents_that_ask_each_other_as_they_start_are_found() -> None:
    process, seen = Process(), list[AskCycle]()

    async def started(ctx: CellContext) -> None:
        try:
            await ctx.ask("desk/b", Echo())
        except AskCycle as ring:
            seen.append(ring)

    async def back(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Echo):
            return "served"
        try:
            return await ctx.ask("desk/a", Echo())
        except AskCycle as ring:
            seen.append(ring)
            return ""

    await process.start("desk/b", back)
    starting = asyncio.ensure_future(process.try_start("desk/a", lambda: Scripted(started=started)))
    await process.ref("desk/b").tell(Note())
    await pass_time(1.0)

    assert await starting is None
    assert len(seen) == 1


@virtual
async def test_a_ring_through_a_full_mailbox_is_found() -> None:
    world, players = World(), Players()
    here, there = world.node("here"), world.node("there")
    await world.start(here, "a", players.make)
    await world.start(there, "b", players.make, mailbox=MailboxSettings(capacity=1))

    await there.ref("b").tell(Go(to=("a",)))
    await settle()
    await there.ref("b").tell(Note())  # no room is left for what a asks
    await here.ref("a").tell(Go(to=("b",)))
    await pass_time(1.0)

    assert len(players.rings) == 1
    await world.close()


@virtual
async def test_a_ring_longer_than_the_limit_ends_at_its_first_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask_rings, "MAX_RING", 4)
    process, players = Process(), Players()
    names = [f"ring/{number}" for number in range(5)]
    for name in names:
        await process.start(name, players.make)

    for name, following in zip(names, [*names[1:], names[0]], strict=True):
        await process.ref(name).tell(Go(to=(following,), timeout_s=5.0 if name == "ring/0" else 30.0))
    await pass_time(10.0)

    assert players.rings == []
    assert isinstance(players.seen["ring/0", "ring/1"], AskTimeout)
    assert len(players.seen) == len(names)


@virtual
async def test_a_spawned_child_that_asks_its_parent_as_it_starts_is_found_and_does_not_start() -> None:
    process, loop = Process(), asyncio.get_running_loop()

    async def started(ctx: CellContext) -> None:
        await ctx.ask("desk/boss", Echo())

    async def boss(message: Message, ctx: CellContext) -> str:
        with pytest.raises(AskFailed) as failed:
            await ctx.spawn(lambda: Scripted(started=started), "child")
        return str(failed.value)

    ref = await process.start("desk/boss", boss)
    began_s = loop.time()

    told = await ref.ask(Echo())

    assert "desk/boss/child → desk/boss → desk/boss/child: desk/boss waits until desk/boss/child has started" in told
    assert loop.time() - began_s < 1.0
    assert process.state("desk/boss/child") is None


@virtual
async def test_a_child_that_starts_beside_the_turn_that_spawned_it_is_no_part_of_a_ring_once_it_runs() -> None:
    process, answers = Process(), list[str]()

    async def child(message: Message, ctx: CellContext) -> None:
        answers.append(await ctx.ask("desk/boss", Echo(text="later")))

    async def boss(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Echo):
            return message.text
        child_ref = await ctx.spawn(child, "child")
        child_ref.tell_nowait(Note())
        await pass_time(3.0)
        return ""

    ref = await process.start("desk/boss", boss)
    await ref.ask(Beside())
    await settle()

    assert answers == ["later"]


class Counted(deque[Envelope]):
    """A queue that counts what is looked at in it."""

    looks = 0

    def __iter__(self) -> Iterator[Envelope]:
        for envelope in super().__iter__():
            self.looks += 1
            yield envelope


@pytest.mark.parametrize("waits", [False, True], ids=["works", "asks-another"])
def test_each_of_many_askers_behind_one_slow_turn_costs_a_few_looks_into_its_mailbox(waits: bool) -> None:
    @virtual
    async def run() -> None:
        process, players, many = Process(), Players(), 100
        players.slow_s = 0.6
        await process.start("slow", players.make)
        await process.start("other", players.make)
        queue = process.cell("slow").mailbox.user = Counted()
        await process.ref("slow").tell(Go(to=("other",)) if waits else Note(n=1))
        for number in range(many):
            await process.start(f"asker-{number}", players.make)
            await process.ref(f"asker-{number}").tell(Go(to=("slow",), timeout_s=0.55))

        await pass_time(0.4)  # by then each has been followed once

        assert len(queue) == many
        assert queue.looks <= 3 * many
        await pass_time(2.0)

    run()


@virtual
async def test_an_ask_that_is_answered_soon_starts_no_chase(monkeypatch: pytest.MonkeyPatch) -> None:
    process, players, looks = Process(), Players(), list[int]()
    for name in ("a", "b"):
        await process.start(name, players.make)
    monkeypatch.setattr(process.runtime.asks, "on_long_wait", lambda asks: looks.append(len(asks)))
    players.slow_s = 0.1

    for _ in range(20):
        await process.ref("a").tell(Go(to=("b",)))
        await pass_time(0.2)

    assert looks == []
