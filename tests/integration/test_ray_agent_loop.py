"""Agent loops in real processes that are killed by SIGKILL: between two tools, and while some are under way."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from regrow import AskFailed
from regrow.router.catalog import ModelCard
from regrow.router.conversation import Role, Said, ToolCall
from regrow.router.provider import ProviderReply
from regrow.router.request import ModelRequest
from regrow.testing import ScriptedModel, TestApp
from tests.integration.apps.looping import Serve, app
from tests.integration.conftest import nothing_left
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.redis]


class Model(ScriptedModel):
    """Says what comes next by how often it has spoken; before its second word it waits for the test."""

    def __init__(self, folder: Path) -> None:
        super().__init__([])
        self.begun, self.gate = asyncio.Event(), asyncio.Event()
        self._folder = folder

    def _call(self, id: str, name: str, text: str) -> ToolCall:
        return ToolCall(id=id, name=name, arguments=json.dumps({"folder": str(self._folder), "text": text}))

    async def complete(self, request: ModelRequest, card: ModelCard) -> ProviderReply:
        self.requests.append(request)
        spoken = sum(isinstance(each, Said) and each.role is Role.ASSISTANT for each in request.messages)
        if spoken == 0:
            return ProviderReply(text="", tool_calls=(self._call("1", "post", "a"),))
        if spoken == 1:
            self.begun.set()
            await self.gate.wait()
            return ProviderReply(text="", tool_calls=(self._call("2", "file", "b"), self._call("3", "file", "c")))
        return ProviderReply(text="served")

    def spoken(self) -> list[int]:
        """How far the conversation was at each request."""
        return [
            sum(isinstance(each, Said) and each.role is Role.ASSISTANT for each in request.messages)
            for request in self.requests
        ]


def lines(folder: Path) -> list[str]:
    """What the tools have done."""
    done = folder / "done"
    return done.read_text("utf-8").splitlines() if done.exists() else []


async def test_a_sigkill_between_two_tools_and_one_while_some_run_repeat_neither_model_nor_tool(
    local_ray: Path, tmp_path: Path
) -> None:
    model = Model(tmp_path)
    with nothing_left(local_ray):
        async with TestApp(app, models=model, engine="ray") as t:
            asking = asyncio.create_task(t.ask("durable", Serve(), timeout_s=120))
            await model.begun.wait()
            await t.kill("durable")  # the first tool is done, and the model is asked for its second word
            model.gate.set()
            await until(lambda: {"begin b", "begin c"} <= set(lines(tmp_path)), "both tools of the second turn")
            await t.kill("durable")
            (tmp_path / "go").touch()

            assert await asking == "served 1"
            assert t.restarts("durable") == 2

    done = lines(tmp_path)
    assert (done.count("post a"), done.count("begin b"), done.count("begin c")) == (1, 2, 2)
    assert len({line for line in done if line.startswith("file")}) == 2, "each has one key, however often it is made"
    assert model.spoken() == [0, 1, 1, 2], (
        "the word that was not there yet at the kill is asked for again, and no other"
    )


@pytest.mark.again  # a durable one stays by day
async def test_a_plain_agent_that_is_killed_in_its_loop_is_told_of_and_back_and_leaves_no_tool(
    local_ray: Path, tmp_path: Path
) -> None:
    model = Model(tmp_path)
    with nothing_left(local_ray):
        async with TestApp(app, models=model, engine="ray") as t:
            asking = asyncio.create_task(t.ask("plain", Serve(), timeout_s=60))
            await model.begun.wait()
            await t.kill("plain")
            with pytest.raises(AskFailed, match="not retried, since Agent delivers at most once"):
                await asking
            model.gate.set()
            (tmp_path / "go").touch()

            assert await t.ask("plain", Serve(), timeout_s=60) == "served"
