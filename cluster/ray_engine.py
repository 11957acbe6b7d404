"""The Ray engine, seen from the driver: a thin client of an app that runs in hosts under a guardian."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import ray
import structlog
from ray.exceptions import RayError, RayTaskError

from regrow.cluster import errors as cluster_errors
from regrow.cluster.app import App
from regrow.cluster.code import CodeBase
from regrow.cluster.config import INTERNAL_PREFIX, Settings
from regrow.cluster.deeds import Deed, Replaced
from regrow.cluster.directory import RememberingDirectory
from regrow.cluster.errors import AppNotRunning, RayUnavailable
from regrow.cluster.guardian_deaths import GuardianDeaths
from regrow.cluster.guarding import counts_calls
from regrow.cluster.host_book import LatestMessages
from regrow.cluster.hosts import DRIVER_PREFIX
from regrow.cluster.letters import Letters, told_by
from regrow.cluster.loop_lag import loop_lag_s
from regrow.cluster.metrics import AppMetrics, measured
from regrow.cluster.orders import (
    AppOrder,
    Ended,
    GuardianStarted,
    Refusal,
    host_order,
    supervisor_order,
    unpack_as,
)
from regrow.cluster.owner_lease import RENEWALS
from regrow.cluster.ray_claim import claimed
from regrow.cluster.ray_connect import RaySession
from regrow.cluster.ray_host import life_is_over, located
from regrow.cluster.ray_spans import sent_to
from regrow.cluster.ray_transport import RayTransport, contact_error, got_through
from regrow.cluster.recording import Recording, attach
from regrow.cluster.spec_courier import SpecCourier
from regrow.cluster.tree import Counts, Stretch, Trees, grown
from regrow.runtime import (
    ActorId,
    Behavior,
    Bug,
    CodeNotImportable,
    ExitReason,
    HostId,
    Killed,
    RegrowError,
    Runtime,
    Shutdown,
    StartRequest,
    WorldBroke,
    journal_errors,
)
from regrow.runtime import errors as runtime_errors
from regrow.runtime.codec import FrameCodec
from regrow.runtime.deaths import Had
from regrow.runtime.packing import unpack
from regrow.runtime.peers import Peers
from regrow.runtime.transport import PeerDead
from regrow.supervisors import AnySupervisorSpec, SupervisorSpec
from regrow.supervisors import errors as supervisors_errors

T = TypeVar("T")

log = structlog.get_logger("regrow.app")

OWNER_TTL_S = 15.0
"""How long the app outlives a driver that says nothing: longer than a pause, shorter than a coffee."""
OWNER_TTL_VARIABLE = f"{INTERNAL_PREFIX}OWNER_TTL_S"
"""Sets another time, for tests that can not wait so long."""
GUARDIAN_RESTARTS = 5
"""How often within GUARDIAN_WITHIN_S."""
GUARDIAN_WITHIN_S = 60.0
"""A guardian that dies more often is ended with its app: the owner is the supervisor of the tree's top."""
GUARDIAN_WAIT_S = 30.0
"""How long a look at the tree waits for a guardian that restarts."""
STOP_MARGIN_S = 20.0
"""How long a supervisor, the services, Redis and the hosts may take to end, beside what agents may take."""
UNLIMITED_STOP_S = 3_600.0
"""Stands for `shutdown_s=None`: an hour, since a stop must end some day."""
RETRY_S = 0.1
"""Between two tries to reach a guardian that restarts."""


