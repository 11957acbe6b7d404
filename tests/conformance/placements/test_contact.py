"""Contact that is lost, and comes back, is no death (SEMANTICS 1): one silence by SIGSTOP, and what came of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from time import monotonic

import pytest
import pytest_asyncio

from regrow.runtime import ContactLost, NoReply, RegrowError, Replied
from tests.conformance.placements.commands import line_of
from tests.conformance.placements.player import AskFor, Block, Gate, Life, Note, Pid, Watch
from tests.conformance.placements.stage import HELD_TIMEOUT_S, Stage, Stages
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

SOON_S = 0.3
ANSWERED_S = 4.0
"""Within so long another process answers, also on a busy machine."""

SILENCE_S = 60.0
"""Far beyond what the whole of it takes on a busy machine."""

TELL_S = 10.0
"""A tell that waits longer than it takes to notice that contact is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """What came of the silence of pip, whose process was stopped while it handled a request.

    The process of bob, where that is another one, was blocked by its own code for the same time.
    """

    in_flight: object
    in_flight_after_s: float
    in_flight_of_an_agent: object
    asked: object
    collected: tuple[object, ...]
    told: object
    states: tuple[str, str]
    printed: list[str]
    lives: tuple[int, int]
    watcher_saw: tuple[str, ...]
    pip_saw: tuple[str, ...]
    lives_of_the_heedless: tuple[int, int]


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def silence(processes: None, stages: Stages) -> AsyncIterator[Silence]:
    """One for all tests, since it takes seconds until contact counts as lost."""
    stage = await stages.stage()
    async with asyncio.timeout(SILENCE_S):
        made = await _silence(stage)
    yield made


async def _silence(stage: Stage) -> Silence:
    ann, amy, pat, bob, pip = await stage.fresh("ann", "amy", "pat", "bob", "pip")
    before, pid = await pip.ask(Life()), await pip.ask(Pid())
    for one in (pip, bob):
        await ann.ask(Watch(of=one))
    await pat.ask(Watch(of=pip))
    heedless = await pat.ask(Life())
    frees = stage.record.file()
    blocked = asyncio.create_task(bob.ask(Block(file=str(frees)), timeout_s=600.0)) if stage.placement.apart else None
    if blocked is not None:
        await stage.until_seen("bob", "blocks")
    opens, in_flight = await stage.held(pip)
    of_an_agent = asyncio.create_task(amy.ask(AskFor(to=pip, request=Gate(file=str(opens))), timeout_s=600.0))
    await until(lambda: _waits(stage, "pip"), "the agent's ask is there")

    os.kill(pid, signal.SIGSTOP)
    stopped_s = monotonic()
    try:
        telling = asyncio.create_task(pip.tell(Note(text="told into the silence"), send_timeout_s=TELL_S))
        ended = await outcome(in_flight)
        after_s = monotonic() - stopped_s
        if stage.placement.apart:
            await stage.until_seen("ann", "unreachable pip")
        states = await stage.state("pip"), await stage.state("bob")
        printed = await line_of(stage, "pip")
        asking = pip.ask(Life(), timeout_s=SOON_S)
        asked = await outcome(asking)
        others = (pip, ann) if stage.placement.apart else (pip,)
        collected = tuple(await stage.running.ask_all(others, Life(), timeout_s=ANSWERED_S))
        told = await outcome(telling)
    finally:
        opens.touch()
        frees.touch()
        os.kill(pid, signal.SIGCONT)

    after = await pip.ask(Life(), timeout_s=60.0)
    if blocked is not None:
        await blocked
        await stage.until_seen("ann", "reachable pip")
    return Silence(
        in_flight=ended,
        in_flight_after_s=after_s,
        in_flight_of_an_agent=await outcome(of_an_agent),
        asked=asked,
        collected=tuple(each.error if isinstance(each, NoReply) else each for each in collected),
        told=told,
        states=states,
        printed=printed,
        lives=(before, after),
        watcher_saw=tuple(stage.record.seen("ann")),
        pip_saw=tuple(stage.record.seen("pip")),
        lives_of_the_heedless=(heedless, await pat.ask(Life())),
    )


async def test_asks_in_flight_end_as_unknown_when_contact_is_lost(silence: Silence) -> None:
    assert isinstance(silence.in_flight, ContactLost)
    assert silence.in_flight.may_have_run
    assert "Gate may have run" in str(silence.in_flight)
    assert silence.in_flight_after_s < HELD_TIMEOUT_S / 2, "it does not wait for its deadline"


@pytest.mark.usefixtures("bystanders")
async def test_so_do_the_asks_of_agents_in_other_processes(silence: Silence) -> None:
    assert str(silence.in_flight_of_an_agent).startswith("ContactLost: ")


async def test_an_ask_that_is_sent_while_contact_is_lost_ends_at_its_deadline_as_unknown(silence: Silence) -> None:
    assert isinstance(silence.asked, ContactLost)
    first, *others = silence.collected
    assert isinstance(first, ContactLost)
    assert all(isinstance(each, Replied) for each in others), "who can be reached answers all the same"


async def test_a_tell_that_is_under_way_when_contact_is_lost_ends_as_unknown(silence: Silence) -> None:
    assert isinstance(silence.told, ContactLost)


async def test_who_is_silent_is_shown_as_unreachable_and_nothing_starts_in_its_place(silence: Silence) -> None:
    assert silence.states[0] == "unreachable"
    assert "unreachable" in silence.printed, "by `regrow ps`"
    before, after = silence.lives
    assert after == before
    assert "started" not in silence.pip_saw


@pytest.mark.usefixtures("bystanders")
async def test_watchers_hear_that_contact_is_lost_and_that_it_is_back(silence: Silence) -> None:
    assert silence.watcher_saw == ("unreachable pip", "reachable pip")


@pytest.mark.usefixtures("bystanders")
async def test_who_has_no_handler_for_lost_contact_passes_it_over(silence: Silence) -> None:
    before, after = silence.lives_of_the_heedless
    assert after == before


@pytest.mark.usefixtures("bystanders")
async def test_code_that_blocks_its_process_does_not_make_it_unreachable(silence: Silence) -> None:
    """It blocked before pip fell silent, and still did when contact with pip counted as lost."""
    assert silence.states[1] == "running"
    assert not [text for text in silence.watcher_saw if text.endswith(" bob")]


async def outcome(asking: Awaitable[object]) -> object:
    """What is answered, or the error."""
    try:
        return await asking
    except RegrowError as error:
        return error


async def _waits(stage: Stage, id: str) -> bool:
    return await stage.mailbox(id) == 1
