"""Adopted code under a supervisor, inline and in processes of its own: asked, killed, stopped while it holds on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import App, AskFailed, Killed, Prompt, Running, Supervisor, adopt, child
from regrow.cluster.app import EngineName
from regrow.runtime import CodeNotImportable
from tests.integration.apps import adopted
from tests.integration.conftest import Start, nothing_left
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    with nothing_left(root):
        async with start(adopted.app) as app:
            yield app


async def test_every_shape_of_adopted_code_answers(running: Running) -> None:
    said = await running.ref("research").ask(adopt(adopted.research).request("why"))
    object_said = await running.ref(adopted.framework).ask(Prompt(text="who"))

    assert (said.split()[0], object_said.split()[0]) == ("why", "who")
    assert await running.ref("words").ask(adopt(adopted.words).request("one two")) == ("one", "two")
    assert await running.ref("shouted").ask(Prompt(text="loud")) == "LOUD"
    async with running.ref("words").stream(adopt(adopted.words).request("one two")) as stream:
        assert [word async for word in stream] == ["one", "two"]


@pytest.mark.parametrize("agent", ["research", "block"])
async def test_adopted_code_that_is_killed_while_it_runs_is_back(running: Running, agent: str, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    code = adopt(adopted.research) if agent == "research" else adopt(adopted.block)
    asked = asyncio.ensure_future(running.ref(agent).ask(code.request("why", begun=str(begun))))
    await until(begun.exists, "the code to begin")

    replaced = await running.kill(f"adopted/{agent}")

    with pytest.raises(AskFailed) as failed:
        await asked
    assert isinstance(failed.value.reason, Killed)
    assert replaced.after is not None
    begun.unlink()  # inline its thread outlives it


@pytest.mark.parametrize("agent", ["research", "block"])
async def test_adopted_code_that_holds_on_at_a_stop_is_killed_after_its_grace(
    running: Running, agent: str, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    code = adopt(adopted.research) if agent == "research" else adopt(adopted.block)
    asked = asyncio.ensure_future(running.ref(agent).ask(code.request("why", begun=str(begun))))
    await until(begun.exists, "the code to begin")

    await running.stop_child(f"adopted/{agent}")
    await running.restart_child(f"adopted/{agent}")

    with pytest.raises(AskFailed) as failed:
        await asked
    assert isinstance(failed.value.reason, Killed)
    begun.unlink()  # inline its thread outlives it


async def test_work_is_back_after_a_kill(running: Running) -> None:
    replaced = await running.kill("adopted/beat")

    assert replaced.after is not None
    rows = {row.id: row.state for row in await running.which_children()}
    assert rows["beat"] == "running"


async def test_adopted_code_without_a_name_is_refused_on_ray_with_the_mend(start: Start, engine: EngineName) -> None:
    app = App("unnamed", Supervisor(children=[child(adopt(adopted.Framework().run), id="it")]))

    if engine == "inline":
        async with start(app) as running:
            assert (await running.ref("it").ask(Prompt(text="who"))).startswith("who")
        return
    with pytest.raises(CodeNotImportable, match=r"write at the top of .*test_ray_adopted: run = adopt\(…\), and make"):
        async with start(app):
            pass