class RayEngine:
    """Runs an app on Ray for as long as this process wants it."""

    def __init__(self, app: App, settings: Settings, *, rehearsal: str = "") -> None:
        """`rehearsal` is where a test of the app listens; see testing_line."""
        self._rehearsal = rehearsal
        self._app = app
        self._settings = settings
        self._session = RaySession(settings.ray)
        self._guardian: Any = None
        self._life = HostId("")
        self._runtime: Runtime | None = None
        self._peers: Peers | None = None
        self._ended: asyncio.Future[ExitReason] | None = None
        self._minding: asyncio.Task[None] | None = None
        self._owner_gone = threading.Event()
        self._owner = threading.Thread(target=self._renew, name="regrow-owner", daemon=True)
        self._deaths: GuardianDeaths | None = None
        self._owner_ttl_s = float(os.environ.get(OWNER_TTL_VARIABLE, OWNER_TTL_S))
        self._recording: Recording | None = None
        self._stopped = False

    @property
    def runtime(self) -> Runtime:
        """See Engine."""
        assert self._runtime is not None, "the engine has not been started"
        return self._runtime

    async def start(self) -> None:
        """See Engine."""
        order = self._order()  # first: wrong code is told before Ray takes its seconds to start
        await self._session.aopen()
        self._ended = asyncio.get_running_loop().create_future()
        self._guardian = await claimed(order)
        self._recording = sent_to("driver", self._guardian, self._settings.tracing)
        self._owner.start()
        started = await self._started()
        self._life = HostId(started.life)
        self._deaths = GuardianDeaths(started, max_restarts=GUARDIAN_RESTARTS, within_s=GUARDIAN_WITHIN_S)
        self._make_runtime()
        self._minding = asyncio.get_running_loop().create_task(self._mind_guardian())

    async def stop(self) -> None:
        """See Engine."""
        if self._stopped:
            return
        self._stopped = True
        if self._minding is not None:
            self._minding.cancel()
        if self._recording is not None:
            await self._recording.aclose()
        if self._guardian is not None and ray.is_initialized():
            try:
                stopping = got_through(self._guardian.stop)
                await asyncio.wait_for(stopping, _stop_limit_s(self._app.root))
            except (PeerDead, RayError, TimeoutError):
                pass  # it is dead, dying or stuck: ending it for good below is what is left to do
        # Not earlier, for a long stop must not outlive the lease; not later, for Ray is shut down below.
        self._owner_gone.set()
        if self._owner.is_alive():
            self._owner.join(RETRY_S)
        # Before the kill: a call that meets a dying actor can make Ray print pages of stack trace.
        if self._peers is not None:
            self._peers.close()
        if self._guardian is not None and ray.is_initialized():
            ray.kill(self._guardian, no_restart=True)
        if self._runtime is not None:
            await self._runtime.aclose()
        await self._session.aclose()

    def request_stop(self) -> None:
        """See Engine."""
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(Shutdown(detail="interrupted"))

    async def wait_ended(self) -> ExitReason:
        """See Engine."""
        assert self._ended is not None
        return await asyncio.shield(self._ended)

    async def trees(self) -> Trees:
        """See Engine."""
        (counts, *packed), letters = await asyncio.gather(
            self._guardian_says(self._guardian.trees.remote), self.letters()
        )
        stretches = [stretch async for stretch in _unpacked(packed)]
        return Trees(roots=grown(stretches), counts=unpack_as(Counts, counts).with_dead(dict(letters.counts)))

    async def walk(self) -> AsyncIterator[Stretch]:
        """See Engine."""
        _, *packed = await self._guardian_says(self._guardian.trees.remote)
        async for stretch in _unpacked(packed):
            yield stretch

    async def letters(self) -> Letters:
        """See Engine."""
        letters = unpack_as(Letters, await self._guardian_says(self._guardian.letters.remote))
        return letters.with_more(told_by(self.runtime.dead_letters, self.runtime.loop.time()))

    async def metrics(self) -> AppMetrics:
        """See Engine."""
        metrics = unpack_as(AppMetrics, await self._guardian_says(self._guardian.metrics.remote))
        return metrics.with_hosts(measured(self.runtime, await loop_lag_s()))

    async def messages(self, actor: ActorId) -> tuple[Had, ...] | None:
        """See Engine."""
        told = await self._guardian_says(lambda: self._guardian.messages.remote(actor))
        return unpack_as(LatestMessages, told).messages if told else None

    async def carry_out(self, deed: Deed, actor: ActorId, *, timeout_s: float) -> Replaced:
        """See Engine. Called once and not again, since a second kill would meet the next life."""
        try:
            answer = unpack(await self._guardian.carry_out.remote(deed.value, actor, timeout_s))
        except RayError as error:
            if isinstance(contact_error(error), PeerDead):
                raise AppNotRunning(self._app.name) from error
            raise WorldBroke(
                f"contact to the guardian of {self._app.name} was lost, so the {deed.value} of {actor} may have been "
                f"done or not; look with: regrow ps {self._app.name}"
            ) from error
        if isinstance(answer, Refusal):
            raise _raised(answer, self._app.name)
        assert isinstance(answer, Replaced)
        return answer

    async def _guardian_says(self, look: Callable[[], Awaitable[T]]) -> T:
        """What a look gives, once the guardian can be reached; one that restarts is waited for."""
        deadline = self.runtime.loop.time() + GUARDIAN_WAIT_S
        while True:
            try:
                return await look()
            except RayError as error:
                gone = isinstance(contact_error(error), PeerDead) or self.runtime.loop.time() > deadline
                if gone:
                    raise AppNotRunning(self._app.name) from error
                await asyncio.sleep(RETRY_S)

    # ---- inside --------------------------------------------------------------------------------

    def _order(self) -> AppOrder:
        settings = self._settings.model_dump(mode="json")
        url = self._settings.redis.url
        settings["redis"]["url"] = url.get_secret_value() if url is not None else None
        # Hosts may run elsewhere than the driver: what is relative to its folder is made absolute here.
        settings["data_dir"] = str(self._settings.data_dir_of(self._app.name))
        root = supervisor_order(self._app.root)  # first: what it says of a child is nearer to the mend
        skills = self._settings.skills_folder
        code = replace(CodeBase.of(self._app), skills=str(skills) if skills is not None else "")
        guards = self._settings.guards.over(self._app.guards)
        return AppOrder(
            app=self._app.name,
            root=root,
            settings=json.dumps(settings),
            host=host_order(
                self._app.name,
                code,
                self._settings,
                self._rehearsal,
                counts_runs=guards.has_caps,
                counts_calls=counts_calls(self._app.agents.values(), guards),
            ),
            owner_ttl_s=self._owner_ttl_s,
        )

    async def _started(self) -> GuardianStarted:
        while True:
            try:
                answer = unpack(await self._guardian.start.remote())
            except RayTaskError as error:
                raise Bug(f"the guardian of {self._app.name} failed ({error})") from error
            except RayError as error:
                if isinstance(contact_error(error), PeerDead):
                    raise RayUnavailable(f"the guardian of {self._app.name} died for good ({error})") from error
                await asyncio.sleep(RETRY_S)
                continue
            if isinstance(answer, Refusal):
                raise _raised(answer, self._app.name)
            assert isinstance(answer, GuardianStarted)
            return answer

    def _make_runtime(self) -> None:
        me = HostId(f"{DRIVER_PREFIX}{uuid.uuid4().hex[:12]}")
        self._directory = RememberingDirectory(lambda actor: located(self._guardian, actor, after_start=True))
        runtime = self._runtime = Runtime(
            me,
            make_behavior=_no_cells,
            directory=self._directory,
            principal=f"app:{self._app.name}",
            names=self._app.id_of,
        )
        attach(self._recording, runtime)
        runtime.courier = SpecCourier()
        self._transport = RayTransport(me)
        runtime.delivery.life_is_over = partial(life_is_over, self._guardian)
        runtime.delivery.is_durable = self._app.is_durable or None
        runtime.id_with_key = self._app.keyed.id_of
        self._peers = Peers(runtime, FrameCodec(runtime.ref_to, runtime.loop.time), self._transport)
        self._meet_guardian()

    def _meet_guardian(self) -> None:
        assert self._peers is not None
        self._transport.know(self._life, self._guardian)
        self._peers.arbiter = self._life
        self._peers.meet(self._life)  # from now on it tells of dead hosts

    async def _mind_guardian(self) -> None:
        """Learns of the end of the app, and of a new life of its guardian."""
        assert self._ended is not None and self._peers is not None
        while not self._ended.done():
            try:
                ended = unpack_as(Ended, await self._guardian.wait_ended.remote())
            except RayError as error:
                verdict = contact_error(error)
                if isinstance(verdict, PeerDead):
                    self._end(verdict.reason)
                    return
                try:
                    await self._follow()
                except RegrowError as refused:
                    self._end(Killed(detail=str(refused)))
            else:
                self._end(ended.reason)

    async def _follow(self) -> None:
        """Follows a guardian that Ray restarted: its hosts died with it, so everything is learnt anew."""
        assert self._peers is not None and self._deaths is not None
        started = await self._started()
        if not self._deaths.is_news(started):
            await asyncio.sleep(RETRY_S)  # contact was lost for a moment, and nothing has changed
            return
        gone, self._life = self._life, HostId(started.life)
        log.warning("the guardian of the app died and is back", app=self._app.name, pid=started.pid)
        too_many = self._deaths.follow(started, now_s=self.runtime.loop.time())
        if too_many is not None:
            self._end(too_many)
            return
        self._directory.clear()
        for host in self._peers.known():
            if host == gone or host.startswith(f"{gone}."):
                self._peers.died(host, Killed(detail="the guardian of the app died, and its hosts with it"))
        self._meet_guardian()

    def _end(self, reason: ExitReason) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    def _renew(self) -> None:
        """Tells the guardian that its owner lives, from a thread of its own: a blocked loop is no death."""
        while not self._owner_gone.wait(self._owner_ttl_s / RENEWALS) and ray.is_initialized():
            try:
                self._guardian.renew.remote()  # not waited for: a lost call must not hold up the next one
            except (RayError, RuntimeError, ConnectionError):
                continue  # it restarts, or the app is stopping; the next round tells


