"""Tools in durable turns: each call is made once, and one that needs consent waits for it (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import Context, DurableAgent, DurableContext, Message, Request, Shutdown, on
from regrow.actors import tool_approval
from regrow.actors.durable_errors import InQuarantine
from regrow.actors.step import Step
from regrow.actors.tool import Tool, tool
from regrow.actors.tool_approval import ToolApproval
from regrow.actors.tool_errors import NotApproved, ResultUnknown, ToolError, ToolFailed, ToolTimedOut
from regrow.actors.turn_history import read_about
from regrow.runtime.address import ActorId
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.journal_answers import Assume
from regrow.runtime.journal_entries import OperationId
from regrow.runtime.signals import NewMail
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time

CLERK = ActorId("desk/clerk")
DAY_S = 86_400.0


class Nothing(BaseModel):
    done: int = 0


class Do(Request[str]):
    text: str = ""


class World:
    """What is outside of the agents."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.keys: list[str] = []
        self.runs = 0
        self.gates: dict[str, asyncio.Event] = {}
        self.begun: dict[str, asyncio.Event] = {}

    def gate(self, name: str) -> tuple[asyncio.Event, asyncio.Event]:
        """What a tool of that name sets as it begins, and what it then waits for."""
        self.begun[name], self.gates[name] = asyncio.Event(), asyncio.Event()
        return self.begun[name], self.gates[name]

    async def do(self, name: str) -> None:
        self.done.append(name)
        if name in self.gates:
            self.begun[name].set()
            await self.gates[name].wait()


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know


@tool
async def post(text: str, step: Step) -> str:
    """Posts a letter."""
    world.keys.append(step.key)
    await world.do(f"post {text}")
    return f"number {len(world.done)}"


@tool(idempotent=True)
async def look(text: str) -> list[str]:
    """Looks something up."""
    await world.do(f"look {text}")
    return [text, str(len(world.done))]


@tool(timeout_s=5)
async def fail(text: str) -> str:
    """Fails."""
    await world.do(f"fail {text}")
    if text == "late":
        await pass_time(60)
    raise ValueError(text)


@tool(approval=lambda call: call.cents > 100, approval_timeout_s=7 * DAY_S)
async def pay(cents: int) -> str:
    """Pays."""
    await world.do(f"pay {cents}")
    return f"paid {cents}"


Body = Callable[["Clerk", Do, DurableContext], Any]
_body: list[Body] = []


class Clerk(DurableAgent[Nothing]):
    tools = [post, look, fail, pay]

    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        world.runs += 1
        return str(await _body[-1](self, request, ctx))


async def desk(body: Body, journal: Any = None) -> Host:
    _body.append(body)
    host = await Host.on(journal if journal is not None else memory_journal())
    assert await host.start(Clerk, CLERK) is None
    return host


def crash(times: int) -> None:
    if world.runs <= times:
        raise ValueError("as the test wants it")


