"""How a life begins: its behavior initialises in a task of its own, so that whatever happens meanwhile ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from regrow.runtime.behavior import CALLS, Behavior
from regrow.runtime.cell import Cell, State
from regrow.runtime.contain import call_contained, contained
from regrow.runtime.context import current
from regrow.runtime.errors import InvalidDefinition, Misuse
from regrow.runtime.lifecycle import Crashed, Killed, crashed

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId
    from regrow.runtime.context import CellContext
    from regrow.runtime.starter import StartRequest

MADE_LIMIT_CHARS = 200
"""What was made instead of a behavior, or returned by a start, is shown up to this length."""


def made_behavior(make: Callable[[StartRequest], Behavior], request: StartRequest) -> Behavior:
    """What `make` makes of a request.

    Raises InvalidDefinition when that can not be driven by a cell, and whatever the user's code raises.
    """
    made: object = call_contained(make, request)
    if isinstance(made, Behavior):
        return made
    missing = [name for name in CALLS if not hasattr(made, name)]
    raise InvalidDefinition(
        f"{request.actor}: what was made of its target is {repr(made)[:MADE_LIMIT_CHARS]}, which is no behavior: "
        f"it has no {', '.join(missing)}; derive its class from Agent"
    )


async def start_life(cell: Cell, request: StartRequest, behavior: Behavior) -> Crashed | None:
    """Begins a life. Returns why it failed, or None once it has initialised."""
    if cell.state is State.RESTARTING:
        cell.begin(request)
    try:
        cell.take_behavior(behavior)
    except Misuse as refused:  # a durable agent where nothing keeps a journal: a failed start, and not its supervisor's
        cell.behavior = None
        cell.exit(crashed(refused), quiet=True)
        await cell.wait_exited()
        return crashed(refused)
    initialising = _initialise(cell, behavior)
    try:
        await asyncio.wait([initialising])
        if cell.behavior is behavior and not cell.is_over and cell.stop_reason is not None:
            if _succeeded(initialising):
                cell.state = State.RUNNING  # what it has begun must not outlive it: it stops like any other
                cell.task = cell.spawn_task(cell.stop_in_order(cell.stop_reason, quiet=True))
                await asyncio.wait([cell.task])
    except asyncio.CancelledError:
        await _cancel(cell, behavior)
        raise
    if cell.behavior is not behavior or cell.is_over or cell.stop_reason is not None or initialising.cancelled():
        if cell.behavior is behavior:  # else its end has been announced, and another life may run here
            cell.exit(cell.stop_reason or Killed(), quiet=True)
        await cell.wait_exited()
        return stopped_while_starting(cell.actor)
    cell.task = None
    error = initialising.exception()
    if error is not None:
        cause = crashed(error)
        cell.exit(cause, quiet=True)
        await cell.wait_exited()
        return cause
    cell.state = State.RUNNING
    cell.is_closed = False
    cell.debts.pay_restarted()
    if cell.mailbox.user or cell.mailbox.system:
        cell.wake()
    return None


def stopped_while_starting(actor: ActorId) -> Crashed:
    """Why a start failed that was ended before it was over."""
    return Crashed(type_name="StoppedWhileStarting", message=f"{actor} was stopped before it had started")


async def _cancel(cell: Cell, behavior: Behavior) -> None:
    """Lets `started` tidy up what it had begun; a kill, or a second cancellation, cuts that short."""
    try:
        if cell.behavior is behavior and cell.task is not None:
            cell.task.cancel()
            await asyncio.wait([cell.task])
    finally:
        if cell.behavior is behavior:
            cell.exit(Killed(detail="start was cancelled"), quiet=True)
    await cell.wait_exited()


def _initialise(cell: Cell, behavior: Behavior) -> asyncio.Task[None]:
    """Runs `started` in a task of its own, so that a kill ends it and not whoever waits for the start."""
    ctx = cell.context(None)
    token = current.set(ctx)
    try:
        cell.task = asyncio.Task(_begun(cell, behavior, ctx), loop=cell.runtime.loop, name=cell.actor)
    finally:
        current.reset(token)
    return cell.task


async def _begun(cell: Cell, behavior: Behavior, ctx: CellContext) -> None:
    result: object = await contained(behavior.started, ctx)
    check_start_result(cell.actor, result)


def check_start_result(actor: ActorId, result: object) -> None:
    """Raises InvalidDefinition for a start that returned something, which nobody would ever see."""
    if result is not None:
        raise InvalidDefinition(
            f"{actor}: started returned {repr(result)[:MADE_LIMIT_CHARS]}; allowed: None. "
            "Keep what it makes in an attribute, or raise an error where the start has failed"
        )


def _succeeded(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
