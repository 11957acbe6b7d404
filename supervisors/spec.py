"""What a supervisor looks after, and by which rules: the data of a supervision tree.

`child` and `Supervisor` are the doors: they take plain words and give frozen specs. A wrong value
fails right there with a SpecError that names the field, the value and what is allowed, so that a
tree which could be made can also be run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Literal, TypeAlias, TypeVar

from regrow.runtime.behavior import Behavior, MakesBehavior, makes_behavior
from regrow.runtime.errors import Misuse
from regrow.runtime.mailbox import DEFAULT_CAPACITY, MailboxSettings, Overflow
from regrow.runtime.placement import Dedicated, Packed, Placement
from regrow.supervisors.errors import SpecError
from regrow.supervisors.intensity import Backoff

WORKER_SHUTDOWN_S = 10.0
"""How long an agent may take to stop; OTP's 5 s is short for one model call (SEMANTICS 2)."""

ID_LIMIT_CHARS = 200
"""An id is part of every log line, Redis key and address, so it is kept short."""

DEFAULT_MAX_CHILDREN = 10_000
"""How many children a DynamicSupervisor takes unless its spec says otherwise; Erlang has no limit at all."""

TARGETS_ALLOWED = (
    "a class derived from Agent, a function with @agent above it or in adopt(…), a Supervisor(…) or a "
    "DynamicSupervisor(…)"
)
"""What a child may be made of, in words."""

RESERVED_CHARACTERS = "/#:$*"
"""They separate the parts of an address, of a Redis key and of a pattern, or mark Regrow's own names."""


class Restart(StrEnum):
    """Which ends of a child make its supervisor start it again."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Strategy(StrEnum):
    """Which siblings follow when a child is restarted."""

    ONE_FOR_ONE = "one_for_one"
    REST_FOR_ONE = "rest_for_one"
    ONE_FOR_ALL = "one_for_all"


class AutoShutdown(StrEnum):
    """Whether the own end of significant children ends the supervisor."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


class Kind(StrEnum):
    """Whether a child is an agent or a supervisor of its own."""

    WORKER = "worker"
    SUPERVISOR = "supervisor"


RestartName: TypeAlias = Literal["permanent", "transient", "temporary"]
StrategyName: TypeAlias = Literal["one_for_one", "rest_for_one", "one_for_all"]
AutoShutdownName: TypeAlias = Literal["never", "any_significant", "all_significant"]
OverflowName: TypeAlias = Literal["block", "reject", "drop_oldest", "drop_newest"]

Target: TypeAlias = "type[Behavior] | MakesBehavior | SupervisorSpec | DynamicSupervisorSpec | KeyedSpec"
"""What a child runs: an agent class, an agent function, or a nested supervisor of either sort."""

