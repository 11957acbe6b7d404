"""The one doer of tools: runs what the gate has allowed, within its time, its places and its size, and counts it.

There is one in each host. It takes an `Allowed` and nothing else; no other module calls the function of a tool (a test
looks through all of them).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import structlog

from regrow.actors.call_guard import GuardedCall
from regrow.actors.threads import HandlerThreads, in_thread
from regrow.actors.tool import Isolation
from regrow.actors.tool_errors import (
    NO_ANSWER,
    ToolBusy,
    ToolError,
    ToolFailed,
    ToolTimedOut,
)
from regrow.actors.tool_process import run_apart
from regrow.actors.tool_result import checked_result, failed
from regrow.runtime import telemetry
from regrow.runtime.contain import Escape, contained, text_of
from regrow.runtime.errors import RegrowError
from regrow.runtime.guard_errors import GuardTripped
from regrow.runtime.span_content import note_content

if TYPE_CHECKING:
    from regrow.actors.context import Context
    from regrow.actors.step import Step
    from regrow.actors.tool import Tool
    from regrow.actors.tool_gate import Allowed
    from regrow.actors.tool_result import Given
    from regrow.runtime.runtime import Runtime

TOOL_THREADS = 64
"""How many blocking tools may run at once in one host, in threads of their own."""
CANCEL_GRACE_S = 3.0
"""How long an async tool may take to end once it is cancelled; then it is left to itself, in its place."""
MAX_COUNTED = 10_000
"""Of so many names of tools the calls are counted in one host."""

log = structlog.get_logger("regrow.tools")

_call_id: ContextVar[str] = ContextVar("regrow_tool_call_id", default="")


@contextmanager
def asked_for(call_id: str) -> Iterator[None]:
    """As long as this lasts, the calls that are begun are the one to which a model has given this id."""
    token = _call_id.set(call_id)
    try:
        yield
    finally:
        _call_id.reset(token)


@dataclass(slots=True)
class ToolCounts:
    """The calls of one tool in one host since it began: how many, how many gave no result, time, and cost."""

    calls: int = 0
    failed: int = 0
    seconds: float = 0.0
    cost_usd: float = 0.0


class Place:
    """One of the places of a tool, taken until what runs in it has ended. `in_thread` is true once a thread has it."""

    __slots__ = ("_places", "in_thread")

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: asyncio.Semaphore | None = places
        self.in_thread = False

    def leave(self) -> None:
        """Harmless the second time."""
        if self._places is not None:
            places, self._places = self._places, None
            places.release()


class ToolRunner:
    """Runs tools in one host."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._places: WeakKeyDictionary[Tool[Any], asyncio.Semaphore] = WeakKeyDictionary()
        self._left: set[asyncio.Task[Given]] = set()
        self._counts: dict[str, ToolCounts] = {}

    @property
    def left_to_themselves(self) -> int:
        """How many calls have not ended though they were cancelled; each still takes its place."""
        return len(self._left)

    def counts(self) -> Mapping[str, ToolCounts]:
        """The calls of each tool here, by name."""
        return {name: dataclasses.replace(each) for name, each in self._counts.items()}

    async def run(self, call: Allowed, ctx: Context, step: Step | None = None, *, is_judged: bool = False) -> Given:
        """What the tool gives; guards look at the call first, unless it `is_judged` already.

        Raises ToolError, GuardTripped, a Refused of the tool's own, and what is wrong with this turn.
        """
        tool, began_s = call.tool, self._loop.time()
        attributes: dict[str, str | int | float | bool] = {
            telemetry.OPERATION: telemetry.EXECUTE_TOOL,
            telemetry.TOOL_NAME: tool.name,
            telemetry.TOOL_TYPE: "function",
            telemetry.AGENT_ID: ctx.id,
            telemetry.TOOL_COST_USD: tool.cost_usd,
        }
        if call_id := _call_id.get():
            attributes[telemetry.TOOL_CALL_ID] = call_id
        counts, outcome = self._counted(tool), "failed"
        counts.calls += 1
        parent = ctx.origin().trace
        # What the tool itself calls was not asked for by the model, and has no id of it.
        with telemetry.span(f"{telemetry.EXECUTE_TOOL} {tool.name}", parent, attributes) as span, asked_for(""):
            note_content(span, telemetry.TOOL_ARGUMENTS, lambda: call.written)
            try:
                guarded = GuardedCall(ctx, call, step.key if step is not None else "")
                with guarded.begun():
                    if not is_judged:
                        await guarded.check()
                    given = await guarded.noted(partial(self._in_its_place, call, ctx, step, counts))
                note_content(span, telemetry.TOOL_RESULT, lambda: given.told)
                outcome = "ok"
                return given
            except BaseException as error:
                counts.failed += 1
                outcome = _outcome(error)
                raise
            finally:
                ctx.runtime.metrics.tool_called(outcome)
                counts.seconds += self._loop.time() - began_s

    def _counted(self, tool: Tool[Any]) -> ToolCounts:
        if tool.name not in self._counts and len(self._counts) >= MAX_COUNTED:
            return ToolCounts()
        return self._counts.setdefault(tool.name, ToolCounts())

    async def _in_its_place(self, call: Allowed, ctx: Context, step: Step | None, counts: ToolCounts) -> Given:
        tool = call.tool
        deadline, ends_at = self._loop.time() + tool.timeout_s, ctx.runtime.guarding.ends_at(ctx.origin())
        if ends_at is not None:
            deadline = min(deadline, ends_at)
        places = self._places.setdefault(tool, asyncio.Semaphore(tool.concurrency))
        try:
            async with asyncio.timeout_at(deadline):
                await places.acquire()
        except TimeoutError as error:
            self._check_run(ctx, ends_at)
            raise ToolBusy(
                f"{tool.name} was not run: for {tool.timeout_s:g} s all its {tool.concurrency} places in this host "
                "were taken (concurrency); try again later",
                tool=tool.name,
            ) from error
        counts.cost_usd += tool.cost_usd
        place = Place(places)
        task = self._loop.create_task(_given(call, self._way(call, ctx, step, place)))
        task.add_done_callback(partial(_ended, place))
        try:
            await asyncio.wait((task,), timeout=max(0.0, deadline - self._loop.time()))
        except asyncio.CancelledError:
            await self._let_go(task, tool)
            raise
        if not task.done():
            await self._let_go(task, tool)
            if _blocks(tool) and not place.in_thread:
                counts.cost_usd -= tool.cost_usd
                self._check_run(ctx, ends_at)
                raise ToolBusy(
                    f"{tool.name} was not run: for {tool.timeout_s:g} s all {TOOL_THREADS} threads for tools of this "
                    "host were taken; try again later",
                    tool=tool.name,
                )
            self._check_run(ctx, ends_at)
            raise _timed_out(tool)
        if task.cancelled():
            raise ToolFailed(f"{tool.name} failed: it cancelled itself", tool=tool.name)
        return task.result()

    def _check_run(self, ctx: Context, ends_at: float | None) -> None:
        """Raises RunUsedUp where a call has no more time since the seconds of its run are over."""
        if ends_at is not None and ends_at <= self._loop.time():
            raise ctx.runtime.guarding.time_is_up(ctx.origin(), agent=ctx.id)

    async def _let_go(self, task: asyncio.Task[Given], tool: Tool[Any]) -> None:
        """Ends a call; one that does not listen is left to itself, so that its agent does not hang with it."""
        task.cancel()
        self._left.add(task)
        task.add_done_callback(self._left.discard)
        await asyncio.wait((task,), timeout=CANCEL_GRACE_S)
        if not task.done():
            log.warning("a tool goes on though it was cancelled", tool=tool.name, left=len(self._left))

    def _way(self, call: Allowed, ctx: Context, step: Step | None, place: Place) -> Callable[[], Awaitable[object]]:
        """How the function is run: apart, on the loop, or in a thread."""
        tool, signature = call.tool, call.tool.signature
        if tool.isolation is Isolation.PROCESS:
            return partial(run_apart, tool, call.written, step)
        arguments = signature.given(call.arguments)
        if signature.context is not None:
            arguments[signature.context] = ctx
        if signature.step is not None:
            arguments[signature.step] = step
        function = partial(tool.function, **arguments)
        return function if signature.is_async else partial(self._in_thread, function, place)

    async def _in_thread(self, function: Callable[[], object], place: Place) -> object:
        """In a thread, which keeps the place until it has ended, whether or not anybody still waits."""

        def called() -> object:
            place.in_thread = True
            try:
                return function()
            finally:
                try:
                    self._loop.call_soon_threadsafe(place.leave)
                except RuntimeError:
                    pass  # the loop is closed, and with it the host

        return await in_thread(called, (), _tool_threads())


