"""AgentHost: the Ray actor whose process holds cells.

It has three concurrency groups, each with a thread and an event loop of its own: the default one
runs the cells and the links; `control` acts on cells even while a handler blocks; `watch` holds the
one pending call by which the keeper learns at once that this process died.
"""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import ray

from regrow.cluster import host_process, logs, tracing
from regrow.cluster.code import CodeBase
from regrow.cluster.directory import RememberingDirectory
from regrow.cluster.guarding import keep_guard
from regrow.cluster.host_book import LatestMessages
from regrow.cluster.host_process import end_with_parent
from regrow.cluster.making import BehaviorFactory
from regrow.cluster.orders import (
    CellFailed,
    CellStarted,
    HostJoined,
    HostOrder,
    HostStats,
    Located,
    Refusal,
    StartOrder,
    code_base,
    start_request,
    unpack_as,
)
from regrow.cluster.ray_loop import end_calls_at_once
from regrow.cluster.ray_nodes import own_node
from regrow.cluster.ray_spans import sent_to
from regrow.cluster.ray_telling import Telling
from regrow.cluster.ray_transport import NAMESPACE, RayTransport, actor_name, got_through, leave_terminal
from regrow.cluster.recording import attach
from regrow.cluster.services import service_id
from regrow.cluster.spec_courier import SpecCourier
from regrow.runtime import ActorId, Crashed, HostId, Incarnation, RegrowError, Runtime, WorldBroke
from regrow.runtime.codec import FrameCodec
from regrow.runtime.deaths import had_and_has
from regrow.runtime.packing import pack, unpack
from regrow.runtime.peers import Peers
from regrow.runtime.runtime import BehaviorMaker
from regrow.runtime.signals import Failure
from regrow.runtime.transport import PeerDead

if TYPE_CHECKING:
    from regrow.cluster.host_journal import HostJournal
    from regrow.cluster.recording import Recording
    from regrow.runtime.run_store import RunStore

CONTROL_CALLS = 8
LEAVE_S = 1.0
"""How long the end of an empty host waits until what its agents still had to say has arrived."""
LOOK_AT_CELLS_S = 1.0
"""How often a host looks whether the loop of its cells still runs."""
EXIT_WITHOUT_CELLS = 70
"""The exit code of a host whose loop was left: an internal error, as sysexits has it."""
KILL_WAIT_S = 0.5
"""How long a packed agent may take to let go before its whole host is killed: code that blocks is to be gone a second
after its grace (SEMANTICS 5), and the kill itself takes some of that on a busy machine."""


