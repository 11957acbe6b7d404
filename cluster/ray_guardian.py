"""The guardian: the detached Ray actor that holds an app's supervisors, its hosts' keeper and its Redis.

It runs no user code. Ray restarts its process when that dies; the hosts, which it owns, die with it,
and the new life of the guardian grows the whole tree again. When the driver that owns the app has
been silent for a while, the guardian stops the app in order and ends itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
import structlog
from ray.exceptions import RayError

from regrow.cluster import logs, tracing
from regrow.cluster.config import Settings
from regrow.cluster.deeds import Deed
from regrow.cluster.directory import GuardianDirectory
from regrow.cluster.durable_ids import DurableIds
from regrow.cluster.errors import RedisUnavailable
from regrow.cluster.host_process import end_others, end_with_parent
from regrow.cluster.hosts import HostRecord, greeters
from regrow.cluster.incidents import kept
from regrow.cluster.journal_desk import keep_journal_desk
from regrow.cluster.keyed_ids import KeyedIds
from regrow.cluster.making import BehaviorFactory
from regrow.cluster.operations import Operations
from regrow.cluster.orders import (
    AppOrder,
    Ended,
    GuardianStarted,
    HostStats,
    Located,
    Refusal,
    supervisor_spec,
    unpack_as,
)
from regrow.cluster.owner_lease import OwnerLease
from regrow.cluster.ray_connect import earlier_lives, own_restarts
from regrow.cluster.ray_hearing import LOOK_LIMIT_S, Hearing
from regrow.cluster.ray_keeper import Keeper
from regrow.cluster.ray_spans import end_recordings
from regrow.cluster.ray_starter import RayStarter
from regrow.cluster.ray_transport import RayTransport, got_through, leave_terminal
from regrow.cluster.recording import attach, heard, stored
from regrow.cluster.redis_owner import RedisOwner
from regrow.cluster.roots import Roots
from regrow.cluster.services import service_config
from regrow.cluster.spec_courier import SpecCourier
from regrow.cluster.tree import Counts
from regrow.cluster.waker import Waker
from regrow.runtime import (
    ActorId,
    AskFailed,
    ExitReason,
    HostId,
    Incarnation,
    Misuse,
    Refused,
    RegrowError,
    Runtime,
    Shutdown,
)
from regrow.runtime.codec import FrameCodec
from regrow.runtime.journal_errors import JournalAway, JournalUnknown
from regrow.runtime.packing import pack
from regrow.runtime.peers import Peers
from regrow.runtime.signals import failure_of
from regrow.runtime.transport import PeerDead
from regrow.runtime.verdicts import HostDied, HostReachable, HostReady, HostUnreachable, Verdict

if TYPE_CHECKING:
    from regrow.cluster.journal_owner import JournalOwner

log = structlog.get_logger("regrow.guardian")

REDIS_WITHIN_S = 600.0
REDIS_AGAIN_S = 1.0
"""How long a new life of the guardian waits for a Redis that is away, and between two looks at it."""
BLOCK_OF_GUARDIAN = 1_000_000_000
"""Incarnations for one life of the guardian, so that those of the next are all later."""


class Guardian:
    """The actor's class. Every argument and result is bytes or plain text."""

    def __init__(self, packed: bytes) -> None:
        leave_terminal()
        end_with_parent()
        self._order = unpack_as(AppOrder, packed)
        settings = self._settings = Settings(**json.loads(self._order.settings))
        logs.configure(self._order.host.log, settings.tracing.redact)
        tracing.configure_or_warn(self._order.app, settings.tracing)
        self._recording = stored("guardian", settings.data_dir_of(self._order.app), settings.tracing)
        self._incidents = kept(self._order.app, settings)
        self._life = HostId(f"{self._order.app}.{uuid.uuid4().hex[:8]}")
        self._starting: asyncio.Task[bytes] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._owner = OwnerLease(self._order.owner_ttl_s)
        me = ray.get_runtime_context().current_actor
        me.mind_owner.remote()  # before anybody calls: a driver killed until then must not leave this actor behind
        if earlier_lives():
            # Nobody else may be there to ask for it: the app grows back by itself.
            me.start.remote()

    # ---- the app -------------------------------------------------------------------------------

    async def start(self) -> bytes:
        """Starts the app, once for each life of the guardian; a Refusal says why it could not."""
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> bytes:
        order = self._order
        first = earlier_lives() * BLOCK_OF_GUARDIAN + 1
        redis = self._redis = RedisOwner(order.app, self._settings)
        services = partial(service_config, order.app, redis, self._settings)
        roots = self._roots = Roots(order.app, services, first_incarnation=first)
        root = supervisor_spec(order.root)
        is_durable = DurableIds.of(order.app, root)
        self._journal = self._journal_owner(is_durable) if is_durable else None
        directory = self._directory = GuardianDirectory(self._life, roots.start_on_demand)
        runtime = self._runtime = Runtime(
            self._life,
            make_behavior=BehaviorFactory(roots.make_supervisor),
            directory=directory,
            principal=order.host.principal,
        )
        attach(self._recording, runtime)
        runtime.courier = SpecCourier()
        directory.here = runtime.cells.__contains__
        runtime.delivery.is_durable = is_durable or None
        self._peers = Peers(runtime, FrameCodec(runtime.ref_to, runtime.loop.time), RayTransport(self._life))
        self._operations = Operations(roots, self._incidents)
        me = str(ray.get_runtime_context().get_actor_id())
        host = order.host.model_copy(update={"first_incarnation": first, "guardian_actor": me})
        self._keeper = Keeper(host, self._life, self, self._journal)
        hearing = self._hearing = Hearing(runtime, self._keeper, self._incidents)
        self._keeper.last_look = hearing.last_look
        self._starter = RayStarter(runtime, self._keeper, directory, self._journal)
        roots.attach(runtime, self._starter)
        if self._incidents is not None:
            self._incidents.attach(runtime)
            roots.reports.also = self._incidents.reported
        try:
            await end_others(me, self._life)
            await self._reach_redis()
            if self._journal is not None:
                await keep_journal_desk(runtime, self._journal.journal, self._incidents)
            await roots.start(root, grows_back=bool(earlier_lives()))
            if self._journal is not None and (KeyedIds.of(order.app, root) or is_durable.has_numbered):
                Waker(roots, runtime, self._journal.journal, is_durable=is_durable)
        except RegrowError as error:
            await self._stop()
            return pack(Refusal(error=type(error).__name__, text=str(error), cause=getattr(error, "cause", None)))
        self._keeper.keep_spare()
        return pack(GuardianStarted(life=self._life, pid=os.getpid(), restarts=own_restarts() or 0))

    async def _reach_redis(self) -> None:
        """Looks at a Redis of the config, and opens the journal.

        An app that grows back waits for one that is away, and heals with it.
        """
        deadline = self._runtime.loop.time() + REDIS_WITHIN_S
        while True:
            try:
                await self._redis.check()
                if self._journal is not None:
                    await self._journal.open(await self._redis.server())
                if self._journal is not None or self._order.host.counts_runs:
                    self._keeper.runs_url = await self._redis.server()
                elif self._order.host.counts_calls:
                    self._keeper.runs_url = await self._redis.server_if_any()
            except (RedisUnavailable, JournalUnknown, JournalAway) as error:
                if not earlier_lives() or self._runtime.loop.time() > deadline:
                    raise
                log.warning("Redis is away, so the app can not grow back yet", reason=str(error))
                await asyncio.sleep(REDIS_AGAIN_S)
            else:
                return

    def _journal_owner(self, is_durable: DurableIds) -> JournalOwner:
        from regrow.cluster.journal_owner import JournalOwner  # here, since most apps need no redis

        app, settings = self._order.app, self._settings
        return JournalOwner(app, settings.data_dir_of(app), settings.redis, settings.history, is_durable=is_durable)

    async def stop(self) -> None:
        """Stops the app in order; nothing is left but this actor, which the caller ends."""
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        if self._starting is None:
            return  # nobody asked for a start, so there is nothing to stop
        if not self._starting.done() and self._starting is not asyncio.current_task():
            self._starting.cancel()  # a start that hangs must not hold up the stop; it tidies up what it had begun
            await asyncio.wait([self._starting])
        await self._roots.stop()
        await end_recordings(self._recording, self._keeper.within_reach().values())
        await self._keeper.close()
        self._peers.close()
        await self._runtime.aclose()
        if self._journal is not None:
            await self._journal.aclose()
        await self._redis.stop()
        if self._recording is not None:
            await self._recording.aclose()
        if self._incidents is not None:
            await self._incidents.aclose()

    async def wait_ended(self) -> bytes:
        """Pends until the root of the app has ended, and says why."""
        await self.start()
        return pack(Ended(reason=await asyncio.shield(self._roots.ended)))

    # ---- the links -----------------------------------------------------------------------------

    async def receive(self, peer: str, packet: bytes) -> bytes:
        """One packet of a link."""
        return await self._peers.receive(HostId(peer), packet)

    async def listened(self, peer: str) -> bytes:
        """The pending call of a peer that can not be called."""
        return await self._peers.listened(HostId(peer))

    async def locate(self, actor: str, after_start: bool) -> bytes:
        """The host of an actor, empty when there is no such actor; waits while it restarts.

        `after_start`: waits for the app's start as well. Its hosts must not: that start may be waiting for them.
        A Refusal comes back when the actor starts on demand and could not, or the Failure that its askers are to see.
        """
        if after_start or self._starting is None:
            await self.start()
        try:
            return pack(Located(host=await self._directory.locate(ActorId(actor)) or ""))
        except (AskFailed, Refused, Misuse) as error:
            return pack(failure_of(error))
        except RegrowError as error:
            return pack(Refusal(error=type(error).__name__, text=str(error)))

    async def life_is_over(self, actor: str, incarnation: int) -> bool:
        """True when that life of an actor is over for certain, also while its next one is still to come."""
        if self._starting is None:
            await self.start()
        return self._starter.life_is_over(ActorId(actor), Incarnation(incarnation))

    # ---- looking -------------------------------------------------------------------------------

    async def trees(self) -> list[bytes]:
        """The trees with what every host says of its cells, stretch by stretch; first how many messages it had."""
        await self.start()
        records, joined = self._keeper.hosts, self._keeper.within_reach()
        stats = dict(zip(joined, await asyncio.gather(*map(self._stats_of, joined.values())), strict=True))
        cells = {host: {name: (state, depth) for name, state, depth in told.cells} for host, told in stats.items()}

        def of(actor: ActorId, host: HostId) -> tuple[str, int, str]:
            record = records.get(host)
            if record is not None and not record.reachable:
                return "unreachable", 0, record.node
            known = cells.get(host, {}).get(actor)
            return (*known, stats[host].node) if known is not None else ("", 0, "")

        counts = Counts(messages=sum(known.messages for known in stats.values()))
        return [pack(counts), *[pack(stretch) async for stretch in self._roots.walk(of)]]

    async def letters(self) -> bytes:
        """The dead letters of this process and of all hosts, dead or alive."""
        await self.start()
        return pack(await self._hearing.letters())

    async def metrics(self) -> bytes:
        """What this process and all hosts, dead or alive, have counted."""
        await self.start()
        return pack(await self._hearing.metrics())

    async def messages(self, actor: str) -> bytes:
        """The latest messages of an actor; empty where nobody of that id is within reach."""
        return await self._hearing.messages(ActorId(actor))

    async def heard(self, host: str, packed: bytes) -> None:
        """A host tells of itself; see HostTold."""
        self._hearing.heard(HostId(host), packed)

    async def heard_deaths(self, packed: bytes) -> None:
        """A host tells how lives in it have ended; see DeathsTold."""
        self._hearing.heard_deaths(packed)

    @ray.method(concurrency_group="control")
    async def heard_spans(self, packed: bytes) -> None:
        """Another process of the app tells of its spans."""
        heard(self._recording, packed)

    async def carry_out(self, deed: str, actor: str, timeout_s: float) -> bytes:
        """See Operations.carry_out; a Refusal stands for what it raises."""
        await self.start()
        try:
            return pack(await self._operations.carry_out(Deed(deed), ActorId(actor), timeout_s=timeout_s))
        except RegrowError as error:
            return pack(Refusal(error=type(error).__name__, text=str(error)))

    @ray.method(concurrency_group="control")
    async def renew(self) -> None:
        """The owner lives."""
        self._owner.renew()

    @ray.method(concurrency_group="control")
    async def silence(self) -> float:
        """See OwnerLease."""
        return self._owner.silence

    # ---- what the keeper tells -------------------------------------------------------------------

    def host_died(self, record: HostRecord, reason: ExitReason) -> None:
        """See HostNews. The supervisors of its agents are told last, when all that is theirs is free."""
        log.warning("host died", host=record.host, pid=record.pid, reason=str(reason), agents=record.told_actors)
        self._hearing.close()
        self._seal(record.host, reason)
        self._starter.host_died(record, reason)

    def host_ended(self, record: HostRecord) -> None:
        """See HostNews."""
        self._seal(record.host, Shutdown(detail="its host was not needed any more"))

    def host_joined(self, record: HostRecord) -> None:
        """See HostNews. A new host must know what the others do."""
        self._peers.meet(record.host)
        for other in self._keeper.hosts.values():
            if not other.reachable:
                self._peers.tell(record.host, HostUnreachable(host=other.host))
        if self._stopping is not None:
            return  # it is to end: nobody need know it
        for peer in greeters(record.host, self._peers.known(), hosts=len(self._keeper.hosts)):
            self._peers.tell(peer, HostReady(host=record.host))

    def host_contact(self, record: HostRecord) -> None:
        """See HostNews. Contact lost is not death: monitors and askers are told, supervisors wait (SEMANTICS 1)."""
        say = log.info if record.reachable else log.warning
        text = "a host answers again" if record.reachable else "a host does not answer; its agents may still run"
        say(text, host=record.host, pid=record.pid, agents=record.told_actors)
        if record.reachable:
            self._peers.regained_contact(record.host)
            self._give_verdict(HostReachable(host=record.host))
        else:
            self._peers.lost_contact(record.host)
            self._give_verdict(HostUnreachable(host=record.host))

    # ---- inside --------------------------------------------------------------------------------

    def _give_verdict(self, verdict: Verdict) -> None:
        for host in self._keeper.handles:
            self._peers.meet(host)  # a host that has had nothing to say to us must hear of it, too
        self._peers.tell_all(verdict)

    def _seal(self, host: HostId, reason: ExitReason) -> None:
        """Frees the names of all that was in a host, then has its links sealed everywhere (SEMANTICS 3)."""
        self._roots.registry.host_died(host)
        self._peers.died(host, reason)
        self._give_verdict(HostDied(host=host, reason=reason))

    async def _stats_of(self, handle: Any) -> HostStats:
        try:
            stats = got_through(handle.stats)
            return unpack_as(HostStats, await asyncio.wait_for(stats, LOOK_LIMIT_S))
        except (PeerDead, RayError, TimeoutError):
            return HostStats(node=platform.node(), messages=0, cells=())

    async def mind_owner(self) -> None:
        """Pends until the owner has been silent for too long; then the app stops and this actor ends."""
        await self._owner.over()
        if self._stopping is None:
            log.warning("the driver of the app is gone; stopping the app", silent_s=self._order.owner_ttl_s)
        # Also when a stop was asked for: `ray job stop` kills a driver 3 s after it began one, and nobody else ends us.
        try:
            await self.stop()
        finally:
            ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


def remote_guardian() -> Any:
    """The Ray actor class of guardians: Ray restarts it for ever, and retries no call."""
    remote: Any = ray.remote  # its overloads do not know concurrency_groups
    return remote(max_restarts=-1, max_task_retries=0, num_cpus=0, concurrency_groups={"control": 4})(Guardian)
