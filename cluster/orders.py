"""What driver, guardian and hosts tell each other beside the links: values as bytes, never pickle.

Everything is a Message and travels in the frame format of the links, so there is one codec and one
versioning. The guardian runs no user code: targets travel as names, configs as bytes that only the
host opens.
"""

from __future__ import annotations

from typing import TypeVar

from regrow.cluster.code import CodeBase, CodeName, name_of
from regrow.cluster.config import GuardSettings, HistorySettings, LogSettings, Settings, TracingSettings
from regrow.cluster.durable_ids import is_durable
from regrow.runtime import (
    ActorId,
    Bug,
    Crashed,
    Dedicated,
    ExitReason,
    Incarnation,
    MailboxSettings,
    Message,
    Overflow,
    Packed,
    Placement,
    StartRequest,
)
from regrow.runtime.packing import Opaque, pack, unpack
from regrow.runtime.starter import Suspicion
from regrow.supervisors import AnySupervisorSpec, ChildSpec, DynamicSupervisorSpec, KeyedSpec, SupervisorSpec
from regrow.supervisors.intensity import Backoff
from regrow.supervisors.requests import packed_config
from regrow.supervisors.spec import AutoShutdown, Restart, Strategy
from regrow.supervisors.spec import Kind as ChildKind

M = TypeVar("M", bound=Message)


class JournalOrder(Message):
    """Where a host finds the journal of durable agents, the number that its life has there, and what is kept.

    `mark` is the highest one that the guardian has seen: a store below it is not the one in which the agents were.
    """

    url: str
    cluster: bool = False
    epoch: int
    replicas: int
    mark: int
    history: HistorySettings = HistorySettings()


class HostOrder(Message):
    """What a new host must know to join an app. What its agents spawn is numbered from `first_incarnation` on."""

    app: str
    host: str
    guardian: str
    guardian_life: str
    guardian_actor: str
    first_incarnation: int
    principal: str
    module: str
    attribute: str
    import_root: str
    digest: str
    skills: str = ""
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    guards: GuardSettings = GuardSettings()
    counts_runs: bool = False
    """Whether runs have caps, so that they are counted in a Redis even where the app needs none for anything else."""
    counts_calls: bool = False
    """Whether calls of tools are judged, so that they are counted there as well; in memory where there is none."""
    runs_url: str = ""
    runs_cluster: bool = False
    journal: JournalOrder | None = None
    rehearsal: str = ""
    """Where a test of the app listens; empty outside of tests."""


class HostJoined(Message):
    """A host is ready for cells. `node` is the name of its machine, `node_id` Ray's id of where it runs."""

    pid: int
    node: str
    node_id: str


class Refusal(Message):
    """An order could not be carried out; `error` names the class that the asker raises."""

    error: str
    text: str
    cause: Crashed | None = None


class GuardianStarted(Message):
    """The app runs under this life of its guardian."""

    life: str
    pid: int
    restarts: int = 0
    """How often Ray has restarted it so far; 0 where Ray does not tell."""


class HostStats(Message):
    """What one host says of itself: its cells as (id, state, mailbox depth)."""

    node: str
    messages: int
    cells: tuple[tuple[str, str, int], ...]


class StartOrder(Message):
    """One life to be started in a host; `config` is packed."""

    actor: str
    incarnation: int
    target: str
    parent: str | None
    config: bytes
    capacity: int
    overflow: str
    survives_exit: bool
    idle_s: float | None
    suspicion: str = ""
    held: bool = False


class CellStarted(Message):
    """The life runs."""


class CellFailed(Message):
    """The life did not start."""

    cause: Crashed


class Located(Message):
    """Where an actor runs; empty when there is no such actor."""

    host: str


class Ended(Message):
    """The root of the app's tree is over."""

    reason: ExitReason


class ChildOrder(Message):
    """A child spec as it crosses to the guardian."""

    id: str
    target: str
    durable: bool
    nested: SupervisorOrder | DynamicOrder | KeyedOrder | None
    restart: str
    shutdown_s: float | None
    significant: bool
    config: bytes
    pool: str | None
    pool_hosts: int
    dedicated: bool
    capacity: int
    overflow: str


