"""Durable agents in processes that die at every operation of their journal, over wires that lose and repeat calls.

Clients write down what they send and what comes back, and the judge of chaos runs (`benchmarks/history_checker.py`)
says whether anything was lost, doubled, or done out of order or by a fenced life.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from history import Effect, Event, EventType, Recorder
from history_checker import judged
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, Step, on
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import FaultPlan, pass_time, run_virtual, virtual
from tests.simulation.durable_world import DurableWorld, JournalFaults
from tests.simulation.seeds import seeds

if TYPE_CHECKING:
    from tests.simulation.wires import Node

SEEDS = seeds("durable", range(6))
ASKS = 6
CLIENTS = 2
LAST_OPERATION = 120
"""A host that holds both agents is through with all that is asked before it has made so many calls of the journal."""
DEATHS = 14
"""At so many operations of the journal, all before LAST_OPERATION, its host dies in the storms."""
DISTURBED = JournalFaults(lost_before=0.1, lost_after=0.1, jump=0.05, late=0.2)
FAULTY = FaultPlan(request_lost=0.1, reply_lost=0.1, doubled=0.1, slow=0.05)


class Book(BaseModel):
    lines: list[str] = []


class Write(Request[int]):
    """Writes a line, tells the archive, and gives how many there are."""

    line: str


class Filed(Message):
    line: str


class Read(Request[tuple[str, ...]]):
    """All lines, in order."""


CLERK, ARCHIVE = "desk/clerk", "desk/archive"

effects: list[Effect] = []
"""What was done outside, in its order."""


async def effect(line: str, step: Step) -> str:
    """Is done once for its key, and for no life behind a later one, as by a service that honours both."""
    assert all(done.epoch <= step.epoch for done in effects), "a fenced life has run its step behind a later one"
    if all(done.key != step.key for done in effects):
        effects.append(_effect("write", CLERK, line, step.key, step.epoch, *line.split(".")))
    return line


def _effect(name: str, agent: str, line: str, key: str, epoch: int, source: str, number: str) -> Effect:
    return Effect(effect=name, agent=agent, command=line, key=key, epoch=epoch, source=source, number=int(number))


class Clerk(DurableAgent[Book]):
    @on
    async def write(self, request: Write, ctx: DurableContext) -> int:
        self.state.lines.append(await ctx.step("file", effect, request.line, idempotent=True))
        await ctx.tell("desk/archive", Filed(line=request.line))
        return len(self.state.lines)

    @on
    async def read(self, request: Read) -> tuple[str, ...]:
        return tuple(self.state.lines)


class Archive(DurableAgent[Book]):
    @on
    async def filed(self, message: Filed) -> None:
        self.state.lines.append(message.line)

    @on
    async def read(self, request: Read) -> tuple[str, ...]:
        return tuple(self.state.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What became of the first host, and how often the journal went wrong for all of them."""

    calls: int
    has_died: bool
    lost: int
    copies: int
    jumps: int
    log: tuple[str, ...]
    """All that clients and agents did, with its times."""