def _outcome(error: BaseException) -> str:
    """What a call that gave no result is counted as."""
    match error:
        case ToolBusy():
            return "busy"
        case ToolTimedOut():
            return "timed_out"
        case GuardTripped():
            return "refused"
        case asyncio.CancelledError():
            return "cancelled"
        case _:
            return "failed"


def _blocks(tool: Tool[Any]) -> bool:
    """Whether its function takes a thread of its host, which nothing can interrupt."""
    return tool.isolation is Isolation.HOST and not tool.signature.is_async


@lru_cache(maxsize=1)
def _tool_threads() -> HandlerThreads:
    """Of this process, apart from those of handlers: a tool that hangs takes a thread for as long as it does."""
    return HandlerThreads(TOOL_THREADS)


def _ended(place: Place, task: asyncio.Task[Given]) -> None:
    if not place.in_thread:
        place.leave()
    if not task.cancelled():
        task.exception()  # looked at, or asyncio would complain of a call that was left to itself


async def _given(call: Allowed, run: Callable[[], Awaitable[object]]) -> Given:
    """What the function gives, checked. Raises ToolError, and what passes through; see `run`."""
    tool = call.tool
    try:
        value = await contained(run)
    except (ToolError, asyncio.CancelledError):
        raise
    except RegrowError as error:
        if isinstance(error, NO_ANSWER):
            raise _failed(tool, error) from error
        raise
    except Escape as escape:
        raise _failed(tool, escape.error) from escape.error
    except Exception as error:  # of the tool's code: an answer for whoever called it, and no end of the agent
        raise _failed(tool, error) from error
    return checked_result(tool, value)


def _timed_out(tool: Tool[Any]) -> ToolTimedOut:
    if tool.asks is not None:
        text = (
            f"{tool.name} has not answered within {tool.timeout_s:g} s (timeout_s); it was not stopped, and may still "
            "do what it was asked for: do not do it yourself, nor ask again"
        )
    else:
        text = (
            f"{tool.name} was stopped after {tool.timeout_s:g} s (timeout_s) without a result; what it has done "
            "until then is done"
        )
    return ToolTimedOut(text, tool=tool.name)


def _failed(tool: Tool[Any], error: BaseException) -> ToolFailed:
    return failed(tool, type(error).__name__, text_of(error))


_runners: WeakKeyDictionary[Runtime, ToolRunner] = WeakKeyDictionary()


def runner_of(runtime: Runtime) -> ToolRunner:
    """The one of this host."""
    runner = _runners.get(runtime)
    if runner is None:
        runner = _runners[runtime] = ToolRunner(runtime.loop)
    return runner
