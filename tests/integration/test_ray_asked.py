"""Agents as tools of others across processes: what comes with a call, and that a SIGKILL repeats nothing."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import Running
from regrow.cluster.app import EngineName
from regrow.cluster.config import Settings
from tests.integration.apps import asked
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import kill
from tests.integration.lives import node_of
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.redis, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Inline there is one process; the same on virtual time is in tests/actors."""
    return "ray"


@pytest.fixture(scope="module")
def settings(root: Path) -> Settings:
    """Settings with a folder of skills."""
    shelf = Path(__file__).with_name("shelf")
    return Settings(data_dir=Path(tempfile.mkdtemp(prefix="data-asked-", dir=root)), skills_dir=shelf)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    with nothing_left(root):
        async with start(asked.app) as app:
            yield app


async def test_an_agent_in_another_process_is_a_tool_and_has_no_more_than_its_caller(running: Running) -> None:
    plain = running.ref("plain")

    own, other, sender, tools = await plain.ask(asked.plain.request("analyst"))
    *_, limited = await plain.ask(asked.plain.request("limited"))

    assert own != other
    assert (sender, tools, limited) == ("asked/plain", "secret", "")


@pytest.mark.parametrize("killed", ["chief", "clerk"])
@pytest.mark.again  # the simulation of loops holds it
async def test_whoever_is_killed_while_it_is_asked_each_line_is_written_once(
    running: Running, killed: str, tmp_path: Path
) -> None:
    file = tmp_path / "lines"
    doing = asyncio.ensure_future(running.ref("chief").ask(asked.Do(file=str(file)), timeout_s=90))
    await until(file.with_name("begun").exists, "the clerk to begin")

    await kill(running, f"asked/{killed}")
    file.with_name("go").touch()

    said = await doing
    assert file.read_text("utf-8").split() == ["a", "b"], said


async def test_hosts_find_skills_beside_the_code_and_where_the_settings_say(running: Running) -> None:
    pid, shouted, tools = await running.ref("skilled").ask(asked.Facts(about="hey"), timeout_s=60)

    assert pid not in (os.getpid(), (await node_of(running, "asked/skilled")).pid)
    assert (shouted, tools) == ("HEY", "read_skill where shout")
