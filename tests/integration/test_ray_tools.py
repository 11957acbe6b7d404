"""Tools of agents in processes of their own: the gate holds across them, and a kill leaves and repeats nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from regrow import AskFailed, Killed, Running, ToolApproval
from regrow.actors.process_guard import below
from regrow.actors.tool_errors import ToolDenied
from regrow.cluster.app import EngineName
from tests.integration.apps import tooled
from tests.integration.apps.tooled import Add, Erase, Hang, Pay, Pid, Report
from tests.integration.belongings import alive
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import kill
from tests.integration.lives import node_of
from tests.integration.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.redis,
    pytest.mark.again,  # within a process the tools, streams and waits of agents are tried one by one
    pytest.mark.asyncio(loop_scope="module"),
]

PATIENCE_S = 60.0
"""For one message, on a busy machine."""
CASHIER = "tooled/cashier"


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there a process to kill."""
    return "ray"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    with nothing_left(root):
        async with start(tooled.app) as app:
            yield app


async def test_an_agent_in_another_process_runs_what_it_lists_and_nothing_else(running: Running) -> None:
    assert await running.ref("clerk").ask(Add(a=2, b=3)) == 5
    with pytest.raises(ToolDenied, match="erase"):
        await running.ref("clerk").ask(Erase())


async def test_what_a_caller_may_not_run_the_agent_it_asks_in_another_process_may_not_either(running: Running) -> None:
    assert await running.ref("chief").ask(Add(a=2, b=3)) == 5
    with pytest.raises(ToolDenied, match="capability"):
        await running.ref("chief").ask(Add(a=2, b=3, narrowed=True))


async def test_a_tool_in_a_process_of_its_own_dies_with_the_host_that_runs_it(running: Running) -> None:
    host = await node_of(running, "tooled/clerk")
    asked = asyncio.ensure_future(running.ref("clerk").ask(Hang(), timeout_s=PATIENCE_S))
    await until(lambda: any(map(_has_begun, below(host.pid))), "the tool has begun", within_s=PATIENCE_S)
    tools = below(host.pid)  # with what stands around it in a sandbox

    await kill(running, "tooled/clerk")

    with pytest.raises(AskFailed) as failed:
        await asked
    assert isinstance(failed.value.reason, Killed)
    await until(lambda: not any(map(alive, tools)), "the tool's processes are gone")


def _has_begun(pid: int) -> bool:
    return Path(f"/proc/{pid}/cwd/begun").exists()


async def test_a_kill_between_two_tools_repeats_neither_and_ends_the_stream_behind_what_had_come(
    running: Running, tmp_path: Path
) -> None:
    lines, gate = tmp_path / "lines", tmp_path / "gate"
    report = Report(path=str(lines), gate=str(gate))
    cashier = running.ref("cashier")
    parts: list[str] = []

    async def read_and_kill() -> None:
        async with cashier.stream(report, timeout_s=PATIENCE_S) as stream:
            async for part in stream:
                parts.append(part)
                await until(gate.exists, "the turn waits between its tools", within_s=PATIENCE_S)
                await kill(running, CASHIER)

    with pytest.raises(AskFailed) as failed:
        await read_and_kill()

    assert (parts, type(failed.value.reason)) == (["first"], Killed)
    await cashier.ask(Pid(), timeout_s=PATIENCE_S)  # behind the turn that was cut
    assert [line.split()[0] for line in lines.read_text().splitlines()] == ["first", "second"]


async def test_consent_is_waited_for_through_the_death_of_the_process_and_pays_once(
    running: Running, tmp_path: Path
) -> None:
    paid = tmp_path / "paid"
    asked = asyncio.ensure_future(running.ref("cashier").ask(Pay(path=str(paid), cents=7), timeout_s=PATIENCE_S))

    async def wait_of_the_cashier() -> dict[str, Any] | None:
        return next(iter(await running.waits(CASHIER)), None)

    wait = await until(wait_of_the_cashier, "the turn waits", within_s=PATIENCE_S)
    await kill(running, CASHIER)
    assert not paid.exists()
    assert wait["call"]["tool"] == "pay"

    await running.answer(wait["id"], ToolApproval())

    assert await asked == "paid 7"
    assert paid.read_text() == "7\n"
