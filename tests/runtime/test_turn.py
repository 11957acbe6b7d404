"""Turns: one message at a time, answers, refusals and crashes (SEMANTICS 4 and 5; decision 5)."""

from __future__ import annotations

import asyncio
import contextvars
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.cell import State
from regrow.runtime.errors import AskCycle, AskFailed, AskTimeout, CallingSelf, NotAllowed, OutOfBudget, Refused
from regrow.runtime.lifecycle import Crashed, Shutdown
from regrow.runtime.mailbox import MESSAGES_IN_A_ROW
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Boom, Echo, Hang, Note, Process, Scripted, for_ever, settle

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext


MANY = 100
"""More than are handled in a row."""


class Both(Request[str]):
    """A request whose handler may run beside others."""

    n: int = 0


def limit_turns(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr("regrow.runtime.turn.MAX_CONCURRENT_TURNS", limit)


class Log:
    """What happened, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)


# ---- one at a time -------------------------------------------------------------------------------


@virtual
async def test_one_message_at_a_time_and_no_interleaving_at_await() -> None:
    process, log = Process(), Log()

    async def handle(message: Note, ctx: CellContext) -> None:
        log(f"begin {message.n}")
        await pass_time(1.0)
        log(f"end {message.n}")

    clerk = await process.start("clerk", handle)
    for n in range(3):
        clerk.tell_nowait(Note(n=n))
    await pass_time(10.0)

    assert log.lines == ["begin 0", "end 0", "begin 1", "end 1", "begin 2", "end 2"]


@virtual
async def test_an_actor_with_many_messages_whose_handler_never_waits_lets_others_come_between() -> None:
    process, log = Process(), Log()

    async def handle(message: Note, ctx: CellContext) -> None:
        log(f"{message.n}")

    clerk, other = await process.start("clerk", handle), await process.start("other", handle)
    for n in range(MANY):
        clerk.tell_nowait(Note(n=n))
    other.tell_nowait(Note(n=-1))
    await pass_time(1.0)

    assert len(log.lines) == MANY + 1
    assert log.lines.index("-1") == MESSAGES_IN_A_ROW


@virtual
async def test_a_stop_is_seen_between_messages_whose_handler_never_waits_and_the_next_life_has_the_rest() -> None:
    process, log = Process(), Log()

    async def handle(message: Note, ctx: CellContext) -> None:
        log(f"{message.n}")
        if message.n == 0:  # it comes while these are handled, as one from another process does
            asyncio.get_running_loop().call_soon(process.cell("clerk").stop, Shutdown(), 10.0)

    clerk = await process.start("clerk", handle)
    for n in range(MANY):
        clerk.tell_nowait(Note(n=n))
    await pass_time(1.0)
    before = len(log.lines)
    await process.start("clerk", handle)
    await pass_time(1.0)

    assert before == MESSAGES_IN_A_ROW
    assert log.lines == [str(n) for n in range(MANY)]


@virtual
async def test_a_kill_between_messages_ends_the_life_and_the_next_one_has_the_rest() -> None:
    process, log = Process(), Log()

    async def handle(message: Note, ctx: CellContext) -> None:
        log(f"{message.n}")
        if message.n == 0:
            asyncio.get_running_loop().call_soon(process.cell("clerk").kill)

    clerk = await process.start("clerk", handle)
    for n in range(MANY):
        clerk.tell_nowait(Note(n=n))
    await pass_time(1.0)
    before = len(log.lines)
    await process.start("clerk", handle)
    await pass_time(1.0)

    assert before == MESSAGES_IN_A_ROW
    assert log.lines == [str(n) for n in range(MANY)]
    assert process.dead == {}


@virtual
async def test_messages_that_may_run_beside_others_interleave_and_the_rest_does_not() -> None:
    process, log = Process(), Log()

    async def handle(message: Message, ctx: CellContext) -> str:
        name = type(message).__name__
        log(f"begin {name}")
        await pass_time(1.0)
        log(f"end {name}")
        return ""

    clerk = await process.start("clerk", Scripted(handle, beside=(Both,)))
    asks = [asyncio.ensure_future(clerk.ask(request)) for request in (Both(), Both(), Echo())]
    await settle()
    clerk.tell_nowait(Note())
    await asyncio.wait(asks)
    await pass_time(5.0)

    assert sorted(log.lines[:3]) == ["begin Both", "begin Both", "begin Echo"]
    assert log.lines.index("begin Note") > log.lines.index("end Echo")


@virtual
async def test_an_idle_actor_holds_no_task() -> None:
    process = Process()
    clerk = await process.start("clerk")
    before = asyncio.all_tasks()

    assert await clerk.ask(Echo(text="hi")) == "hi"
    await settle()

    assert asyncio.all_tasks() == before


@virtual
async def test_no_more_turns_run_beside_each_other_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_turns(monkeypatch, 3)
    process, running, most = Process(), 0, 0

    async def handle(message: Message, ctx: CellContext) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await pass_time(1.0)
        running -= 1
        return ""

    clerk = await process.start("clerk", Scripted(handle, beside=(Both,)))
    await asyncio.gather(*(clerk.ask(Both()) for _ in range(8)))

    assert most == 3


@virtual
async def test_a_kill_loses_no_message_that_waits_for_a_turn_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_turns(monkeypatch, 1)
    process = Process()
    clerk = await process.start("clerk", Scripted(for_ever, beside=(Both,)))
    asks = [asyncio.ensure_future(clerk.ask(Both())) for _ in range(2)]
    await settle()

    process.cell("clerk").kill()
    await process.start("clerk", Scripted(_say_hello))

    assert await asks[1] == "hello"
    with pytest.raises(AskFailed, match="Killed"):
        await asks[0]


async def _say_hello(message: Message, ctx: CellContext) -> str:
    return "hello"


@virtual
async def test_a_message_that_may_run_beside_does_not_wait_for_the_turn_that_runs() -> None:
    process = Process()

    async def handle(message: Message, ctx: CellContext) -> str:
        await (settle() if isinstance(message, Both) else for_ever())
        return "at once"

    clerk = await process.start("clerk", Scripted(handle, beside=(Both,)))
    clerk.tell_nowait(Note())
    await settle()

    assert await clerk.ask(Both(), timeout_s=1.0) == "at once"


@virtual
async def test_nor_does_one_that_came_before_that_turn_had_begun() -> None:
    process = Process()

    async def handle(message: Message, ctx: CellContext) -> str:
        await (settle() if isinstance(message, Both) else for_ever())
        return "at once"

    async def tell() -> str:
        clerk.tell_nowait(Note())
        return "told"

    clerk = await process.start("clerk", Scripted(handle, beside=(Both,)))
    came_together = (tell(), clerk.ask(Both()), clerk.ask(Both()), tell())

    assert await asyncio.gather(*came_together) == ["told", "at once", "at once", "told"]
    behind = asyncio.ensure_future(clerk.ask(Both()))
    await settle()
    assert not behind.done(), "it has overtaken a message that may not run beside"
    behind.cancel()


@virtual
async def test_nor_does_one_that_waited_for_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_turns(monkeypatch, 1)
    process = Process()

    async def handle(message: Message, ctx: CellContext) -> str:
        await (settle() if isinstance(message, Both) else for_ever())
        return "at once"

    clerk = await process.start("clerk", Scripted(handle, beside=(Both,)))
    clerk.tell_nowait(Note())
    await settle()

    assert await asyncio.gather(*(clerk.ask(Both()) for _ in range(3))) == ["at once"] * 3


@virtual
async def test_a_message_that_may_run_beside_keeps_its_place_behind_messages_that_came_earlier() -> None:
    process, log = Process(), Log()

    async def handle(message: Message, ctx: CellContext) -> str:
        log(type(message).__name__)
        await pass_time(1.0)
        return ""

    clerk = await process.start("clerk", Scripted(handle, beside=(Both,)))
    clerk.tell_nowait(Note())
    await settle()
    clerk.tell_nowait(Note())
    await clerk.ask(Both())

    assert log.lines == ["Note", "Note", "Both"]


@virtual
async def test_a_message_that_may_run_beside_does_not_run_in_a_life_that_is_ending() -> None:
    process = Process()

    async def slow(ctx: CellContext) -> None:
        await pass_time(1.0)

    async def handle(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Note):
            await ctx.spawn(Scripted(stopping=slow), "copy")
            await for_ever()
        return str(ctx.incarnation)

    clerk = await process.start("clerk", Scripted(handle, beside=(Both,)))
    clerk.tell_nowait(Note())
    await settle()
    process.cell("clerk").kill()
    asking = asyncio.ensure_future(clerk.ask(Both()))
    await pass_time(2.0)
    assert not asking.done()

    await process.start("clerk", Scripted(_say_hello))

    assert await asking == "hello"


@virtual
async def test_a_turn_begins_without_what_its_sender_has_set_in_its_own_context() -> None:
    process = Process()
    setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="none")

    async def handle(message: Message, ctx: CellContext) -> str:
        return setting.get()

    clerk = await process.start("clerk", handle)
    setting.set("the sender's")

    assert await clerk.ask(Echo()) == "none"


# ---- answers -------------------------------------------------------------------------------------


@virtual
async def test_a_reply_of_another_type_than_declared_is_a_crash_of_the_callee() -> None:
    process = Process()

    async def handle(message: Message, ctx: CellContext) -> int:
        return 7

    clerk = await process.start("clerk", handle)

    with pytest.raises(AskFailed, match="the reply to Echo must be str, not int") as failure:
        await clerk.ask(Echo())

    assert failure.value.type_name == "InvalidMessage"


@virtual
async def test_what_a_tell_returns_goes_nowhere() -> None:
    process = Process()

    async def handle(message: Message, ctx: CellContext) -> int:
        return 7

    clerk = await process.start("clerk", handle)
    await clerk.tell(Note())
    await settle()

    assert process.state("clerk") is State.RUNNING
    assert process.dead == {}


@pytest.mark.parametrize("refusal", [Refused, NotAllowed, OutOfBudget])
def test_a_refusal_answers_the_asker_and_the_agent_lives(refusal: type[Refused]) -> None:
    @virtual
    async def run() -> None:
        process = Process()

        async def handle(message: Echo, ctx: CellContext) -> str:
            if message.text == "no":
                raise refusal("not today")
            return message.text

        clerk = await process.start("clerk", handle)

        with pytest.raises(refusal, match="not today"):
            await clerk.ask(Echo(text="no"))

        assert await clerk.ask(Echo(text="yes")) == "yes"
        assert process.cell("clerk").incarnation == 1

    run()


class StoreClosed(Refused):
    """A refusal of a user's own."""

    def __init__(self, day: str, *, hours: int) -> None:
        super().__init__(f"closed on {day}")


@virtual
async def test_a_refusal_of_the_users_own_class_keeps_its_class_and_text() -> None:
    process = Process()

    async def handle(message: Message, ctx: CellContext) -> str:
        raise StoreClosed("Sunday", hours=0)

    clerk = await process.start("clerk", handle)

    with pytest.raises(StoreClosed, match="closed on Sunday"):
        await clerk.ask(Echo())


@virtual
async def test_a_refused_tell_is_a_dead_letter() -> None:
    process = Process()

    async def handle(message: Message, ctx: CellContext) -> None:
        raise Refused("no")

    clerk = await process.start("clerk", handle)
    await clerk.tell(Note())
    await settle()

    assert process.dead == {"refused": 1}
    assert process.state("clerk") is State.RUNNING


# ---- crashes -------------------------------------------------------------------------------------


async def crash(message: Any, ctx: CellContext) -> str:
    raise Boom("no such page")


@virtual
async def test_a_crash_fails_the_asker_with_everything_a_person_needs() -> None:
    process = Process()
    clerk = await process.start("desk/clerk", crash)

    with pytest.raises(AskFailed) as failure:
        await clerk.ask(Echo())

    error = failure.value
    assert (error.actor, error.type_name, error.message) == ("desk/clerk", "Boom", "no such page")
    assert 'raise Boom("no such page")' in error.traceback
    assert isinstance(error.reason, Crashed)
    assert error.reason.on_message == "Echo"
    assert error.reason.place.startswith("test_turn.py:")
    assert str(error) == (
        f"desk/clerk#1 died handling Echo (Boom: no such page at {error.reason.place}); "
        "its supervisor starts it again unless it is temporary; not retried, since Agent delivers at most once"
    )


@virtual
async def test_a_crash_costs_one_message_and_the_rest_of_the_mailbox_keeps_its_order() -> None:
    process, handled = Process(), list[int]()

    async def handle(message: Note, ctx: CellContext) -> None:
        if message.n == 2:
            raise Boom
        handled.append(message.n)

    clerk = await process.start("clerk", handle)
    for n in range(6):
        clerk.tell_nowait(Note(n=n))
    await settle()
    handled_before_restart = list(handled)
    await process.start("clerk", handle)
    await settle()

    assert (handled_before_restart, handled) == ([0, 1], [0, 1, 3, 4, 5])
    assert process.dead == {"crashed": 1}


@virtual
async def test_messages_sent_between_two_lives_wait_for_the_next() -> None:
    process, handled = Process(), list[int]()

    async def handle(message: Note, ctx: CellContext) -> None:
        handled.append(message.n)

    clerk = await process.start("clerk", handle)
    process.cell("clerk").kill()
    await clerk.tell(Note(n=1))
    clerk.tell_nowait(Note(n=2))
    waiting = asyncio.ensure_future(clerk.ask(Hang()))
    await settle()
    assert process.state("clerk") is State.RESTARTING

    await process.start("clerk", Scripted(_keep(handled)))

    assert await waiting == "back"
    assert handled == [1, 2]


def _keep(handled: list[int]) -> Any:
    async def handle(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Note):
            handled.append(message.n)
        return "back"

    return handle


@virtual
async def test_a_cancellation_that_a_handler_lets_escape_is_a_crash() -> None:
    process = Process()

    async def handle(message: Message, ctx: CellContext) -> str:
        raise asyncio.CancelledError

    clerk = await process.start("clerk", handle)

    with pytest.raises(AskFailed) as failure:
        await clerk.ask(Echo())

    assert failure.value.type_name == "CancelledError"


@virtual
async def test_a_crash_beside_other_turns_ends_them_all() -> None:
    process = Process()

    async def handle(message: Echo | Both, ctx: CellContext) -> str:
        if isinstance(message, Echo):
            raise Boom
        await for_ever()
        return ""

    clerk = await process.start("clerk", Scripted(handle, beside=(Both,)))
    asks = [asyncio.ensure_future(clerk.ask(request)) for request in (Both(), Both(), Echo())]
    await asyncio.wait(asks)

    assert {type(ask.exception()) for ask in asks} == {AskFailed}
    assert {getattr(ask.exception(), "type_name", "") for ask in asks} == {"Boom"}


@virtual
async def test_code_of_a_killed_life_that_does_not_let_go_takes_no_messages_of_the_next() -> None:
    process, log, released = Process(), Log(), asyncio.Event()

    async def stubborn(message: Note, ctx: CellContext) -> None:
        log(f"old {message.n}")
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                log("does not let go")

    async def fresh(message: Note, ctx: CellContext) -> None:
        log(f"new {message.n}")
        await pass_time(1.0)
        log(f"done {message.n}")

    clerk = await process.start("clerk", stubborn)
    clerk.tell_nowait(Note(n=1))
    await settle()
    process.cell("clerk").kill()
    await process.start("clerk", fresh)
    for n in (2, 3):
        clerk.tell_nowait(Note(n=n))
    await settle()
    released.set()
    await pass_time(5.0)

    assert log.lines == ["old 1", "does not let go", "new 2", "done 2", "new 3", "done 3"]


# ---- circles -------------------------------------------------------------------------------------


@virtual
async def test_an_actor_that_asks_itself_is_told_so_at_once() -> None:
    process = Process()

    async def handle(message: Message, ctx: CellContext) -> str:
        return await ctx.ask(ctx.self_ref, Echo())

    clerk = await process.start("desk/clerk", handle)

    with pytest.raises(AskFailed, match="desk/clerk asked itself and would wait for itself for ever") as failure:
        await clerk.ask(Echo())

    assert failure.value.type_name == CallingSelf.__name__


@pytest.mark.parametrize("size", [2, 3])
def test_a_circle_of_asks_fails_at_once_and_names_who_waits(size: int) -> None:
    @virtual
    async def run() -> None:
        process, caught = Process(), list[AskCycle]()
        started_s = asyncio.get_running_loop().time()

        def passing_on(number: int) -> Any:
            async def handle(message: Message, ctx: CellContext) -> str:
                try:
                    return await ctx.ask(f"desk/{(number + 1) % size}", Echo())
                except AskCycle as error:
                    caught.append(error)
                    return "a circle"

            return handle

        for number in range(size):
            await process.start(f"desk/{number}", passing_on(number))

        assert await process.ref("desk/0").ask(Echo()) == "a circle"

        chain = [f"desk/{number}" for number in range(size)]
        assert " → ".join([*chain, "desk/0"]) in str(caught[0])
        assert "make one of these asks a tell" in str(caught[0])
        assert asyncio.get_running_loop().time() == started_s

    run()


@pytest.mark.parametrize("between", [1, 2])
def test_a_circle_through_agents_that_serve_others_meanwhile_is_found_and_breaks_nothing(between: int) -> None:
    """They are not in the chain of asks, whose end may then be somebody else than the sender."""

    @virtual
    async def run() -> None:
        process, loop, caught = Process(), asyncio.get_running_loop(), list[AskCycle]()
        way = ["desk/boss", *(f"desk/{number}" for number in range(between)), "desk/boss"]
        following = dict(pairwise(way))
        began_s = loop.time()

        async def asks_on(message: Message, ctx: CellContext) -> str:
            try:
                back = Echo() if following[ctx.id] == "desk/boss" else Both()
                return await ctx.ask(following[ctx.id], back)
            except AskCycle as error:
                caught.append(error)
                return "a circle"

        await process.start("desk/boss", asks_on)
        for number in range(between):
            await process.start(f"desk/{number}", lambda: Scripted(asks_on, beside=(Both,)))

        assert await process.ref("desk/boss").ask(Echo()) == "a circle"
        assert len(caught) == 1
        assert all(each in str(caught[0]) for each in way)
        assert loop.time() - began_s < 1.0

    run()


@virtual
async def test_who_has_given_up_an_ask_may_be_asked_by_the_one_that_still_works_on_it() -> None:
    process, replies = Process(), list[str]()

    async def gives_up(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Note):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await ctx.ask("desk/slow", Echo())
        return "served"

    async def slow(message: Message, ctx: CellContext) -> str:
        await pass_time(1.0)
        replies.append(await ctx.ask("desk/hasty", Echo()))
        return "late"

    await process.start("desk/hasty", gives_up)
    await process.start("desk/slow", slow)

    await process.ref("desk/hasty").tell(Note())
    await pass_time(2.0)

    assert replies == ["served"]


@virtual
async def test_a_concurrent_handler_may_be_called_back() -> None:
    process = Process()

    async def front(message: Message, ctx: CellContext) -> str:
        return await ctx.ask("desk/back", Echo()) if isinstance(message, Echo) else "called back"

    async def back(message: Message, ctx: CellContext) -> str:
        return await ctx.ask("desk/front", Both())

    await process.start("desk/front", Scripted(front, beside=(Both,)))
    await process.start("desk/back", back)

    asking = asyncio.ensure_future(process.ref("desk/front").ask(Echo(), timeout_s=1.0))
    await process.ref("desk/front").tell(Note())  # waits for the turn that waits for the call back

    assert await asking == "called back"


@virtual
async def test_a_call_back_of_a_turn_that_nobody_waits_for_any_more_is_no_circle() -> None:
    process, got = Process(), list[str]()

    async def boss(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Note):
            try:
                async with asyncio.timeout(0.1 if message.n == 1 else 9):
                    got.append(await ctx.ask("desk/clerk", Both(n=message.n)))
            except TimeoutError:
                got.append("gave up")
        return "served"

    async def clerk(message: Both, ctx: CellContext) -> str:
        await pass_time(0.3)
        if message.n == 1:
            reply: str = await ctx.ask("desk/boss", Echo())
            got.append(f"call back {reply}")
        return f"reply to {message.n}"

    await process.start("desk/boss", boss)
    await process.start("desk/clerk", Scripted(clerk, beside=(Both,)))  # serves both of them at once

    for n in (1, 2):
        await process.ref("desk/boss").tell(Note(n=n))
    await pass_time(5.0)

    assert got == ["gave up", "reply to 2", "call back served"]


@virtual
async def test_a_call_back_to_an_agent_whose_waiting_turn_keeps_nobody_waiting_is_no_circle() -> None:
    process, got = Process(), list[str]()

    async def boss(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Note):
            try:
                async with asyncio.timeout(0.1):
                    await ctx.ask("desk/clerk", Both())
            except TimeoutError:
                got.append("gave up")
        elif isinstance(message, Both):  # beside others: who asks now is served
            got.append(await ctx.ask("desk/clerk", Echo()))
        return "served"

    async def clerk(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Both):
            await pass_time(0.5)
            reply: str = await ctx.ask("desk/boss", Echo())
            got.append(f"call back {reply}")
        return "reply"

    await process.start("desk/boss", Scripted(boss, beside=(Both,)))
    await process.start("desk/clerk", clerk)

    await process.ref("desk/boss").tell(Note())
    await pass_time(0.2)
    await process.ref("desk/boss").ask(Both())

    assert got == ["gave up", "call back served", "reply"]


@virtual
async def test_whoever_asks_in_a_concurrent_turn_is_not_blocked_and_may_be_asked() -> None:
    process = Process()

    async def front(message: Message, ctx: CellContext) -> str:
        return await ctx.ask("desk/back", Echo()) if isinstance(message, Both) else "served"

    async def back(message: Message, ctx: CellContext) -> str:
        return await ctx.ask("desk/front", Echo())

    await process.start("desk/front", Scripted(front, beside=(Both,)))
    await process.start("desk/back", back)

    assert await process.ref("desk/front").ask(Both()) == "served"


@virtual
async def test_asks_of_two_turns_that_have_nothing_to_do_with_each_other_are_no_circle() -> None:
    process = Process()

    async def front(message: Message, ctx: CellContext) -> str:
        if isinstance(message, Note):
            return ""
        await ctx.tell("desk/back", Note())
        return "told"

    async def back(message: Message, ctx: CellContext) -> str:
        return await ctx.ask("desk/front", Echo()) if isinstance(message, Note) else ""

    await process.start("desk/front", front)
    await process.start("desk/back", back)

    assert await process.ref("desk/front").ask(Echo()) == "told"


# ---- deadlines -----------------------------------------------------------------------------------


@virtual
async def test_a_message_past_its_deadline_is_dropped_before_it_runs() -> None:
    process, handled = Process(), list[str]()

    async def handle(message: Echo, ctx: CellContext) -> str:
        handled.append(message.text)
        await pass_time(2.0)
        return ""

    clerk = await process.start("clerk", handle)
    asks = [asyncio.ensure_future(clerk.ask(Echo(text=text), timeout_s=1.0)) for text in ("first", "late")]
    await asyncio.wait(asks)
    await pass_time(5.0)

    assert handled == ["first"]
    assert {type(ask.exception()) for ask in asks} == {AskTimeout}
    assert process.dead == {"expired": 1, "late_reply": 1}


@virtual
async def test_asks_of_a_turn_inherit_its_deadline() -> None:
    process, left = Process(), list[float | None]()

    async def front(message: Message, ctx: CellContext) -> str:
        await pass_time(1.0)
        return await ctx.ask("desk/back", Echo(), timeout_s=60.0)

    async def back(message: Message, ctx: CellContext) -> str:
        left.append(ctx.deadline)
        await ctx.ask("desk/last", Echo(), timeout_s=0.5)
        return ""

    async def last(message: Message, ctx: CellContext) -> str:
        left.append(ctx.deadline)
        return ""

    for name, handle in (("front", front), ("back", back), ("last", last)):
        await process.start(f"desk/{name}", handle)

    await process.ref("desk/front").ask(Echo(), timeout_s=3.0)

    assert left == [pytest.approx(2.0), pytest.approx(0.5)]


@virtual
async def test_a_timeout_does_not_stop_the_callee() -> None:
    process, done = Process(), list[str]()

    async def handle(message: Message, ctx: CellContext) -> str:
        await pass_time(2.0)
        done.append("work")
        return ""

    clerk = await process.start("desk/clerk", handle)

    with pytest.raises(AskTimeout, match="desk/clerk did not answer Echo within 1 s; it was not stopped"):
        await clerk.ask(Echo(), timeout_s=1.0)
    await pass_time(5.0)

    assert done == ["work"]
    assert process.dead == {"late_reply": 1}
