"""Runs the app of a test: inline on the virtual clock, or on Ray with the test's process as its prompter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Literal, Protocol

from regrow.actors.adopted import is_own_work
from regrow.cluster import logs
from regrow.cluster.app import ENGINES, App, EngineName, Running
from regrow.cluster.config import IncidentSettings, MemorySettings, RedisSettings, Settings, TracingSettings
from regrow.cluster.errors import NotSettled
from regrow.cluster.inline import InlineEngine
from regrow.cluster.testing_watch import PlaybookHere, watched
from regrow.runtime import ActorId, Misuse
from regrow.runtime.cell import Cell, State
from regrow.runtime.virtual_time import VirtualLoop

if TYPE_CHECKING:
    from regrow.cluster.testing_playbook import Playbook
    from regrow.cluster.testing_script import ScriptedModel

BEGINS_MS = 1_767_225_600_000
"""The wall clock at the start of a test on virtual time: the first second of 2026, so that each run is the same."""

IN_PROCESS = MemorySettings(store="memory")
UNTRACED = TracingSettings(enabled=False)
UNKEPT = IncidentSettings(store_mb=0)
UNDER_WAY = (State.STARTING, State.STOPPING, State.EXITING)
RESTARTS_UNDER_WAY = ("starting", "restarting", "unconfirmed")
"""What a supervisor calls a child that it is busy with."""


class Stage(Protocol):
    """One run of a test's app, and the clock that it has."""

    async def start(self) -> Running:
        """Starts the app. Raises what `App.start` raises."""
        ...

    async def stop(self) -> None:
        """Stops it and everything that it needed. Idempotent."""
        ...

    def advance(self, seconds: float) -> Awaitable[None]:
        """Orders time to pass; see TestApp.advance."""
        ...

    async def passed(self) -> None:
        """Waits until all time has passed that was ordered."""
        ...

    @property
    def is_behind(self) -> bool:
        """True while time that was ordered has not passed."""
        ...

    async def pause(self) -> None:
        """Lets all that can go on go on, without time passing."""
        ...

    async def settle(self, within_s: float) -> None:
        """See TestApp.settled."""
        ...

    def restarts(self, actor: ActorId) -> int | None:
        """How often an agent was started again; None where there is none of that id."""
        ...

    def ids(self) -> set[str]:
        """The ids of all agents and supervisors that there are now."""
        ...


def stage_for(
    engine: EngineName,
    app: App,
    *,
    settings: Settings | None,
    journal: Literal["memory"] | None,
    playbook: Playbook,
    script: ScriptedModel | None,
) -> Stage:
    """The stage for an engine. Raises Misuse for one that there is not."""
    if engine not in ENGINES:
        raise Misuse(f"there is no engine {engine!r}; use one of {', '.join(map(repr, ENGINES))}")
    known = settings if settings is not None else Settings(memory=IN_PROCESS, tracing=UNTRACED, incidents=UNKEPT)
    if engine == "inline":
        # No Redis: a socket knows nothing of virtual time, which would jump over each wait for it.
        known = known.model_copy(update={"memory": IN_PROCESS, "redis": RedisSettings()})
        return InlineStage(app, known, journal, playbook, script)
    from regrow.cluster.testing_on_ray import RayStage  # only here, since most tests need none of it

    return RayStage(app, known, playbook, script)


