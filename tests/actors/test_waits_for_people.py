"""Turns of durable agents that wait for an answer, for days and across restarts (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_errors import InQuarantine, WaitTimedOut
from regrow.actors.durable_intake import DurableIntake
from regrow.runtime.address import ActorId
from regrow.runtime.command_ids import uuid7
from regrow.runtime.errors import AskTimeout
from regrow.runtime.journal_entries import CommandId
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import START_S, pass_time
from tests.actors.durable_stand import BEGUN_MS, Host, Unreliable, memory_journal, on_virtual_time

CLERK = "desk/clerk"
DAY_S = 86_400.0


class Account(BaseModel):
    log: list[str] = []


class Approval(Message):
    by: str = "somebody"
    approved: bool = True


class Pay(Request[str]):
    """Notes, steps, tells, waits, and then notes again."""

    text: str
    timeout_s: float | None = None
    fault: str = ""


class Note(Message):
    text: str


class Seen(Request[tuple[str, ...]]):
    """The log."""


class World:
    """What is outside of the agents."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.runs = 0
        self.began_with: list[tuple[str, ...]] = []
        self.went_on_with: list[tuple[str, ...]] = []


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know


async def send_mail(text: str) -> int:
    world.mails.append(text)
    return len(world.mails)


class Clerk(DurableAgent[Account]):
    @on
    async def pay(self, request: Pay, ctx: DurableContext) -> str:
        world.runs += 1
        world.began_with.append(tuple(self.state.log))
        if request.fault == "ends without" and world.runs > 1:
            return "did not wait"
        number = await ctx.step("mail", send_mail, request.text)
        self.state.log.append(f"{request.text} asked by mail {number}")
        await ctx.tell("desk/other", Note(text=f"{request.text} is asked"))
        before = self.state.log
        approval = await self.answered(request, ctx)
        world.went_on_with.append(tuple(self.state.log))
        if request.fault == "keeps its state":
            before.append("lost")
        if request.fault == "crashes after" and world.runs == 2:
            raise ValueError("as the test wants it")
        self.state.log.append(f"{request.text} by {approval.by}")
        await ctx.tell("desk/other", Note(text=f"{request.text} is paid"))
        return f"{request.text}: {approval.approved}"

    async def answered(self, request: Pay, ctx: DurableContext) -> Approval:
        if request.fault == "catches all":
            try:
                return await ctx.wait_for(Approval)
            except BaseException:
                self.state.log.append("caught")
                raise ValueError("something else") from None
        if request.fault == "twice":
            await ctx.wait_for(Approval)
            self.state.log.append("first")
        return await ctx.wait_for(Approval, timeout_s=request.timeout_s)

    @on
    async def note(self, message: Note) -> None:
        self.state.log.append(message.text)

    @on
    async def seen(self, request: Seen) -> tuple[str, ...]:
        return tuple(self.state.log)


class Other(Clerk):
    """Gets notes."""


async def desk(journal: Any = None, name: str = "here") -> Host:
    host = await Host.on(journal if journal is not None else memory_journal(), name)
    assert await host.start(Clerk, CLERK) is None
    assert await host.start(Other, "desk/other") is None
    return host


def command() -> CommandId:
    return uuid7(BEGUN_MS + int(START_S * 1000), 7)


async def log_of(host: Host, id: str = CLERK) -> tuple[str, ...]:
    found: tuple[str, ...] = await host.ref(id).ask(Seen())
    return found


async def asked(host: Host, request: Pay) -> asyncio.Task[str]:
    """An ask whose turn has come to its wait."""
    asking = asyncio.create_task(host.ref(CLERK).ask(request, timeout_s=100 * DAY_S, command_id=command()))
    await pass_time(1)
    return asking


@on_virtual_time
async def test_a_turn_waits_and_others_are_served_and_a_message_answers_it() -> None:
    host = await desk()
    asking = await asked(host, Pay(text="rent"))
    await host.ref(CLERK).tell(Note(text="meanwhile"))
    await pass_time(3 * DAY_S)
    served, runs = await log_of(host), world.runs

    await host.ref(CLERK).tell(Approval(by="ada"))

    assert await asking == "rent: True"
    assert (served, runs) == (("rent asked by mail 1", "meanwhile"), 1)
    assert await log_of(host) == ("rent asked by mail 1", "meanwhile", "rent by ada")
    assert await log_of(host, "desk/other") == ("rent is asked", "rent is paid"), "three days old, and not too old"


