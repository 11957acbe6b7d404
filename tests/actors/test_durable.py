"""Durable agents: every accepted message has one outcome, whatever its agent does (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, InvalidAgent, Step, on
from regrow.actors.durable_errors import InQuarantine
from regrow.runtime.address import ActorId
from regrow.runtime.errors import Misuse, Refused
from regrow.runtime.lifecycle import Crashed, Fenced
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, Unreliable, memory_journal, on_virtual_time

CLERK = "desk/clerk"
COMMAND = "019ab2d4-6c00-7000-8000-000000000001"


class Tally(BaseModel):
    total: int = 0
    seen: list[str] = []


class Add(Request[int]):
    """Adds, in a step named `effect`, and does what its text says."""

    n: int
    text: str = ""


class Note(Message):
    n: int


class Seen(Request[tuple[str, ...]]):
    """What the state has seen."""


class Effects:
    """What the world outside has been done to, and the faults that are still to come."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.keys: list[str] = []
        self.crashes = 0
        self.runs = 0
        self.hang: asyncio.Event | None = None


world = Effects()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know


async def effect(text: str, step: Step) -> int:
    world.done.append(text)
    world.keys.append(step.key)
    if world.hang is not None:
        await world.hang.wait()
    return len(world.done)


class Clerk(DurableAgent[Tally]):
    @on
    async def add(self, request: Add, ctx: DurableContext) -> int:
        world.runs += 1
        if request.text == "differs":
            await ctx.step("effect", effect, f"{request.text} {world.runs}")
        else:
            await ctx.step("effect", effect, request.text, idempotent=request.text.startswith("again"))
        self.state.total += request.n
        self.state.seen.append(request.text)
        if request.text == "refuse":
            raise Refused("not today")
        if request.text == "tell":
            await ctx.tell("other", Note(n=request.n))
        if world.crashes:
            world.crashes -= 1
            raise ValueError("as the test wants it")
        return self.state.total

    @on
    async def seen(self, request: Seen) -> tuple[str, ...]:
        return tuple(self.state.seen)


class Other(DurableAgent[Tally]):
    @on
    async def note(self, note: Note) -> None:
        self.state.seen.append(str(note.n))

    @on
    async def seen(self, request: Seen) -> tuple[str, ...]:
        return tuple(self.state.seen)


async def desk(journal: Any = None) -> Host:
    """A process with a clerk and another."""
    host = await Host.on(journal if journal is not None else memory_journal())
    assert await host.start(Clerk, CLERK) is None
    assert await host.start(Other, "desk/other") is None
    return host


# ---- one outcome ---------------------------------------------------------------------------------


@on_virtual_time
async def test_state_outlives_the_life_that_left_it() -> None:
    host = await desk()
    clerk = host.ref(CLERK)
    assert await clerk.ask(Add(n=2)) == 2

    host.runtime.cells[ActorId(CLERK)].kill()

    assert await clerk.ask(Add(n=3)) == 5


@on_virtual_time
async def test_a_message_on_which_its_agent_crashes_is_handled_again_and_its_asker_gets_the_reply() -> None:
    host = await desk()
    world.crashes = 2

    assert await host.ref(CLERK).ask(Add(n=2, text="a")) == 2

    assert world.runs == 3
    assert world.done == ["a"]  # the step's result was recorded by the first
    assert len(host.ends) == 2


@on_virtual_time
async def test_a_life_that_is_killed_in_its_turn_leaves_the_message_to_the_next() -> None:
    host = await desk()
    world.hang = asyncio.Event()
    asking = asyncio.create_task(host.ref(CLERK).ask(Add(n=2, text="again")))
    while not world.done:
        await pass_time(0.001)

    host.runtime.cells[ActorId(CLERK)].kill()
    world.hang.set()

    assert await asking == 2
    assert world.done == ["again", "again"]
    assert len(set(world.keys)) == 1


@on_virtual_time
async def test_a_refusal_leaves_nothing_but_its_answer() -> None:
    host = await desk()

    with pytest.raises(Refused, match="not today"):
        await host.ref(CLERK).ask(Add(n=2, text="refuse"), command_id=COMMAND)

    assert await host.ref(CLERK).ask(Seen()) == ()
    with pytest.raises(Refused, match="not today"):
        await host.ref(CLERK).ask(Add(n=2, text="refuse"), command_id=COMMAND)
    assert world.runs == 1
    assert host.ends == []


@on_virtual_time
async def test_the_same_command_is_answered_as_before_and_not_run_again() -> None:
    host = await desk()

    answers = await asyncio.gather(*(host.ref(CLERK).ask(Add(n=2), command_id=COMMAND) for _ in range(3)))

    assert answers == [2, 2, 2]
    assert world.runs == 1


