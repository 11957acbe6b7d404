"""The inline engine: a whole app in one process, without Ray. What is not used is not started."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import AsyncIterator, Callable
from typing import Literal

from regrow.actors.skill_places import look_in
from regrow.cluster.app import App
from regrow.cluster.config import Settings
from regrow.cluster.deeds import Deed, Replaced
from regrow.cluster.guarding import keep_guard
from regrow.cluster.incidents import Incidents, kept
from regrow.cluster.journal_desk import keep_journal_desk
from regrow.cluster.letters import Letters, told_by
from regrow.cluster.loop_lag import loop_lag_s
from regrow.cluster.making import BehaviorFactory
from regrow.cluster.metrics import AppMetrics, measured
from regrow.cluster.operations import Operations
from regrow.cluster.recording import Recording, attach, stored
from regrow.cluster.redis_owner import RedisOwner
from regrow.cluster.roots import Roots
from regrow.cluster.services import ServiceConfig, service_config, service_id
from regrow.cluster.spec_courier import SpecsHere
from regrow.cluster.tree import Counts, Stretch, Trees, grown
from regrow.cluster.waker import Waker
from regrow.runtime import ActorId, ExitReason, HostId, Runtime, Shutdown
from regrow.runtime.deaths import Had, had_and_has
from regrow.runtime.durability import open_durability
from regrow.runtime.local_starter import LocalStarter
from regrow.runtime.memory_journal import MemoryJournal
from regrow.runtime.runtime import BehaviorMaker

HOST = HostId("inline")


class InlineEngine:
    """Runs an app in the process that asked for it."""

    def __init__(
        self,
        app: App,
        settings: Settings,
        *,
        now_ms: Callable[[], int] | None = None,
        journal: Literal["memory"] | None = None,
        made: Callable[[BehaviorMaker], BehaviorMaker] | None = None,
        kept: MemoryJournal | None = None,
    ) -> None:
        """`now_ms` is the clock of what durable agents keep: that of the wall unless another one is given.

        `journal` stands in for the app's own word, and `made` is put around what makes behaviors. `kept` is the journal
        of an earlier start.
        """
        self.memory_journal = kept
        self._now_ms = now_ms if now_ms is not None else _wall_ms
        self._journal = journal or app.journal
        self._made = made
        self._app = app
        self._settings = settings
        self._runtime: Runtime | None = None
        self._roots: Roots | None = None
        self._operations: Operations | None = None
        self._redis = RedisOwner(app.name, settings)
        self._recording: Recording | None = None
        self._incidents: Incidents | None = None
        self._stopped = False

    @property
    def roots(self) -> Roots:
        """The trees of the app; only after `start`."""
        assert self._roots is not None, "the engine has not been started"
        return self._roots

    @property
    def runtime(self) -> Runtime:
        """See Engine."""
        assert self._runtime is not None, "the engine has not been started"
        return self._runtime

    def take_code(self, app: App) -> None:
        """From now on agents are found by the classes and functions of this app, whose tree is the same."""
        self._app = app
        self.runtime.take_names(app.id_of)
        self.runtime.id_with_key = app.keyed.id_of

    async def start(self) -> None:
        """See Engine."""
        look_in(self._settings.skills_folder)
        self._recording = stored("inline", self._settings.data_dir_of(self._app.name), self._settings.tracing)
        self._incidents = kept(self._app.name, self._settings)
        roots = self._roots = Roots(self._app.name, self._service_config)
        self._operations = Operations(roots, self._incidents)
        make: BehaviorMaker = BehaviorFactory(roots.make_supervisor)
        runtime = self._runtime = Runtime(
            HOST,
            make_behavior=make if self._made is None else self._made(make),
            directory=_InlineDirectory(roots),
            principal=f"app:{self._app.name}",
            names=self._app.id_of,
        )
        runtime.id_with_key = self._app.keyed.id_of
        attach(self._recording, runtime)
        keep_guard(runtime, self._settings.guards.over(self._app.guards))
        runtime.services = {name: service_id(self._app.name, name) for name in ("memory", "models")}
        runtime.courier = SpecsHere()
        runtime.delivery.is_durable = self._app.is_durable
        roots.attach(runtime, LocalStarter(runtime))
        if self._incidents is not None:
            self._incidents.attach(runtime)
            roots.reports.also = self._incidents.reported
        if self._journal == "memory":
            journal = self.memory_journal
            if journal is None:
                journal = MemoryJournal(now_ms=self._now_ms, limits=self._settings.history.limits())
            self.memory_journal = journal
            runtime.durability = await open_durability(runtime, journal)
            await keep_journal_desk(runtime, journal, self._incidents)
        await self._redis.check()
        await roots.start(self._app.root)
        if runtime.durability is not None and (self._app.keyed or self._app.is_durable.has_numbered):
            Waker(roots, runtime, runtime.durability.journal, is_durable=self._app.is_durable, first=())

    async def stop(self) -> None:
        """See Engine."""
        if self._stopped or self._runtime is None or self._roots is None:
            return
        self._stopped = True
        await self._roots.stop()
        await self._runtime.aclose()
        await self._redis.stop()
        if self._recording is not None:
            await self._recording.aclose()
        if self._incidents is not None:
            await self._incidents.aclose()

    def request_stop(self) -> None:
        """See Engine."""
        assert self._roots is not None
        if not self._roots.ended.done():
            self._roots.ended.set_result(Shutdown(detail="interrupted"))

    async def wait_ended(self) -> ExitReason:
        """See Engine."""
        assert self._roots is not None
        return await asyncio.shield(self._roots.ended)

    async def trees(self) -> Trees:
        """See Engine."""
        assert self._roots is not None
        runtime = self.runtime
        counts = Counts(messages=runtime.handled, dead_letters=tuple(sorted(runtime.dead_letters.counts.items())))
        return Trees(roots=grown([stretch async for stretch in self.walk()]), counts=counts)

    def walk(self) -> AsyncIterator[Stretch]:
        """See Engine."""
        assert self._roots is not None
        return self._roots.walk(self._stats)

    async def letters(self) -> Letters:
        """See Engine."""
        return told_by(self.runtime.dead_letters, self.runtime.loop.time())

    async def metrics(self) -> AppMetrics:
        """See Engine."""
        return AppMetrics(hosts=(measured(self.runtime, await loop_lag_s()),))

    async def messages(self, actor: ActorId) -> tuple[Had, ...] | None:
        """See Engine."""
        cell = self.runtime.cells.get(actor)
        return had_and_has(cell, self.runtime.loop.time()) if cell is not None else None

    async def carry_out(self, deed: Deed, actor: ActorId, *, timeout_s: float) -> Replaced:
        """See Engine."""
        assert self._operations is not None
        return await self._operations.carry_out(deed, actor, timeout_s=timeout_s)

    async def _service_config(self) -> ServiceConfig:
        return await service_config(self._app.name, self._redis, self._settings)

    def _stats(self, actor: ActorId, _host: HostId) -> tuple[str, int, str]:
        cell = self.runtime.cells.get(actor)
        return (cell.state.value, len(cell.mailbox), platform.node()) if cell is not None else ("", 0, "")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class _InlineDirectory:
    """Everything is in this process; services start when they are first looked for."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    def host_of(self, actor: ActorId) -> HostId | None:
        """See Directory."""
        return None

    async def locate(self, actor: ActorId) -> HostId | None:
        """See Directory."""
        return HOST if await self._roots.start_on_demand(actor) else None

    def forget(self, actor: ActorId) -> None:
        """See Directory."""

    def host_died(self, host: HostId) -> list[ActorId]:
        """See Directory."""
        return []
