"""What guards watch for, up to where, and what they do about it; the deciders are in the rooms above.

A *run* is all that follows from one message from outside: its id is carried in the origin of each message. Guards judge
a run, and what they find is a `Finding`; the ladder says what is done: annotate the trace, warn, refuse, suspend.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import structlog
from opentelemetry import trace

from regrow.runtime import telemetry
from regrow.runtime.begun_together import BegunTogether
from regrow.runtime.errors import InvalidDefinition
from regrow.runtime.metrics import count_up

if TYPE_CHECKING:
    from regrow.runtime.cell import Cell
    from regrow.runtime.envelope import Envelope, Origin
    from regrow.runtime.guard_errors import GuardTripped
    from regrow.runtime.run_ends import RunEnds
    from regrow.runtime.run_store import RunStore, Taken

log = structlog.get_logger("regrow.guards")

DEFAULT_HOP_LIMIT: Final = 10_000
DEFAULT_LOOP_ROUNDS: Final = 3
DEFAULT_REPEATS_WARN: Final = 3
DEFAULT_REPEATS_END: Final = 5
DEFAULT_RETRY_SHARE: Final = 0.1
MAX_COUNT: Final = 1_000_000_000
MAX_TOLD: Final = 10_000
"""Findings of which is known how often they were made; the one of longest ago is forgotten for another."""


class Rung(enum.IntEnum):
    """What is done about a finding. Each rung holds those below it."""

    ANNOTATE = 1
    """It stands in the trace as an event, with its evidence."""
    WARN = 2
    """And whoever goes in circles is told: a model in the result of its call, a person in the log."""
    REFUSE = 3
    """And what would go on is refused; the turn ends as `Refused` unless its handler does something else."""
    SUSPEND = 4
    """And the turn waits for the word of a person, where it can; see `ctx.wait_for`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """How far a run may go; None turns a guard off. Raises InvalidDefinition for what is no limit.

    `hop_limit` is how many agents one message after the other may lead to, `loop_rounds` after how many rounds of the
    same agents with the same intent the next one is refused. A call of a tool with the same arguments and outcome is
    warned of at `repeats_warn` and ended at `repeats_end`; `polls` names tools that may give the same again and again.
    `volatile` names fields, of messages and of arguments, that say nothing. Of model calls at most `retry_share` may be
    attempts that nobody has declared. Who waits for a turn that has asked and called nothing for `stall_s` seconds is
    told so; off by default, since some handlers compute for long. `max_…`
    are the caps of each run: messages that its agents send, calls of models and tools, tokens, US dollars, and seconds
    since its first message. `top` is the highest rung of the ladder that is taken.
    """

    hop_limit: int | None = DEFAULT_HOP_LIMIT
    loop_rounds: int | None = DEFAULT_LOOP_ROUNDS
    repeats_warn: int = DEFAULT_REPEATS_WARN
    repeats_end: int | None = DEFAULT_REPEATS_END
    polls: frozenset[str] = frozenset()
    volatile: frozenset[str] = frozenset()
    retry_share: float | None = DEFAULT_RETRY_SHARE
    stall_s: float | None = None
    max_messages: int | None = None
    max_calls: int | None = None
    max_tokens: int | None = None
    max_cost_usd: float | None = None
    max_s: float | None = None
    top: Rung = Rung.REFUSE

    def __post_init__(self) -> None:
        _check_whole("hop_limit", self.hop_limit, least=1)
        _check_whole("loop_rounds", self.loop_rounds, least=2)
        _check_whole("repeats_end", self.repeats_end, least=2)
        for name in ("max_messages", "max_calls", "max_tokens"):
            _check_whole(name, getattr(self, name), least=0)
        for name in ("max_cost_usd", "max_s"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value >= 0):
                raise InvalidDefinition(f"{name}={value!r}: give a number, 0 or more, or None for no cap")
        if self.repeats_end is not None and not 2 <= self.repeats_warn <= self.repeats_end:
            raise InvalidDefinition(
                f"repeats_warn={self.repeats_warn!r}: give a whole number from 2 to repeats_end={self.repeats_end}"
            )
        if self.retry_share is not None and not (_is_number(self.retry_share) and 0 <= self.retry_share <= 1):
            raise InvalidDefinition(f"retry_share={self.retry_share!r}: give a share from 0 to 1, or None")
        if self.stall_s is not None and not (_is_number(self.stall_s) and self.stall_s > 0):
            raise InvalidDefinition(f"stall_s={self.stall_s!r}: give seconds above 0, or None")
        for name in ("polls", "volatile"):
            if isinstance(getattr(self, name), str):
                raise InvalidDefinition(f"{name}={getattr(self, name)!r}: give several names, such as {{'now'}}")
        if not isinstance(self.top, Rung):
            raise InvalidDefinition(f"top={self.top!r}: give one of {', '.join(f'Rung.{each.name}' for each in Rung)}")

    @property
    def has_caps(self) -> bool:
        """Whether a run has any cap, so that it has to be counted."""
        caps = (self.max_messages, self.max_calls, self.max_tokens, self.max_cost_usd, self.max_s)
        return any(each is not None for each in caps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a guard has found: which guard, how far it goes, in words, and the figures behind it."""

    error: type[GuardTripped]
    rung: Rung
    text: str
    evidence: Mapping[str, str | int | float] = field(default_factory=dict)

    def up_to(self, top: Rung) -> Finding:
        """The same, with the rung that is really taken."""
        return self if self.rung <= top else replace(self, rung=top)

    def refusal(self) -> GuardTripped:
        """The same as the error that it is."""
        return self.error(self.text, **self.evidence)

    def refuse(self) -> NoReturn:
        """Raises it."""
        raise self.refusal()


class TurnGuard(Protocol):
    """Judges a turn before the first message that it sends. `supervisors/turn_guard` is the one implementation."""

    from_hops: int
    """Turns nearer to the outside are not looked at: no chain of agents has come round yet."""

    def steps(self, cell: Cell, envelope: Envelope) -> tuple[int, ...]:
        """The steps of what this turn sends. Raises GuardTripped where it may send nothing."""
        ...


class MessageGuard(Protocol):
    """Counts what turns send. `runtime/message_count` is the one implementation; there is none without a cap."""

    def sent(self, origin: Origin) -> None:
        """One message more. Raises RunUsedUp where its run may send none."""
        ...


class Guarding:
    """What the guards of one process have: their limits, what judges turns and messages, and where runs are counted."""

    def __init__(
        self,
        guards: Guards,
        *,
        turns: TurnGuard | None,
        runs: RunStore,
        messages: MessageGuard | None = None,
        ends: RunEnds | None = None,
    ) -> None:
        self.guards = guards
        self.turns = turns
        self.runs = runs
        self.messages = messages
        self.ends = ends
        """When runs end; None where none has a cap."""
        self.findings: dict[str, int] = {}
        """How often each guard has found something here, by the class of its error."""
        self.calling: Counter[str] = Counter()
        """How many calls of tools are under way here, by agent."""
        self.together = BegunTogether()
        self._thought_s: OrderedDict[str, float] = OrderedDict()
        """How long agents here have waited for models since their last calls of tools."""
        self._told: OrderedDict[tuple[str, int, str, str], int] = OrderedDict()

    def ends_at(self, origin: Origin) -> float | None:
        """When the seconds of a run are over, by the clock of this loop; None where nothing ends it."""
        return self.ends.ends_at(origin) if self.ends is not None else None

    def heard(self, run: str, taken: Taken) -> None:
        """The store has said what a run has come to."""
        if self.ends is not None:
            self.ends.heard(run, taken)

    def time_is_up(self, origin: Origin, *, agent: str) -> GuardTripped:
        """The refusal of what is under way when the seconds of its run are over, which also stands in the trace."""
        assert self.ends is not None, "only a cap ends a run"
        finding = self.ends.over(origin)
        self.found(finding, origin, agent=agent)
        return finding.refusal()

    def thought(self, agent: str, seconds: float) -> None:
        """An agent has waited so long for a model, which is no wait for anything to change."""
        self._thought_s[agent] = self._thought_s.pop(agent, 0.0) + seconds
        if len(self._thought_s) > MAX_TOLD:
            self._thought_s.popitem(last=False)

    def thought_s(self, agent: str) -> float:
        """How long that was since its last call of a tool."""
        return self._thought_s.get(agent, 0.0)

    def called(self, agent: str) -> float:
        """The same, now that a call of a tool has ended; from here on it counts anew."""
        return self._thought_s.pop(agent, 0.0)

    def found(self, finding: Finding, origin: Origin, *, agent: str) -> None:
        """Tells a finding; of the same about the same agent and run the first, second, fourth, eighth and so on.

        What goes on in spite of it, since it is only warned of or caught, must not fill traces and logs.
        """
        finding = finding.up_to(self.guards.top)
        count_up(self.findings, finding.error.__name__)
        key = (finding.error.__name__, finding.rung, agent, origin.run)
        times = self._told.pop(key, 0) + 1
        self._told[key] = times
        if len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)
        if not times & (times - 1):
            found(finding, origin, agent=agent)


def found(finding: Finding, origin: Origin, *, agent: str) -> None:
    """Has a finding stand in the trace of its run, and in the log from WARN on."""
    guard = finding.error.__name__
    told: dict[str, str | int | float | bool] = {
        telemetry.GUARD_NAME: guard,
        telemetry.GUARD_RUNG: finding.rung.name.lower(),
        telemetry.AGENT_ID: agent,
        telemetry.RUN_ID: origin.run,
        **{f"{telemetry.GUARD_EVIDENCE}.{name}": value for name, value in finding.evidence.items()},
    }
    if finding.rung >= Rung.WARN:
        log.warning("a guard", guard=guard, rung=finding.rung.name.lower(), agent=agent, reason=finding.text)
    if trace.get_current_span().is_recording():
        telemetry.event(telemetry.GUARD_TRIPPED, told, span_name=telemetry.GUARD)
        return
    about = {telemetry.AGENT_ID: agent, telemetry.SHOWN_AS: telemetry.SHOWN_AS_GUARDRAIL}
    with telemetry.span(telemetry.GUARD, origin.trace, about):
        telemetry.event(telemetry.GUARD_TRIPPED, told, span_name=telemetry.GUARD)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _check_whole(name: str, value: object, *, least: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MAX_COUNT:
        raise InvalidDefinition(
            f"{name}={value!r}: give a whole number from {least} to {MAX_COUNT:,}, or None for none"
        )
