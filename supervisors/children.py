"""What a supervisor knows of each child, and how it tells others.

`Child` is the supervisor's own record and changes as the child lives; `ChildRow` is the same as a
message. `status` is what the supervisor means to do with the child, `life` what there is of it now.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from enum import Enum

from regrow.runtime.address import ActorId, HostId, Incarnation, child_id
from regrow.runtime.lifecycle import Exited, ExitReason
from regrow.runtime.mailbox import Overflow
from regrow.runtime.message import Message
from regrow.runtime.placement import Dedicated
from regrow.runtime.starter import StartRequest
from regrow.supervisors.errors import NoSuchChild
from regrow.supervisors.spec import AnySupervisorSpec, ChildSpec, Kind, Restart
from regrow.supervisors.strategy import ChildState, Status

REASON_LIMIT_CHARS = 500
"""The end of a child is shown in a row with so much of its text; an exception may say anything."""

ROWS_LIMIT = 1_000
"""So many children are told of in one reply; who wants more asks for the next ones."""

NO_LIFE = Incarnation(0)
"""The incarnation of a child that has had no life yet; real numbers start at 1."""


class Life(Enum):
    """What there is of a child."""

    NONE = "none"
    STARTING = "starting"
    """It was asked for; it may exist, and no exit will tell of it until it is up."""
    UP = "up"
    UNCONFIRMED = "unconfirmed"
    """It was killed and may still run; no second life may begin beside it."""


@dataclass(slots=True, kw_only=True, eq=False)
class Child:
    """One child of a supervisor that runs."""

    spec: ChildSpec
    actor: ActorId
    place: int = 0
    """Its place in start order; only grows."""
    status: Status = Status.RESTARTING
    life: Life = Life.NONE
    incarnation: Incarnation = NO_LIFE
    last_up: Incarnation = NO_LIFE
    """The last life that came up; `incarnation` also counts starts that failed."""
    host: HostId | None = None
    pid: int | None = None
    restarts: int = 0
    """How often its supervisor started it again."""
    last_reason: ExitReason | None = None
    exited: Exited | None = None
    """An end on which the supervisor has not decided yet."""
    exited_behind: int = 0
    """The number of the last retry that was in the supervisor's mailbox when `exited` arrived there."""
    awaited: bool = False
    """An operation waits for its death and needs no decision on it."""
    leaves: bool = False
    """It is removed as soon as its death is confirmed."""
    death: asyncio.Future[None] | None = None
    """Done when the life that is or was last is over; None before the first."""

    @property
    def id(self) -> str:
        """Its id among its siblings."""
        return self.spec.id

    @property
    def unconfirmed(self) -> bool:
        """True while an earlier life of it may still run."""
        return self.life is Life.UNCONFIRMED

    def next_life(self, incarnation: Incarnation) -> StartRequest:
        """The request for a life of that number; from here on only exits of that life count."""
        self.incarnation = incarnation
        self.exited = None
        spec = self.spec
        return StartRequest(
            actor=self.actor,
            incarnation=incarnation,
            target=spec.behavior,
            parent=ActorId(self.actor.rpartition("/")[0]),
            config=spec.config,
            mailbox=spec.mailbox,
            placement=spec.placement if spec.placement is not None else Dedicated(),
            survives_exit=spec.restart is not Restart.TEMPORARY,
        )

    async def wait_dead(self) -> None:
        """Waits until its last life is certainly over."""
        if self.death is not None:
            await asyncio.wait((self.death,))

    def row(self) -> ChildRow:
        """What others are told of it."""
        shown = self.life.value if self.life in (Life.STARTING, Life.UNCONFIRMED) else self.status.value
        return ChildRow(
            id=self.id,
            actor=self.actor,
            kind=self.spec.kind,
            restart=self.spec.restart,
            state=shown,
            restarts=self.restarts,
            incarnation=self.incarnation,
            host=self.host,
            pid=self.pid,
            last_reason="" if self.last_reason is None else str(self.last_reason)[:REASON_LIMIT_CHARS],
        )


def spec_row(spec: ChildSpec) -> SpecRow:
    """What others are told of a spec."""
    return SpecRow(
        id=spec.id,
        target=_name_of(spec.behavior),
        kind=spec.kind,
        restart=spec.restart,
        shutdown_s=spec.shutdown_s,
        significant=spec.significant,
        placement="" if spec.placement is None else repr(spec.placement),
        mailbox=spec.mailbox.capacity,
        overflow=spec.mailbox.overflow,
    )


def _name_of(target: object) -> str:
    if isinstance(target, AnySupervisorSpec):
        return type(target).__name__.removesuffix("Spec")
    # The process that holds the supervisors may know no more of it than its name (MakesBehavior).
    module, qualname = getattr(target, "__module__", ""), getattr(target, "__qualname__", None)
    return f"{module}:{qualname}" if qualname is not None else str(getattr(target, "name", ""))


