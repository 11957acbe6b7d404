"""What leaves the program in an agent's code costs that agent, on every engine; what ends its loop costs its host."""

from __future__ import annotations

import pytest

from regrow import AskFailed, Killed
from regrow.cluster.app import EngineName
from regrow.runtime import Crashed
from tests.integration.apps import leavers
from tests.integration.apps.leavers import Hello, Leave, LeaveLater
from tests.integration.conftest import Start

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("alone")]


@pytest.mark.again_on_ray
async def test_sys_exit_in_a_handler_is_a_crash_that_neighbours_do_not_notice(start: Start) -> None:
    async with start(leavers.app) as running:
        with pytest.raises(AskFailed, match=r"died handling Leave .SystemExit: 4") as failed:
            await running.ref("one").ask(Leave())

        assert isinstance(failed.value.reason, Crashed)
        assert await running.ref("other").ask(Hello()) == "hello"
        assert await running.ref("one").ask(Hello()) == "hello"
        restarts = {node.id: node.restarts for node in (await running.tree())[0].children}
        assert restarts == {"leavers/one": 1, "leavers/other": 0}


async def test_a_host_whose_loop_was_left_dies_and_its_agents_come_back(start: Start, engine: EngineName) -> None:
    if engine == "inline":
        pytest.skip("inline the loop is the program's own, which Python ends")
    async with start(leavers.app) as running:
        with pytest.raises(AskFailed) as failed:
            await running.ref("one").ask(LeaveLater(), timeout_s=60)

        assert isinstance(failed.value.reason, Killed)
        assert await running.ref("other").ask(Hello(), timeout_s=60) == "hello"
        assert await running.ref("one").ask(Hello(), timeout_s=60) == "hello"