class SupervisorOrder(Message):
    """A supervisor spec as it crosses to the guardian."""

    strategy: str
    max_restarts: int
    within_s: float
    auto_shutdown: str
    backoff: tuple[float, float] | None
    children: tuple[ChildOrder, ...]


class DynamicOrder(Message):
    """The spec of a DynamicSupervisor as it crosses to the guardian."""

    child: ChildOrder
    max_children: int
    max_restarts: int
    within_s: float
    backoff: tuple[float, float] | None


class KeyedOrder(DynamicOrder):
    """The spec of a supervisor of agents with keys as it crosses to the guardian."""

    idle_s: float


class AppOrder(Message):
    """All that a guardian needs to run an app; `settings` is JSON.

    The app outlives a driver that says nothing by `owner_ttl_s`.
    """

    app: str
    root: SupervisorOrder
    settings: str
    host: HostOrder
    owner_ttl_s: float


def unpack_as(expected: type[M], packed: bytes) -> M:
    """What `pack` packed, known to be of one class."""
    value = unpack(packed)
    if not isinstance(value, expected):
        raise Bug(f"expected {expected.__name__}, and {value!r} came")
    return value


def host_order(
    app: str,
    code: CodeBase,
    settings: Settings,
    rehearsal: str = "",
    *,
    counts_runs: bool = False,
    counts_calls: bool = False,
) -> HostOrder:
    """The order for hosts of an app, still without the host's own id and the guardian's life."""
    return HostOrder(
        app=app,
        host="",
        guardian=app,
        guardian_life="",
        guardian_actor="",
        first_incarnation=1,
        principal=f"app:{app}",
        module=code.module,
        attribute=code.attribute,
        import_root=code.import_root,
        digest=code.digest,
        skills=code.skills,
        log=settings.log,
        tracing=settings.tracing,
        guards=settings.guards,
        counts_runs=counts_runs,
        counts_calls=counts_calls,
        runs_cluster=settings.redis.cluster,
        rehearsal=rehearsal,
    )


def code_base(order: HostOrder) -> CodeBase:
    """Where the host finds the app's code."""
    return CodeBase(order.module, order.attribute, order.import_root, order.digest, order.skills)


def supervisor_order(spec: SupervisorSpec) -> SupervisorOrder:
    """A spec for the guardian. Raises CodeNotImportable, and InvalidMessage for a config that can not travel."""
    return SupervisorOrder(
        strategy=spec.strategy.value,
        max_restarts=spec.max_restarts,
        within_s=spec.within_s,
        auto_shutdown=spec.auto_shutdown.value,
        backoff=_backoff_order(spec.backoff),
        children=tuple(child_order(item) for item in spec.children),
    )


def supervisor_spec(order: SupervisorOrder) -> SupervisorSpec:
    """The spec that an order stands for, with names where classes were."""
    return SupervisorSpec(
        strategy=Strategy(order.strategy),
        max_restarts=order.max_restarts,
        within_s=order.within_s,
        auto_shutdown=AutoShutdown(order.auto_shutdown),
        backoff=_backoff(order.backoff),
        children=tuple(child_spec(item) for item in order.children),
    )


def start_order(request: StartRequest) -> StartOrder:
    """A start request as a host gets it."""
    config = request.config
    return StartOrder(
        actor=request.actor,
        incarnation=request.incarnation,
        target=request.target.name if isinstance(request.target, CodeName) else name_of(request.target),
        parent=request.parent,
        config=config.packed if isinstance(config, Opaque) else pack(config),
        capacity=request.mailbox.capacity,
        overflow=request.mailbox.overflow.value,
        survives_exit=request.survives_exit,
        suspicion=request.suspicion.value,
        held=request.held,
        idle_s=request.idle_s,
    )


