"""Agents that are reached by key, in an app on the inline engine: they start on demand, and end when idle."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import (
    AskFailed,
    AskTimeout,
    Context,
    DurableAgent,
    DurableContext,
    Message,
    Request,
    Running,
    Supervisor,
    child,
    keyed,
    on,
)
from regrow.actors.durable_errors import InQuarantine
from regrow.cluster.control import ControlSocket
from regrow.cluster.control_client import call
from regrow.cluster.errors import ControlError
from regrow.runtime import Down, MailboxFull, Misuse
from regrow.runtime.testing import pass_time
from regrow.supervisors import MaxActive, SpecError
from tests.cluster.keyed_desk import IDLE_S, LONG_S, keyed_desk
from tests.supervisors.stage import virtual


class Tally(BaseModel):
    asked: int = 0
    seen: list[int] = []


class Add(Request[int]):
    """Adds one, and gives how many there are."""


class Note(Message):
    number: int


class Seen(Request[tuple[int, ...]]):
    pass


class Remind(Request[bool]):
    after_s: float


class Approval(Message):
    by: str


class Approve(Request[str]):
    pass


class Pass(Request[bool]):
    key: str
    number: int


class Crash(Request[bool]):
    pass


class Break(Request[bool]):
    """Crashes, after a second, so that its agent can not be started again; done again, it does nothing."""


class TickLater(Request[bool]):
    after_s: float


class Watch(Request[bool]):
    key: str


starts: Counter[str] = Counter()
broken: set[str] = set()
"""Those that do not start."""


class Clerk(DurableAgent[Tally]):
    async def started(self, ctx: Context) -> None:
        if ctx.id in broken:
            raise ValueError("no paper")
        starts[ctx.id] += 1

    @on
    async def add(self, request: Add) -> int:
        self.state.asked += 1
        return self.state.asked

    @on
    async def note(self, message: Note) -> None:
        self.state.seen.append(message.number)

    @on
    async def seen(self, request: Seen) -> tuple[int, ...]:
        return tuple(self.state.seen)

    @on
    async def remind(self, request: Remind, ctx: DurableContext) -> bool:
        ctx.remind("later", Note(number=7), after_s=request.after_s)
        return True

    @on
    async def approve(self, request: Approve, ctx: DurableContext) -> str:
        approval = await ctx.wait_for(Approval, timeout_s=1_000.0)
        return approval.by

    @on
    async def hand_on(self, request: Pass, ctx: DurableContext) -> bool:
        await ctx.tell(ctx.ref(Clerk, key=request.key), Note(number=request.number))
        return True

    @on
    async def break_down(self, request: Break, ctx: DurableContext) -> bool:
        if starts[ctx.id] == 1:
            await pass_time(1.0)
            broken.add(ctx.id)
            raise ValueError("on purpose")
        return True

    @on
    async def tick_later(self, request: TickLater, ctx: DurableContext) -> bool:
        ctx.after(request.after_s, Note(number=1))
        return True

    @on
    async def watch(self, request: Watch, ctx: DurableContext) -> bool:
        ctx.monitor(ctx.ref(Clerk, key=request.key))
        return True

    @on
    async def down(self, down: Down) -> None:
        self.state.seen.append(2)

    @on
    async def crash(self, request: Crash) -> bool:
        raise ValueError("on purpose")


def desk(**rules: object) -> AbstractAsyncContextManager[Running]:
    starts.clear()
    broken.clear()
    return keyed_desk(Clerk, **rules)


async def active(running: Running) -> set[str]:
    return {row.id for row in await running.which_children("clerk")}


@virtual
async def test_the_first_message_to_a_key_starts_its_agent_and_each_key_has_a_state_of_its_own() -> None:
    async with desk() as running:
        assert await active(running) == set()

        counts = [await running.ref(Clerk, key=key).ask(Add()) for key in ("ada", "bob", "ada")]

        assert counts == [1, 1, 2]
        assert await active(running) == {"ada", "bob"}
        assert await running.ref("clerk/ada").ask(Add()) == 3


@virtual
async def test_first_messages_that_come_at_once_start_it_once() -> None:
    async with desk() as running:
        ref = running.ref(Clerk, key="ada")

        tells = asyncio.gather(*(ref.tell(Note(number=number)) for number in (1, 2, 3)))
        counts = await asyncio.gather(*(ref.ask(Add()) for _ in range(50)))
        await tells

        assert sorted(counts) == list(range(1, 51))
        assert await ref.ask(Seen()) == (1, 2, 3)
        assert starts == {"desk/clerk/ada": 1}


@virtual
async def test_who_has_nothing_to_do_ends_and_is_forgotten_and_the_next_message_finds_its_state() -> None:
    async with desk() as running:
        ref = running.ref(Clerk, key="ada")
        await ref.ask(Add())

        await pass_time(LONG_S)
        assert await active(running) == set()
        assert "desk/clerk/ada" not in running.engine.runtime.cells

        assert await ref.ask(Add()) == 2
        assert starts == {"desk/clerk/ada": 2}


@virtual
async def test_who_is_used_now_and_then_stays() -> None:
    async with desk() as running:
        ref = running.ref(Clerk, key="ada")

        for _ in range(10):
            await ref.ask(Add())
            await pass_time(0.9 * IDLE_S)

        assert starts == {"desk/clerk/ada": 1}


@virtual
async def test_who_waits_for_a_tick_or_a_down_stays() -> None:
    async with desk() as running:
        ada, bob, eve = (running.ref(Clerk, key=key) for key in ("ada", "bob", "eve"))
        await ada.ask(TickLater(after_s=LONG_S))
        await bob.ask(Watch(key="eve"))
        for _ in range(3):
            await eve.ask(Add())
            await pass_time(0.9 * IDLE_S)

        assert await active(running) == {"ada", "bob", "eve"}
        await pass_time(2 * LONG_S)

        assert await active(running) == set()
        assert await ada.ask(Seen()) == (1,)
        assert await bob.ask(Seen()) == (2,)


@virtual
async def test_a_start_that_fails_fails_those_who_wait_with_its_reason_and_the_next_try_may_succeed() -> None:
    async with desk() as running:
        broken.add("desk/clerk/ada")
        ref = running.ref(Clerk, key="ada")

        results = await asyncio.gather(ref.ask(Add()), ref.tell(Note(number=1)), return_exceptions=True)
        broken.clear()

        for result in results:
            assert isinstance(result, AskFailed)
            assert "no paper" in result.message
        assert await active(running) == set()
        assert await ref.ask(Add()) == 1
        assert await ref.ask(Seen()) == ()


@virtual
async def test_a_reminder_of_an_agent_that_does_not_run_starts_it_in_time() -> None:
    async with desk() as running:
        ref = running.ref(Clerk, key="ada")
        await ref.ask(Remind(after_s=10 * IDLE_S))

        await pass_time(9 * IDLE_S)
        assert await active(running) == set()
        await pass_time(1.1 * IDLE_S)

        assert await active(running) == {"ada"}
        assert await ref.ask(Seen()) == (7,)


@virtual
async def test_the_time_of_a_wait_ends_also_for_an_agent_that_does_not_run() -> None:
    async with desk() as running:
        ref = running.ref(Clerk, key="ada")
        with pytest.raises(AskTimeout):
            await ref.ask(Approve(), timeout_s=1.0)
        await pass_time(LONG_S)
        assert await active(running) == set()

        await pass_time(1_000.0 - LONG_S)

        assert await active(running) == {"ada"}
        assert starts["desk/clerk/ada"] == 2


@virtual
async def test_who_waits_for_a_parked_turn_keeps_its_agent_running() -> None:
    async with desk() as running:
        ref = running.ref(Clerk, key="ada")
        asking = asyncio.create_task(ref.ask(Approve(), timeout_s=900.0))
        await pass_time(LONG_S)

        assert await active(running) == {"ada"}
        await ref.tell(Approval(by="eve"))
        assert await asking == "eve"


@virtual
async def test_what_a_turn_tells_a_key_starts_its_agent_and_waits_while_it_can_not_start() -> None:
    async with desk() as running:
        broken.add("desk/clerk/bob")
        ada, bob = running.ref(Clerk, key="ada"), running.ref(Clerk, key="bob")
        await ada.ask(Pass(key="bob", number=1))
        await ada.ask(Pass(key="eve", number=2))
        await pass_time(LONG_S)
        assert await active(running) == {"ada"}  # it has still something to relay
        broken.clear()

        await pass_time(LONG_S)

        assert await active(running) == set()
        assert await bob.ask(Seen()) == (1,)
        assert await running.ref(Clerk, key="eve").ask(Seen()) == (2,)


@virtual
async def test_a_crash_is_handled_again_and_then_set_aside_as_for_any_durable_agent() -> None:
    async with desk(max_restarts=10) as running:
        ref = running.ref(Clerk, key="ada")
        await ref.ask(Add())

        with pytest.raises(InQuarantine, match="on purpose"):
            await ref.ask(Crash())

        assert await ref.ask(Add()) == 2
        assert starts["desk/clerk/ada"] == 4


@virtual
async def test_what_waits_behind_a_crash_is_kept_though_the_next_life_does_not_start() -> None:
    async with desk(max_restarts=10) as running:
        ref = running.ref(Clerk, key="ada")
        asking = asyncio.gather(ref.ask(Break()), ref.ask(Add()), return_exceptions=True)
        await pass_time(0.1)
        await ref.tell(Note(number=1))

        results = await asking
        assert [result.message for result in results if isinstance(result, AskFailed)] == ["no paper"] * 2
        assert await active(running) == set()
        broken.clear()
        await pass_time(LONG_S)

        assert starts["desk/clerk/ada"] == 2, "its mail has started it"
        assert await ref.ask(Seen()) == (1,)
        assert await ref.ask(Add()) == 2


@virtual
async def test_a_stop_ends_the_agent_of_a_key_and_the_next_message_starts_it() -> None:
    async with desk() as running:
        ref = running.ref(Clerk, key="ada")
        await ref.ask(Add())

        await running.stop_child(ref)
        assert await active(running) == set()

        assert await ref.ask(Add()) == 2


@virtual
async def test_no_more_run_at_once_than_may_and_who_has_nothing_to_do_makes_room() -> None:
    async with desk(max_active=2) as running:
        for key in ("ada", "bob", "eve", "ada"):
            await running.ref(Clerk, key=key).ask(Add())
            assert len(await active(running)) <= 2

        assert await running.ref(Clerk, key="ada").ask(Add()) == 3


@virtual
async def test_where_all_that_may_run_are_busy_one_more_is_refused() -> None:
    async with desk(max_active=2) as running:
        asking = [asyncio.create_task(running.ref(Clerk, key=key).ask(Approve())) for key in ("ada", "bob")]
        await pass_time(1.0)

        with pytest.raises(MaxActive, match="max_active"):
            await running.ref(Clerk, key="eve").ask(Add())

        for task in asking:
            task.cancel()


@virtual
async def test_what_can_be_no_key_is_refused_with_what_to_do() -> None:
    async with desk() as running:
        for key in ("", "a/b", "a b", "x" * 201, "a#1"):
            with pytest.raises(Misuse, match="quote"):
                running.ref(Clerk, key=key)
        with pytest.raises(Misuse, match="key="):
            running.ref(Clerk)
        with pytest.raises(Misuse, match="keyed"):
            running.ref("desk/other", key="ada")


@virtual
async def test_a_full_mailbox_of_a_key_refuses_where_its_kind_says_reject_and_else_has_its_sender_wait() -> None:
    for rules in ({"overflow": "reject"}, {}):
        async with desk(mailbox=1, **rules) as running:
            ref = running.ref(Clerk, key="ada")
            await ref.ask(Add())

            counts = await asyncio.gather(*(ref.ask(Add()) for _ in range(5)), return_exceptions=True)

            refused = [count for count in counts if isinstance(count, MailboxFull)]
            assert bool(refused) is bool(rules)
            assert len(refused) + max(count for count in counts if isinstance(count, int)) == 6


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_a_durable_agent_whose_mailbox_would_drop_is_refused_where_it_is_declared(overflow: Any) -> None:
    for declared in (child, keyed):
        with pytest.raises(SpecError, match="'block' or 'reject' for a durable agent"):
            declared(Clerk, overflow=overflow)


def test_only_a_durable_agent_may_have_keys() -> None:
    with pytest.raises(SpecError, match="must keep its state outside of memory"):
        keyed(Supervisor())  # type: ignore[arg-type]


@virtual
async def test_agents_with_keys_are_shown_below_their_kind() -> None:
    async with desk() as running:
        await running.ref(Clerk, key="ada").ask(Add())

        [root] = await running.tree()

        assert [(node.id, node.kind) for node in root.children] == [("desk/clerk", "supervisor")]
        assert [(node.id, node.state) for node in root.children[0].children] == [("desk/clerk/ada", "running")]


async def test_an_agent_with_a_key_is_asked_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="rg") as short:
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        control = ControlSocket("desk", engine="inline", request_stop=lambda: None)
        async with control, desk() as running:
            control.attach(running)

            async def asked(agent: str) -> Any:
                told = await asyncio.to_thread(call, "desk", "ask", wait_s=20.0, agent=agent, words=[], type="Add")
                return told["reply"]

            assert [await asked("desk/clerk/ada"), await asked("desk/clerk/ada")] == [1, 2]
            history = await asyncio.to_thread(call, "desk", "history", wait_s=20.0, agent="desk/clerk/ada", limit=5)
            assert [turn["outcome"] for turn in history["turns"]] == ["committed", "committed"]
            with pytest.raises(ControlError, match="desk/clerk/KEY"):
                await asked("desk/clark/ada")
