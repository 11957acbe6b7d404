"""What asyncio would let through to end the whole loop ends one actor, too."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from typing import Any

import pytest

from regrow.runtime.address import ActorId
from regrow.runtime.contain import Escape, call_contained, contained, is_interrupt
from regrow.runtime.errors import AskFailed
from regrow.runtime.lifecycle import Crashed, ExitReason, Shutdown, crashed
from regrow.runtime.testing import virtual
from tests.runtime.scripted import Echo, Process, Scripted

LEAVES: list[type[BaseException]] = [SystemExit, GeneratorExit]


async def leave(error: type[BaseException]) -> None:
    raise error(4)


@pytest.mark.parametrize("error", LEAVES)
def test_a_handler_that_leaves_the_program_crashes_its_actor_and_nobody_else(error: type[BaseException]) -> None:
    @virtual
    async def scene() -> None:
        process = Process()
        leaving = await process.start("leaving", lambda: Scripted(lambda message, ctx: leave(error)))
        other = await process.start("other")

        with pytest.raises(AskFailed, match=f"died handling Echo .*{error.__name__}") as failed:
            await leaving.ask(Echo())

        assert isinstance(failed.value.reason, Crashed)
        assert failed.value.type_name == error.__name__
        assert await other.ask(Echo(text="still here")) == "still here"

    scene()


@virtual
async def test_a_start_that_leaves_the_program_is_a_failed_start() -> None:
    process = Process()

    async def started(ctx: Any) -> None:
        sys.exit("no licence")

    def make() -> Scripted:
        sys.exit(3)

    for target in (lambda: Scripted(started=started), make):
        failed = await process.try_start("leaving", target)
        assert failed is not None
        assert failed.type_name == "SystemExit"
        process.runtime.forget(ActorId("leaving"))


@virtual
async def test_a_clean_up_that_leaves_the_program_is_a_crash() -> None:
    process = Process()
    exits: list[ExitReason] = []
    process.runtime.on_root_exit = lambda cell, reason: exits.append(reason)
    await process.start("leaving", lambda: Scripted(stopping=lambda ctx: leave(SystemExit)), survives_exit=False)
    cell = process.cell("leaving")

    cell.stop(Shutdown(), 1.0)
    await cell.wait_ended()

    [reason] = exits
    assert isinstance(reason, Crashed)
    assert reason.type_name == "SystemExit"


@virtual
async def test_an_error_that_stays_in_its_task_passes_as_it_is() -> None:
    for error in (ValueError("x"), asyncio.CancelledError()):
        with pytest.raises(type(error)) as caught:
            await contained(_raise, error)
        assert caught.value is error
    with pytest.raises(Escape) as escaped:
        await contained(_raise, SystemExit(3))
    assert crashed(escaped.value).type_name == "SystemExit"
    with pytest.raises(Escape, match="3"):
        call_contained(sys.exit, 3)


def test_ctrl_c_in_the_main_thread_means_the_program_and_elsewhere_an_actor() -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(is_interrupt(KeyboardInterrupt())))
    thread.start()
    thread.join()

    assert found == [False]
    assert is_interrupt(KeyboardInterrupt())
    assert is_interrupt(GeneratorExit()), "without a loop that runs, one is torn down"
    assert not is_interrupt(SystemExit())


async def test_where_ctrl_c_is_told_to_the_loop_what_an_agent_raises_ends_that_agent_alone() -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    try:
        with pytest.raises(Escape):
            await contained(_raise, KeyboardInterrupt())
    finally:
        loop.remove_signal_handler(signal.SIGINT)
    assert is_interrupt(KeyboardInterrupt())


async def _raise(error: BaseException) -> None:
    raise error