@on_virtual_time
async def test_a_message_that_always_fails_is_set_aside_and_the_others_go_on() -> None:
    host = await desk()
    world.crashes = 3

    with pytest.raises(InQuarantine, match="3 attempts failed, the last with ValueError: as the test wants it"):
        await host.ref(CLERK).ask(Add(n=2, text="poison"), command_id=COMMAND)

    assert [row.command for row in await host.quarantined(CLERK)] == [COMMAND]
    assert await host.ref(CLERK).ask(Add(n=1, text="b")) == 1
    with pytest.raises(InQuarantine):
        await host.ref(CLERK).ask(Add(n=2, text="poison"), command_id=COMMAND)


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("it says nothing")

    __repr__ = __str__


@pytest.mark.parametrize(
    "error", [SystemExit(3), Mute("\udce9"), ValueError("\udce9")], ids=["exit", "mute", "surrogate"]
)
def test_whatever_a_handler_raises_is_an_attempt_that_counts(error: BaseException) -> None:
    class Failing(DurableAgent[Tally]):
        @on
        async def add(self, request: Add) -> int:
            world.runs += 1
            raise error

    @on_virtual_time
    async def fails() -> None:
        host = await Host.on(memory_journal())
        await host.start(Failing, "desk/failing")

        with pytest.raises(InQuarantine):
            await host.ref("desk/failing").ask(Add(n=1))

        assert world.runs == Failing.poison_after
        assert len(await host.quarantined("desk/failing")) == 1

    fails()


@on_virtual_time
async def test_an_expired_message_is_not_handled() -> None:
    host = await desk()
    world.hang = asyncio.Event()
    first = asyncio.create_task(host.ref(CLERK).ask(Add(n=1, text="first")))
    late = asyncio.create_task(host.ref(CLERK).ask(Add(n=2, text="late"), timeout_s=1.0))
    await pass_time(2.0)
    world.hang.set()
    await first

    assert await host.ref(CLERK).ask(Seen()) == ("first",)
    assert isinstance(late.exception(), Exception)


# ---- what leaves a turn --------------------------------------------------------------------------


@on_virtual_time
async def test_what_a_turn_tells_arrives_once_however_often_it_was_run() -> None:
    host = await desk()
    world.crashes = 2

    for n in range(3):
        await host.ref(CLERK).ask(Add(n=n, text="tell"))
    await pass_time(1.0)

    assert await host.ref("desk/other").ask(Seen()) == ("0", "1", "2")


@on_virtual_time
async def test_what_a_refused_turn_tells_does_not_leave() -> None:
    class Refusing(DurableAgent[Tally]):
        @on
        async def add(self, request: Add, ctx: DurableContext) -> int:
            await ctx.tell("other", Note(n=1))
            raise Refused("no")

    host = await desk()
    await host.start(Refusing, "desk/refusing")

    with pytest.raises(Refused):
        await host.ref("desk/refusing").ask(Add(n=1))
    await pass_time(1.0)

    assert await host.ref("desk/other").ask(Seen()) == ()


@on_virtual_time
async def test_an_ask_behind_an_uncommitted_tell_to_the_same_receiver_is_refused() -> None:
    class Hasty(DurableAgent[Tally]):
        @on
        async def add(self, request: Add, ctx: DurableContext) -> int:
            await ctx.tell("other", Note(n=1))
            with pytest.raises(Misuse, match="behind a tell"):
                await ctx.ask("other", Seen())
            return 0

    host = await desk()
    await host.start(Hasty, "desk/hasty")

    assert await host.ref("desk/hasty").ask(Add(n=1)) == 0


@on_virtual_time
async def test_an_ask_of_a_turn_is_made_once_and_its_reply_is_recorded() -> None:
    class Asking(DurableAgent[Tally]):
        @on
        async def note(self, request: Seen, ctx: DurableContext) -> tuple[str, ...]:
            total = await ctx.ask("clerk", Add(n=5, text="asked"))
            if world.crashes:
                world.crashes -= 1
                raise ValueError("after the ask")
            return (str(total),)

    host = await desk()
    await host.start(Asking, "desk/asking")
    asking = asyncio.create_task(host.ref("desk/asking").ask(Seen()))
    while not world.done:
        await pass_time(0.001)
    world.crashes = 0

    assert await asking == ("5",)
    assert world.runs == 1


# ---- steps ---------------------------------------------------------------------------------------


