"""An agent as a tool of a durable one: asked under one id, whatever dies on the way (SEMANTICS 10)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import DurableAgent, DurableContext, Message, Request, on
from regrow.actors import as_tool
from regrow.actors.durable_errors import InQuarantine
from regrow.actors.tool_approval import ToolApproval
from regrow.actors.tool_errors import NotApproved, ToolFailed
from regrow.actors.turn_history import read_about
from regrow.runtime.address import ActorId
from regrow.runtime.errors import Refused
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, Unreliable, memory_journal, on_virtual_time
from tests.actors.test_tools_in_durable_turns import open_waits

CHIEF = ActorId("desk/chief")
CLERK = ActorId("desk/clerk")


class Count(BaseModel):
    counted: int = 0


class Number(Request[int]):
    """Counts, and gives the number."""

    word: str


class Do(Request[str]):
    pass


class Note(Message):
    pass


class World:
    """What is outside of the agents."""

    def __init__(self) -> None:
        self.counted: list[str] = []
        self.ids: list[str | None] = []
        self.runs = 0
        self.holds: asyncio.Event | None = None
        self.begun = asyncio.Event()


world = World()
_do: list[Callable[[DurableContext], Awaitable[object]]] = []


class Clerk(DurableAgent[Count]):
    @on
    async def number(self, request: Number, ctx: DurableContext) -> int:
        world.ids.append(ctx.command_id)
        if request.word == "refuse":
            raise Refused("not that one")
        world.begun.set()
        if world.holds is not None:
            await world.holds.wait()
        world.counted.append(request.word)
        self.state = Count(counted=self.state.counted + 1)
        return self.state.counted

    @on
    async def note(self, note: Note) -> None:
        pass


class Chief(DurableAgent[Count]):
    tools = [
        as_tool("clerk", Number),
        as_tool("clerk", Number, name="dear", approval=True),
        as_tool("clerk", Number, name="slow", concurrency=1),
    ]

    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        world.runs += 1
        return str(await _do[-1](ctx))


async def desk(do: Callable[[DurableContext], Awaitable[object]], journal: Any = None) -> Host:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know
    _do.append(do)
    host = await Host.on(journal if journal is not None else memory_journal())
    assert await host.start(Clerk, CLERK) is None
    assert await host.start(Chief, CHIEF) is None
    return host


async def two(ctx: DurableContext) -> object:
    first = await ctx.tools.call("clerk", {"word": "a"})
    second = await ctx.tools.call("clerk", {"word": "b"})
    return first, second


@on_virtual_time
async def test_it_is_one_step_of_the_turn_and_asked_once_though_the_turn_is_run_again() -> None:
    async def do(ctx: DurableContext) -> object:
        done = await two(ctx)
        if world.runs < 3:
            raise ValueError("as the test wants it")
        return done

    journal = memory_journal()
    host = await desk(do, journal)

    assert await host.ref(CHIEF).ask(Do()) == "(1, 2)"

    assert world.counted == ["a", "b"]
    (turn,) = await journal.history(CHIEF)
    assert [(step.name, step.state) for step in read_about(turn.about).steps] == [("tool:clerk", "done")] * 2


@on_virtual_time
async def test_a_kill_while_it_is_asked_asks_again_under_the_same_id_and_it_answers_once() -> None:
    host = await desk(two)
    world.holds = asyncio.Event()
    asking = asyncio.create_task(host.ref(CHIEF).ask(Do()))
    await world.begun.wait()

    host.runtime.cells[CHIEF].kill()
    await pass_time(1)
    world.holds.set()

    assert await asking == "(1, 2)"
    assert world.runs == 2
    assert world.counted == ["a", "b"]
    assert len(world.ids) == len(set(world.ids)) == 2


@on_virtual_time
async def test_a_kill_of_the_agent_that_is_asked_is_made_good_by_its_next_life() -> None:
    host = await desk(two)
    world.holds = asyncio.Event()
    asking = asyncio.create_task(host.ref(CHIEF).ask(Do()))
    await world.begun.wait()

    host.runtime.cells[CLERK].kill()
    world.holds.set()

    assert await asking == "(1, 2)"
    assert world.counted == ["a", "b"]
    assert world.runs == 1


class Deadly(Unreliable):
    """A journal at whose n-th call the chief is killed, before it or after it."""

    def __init__(self, journal: Any, number: int, when: str) -> None:
        super().__init__(journal)
        self.left = number
        self.when = when
        self.kill: Callable[[], None] = lambda: None

    def _cut(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            is_last = self.left == 0
            if is_last and self.when == "before":
                await self._killed()
            given = await method(*args, **kwargs)
            if is_last and self.when == "after":
                await self._killed()
            return given

        return call

    async def _killed(self) -> None:
        """Kills from another task, as whoever kills is one."""
        asyncio.get_running_loop().call_soon(self.kill)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.mark.slow
def test_wherever_its_caller_is_killed_it_has_done_each_once() -> None:
    calls = list[int]()

    def run(number: int, when: str) -> None:
        @on_virtual_time
        async def killed() -> None:
            journal = Deadly(memory_journal(), 0, when)
            host = await desk(two, journal)
            journal.kill = host.runtime.cells[CHIEF].kill
            journal.left = number

            answer = await host.ref(CHIEF).ask(Do())

            calls.append(number - journal.left)
            assert (answer, world.counted) == ("(1, 2)", ["a", "b"]), f"killed {when} call {number} of the journal"

        killed()

    run(1_000, "never")
    for number in range(1, calls[0] + 1):
        for when in ("before", "after"):
            run(number, when)
    assert calls[0] >= 8


@on_virtual_time
async def test_a_refusal_of_it_is_recorded_and_met_again() -> None:
    async def do(ctx: DurableContext) -> object:
        with pytest.raises(ToolFailed, match=r"clerk gave no answer \(Refused: not that one\)") as failed:
            await ctx.tools.call("clerk", {"word": "refuse"})
        if world.runs == 1:
            raise ValueError("as the test wants it")
        return failed.value.tool

    host = await desk(do)

    assert await host.ref(CHIEF).ask(Do()) == "clerk"
    assert (world.runs, len(world.ids)) == (2, 1)


@on_virtual_time
async def test_many_at_once_keep_their_places_though_they_wait_for_each_other() -> None:
    async def do(ctx: DurableContext) -> object:
        names = ("slow", "clerk", "slow", "clerk")
        calls = (ctx.tools.call(name, {"word": word}) for name, word in zip(names, "abcd", strict=True))
        given = await asyncio.gather(*calls)
        if world.runs < 3:
            raise ValueError("as the test wants it")
        return sorted(given)

    host = await desk(do)

    assert await host.ref(CHIEF).ask(Do()) == "[1, 2, 3, 4]"
    assert sorted(world.counted) == ["a", "b", "c", "d"]


@on_virtual_time
async def test_behind_a_tell_to_it_that_has_not_left_it_is_not_asked() -> None:
    async def do(ctx: DurableContext) -> object:
        ctx.tell_nowait("clerk", Note())
        return await ctx.tools.call("clerk", {"word": "a"})

    host = await desk(do)

    with pytest.raises(InQuarantine):
        await host.ref(CHIEF).ask(Do())
    assert "asks desk/clerk behind a tell to it that leaves only when this turn is committed" in str(host.ends)
    assert world.counted == []


@on_virtual_time
async def test_one_that_needs_consent_is_asked_once_a_person_has_consented() -> None:
    async def do(ctx: DurableContext) -> object:
        return await ctx.tools.call("dear", {"word": "a"})

    host = await desk(do)
    asking = asyncio.create_task(host.ref(CHIEF).ask(Do(), timeout_s=1e6))
    refused = asyncio.create_task(host.ref(CHIEF).ask(Do(), timeout_s=1e6))
    await pass_time(3_600)
    assert world.counted == []
    first, second = await open_waits(host, CHIEF)

    await host.ref(CHIEF).tell(ToolApproval(about=first, by="Ada"))
    await host.ref(CHIEF).tell(ToolApproval(about=second, approved=False, by="Ada"))

    assert await asking == "1"
    with pytest.raises(NotApproved, match="dear was not run: Ada has refused it"):
        await refused
    assert world.counted == ["a"]


@on_virtual_time
async def test_a_limited_turn_asks_it_on_behalf_of_the_same_limits() -> None:
    from regrow.runtime.envelope import Origin

    host = await desk(two)
    host.runtime.origin = Origin(capability=("desk/chief", "!*"))

    with pytest.raises(Refused, match="clerk was not asked, since the capability of this message does not reach"):
        await host.ref(CHIEF).ask(Do())
    assert world.counted == []
