"""A supervision tree and what happens to it, as data that both sides run.

Everything is named by its path below the root: `a/b` is child `b` of supervisor `a`, and the root is
the empty path. The dataclasses print as the Python that makes them, so that a failing example can be
copied into a regression test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Literal, TypeAlias

from regrow.supervisors.spec import AutoShutdownName, RestartName, StrategyName

WorkerKind: TypeAlias = Literal["plain", "sour", "stubborn"]
"""How a worker takes an order to stop: it stops, it fails while it stops, or it does not hear."""

How: TypeAlias = Literal["normal", "shutdown", "detail", "error", "kill"]
"""How a worker ends. `detail` is OTP's {shutdown, Term}; only `kill` also ends a supervisor."""

Shutdown: TypeAlias = float | Literal["default"] | None
"""As in child(): seconds, 0 for a brutal kill, None for no limit."""

Op: TypeAlias = Literal["start", "stop", "restart", "delete", "spec"]


class Brief:
    """Prints without what is as it is by default, since a failing example is read by people."""

    __slots__ = ()

    def __repr__(self) -> str:
        told: list[str] = []
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.default is MISSING:
                told.append(repr(value))
            elif value != field.default:
                told.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(told)})"


DYNAMIC: Literal["simple_one_for_one"] = "simple_one_for_one"
"""OTP's word for the strategy of what is a DynamicSupervisor here."""


@dataclass(frozen=True, slots=True, repr=False)
class Sup(Brief):
    """A supervisor. A dynamic one has one kid, of which it makes all its children, who are numbered."""

    kids: tuple[Kid, ...]
    strategy: StrategyName | Literal["simple_one_for_one"] = "one_for_one"
    max_restarts: int = 3
    within_s: int = 5
    auto_shutdown: AutoShutdownName = "never"

    @property
    def dynamic(self) -> bool:
        """True for OTP's simple_one_for_one."""
        return self.strategy == DYNAMIC


@dataclass(frozen=True, slots=True, repr=False)
class Kid(Brief):
    """One child: a worker or a nested supervisor."""

    id: str
    target: WorkerKind | Sup = "plain"
    restart: RestartName = "permanent"
    shutdown_s: Shutdown = "default"
    significant: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Exit(Brief):
    """What runs at that path ends by itself or is killed."""

    path: str
    how: How


@dataclass(frozen=True, slots=True, repr=False)
class Admin(Brief):
    """An operator's call about one child. `kid` is what `start` is to start; None below a dynamic supervisor."""

    op: Op
    path: str
    kid: Kid | None = None


Hook: TypeAlias = "Exit | Admin | None"
"""What happens to a sibling while a start fails: it is in the supervisor's mailbox before the retry."""


@dataclass(frozen=True, slots=True, repr=False)
class Fail(Brief):
    """The next starts of that path fail, one for each hook."""

    path: str
    hooks: tuple[Hook, ...] = (None,)


@dataclass(frozen=True, slots=True, repr=False)
class Advance(Brief):
    """The clock jumps."""

    seconds: int


@dataclass(frozen=True, slots=True, repr=False)
class Together(Brief):
    """Children of one supervisor end, and calls arrive, in this order, before it has taken any of that up."""

    sup: str
    happens: tuple[Exit | Admin, ...]


Event: TypeAlias = Exit | Admin | Fail | Advance | Together


@dataclass(frozen=True, slots=True, repr=False)
class Trace(Brief):
    """One experiment. `fails` are those that meet the first start; the root is stopped at the end."""

    tree: Sup
    events: tuple[Event, ...]
    fails: tuple[Fail, ...] = ()


def parent(path: str) -> str:
    """The path of the supervisor above."""
    return path.rpartition("/")[0]


def paths(sup: Sup, above: str = "") -> Iterator[tuple[str, Kid]]:
    """Every child in the tree, each supervisor before its own; a dynamic one has none to begin with."""
    for kid in () if sup.dynamic else sup.kids:
        path = f"{above}/{kid.id}" if above else kid.id
        yield path, kid
        if isinstance(kid.target, Sup):
            yield from paths(kid.target, path)
