"""Which children stop and which start when some have ended: a pure decider.

`decide` answers exits, `decide_retry` a start that failed during a restart, `stop_order` a shutdown.
The caller carries the decision out, in the order given, and waits for each stop before the first
start. It also has to drop exits of earlier incarnations; exits of children that do not run are
ignored here.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import StrEnum

from regrow.runtime.lifecycle import ExitReason, Fenced
from regrow.supervisors.spec import AutoShutdown, Restart, Strategy


class Status(StrEnum):
    """What a child does, as its supervisor knows it."""

    RUNNING = "running"
    RESTARTING = "restarting"
    """It waits for its own start: it failed to start, or must not start yet."""
    WAITING = "waiting"
    """Its supervisor stopped it for a sibling that does not start yet, and starts it together with that one."""
    FINISHED = "finished"
    """Transient, and ended by itself."""
    STOPPED = "stopped"
    """An operator stopped it, and only an operator starts it again."""


@dataclass(frozen=True, slots=True)
class ChildState:
    """One child as the decider sees it; children are handed over in start order."""

    id: str
    restart: Restart = Restart.PERMANENT
    status: Status = Status.RUNNING
    significant: bool = False


@dataclass(frozen=True, slots=True)
class ChildExit:
    """A child's life is over."""

    id: str
    reason: ExitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do, to be carried out in the order of the fields. All empty: there is nothing to do."""

    stop: tuple[str, ...] = ()
    """Running children to stop, in this order, each before the next."""
    forget: tuple[str, ...] = ()
    """Temporary children to remove; those that ran are also in `stop`."""
    finish: tuple[str, ...] = ()
    """Transient children that ended by themselves and stay in the list."""
    start: tuple[str, ...] = ()
    """Children to start, in this order, after all stops."""
    caused_by: tuple[str, ...] = ()
    """The children that need this restart; the first one's restart window counts it."""
    counts: bool = False
    """Whether it costs one unit of the restart intensity; the whole event never costs more."""
    shuts_down: bool = False
    """The supervisor ends with Shutdown, by its auto_shutdown rule; `stop` then names all that run."""


NOTHING = Decision()
"""There is nothing to do."""


def needs_restart(restart: Restart, reason: ExitReason) -> bool:
    """Whether a child of this restart type comes back after this end (SEMANTICS 1)."""
    match restart:
        case Restart.PERMANENT:
            return True
        case Restart.TRANSIENT:
            return bool(reason.abnormal)
        case Restart.TEMPORARY:
            return False


def decide(
    strategy: Strategy,
    children: Sequence[ChildState],
    exits: Sequence[ChildExit],
    *,
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
) -> Decision:
    """What follows when these children ended by one event, such as the death of their host.

    A single exit is the event of one child. Of two exits with one id the first is believed.
    """
    reasons = {exit.id: exit.reason for exit in reversed(exits)}
    ended = [child for child in children if child.status is Status.RUNNING and child.id in reasons]
    if not ended:
        return NOTHING
    failed = [child for child in ended if needs_restart(child.restart, reasons[child.id])]
    over = frozenset(child.id for child in ended)
    back = frozenset(child.id for child in failed)
    if _shuts_down(auto_shutdown, children, over - back):
        gone = tuple(child.id for child in ended if child.restart is Restart.TEMPORARY)
        return Decision(stop=stop_order(children, without=over), forget=gone, shuts_down=True)
    # Another owner took the state over; that is no fault of the child (SEMANTICS 1).
    counts = any(not isinstance(reasons[id], Fenced) for id in back)
    return _follow(strategy, children, back, over=over, counts=counts)


def decide_retry(strategy: Strategy, children: Sequence[ChildState], child_id: str) -> Decision:
    """What follows when it is time to try the failed start of `child_id` again.

    one_for_one retries that child alone. The other two resume at those that are restarting, whichever of
    them the retry was meant for, and take along who waits for them. NOTHING when none is restarting any
    more: an operator has stopped it, and who waited for it stays down with it, as in OTP.
    """
    waiting = [child.id for child in children if child.status is Status.RESTARTING]
    if strategy is Strategy.ONE_FOR_ONE:
        waiting = [id for id in waiting if id == child_id]
    if not waiting:
        return NOTHING
    return _follow(strategy, children, frozenset(waiting), over=frozenset(), counts=True)


def stop_order(children: Sequence[ChildState], *, without: Set[str] = frozenset()) -> tuple[str, ...]:
    """The running children in the order in which a supervisor stops them: reverse start order."""
    return tuple(child.id for child in reversed(children) if child.status is Status.RUNNING and child.id not in without)


def _follow(
    strategy: Strategy, children: Sequence[ChildState], back: Set[str], *, over: Set[str], counts: bool
) -> Decision:
    """Restarts the children in `back`, and with them whom the strategy puts in scope.

    `over` have ended already: they are not stopped, and those out of scope are only put away. An ended
    child in scope starts again with its siblings, even a transient one that had finished.
    """
    scope = _scope(strategy, children, back)
    inside = frozenset(child.id for child in scope)
    lasting = [child for child in children if child.restart is not Restart.TEMPORARY]
    # Made once, since a test that makes them again for each child costs the square of what one host may lose.
    gone = (inside | over) - frozenset(child.id for child in lasting)
    outside = over - inside
    return Decision(
        stop=stop_order(scope, without=over),
        forget=tuple(child.id for child in children if child.id in gone),
        finish=tuple(child.id for child in lasting if child.id in outside),
        start=tuple(child.id for child in lasting if child.id in inside and child.status is not Status.STOPPED),
        caused_by=tuple(child.id for child in children if child.id in back),
        counts=counts,
    )


def _scope(strategy: Strategy, children: Sequence[ChildState], back: Set[str]) -> Sequence[ChildState]:
    """The children that a restart of `back` touches, in start order; none when `back` is empty."""
    if not back:
        return ()
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return [child for child in children if child.id in back]
        case Strategy.REST_FOR_ONE:
            first = next(place for place, child in enumerate(children) if child.id in back)
            return children[first:]
        case Strategy.ONE_FOR_ALL:
            return children


def _shuts_down(auto_shutdown: AutoShutdown, children: Sequence[ChildState], ended: Set[str]) -> bool:
    """OTP's rule: only an own end that is not followed by a restart counts.

    all_significant asks that the last active significant child ended by itself; one that waits for
    its restart is active, one that an operator stopped is not.
    """
    significant = [child for child in children if child.significant]
    if not any(child.id in ended for child in significant):
        return False
    match auto_shutdown:
        case AutoShutdown.NEVER:
            return False
        case AutoShutdown.ANY_SIGNIFICANT:
            return True
        case AutoShutdown.ALL_SIGNIFICANT:
            active = (Status.RUNNING, Status.RESTARTING)
            return not any(child.status in active and child.id not in ended for child in significant)
