"""What agents see of each other's deaths, and services that several need at the same moment."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from tests.integration.apps import between
from tests.integration.apps.between import PATIENCE_S, IsDwelling, ProcessOf, UseBoth, WaitForWorker
from tests.integration.conftest import Start
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow]


@pytest.mark.ray
async def test_an_agent_whose_callee_is_killed_hears_of_it_at_once_in_a_fresh_app(start: Start) -> None:
    async with start(between.app) as app:
        pid = await app.ref("worker").ask(ProcessOf())
        if pid == os.getpid():
            pytest.skip("inline there is no process to kill")
        waits = asyncio.create_task(app.ref("asker").ask(WaitForWorker(), timeout_s=2 * PATIENCE_S))
        await until(lambda: app.ref("worker").ask(IsDwelling()), "the worker dwells")

        killed_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        heard = await waits

        assert "Killed" in heard
        assert time.monotonic() - killed_s < PATIENCE_S / 2


@pytest.mark.again_on_ray
async def test_two_services_can_be_needed_for_the_first_time_at_once(start: Start) -> None:
    async with start(between.app) as app:
        assert await app.ref("asker").ask(UseBoth(), timeout_s=60) == "Redis is the truth."