@on_virtual_time
async def test_the_turn_runs_again_on_the_state_it_began_with_and_goes_on_with_the_current_one() -> None:
    host = await desk()
    await host.ref(CLERK).tell(Note(text="before"))
    asking = await asked(host, Pay(text="rent"))
    await host.ref(CLERK).tell(Note(text="meanwhile"))
    await host.ref(CLERK).tell(Approval())
    await asking

    assert world.began_with == [("before",), ("before",)]
    assert world.went_on_with == [("before", "rent asked by mail 1", "meanwhile")]


@on_virtual_time
async def test_what_was_done_before_the_wait_is_done_once() -> None:
    host = await desk()
    asking = await asked(host, Pay(text="rent"))
    before = await log_of(host, "desk/other")
    await host.ref(CLERK).tell(Approval())
    await asking
    await pass_time(1)

    assert before == ("rent is asked",)
    assert await log_of(host, "desk/other") == ("rent is asked", "rent is paid")
    assert world.mails == ["rent"]


@on_virtual_time
async def test_a_wait_outlives_the_process_and_an_ask_under_its_id_gets_the_reply() -> None:
    journal = memory_journal()
    host = await desk(journal)
    asking = await asked(host, Pay(text="rent"))
    assert host.runtime.durability is not None
    await host.runtime.aclose()
    await asyncio.wait([asking])
    await journal.revoke(host.runtime.durability.host, reaped=True)

    later = await desk(journal, "there")
    again = asyncio.create_task(later.ref(CLERK).ask(Pay(text="rent"), timeout_s=100 * DAY_S, command_id=command()))
    await pass_time(DAY_S / 2)
    runs = world.runs
    await later.ref(CLERK).tell(Approval(by="ada"))

    assert await again == "rent: True"
    assert (runs, world.runs, world.mails) == (1, 2, ["rent"])
    assert asking.exception() is not None


@on_virtual_time
async def test_who_asks_again_and_again_for_what_waits_is_kept_once() -> None:
    host = await Host.on(memory_journal())
    assert await host.start(Clerk, CLERK) is None
    command = uuid7(BEGUN_MS, 1)

    for _ in range(50):
        with pytest.raises(AskTimeout):
            await host.ref(CLERK).ask(Pay(text="rent"), timeout_s=1.0, command_id=command)

    intake = host.runtime.cells[ActorId(CLERK)].intake
    assert isinstance(intake, DurableIntake)
    assert len(intake._parked[command]) == 1  # pyright: ignore[reportPrivateUsage] # seen nowhere else
    await host.ref(CLERK).tell(Approval())
    assert "rent" in await host.ref(CLERK).ask(Pay(text="rent"), command_id=command)


@on_virtual_time
async def test_two_who_ask_under_one_id_both_get_the_reply_of_one_run() -> None:
    host = await desk()
    asking = await asked(host, Pay(text="rent"))
    again = await asked(host, Pay(text="rent"))
    await host.ref(CLERK).tell(Approval())

    assert [await asking, await again] == ["rent: True", "rent: True"]
    assert world.runs == 2


@on_virtual_time
async def test_an_answer_comes_to_who_waits_though_its_agent_was_killed_meanwhile() -> None:
    host = await desk()
    asking = await asked(host, Pay(text="rent"))
    host.runtime.cells[CLERK].kill("as the test wants it")  # type: ignore[index] # an id
    await pass_time(1)
    await host.ref(CLERK).tell(Approval())

    assert await asking == "rent: True"


@on_virtual_time
async def test_a_wait_that_nobody_answers_times_out_and_refuses_its_message() -> None:
    host = await desk()
    asking = await asked(host, Pay(text="rent", timeout_s=DAY_S))
    await pass_time(DAY_S - 10)
    is_early = asking.done()
    await pass_time(20)

    with pytest.raises(WaitTimedOut, match="nobody has sent desk/clerk the Approval"):
        await asking
    assert not is_early
    assert await log_of(host) == ("rent asked by mail 1",)


@on_virtual_time
async def test_a_message_that_answers_nothing_any_more_is_refused_and_ends_nobody() -> None:
    host = await desk()
    asking = await asked(host, Pay(text="rent", timeout_s=10))
    with pytest.raises(WaitTimedOut):
        await asking

    await host.ref(CLERK).tell(Approval())
    await pass_time(1)

    assert host.runtime.dead_letters.counts["refused"] == 1
    assert host.ends == []


