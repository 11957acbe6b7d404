"""What people answer to turns that wait, in an app on the inline engine (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import App, DurableAgent, DurableContext, Message, Request, Running, Supervisor, child, on
from regrow.actors.tool import tool
from regrow.actors.tool_approval import ToolApproval
from regrow.actors.tool_errors import NotApproved
from regrow.cluster.answers import approved, waits
from regrow.runtime.errors import Misuse
from regrow.runtime.testing import pass_time
from tests.supervisors.stage import virtual

UNKNOWN = "019ab2d4-6c00-7000-8000-000000000009"


class Approval(Message):
    approved: bool = True
    note: str = ""


class Amount(Message):
    cents: int


class Pay(Request[str]):
    text: str


class Charge(Request[int]):
    """Waits for an amount, for a minute."""


class Refund(Request[str]):
    """Pays back, with consent."""

    cents: int
    note: str = ""


@tool(approval=True)
async def pay_back(cents: int, note: str) -> str:
    """Pays back."""
    return f"paid back {cents}"


class Orders(BaseModel):
    ids: list[str] = []


class Clerk(DurableAgent[Orders]):
    tools = [pay_back]

    @on
    async def refund(self, request: Refund, ctx: DurableContext) -> str:
        return await ctx.tools.call(pay_back, {"cents": request.cents, "note": request.note})

    @on
    async def pay(self, request: Pay, ctx: DurableContext) -> str:
        self.state.ids.append(ctx.message_id)
        approval = await ctx.wait_for(Approval)
        return f"{request.text} {approval.approved} {approval.note}"

    @on
    async def charge(self, request: Charge, ctx: DurableContext) -> int:
        return (await ctx.wait_for(Amount, timeout_s=60)).cents


def desk() -> App:
    return App("desk", Supervisor(children=[child(Clerk, id="clerk"), child(Clerk, id="other")]), journal="memory")


async def open_waits(running: Running, agent: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await waits(running, agent))["waits"]
    return rows


async def asked(running: Running, request: Request[Any], id: str = "clerk") -> asyncio.Task[Any]:
    """An ask whose turn waits."""
    asking = asyncio.create_task(running.ref(id).ask(request, timeout_s=1_000))
    await pass_time(0.1)
    return asking


@virtual
async def test_what_waits_is_listed_for_one_agent_or_the_whole_app_and_a_person_approves_it() -> None:
    async with desk().start(engine="inline") as running:
        asking = await asked(running, Pay(text="rent"))
        other = await asked(running, Pay(text="wages"), "other")
        rows, [row] = await open_waits(running), await open_waits(running, "desk/other")

        told = await approved(running, row["id"], None, ["note=of March", "approved=false"])

        assert [each["agent"] for each in rows] == ["desk/clerk", "desk/other"]
        assert (row["for"].rpartition(":")[2], row["until"]) == ("Approval", None)
        assert told["answer"] == {"approved": False, "note": "of March"}
        assert await other == "wages False of March"
        assert not asking.done()
        asking.cancel()


@virtual
async def test_approved_without_a_word_the_answer_has_its_defaults() -> None:
    async with desk().start(engine="inline") as running:
        asking = await asked(running, Pay(text="rent"))

        await approved(running, (await open_waits(running))[0]["id"], None, [])

        assert await asking == "rent True "
        assert await open_waits(running) == []


@virtual
async def test_a_program_answers_the_message_whose_id_it_was_told() -> None:
    async with desk().start(engine="inline") as running:
        first = await asked(running, Pay(text="rent"))
        second = await asked(running, Pay(text="wages"))
        ids = [row["id"] for row in await open_waits(running)]

        await running.answer(ids[1], Approval(note="second"))

        assert await second == "wages True second"
        await running.answer(ids[0], Approval(note="first"))
        assert await first == "rent True first"


@virtual
async def test_an_answer_that_does_not_fit_is_told_and_the_turn_waits_on() -> None:
    async with desk().start(engine="inline") as running:
        asking = await asked(running, Charge())
        [row] = await open_waits(running)
        id = row["id"]

        for words, told in (([], "'cents' is missing"), (["many"], "cents is 'many'"), (["x=1"], "has no field 'x'")):
            with pytest.raises(Misuse, match=told):
                await approved(running, id, None, words)
        with pytest.raises(Misuse, match=r"waits for .*Amount and not for .*Approval"):
            await running.answer(id, Approval())
        await approved(running, id, {"cents": 5}, [])

        assert row["until"] is not None
        assert await asking == 5


@virtual
async def test_what_waits_for_nothing_is_told_with_what_to_do() -> None:
    async with desk().start(engine="inline") as running:
        with pytest.raises(Misuse, match="waits for nothing, or no longer; see what does with: regrow waits desk"):
            await approved(running, f"desk/clerk@{UNKNOWN}", None, [])
        with pytest.raises(Misuse, match="names no message; write APP/AGENT@COMMAND"):
            await approved(running, "desk/clerk", None, [])


@virtual
async def test_who_is_to_consent_to_a_tool_sees_its_arguments_and_her_word_is_for_this_call_alone() -> None:
    async with desk().start(engine="inline") as running:
        first, second = await asked(running, Refund(cents=500)), await asked(running, Refund(cents=700))
        rows = await open_waits(running)
        ids = [row["id"] for row in rows]

        assert [row["for"].rpartition(":")[2] for row in rows] == ["ToolApproval"] * 2
        assert [row["call"] for row in rows] == [
            {"tool": "pay_back", "arguments": '{"cents":500,"note":""}'},
            {"tool": "pay_back", "arguments": '{"cents":700,"note":""}'},
        ]
        await approved(running, ids[1], None, ["by=Ada"])
        assert await second == "paid back 700"
        assert not first.done()
        await approved(running, ids[0], None, ["approved=false", "reason=too early"])
        with pytest.raises(NotApproved, match=r"a person has refused it \(too early\)"):
            await first


@virtual
async def test_consent_to_another_call_than_the_one_that_waits_is_told() -> None:
    async with desk().start(engine="inline") as running:
        asking = await asked(running, Refund(cents=500))
        [row] = await open_waits(running)

        with pytest.raises(
            Misuse, match=r"waits for an answer about 'pay_back/.*', and this one is about 'pay_back/1'"
        ):
            await running.answer(row["id"], ToolApproval(about="pay_back/1"))
        await running.answer(row["id"], ToolApproval())

        assert await asking == "paid back 500"


@virtual
async def test_arguments_that_are_too_large_to_be_shown_are_named_as_such() -> None:
    async with desk().start(engine="inline") as running:
        asking = await asked(running, Refund(cents=500, note="x" * 100_000))
        [row] = await open_waits(running)

        assert row["call"] == {"tool": "pay_back", "arguments": "(too large to be shown)"}
        await running.answer(row["id"], ToolApproval())
        assert await asking == "paid back 500"


@virtual
async def test_what_waits_for_no_tool_shows_none() -> None:
    async with desk().start(engine="inline") as running:
        asking = await asked(running, Pay(text="rent"))

        assert (await open_waits(running))[0]["call"] is None
        asking.cancel()
