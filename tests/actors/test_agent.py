"""Agents in a runtime: which handler a message finds, and where that runs."""

from __future__ import annotations

import asyncio
import threading
from typing import cast

import pytest

from regrow.actors.agent import Agent, on
from regrow.actors.context import Context
from regrow.actors.errors import InvalidAgent, Unhandled
from regrow.runtime.cell import State
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import virtual
from tests.runtime.scripted import Process, settle

PATIENCE_S = 30.0
"""How long a thread of a test that fails waits at most."""


class Question(Request[str]):
    """Expects a text."""

    text: str = ""


class Riddle(Question):
    """A question too."""


class Pun(Riddle):
    """A riddle, and so a question too."""


class Order(Request[str]):
    """Expects a text, and is no question."""


class Note(Message):
    """Expects nothing."""


class Clerk(Agent):
    """Answers questions and keeps notes."""

    def __init__(self) -> None:
        self.notes: list[Message] = []

    @on
    async def answer(self, question: Question) -> str:
        return "the clerk's"

    @on
    async def file(self, note: Note) -> None:
        self.notes.append(note)


# ---- which handler -------------------------------------------------------------------------------


@virtual
async def test_each_message_goes_to_the_handler_of_its_class() -> None:
    process, made = Process(), Clerk()
    clerk = await process.start("clerk", lambda: made)

    answer = await clerk.ask(Question())
    await clerk.tell(Note())
    await settle()

    assert answer == "the clerk's"
    assert made.notes == [Note()]


@virtual
async def test_a_handler_of_several_messages_gets_each_of_them() -> None:
    class Both(Agent):
        @on
        async def any(self, message: Question | Order) -> str:
            return type(message).__name__

    clerk = await Process().start("clerk", Both)

    assert [await clerk.ask(Question()), await clerk.ask(Order())] == ["Question", "Order"]


@virtual
async def test_a_message_without_handler_of_its_own_goes_to_that_of_its_nearest_base() -> None:
    class Jester(Clerk):
        @on
        async def solve(self, riddle: Riddle) -> str:
            return "the jester's"

    process = Process()
    clerk, jester = await process.start("clerk", Clerk), await process.start("jester", Jester)

    assert await clerk.ask(Pun()) == "the clerk's"
    assert await jester.ask(Pun()) == "the jester's"


@virtual
async def test_an_agent_inherits_the_handlers_of_its_base() -> None:
    class Senior(Clerk):
        @on
        async def order(self, order: Order) -> str:
            return "the senior's"

    senior = await Process().start("senior", Senior)

    assert await senior.ask(Question()) == "the clerk's"
    assert await senior.ask(Order()) == "the senior's"


@virtual
async def test_an_agent_has_the_handlers_of_all_its_bases_and_the_first_base_wins() -> None:
    class Waiter(Agent):
        @on
        async def serve(self, order: Order) -> str:
            return "the waiter's"

        @on
        async def answer(self, question: Question) -> str:
            return "the waiter's"

    class Host(Clerk, Waiter):
        pass

    host = await Process().start("host", Host)

    assert await host.ask(Order()) == "the waiter's"
    assert await host.ask(Question()) == "the clerk's"


@virtual
async def test_a_handler_of_a_subclass_replaces_that_of_its_base_for_the_same_message() -> None:
    class Senior(Clerk):
        @on
        async def answer(self, question: Question) -> str:
            return f"better than {await super().answer(question)}"

    process = Process()
    senior, clerk = await process.start("senior", Senior), await process.start("clerk", Clerk)

    assert await senior.ask(Question()) == "better than the clerk's"
    assert await clerk.ask(Question()) == "the clerk's"


def test_a_method_that_hides_a_handler_of_its_base_and_is_none_itself_is_refused() -> None:
    with pytest.raises(InvalidAgent, match=r"^Night\.answer overrides a handler of a base class .* mark it with @on"):

        class Night(Clerk):  # pyright: ignore[reportUnusedClass]
            async def answer(self, question: Question) -> str:
                return "closed"


@virtual
async def test_what_a_base_has_handled_before_does_not_hide_the_handler_of_a_later_subclass() -> None:
    class Base(Clerk):
        pass

    process = Process()
    await (await process.start("base", Base)).ask(Riddle())

    class Senior(Base):
        @on
        async def answer(self, question: Question) -> str:
            return "the senior's"

    senior = await process.start("senior", Senior)

    assert await senior.ask(Riddle()) == "the senior's"


@virtual
async def test_a_message_without_handler_is_refused_with_the_names_of_the_handled_ones() -> None:
    process = Process()
    clerk = await process.start("desk/clerk", Clerk)

    with pytest.raises(Unhandled, match=r"desk/clerk \(Clerk\) has no handler for Order; it handles Note, Question$"):
        await clerk.ask(Order())

    assert process.state("desk/clerk") is State.RUNNING