class InlineStage:
    """The app in the test's process, on the virtual clock of its loop."""

    def __init__(
        self,
        app: App,
        settings: Settings,
        journal: Literal["memory"] | None,
        playbook: Playbook,
        script: ScriptedModel | None,
    ) -> None:
        self._app = app
        self._settings = settings
        self._journal: Literal["memory"] | None = journal
        self._playbook = playbook
        self._script = script
        self._advances: list[_Advance] = []
        self._until_s = 0.0

    async def start(self) -> Running:
        """See Stage. Raises Misuse on a loop whose time is real."""
        loop = self._loop = _virtual_loop()
        logs.configure(self._settings.log, self._settings.tracing.redact)
        begun_s = loop.time()
        engine = self._engine = InlineEngine(
            self._app,
            self._settings,
            now_ms=lambda: BEGINS_MS + int((loop.time() - begun_s) * 1000),
            journal=self._journal,
            made=lambda make: watched(make, PlaybookHere(self._playbook), self._script),
        )
        try:
            await engine.start()
        except BaseException:
            await self.stop()
            raise
        return Running(self._app, engine)

    async def stop(self) -> None:
        """See Stage."""
        for ordered in self._advances:
            ordered.task.cancel()
        self._advances.clear()
        await asyncio.shield(self._engine.stop())

    # ---- time ------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> Awaitable[None]:
        """See Stage. One after another, so that two that are not awaited add up."""
        self._until_s = max(self._until_s, self._loop.time()) + seconds
        ordered = _Advance(self._loop.create_task(self._wait_until(self._until_s)))
        self._advances.append(ordered)
        return ordered

    async def _wait_until(self, when_s: float) -> None:
        await asyncio.sleep(max(0.0, when_s - self._loop.time()))
        await self._loop.idle()  # what was due at that very moment has happened, whatever timer came first

    async def passed(self) -> None:
        """See Stage."""
        for ordered in list(self._advances):
            if not ordered.is_awaited:  # else the test lets this go on beside it, as an ask in a task
                await ordered.task
        self._advances = [ordered for ordered in self._advances if not ordered.task.done()]

    @property
    def is_behind(self) -> bool:
        """See Stage."""
        return any(not ordered.is_awaited and not ordered.task.done() for ordered in self._advances)

    async def pause(self) -> None:
        """See Stage."""
        await self._loop.idle()

    async def settle(self, within_s: float) -> None:
        """See Stage."""
        loop = self._loop
        until_s = loop.time() + within_s
        limit = loop.call_at(until_s, lambda: None)  # or time would jump past it, to whatever timer comes next
        try:
            await loop.idle()
            while busy := list(self._busy()):
                if loop.time() >= until_s:
                    raise NotSettled(busy, within_s)
                await loop.idle(later=True)
        finally:
            limit.cancel()

    # ---- looks -----------------------------------------------------------------------------------

    def _busy(self) -> Iterator[str]:
        for actor, cell in self._engine.runtime.cells.items():
            if (work := _work_of(cell)) is not None:
                yield f"{actor}#{cell.incarnation} {work}"
        for row in self._engine.roots.rows():
            if row.state in RESTARTS_UNDER_WAY:
                yield f"{row.actor} is {row.state}"

    def restarts(self, actor: ActorId) -> int | None:
        """See Stage."""
        row = self._engine.roots.row(actor)
        return row.restarts if row is not None else None

    def ids(self) -> set[str]:
        """See Stage."""
        every = {row.actor for row in self._engine.roots.rows()} | set(self._engine.runtime.cells)
        return {actor for actor in every if actor.startswith(f"{self._app.name}/")}


class _Advance:
    """Time that passes, whether or not anybody awaits it."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.is_awaited = False

    def __await__(self) -> Generator[Any, None, None]:
        self.is_awaited = True
        return self.task.__await__()


def _work_of(cell: Cell) -> str | None:
    """What a cell is at; None where it waits for messages, or for its next life."""
    handled = [envelope.message for envelope in cell.in_turn if not is_own_work(envelope.message)]
    if handled:
        return f"handles {', '.join(type(message).__name__ for message in handled)}"
    if cell.state in UNDER_WAY:
        return f"is {cell.state.value}"
    waiting = len(cell.mailbox.user) + len(cell.mailbox.system)
    if waiting and cell.state is State.RUNNING:
        return f"has {waiting} messages in its mailbox"
    return None


def _virtual_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise Misuse(
            "TestApp runs inline on a virtual clock, and this loop has a real one; with pytest let the test take "
            "`test_app` or mark it with @pytest.mark.regrow, elsewhere run it with regrow.testing.run_virtual(main())"
        )
    return loop