class RayHost:
    """The actor's class. Every argument and result is bytes or plain text: Ray pickles nothing of the user's."""

    def __init__(self, host: str) -> None:
        leave_terminal()
        end_with_parent()
        self._host = HostId(host)
        self._runtime: Runtime | None = None
        self._peers: Peers | None = None
        self._cells_loop: asyncio.AbstractEventLoop | None = None
        self._joining: asyncio.Task[bytes] | None = None
        self._starts: dict[str, tuple[int, asyncio.Task[bytes]]] = {}
        """The last start of each actor, for a starter that did not get the answer and asks again."""
        self._released: asyncio.Event | None = None
        self._watch_loop: asyncio.AbstractEventLoop | None = None
        self._telling: Telling | None = None
        self._journal: HostJournal | None = None
        self._recording: Recording | None = None
        self._heard_at = time.monotonic()

    # ---- the cells' loop -----------------------------------------------------------------------

    async def join(self, packed: bytes) -> bytes:
        """Imports the app's code and becomes ready for cells, once; a Refusal says why not."""
        if self._joining is None:
            self._joining = asyncio.get_running_loop().create_task(self._join(packed))
        return await asyncio.shield(self._joining)

    async def _join(self, packed: bytes) -> bytes:
        self._cells_loop = asyncio.get_running_loop()
        end_calls_at_once(self._cells_loop)
        order = unpack_as(HostOrder, packed)
        logs.configure(order.log, order.tracing.redact)
        tracing.configure_or_warn(order.app, order.tracing)
        try:
            app = await _loaded(code_base(order))
        except RegrowError as error:
            return pack(Refusal(error=type(error).__name__, text=str(error)))
        self._claimed = host_process.claim(order.guardian_actor, self._host)
        guardian = await asyncio.to_thread(ray.get_actor, actor_name(order.guardian), NAMESPACE)
        self._recording = sent_to(self._host, guardian, order.tracing)
        directory = RememberingDirectory(lambda actor: located(guardian, actor, after_start=False))
        runtime = self._runtime = Runtime(
            self._host,
            make_behavior=_made(order.rehearsal),
            directory=directory,
            principal=order.principal,
            names=app.id_of,
            first_incarnation=order.first_incarnation,
        )
        attach(self._recording, runtime)
        runtime.courier = SpecCourier()
        keep_guard(runtime, order.guards.over(app.guards), _runs(order))
        runtime.id_with_key = app.keyed.id_of
        runtime.services = {name: service_id(order.app, name) for name in ("memory", "models")}
        transport = RayTransport(self._host)
        arbiter = HostId(order.guardian_life)  # nobody else's word is a verdict
        transport.know(arbiter, guardian)
        self._peers = Peers(runtime, FrameCodec(runtime.ref_to, runtime.loop.time), transport, arbiter=arbiter)
        runtime.delivery.life_is_over = partial(life_is_over, guardian)
        self._telling = Telling(runtime, guardian)
        runtime.delivery.is_durable = app.is_durable or None
        if order.journal is not None:
            from regrow.cluster.host_journal import HostJournal  # here, since most hosts need no redis

            silent_s = self._guardian_silent_s
            self._journal = HostJournal(runtime, order.journal, app=order.app, guardian_silent_s=silent_s)
        # What is loaded now lives as long as the process; not looking at it again makes each ask a tenth cheaper.
        gc.collect()
        gc.freeze()
        return pack(HostJoined(pid=os.getpid(), node=platform.node(), node_id=own_node()))

    async def receive(self, peer: str, packet: bytes) -> bytes:
        """One packet of a link."""
        assert self._peers is not None
        return await self._peers.receive(HostId(peer), packet)

    async def listened(self, peer: str) -> bytes:
        """The pending call of a peer that can not be called."""
        assert self._peers is not None
        return await self._peers.listened(HostId(peer))

    async def start_cell(self, packed: bytes) -> bytes:
        """Starts one life, once; returns when it has initialised or failed."""
        order = unpack_as(StartOrder, packed)
        incarnation, starting = self._starts.get(order.actor, (0, None))
        if starting is None or incarnation != order.incarnation:
            starting = asyncio.get_running_loop().create_task(self._start_cell(order))
            self._starts[order.actor] = (order.incarnation, starting)
        return await asyncio.shield(starting)

    async def _start_cell(self, order: StartOrder) -> bytes:
        assert self._runtime is not None
        try:
            request = start_request(order)
        except RegrowError as error:
            return pack(CellFailed(cause=Crashed(type_name=type(error).__name__, message=str(error))))
        cause = await self._runtime.start(request)
        return pack(CellStarted() if cause is None else CellFailed(cause=cause))

    async def forget(self, actor: str, incarnation: int) -> None:
        """No further life of this actor will come here after this one; a call that was overtaken means an earlier."""
        begun, _ = self._starts.get(actor, (0, None))
        if begun > incarnation:
            return
        self._starts.pop(actor, None)
        if self._runtime is not None:
            self._runtime.forget(ActorId(actor))

    async def leave(self) -> bytes:
        """Answers all who still wait for somebody here, since this process is to end; returns what it has to tell."""
        runtime = self._runtime
        if runtime is None or self._peers is None or self._telling is None:
            return b""
        for actor in list(runtime.cells):
            runtime.forget(actor)
        for cell in list(runtime.cells.values()):
            await cell.wait_exited()  # of an end that its parent knows, the others are still to hear
        await self._peers.wait_delivered(LEAVE_S)
        self._telling.tell_deaths()
        await self._end_recording()
        return pack(self._telling.told())

    # ---- the control loop ----------------------------------------------------------------------

    @ray.method(concurrency_group="control")
    async def stop_cell(self, actor: str, incarnation: int, reason: bytes, grace_s: float | None) -> None:
        """Tells one life to end in order, even while its handler blocks the other loop."""
        if self._runtime is not None:
            self._runtime.loop.call_soon_threadsafe(self._stop, actor, incarnation, reason, grace_s)

    @ray.method(concurrency_group="control")
    async def begin_cell(self, actor: str, incarnation: int) -> bool:
        """Lets a life that was held begin with its messages."""
        if self._runtime is not None:
            self._runtime.loop.call_soon_threadsafe(self._begin, actor, incarnation)
        return True

    @ray.method(concurrency_group="control")
    async def kill_cell(self, actor: str, incarnation: int, detail: str) -> bool:
        """Kills one life; False when its code does not let go of the loop, so that only the process can be killed."""
        runtime = self._runtime
        if runtime is None:
            return True
        done = asyncio.run_coroutine_threadsafe(self._kill(actor, incarnation, detail), runtime.loop)
        try:
            await asyncio.wait_for(asyncio.wrap_future(done), KILL_WAIT_S)
        except TimeoutError:
            return False
        return True

    @ray.method(concurrency_group="control")
    async def ping(self) -> None:
        """Answers, also while a handler blocks the cells' loop: this process runs and can be reached."""
        self._heard_at = time.monotonic()

    @ray.method(concurrency_group="control")
    async def stats(self) -> bytes:
        """State and mailbox depth of every cell."""
        runtime = self._runtime
        if runtime is None:
            return pack(HostStats(node=platform.node(), messages=0, cells=()))
        cells = tuple((actor, state, depth) for actor, (state, depth) in runtime.stats().items())
        return pack(HostStats(node=platform.node(), messages=runtime.handled, cells=cells))

    @ray.method(concurrency_group="control")
    async def end_recording(self) -> None:
        """Sends the guardian what it has not told of its spans, since this process is to end."""
        await self._end_recording()

    @ray.method(concurrency_group="control")
    async def told(self) -> bytes:
        """What this process has to tell of itself, also while a handler blocks the cells' loop; see HostTold."""
        return pack(self._telling.told()) if self._telling is not None else b""

    @ray.method(concurrency_group="control")
    async def messages(self, actor: str) -> bytes:
        """The latest messages of an actor, also while a handler blocks the cells' loop; empty where it is not here."""
        cell = self._runtime.cells.get(ActorId(actor)) if self._runtime is not None else None
        return pack(LatestMessages(messages=had_and_has(cell, cell.runtime.loop.time()))) if cell is not None else b""

    # ---- the watch loop ------------------------------------------------------------------------

    @ray.method(concurrency_group="watch")
    async def watch(self) -> None:
        """Pends as long as this process lives, or until `release`."""
        self._released = asyncio.Event()
        self._watch_loop = asyncio.get_running_loop()
        while self._cells_loop is None or self._cells_loop.is_running():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._released.wait(), LOOK_AT_CELLS_S)
                return
        # Something left that loop for good, such as sys.exit() in a task of the user's own: nobody here
        # will ever answer again, and the death of this process is what supervisors can act on.
        os._exit(EXIT_WITHOUT_CELLS)

    @ray.method(concurrency_group="control")
    async def release(self) -> None:
        """Ends `watch`, so that Ray can end this actor in order."""
        if self._released is not None and self._watch_loop is not None:
            self._watch_loop.call_soon_threadsafe(self._released.set)

    async def _end_recording(self) -> None:
        if self._recording is not None:
            await self._recording.aclose()  # no thread may be in a call of Ray when Ray ends this process

    def _guardian_silent_s(self) -> float:
        return time.monotonic() - self._heard_at

    # ---- on the cells' loop, from the control loop ----------------------------------------------

    def _stop(self, actor: str, incarnation: int, reason: bytes, grace_s: float | None) -> None:
        cell = self._runtime.life(ActorId(actor), Incarnation(incarnation)) if self._runtime is not None else None
        if cell is not None:
            cell.stop(unpack(reason), grace_s)  # type: ignore[arg-type]

    def _begin(self, actor: str, incarnation: int) -> None:
        cell = self._runtime.life(ActorId(actor), Incarnation(incarnation)) if self._runtime is not None else None
        begin = getattr(cell.behavior, "begin", None) if cell is not None else None
        if begin is not None:
            begin()

    async def _kill(self, actor: str, incarnation: int, detail: str) -> None:
        if self._runtime is not None:
            self._runtime.kill(ActorId(actor), Incarnation(incarnation), detail)


