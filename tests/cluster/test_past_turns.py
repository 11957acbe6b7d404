"""The history of durable agents as people are told it, in an app on the inline engine (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
import os
import pwd
import tempfile
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import (
    Agent,
    App,
    Context,
    DurableAgent,
    DurableContext,
    Message,
    Refused,
    Request,
    Running,
    Supervisor,
    agent,
    child,
    on,
)
from regrow.cluster import cli_calls
from regrow.cluster.answers import approved
from regrow.cluster.config import HistorySettings, Settings
from regrow.cluster.control import ControlSocket
from regrow.cluster.errors import ControlError
from regrow.cluster.past_turns import turns_of
from regrow.cluster.set_aside import Decision, decided
from regrow.runtime.errors import Misuse
from regrow.runtime.testing import pass_time
from tests.integration.waiting import until
from tests.supervisors.stage import virtual


class Tally(BaseModel):
    done: int = 0


class Send(Request[int]):
    """Sends a mail in a step; its agent crashes on it as often as the world says."""

    text: str


class Refuse(Request[int]):
    """Is refused."""


class Yes(Message):
    """The answer to AskPerson."""

    why: str = ""


class AskPerson(Message):
    """Waits for a person."""


class Spoilt(Message):
    """Always fails, until the world is mended."""


class World:
    """What is outside of the agents."""

    crashes: int
    is_broken: bool

    def reset(self) -> None:
        self.crashes, self.is_broken = 0, True


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.reset()


async def mail(text: str) -> int:
    if world.crashes:
        world.crashes -= 1
        raise ValueError("the line was cut")
    return len(text)


class Clerk(DurableAgent[Tally]):
    @on
    async def send(self, request: Send, ctx: DurableContext) -> int:
        return await ctx.step("mail", mail, request.text, idempotent=True)

    @on
    async def refuse(self, request: Refuse) -> int:
        raise Refused("not today")

    @on
    async def ask_person(self, message: AskPerson, ctx: DurableContext) -> None:
        await ctx.wait_for(Yes)

    @on
    async def spoilt(self, message: Spoilt) -> None:
        if world.is_broken:
            raise ValueError("can not be read")


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


class Boss(Agent):
    @on
    async def consent(self, yes: Yes, ctx: Context) -> None:
        await ctx.tell("clerk", yes)


def desk() -> App:
    children = [child(Clerk, id="clerk"), child(greet, id="greet"), child(Boss, id="boss")]
    return App("desk", Supervisor(max_restarts=100, children=children), journal="memory")


async def history(running: Running, limit: int = 100) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = (await turns_of(running, "desk/clerk", limit))["turns"]
    return turns


async def outcomes(running: Running, count: int) -> list[str]:
    """How the turns ended, once there are so many."""
    while len(turns := await history(running)) < count:
        await pass_time(1)
    return [turn["outcome"] for turn in turns]


@virtual
async def test_a_turn_is_told_with_its_message_its_steps_its_outcome_its_life_and_its_times() -> None:
    async with desk().start(engine="inline") as running:
        world.crashes = 1
        await running.ref("clerk").ask(Send(text="paid"))
        with pytest.raises(Refused):
            await running.ref("clerk").ask(Refuse())

        sent, refused = await history(running)

        assert (sent["type"].rpartition(":")[2], sent["fields"], sent["outcome"]) == (
            "Send",
            {"text": "paid"},
            "committed",
        )
        assert sent["steps"] == [{"name": "mail", "number": 1, "attempts": 2, "state": "done"}]
        assert (sent["failed_before"], sent["epoch"], sent["shortened"]) == (1, 2, False)
        assert sent["incarnation"] >= 2
        assert sent["began"] <= sent["ended"] <= refused["ended"]
        assert sent["id"] == f"desk/clerk@{sent['command']}"
        assert (refused["outcome"], refused["steps"]) == ("refused", [])


@virtual
async def test_turns_that_wait_and_what_people_decide_are_told() -> None:
    async with desk().start(engine="inline") as running:
        await running.ref("clerk").tell(AskPerson())
        await outcomes(running, 1)
        await approved(running, (await history(running))[0]["id"], None, ())
        await outcomes(running, 2)
        await running.ref("clerk").tell(Spoilt())
        await outcomes(running, 3)
        id = (await history(running))[-1]["id"]
        world.is_broken = False

        await decided(running, id, Decision.REQUEUE, None)

        assert await outcomes(running, 5) == ["parked", "committed", "quarantined", "requeued", "committed"]
        turns = await history(running)
        assert [step["name"] for step in turns[1]["steps"]] == ["wait:Yes"]
        assert (turns[2]["failed_before"], turns[3]["epoch"], turns[3]["began"]) == (Clerk.poison_after, None, None)
        assert turns[3]["type"] == turns[2]["type"]
        assert (turns[2].get("by"), turns[3]["by"]) == (None, "app:desk")


@virtual
async def test_who_has_answered_a_wait_is_told_with_the_answer() -> None:
    async with desk().start(engine="inline") as running:
        for _ in range(3):
            await running.ref("clerk").tell(AskPerson())
        await outcomes(running, 3)
        ids = [turn["id"] for turn in await history(running)]
        await approved(running, ids[1], None, ["why=mine"], by="user:ada")
        await running.answer(ids[2], Yes(why="of the program"))
        await running.ref("boss").tell(Yes(why="my word"))
        await outcomes(running, 6)

        turns = {turn["id"]: turn for turn in await history(running)}

        assert [turns[id]["steps"][0] for id in ids] == [
            {"name": "wait:Yes", "number": 1, "attempts": 1, "state": "done", "by": by, "answer": {"why": why}}
            for by, why in (("desk/boss", "my word"), ("user:ada", "mine"), ("app:desk", "of the program"))
        ]


async def test_whoever_approves_or_drops_at_the_control_socket_is_known_by_her_name_in_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory(prefix="rg") as short:  # since a socket's path has a limit
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        control = ControlSocket("desk", engine="inline", request_stop=lambda: None)
        async with control, desk().start(engine="inline", settings=Settings()) as running:
            control.attach(running)
            await running.ref("clerk").tell(AskPerson())
            [wait] = await until(running.waits, "it waits")

            told = await asyncio.to_thread(cli_calls.approved, wait["id"], ["why=mine"])
            turn = await until(lambda: _first(running, "committed"), "it is done")
            await running.ref("clerk").tell(Spoilt())
            spoilt = await until(lambda: _first(running, "quarantined"), "it is set aside")
            decided = await asyncio.to_thread(cli_calls.decided, spoilt["id"], "drop")
            dropped = await until(lambda: _first(running, "dropped"), "it is dropped")

            ada = f"user:{pwd.getpwuid(os.getuid()).pw_name}"
            assert told["by"] == turn["steps"][0]["by"] == decided["by"] == dropped["by"] == ada


async def _first(running: Running, outcome: str) -> dict[str, Any] | None:
    return next((turn for turn in await history(running) if turn["outcome"] == outcome), None)


@virtual
async def test_the_newest_turns_are_told_up_to_a_limit_and_no_more_are_kept_than_is_set() -> None:
    settings = Settings(history=HistorySettings(turns=3))
    async with desk().start(engine="inline", settings=settings) as running:
        for number in range(5):
            await running.ref("clerk").ask(Send(text=str(number)))

        told = await turns_of(running, "desk/clerk", 2)

        assert [turn["fields"]["text"] for turn in told["turns"]] == ["3", "4"]
        assert told["more"]
        assert [turn["fields"]["text"] for turn in await history(running)] == ["2", "3", "4"]


@virtual
async def test_no_history_is_kept_where_that_is_set() -> None:
    settings = Settings(history=HistorySettings(turns=0))
    async with desk().start(engine="inline", settings=settings) as running:
        await running.ref("clerk").ask(Send(text="paid"))

        assert await history(running) == []


@virtual
async def test_an_agent_without_history_has_an_empty_one_and_others_are_refused_in_a_sentence() -> None:
    async with desk().start(engine="inline") as running:
        assert await turns_of(running, "desk/clerk", 20) == {"agent": "desk/clerk", "turns": [], "more": False}
        with pytest.raises(Misuse, match="desk/greet is not a durable agent"):
            await turns_of(running, "desk/greet", 20)
        with pytest.raises(Misuse, match=r"desk has no agent 'desk/nobody'.*its agents are: desk/clerk, desk/greet"):
            await turns_of(running, "desk/nobody", 20)
        for limit in (0, 1_001):
            with pytest.raises(Misuse, match=f"the limit is {limit}; ask for 1 to 1000"):
                await turns_of(running, "desk/clerk", limit)
    async with App("plain", greet).start(engine="inline") as running:
        with pytest.raises(Misuse, match="plain has no durable agents"):
            await turns_of(running, "plain/nobody", 20)


async def test_a_running_app_is_asked_for_its_history_through_its_control_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory(prefix="rg") as short:  # since a socket's path has a limit
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        control = ControlSocket("desk", engine="inline", request_stop=lambda: None)
        async with control, desk().start(engine="inline", settings=Settings()) as running:
            control.attach(running)
            await running.ref("clerk").ask(Send(text="paid"))

            told = await asyncio.to_thread(cli_calls.history, "desk/clerk", limit=5)
            with pytest.raises(ControlError, match="desk/greet is not a durable agent") as refused:
                await asyncio.to_thread(cli_calls.history, "desk/greet", limit=5)

            assert told == await turns_of(running, "desk/clerk", 5)
            assert len(told["turns"]) == 1
            assert refused.value.exit_code == 2
