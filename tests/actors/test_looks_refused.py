"""A look of a durable agent that the journal refuses for good, or can not answer: it looks again until it may."""

from __future__ import annotations

from typing import cast

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from regrow.actors import DurableAgent, DurableContext, on
from regrow.runtime.errors import Bug
from regrow.runtime.journal import Journal
from regrow.runtime.journal_errors import JournalRefused, JournalRestored
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, Refusing, memory_journal, on_virtual_time

CLERK = "desk/clerk"
DUE_S = 5.0
MENDED_AFTER_S = 30.0
SOON_S = 6.0
"""More than passes between two looks that are refused."""


class Calls(BaseModel):
    rung: int = 0


class Ring(Message):
    pass


class Set(Request[bool]):
    pass


class Rung(Request[int]):
    pass


class Clerk(DurableAgent[Calls]):
    @on
    async def set(self, request: Set, ctx: DurableContext) -> bool:
        ctx.remind("ring", Ring(), after_s=DUE_S)
        return True

    @on
    async def ring(self, message: Ring) -> None:
        self.state.rung += 1

    @on(read_only=True)
    async def rung(self, request: Rung) -> int:
        return self.state.rung


@pytest.mark.parametrize(
    "refusal", [JournalRestored("it has less than before"), Bug("it answers what nobody knows")], ids=["refused", "bug"]
)
@pytest.mark.parametrize("call", ["due", "fire", "take"])
def test_a_reminder_whose_look_was_refused_for_good_comes_when_the_store_is_mended(
    call: str, refusal: JournalRefused | Bug
) -> None:
    @on_virtual_time
    async def test() -> None:
        journal = Refusing(memory_journal())
        host = await Host.on(cast("Journal", journal))
        host.restarts = 0
        assert await host.start(Clerk, CLERK) is None
        await host.ref(CLERK).ask(Set())
        journal.methods, journal.refusal = (call,), refusal

        with capture_logs() as logs:
            await pass_time(DUE_S + MENDED_AFTER_S)
        assert journal.calls[call] > 1
        assert [entry["reason"] for entry in logs if entry["log_level"] == "error"].count(str(refusal)) >= 1
        journal.refusal = None
        await pass_time(SOON_S)

        assert await host.ref(CLERK).ask(Rung()) == 1
        assert host.ends == []

    test()