def remote_host() -> Any:
    """The Ray actor class of hosts: no restart and no retry by Ray, since our supervisors do both."""
    remote: Any = ray.remote  # its overloads do not know concurrency_groups
    return remote(
        max_restarts=0,
        max_task_retries=0,
        num_cpus=0,
        concurrency_groups={"control": CONTROL_CALLS, "watch": 2},
    )(RayHost)


def _runs(order: HostOrder) -> RunStore | None:
    """Where runs are counted; None for the memory of this process."""
    if not order.runs_url:
        return None
    from regrow.cluster.redis_runs import RedisRuns  # here, since most hosts need no redis

    return RedisRuns.from_url(order.runs_url, app=order.app, cluster=order.runs_cluster)


def _made(rehearsal: str) -> BehaviorMaker:
    """What makes behaviors here; where a test runs the app, it is told of what they handle."""
    if not rehearsal:
        return BehaviorFactory()
    from regrow.cluster.testing_line import HostLine  # here, since no other host needs them
    from regrow.cluster.testing_watch import watched

    line = HostLine(rehearsal)
    return watched(BehaviorFactory(), line, line if line.has_script else None)


async def located(guardian: Any, actor: ActorId, *, after_start: bool) -> HostId | None:
    """Asks the guardian where an actor runs; None when there is no such actor, or no guardian.

    Of one that starts on demand and could not: raises AskFailed with the reason of its start, Refused, or WorldBroke.
    """
    try:
        answer = unpack(await got_through(guardian.locate, actor, after_start))
    except PeerDead:
        return None
    if isinstance(answer, Refusal):
        raise WorldBroke(answer.text)
    if isinstance(answer, Failure):
        raise answer.exception(actor)
    assert isinstance(answer, Located)
    return HostId(answer.host) if answer.host else None


async def life_is_over(guardian: Any, actor: ActorId, incarnation: Incarnation) -> bool:
    """Asks the guardian whether a life is over for certain; False where nobody knows."""
    try:
        return bool(await got_through(guardian.life_is_over, actor, incarnation))
    except PeerDead:
        return False


async def _loaded(code: CodeBase) -> Any:
    """The app, imported on this loop's own thread: some libraries insist on the thread that uses them."""
    return code.load()