@on_virtual_time
async def test_a_step_that_was_begun_and_may_not_be_repeated_sets_its_message_aside_at_once() -> None:
    host = await desk()
    world.hang = asyncio.Event()
    asking = asyncio.create_task(host.ref(CLERK).ask(Add(n=2, text="once"), command_id=COMMAND))
    while not world.done:
        await pass_time(0.001)

    host.runtime.cells[ActorId(CLERK)].kill()
    world.hang.set()

    with pytest.raises(InQuarantine, match="not known"):
        await asking
    assert world.done == ["once"]
    assert [row.command for row in await host.quarantined(CLERK)] == [COMMAND]
    assert await host.ref(CLERK).ask(Seen()) == ()
    assert len(host.ends) == 1  # the kill; a message that is set aside ends nobody


@on_virtual_time
async def test_a_turn_that_takes_another_way_through_its_steps_sets_its_message_aside() -> None:
    host = await desk()
    world.crashes = 1

    with pytest.raises(InQuarantine, match="other arguments"):
        await host.ref(CLERK).ask(Add(n=2, text="differs"))

    assert world.done == ["differs 1"]


@on_virtual_time
async def test_time_and_chance_are_the_same_when_a_turn_is_run_again() -> None:
    class Dated(DurableAgent[Tally]):
        @on
        async def add(self, request: Add, ctx: DurableContext) -> int:
            world.keys.append(f"{await ctx.now()} {ctx.random().random()} {ctx.random().random()}")
            if len(world.keys) < 3:
                raise ValueError("again")
            return 1

    host = await Host.on(memory_journal())
    await host.start(Dated, "desk/dated")

    await host.ref("desk/dated").ask(Add(n=1))

    assert len(world.keys) == 3
    assert len(set(world.keys)) == 1
    assert len(set(world.keys[0].split())) == 4


# ---- other lives, other processes, a store that does not answer ----------------------------------


@on_virtual_time
async def test_a_new_process_takes_over_what_the_dead_one_had_accepted_in_order() -> None:
    journal = memory_journal()
    old = await desk(journal)
    world.hang = asyncio.Event()
    for n in range(5):
        await old.ref(CLERK).tell(Add(n=n, text=f"again {n}"))
    old.restarts = 0
    old.runtime.cells[ActorId(CLERK)].kill()
    assert old.runtime.durability is not None
    await journal.revoke(old.runtime.durability.host, reaped=True)
    world.hang.set()

    new = await Host.on(journal, "there")
    assert await new.start(Clerk, CLERK) is None

    assert await new.ref(CLERK).ask(Seen()) == tuple(f"again {n}" for n in range(5))


@on_virtual_time
async def test_a_life_whose_agent_was_taken_over_ends_as_fenced_and_commits_nothing() -> None:
    journal = memory_journal()
    old = await desk(journal)
    old.restarts = 0
    world.hang = asyncio.Event()
    asking = asyncio.create_task(old.ref(CLERK).ask(Add(n=2, text="again")))
    while not world.done:
        await pass_time(0.001)
    assert old.runtime.durability is not None
    await journal.revoke(old.runtime.durability.host, reaped=True)
    new = await Host.on(journal, "there")
    await new.start(Clerk, CLERK)
    while len(world.done) < 2:
        await pass_time(0.001)
    world.hang.set()
    seen = await new.ref(CLERK).ask(Seen())
    await pass_time(1.0)

    assert seen == ("again",)
    assert old.ends == [(CLERK, Fenced())]
    asking.cancel()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "method", ["enqueue", "commit", "start_step", "finish_step", "claim", "take", "relayed", "outbox"]
)
def test_an_operation_whose_answer_is_lost_is_done_once(method: str, when: str) -> None:
    @on_virtual_time
    async def lost() -> None:
        journal = Unreliable(memory_journal())
        journal.cuts = {(method, number): when for number in range(1, 4)}
        host = await desk(journal)

        assert await host.ref(CLERK).ask(Add(n=2, text="tell")) == 2
        assert await host.ref(CLERK).ask(Add(n=3, text="tell")) == 5
        await pass_time(30.0)

        assert world.runs == 2
        assert await host.ref("desk/other").ask(Seen()) == ("2", "3")
        assert host.ends == []

    lost()


@on_virtual_time
async def test_a_tell_is_told_as_taken_when_the_journal_has_it_and_not_before() -> None:
    journal = Unreliable(memory_journal())
    host = await desk(journal)
    journal.cuts = {("enqueue", number): "before" for number in range(1, 6)}

    telling = asyncio.create_task(host.ref(CLERK).tell(Add(n=1), send_timeout_s=60))
    await pass_time(0.3)
    assert not telling.done()

    await telling
    assert journal.calls["enqueue"] == 6