def start_request(order: StartOrder) -> StartRequest:
    """The start request that an order stands for. Raises CodeNotImportable for a config unknown here."""
    return StartRequest(
        actor=ActorId(order.actor),
        incarnation=Incarnation(order.incarnation),
        target=CodeName(order.target),
        parent=ActorId(order.parent) if order.parent is not None else None,
        config=unpack(order.config),
        mailbox=MailboxSettings(capacity=order.capacity, overflow=Overflow(order.overflow)),
        survives_exit=order.survives_exit,
        suspicion=Suspicion(order.suspicion),
        held=order.held,
        idle_s=order.idle_s,
    )


def _nested_order(spec: AnySupervisorSpec) -> SupervisorOrder | DynamicOrder:
    if isinstance(spec, SupervisorSpec):
        return supervisor_order(spec)
    rules = DynamicOrder(
        child=child_order(spec.child),
        max_children=spec.max_active if isinstance(spec, KeyedSpec) else spec.max_children,
        max_restarts=spec.max_restarts,
        within_s=spec.within_s,
        backoff=_backoff_order(spec.backoff),
    )
    return KeyedOrder(**dict(rules), idle_s=spec.idle_s) if isinstance(spec, KeyedSpec) else rules


def _nested_spec(order: SupervisorOrder | DynamicOrder) -> AnySupervisorSpec:
    if isinstance(order, SupervisorOrder):
        return supervisor_spec(order)
    child, backoff = child_spec(order.child), _backoff(order.backoff)
    if isinstance(order, KeyedOrder):
        return KeyedSpec(
            child=child,
            idle_s=order.idle_s,
            max_active=order.max_children,
            max_restarts=order.max_restarts,
            within_s=order.within_s,
            backoff=backoff,
        )
    return DynamicSupervisorSpec(
        child=child,
        max_children=order.max_children,
        max_restarts=order.max_restarts,
        within_s=order.within_s,
        backoff=backoff,
    )


def _backoff_order(backoff: Backoff | None) -> tuple[float, float] | None:
    return (backoff.first_s, backoff.max_s) if backoff is not None else None


def _backoff(order: tuple[float, float] | None) -> Backoff | None:
    return Backoff(first_s=order[0], max_s=order[1]) if order is not None else None


def child_order(spec: ChildSpec) -> ChildOrder:
    """A child for the guardian. Raises CodeNotImportable, and InvalidMessage for a config that can not travel."""
    nested = spec.behavior if isinstance(spec.behavior, AnySupervisorSpec) else None
    packed = spec.placement if isinstance(spec.placement, Packed) else None
    return ChildOrder(
        id=spec.id,
        target="" if nested is not None else name_of(spec.behavior),
        durable=is_durable(spec.behavior),
        nested=_nested_order(nested) if nested is not None else None,
        restart=spec.restart.value,
        shutdown_s=spec.shutdown_s,
        significant=spec.significant,
        config=packed_config(spec.config, f"child {spec.id!r}") if nested is None else b"",
        pool=packed.pool if packed is not None else None,
        pool_hosts=packed.hosts if packed is not None else 0,
        dedicated=isinstance(spec.placement, Dedicated),
        capacity=spec.mailbox.capacity,
        overflow=spec.mailbox.overflow.value,
    )


def child_spec(order: ChildOrder) -> ChildSpec:
    """The spec that an order stands for, with names where classes were."""
    nested = order.nested
    placement: Placement | None = Dedicated() if order.dedicated else None
    if order.pool is not None:
        placement = Packed(order.pool, order.pool_hosts)
    return ChildSpec(
        id=order.id,
        behavior=_nested_spec(nested) if nested is not None else CodeName(order.target, order.durable),
        kind=ChildKind.SUPERVISOR if nested is not None else ChildKind.WORKER,
        restart=Restart(order.restart),
        shutdown_s=order.shutdown_s,
        significant=order.significant,
        config=Opaque(packed=order.config) if nested is None else None,
        placement=placement,
        mailbox=MailboxSettings(capacity=order.capacity, overflow=Overflow(order.overflow)),
    )
