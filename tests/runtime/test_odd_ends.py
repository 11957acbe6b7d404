"""Ends for which nobody's code is written: errors without a text, turns of dead lives, and our own faults."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.cell import State
from regrow.runtime.errors import AskFailed, Refused
from regrow.runtime.lifecycle import Crashed, Shutdown, crashed
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import virtual
from tests.runtime.scripted import Echo, Process, Scripted, for_ever, settle

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext


class Both(Request[str]):
    """A request whose handler may run beside others."""


class Mute(Exception):
    """Can not say what it is."""

    def __str__(self) -> str:
        raise LookupError("no text")


class MuteRefusal(Refused):
    """A refusal that can not say why."""

    def __str__(self) -> str:
        raise LookupError("no text")


class MuteExit(SystemExit):
    """asyncio would not keep this one inside of its task, and it can not say what it is."""

    def __str__(self) -> str:
        raise LookupError("no text")


async def fail_mutely(*_: object) -> str:
    raise Mute


# ---- errors that can not be written down ---------------------------------------------------------


@pytest.mark.parametrize("error", [Mute, MuteExit])
def test_an_error_whose_text_can_not_be_had_fails_its_asker_and_ends_the_agent(error: type[BaseException]) -> None:
    async def fail(message: Message, ctx: CellContext) -> str:
        raise error

    @virtual
    async def scenario() -> None:
        process = Process()
        clerk = await process.start("clerk", fail)

        with pytest.raises(AskFailed, match=rf"{error.__name__}.__str__ raised LookupError"):
            await clerk.ask(Echo())

        assert process.state("clerk") is State.RESTARTING

    scenario()


@virtual
async def test_a_refusal_whose_text_can_not_be_had_answers_its_asker_and_the_agent_lives() -> None:
    async def refuse(message: Message, ctx: CellContext) -> str:
        raise MuteRefusal

    process = Process()
    clerk = await process.start("clerk", refuse)

    with pytest.raises(MuteRefusal):
        await clerk.ask(Echo(), timeout_s=1.0)

    assert process.state("clerk") is State.RUNNING


@virtual
async def test_a_start_and_a_stop_that_fail_without_a_text_are_failures_like_any_other() -> None:
    process = Process()
    failed = await process.try_start("clerk", Scripted(started=fail_mutely))
    await process.start("scribe", Scripted(stopping=fail_mutely))

    await process.ref("scribe").stop()
    await settle()

    assert failed is not None
    assert failed.type_name == "Mute"
    assert process.state("scribe") is State.RESTARTING


def test_a_text_that_no_message_can_hold_is_written_out() -> None:
    reason = crashed(ValueError("no file \udcff"))

    assert reason.message == r"no file \udcff"
    assert r"\udcff" in reason.traceback


# ---- turns that outlive their life ---------------------------------------------------------------


@virtual
async def test_a_stop_does_not_wait_for_turns_of_a_killed_life_that_did_not_let_go() -> None:
    let_go = asyncio.Event()

    async def hold_on(message: Message, ctx: CellContext) -> str:
        try:
            await for_ever()
        except asyncio.CancelledError:
            await let_go.wait()
        return ""

    process, next_life = Process(), Scripted(beside=(Both,))
    clerk = await process.start("clerk", Scripted(hold_on, beside=(Both,)))
    asking = asyncio.ensure_future(clerk.ask(Both()))
    await settle()
    process.cell("clerk").kill()
    await process.start("clerk", next_life)
    with pytest.raises(AskFailed):
        await asking

    await clerk.stop(grace_s=None)
    await settle()

    assert next_life.stopped == [Shutdown()]
    assert process.state("clerk") is State.RESTARTING
    let_go.set()
    await settle()


class Stumbling(Scripted):
    """Fails when it is told of its own end."""

    async def ended(self, reason: Any) -> None:
        raise Mute


@virtual
async def test_the_end_of_a_behavior_that_fails_when_told_of_it_is_announced_all_the_same() -> None:
    process, ends = Process(), list[Any]()
    process.runtime.on_root_exit = lambda cell, reason: ends.append(reason)
    clerk = await process.start("clerk", Stumbling())

    await clerk.stop()
    await settle()

    assert [(type(reason), reason.type_name) for reason in ends] == [(Crashed, "Mute")]
    assert process.state("clerk") is State.RESTARTING


# ---- our own faults ------------------------------------------------------------------------------


class Contextless(Scripted):
    """A behavior whose turns fail before its own code is reached."""

    def context_class(self, cell: Any, envelope: Any) -> CellContext:
        from regrow.runtime.context import CellContext

        if envelope is not None:
            raise RuntimeError("no context")
        return CellContext(cell, envelope)


@pytest.mark.parametrize("request_class", [Echo, Both])
def test_a_turn_that_fails_outside_of_the_agents_code_ends_the_life_and_not_only_its_task(
    request_class: type[Request[str]],
) -> None:
    @virtual
    async def scenario() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reported.append(report))
        process = Process()
        clerk = await process.start("clerk", Contextless(beside=(Both,)))

        with pytest.raises(AskFailed, match="please report it") as failure:
            await clerk.ask(request_class(), timeout_s=1.0)

        assert isinstance(failure.value.reason, Crashed)
        assert (failure.value.type_name, process.state("clerk")) == ("Bug", State.RESTARTING)
        assert "RuntimeError: no context" in failure.value.traceback

    scenario()
