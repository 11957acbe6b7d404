"""What is delivered again, and a step that is retried, stays in its trace, with the attempt before linked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, Retries, on
from regrow.actors.durable_errors import WaitTimedOut
from regrow.runtime.address import ActorId
from regrow.runtime.journal_entries import OperationId, partition_of
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time
from tests.runtime.recorded import Recorded, attributes, id_of, is_below, linked, recording, trace_of

CLERK = "desk/clerk"


class Kept(BaseModel):
    notes: list[str] = []


class Save(Request[str]):
    text: str = ""


class Approval(Message):
    yes: bool = True


class World:
    """How often a turn and a step will fail still."""

    def __init__(self) -> None:
        self.crashes = 0
        self.failures = 0


world = World()


def charge() -> int:
    if world.failures:
        world.failures -= 1
        raise ConnectionError("the bank is away")
    return 3


class Clerk(DurableAgent[Kept]):
    @on
    async def save(self, request: Save, ctx: DurableContext) -> str:
        retries = Retries(on=ConnectionError, attempts=3, first_wait_s=0.0)
        await ctx.step("charge", charge, idempotent=True, retries=retries)
        await ctx.step("notify", str)
        if world.crashes:
            world.crashes -= 1
            raise ValueError("crashed")
        return "saved"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agent knows
    with recording(monkeypatch) as recorded:
        yield recorded


async def ask(host: Host) -> Any:
    return await host.ref(CLERK).ask(Save())


def test_a_turn_that_is_run_again_by_the_next_life_is_linked_to_the_one_before(recorded: Recorded) -> None:
    @on_virtual_time
    async def run() -> None:
        host = await Host.on(memory_journal())
        await host.start(Clerk, CLERK)
        world.crashes = 2
        await ask(host)

    run()

    root, turns = recorded.one(f"send {CLERK}"), recorded.named(f"invoke_agent {CLERK}")
    assert [is_below(turn, root) for turn in turns] == [True, True, True]
    assert [linked(turn) for turn in turns] == [[], [id_of(turns[0])], [id_of(turns[1])]]
    assert [attributes(turn).get("regrow.attempt") for turn in turns] == [None, 2, 3]
    assert len({id_of(turn) for turn in turns}) == 3


def test_a_turn_whose_process_died_is_linked_by_the_process_that_runs_it_again(recorded: Recorded) -> None:
    """The process that died tells nobody of its span; its id follows from the command and the claim."""

    @on_virtual_time
    async def run() -> None:
        journal = memory_journal()
        first = await Host.on(journal, "first")
        await first.start(Hanging, CLERK)
        await first.ref(CLERK).tell(Save())
        await pass_time(0.1)
        assert first.runtime.durability is not None
        dead = first.runtime.durability.host
        first.restarts = 0
        cell = first.runtime.cells[ActorId(CLERK)]
        assert cell.in_turn
        await first.runtime.aclose()
        await journal.revoke(dead, reaped=True)
        second = await Host.on(journal, "second")
        await second.start(Clerk, CLERK)
        await pass_time(1)

    run()

    root, (before, after) = recorded.one(f"send {CLERK}"), recorded.named(f"invoke_agent {CLERK}")
    assert is_below(after, root)
    assert linked(after) == [id_of(before)]
    assert attributes(after)["regrow.attempt"] == 2


class Hanging(Clerk):
    @on
    async def save(self, request: Save, ctx: DurableContext) -> str:
        await pass_time(1_000)
        return ""


def test_what_a_person_requeues_is_linked_to_the_last_attempt_also_in_another_process(recorded: Recorded) -> None:
    @on_virtual_time
    async def run() -> None:
        journal = memory_journal()
        first = await Host.on(journal, "first")
        await first.start(Clerk, CLERK)
        world.crashes = Clerk.poison_after
        await first.ref(CLERK).tell(Save())
        await pass_time(10)
        (row,) = await journal.quarantined(partition_of(ActorId(CLERK)))
        assert first.runtime.durability is not None
        await first.runtime.aclose()
        await journal.revoke(first.runtime.durability.host, reaped=True)
        await journal.requeue(ActorId(CLERK), row.command, operation=OperationId("again"))
        second = await Host.on(journal, "second")
        await second.start(Clerk, CLERK)
        await pass_time(1)

    run()

    root, turns = recorded.one(f"send {CLERK}"), recorded.named(f"invoke_agent {CLERK}")
    assert len(turns) == Clerk.poison_after + 1
    assert all(is_below(turn, root) for turn in turns)
    assert [linked(turn) for turn in turns[1:]] == [[id_of(turn)] for turn in turns[:-1]]
    assert attributes(turns[-1]).get("error.type") is None


class Later(DurableAgent[Kept]):
    @on
    async def save(self, request: Save, ctx: DurableContext) -> str:
        ctx.remind("again", Approval(), after_s=60)
        return "saved"

    @on
    async def approve(self, message: Approval, ctx: DurableContext) -> None:
        await ctx.step("charge", charge)
        if world.crashes:
            world.crashes -= 1
            raise ValueError("crashed")


def test_a_reminder_stays_in_the_trace_of_whoever_set_it_and_its_turn_is_linked_when_it_runs_again(
    recorded: Recorded,
) -> None:
    @on_virtual_time
    async def run() -> None:
        host = await Host.on(memory_journal())
        await host.start(Later, CLERK)
        await ask(host)
        world.crashes = 1
        await pass_time(100)

    run()

    asked, (before, after) = recorded.one(f"invoke_agent {CLERK}"), recorded.named(f"process {CLERK}")
    assert trace_of(before) == trace_of(after) == trace_of(asked)
    assert linked(after) == [id_of(before)]
    assert is_below(before, asked)
    assert is_below(after, asked)


def test_each_attempt_at_a_step_has_a_span_that_is_linked_to_the_one_before(recorded: Recorded) -> None:
    @on_virtual_time
    async def run() -> None:
        host = await Host.on(memory_journal())
        await host.start(Clerk, CLERK)
        world.failures = 2
        await ask(host)

    run()

    turn, steps = recorded.one(f"invoke_agent {CLERK}"), recorded.named("step charge")
    assert [is_below(step, turn) for step in steps] == [True, True, True]
    assert [linked(step) for step in steps] == [[], [id_of(steps[0])], [id_of(steps[1])]]
    assert [attributes(step).get("error.type") for step in steps] == ["ConnectionError", "ConnectionError", None]
    assert linked(recorded.one("step notify")) == []


def test_a_step_whose_result_is_recorded_has_no_second_span(recorded: Recorded) -> None:
    @on_virtual_time
    async def run() -> None:
        host = await Host.on(memory_journal())
        await host.start(Clerk, CLERK)
        world.crashes = 1
        await ask(host)

    run()

    assert len(recorded.named(f"invoke_agent {CLERK}")) == 2
    assert len(recorded.named("step charge")) == 1


class Patient(DurableAgent[Kept]):
    @on
    async def save(self, request: Save, ctx: DurableContext) -> str:
        with suppress(WaitTimedOut):
            await ctx.wait_for(Approval, timeout_s=5)
        return "saved"


def test_a_turn_that_goes_on_after_a_wait_has_a_span_of_its_own_in_the_same_trace(recorded: Recorded) -> None:
    @on_virtual_time
    async def run() -> None:
        host = await Host.on(memory_journal())
        await host.start(Patient, CLERK)
        await host.ref(CLERK).ask(Save(), timeout_s=100)

    run()

    turns = recorded.named(f"invoke_agent {CLERK}")
    assert len({id_of(turn) for turn in turns}) == len(turns) == 2
    assert len({trace_of(turn) for turn in turns}) == 1
    assert [attributes(turn).get("regrow.attempt") for turn in turns] == [None, None]
    assert [linked(turn) for turn in turns] == [[], []]