# ---- state ---------------------------------------------------------------------------------------


@on_virtual_time
async def test_a_state_of_an_older_schema_is_upgraded_and_a_newer_one_refused() -> None:
    class Old(BaseModel):
        sum: int = 0

    class First(DurableAgent[Old]):
        @on
        async def add(self, request: Add) -> int:
            self.state.sum += request.n
            return self.state.sum

    class Second(DurableAgent[Tally]):
        schema = 2

        @classmethod
        def upgraded(cls, state: dict[str, Any], schema: int) -> dict[str, Any]:
            return {"total": state["sum"]} if schema == 1 else state

        @on
        async def add(self, request: Add) -> int:
            self.state.total += request.n
            return self.state.total

    host = await Host.on(memory_journal())
    host.restarts = 0
    await host.start(First, "desk/one")
    await host.ref("desk/one").ask(Add(n=4))
    host.runtime.cells[ActorId("desk/one")].kill()
    await pass_time(0.01)
    assert await host.start(Second, "desk/one") is None
    assert await host.ref("desk/one").ask(Add(n=1)) == 5
    host.runtime.cells[ActorId("desk/one")].kill()
    await pass_time(0.01)

    refused = await host.start(First, "desk/one")

    assert isinstance(refused, Crashed)
    assert "has schema 2, and this host knows up to 1" in refused.message


@on_virtual_time
async def test_a_state_that_is_changed_outside_of_a_turn_is_refused() -> None:
    class Eager(DurableAgent[Tally]):
        async def started(self, ctx: DurableContext) -> None:  # type: ignore[override]
            self.state.total = 7

    host = await Host.on(memory_journal())

    failed = await host.start(Eager, "desk/eager")

    assert isinstance(failed, Crashed)
    assert "changed its state in `started`" in failed.message


@on_virtual_time
async def test_a_start_that_returns_something_does_not_start_a_durable_agent() -> None:
    class Talkative(DurableAgent[Tally]):
        async def started(self, ctx: DurableContext) -> Any:  # type: ignore[override]
            return {"ok": True}

    failed = await (await Host.on(memory_journal())).start(Talkative, "desk/talkative")

    assert isinstance(failed, Crashed)
    assert "started returned {'ok': True}; allowed: None" in failed.message


def test_what_could_not_work_is_refused_where_it_is_defined() -> None:
    class NoDefault(BaseModel):
        n: int

    with pytest.raises(InvalidAgent, match="does not say what its state is"):

        class Stateless(DurableAgent):  # type: ignore[type-arg]
            pass

    with pytest.raises(InvalidAgent, match="a state is a pydantic model"):

        class OfDict(DurableAgent[dict]):  # type: ignore[type-arg, type-var]
            pass

    with pytest.raises(InvalidAgent, match="1 of its fields have no default"):
        types.new_class("OfNoDefault", (DurableAgent[NoDefault],))

    with pytest.raises(InvalidAgent, match="one turn at a time"):
        types.new_class("Concurrent", (DurableAgent[Tally],), exec_body=lambda body: body.update(add=_add))

    for name in ("initial", "upgraded"):
        with pytest.raises(InvalidAgent, match=rf"write `@classmethod def {name}\(cls"):
            types.new_class(f"OfInstance{name}", (DurableAgent[Tally],), exec_body=_with_method(name))


def _with_method(name: str) -> Callable[[dict[str, Any]], None]:
    def fill(body: dict[str, Any]) -> None:
        body[name] = lambda self, *arguments: Tally()

    return fill


def test_the_first_state_may_be_given_by_a_static_method() -> None:
    class Started(DurableAgent[Tally]):
        @staticmethod
        def initial() -> Tally:  # pyright: ignore[reportIncompatibleMethodOverride] # it is called the same way
            return Tally(total=7)

    assert Started.initial().total == 7


@on(concurrent=True)
async def _add(self: object, request: Add) -> int:
    return 0


@on_virtual_time
async def test_what_fails_in_a_group_of_tasks_is_an_attempt_as_well() -> None:
    class Grouping(DurableAgent[Tally]):
        @on
        async def add(self, request: Add, ctx: DurableContext) -> int:
            world.runs += 1
            async with asyncio.TaskGroup() as group:
                group.create_task(self._fail())
            return 0

        async def _fail(self) -> None:
            raise ValueError("in a task")

    host = await Host.on(memory_journal())
    await host.start(Grouping, "desk/grouping")

    with pytest.raises(InQuarantine, match="ExceptionGroup"):
        await host.ref("desk/grouping").ask(Add(n=1))

    assert world.runs == Grouping.poison_after