@virtual
async def test_an_agent_without_handlers_says_that_it_handles_nothing() -> None:
    class Idle(Agent):
        pass

    idle = await Process().start("idle", Idle)

    with pytest.raises(Unhandled, match=r"idle \(Idle\) has no handler for Order; it handles nothing$"):
        await idle.ask(Order())


@virtual
async def test_a_handler_gets_the_context_only_when_it_takes_one() -> None:
    class Curious(Agent):
        @on
        async def without(self, question: Question) -> str:
            return question.text

        @on
        async def within(self, order: Order, ctx: Context) -> str:
            return ctx.id

    curious = await Process().start("desk/curious", Curious)

    assert await curious.ask(Question(text="plain")) == "plain"
    assert await curious.ask(Order()) == "desk/curious"


# ---- where it runs -------------------------------------------------------------------------------


@virtual
async def test_an_async_handler_runs_in_the_thread_of_the_loop_and_a_plain_one_in_another() -> None:
    ran_in: dict[str, int] = {}

    class Worker(Agent):
        @on
        async def on_loop(self, question: Question) -> str:
            ran_in["async"] = threading.get_ident()
            return ""

        @on
        def aside(self, order: Order) -> str:
            ran_in["def"] = threading.get_ident()
            return ""

    worker = await Process().start("worker", Worker)
    await worker.ask(Question())
    await worker.ask(Order())

    assert ran_in["async"] == threading.get_ident()
    assert ran_in["def"] != threading.get_ident()


@virtual
async def test_a_plain_handler_that_blocks_lets_other_agents_go_on() -> None:
    loop, began, gate = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    class Slow(Agent):
        @on
        def work(self, order: Order) -> str:
            loop.call_soon_threadsafe(began.set)
            return "released" if gate.wait(PATIENCE_S) else "the loop was blocked"

    process = Process()
    slow, clerk = await process.start("slow", Slow), await process.start("clerk", Clerk)
    working = asyncio.ensure_future(slow.ask(Order(), timeout_s=60.0))
    await began.wait()
    answer = await clerk.ask(Question())
    gate.set()

    assert answer == "the clerk's"
    assert await working == "released"


@virtual
async def test_a_plain_handler_handles_one_message_at_a_time() -> None:
    running = threading.Lock()

    class Slow(Agent):
        @on
        def work(self, order: Order) -> str:
            alone = running.acquire(blocking=False)
            if alone:
                running.release()
            return "alone" if alone else "beside another"

    slow = await Process().start("slow", Slow)

    assert set(await asyncio.gather(*(slow.ask(Order()) for _ in range(4)))) == {"alone"}


class Meeting(Agent):
    """Whose concurrent handler ends once two run; riddles have no handler of their own."""

    def __init__(self) -> None:
        self.here = asyncio.Barrier(2)

    @on(concurrent=True)
    async def meet(self, question: Question) -> str:
        await self.here.wait()
        return "met"


@pytest.mark.parametrize("message", [Question(), Riddle()], ids=["its class", "a subclass"])
def test_turns_of_a_concurrent_handler_run_side_by_side(message: Question) -> None:
    @virtual
    async def run() -> None:
        class Room(Meeting):
            pass

        room = await Process().start("room", Room)

        both = await asyncio.gather(*(room.ask(message, timeout_s=1.0) for _ in range(2)))

        assert both == ["met", "met"]

    run()


@virtual
async def test_turns_of_other_handlers_run_one_after_the_other() -> None:
    running, most = 0, 0

    class Alone(Agent):
        @on
        async def work(self, order: Order) -> str:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await settle()
            running -= 1
            return ""

    alone = await Process().start("alone", Alone)
    await asyncio.gather(*(alone.ask(Order()) for _ in range(3)))

    assert most == 1


# ---- starts that could never be -----------------------------------------------------------------


def test_a_start_or_stop_that_is_not_async_is_refused_when_the_class_is_defined() -> None:
    def returns_at_once(self: Agent, ctx: Context) -> int:
        return 3

    with pytest.raises(InvalidAgent, match="write it as `async def started`"):
        type("Hasty", (Agent,), {"started": returns_at_once})
    with pytest.raises(InvalidAgent, match="write it as `async def stopping`"):
        type("Lazy", (Agent,), {"stopping": None})


def test_a_constructor_that_is_async_is_refused_when_the_class_is_defined() -> None:
    async def awaits(self: Agent) -> None:
        pass

    with pytest.raises(InvalidAgent, match="would never run"):
        type("Waiting", (Agent,), {"__init__": awaits})


def test_a_constructor_that_returns_something_is_refused_when_the_agent_is_made() -> None:
    class Generous(Agent):
        def __init__(self) -> None:
            return cast("None", 3)  # noqa: PLE0101 - the very mistake

    with pytest.raises(InvalidAgent, match="__init__ returned 3"):
        Generous.made(None)
