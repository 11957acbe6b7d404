"""The calls that a model makes at once: side by side, each through the gate, told in the order of the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from regrow.actors.call_guard import decided_together
from regrow.actors.loop_answer import CallMade
from regrow.actors.side_by_side import all_to_their_end
from regrow.actors.tool_errors import (
    MAX_TOLD_CHARS,
    InvalidArguments,
    NotApproved,
    ResultTooLarge,
    ToolBusy,
    ToolDenied,
    ToolError,
    UnknownTool,
)
from regrow.actors.tool_runner import asked_for
from regrow.runtime.contain import text_of
from regrow.runtime.errors import Refused
from regrow.runtime.guard_errors import GuardTripped

if TYPE_CHECKING:
    from regrow.actors.tool_calls import ReadyCall, Tools
    from regrow.router.conversation import ToolCall

MAX_AT_ONCE = 16
"""Calls of one turn of a model that run at once; the others wait for their turn."""

_NOTHING_RAN = (UnknownTool, InvalidArguments, ToolDenied, NotApproved, ToolBusy)


async def called_together(
    tools: Tools, calls: Sequence[ToolCall], among: Collection[str] | None, *, told_bytes: int
) -> list[CallMade]:
    """What came of each call, in their order. `told_bytes` is the most that the model may be told of one result.

    A refusal is what the model is told. Those that need the consent of a person come behind all others, one after the
    other: a durable turn ends while it waits, and so nothing is under way then. Raises what no model can mend.
    """
    made: list[CallMade | None] = [None] * len(calls)
    ready: list[tuple[int, ReadyCall]] = []
    for at, call in enumerate(calls):  # all places are taken before the first call is made, in this order
        try:
            ready.append((at, tools.ready(call.name, call.arguments, among=among)))
        except ToolError as error:
            made[at] = _refused(call, error, 0.0, cost=0.0)
    places = asyncio.Semaphore(MAX_AT_ONCE)

    async def one(at: int, each: ReadyCall) -> None:
        async with places:
            made[at] = await _made(calls[at], each, told_bytes)

    with decided_together(tools.fresh_name()):
        at_once: list[Coroutine[Any, Any, None]] = [one(at, each) for at, each in ready if not each.waits]
        await all_to_their_end(at_once)
        for at, each in ready:
            if each.waits:
                await one(at, each)
    return [each for each in made if each is not None]


async def _made(call: ToolCall, ready: ReadyCall, told_bytes: int) -> CallMade:
    loop, tool = asyncio.get_running_loop(), ready.tool
    began_s = loop.time()
    try:
        with asked_for(call.id):
            given = await ready.make()
        if (size := len(given.told.encode())) > told_bytes:
            raise ResultTooLarge(
                f"{tool.name} gave {size:,} bytes, and of this result {told_bytes:,} can be told; what it did is done: "
                "ask it for less",
                tool=tool.name,
            )
    except GuardTripped:  # no answer for the model that goes in circles, but the end of it
        raise
    except Refused as refusal:
        cost = 0.0 if isinstance(refusal, _NOTHING_RAN) else tool.cost_usd
        return _refused(call, refusal, loop.time() - began_s, cost=cost)
    return CallMade(call=call, told=given.told, seconds=loop.time() - began_s, cost=tool.cost_usd)


def _refused(call: ToolCall, refusal: Refused, seconds: float, *, cost: float) -> CallMade:
    text = text_of(refusal)
    if not isinstance(refusal, ToolError):  # of the tool's own, or of whom it has asked: its text may not say of what
        text = f"{call.name} refused ({type(refusal).__name__}{': ' if text else ''}{text})"
    return CallMade(call=call, told=in_one_line(text), error=refusal, seconds=seconds, cost=cost)


def in_one_line(text: str) -> str:
    """What a model is told of a failure: short, and in one line."""
    return " ".join(text[: 2 * MAX_TOLD_CHARS].split())[:MAX_TOLD_CHARS]
