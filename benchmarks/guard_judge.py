"""Replays runs through the guards as they are, and says which runs they would have stopped, and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from guard_events import Event, Run

from regrow.router.hidden_retries import RetryMeter, over_budget
from regrow.runtime.guards import Finding, Guards, Rung
from regrow.runtime.likeness import likenesses, state_likenesses
from regrow.runtime.run_store import KEPT_CALLS, CallNote, WireCounts
from regrow.supervisors.outcome import tone
from regrow.supervisors.repeats import repeated
from regrow.supervisors.turn_guard import FROM_HOPS, MAX_STEPS, judged, step_of

GUARDS = Guards()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Where a run would have been stopped: the number of its event, and by which guard."""

    at: int
    guard: str


def stopped(run: Run, guards: Guards = GUARDS) -> Stop | None:
    """The first event of a run that is refused; None where it may go on to its end."""
    judge: Callable[[Event], Finding | None] = Loops(guards) if run.of == "loop" else Retries(guards)
    for at, event in enumerate(run.events):
        finding = judge(event)
        if finding is not None and finding.rung >= Rung.REFUSE:
            return Stop(at=at, guard=finding.error.__name__)
    return None


class Loops:
    """Judges turns and calls of tools, as a host does."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        self._turns: dict[str, tuple[str, int, tuple[int, ...]]] = {}
        """Of each turn: its agent, its hops and its steps."""
        self._calls: dict[str, list[CallNote]] = {}

    def __call__(self, event: Event) -> Finding | None:
        """What is to be said of an event, before it happens."""
        return self._turn(event) if event["kind"] == "turn" else self._call(event)

    def _turn(self, event: Event) -> Finding | None:
        agent, message, guards = event["agent"], event.get("message"), self._guards
        caller, hops, steps = self._turns.get(str(event.get("cause")), ("", -1, ()))
        finding = None
        by_itself = caller == agent
        arrived = hops if by_itself else hops + 1
        if arrived >= FROM_HOPS and not by_itself:
            step = step_of(agent, event["type"], message, event.get("state"), guards.volatile)
            steps = (*steps[1 - MAX_STEPS :], step)
            finding = judged(agent, event["type"], arrived, steps, guards)
        self._turns[event["id"]] = (agent, arrived, steps)
        return finding

    def _call(self, event: Event) -> Finding | None:
        agent, tool, batch = event["agent"], event["tool"], str(event.get("batch", ""))
        what = likenesses(event.get("arguments"), self._guards.volatile, of=tool)
        notes = self._calls.setdefault(agent, [])
        made = [note for note in notes[-KEPT_CALLS:] if note.at_s <= event["at"]]
        state = state_likenesses(event.get("state"), self._guards.volatile)
        finding = repeated(agent, tool, what, made, event["at"], self._guards, state=state, batch=batch)
        outcome = likenesses(event.get("outcome"), self._guards.volatile, is_result=True)
        took_s = event.get("took", 0.0)
        note = CallNote(
            id=f"{batch}/{what.written}/{outcome.said}" if batch else str(len(notes)),
            what=what,
            outcome=outcome,
            state=state,
            tone=tone(tool, event.get("arguments"), event.get("outcome")),
            batch=batch,
            took_s=took_s,
            at_s=event["at"] + took_s,
        )
        if all(each.id != note.id for each in notes[-KEPT_CALLS:]):  # as a host keeps them
            notes.append(note)
        return finding


class Retries:
    """Judges attempts over the wire, as a provider's client does."""

    def __init__(self, guards: Guards) -> None:
        assert guards.retry_share is not None
        self._share = guards.retry_share
        self._meter = RetryMeter()
        self._sent: dict[str, WireCounts] = {}

    def __call__(self, event: Event) -> Finding | None:
        """What is to be said of an event, before it happens."""
        to = event["to"]
        if event["kind"] == "request":
            self._meter.called(to, event["id"], declared=event["declared"])
            return None
        call, body, at = event["request"], event["body"], event["at"]
        finding = None
        if self._meter.sent(to, call, body, at):
            self._sent[to] = self._sent.get(to, WireCounts()).plus(self._meter.untold(to))
            finding = over_budget(to, self._sent[to], self._share)
        self._meter.answered(to, call, body, event["status"], at + event.get("took", 0.0))
        return finding


def tally(runs: Sequence[Run]) -> dict[str, Any]:
    """The share of runaways that were stopped, that of the others, and how many events were spent before a stop."""
    caught, missed, wrong, right, spent = 0, list[str](), list[str](), 0, list[int]()
    for run in runs:
        stop = stopped(run)
        if run.runaway:
            caught += stop is not None
            if stop is None:
                missed.append(run.shape)
            else:
                spent.append(max(0, stop.at - run.begins))
        elif stop is None:
            right += 1
        else:
            wrong.append(run.shape)
    return {
        "recall": caught / max(1, caught + len(missed)),
        "false_alarms": len(wrong) / max(1, right + len(wrong)),
        "runaways": caught + len(missed),
        "benign": right + len(wrong),
        "missed": missed,
        "wrong": wrong,
        "spent": spent,
    }
