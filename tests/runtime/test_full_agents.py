"""Agents whose concurrent turns are all taken by asks that wait for one turn more are found (SEMANTICS 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.runtime import turn
from regrow.runtime.errors import AskCycle, AskTimeout
from regrow.runtime.full_agents import Place, Way, blocked_agents, ring_among
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Echo, Note, Process, Scripted
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.context import CellContext
    from regrow.runtime.ref import ActorRef

TURNS = 8


class Beside(Request[str]):
    """Ask this one, beside other messages; `through` is whom that one is to ask in its turn."""

    to: str = ""
    through: str = ""
    slow_s: float = 0.0


class Back(Request[str]):
    """Ask this one, in a turn that keeps others waiting."""

    to: str


class Players:
    """Agents that ask each other; what came of each request that a test has sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, apart: bool) -> None:
        monkeypatch.setattr(turn, "MAX_CONCURRENT_TURNS", TURNS)
        self.apart = apart
        self.process = Process() if not apart else None
        self.world = World() if apart else None
        self.nodes: dict[str, Node] = {}
        self.asking: list[asyncio.Future[str]] = []

    async def open(self, *names: str) -> None:
        for name in names:
            if self.process is not None:
                await self.process.start(name, self.make)
            elif self.world is not None:
                self.nodes[name] = self.world.node(name)
                await self.world.start(self.nodes[name], name, self.make)

    def make(self) -> Behavior:
        return Scripted(self.handle, beside=(Beside,))

    def ref(self, name: str) -> ActorRef:
        return self.process.ref(name) if self.process is not None else self.nodes[name].ref(name)

    async def handle(self, message: Any, ctx: CellContext) -> str:
        match message:
            case Beside():
                await pass_time(message.slow_s)
                back = Back(to=message.through) if message.through else Echo(text="served")
                return await self.ask(ctx, message.to, back) if message.to else "alone"
            case Back():
                await pass_time(0.01)
                return await self.ask(ctx, message.to, Echo(text="called back"))
            case Note():
                await pass_time(message.n)
                return ""
            case _:
                return str(message.text)

    async def ask(self, ctx: CellContext, to: str, request: Request[str]) -> str:
        try:
            return await ctx.ask(to, request)
        except AskCycle as ring:
            return f"ring: {' '.join(ring.chain)}"
        except AskTimeout:
            return "late"

    def send(self, to: str, request: Request[str], times: int = 1) -> None:
        self.asking += [asyncio.ensure_future(self.ref(to).ask(request)) for _ in range(times)]

    async def outcomes(self) -> list[str]:
        return await asyncio.gather(*self.asking)


Stage = Callable[[], Players]