async def play(
    seed: int,
    *,
    lives: int | None = None,
    before: bool = False,
    plan: FaultPlan | None = None,
    faults: JournalFaults | None = None,
) -> Played:
    """Clients write lines through a clerk whose host dies; checks that each is there once."""
    effects.clear()
    world = DurableWorld(seed, plan) if plan is not None else DurableWorld(seed)
    first = await world.host("first")
    await world.host("second")
    await world.host("third")
    mortal = world.mortals["first"]
    await world.start_durable(first, "desk/clerk", Clerk)
    await world.start_durable(first, "desk/archive", Archive)
    mortal.calls, mortal.lives, mortal.before = 0, lives, before
    if faults is not None:
        world.disturb(faults)
    driver = world.node("driver", listens=True)
    history = Recorder()

    await asyncio.gather(*(write(driver, client, history) for client in range(CLIENTS)))
    await pass_time(5.0)
    lines = await driver.ref(CLERK).ask(Read())
    filed = await driver.ref(ARCHIVE).ask(Read())
    lost = sum(each.lost for each in world.mortals.values())
    log = (*(event.line() for event in history.events), *(effect.line() for effect in effects))
    copies = sum(each.copies for each in world.mortals.values())
    played = Played(calls=mortal.calls, has_died=mortal.is_dead, lost=lost, copies=copies, jumps=world.jumps, log=log)
    await world.close()

    history.add(Event(type=EventType.STATE, agent=CLERK, position=len(lines)))
    history.add(Event(type=EventType.STATE, agent=ARCHIVE, position=len(filed)))
    places = {event.command: event.position for event in history.events if event.type is EventType.OK}
    archived = [_effect("file", ARCHIVE, line, f"{n}", 1, CLERK, str(places[line])) for n, line in enumerate(filed)]
    verdict = judged(history.events, [*effects, *archived])
    assert verdict.is_clean, verdict.told()
    assert (verdict.acked, verdict.indeterminate) == (CLIENTS * ASKS, 0)
    assert filed == lines
    return played


async def write(driver: Node, client: int, history: Recorder) -> None:
    """Writes one line after the other, and what was answered into the history."""
    for number in range(ASKS):
        line = f"{client}.{number}"
        invoke = Event(
            type=EventType.INVOKE,
            time=driver.runtime.loop.time(),
            process=str(client),
            agent=CLERK,
            command=line,
            number=number,
            effects=("write", "file"),
        )
        history.add(invoke)
        position = await driver.ref(CLERK).ask(Write(line=line), timeout_s=120)
        history.add(replace(invoke, type=EventType.OK, time=driver.runtime.loop.time(), position=position))


def test_nothing_is_lost_or_doubled_where_nothing_dies() -> None:
    assert run_virtual(play(0)).calls < LAST_OPERATION


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("lives", range(1, LAST_OPERATION))
def test_a_host_that_dies_at_any_operation_of_the_journal_loses_and_doubles_nothing(lives: int, before: bool) -> None:
    played = run_virtual(play(1, lives=lives, before=before))

    assert played.has_died or played.calls < lives


@virtual
async def test_a_tell_to_another_process_is_not_told_as_taken_while_a_full_journal_can_not_store_it() -> None:
    world = DurableWorld()
    first, driver = await world.host("first"), world.node("driver", listens=True)
    await world.start_durable(first, ARCHIVE, Archive)
    archive = driver.ref(ARCHIVE)
    world.mortals["first"].full = 3

    telling = asyncio.create_task(archive.tell(Filed(line="late"), send_timeout_s=60))
    await pass_time(0.2)
    assert not telling.done()
    await telling

    assert await archive.ask(Read()) == ("late",)
    await world.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nor_does_it_over_wires_that_lose_and_delay_calls(seed: int) -> None:
    run_virtual(play(seed, lives=5 + 7 * (seed % DEATHS), before=seed % 2 == 0, plan=FAULTY))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nor_where_answers_of_the_journal_are_lost_calls_come_late_and_its_clock_jumps_in_lives_that_go_on(
    seed: int,
) -> None:
    played = run_virtual(play(seed, faults=DISTURBED))

    assert not played.has_died
    assert played.lost > 0
    assert played.copies > 0
    assert played.jumps > 0


@pytest.mark.heavy
@pytest.mark.slow
def test_one_seed_twice_gives_the_same_history_of_durable_agents() -> None:
    first, second, other = (run_virtual(play(seed, lives=40, plan=FAULTY, faults=DISTURBED)).log for seed in (5, 5, 6))

    assert first == second
    assert first != other


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nor_where_the_host_dies_among_them(seed: int) -> None:
    played = run_virtual(play(seed, lives=5 + 7 * (seed % DEATHS), before=seed % 2 == 0, plan=FAULTY, faults=DISTURBED))

    assert played.has_died
