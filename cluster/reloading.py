"""`regrow run --reload`: an app whose agents take new code as soon as their files hold it.

Inline an agent whose code has changed is restarted by its supervisor, and the others go on; durable state stays. A
changed tree needs a whole new start, with the journal of the one before; on Ray every change does, since its hosts
have imported the old code. Code that can not be imported, or whose app does not start, is told, and the one before
goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from regrow.actors import Agent
from regrow.actors.durable_life import DurableLife
from regrow.cluster import logs
from regrow.cluster.app import App, EngineName, Running
from regrow.cluster.changed_tree import is_changed, specs_of, tree_change
from regrow.cluster.deeds import DEED_TIMEOUT_S, Deed, Replaced
from regrow.cluster.durable_ids import ANY_CHILD
from regrow.cluster.engines import begun, engine_for
from regrow.cluster.errors import AppNotFound
from regrow.cluster.inline import InlineEngine
from regrow.cluster.letters import Letters
from regrow.cluster.metrics import AppMetrics
from regrow.cluster.old_messages import understand_old_messages
from regrow.cluster.sources import Sources, Stamp
from regrow.cluster.tree import Stretch, Trees
from regrow.runtime import ActorId, ExitReason, RegrowError, Runtime, Shutdown
from regrow.runtime.deaths import Had
from regrow.supervisors.spec import Kind, Restart

if TYPE_CHECKING:
    from regrow.cluster.config import Settings
    from regrow.cluster.engine import Engine
    from regrow.runtime import Behavior, StartRequest
    from regrow.runtime.memory_journal import MemoryJournal
    from regrow.runtime.runtime import BehaviorMaker
    from regrow.supervisors import ChildSpec

LOOK_S = 0.3
"""Between two looks at the files; a change counts once two looks find the same, since editors write in steps."""


async def start_reloading(
    app: App, name: EngineName, settings: Settings, sources: Sources, say: Callable[[str], None]
) -> Running:
    """Starts an app that takes new code as its files change. Raises what `App.start` raises."""
    logs.configure(settings.log, settings.tracing.redact)
    return await begun(ReloadingEngine(app, name, settings, sources, say).running, settings)


class ReloadingEngine:
    """An Engine around the one that runs the app now, which it changes and replaces as the files change."""

    def __init__(
        self, app: App, name: EngineName, settings: Settings, sources: Sources, say: Callable[[str], None]
    ) -> None:
        self._name: EngineName = name
        self._settings = settings
        self._sources = sources
        self._say = say
        self._ended: asyncio.Future[ExitReason] = asyncio.get_running_loop().create_future()
        self._specs: dict[ActorId, ChildSpec] = {}
        self._journal: MemoryJournal | None = None
        self._changing = asyncio.Lock()
        self._is_stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.running = Running(app, self)
        self._take(app)
        self._inner = self._engine(app)

    # ---- Engine ----------------------------------------------------------------------------------

    @property
    def runtime(self) -> Runtime:
        """See Engine."""
        return self._inner.runtime

    async def start(self) -> None:
        """See Engine; from now on the files are watched."""
        await self._inner.start()
        loop = asyncio.get_running_loop()
        watching = loop.create_task(self._watch())
        watching.add_done_callback(self._watched)
        self._tasks = [loop.create_task(self._mind()), watching]
        self._say(f"watching {len(self._sources.files)} files; changed agents are restarted")

    async def stop(self) -> None:
        """See Engine."""
        self._is_stopping = True
        async with self._changing:  # a change that has begun is not cut short, or half of an app might be left
            for task in self._tasks:
                task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._inner.stop()

    def request_stop(self) -> None:
        """See Engine."""
        if not self._ended.done():
            self._ended.set_result(Shutdown(detail="interrupted"))

    async def wait_ended(self) -> ExitReason:
        """See Engine."""
        return await asyncio.shield(self._ended)

    async def trees(self) -> Trees:
        """See Engine."""
        return await self._inner.trees()

    def walk(self) -> AsyncIterator[Stretch]:
        """See Engine."""
        return self._inner.walk()

    async def letters(self) -> Letters:
        """See Engine."""
        return await self._inner.letters()

    async def metrics(self) -> AppMetrics:
        """See Engine."""
        return await self._inner.metrics()

    async def messages(self, actor: ActorId) -> tuple[Had, ...] | None:
        """See Engine."""
        return await self._inner.messages(actor)

    async def carry_out(self, deed: Deed, actor: ActorId, *, timeout_s: float) -> Replaced:
        """See Engine."""
        return await self._inner.carry_out(deed, actor, timeout_s=timeout_s)

    # ---- new code --------------------------------------------------------------------------------

    async def _mind(self) -> None:
        """Learns of the end of the app, unless it is the end of one start before the next."""
        while not self._ended.done():
            inner = self._inner
            reason = await inner.wait_ended()
            async with self._changing:
                if inner is self._inner and not self._ended.done():
                    self._ended.set_result(reason)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self._sources.has_changed():
                before: dict[str, Stamp] = {}
                while (now := self._sources.stamps()) != before:
                    before = now
                    await asyncio.sleep(LOOK_S)
                async with self._changing:
                    if not self._is_stopping:
                        await self._change()

    def _watched(self, watching: asyncio.Task[None]) -> None:
        if not watching.cancelled() and (error := watching.exception()) is not None:
            self._say(
                f"no change is seen any more ({type(error).__name__}: {error}); start it again to go on with --reload"
            )

    async def _change(self) -> None:
        old = self.running.app
        try:
            new, _ = self._sources.reload()
        except AppNotFound as error:
            self._say(f"{error}; the code before goes on")
            return
        if new.name != old.name:
            self._say(f"the app is called {new.name} now, and {old.name} goes on; end it, and run the other one")
            return
        why = tree_change(old.root, new.root, ActorId(old.name)) or (
            "the journal" if new.journal != old.journal else ""
        )
        if why or not isinstance(self._inner, InlineEngine):
            await self._start_anew(new, why or "code that hosts have imported")
        else:
            await self._restart_changed(new)

    async def _restart_changed(self, new: App) -> None:
        assert isinstance(self._inner, InlineEngine)
        before = self._specs
        self._take(new)
        self._inner.take_code(new)
        self.running.app = new
        changed = [
            (row.actor, row.restart)
            for row in self._inner.roots.rows()
            if (spec := _spec_for(self._specs, ActorId(row.actor))) is not None
            and (was := _spec_for(before, ActorId(row.actor))) is not None
            and is_changed(was, spec)
        ]
        told: list[str] = []
        for actor, restart in changed:
            told.append(await self._restarted(ActorId(actor), restart))
        self._say(f"new code: {', '.join(told)}" if told else "new code, of which no agent that runs is made")

    async def _restarted(self, actor: ActorId, restart: Restart) -> str:
        """What became of one agent, in words."""
        if restart is Restart.TEMPORARY:
            return f"{actor} is temporary and goes on with the code before"
        # Of a DynamicSupervisor a child that is stopped is gone for good, and one that is killed comes back.
        deed = Deed.RESTART if actor in self._specs or self._is_keyed(actor) else Deed.KILL
        try:
            replaced = await self._inner.carry_out(deed, actor, timeout_s=DEED_TIMEOUT_S)
        except RegrowError as error:
            return f"{actor} did not come back ({error})"
        return f"{actor} is {replaced.state} again" if replaced.state == "running" else f"{actor} is {replaced.state}"

    async def _start_anew(self, new: App, why: str) -> None:
        self._say(f"{why} changed, which needs a whole new start")
        old, inner = self.running.app, self._inner
        if isinstance(inner, InlineEngine):
            self._journal = inner.memory_journal
        await inner.stop()
        for app, told in ((new, "it runs"), (old, "the code before runs again")):
            self._take(app)
            self._inner = self._engine(app)
            self.running.app = app
            try:
                await self._inner.start()
            except RegrowError as error:
                self._say(f"it did not start: {error}")
                await self._inner.stop()
            else:
                self._say(f"{told}, started anew")
                return
        self._say("the code before did not start either, so the app ends")
        self.request_stop()

    # ---- inside ----------------------------------------------------------------------------------

    def _is_keyed(self, actor: ActorId) -> bool:
        return self.running.app.keyed.made_from(actor) is not None

    def _take(self, app: App) -> None:
        self._specs = dict(specs_of(ActorId(app.name), app.root))

    def _engine(self, app: App) -> Engine:
        if self._name == "inline":
            return InlineEngine(app, self._settings, made=self._made, kept=self._journal)
        return engine_for(self._name, app, self._settings)

    def _made(self, make: BehaviorMaker) -> BehaviorMaker:
        """What makes behaviors, of the code that is there now: supervisors hold the specs of their own start."""

        def made(request: StartRequest) -> Behavior:
            spec = _spec_for(self._specs, request.actor)
            if spec is not None and spec.kind is Kind.WORKER:
                is_one_of_many = request.actor not in self._specs and not self._is_keyed(request.actor)
                config = request.config if is_one_of_many else spec.config  # such a child may have one of its own
                request = replace(request, target=spec.behavior, config=config)
            behavior = make(request)
            if isinstance(behavior, Agent | DurableLife):
                understand_old_messages(behavior)
            return behavior

        return made


def _spec_for(specs: dict[ActorId, ChildSpec], actor: ActorId) -> ChildSpec | None:
    return specs.get(actor) or specs.get(ActorId(f"{actor.rpartition('/')[0]}/{ANY_CHILD}"))
