"""A task of the kernel that dies is told to the log; one that ends, or is ended, is not."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from regrow.runtime.kernel_tasks import KernelTasks
from regrow.runtime.testing import pass_time, run_virtual
from tests.runtime.scripted import Boom, for_ever


async def dies() -> None:
    raise Boom("its work is not done")


async def ends() -> None:
    await pass_time(1.0)


async def hangs() -> None:
    await for_ever()


async def _what_dies_is_told() -> None:
    tasks = KernelTasks(asyncio.get_running_loop())
    with capture_logs() as logs:
        for coroutine in (dies(), ends(), hangs()):
            _ = tasks.spawn(coroutine)
        await pass_time(2.0)
        await tasks.aclose()

    (told,) = logs
    assert told["event"].startswith("a task of this process has died, and nobody does its work")
    assert (told["task"], told["log_level"], str(told["exc_info"])) == ("dies", "error", "its work is not done")


def test_a_task_of_the_kernel_that_dies_is_told_with_its_name_and_one_that_ends_or_is_ended_is_not() -> None:
    run_virtual(_what_dies_is_told())
