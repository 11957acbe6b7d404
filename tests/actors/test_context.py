"""The services of the app in an agent's context: memory and models."""

from __future__ import annotations

from typing import Any

import pytest

from regrow.actors.agent import Agent, on
from regrow.actors.context import Context
from regrow.memory.requests import Recall
from regrow.router import ModelRequest, Work
from regrow.runtime.address import ActorId
from regrow.runtime.errors import AskFailed, Misuse, Refused
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import virtual
from tests.runtime.scripted import Process


class UseMemory(Request[str]):
    """Has the agent recall something."""


class UseModels(Request[str]):
    """Has the agent complete something."""


class User(Agent):
    """Uses the services of its app."""

    @on
    async def recall(self, _: UseMemory, ctx: Context) -> str:
        return str(await ctx.memory.recall("rivers"))

    @on
    async def complete(self, _: UseModels, ctx: Context) -> str:
        return (await ctx.models.complete(Work.SUMMARIZE, "rivers")).text


class Full(Refused):
    """What the services of these tests answer."""


async def process_with(service: str, got: list[Message]) -> Process:
    """A process with one service, which keeps what it is asked and refuses it."""

    async def handle(message: Message, ctx: Any) -> object:
        got.append(message)
        raise Full("not today")

    process = Process()
    await process.start(f"desk:{service}", handle)
    process.runtime.services[service] = ActorId(f"desk:{service}")
    return process


@pytest.mark.parametrize(("request_class", "service"), [(UseMemory, "memory"), (UseModels, "models")])
def test_a_service_without_an_app_is_a_misuse_that_says_what_to_do(
    request_class: type[Request[str]], service: str
) -> None:
    @virtual
    async def run() -> None:
        user = await Process().start("desk/user", User)

        with pytest.raises(AskFailed) as failure:
            await user.ask(request_class())

        assert failure.value.type_name == Misuse.__name__
        assert failure.value.message == (
            f"this process runs no app with a {service} service; start the agent through an App"
        )

    run()


@virtual
async def test_memory_asks_the_memory_service_of_the_app() -> None:
    got: list[Message] = []
    process = await process_with("memory", got)
    user = await process.start("desk/user", User)

    with pytest.raises(Full, match="not today"):
        await user.ask(UseMemory())

    assert [type(message) for message in got] == [Recall]


@virtual
async def test_models_are_asked_in_the_name_of_the_agent_and_whoever_it_works_for() -> None:
    got: list[Message] = []
    process = await process_with("models", got)
    user = await process.start("desk/user", User)

    with pytest.raises(Full, match="not today"):
        await user.ask(UseModels())

    asked = got[0]
    assert isinstance(asked, ModelRequest)
    assert (asked.agent, asked.principal) == ("desk/user", "tester")


@virtual
async def test_memory_reaches_what_is_below_the_app_of_the_agent() -> None:
    scopes: list[str] = []

    class Curious(Agent):
        @on
        async def look(self, _: UseMemory, ctx: Context) -> str:
            scopes.append(str(ctx.memory.scope))
            return ""

    process = await process_with("memory", [])
    await (await process.start("desk/floor/user", Curious)).ask(UseMemory())

    assert scopes == ["desk"]


# ---- what is asked of supervisors comes to somebody else ----


class Settle(Request[str]):
    """Has the agent take somebody for a supervisor: the one named, or itself as of a child that it spawned."""

    of: str = ""


class Parent(Agent):
    """Takes others for supervisors."""

    @on
    async def settle(self, request: Settle, ctx: Context) -> str:
        try:
            if request.of:
                await ctx.start_child(request.of)
            else:
                await ctx.stop_child(await ctx.spawn(User, "own"))
        except (Misuse, Refused) as error:
            return str(error)
        return "done"


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ("", "desk/parent is no supervisor, and StopChild is a request for one"),
        ("desk/user", "desk/user (User) is no supervisor, and StartChild is a request for one"),
    ],
    ids=["own-spawned-child", "other-agent"],
)
def test_who_takes_an_agent_for_a_supervisor_is_told_what_it_is_and_what_to_do(of: str, said: str) -> None:
    @virtual
    async def run() -> None:
        process = Process()
        await process.start("desk/user", User)
        parent = await process.start("desk/parent", Parent)

        text = await parent.ask(Settle(of=of))

        assert text.startswith(said)
        assert text.endswith("A child that an agent has spawned is ended by ref.stop()")

    run()
