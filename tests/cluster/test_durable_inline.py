"""Durable agents in an app on the inline engine: with a journal that was asked for, and not without."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from regrow import (
    Agent,
    App,
    AskFailed,
    Context,
    DurableAgent,
    DurableContext,
    DynamicSupervisor,
    Message,
    Request,
    Supervisor,
    child,
    keyed,
    on,
)
from regrow.cluster.errors import AppNotStarted
from regrow.runtime import Misuse
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


class Manager(Agent):
    @on
    async def hire(self, request: Record, ctx: Context) -> Recorded:
        await ctx.spawn(Clerk, "clerk")
        return Recorded(asked=0)


@virtual
async def test_a_durable_agent_that_is_not_in_the_tree_is_refused_however_it_is_started() -> None:
    tree = Supervisor(children=[child(Supervisor(), id="room"), child(Manager, restart="temporary")])
    async with App("desk", tree, journal="memory").start(engine="inline") as running:
        before = await running.which_children()

        for spec in (child(Clerk), keyed(Clerk), child(DynamicSupervisor(child(Clerk)), id="clerks")):
            for supervisor in ("desk/room", None):
                with pytest.raises(Misuse, match="in the app's tree from its start"):
                    await running.start_child(supervisor, spec=spec)
        assert await running.which_children("desk/room") == ()
        assert await running.which_children() == before

        with pytest.raises(AskFailed, match="in the app's tree from its start"):
            await running.ref(Manager).ask(Record(text="hire"))


@virtual
async def test_a_durable_child_of_a_dynamic_supervisor_of_the_tree_is_started_as_it_is_asked_for() -> None:
    tree = Supervisor(children=[child(DynamicSupervisor(child(Clerk)), id="clerks")])
    async with App("desk", tree, journal="memory").start(engine="inline") as running:
        clerk = await running.start_child("clerks")

        assert (await clerk.ask(Record(text="dynamic"))).asked == 1