class ChildList:
    """The children of one supervisor in start order."""

    def __init__(self) -> None:
        self.supervisor = ActorId("")
        self._by_id: dict[str, Child] = {}
        self._by_actor: dict[str, Child] = {}
        self._by_event: dict[str, dict[str, Child]] = {}
        """Whose ends are known, undecided, and have that cause."""
        self._significant: OrderedDict[str, Child] = OrderedDict()
        """Those that were found active come first, so that the next look finds them at once."""
        self._places = itertools.count()

    def begin(self, supervisor: ActorId, specs: tuple[ChildSpec, ...]) -> None:
        """The supervisor learns who it is; these are its first children."""
        self.supervisor = supervisor
        for spec in specs:
            self.add(spec)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Child]:
        return iter(tuple(self._by_id.values()))

    def __reversed__(self) -> Iterator[Child]:
        return reversed(tuple(self._by_id.values()))

    def add(self, spec: ChildSpec) -> Child:
        """A record for one more child, the last in start order."""
        child = Child(spec=spec, actor=child_id(self.supervisor, spec.id), place=next(self._places))
        self._by_id[spec.id] = self._by_actor[child.actor] = child
        if spec.significant:
            self._significant[spec.id] = child
        return child

    def remove(self, child: Child) -> None:
        """Nothing is known of it from here on."""
        self._by_id.pop(child.id, None)
        self._by_actor.pop(child.actor, None)
        self._significant.pop(child.id, None)

    def get(self, id: str) -> Child | None:
        """The child of that id."""
        return self._by_id.get(id)

    def named(self, id: str) -> Child:
        """The child of that id. Raises NoSuchChild."""
        child = self._by_id.get(id)
        if child is None:
            raise NoSuchChild(self.supervisor, id, known=self._by_id)
        return child

    def of_actor(self, actor: str) -> Child | None:
        """The child of that full id."""
        return self._by_actor.get(actor)

    def of_life(self, actor: str, incarnation: int) -> Child | None:
        """The child whose present or last life this is; None for earlier lives and strangers."""
        child = self._by_actor.get(actor)
        return child if child is not None and child.incarnation == incarnation else None

    def ended(self, child: Child, exited: Exited) -> None:
        """Its end is known, and somebody has to decide on it."""
        child.exited = exited
        if exited.event:
            self._by_event.setdefault(exited.event, {})[child.id] = child

    def undecided(self, exited: Exited) -> list[Child]:
        """The running children whose ends are known, undecided, and have the cause of this one, in start order."""
        child = self._by_actor.get(ActorId(exited.actor))
        # No look at all children: else each of 10,000 ends would cost 10,000 looks.
        alone = (child,) if child is not None else ()
        candidates = tuple(self._by_event.pop(exited.event, {}).values()) if exited.event else alone
        found = [
            child
            for child in candidates
            if child.status is Status.RUNNING
            and child.exited is not None
            and (child.exited is exited or (exited.event and child.exited.event == exited.event))
        ]
        return sorted(found, key=lambda child: child.place)

    def settled(self, exited: Exited) -> None:
        """Nobody has to decide on this end any more; forgets its cause when that holds for all who have it."""
        children = self._by_event.get(exited.event, {}).values()
        if not any(child.exited is not None and child.exited.event == exited.event for child in children):
            self._by_event.pop(exited.event, None)

    def active_significant(self, *, but: Set[Child]) -> Child | None:
        """A significant child that runs or waits for its own start, other than these; None when there is none.

        Who is passed over goes to the end, so that the ends of all of them cost so many looks and no more.
        """
        for _ in range(len(self._significant)):
            id, child = next(iter(self._significant.items()))
            if child.status in (Status.RUNNING, Status.RESTARTING) and child not in but:
                return child
            self._significant.move_to_end(id)
        return None

    def states(self) -> tuple[ChildState, ...]:
        """The children as the deciders see them."""
        return states_of(self)

    def rows(self) -> Iterator[ChildRow]:
        """The children of this moment, each as others see it when the iterator comes to it."""
        return (child.row() for child in tuple(self))

    def counts(self) -> ChildCounts:
        """How many there are of each sort."""
        supervisors = sum(child.spec.kind is Kind.SUPERVISOR for child in self)
        return ChildCounts(
            specs=len(self._by_id),
            active=sum(child.status is Status.RUNNING for child in self),
            supervisors=supervisors,
            workers=len(self._by_id) - supervisors,
        )


def states_of(children: Iterable[Child]) -> tuple[ChildState, ...]:
    """These children as the deciders see them."""
    return tuple(ChildState(c.id, c.spec.restart, c.status, c.spec.significant) for c in children)


class ChildRow(Message):
    """One child as `which_children` tells it.

    `state` is a Status, or `starting` or `unconfirmed` while that says more. `host` and `pid` are
    those of the present or last life.
    """

    id: str
    actor: str
    kind: Kind
    restart: Restart
    state: str
    restarts: int
    incarnation: int
    host: str | None = None
    pid: int | None = None
    last_reason: str = ""


class SpecRow(Message):
    """One child's spec as `get_childspec` tells it.

    `target` is the module and name of what it is made of, or `Supervisor` or `DynamicSupervisor`; `placement`
    is as Python writes it, empty where none was named. Of a DynamicSupervisor's child it is the spec of all.
    """

    id: str
    target: str
    kind: Kind
    restart: Restart
    shutdown_s: float | None
    significant: bool
    placement: str
    mailbox: int
    overflow: Overflow


class ChildRows(Message):
    """The reply to WhichChildren: the children in start order, at most ROWS_LIMIT, and how many there are in all."""

    children: tuple[ChildRow, ...]
    total: int


class ChildCounts(Message):
    """The reply to CountChildren: as OTP counts them, `active` are those that run.

    A DynamicSupervisor has one spec; those that wait for their restart are among its workers or supervisors.
    """

    specs: int
    active: int
    supervisors: int
    workers: int