def _stop_limit_s(spec: AnySupervisorSpec) -> float:
    """What the children of a tree may take to stop, one after the other, and something for the rest."""
    limit_s = STOP_MARGIN_S
    # Those of a DynamicSupervisor stop all at once, within the limit of one.
    for child in spec.children if isinstance(spec, SupervisorSpec) else (spec.child,):
        if isinstance(child.behavior, AnySupervisorSpec):
            limit_s += _stop_limit_s(child.behavior)
        else:
            limit_s += child.shutdown_s if child.shutdown_s is not None else UNLIMITED_STOP_S
    return limit_s


async def _unpacked(packed: Sequence[bytes]) -> AsyncIterator[Stretch]:
    for stretch in packed:
        yield unpack_as(Stretch, stretch)
        await asyncio.sleep(0)


def _no_cells(request: StartRequest) -> Behavior:
    raise Bug(f"{request.actor} was to start in the driver, which holds no cells")


def _raised(refusal: Refusal, app: str) -> RegrowError:
    """The error that a Refusal of the guardian stands for."""
    if refusal.error == "CodeNotImportable" or "CodeNotImportable" in refusal.text:
        return CodeNotImportable(refusal.text)
    rooms = (cluster_errors, supervisors_errors, journal_errors, runtime_errors)
    cls = next((found for room in rooms if (found := getattr(room, refusal.error, None)) is not None), None)
    if refusal.cause is not None:
        return cluster_errors.AppNotStarted(app, refusal.cause)
    if isinstance(cls, type) and issubclass(cls, RegrowError):
        error = cls.__new__(cls)
        Exception.__init__(error, refusal.text)
        return error
    return RayUnavailable(refusal.text)