@on_virtual_time
async def test_who_no_longer_waits_for_the_reply_does_not_keep_the_turn_from_its_end() -> None:
    host = await desk()
    with pytest.raises(AskTimeout):
        await host.ref(CLERK).ask(Pay(text="rent"), timeout_s=10, command_id=command())
    await pass_time(10)
    await host.ref(CLERK).tell(Approval(by="ada"))
    await pass_time(1)

    assert (await log_of(host))[-1] == "rent by ada"
    assert await host.ref(CLERK).ask(Pay(text="rent"), command_id=command()) == "rent: True"


@on_virtual_time
async def test_a_turn_that_crashes_after_its_wait_is_run_again_with_the_answer() -> None:
    host = await desk()
    asking = await asked(host, Pay(text="rent", fault="crashes after"))
    await host.ref(CLERK).tell(Approval(by="ada"))

    assert await asking == "rent: True"
    assert await log_of(host) == ("rent asked by mail 1", "rent by ada")
    assert (world.runs, world.mails) == (3, ["rent"])


@on_virtual_time
async def test_a_turn_may_wait_twice_each_time_on_what_it_began_with() -> None:
    host = await desk()
    asking = await asked(host, Pay(text="rent", fault="twice"))
    await host.ref(CLERK).tell(Approval(by="ada"))
    await pass_time(1)
    middle = await log_of(host)
    await host.ref(CLERK).tell(Approval(by="bob"))

    assert await asking == "rent: True"
    assert middle == ("rent asked by mail 1", "first")
    assert await log_of(host) == ("rent asked by mail 1", "first", "rent by bob")
    assert world.began_with == [(), (), ()]


@on_virtual_time
async def test_a_handler_that_catches_everything_can_not_go_on_without_the_answer() -> None:
    host = await desk()
    asking = await asked(host, Pay(text="rent", fault="catches all"))
    parked = await log_of(host)
    await host.ref(CLERK).tell(Approval())

    assert await asking == "rent: True"
    assert parked == ("rent asked by mail 1",)


@on_virtual_time
async def test_a_turn_that_does_not_come_to_its_wait_again_sets_its_message_aside() -> None:
    host = await desk()
    asking = await asked(host, Pay(text="rent", fault="ends without"))
    await host.ref(CLERK).tell(Approval())

    with pytest.raises(InQuarantine, match="ended without coming to that wait"):
        await asking
    assert await log_of(host) == ("rent asked by mail 1",)


@on_virtual_time
async def test_a_change_of_the_state_of_before_the_wait_is_an_error_and_not_lost_unseen() -> None:
    host = await desk()
    asking = await asked(host, Pay(text="rent", fault="keeps its state"))
    await host.ref(CLERK).tell(Approval())

    with pytest.raises(InQuarantine, match="changed a state that it had read before its wait"):
        await asking
    [row] = await host.quarantined(CLERK)
    assert row.command == command()
    assert await log_of(host) == ("rent asked by mail 1",)


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_wait_whose_calls_of_the_journal_are_cut_is_answered_once(cut: str) -> None:
    @on_virtual_time
    async def run() -> None:
        journal = Unreliable(memory_journal())
        journal.cuts = {("park", 1): cut, ("answer", 1): cut, ("take", 3): cut, ("take", 4): cut}
        host = await desk(journal)
        asking = await asked(host, Pay(text="rent"))
        await host.ref(CLERK).tell(Approval(by="ada"))

        assert await asking == "rent: True"
        assert await log_of(host) == ("rent asked by mail 1", "rent by ada")
        assert world.mails == ["rent"]

    run()


@on_virtual_time
async def test_an_ask_that_is_sent_again_before_the_next_life_has_read_its_mailbox_repeats_no_step() -> None:
    journal: Any = Unreliable(memory_journal())
    host = await desk(journal)
    asking = await asked(host, Pay(text="rent", fault="crashes after"))
    host.restarts = 0
    await host.ref(CLERK).tell(Approval(by="ada"))
    await pass_time(1)
    assert host.runtime.durability is not None
    await host.runtime.aclose()
    await asyncio.wait([asking])
    await journal.revoke(host.runtime.durability.host, reaped=True)

    later = await Host.on(journal, "there")
    journal.cuts = {("take", journal.calls["take"] + 1): "before"}
    starting = asyncio.create_task(later.start(Clerk, CLERK))
    await pass_time(0.01)
    reply = await later.ref(CLERK).ask(Pay(text="rent", fault="crashes after"), command_id=command())

    assert await starting is None
    assert asking.exception() is not None
    assert (reply, world.mails) == ("rent: True", ["rent"])
