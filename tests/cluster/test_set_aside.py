"""What people do with messages in quarantine, in an app on the inline engine (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import App, DurableAgent, DurableContext, Message, Request, Running, Supervisor, agent, child, on
from regrow.actors.durable_errors import InQuarantine
from regrow.cluster.past_turns import turns_of
from regrow.cluster.set_aside import Decision, decided, listed
from regrow.cluster.views import show_one_set_aside, show_turns
from regrow.runtime.command_ids import new_command_id
from regrow.runtime.errors import Misuse
from regrow.runtime.journal_answers import Assume
from regrow.runtime.testing import pass_time
from tests.supervisors.stage import virtual

UNKNOWN = "019ab2d4-6c00-7000-8000-000000000009"


class Tally(BaseModel):
    done: list[str] = []


class Send(Request[int]):
    """Sends a mail in a step that may not be repeated."""

    text: str


class Spoilt(Message):
    """Makes its agent crash while the world says so."""

    text: str


class Seen(Request[tuple[str, ...]]):
    """What has been done."""


class Report(Request[int]):
    """Makes a large report, and then takes another way when it is run again."""

    size: int


class World:
    """What is outside of the agents."""

    mails: list[str]
    is_broken: bool

    def reset(self) -> None:
        self.mails, self.is_broken = [], True


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.reset()


async def send_mail(text: str) -> int:
    world.mails.append(text)
    if world.is_broken:
        raise ValueError("the line was cut")
    return len(world.mails)


async def written(size: int) -> str:
    return "r" * size


async def filed(number: int) -> int:
    return number


class Clerk(DurableAgent[Tally]):
    @on
    async def send(self, request: Send, ctx: DurableContext) -> int:
        number = await ctx.step("mail", send_mail, request.text)
        self.state.done.append(request.text)
        return number or 0

    @on
    async def report(self, request: Report, ctx: DurableContext) -> int:
        large = await ctx.step("write", written, request.size)
        await ctx.step("file", filed, len(world.mails))
        world.mails.append("filed")
        raise ValueError(f"no room for {len(large)} signs")

    @on
    async def spoilt(self, message: Spoilt) -> None:
        if world.is_broken:
            raise ValueError(f"can not read {message.text}")
        self.state.done.append(message.text)

    @on
    async def seen(self, request: Seen) -> tuple[str, ...]:
        return tuple(self.state.done)


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


def desk() -> App:
    return App(
        "desk",
        Supervisor(max_restarts=100, children=[child(Clerk, id="clerk"), child(Clerk, id="other")]),
        journal="memory",
    )


async def set_aside(running: Running, agent: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await listed(running, agent))["messages"]
    return rows


async def spoil(running: Running, id: str = "clerk") -> str:
    """Has a message set aside; gives its id."""
    await running.ref(id).tell(Spoilt(text="a letter"))
    while not (rows := await set_aside(running, f"desk/{id}")):
        await pass_time(1)
    found: str = rows[0]["id"]
    return found


async def cut_mail(running: Running) -> str:
    """Has a message set aside whose step was begun; gives its id."""
    command = new_command_id()
    with pytest.raises(InQuarantine):
        await running.ref("clerk").ask(Send(text="paid"), command_id=command)
    return f"desk/clerk@{command}"


async def ask_again(running: Running, id: str) -> int:
    return await running.ref("clerk").ask(Send(text="paid"), command_id=id.rpartition("@")[2])


@virtual
async def test_messages_in_quarantine_are_listed_for_one_agent_or_the_whole_app() -> None:
    async with desk().start(engine="inline") as running:
        first = await spoil(running)
        second = await spoil(running, "other")

        assert [row["id"] for row in await set_aside(running)] == [first, second]
        assert [row["agent"] for row in await set_aside(running, "desk/other")] == ["desk/other"]


@virtual
async def test_a_large_result_of_a_step_is_shown_and_told_in_history_by_its_size_and_digest() -> None:
    async with desk().start(engine="inline") as running:
        command = new_command_id()
        with pytest.raises(InQuarantine):
            await running.ref("clerk").ask(Report(size=100_000), command_id=command)

        shown = await decided(running, f"desk/clerk@{command}", Decision.SHOW, None)
        past = await turns_of(running, "desk/clerk", 1)

    file, write = shown["steps"]
    assert (write["result"], file["result"]) == (None, 0)
    kept = write["kept_apart"]
    assert kept["size_bytes"] > 100_000 and len(kept["digest"]) == 64
    assert "kept_apart" not in file
    assert past["turns"][0]["steps"][0]["kept_apart"] == kept
    page, line = io.StringIO(), f"done → {kept['size_bytes']:,} bytes, {kept['digest']}"
    show_one_set_aside(shown, to=page)
    show_turns(past, to=page)
    assert page.getvalue().count(line) == 2


@virtual
async def test_a_message_in_quarantine_is_shown_with_what_it_says_and_its_history() -> None:
    async with desk().start(engine="inline") as running:
        id = await spoil(running)

        shown = await decided(running, id, Decision.SHOW, None)

        assert (shown["type"].rpartition(":")[2], shown["fields"]) == ("Spoilt", {"text": "a letter"})
        assert shown["attempts"] == len(shown["history"]) == Clerk.poison_after
        assert "can not read a letter" in shown["reason"]


@virtual
async def test_a_requeued_message_is_handled_again_and_its_attempts_count_anew() -> None:
    async with desk().start(engine="inline") as running:
        id = await spoil(running)
        again = await decided(running, id, Decision.REQUEUE, None)
        while not await set_aside(running):
            await pass_time(1)
        shown = await decided(running, id, Decision.SHOW, None)
        world.is_broken = False

        await decided(running, id, Decision.REQUEUE, None)
        await pass_time(1)

        assert again == {"id": id, "did": "requeue", "assume": None, "by": "app:desk"}
        assert (shown["attempts"], len(shown["history"])) == (Clerk.poison_after, 2 * Clerk.poison_after)
        assert await running.ref("clerk").ask(Seen()) == ("a letter",)
        assert await set_aside(running) == []


@virtual
async def test_a_step_that_a_person_says_was_done_is_not_run_again() -> None:
    async with desk().start(engine="inline") as running:
        id = await cut_mail(running)
        shown = await decided(running, id, Decision.SHOW, None)
        world.is_broken = False

        await decided(running, id, Decision.REQUEUE, Assume.DONE)
        await pass_time(1)

        assert (shown["open_steps"], shown["steps"][0]["state"]) == (1, "started")
        assert world.mails == ["paid"]
        assert await ask_again(running, id) == 0


@virtual
async def test_a_step_that_a_person_says_was_not_done_is_run_again() -> None:
    async with desk().start(engine="inline") as running:
        id = await cut_mail(running)
        world.is_broken = False

        await decided(running, id, Decision.REQUEUE, Assume.UNDONE)
        await pass_time(1)

        assert world.mails == ["paid", "paid"]
        assert await ask_again(running, id) == 2


@virtual
async def test_requeued_without_a_word_a_step_that_was_begun_sets_its_message_aside_again() -> None:
    async with desk().start(engine="inline") as running:
        id = await cut_mail(running)
        world.is_broken = False

        await decided(running, id, Decision.REQUEUE, None)
        await pass_time(1)

        assert [row["id"] for row in await set_aside(running)] == [id]
        assert world.mails == ["paid"]


@virtual
async def test_a_dropped_message_is_gone_and_its_asker_hears_that_it_was_set_aside() -> None:
    async with desk().start(engine="inline") as running:
        id = await cut_mail(running)

        dropped = await decided(running, id, Decision.DROP, None)

        assert dropped == {"id": id, "did": "drop", "by": "app:desk"}
        assert await set_aside(running) == []
        with pytest.raises(InQuarantine):
            await ask_again(running, id)


@virtual
async def test_what_names_no_message_in_quarantine_is_told_with_what_to_do() -> None:
    async with desk().start(engine="inline") as running:
        for decision in Decision:
            with pytest.raises(Misuse, match="is not in quarantine; see what is with: regrow quarantine list desk"):
                await decided(running, f"desk/clerk@{UNKNOWN}", decision, None)
        for id in ("desk/clerk", "desk/clerk@", f"@{UNKNOWN}", "desk/clerk@not-an-id"):
            with pytest.raises(Misuse, match="names no message; write APP/AGENT@COMMAND"):
                await decided(running, id, Decision.SHOW, None)


@virtual
async def test_an_app_without_a_journal_says_so() -> None:
    async with App("plain", greet).start(engine="inline") as running:
        with pytest.raises(Misuse, match="plain has no durable agents"):
            await listed(running, "")


@virtual
async def test_a_message_that_is_requeued_while_its_agent_restarts_is_found_by_the_next_life() -> None:
    async with desk().start(engine="inline") as running:
        id = await spoil(running)
        world.is_broken = False
        deciding = asyncio.create_task(decided(running, id, Decision.REQUEUE, None))

        await running.restart("clerk")
        await deciding
        await pass_time(1)

        assert await running.ref("clerk").ask(Seen()) == ("a letter",)
