"""What a durable agent can not do with its message and its reply is refused where it is called (SEMANTICS 6)."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_errors import InQuarantine
from regrow.runtime.errors import Misuse
from regrow.runtime.lifecycle import Crashed
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time

CLERK = "desk/clerk"


class Tally(BaseModel):
    notes: int = 0
    caught: list[str] = []


class Note(Message):
    """A tell that is set aside."""


class Later(Request[str]):
    """A request whose message is set aside, or whose reply is deferred, as `how` says."""

    how: str


class Careful(Later):
    """The same; what is raised is caught."""


class Total(Request[int]):
    pass


class Clerk(DurableAgent[Tally]):
    @on
    async def note(self, message: Note, ctx: DurableContext) -> None:
        self.state.notes += 1
        ctx.stash()

    @on
    async def later(self, request: Later, ctx: DurableContext) -> str:
        await tried(ctx, request)
        return "it went on"

    @on
    async def careful(self, request: Careful, ctx: DurableContext) -> str:
        try:
            await tried(ctx, request)
        except Misuse as error:
            return str(error)
        return "it went on"

    @on
    async def total(self, request: Total) -> int:
        return self.state.notes


async def tried(ctx: DurableContext, request: Later) -> None:
    if request.how == "stash":
        ctx.stash()
    ctx.defer_reply(request)


async def desk() -> Host:
    host = await Host.on(memory_journal())
    assert await host.start(Clerk, CLERK) is None
    return host


@on_virtual_time
async def test_a_tell_that_is_set_aside_fails_with_what_to_do_and_changes_nothing() -> None:
    host = await desk()

    await host.ref(CLERK).tell(Note())
    await pass_time(1)

    assert await host.ref(CLERK).ask(Total()) == 0
    assert len(await host.quarantined(CLERK)) == 1
    for _, reason in host.ends:
        assert isinstance(reason, Crashed)
        assert "desk/clerk sets its message aside, which a durable agent can not" in reason.message


@pytest.mark.parametrize(("how", "text"), [("stash", "sets its message aside"), ("defer", "defers a reply")])
def test_so_does_a_request_that_is_set_aside_or_whose_reply_is_deferred(how: str, text: str) -> None:
    @on_virtual_time
    async def refused() -> None:
        host = await desk()

        with pytest.raises(InQuarantine, match=f"desk/clerk {text}, which a durable agent can not.*ctx.wait_for"):
            await host.ref(CLERK).ask(Later(how=how))

        assert await host.ref(CLERK).ask(Total()) == 0

    refused()


@pytest.mark.parametrize("how", ["stash", "defer"])
def test_a_turn_that_catches_it_goes_on_and_replies(how: str) -> None:
    @on_virtual_time
    async def goes_on() -> None:
        host = await desk()

        assert "which a durable agent can not" in await host.ref(CLERK).ask(Careful(how=how))

        assert host.ends == []

    goes_on()