_Choice = TypeVar("_Choice", bound=Enum)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """How one child is started, stopped and restarted; made by `child`.

    `shutdown_s` is in seconds: 0 kills at once, None waits without limit. `config` is handed to the
    agent as it is. Without a `placement` whoever starts the child chooses one.
    """

    id: str
    behavior: Target
    kind: Kind = Kind.WORKER
    restart: Restart = Restart.PERMANENT
    shutdown_s: float | None = WORKER_SHUTDOWN_S
    significant: bool = False
    config: object | None = None
    placement: Placement | None = None
    mailbox: MailboxSettings = field(default_factory=MailboxSettings)

    def __post_init__(self) -> None:
        _check_id(self.id)
        where = f"child {self.id!r}"
        _check_target(self.behavior, where)
        _choice(Kind, "kind", self.kind, where)
        _choice(Restart, "restart", self.restart, where)
        if self.shutdown_s is not None and not _is_number(self.shutdown_s, at_least=0):
            raise SpecError("shutdown_s", self.shutdown_s, "seconds from 0 up, or None for no limit", where=where)
        if not isinstance(self.mailbox, MailboxSettings):
            raise SpecError("mailbox", self.mailbox, "MailboxSettings(…)", where=where)
        _check_count("mailbox", self.mailbox.capacity, at_least=1, where=where)
        _choice(Overflow, "overflow", self.mailbox.overflow, where)
        if self.mailbox.overflow not in getattr(self.behavior, "overflows", Overflow):
            allowed = "'block' or 'reject' for a durable agent, which drops no message that it has accepted"
            raise SpecError("overflow", self.mailbox.overflow.value, allowed, where=where)
        if self.placement is not None and not isinstance(self.placement, Dedicated | Packed):
            raise SpecError("placement", self.placement, "Dedicated(), Packed('pool') or None", where=where)
        if isinstance(self.placement, Packed):
            _check_pool(self.placement, where)
        if not isinstance(self.significant, bool):
            raise SpecError("significant", self.significant, "True or False", where=where)
        if self.significant and self.restart is Restart.PERMANENT:
            # A permanent child always comes back, so its own end could never count (OTP refuses this, too).
            raise SpecError("significant", True, "False, or True with restart='transient' or 'temporary'", where=where)
        self._check_nested(where)

    def _check_nested(self, where: str) -> None:
        """A supervisor has neither config nor placement: what is given must not be silently unused."""
        if not isinstance(self.behavior, AnySupervisorSpec):
            return
        if self.kind is not Kind.SUPERVISOR:
            raise SpecError("kind", self.kind.value, "'supervisor' for a nested supervisor", where=where)
        for name, value in (("config", self.config), ("placement", self.placement)):
            if value is not None:
                raise SpecError(name, value, "None for a nested supervisor; give it to its children", where=where)


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSpec:
    """The rules and the children of one supervisor, children in start order; made by `Supervisor`.

    More than `max_restarts` restarts within `within_s` seconds end the supervisor (SEMANTICS 2).
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    max_restarts: int = 3
    within_s: float = 5.0
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    children: tuple[ChildSpec, ...] = ()
    backoff: Backoff | None = None

    def __post_init__(self) -> None:
        where = "Supervisor"
        _choice(Strategy, "strategy", self.strategy, where)
        _choice(AutoShutdown, "auto_shutdown", self.auto_shutdown, where)
        _check_intensity(self.max_restarts, self.within_s, self.backoff, where)
        _check_children(self.children, self.auto_shutdown, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicSupervisorSpec:
    """The rules of a supervisor whose children are made of one spec while it runs; made by `DynamicSupervisor`.

    `max_children` counts those that wait for their restart as well (SEMANTICS 2).
    """

    child: ChildSpec
    max_children: int = DEFAULT_MAX_CHILDREN
    max_restarts: int = 3
    within_s: float = 5.0
    backoff: Backoff | None = None

    def __post_init__(self) -> None:
        where = "DynamicSupervisor"
        if not isinstance(self.child, ChildSpec):
            raise SpecError("child", self.child, "one child(…), the spec of all its children", where=where)
        if self.child.significant:
            # Each child of it is one of many; OTP refuses auto_shutdown for simple_one_for_one, too.
            raise SpecError("significant", True, "False for the child of a DynamicSupervisor", where=where)
        _check_count("max_children", self.max_children, at_least=1, where=where)
        _check_intensity(self.max_restarts, self.within_s, self.backoff, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedSpec:
    """The rules of a supervisor whose children are started by the first message to their key; made by `keyed`.

    A child that has had nothing to do for `idle_s` seconds is ended; at most `max_active` run at once.
    """

    child: ChildSpec
    idle_s: float
    max_active: int = DEFAULT_MAX_CHILDREN
    max_restarts: int = 3
    within_s: float = 5.0
    backoff: Backoff | None = None

    def __post_init__(self) -> None:
        where = "keyed"
        if self.child.significant or self.child.kind is Kind.SUPERVISOR:
            raise SpecError("child", self.child, "an agent that is not significant", where=where)
        if not _is_number(self.idle_s, at_least=0) or self.idle_s == 0:
            raise SpecError("idle_s", self.idle_s, "seconds above 0", where=where)
        _check_count("max_active", self.max_active, at_least=1, where=where)
        _check_intensity(self.max_restarts, self.within_s, self.backoff, where)


AnySupervisorSpec: TypeAlias = SupervisorSpec | DynamicSupervisorSpec | KeyedSpec
"""The spec of a supervisor of any sort."""


def child(
    target: Target,
    id: str | None = None,
    *,
    restart: Restart | RestartName = "permanent",
    shutdown_s: float | Literal["default"] | None = "default",
    config: object | None = None,
    placement: Placement | None = None,
    significant: bool = False,
    mailbox: int = DEFAULT_CAPACITY,
    overflow: Overflow | OverflowName = "block",
) -> ChildSpec:
    """The spec of one child; its id is the target's name in lower case unless one is given.

    `shutdown_s` defaults to 10 for an agent and to no limit for a nested supervisor. `mailbox` is the
    number of messages that may wait at it; at that number `overflow` says what happens to the next.

    Raises SpecError for any value a child can not have.

    >>> from regrow import Agent
    >>> class WebReader(Agent): ...
    >>> child(WebReader, restart="transient").id
    'web_reader'
    """
    nested = isinstance(target, AnySupervisorSpec)
    if id is None:
        _check_target(target, "child")
        id = _default_id(target)
    where = f"child {id!r}"
    if shutdown_s == "default":
        shutdown_s = None if nested else WORKER_SHUTDOWN_S
    return ChildSpec(
        id=id,
        behavior=target,
        kind=Kind.SUPERVISOR if nested else Kind.WORKER,
        restart=_choice(Restart, "restart", restart, where),
        shutdown_s=shutdown_s,
        significant=significant,
        config=config,
        placement=placement,
        mailbox=MailboxSettings(capacity=mailbox, overflow=_choice(Overflow, "overflow", overflow, where)),
    )


def Supervisor(  # noqa: N802 - users write it like the class it stands for, beside `child`
    *,
    strategy: Strategy | StrategyName = "one_for_one",
    max_restarts: int = 3,
    within_s: float = 5.0,
    auto_shutdown: AutoShutdown | AutoShutdownName = "never",
    children: Iterable[ChildSpec] = (),
    backoff: Backoff | None = None,
) -> SupervisorSpec:
    """The spec of a supervisor and its children, which start in the order given.

    Raises SpecError for any value a supervisor can not have, and for two children with one id.
    """
    where = "Supervisor"
    return SupervisorSpec(
        strategy=_choice(Strategy, "strategy", strategy, where),
        max_restarts=max_restarts,
        within_s=within_s,
        auto_shutdown=_choice(AutoShutdown, "auto_shutdown", auto_shutdown, where),
        children=_listed(children, where),
        backoff=backoff,
    )


def DynamicSupervisor(  # noqa: N802 - as Supervisor above
    child: ChildSpec,
    *,
    max_children: int = DEFAULT_MAX_CHILDREN,
    max_restarts: int = 3,
    within_s: float = 5.0,
    backoff: Backoff | None = None,
) -> DynamicSupervisorSpec:
    """The spec of a supervisor that begins without children and makes as many as it is asked for of `child`.

    The child's id is not used: each gets a number. `ctx.start_child` hands each a config of its own, or
    else that of `child`. Unless `child` names a placement, all share a pool of one host.

    Raises SpecError for any value it can not have.

    >>> from regrow import Agent
    >>> class Session(Agent): ...
    >>> child(DynamicSupervisor(child(Session), max_children=100), id="sessions").kind.value
    'supervisor'
    """
    return DynamicSupervisorSpec(
        child=child, max_children=max_children, max_restarts=max_restarts, within_s=within_s, backoff=backoff
    )


def check_key(key: object, whose: str) -> None:
    """Raises Misuse for what can not be the key of an agent."""
    try:
        _check_id(key)
    except SpecError as error:
        what_next = "encode it, such as by urllib.parse.quote(key, safe='')"
        raise Misuse(f"{key!r:.120} can not be a key of {whose}: a key is {error.allowed}; {what_next}") from error


def _check_id(id: object) -> None:
    allowed = (
        f"a text of 1 to {ID_LIMIT_CHARS} printable characters, without spaces "
        f"and without {' '.join(RESERVED_CHARACTERS)}"
    )
    if not isinstance(id, str) or not 1 <= len(id) <= ID_LIMIT_CHARS:
        raise SpecError("id", id, allowed, where="child")
    if not id.isprintable() or any(c.isspace() or c in RESERVED_CHARACTERS for c in id):
        raise SpecError("id", id, allowed, where="child")


def _check_target(target: object, where: str) -> None:
    """Of what is refused here no life could ever begin."""
    if not isinstance(target, AnySupervisorSpec) and not makes_behavior(target):
        raise SpecError("target", target, TARGETS_ALLOWED, where=where)


def _listed(children: object, where: str) -> tuple[ChildSpec, ...]:
    """What was handed over as children, as a tuple; SupervisorSpec looks at the members."""
    if isinstance(children, str | bytes | Mapping) or not isinstance(children, Iterable):
        raise SpecError("children", children, "a list of child(…)", where=where)
    return tuple(children)


def _check_children(children: tuple[object, ...], auto_shutdown: AutoShutdown, where: str) -> None:
    seen: set[str] = set()
    for spec in children:
        if not isinstance(spec, ChildSpec):
            raise SpecError("children", spec, "ChildSpecs only; write child(…, id='…') around it", where=where)
        if spec.id in seen:
            raise SpecError("id", spec.id, "an id that no other child of this supervisor has", where=where)
        seen.add(spec.id)
        if spec.significant and auto_shutdown is AutoShutdown.NEVER:
            raise SpecError(
                "significant",
                True,
                "False while auto_shutdown is 'never'; or set auto_shutdown on the supervisor",
                where=f"child {spec.id!r}",
            )


def _check_pool(placement: Packed, where: str) -> None:
    if not isinstance(placement.pool, str) or not placement.pool:
        raise SpecError("pool", placement.pool, "a name, such as Packed('readers')", where=where)
    _check_count("hosts", placement.hosts, at_least=1, where=where)


def _check_intensity(max_restarts: object, within_s: object, backoff: object, where: str) -> None:
    _check_count("max_restarts", max_restarts, at_least=0, where=where)
    if not _is_number(within_s, at_least=0) or within_s == 0:
        raise SpecError("within_s", within_s, "seconds above 0", where=where)
    if backoff is not None and not isinstance(backoff, Backoff):
        raise SpecError("backoff", backoff, "Backoff(first_s=…, max_s=…) or None", where=where)


def _choice(choices: type[_Choice], field: str, value: object, where: str) -> _Choice:
    """The member of `choices` that `value` is or names. Raises SpecError when there is none."""
    for member in choices:
        if value is member or (isinstance(value, str) and value == member.value):
            return member
    *most, last = (repr(member.value) for member in choices)
    raise SpecError(field, value, f"{', '.join(most)} or {last}", where=where)


def _check_count(field: str, value: object, *, at_least: int, where: str) -> None:
    # bool is an int to Python, but `max_restarts=True` is surely a slip.
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise SpecError(field, value, f"a whole number from {at_least} up", where=where)


def _is_number(value: object, *, at_least: float) -> bool:
    """Whether it is a finite number of that size; NaN, infinity and bool are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= at_least


_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def _default_id(target: Target) -> str:
    """The target's name as snake case: `WebReader` → `web_reader`, `HTTPReader` → `http_reader`."""
    name = getattr(target, "__name__", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise SpecError("id", None, "an id=… of your choice, since this target has no name of its own", where="child")
    return _WORD_STARTS.sub("_", name).lower()