@pytest.fixture(params=[False, True], ids=["together", "apart"])
def players(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Makes them: in one process, or each in one of its own."""
    return lambda: Players(monkeypatch, apart=request.param)


def test_an_agent_all_of_whose_turns_wait_for_a_call_back_is_found_within_a_second(players: Stage) -> None:
    @virtual
    async def run() -> None:
        stage, loop = players(), asyncio.get_running_loop()
        await stage.open("front", "back")
        began_s = loop.time()

        stage.send("front", Beside(to="back", through="front"), TURNS)
        outcomes = await stage.outcomes()

        assert loop.time() - began_s < 1.0
        assert sorted(outcomes) == ["called back"] * (TURNS - 1) + ["ring: front back"]

    run()


def test_a_full_agent_is_found_though_its_turns_wait_for_several_others(players: Stage) -> None:
    @virtual
    async def run() -> None:
        stage = players()
        await stage.open("front", "left", "right", "middle")

        stage.send("front", Beside(to="left", through="front"), TURNS // 2)
        stage.send("front", Beside(to="right", through="middle"), TURNS - TURNS // 2)
        stage.send("middle", Back(to="front"))
        await pass_time(1.0)

        rings = [each.result() for each in stage.asking if each.done() and each.result().startswith("ring")]
        assert len(rings) == 1
        assert all(each.done() for each in stage.asking)

    run()


def test_two_full_agents_that_block_each_other_are_found(players: Stage) -> None:
    @virtual
    async def run() -> None:
        stage = players()
        await stage.open("a", "b")

        stage.send("a", Beside(to="b", slow_s=0.01), TURNS)
        stage.send("b", Beside(to="a", slow_s=0.01), TURNS)
        await pass_time(1.0)

        outcomes = [each.result() for each in stage.asking if each.done()]
        assert len(outcomes) == 2 * TURNS
        assert outcomes.count("served") == 2 * TURNS - 1
        assert [each for each in outcomes if each in ("ring: a b", "ring: b a")] == [
            each for each in outcomes if each != "served"
        ]

    run()


def test_the_error_says_how_many_turns_there_are_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    @virtual
    async def run() -> None:
        process, seen = Process(), list[AskCycle]()
        monkeypatch.setattr(turn, "MAX_CONCURRENT_TURNS", 1)

        async def front(message: Message, ctx: CellContext) -> str:
            if isinstance(message, Echo):
                return "called back"
            with pytest.raises(AskCycle) as caught:
                await ctx.ask("back", Back(to="front"))
            seen.append(caught.value)
            return "did without"

        async def back(message: Message, ctx: CellContext) -> str:
            return await ctx.ask("front", Echo())

        await process.start("front", lambda: Scripted(front, beside=(Beside,)))
        await process.start("back", back)

        assert await process.ref("front").ask(Beside()) == "did without"
        assert str(seen[0]).startswith("front → back → front: front has begun all the 1 turns that it may have at once")
        assert "let fewer of them ask at once" in str(seen[0])

    run()


def test_a_full_agent_with_a_slow_turn_is_blocked_by_nobody(players: Stage) -> None:
    @virtual
    async def run() -> None:
        stage, loop = players(), asyncio.get_running_loop()
        await stage.open("front", "back")
        began_s = loop.time()

        stage.send("front", Beside(slow_s=7.0))
        stage.send("front", Beside(to="back", through="front"), TURNS - 1)
        outcomes = await stage.outcomes()

        assert outcomes == ["alone"] + ["called back"] * (TURNS - 1)
        assert 7.0 < loop.time() - began_s < 8.0

    run()


def test_a_full_agent_one_of_whose_turns_waits_for_somebody_slow_is_blocked_by_nobody(players: Stage) -> None:
    @virtual
    async def run() -> None:
        stage, loop = players(), asyncio.get_running_loop()
        await stage.open("front", "back", "slow")
        await stage.ref("slow").tell(Note(n=7))
        began_s = loop.time()

        stage.send("front", Beside(to="slow"))
        stage.send("front", Beside(to="back", through="front"), TURNS - 1)
        outcomes = await stage.outcomes()

        assert outcomes == ["served"] + ["called back"] * (TURNS - 1)
        assert loop.time() - began_s > 6.9

    run()


def test_full_agents_of_which_one_has_a_slow_turn_are_blocked_by_nobody(players: Stage) -> None:
    @virtual
    async def run() -> None:
        stage = players()
        await stage.open("a", "b")

        stage.send("a", Beside(to="b", slow_s=0.01), TURNS)
        stage.send("b", Beside(slow_s=7.0))
        stage.send("b", Beside(to="a", slow_s=0.01), TURNS - 1)
        outcomes = await stage.outcomes()

        assert outcomes == ["served"] * TURNS + ["alone"] + ["served"] * (TURNS - 1)

    run()


def test_a_full_agent_that_more_wait_for_goes_on_turn_by_turn(players: Stage) -> None:
    """What was queued before the call back comes before it, and each that asks likewise costs one ask more."""

    @virtual
    async def run() -> None:
        stage = players()
        await stage.open("front", "back")

        stage.send("front", Beside(to="back", through="front"), TURNS + 3)
        outcomes = await stage.outcomes()

        assert set(outcomes) == {"called back", "ring: front back"}
        assert outcomes.count("ring: front back") <= 4

    run()


@virtual
async def test_a_full_agent_that_starts_children_which_ask_it_has_one_of_their_starts_fail() -> None:
    process, told = Process(), list[str]()

    async def started(ctx: CellContext) -> None:
        try:
            await ctx.ask("desk/front", Echo(text="served"))
        except AskCycle as ring:
            told.append(str(ring))

    async def front(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Echo):
            return message.text
        return (await ctx.spawn(lambda: Scripted(started=started))).id

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turn, "MAX_CONCURRENT_TURNS", TURNS)
        ref = await process.start("desk/front", lambda: Scripted(front, beside=(Beside,)))
        children = await asyncio.gather(*(ref.ask(Beside()) for _ in range(TURNS)))

    assert len(set(children)) == TURNS
    assert len(told) == 1
    assert "desk/front waits until desk/front/" in told[0]


# ---- deciders ------------------------------------------------------------------------------------

Leads = dict[int, list[list[int]]]


def as_reported(leads: Leads) -> tuple[dict[Place, int], dict[Place, dict[int, list[Way]]]]:
    """`leads` says for each agent, turn by turn, to which agents it leads."""
    ways: dict[Place, dict[int, list[Way]]] = {}
    for agent, turns in leads.items():
        known: dict[int, list[Way]] = {}
        for number, goals in enumerate(turns):
            path = ((str(agent), "host", 10 * agent + number + 1),)
            if goals:
                known[number] = [(path, (str(goal), "host")) for goal in goals]
        ways[str(agent), "host"] = known
    return {(str(agent), "host"): len(turns) for agent, turns in leads.items()}, ways


agents = st.integers(0, 4)
worlds = st.dictionaries(agents, st.lists(st.lists(agents, max_size=3), min_size=1, max_size=4), min_size=1)


@pytest.mark.slow
@given(worlds)
def test_those_are_blocked_who_belong_to_any_set_in_which_every_turn_leads_to_one_of_the_set(leads: Leads) -> None:
    expected: set[int] = set()
    for size in range(1, len(leads) + 1):
        for some in combinations(leads, size):
            if all(any(goal in some for goal in goals) for agent in some for goals in leads[agent]):
                expected |= set(some)

    assert blocked_agents(*as_reported(leads)) == {(str(agent), "host") for agent in expected}


@pytest.mark.slow
@given(worlds)
def test_a_ring_leads_from_one_blocked_agent_to_the_next_and_is_the_same_whoever_looks(leads: Leads) -> None:
    turns, ways = as_reported(leads)
    blocked = blocked_agents(turns, ways)
    if not blocked:
        return

    ring = ring_among(blocked, ways)

    assert len(set(ring)) == len(ring)
    assert ring[0] == max(ring, key=lambda step: step[2])
    for step, following in zip(ring, (*ring[1:], ring[0]), strict=True):
        goals = [at for known in ways[step[0], "host"].values() for path, at in known if path == (step,)]
        assert (following[0], "host") in goals
    assert ring == ring_among(blocked, dict(reversed(ways.items())))


def test_where_a_start_is_part_of_the_ring_the_ask_of_the_start_comes_first() -> None:
    path = (("front", "host", -7), ("front/kid", "host", 3))
    front: Place = ("front", "host")

    ring = ring_among(frozenset([front]), {front: {1: [(path, front)]}})

    assert ring == (("front/kid", "host", 3), ("front", "host", -7))
