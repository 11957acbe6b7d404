"""MCP servers on both engines: the session in one process, who calls in another, each killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import AskFailed, Running
from tests.integration.apps import servers
from tests.integration.apps.servers import Run
from tests.integration.conftest import Start, nothing_left
from tests.integration.waiting import LOOK_AROUND_S, until, until_none

pytestmark = [pytest.mark.slow, pytest.mark.again_on_ray, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    with nothing_left(root):
        async with start(servers.app) as app:
            yield app
    until_none(servers_here, "of the app's server")


def servers_here() -> list[int]:
    """The processes of this app's server, wherever they were started from."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and servers.MARK.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            pass
    return found


async def call(running: Running, tool: str, **arguments: object) -> str:
    return await running.ref("user").ask(Run(tool=tool, arguments=json.dumps(arguments)), timeout_s=60)


async def test_a_tool_of_a_server_is_called_from_another_process(running: Running) -> None:
    assert await call(running, "raw_echo", text="hello") == "hello"
    assert await call(running, "raw_add", a=1, b=2) == "{'sum': 3}"
    assert (await call(running, "raw_big", size=2_000_000)).startswith("ResultTooLarge")
    assert len(await call(running, "raw_big", size=1_000_000)) == 1_000_000


async def test_a_server_that_dies_is_back_and_the_call_says_why(running: Running) -> None:
    told = await call(running, "raw_die", how="exit")

    assert told.startswith("OutcomeUnknown: raw_die was under way") and "exit code 3" in told
    assert await call(running, "raw_echo", text="back") == "back"
    assert "exit code 3" in (await running.tree())[0].children[0].last_reason


async def test_a_session_that_is_killed_takes_its_server_along_and_is_back(running: Running, tmp_path: Path) -> None:
    await call(running, "raw_echo", text="it runs")
    (before,) = servers_here()
    asked = asyncio.ensure_future(call(running, "raw_slow", begun=str(tmp_path / "begun")))
    await until((tmp_path / "begun").exists, "the call to run")

    await running.kill("raw")

    assert (await asked).startswith("OutcomeUnknown")
    assert await call(running, "raw_echo", text="back") == "back"
    await until(lambda: before not in servers_here(), "the server of before to end", within_s=LOOK_AROUND_S * 300)


async def test_a_caller_that_is_killed_ends_its_call_and_the_session_goes_on(running: Running, tmp_path: Path) -> None:
    asked = asyncio.ensure_future(call(running, "raw_slow", begun=str(tmp_path / "begun")))
    await until((tmp_path / "begun").exists, "the call to run")
    restarts = (await running.tree())[0].children[0].restarts

    await running.kill("user")

    with pytest.raises(AskFailed, match="servers/user"):
        await asked
    assert await call(running, "raw_echo", text="well") == "well"
    assert (await running.tree())[0].children[0].restarts == restarts
