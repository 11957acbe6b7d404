"""A store that refuses every call for good for a while: what was committed leaves and arrives when it is mended."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from regrow.actors import DurableAgent, DurableContext, on
from regrow.runtime.address import ActorId
from regrow.runtime.command_ids import uuid7
from regrow.runtime.journal_entries import partition_of
from regrow.runtime.journal_errors import JournalOutdated
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import BEGUN_MS, Host, Unreliable, memory_journal, on_virtual_time

CLERK, OTHER = ActorId("desk/clerk"), ActorId("desk/other")
OUTDATED = JournalOutdated("its version is below the floor", version="5.0.0", floor="6.2.0")


class Notes(BaseModel):
    got: list[int] = []


class Note(Message):
    n: int


class Send(Request[int]):
    """Sends so many notes to the other one."""

    notes: int


class Seen(Request[tuple[int, ...]]):
    """The notes."""


class Clerk(DurableAgent[Notes]):
    @on
    async def send(self, request: Send, ctx: DurableContext) -> int:
        for n in range(request.notes):
            await ctx.tell(OTHER, Note(n=n))
        return request.notes

    @on
    async def note(self, message: Note) -> None:
        self.state.got.append(message.n)

    @on(read_only=True)
    async def seen(self, request: Seen) -> tuple[int, ...]:
        return tuple(self.state.got)


class Outdated(Unreliable):
    """Takes `left` more calls of `methods`, or of all, and refuses those that follow until it is None."""

    left: int | None = None
    methods: tuple[str, ...] = ()

    def _cut(self, name: str, method: Any) -> Any:
        inner = super()._cut(name, method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.left is not None and (not self.methods or name in self.methods):
                if self.left == 0:
                    raise OUTDATED
                self.left -= 1
            return await inner(*args, **kwargs)

        return call


async def desk() -> tuple[Host, Outdated]:
    journal = Outdated(memory_journal())
    host = await Host.on(cast("Any", journal))
    host.restarts = 1
    host.runtime.delivery.is_durable = lambda _: True
    for id in (CLERK, OTHER):
        assert await host.start(Clerk, id) is None
    return host, journal


async def left_in_outbox(journal: Outdated) -> int:
    return len(await cast("Any", journal).outbox(partition_of(CLERK)))


@pytest.mark.parametrize("method", ["outbox", "relayed"])
def test_what_an_agent_has_sent_leaves_when_the_store_is_mended_and_the_refusal_is_told_once(method: str) -> None:
    @on_virtual_time
    async def test() -> None:
        host, journal = await desk()
        journal.left, journal.methods = 0, (method,)
        with capture_logs() as logs:
            assert await host.ref(CLERK).ask(Send(notes=3)) == 3
            await pass_time(60.0)
        told = [entry["reason"] for entry in logs if entry["event"] == "what an agent has sent waits in its outbox"]

        journal.left = None
        await pass_time(5.0)

        assert told == [str(OUTDATED)]
        assert await host.ref(OTHER).ask(Seen()) == (0, 1, 2)
        assert await left_in_outbox(journal) == 0
        assert host.ends == []

    test()


@pytest.mark.parametrize("served", range(10))
def test_what_was_sent_arrives_once_and_in_order_wherever_the_store_begins_to_refuse_every_call(served: int) -> None:
    @on_virtual_time
    async def test() -> None:
        host, journal = await desk()
        command = str(uuid7(BEGUN_MS, 1))
        journal.left = served
        first = asyncio.create_task(host.ref(CLERK).ask(Send(notes=3), command_id=command, timeout_s=300))
        await pass_time(40.0)
        journal.left = None
        for id in (CLERK, OTHER):
            if host.runtime.cells[id].behavior is None:  # it has ended of a refusal, and so has its restart
                assert await host.start(Clerk, id) is None

        assert await host.ref(CLERK).ask(Send(notes=3), command_id=command) == 3
        await pass_time(300.0)
        await asyncio.gather(first, return_exceptions=True)

        assert await host.ref(OTHER).ask(Seen()) == (0, 1, 2)
        assert await left_in_outbox(journal) == 0
        assert host.runtime.dead_letters.counts == {}

    test()
