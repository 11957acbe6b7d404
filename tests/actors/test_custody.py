"""What a process sends on since its receiver has left it unstored: it is kept until it is stored, in its order."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from regrow.runtime.address import ActorId
from regrow.runtime.journal_entries import partition_of
from regrow.runtime.journal_errors import JournalRestored
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import on_virtual_time
from tests.actors.test_durable_leaving import Clerk, Note, Seen, Send
from tests.simulation.durable_world import DurableWorld

if TYPE_CHECKING:
    from regrow.runtime.starter import StartRequest
    from tests.simulation.wires import Node

CLERK, OTHER = ActorId("desk/clerk"), ActorId("desk/other")
ALWAYS = 1_000_000
LONG_S = 200.0
"""Longer than the pauses between tries add up to."""


class Desk:
    """The clerk in process a, and the other one wherever the test has it; nobody starts again what has ended."""

    def __init__(self, world: DurableWorld, hosts: dict[str, Node]) -> None:
        self.world = world
        self.hosts = hosts

    @classmethod
    async def on(cls, world: DurableWorld | None = None) -> Desk:
        world = world or DurableWorld()
        world.restart_after_s = None
        desk = cls(world, {name: await world.host(name) for name in "abc"})
        await world.start_durable(desk.hosts["a"], CLERK, Clerk)
        return desk

    async def other_at(self, name: str, *, is_full: bool = False) -> None:
        """Starts the other one; a full store takes nothing of its process."""
        self.world.mortals[name].full = ALWAYS if is_full else 0
        await self.world.start_durable(self.hosts[name], OTHER, Clerk)

    async def other_leaves(self, name: str, *, grace_s: float | None = 10.0, stays_full: bool = False) -> None:
        """It ends there for good. Once the store is not full, its process hears what it has under way is not stored."""
        assert await self.world.end(self.hosts[name], OTHER, grace_s=grace_s)
        self.world.leave(self.hosts[name], OTHER)
        if not stays_full:
            self.world.mortals[name].full = 0
        await pass_time(3.0)

    async def tell(self, notes: int, first: int = 0) -> None:
        """The clerk tells the other one notes in one turn."""
        await self.hosts["a"].ref(CLERK).ask(Send(notes=notes, first=first))
        await pass_time(1.0)

    async def seen(self) -> tuple[int, ...]:
        """What the other one has."""
        found: tuple[int, ...] = await self.hosts["a"].ref(OTHER).ask(Seen())
        return found

    async def left(self) -> int:
        """How many notes are in the clerk's outbox still."""
        return len(await self.world.journal.outbox(partition_of(CLERK)))

    def dead_letters(self) -> dict[str, int]:
        """Of all processes, by reason."""
        return {reason: count for node in self.world.living for reason, count in node.reasons().items()}


@on_virtual_time
async def test_what_is_sent_on_stays_though_its_store_then_refuses_for_good() -> None:
    desk = await Desk.on()
    await desk.other_at("b", is_full=True)
    await desk.tell(3)
    await desk.other_leaves("b")
    desk.world.mortals["b"].refusal = JournalRestored("it has less than was seen in it")
    await desk.other_at("b")
    await pass_time(LONG_S)
    refused = await desk.left(), desk.dead_letters()
    desk.world.mortals["b"].refusal = None
    await pass_time(LONG_S)
    found = await desk.seen()
    await desk.world.close()

    assert refused == (3, {})
    assert found == (0, 1, 2)


@on_virtual_time
async def test_two_processes_that_have_the_same_messages_do_not_wait_for_each_other() -> None:
    desk = await Desk.on()
    await desk.other_at("b", is_full=True)
    await desk.tell(3)
    await desk.other_leaves("b")
    for name in "cbc":  # each sends on to where the other one is, and gets from there what it has sent
        await desk.other_at(name, is_full=True)
        await pass_time(LONG_S)
        await desk.other_leaves(name)

    await desk.other_at("b")
    await desk.tell(2, first=3)
    await pass_time(LONG_S)
    found, left = await desk.seen(), await desk.left()
    await desk.world.close()

    assert (found, left) == ((0, 1, 2, 3, 4), 0)
    assert desk.dead_letters() == {}


@on_virtual_time
async def test_what_is_on_its_way_holds_up_nothing_that_another_has_sent() -> None:
    desk = await Desk.on()
    await desk.other_at("b", is_full=True)
    await desk.tell(3)
    await desk.other_leaves("b")
    await desk.other_at("c", is_full=True)
    await pass_time(3.0)
    await desk.other_leaves("c", stays_full=True)  # which may store them yet
    await desk.other_at("b", is_full=True)
    telling = asyncio.create_task(desk.hosts["a"].ref(OTHER).tell(Note(n=9), send_timeout_s=LONG_S))
    await pass_time(1.0)
    await desk.other_leaves("b")

    await desk.other_at("b")
    await pass_time(LONG_S)
    before = await desk.seen(), telling.done()
    desk.world.mortals["c"].full = 0
    await pass_time(LONG_S)
    after = await desk.seen()
    await desk.world.close()

    assert before == ((9,), True)
    assert after == (9, 0, 1, 2)


class TemporaryWorld(DurableWorld):
    """Who ends is not expected back in its process, as a temporary child."""

    def _request(self, actor: ActorId) -> StartRequest:
        return replace(super()._request(actor), survives_exit=False)


@on_virtual_time
async def test_what_a_killed_life_had_begun_before_it_was_stored_is_not_told_to_its_sender_as_handled() -> None:
    desk = await Desk.on(TemporaryWorld())
    await desk.other_at("b", is_full=True)
    await desk.tell(3)
    telling = asyncio.create_task(desk.hosts["a"].ref(OTHER).tell(Note(n=3), send_timeout_s=LONG_S))
    await pass_time(1.0)

    await desk.other_leaves("b", grace_s=None)
    kept = await desk.left(), telling.done(), desk.dead_letters()
    await desk.other_at("b")
    await pass_time(LONG_S)
    found = await desk.seen()
    await desk.world.close()

    assert kept == (3, False, {})
    assert found == (0, 1, 2, 3)
