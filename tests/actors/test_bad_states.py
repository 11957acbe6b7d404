"""States and messages that are no good: named for who can mend them, nothing written, and others go on."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import Message, Request
from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_errors import InQuarantine, ReplyNotReadable
from regrow.actors.durable_outbox import ROOM_WITHIN_S
from regrow.runtime import message
from regrow.runtime.address import ActorId
from regrow.runtime.errors import MessageTooLarge
from regrow.runtime.immutable import wire_name
from regrow.runtime.journal_entries import JournalLimits, partition_of
from regrow.runtime.lifecycle import Crashed
from regrow.runtime.memory_journal import MemoryJournal
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, Unreliable, memory_journal, on_virtual_time

CLERK = ActorId("desk/clerk")
LIMITS = JournalLimits(message_bytes=2_000, state_bytes=500, result_bytes=700, outbox=3, timers=2)


class Line(BaseModel):
    text: str = ""
    by: str = ""


class Lines(BaseModel):
    total: int = 0
    lines: list[Line] = []


class Add(Request[int]):
    n: int = 1
    text: str = ""


class Note(Message):
    text: str = ""


class Send(Request[int]):
    sizes: tuple[int, ...]


class SendTo(Request[int]):
    id: str


class Remind(Request[int]):
    names: tuple[str, ...]


class Echo(Request[str]):
    size: int


class Clerk(DurableAgent[Lines]):
    @on
    async def add(self, request: Add) -> int:
        self.state.total += request.n
        self.state.lines.append(Line(text=request.text, by="me"))
        return self.state.total

    @on
    async def note(self, note: Note) -> None:
        self.state.total += 1

    @on
    async def send(self, request: Send, ctx: DurableContext) -> int:
        for size in request.sizes:
            await ctx.tell("other", Note(text="n" * size))
        return len(request.sizes)

    @on
    async def send_to(self, request: SendTo, ctx: DurableContext) -> int:
        await ctx.tell(request.id, Note())
        return 1

    @on
    async def remind(self, request: Remind, ctx: DurableContext) -> int:
        for name in request.names:
            ctx.remind(name, Note(), after_s=3_600)
        return len(request.names)

    @on
    async def echo(self, request: Echo) -> str:
        return "e" * request.size


async def desk(journal: Any = None) -> Host:
    host = await Host.on(journal if journal is not None else memory_journal(LIMITS))
    assert await host.start(Clerk, CLERK) is None
    assert await host.start(Clerk, "desk/other") is None
    return host


async def restarted_as(cls: type[DurableAgent[Any]]) -> tuple[MemoryJournal, Crashed | None]:
    """A clerk with a state, and then another version of its class; why that does not start."""
    journal = memory_journal(LIMITS)
    host = await desk(journal)
    host.restarts = 0
    await host.ref(CLERK).ask(Add(n=4, text="first"))
    host.runtime.cells[CLERK].kill()
    await pass_time(0.01)
    return journal, await host.start(cls, CLERK)


# ---- a state that the code does not understand -----------------------------------------------------


class Total(BaseModel):
    total: str
    lines: list[Line]


class Sums(BaseModel):
    sum: int = 0
    lines: list[Line] = []


class Texts(BaseModel):
    text: str = ""


class Unsigned(BaseModel):
    total: int = 0
    lines: list[Texts] = []


class More(BaseModel):
    total: int = 0
    lines: list[Line] = []
    new: int = 7


class Typed(DurableAgent[Total]):
    @classmethod
    def initial(cls) -> Total:
        return Total(total="", lines=[])


class Renamed(DurableAgent[Sums]):
    pass


class Inside(DurableAgent[Unsigned]):
    pass


class Raising(DurableAgent[Sums]):
    schema = 2

    @classmethod
    def upgraded(cls, state: dict[str, Any], schema: int) -> dict[str, Any]:
        return {"sum": state["summe"]}


class Nonsense(DurableAgent[Sums]):
    schema = 2

    @classmethod
    def upgraded(cls, state: dict[str, Any], schema: int) -> dict[str, Any]:
        return None  # type: ignore[return-value] # as its author did


class Halfway(DurableAgent[Sums]):
    schema = 2

    @classmethod
    def upgraded(cls, state: dict[str, Any], schema: int) -> dict[str, Any]:
        return {"sum": "many"}


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Typed, r"no Total of schema 1 \(Input should be a valid string at total\); it is kept .*raise Typed.schema"),
        (Renamed, r"holds 'total', and Sums has no such field, .* would lose it; it is kept .*raise Renamed.schema"),
        (Inside, r"holds 'lines.0.by', and Unsigned has no such field"),
        (Raising, r"could not be upgraded to 2: Raising.upgraded raised KeyError: 'summe'; it is kept .*mend `upg"),
        (Nonsense, r"no Sums of schema 2 \(.* at its top\); it is kept .*have Nonsense.upgraded give"),
        (Halfway, r"no Sums of schema 2 \(.* at sum\)"),
    ],
)
def test_a_state_that_does_not_validate_or_upgrade_names_agent_and_mend_and_is_left_as_it_is(
    cls: type[DurableAgent[Any]], said: str
) -> None:
    @on_virtual_time
    async def test() -> None:
        journal, failed = await restarted_as(cls)

        assert isinstance(failed, Crashed)
        assert failed.type_name.endswith("StateNotReadable")
        assert failed.message.startswith("the state of desk/clerk")
        assert re.search(said, failed.message), failed.message
        row = await journal.read(CLERK)
        assert (row.version, row.schema, row.state) == (
            1,
            1,
            b'{"total":4,"lines":[{"text":"first","by":"me"}]}',
        )

    test()


@on_virtual_time
async def test_a_field_with_a_default_may_be_added_without_a_new_schema() -> None:
    class Grown(DurableAgent[More]):
        @on
        async def add(self, request: Add) -> int:
            return self.state.total + self.state.new

    _, failed = await restarted_as(Grown)

    assert failed is None


# ---- what passes a limit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (
            Add(text="x" * 600),
            r"left a state of 6\d\d bytes, and the limit is 500 \(state_bytes\), so the one ",
        ),
        (Echo(size=800), r"reply takes 8\d\d bytes, and the limit is 700 \(result_bytes\)"),
    ],
    ids=["state", "reply"],
)
def test_a_state_or_reply_over_its_limit_sets_its_message_aside_with_size_and_limit_and_others_go_on(
    request_: Request[Any], said: str
) -> None:
    @on_virtual_time
    async def test() -> None:
        journal = memory_journal(LIMITS)
        host = await desk(journal)
        await host.ref(CLERK).ask(Add(n=5))

        with pytest.raises(InQuarantine, match=f"set aside by desk/clerk: its (turn )?{said}"):
            await host.ref(CLERK).ask(request_)

        (row,) = await host.quarantined(CLERK)
        shown = await journal.show_quarantined(CLERK, row.command)
        assert shown is not None
        assert (b"and the limit is" in shown.reason, shown.attempts) == (True, 0)
        assert await host.ref(CLERK).ask(Add(n=2)) == 7
        assert host.ends == []

    test()


@on_virtual_time
async def test_a_state_over_its_limit_of_a_turn_that_ran_ahead_of_its_message_waits_until_that_is_stored() -> None:
    journal = Unreliable(memory_journal(LIMITS))
    host = await desk(journal)
    journal.cuts["enqueue", 1] = "before"

    with pytest.raises(InQuarantine, match="state_bytes"):
        await host.ref(CLERK).ask(Add(text="x" * 600))

    assert len(await host.quarantined(CLERK)) == 1
    assert host.ends == []


@on_virtual_time
async def test_a_message_over_its_limit_is_refused_to_its_sender_with_its_size_and_nothing_is_stored() -> None:
    journal = memory_journal(LIMITS)
    host = await desk(journal)
    large = r"takes 2,\d\d\d bytes, and desk/clerk stores messages of up to 2,000 \(message_bytes\); send less"

    with pytest.raises(MessageTooLarge, match=f"Note {large}"):
        await host.ref(CLERK).tell(Note(text="x" * 2_000))
    with pytest.raises(MessageTooLarge, match=f"Note {large}"):
        host.ref(CLERK).tell_nowait(Note(text="x" * 2_000))
    with pytest.raises(MessageTooLarge, match=f"Add {large}") as told:
        await host.ref(CLERK).ask(Add(text="x" * 2_000))

    assert told.value.limit_bytes == 2_000 < told.value.size_bytes
    assert await journal.mailboxes(partition_of(CLERK)) == ()
    assert await host.ref(CLERK).ask(Add(n=1)) == 1


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        (Send(sizes=(10, 2_000)), "MessageTooLarge", r"Note takes 2,\d\d\d bytes, and desk/other stores messages of"),
        (
            Send(sizes=(1,) * 4),
            "StateNotStorable",
            r"desk/clerk sends more than 3 messages in one turn \(outbox\)",
        ),
        (Remind(names=("a", "b", "c")), "StateNotStorable", r"changes more than 2 reminders in one turn \(timers\)"),
    ],
)
def test_a_turn_that_sends_or_sets_too_much_fails_at_that_line_and_leaves_nothing(
    request_: Request[int], error: str, said: str
) -> None:
    @on_virtual_time
    async def test() -> None:
        journal = memory_journal(LIMITS)
        host = await desk(journal)

        with pytest.raises(InQuarantine, match=f"{error}: .*{said}"):
            await host.ref(CLERK).ask(request_)

        while not await host.quarantined(CLERK):
            await pass_time(0.1)
        assert await journal.outbox(partition_of(CLERK)) == ()
        assert (await journal.due(partition_of(CLERK))).next_ms is None
        assert await host.ref(CLERK).ask(Add(n=3)) == 3

    test()


@on_virtual_time
async def test_a_reminder_beyond_the_limit_of_an_agent_is_named_with_the_limit() -> None:
    host = await desk()
    await host.ref(CLERK).ask(Remind(names=("a", "b")))

    with pytest.raises(InQuarantine, match=r"more than 2 reminders \(timers\); forget some with ctx.forget_reminder"):
        await host.ref(CLERK).ask(Remind(names=("c",)))

    assert await host.ref(CLERK).ask(Remind(names=("a",))) == 1


@on_virtual_time
async def test_a_turn_waits_for_room_in_the_outbox_while_its_receiver_takes_nothing() -> None:
    host = await Host.on(memory_journal(LIMITS))
    host.runtime.delivery.is_durable = lambda _: True  # so what is for one that does not run waits
    assert await host.start(Clerk, CLERK) is None
    assert await host.ref(CLERK).ask(Send(sizes=(1, 1, 1))) == 3
    asking = asyncio.create_task(host.ref(CLERK).ask(Send(sizes=(1, 1))))
    await pass_time(5.0)
    assert not asking.done() and not await host.quarantined(CLERK) and host.ends == []

    assert await host.start(Clerk, "desk/other") is None

    assert await asking == 2
    assert await host.ref("desk/other").ask(Add(n=0)) == 5


@on_virtual_time
async def test_two_that_wait_for_room_at_each_other_do_not_wait_for_ever() -> None:
    host = await Host.on(memory_journal(LIMITS))
    host.runtime.delivery.is_durable = lambda _: True
    assert await host.start(Clerk, CLERK) is None
    await host.ref(CLERK).ask(Send(sizes=(1, 1, 1)))

    with pytest.raises(InQuarantine, match=r"wait to be relayed \(outbox\).*two agents wait for each other"):
        await host.ref(CLERK).ask(Send(sizes=(1,)), timeout_s=4 * ROOM_WITHIN_S)


# ---- what a message finds that was stored before ---------------------------------------------------


class Approval(Message):
    pass


class Wait(Request[int]):
    pass


class Waiting(DurableAgent[Lines]):
    @on
    async def wait(self, request: Wait, ctx: DurableContext) -> int:
        self.state.total += 1
        await ctx.wait_for(Approval)
        return self.state.total

    @on
    async def add(self, request: Add) -> int:
        self.state.total += request.n
        return self.state.total


class WaitingAnew(Waiting):
    schema = 2

    @classmethod
    def upgraded(cls, state: dict[str, Any], schema: int) -> dict[str, Any]:
        if not state["total"]:
            raise ValueError("nobody begins with nothing any more")
        return state


@on_virtual_time
async def test_a_message_that_has_waited_and_whose_beginning_can_not_be_read_is_set_aside_at_once() -> None:
    journal = memory_journal()
    old = await Host.on(journal)
    assert await old.start(Waiting, CLERK) is None
    asking = asyncio.create_task(old.ref(CLERK).ask(Wait()))
    await pass_time(0.01)
    old.restarts = 0
    old.runtime.cells[CLERK].kill()
    await pass_time(0.01)
    old.classes[CLERK] = WaitingAnew
    assert await old.start(WaitingAnew, CLERK) is None

    await old.ref(CLERK).tell(Approval())

    with pytest.raises(
        InQuarantine, match=r"began with before its wait can not be read.*nobody begins with nothing any more"
    ):
        await asking
    assert await old.ref(CLERK).ask(Add(n=4)) == 5
    assert len(old.ends) == 1
    assert len(await old.quarantined(CLERK)) == 1


@on_virtual_time
async def test_a_command_whose_stored_reply_can_not_be_read_any_more_is_refused_and_nobody_ends() -> None:
    host = await desk()
    command = "019ab2d4-6c00-7000-8000-000000000001"
    assert await host.ref(CLERK).ask(Add(n=4), command_id=command) == 4

    for _ in range(2):
        with pytest.raises(ReplyNotReadable, match="was done once, and is not done again"):
            await host.ref(CLERK).ask(Echo(size=1), command_id=command)

    assert host.ends == []
    assert await host.ref(CLERK).ask(Add(n=4)) == 8


class Receipt(Message):
    number: int


class Order(Request[Receipt | str]):
    pass


class Shop(DurableAgent[Lines]):
    @on
    async def order(self, request: Order) -> Receipt | str:
        self.state.total += 1
        return Receipt(number=self.state.total)


@on_virtual_time
async def test_so_is_a_command_whose_stored_reply_is_of_a_class_that_is_gone() -> None:
    journal = memory_journal()
    old = await Host.on(journal, "old")
    assert await old.start(Shop, CLERK) is None
    command = "019ab2d4-6c00-7000-8000-000000000001"
    await old.ref(CLERK).ask(Order(), command_id=command)
    old.restarts = 0
    old.runtime.cells[CLERK].kill()
    await pass_time(0.01)
    old.runtime.forget(CLERK)
    with pytest.MonkeyPatch.context() as newer_code:
        newer_code.delitem(vars(message)["_registry"], wire_name(Receipt))
        new = await Host.on(journal, "new")
        assert await new.start(Shop, CLERK) is None

        with pytest.raises(ReplyNotReadable, match="Receipt could not be read"):
            await new.ref(CLERK).ask(Order(), command_id=command)

    assert new.ends == []
