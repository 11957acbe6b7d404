"""Durable agents in an app on the inline engine: with a journal that was asked for, and not without."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from regrow import App, DurableAgent, DurableContext, Message, Request, Supervisor, child, on
from regrow.cluster.errors import AppNotStarted
from regrow.supervisors import FailedToStartChild
from tests.supervisors.stage import virtual


class Tally(BaseModel):
    asked: int = 0


class Recorded(Message):
    asked: int


class Record(Request[Recorded]):
    text: str


mails: list[str] = []


def send_mail(text: str) -> None:
    mails.append(text)


class Clerk(DurableAgent[Tally]):
    @on
    async def record(self, request: Record, ctx: DurableContext) -> Recorded:
        await ctx.step("notify", send_mail, request.text)
        self.state = Tally(asked=self.state.asked + 1)
        if len(mails) == 2 and mails[1] == request.text:
            mails.append("crash")
            raise ValueError("after the mail")
        return Recorded(asked=self.state.asked)


def desk(*, journal: bool) -> App:
    root = Supervisor(children=[child(Clerk, id="clerk")])
    return App("desk", root, journal="memory") if journal else App("desk", root)


@virtual
async def test_a_clerk_that_crashes_after_its_mail_sends_it_once_and_counts_once() -> None:
    mails.clear()
    async with desk(journal=True).start(engine="inline") as running:
        clerk = running.ref(Clerk)

        counts = [(await clerk.ask(Record(text=text))).asked for text in ("first", "second", "third")]

        assert counts == [1, 2, 3]
        assert mails == ["first", "second", "crash", "third"]


@virtual
async def test_an_app_that_asked_for_no_journal_does_not_start_a_durable_agent() -> None:
    with pytest.raises(AppNotStarted, match="this app keeps no journal"):
        await desk(journal=False).start(engine="inline")


@virtual
async def test_a_durable_child_that_is_added_where_no_journal_is_kept_does_not_start_and_its_supervisor_lives() -> None:
    app = App("desk", Supervisor(children=[child(Supervisor(), id="room")]))
    async with app.start(engine="inline") as running:
        before = await running.which_children()

        for supervisor in ("desk/room", None):
            with pytest.raises(FailedToStartChild, match="this app keeps no journal"):
                await running.start_child(supervisor, spec=child(Clerk))

        assert await running.which_children("desk/room") == ()
        assert await running.which_children() == before