async def two_letters(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
    first = await ctx.tools.call(post, {"text": "a"})
    found = await ctx.tools.call("look", '{"text": "b"}')
    second = await ctx.tools.call(post, {"text": "c"})
    crash(2)
    return first, found, second


@on_virtual_time
async def test_a_turn_that_is_run_again_makes_no_call_again_and_sees_the_same_results() -> None:
    journal = memory_journal()
    host = await desk(two_letters, journal)

    assert await host.ref(CLERK).ask(Do()) == "('number 1', ['b', '2'], 'number 3')"

    assert (world.runs, world.done) == (3, ["post a", "look b", "post c"])
    (turn,) = await journal.history(CLERK)
    assert [(step.name, step.state) for step in read_about(turn.about).steps] == [
        ("tool:post", "done"),
        ("tool:look", "done"),
        ("tool:post", "done"),
    ]
    assert len(set(world.keys)) == 2
    assert all("/tool:post/" in key for key in world.keys)


@on_virtual_time
async def test_a_kill_between_two_tools_repeats_neither() -> None:
    host = await desk(two_letters)
    begun, gate = world.gate("look b")
    asking = asyncio.create_task(host.ref(CLERK).ask(Do()))
    await begun.wait()

    host.runtime.cells[CLERK].kill()
    gate.set()

    assert await asking == "('number 1', ['b', '3'], 'number 4')"
    assert world.done.count("post a") == world.done.count("post c") == 1
    assert world.done.count("look b") == 2, "it was under way, and says that it may be run twice"


@on_virtual_time
async def test_of_one_that_was_under_way_and_must_not_be_repeated_nobody_knows_and_a_person_decides() -> None:
    journal = memory_journal()
    host = await desk(two_letters, journal)
    begun, gate = world.gate("post a")
    asking = asyncio.create_task(host.ref(CLERK).ask(Do()))
    await begun.wait()

    host.runtime.cells[CLERK].kill()
    gate.set()

    with pytest.raises(InQuarantine, match="step 'tool:post' of desk/clerk was begun by an earlier life"):
        await asking
    assert world.done == ["post a"]


@on_virtual_time
async def test_one_that_was_done_by_word_of_a_person_has_no_result_that_is_known() -> None:
    journal, told = memory_journal(), list[str]()

    async def one_letter(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
        try:
            return await ctx.tools.call(post, {"text": "a"})
        except ResultUnknown as error:
            told.append(str(error))
            return "posted"

    host = await desk(one_letter, journal)
    begun, gate = world.gate("post a")
    asking = asyncio.create_task(host.ref(CLERK).ask(Do()))
    await begun.wait()
    host.runtime.cells[CLERK].kill()
    gate.set()
    with pytest.raises(InQuarantine):
        await asking
    [row] = await host.quarantined(CLERK)

    await journal.requeue(CLERK, row.command, operation=OperationId("1"), assume=Assume.DONE)
    host.runtime.delivery.send(Envelope(Kind.SIGNAL, CLERK, NewMail(), host.runtime.origin))
    await pass_time(5)

    assert told == ["post was done, by word of a person who has settled this message; what it gave is not known"]
    assert world.done == ["post a"]


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("now", ToolFailed, r"fail failed \(ValueError: now\)"),
        ("late", ToolTimedOut, "fail was stopped after 5 s"),
    ],
)
def test_a_failure_is_recorded_as_well_and_met_again(text: str, error: type[ToolError], told: str) -> None:
    async def body(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
        with pytest.raises(error, match=told) as failed:
            await ctx.tools.call(fail, {"text": text})
        crash(1)
        return failed.value.tool

    @on_virtual_time
    async def run() -> None:
        host = await desk(body)

        assert await host.ref(CLERK).ask(Do()) == "fail"

    run()
    assert (world.runs, world.done) == (2, [f"fail {text}"])


@on_virtual_time
async def test_a_failure_that_nobody_catches_refuses_the_message_and_the_agent_lives() -> None:
    async def body(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
        return await ctx.tools.call(fail, {"text": "now"})

    host = await desk(body)

    with pytest.raises(ToolFailed, match="ValueError: now"):
        await host.ref(CLERK).ask(Do())
    assert host.ends == []


@on_virtual_time
async def test_other_arguments_than_the_first_time_set_the_message_aside() -> None:
    async def body(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
        await ctx.tools.call(look, {"text": str(world.runs)})
        crash(1)
        return ""

    host = await desk(body)

    with pytest.raises(InQuarantine, match=r"took step 'tool:look' .* with other arguments than the first time"):
        await host.ref(CLERK).ask(Do())


@on_virtual_time
async def test_calls_that_are_made_at_once_are_each_recorded_in_their_place() -> None:
    async def body(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
        calls = (ctx.tools.call(look, {"text": text}) for text in "abc")
        found = await asyncio.gather(*calls)
        crash(2)
        return [each[0] for each in found]

    host = await desk(body)

    assert await host.ref(CLERK).ask(Do()) == "['a', 'b', 'c']"
    assert sorted(world.done) == ["look a", "look b", "look c"]


@on_virtual_time
async def test_a_limited_turn_stays_limited_when_it_is_run_again() -> None:
    async def body(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
        names = [each.name for each in ctx.tools.allowed()]
        crash(1)
        return names

    host = await desk(body)
    host.runtime.origin = host.runtime.origin.limited(["look"])

    assert await host.ref(CLERK).ask(Do()) == "['look']"
    assert world.runs == 2


# ---- consent -------------------------------------------------------------------------------------


async def payment(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
    paid = await ctx.tools.call(pay, {"cents": int(request.text)})
    clerk.state.done += 1
    return paid


async def open_waits(host: Host, agent: ActorId = CLERK) -> list[str]:
    """What the open waits of an agent have to be about, oldest first."""
    from regrow.actors.durable_wait import subject_of
    from regrow.runtime.journal_entries import partition_of

    assert host.runtime.durability is not None
    rows = await host.runtime.durability.journal.waiting(partition_of(agent))
    return [subject_of(row.wait.name) for row in sorted(rows, key=lambda row: row.command)]


async def asked(host: Host, text: str) -> asyncio.Task[Any]:
    """An ask whose turn waits for consent."""
    asking = asyncio.create_task(host.ref(CLERK).ask(Do(text=text), timeout_s=100 * DAY_S))
    await pass_time(1)
    return asking


@on_virtual_time
async def test_what_needs_no_consent_does_not_wait() -> None:
    host = await desk(payment)

    assert await host.ref(CLERK).ask(Do(text="100")) == "paid 100"


@on_virtual_time
async def test_a_call_that_needs_consent_waits_for_days_and_is_made_once_when_it_has_it() -> None:
    host = await desk(payment)
    asking = await asked(host, "5000")
    await pass_time(3 * DAY_S)
    assert (world.done, asking.done()) == ([], False)
    [about] = await open_waits(host)

    await host.ref(CLERK).tell(ToolApproval(about=about, by="Ada"))

    assert await asking == "paid 5000"
    assert world.done == ["pay 5000"]
    assert about.startswith("pay/")


@on_virtual_time
async def test_consent_is_for_one_call_and_no_other_one_takes_it() -> None:
    host = await desk(payment)
    first, second = await asked(host, "5000"), await asked(host, "5000")
    [about_first, about_second] = await open_waits(host)
    assert about_first != about_second

    await host.ref(CLERK).tell(ToolApproval(about=about_second))

    assert await second == "paid 5000"
    assert not first.done()
    await host.ref(CLERK).tell(ToolApproval(about=about_first, approved=False))
    with pytest.raises(NotApproved):
        await first


@on_virtual_time
async def test_consent_that_was_used_is_used_up() -> None:
    async def twice(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
        return [await ctx.tools.call(pay, {"cents": 5000}) for _ in range(2)]

    host = await desk(twice)
    asking = await asked(host, "")
    [about] = await open_waits(host)
    await host.ref(CLERK).tell(ToolApproval(about=about))
    await pass_time(1)

    [again] = await open_waits(host)
    assert again != about
    await host.ref(CLERK).tell(ToolApproval(about=again))

    assert await asking == "['paid 5000', 'paid 5000']"
    assert world.done == ["pay 5000", "pay 5000"]


@on_virtual_time
async def test_a_refusal_is_an_error_that_a_model_may_be_told() -> None:
    host = await desk(payment)
    asking = await asked(host, "5000")
    [about] = await open_waits(host)

    await host.ref(CLERK).tell(ToolApproval(about=about, approved=False, by="Ada", reason="too much"))

    with pytest.raises(NotApproved, match=r"pay was not run: Ada has refused it \(too much\); do without"):
        await asking
    assert world.done == []


@on_virtual_time
async def test_where_nobody_says_anything_the_call_is_not_made() -> None:
    host = await desk(payment)
    asking = await asked(host, "5000")

    await pass_time(8 * DAY_S)

    with pytest.raises(NotApproved, match="within 604,800 s nobody has consented to it"):
        await asking
    assert world.done == []


@on_virtual_time
async def test_consent_outlives_the_life_that_asked_for_it_and_the_call_is_made_once() -> None:
    async def then_crash(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
        paid = await ctx.tools.call(pay, {"cents": 5000})
        crash(3)
        return paid

    host = await desk(then_crash)
    asking = await asked(host, "")
    host.runtime.cells[CLERK].kill()
    await pass_time(1)
    [about] = await open_waits(host)

    await host.ref(CLERK).tell(ToolApproval(about=about))

    assert await asking == "paid 5000"
    assert (world.done, world.runs) == (["pay 5000"], 4)


@on_virtual_time
async def test_consent_to_a_tool_that_has_changed_since_is_void() -> None:
    host = await desk(payment)
    asking = await asked(host, "5000")
    [about] = await open_waits(host)
    before = pay.hash
    pay.__dict__["hash"] = "another"
    try:
        await host.ref(CLERK).tell(ToolApproval(about=about))

        with pytest.raises(NotApproved, match="it has changed since consent to this call was asked for"):
            await asking
    finally:
        pay.__dict__["hash"] = before
    assert world.done == []


def other_pay(**options: Any) -> Tool[str]:
    """The tool as the next version of the program has it."""

    @tool(name="pay", **options)
    async def newer(cents: int) -> str:
        """Pays, in another way."""
        await world.do(f"newer {cents}")
        return f"paid newly {cents}"

    return newer


def list_pay(monkeypatch: pytest.MonkeyPatch, listed: Tool[Any]) -> None:
    """From here on the agent runs with this one."""
    monkeypatch.setattr(Clerk, "listed_tools", {**Clerk.listed_tools, "pay": listed})


@pytest.mark.parametrize("by", ["a limit that was raised", "a new version of the tool"])
def test_a_refusal_counts_though_no_consent_is_needed_any_more(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def by_name(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
        return await ctx.tools.call("pay", {"cents": int(request.text)})

    @on_virtual_time
    async def run() -> None:
        limit = [100]
        list_pay(monkeypatch, other_pay(approval=lambda call: call.cents > limit[0]))
        host = await desk(by_name)
        asking = await asked(host, "5000")
        [about] = await open_waits(host)
        limit[0] = 10_000
        if by == "a new version of the tool":
            list_pay(monkeypatch, other_pay())

        await host.ref(CLERK).tell(ToolApproval(about=about, approved=False))

        with pytest.raises(NotApproved, match="has refused it"):
            await asking
        assert world.done == []

    run()


def test_consent_stays_with_its_call_though_one_before_it_needed_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def twice(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
        return [await ctx.tools.call("pay", {"cents": 5000}) for _ in range(2)]

    @on_virtual_time
    async def run() -> None:
        list_pay(monkeypatch, other_pay(approval=lambda call: len(world.done) == 1))
        host = await desk(twice)
        asking = await asked(host, "")
        assert world.done == ["newer 5000"]
        [about] = await open_waits(host)

        await host.ref(CLERK).tell(ToolApproval(about=about, approved=False))

        with pytest.raises(NotApproved, match="has refused it"):
            await asking
        assert world.done == ["newer 5000"]

    run()


def test_what_is_done_with_consent_is_given_though_its_tool_has_changed_since(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
        if world.done:
            list_pay(monkeypatch, other_pay(approval=True))
        paid = await ctx.tools.call("pay", {"cents": 5000})
        crash(2)
        clerk.state.done += 1
        return paid

    @on_virtual_time
    async def run() -> None:
        host = await desk(body)
        asking = await asked(host, "")
        [about] = await open_waits(host)

        await host.ref(CLERK).tell(ToolApproval(about=about))

        assert await asking == "paid 5000"

    run()
    assert (world.done, world.runs) == (["pay 5000"], 3)


def test_nobody_is_asked_to_consent_to_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(clerk: Clerk, request: Do, ctx: DurableContext) -> object:
        if world.done:
            list_pay(monkeypatch, other_pay(approval=True))
        paid = await ctx.tools.call("pay", {"cents": 5})
        crash(1)
        return paid

    @on_virtual_time
    async def run() -> None:
        host = await desk(body)

        assert await host.ref(CLERK).ask(Do()) == "paid 5"

    run()
    assert (world.done, world.runs) == (["pay 5"], 2)


def test_consent_is_bound_to_message_tool_code_arguments_and_place() -> None:
    from regrow.actors.tool_gate import NeedsApproval, decide
    from regrow.runtime.journal_entries import StepKey

    def call(*, message: str = "desk/clerk@1", cents: int = 500, tool: Tool[Any] = pay, place: int = 0) -> str:
        verdict = decide("desk/clerk", {"pay": tool}, None, "pay", {"cents": cents})
        assert isinstance(verdict, NeedsApproval)
        key = StepKey(name="approval:pay", occurrence=place, digest="-")
        return tool_approval.asked_approval(CLERK, message, verdict.call, key).call

    @tool(name="pay", approval=True)
    async def other(cents: int) -> str:
        """Pays otherwise."""
        return ""

    calls = [call(), call(message="desk/clerk@2"), call(cents=501), call(tool=other), call(place=1)]

    assert len(set(calls)) == 5
    assert call() == calls[0]


@on_virtual_time
async def test_a_tool_that_waits_for_people_in_its_middle_is_a_misuse() -> None:
    class Word(Message):
        pass

    @tool
    async def waits(ctx: Context) -> str:
        """Waits."""
        assert isinstance(ctx, DurableContext)
        await ctx.wait_for(Word)
        return ""

    class Patient(DurableAgent[Nothing]):
        tools = [waits]

        @on
        async def do(self, request: Do, ctx: DurableContext) -> str:
            return await ctx.tools.call(waits)

    host = await desk(payment)
    assert await host.start(Patient, "desk/patient") is None

    with pytest.raises(InQuarantine):
        await host.ref("desk/patient").ask(Do())
    assert "waits inside of tool waits, which is recorded as a whole" in str(host.ends)


@on_virtual_time
async def test_a_stop_waits_for_a_tool_that_must_not_be_repeated() -> None:
    host = await desk(two_letters)
    begun, gate = world.gate("post a")
    asking = asyncio.create_task(host.ref(CLERK).ask(Do()))
    await begun.wait()

    host.runtime.cells[CLERK].stop(Shutdown(), 10)
    await pass_time(1)
    gate.set()

    assert await asking == "('number 1', ['b', '2'], 'number 3')"
    assert world.done == ["post a", "look b", "post c"], "the next life has met the letter as it was recorded"
