"""Compares what OTP did with what ours did, and knows the deviations by name.

Each `Rule` is one difference that Regrow wants (docs/SEMANTICS.md sections 1 and 2), or one thing on which
OTP makes no promise. It changes or excuses exactly that, and its uses are counted. All else is a difference.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from enum import Enum
from itertools import groupby

from tests.oracle.observed import Answer, Entry, Rows, Seen, Step
from tests.oracle.trace import parent


class Rule(Enum):
    """What the comparer lets pass, and why."""

    ESCALATED = "a supervisor that restarts too often ends as Escalated, where OTP says shutdown"
    ESCALATED_TRANSIENT = "… and is abnormal, so that a transient one is restarted, where OTP's disappears unseen"
    OPERATORS_STOP = "a child that an operator stopped stays stopped when its siblings restart, where OTP starts it"
    EXITS_OVERTAKE = "exits go ahead of calls that are in a supervisor's mailbox, which OTP takes in order of arrival"
    SHUTDOWN_DEFAULT = "a worker has 10 s to stop unless its spec says otherwise, where OTP gives 5 s"
    CHILD_RUNNING = "ChildRunning is one refusal for what OTP calls running and restarting"
    AT_ONCE = "the children of a dynamic supervisor stop at once, in an order that OTP does not promise"
    MISCOUNT = "OTP counts a dynamic child that was stopped while it waited for its restart as inactive for ever"
    ORPHANS = "OTP promises no order and no reason for the children of a killed supervisor"


ALL = frozenset(Rule)


class Comparer:
    """Compares traces and counts which rules it needed."""

    def __init__(self, rules: frozenset[Rule] = ALL) -> None:
        self.rules = rules
        self.used: Counter[Rule] = Counter()
        self._stops: Counter[str] = Counter()
        """How many children of each dynamic supervisor were stopped in this trace so far."""

    def difference(self, otp: Seen, ours: Seen) -> str | None:
        """The first step in which they differ, in words; None when they do not."""
        otp = self._orphans_gathered(otp)
        self._stops.clear()
        assert len(otp) == len(ours)
        for number, (theirs, mine) in enumerate(zip(otp, ours, strict=True)):
            expected = self._expected(theirs, mine)
            mine.answers.sort(key=_key)
            for what in ("log", "answers", "sups"):
                if getattr(expected, what) != getattr(mine, what):
                    return _told(number, what, getattr(expected, what), getattr(mine, what))
        return None

    def _expected(self, theirs: Step, mine: Step) -> Step:
        """What OTP did, with the deviations applied."""
        log = self._sorted_at_once([entry for entry in map(self._entry, theirs.log) if entry is not None], mine)
        answers = sorted(theirs.answers, key=_key)
        own = sorted(mine.answers, key=_key)
        if [(a.op, a.path) for a in answers] == [(a.op, a.path) for a in own]:
            answers = [self._answer(answer, other) for answer, other in zip(answers, own, strict=True)]
        self._stops.update(
            parent(answer.path) for answer in theirs.answers if answer.op == "stop" and answer.said == ("ok",)
        )
        return Step(
            log=log, answers=answers, sups={path: self._rows(path, rows, mine) for path, rows in theirs.sups.items()}
        )

    def _rows(self, path: str, theirs: Rows, mine: Step) -> Rows:
        """OTP's rows, with as many active ones as it shows itself to run where its own count is too low."""
        own = mine.sups.get(path)
        if own is None or own.children != theirs.children or not all(row[0].isdigit() for row in own.children):
            return theirs
        running = sum(state == "running" for _, state, _ in theirs.children)
        specs, active, *others = theirs.counts
        if 0 < running - active <= self._stops[path] and self._may(Rule.MISCOUNT):
            return Rows(theirs.children, (specs, running, *others))
        return theirs

    def _sorted_at_once(self, log: list[Entry], mine: Step) -> list[Entry]:
        """OTP's log with the ends of each dynamic supervisor that stopped in the order in which ours tells them."""
        if Rule.AT_ONCE not in self.rules or log == mine.log or _by_number(log) != _by_number(mine.log):
            return log
        self.used[Rule.AT_ONCE] += 1
        return mine.log

    def _entry(self, entry: Entry) -> Entry | None:
        match entry:
            case Entry(word="held") if self._may(Rule.OPERATORS_STOP):
                return None
            case Entry(word="overtook") if self._may(Rule.EXITS_OVERTAKE):
                return None
            case Entry(reason="escalated") if self._may(Rule.ESCALATED_TRANSIENT):
                return entry
            case Entry(reason="escalated_as_shutdown") if self._may(Rule.ESCALATED):
                return replace(entry, reason="escalated")
            case Entry(reason="escalated_as_shutdown"):
                return replace(entry, reason="shutdown")
            case _:
                return entry

    def _answer(self, theirs: Answer, mine: Answer) -> Answer:
        match theirs.said, mine.said:
            case ("restarting",), ("running",) if self._may(Rule.CHILD_RUNNING):
                return mine
            case ("spec", *most, "5000", kind), ("spec", *_, "10000", _) if self._may(Rule.SHUTDOWN_DEFAULT):
                return Answer(theirs.op, theirs.path, ("spec", *most, "10000", kind))
            case _:
                return theirs

    def _may(self, rule: Rule) -> bool:
        if rule not in self.rules:
            return False
        self.used[rule] += 1
        return True

    def _orphans_gathered(self, seen: Seen) -> Seen:
        """OTP's log with the ends of orphans taken out and told with the end of their supervisor."""
        if Rule.ORPHANS not in self.rules:
            return seen
        ends = {(entry.path, entry.life) for step in seen for entry in step.log if entry.word == "exit"}
        here: dict[str, int] = {}
        taken: set[tuple[str, int]] = set()
        gathered: Seen = []
        for step in seen:
            log: list[Entry] = []
            for entry in step.log:
                life = (entry.path, entry.life)
                if entry.word == "init":
                    here[entry.path] = entry.life
                elif entry.word == "exit" and life in taken:
                    continue
                elif entry.word == "exit":
                    here.pop(entry.path, None)
                    if entry.reason == "killed":
                        entry = replace(entry, orphans=_orphans(entry.path, here, ends))
                        taken.update(entry.orphans)
                        for path, _ in entry.orphans:
                            del here[path]
                        self.used[Rule.ORPHANS] += bool(entry.orphans)
                log.append(entry)
            gathered.append(Step(log=log, answers=step.answers, sups=step.sups))
        return gathered


def _by_number(log: list[Entry]) -> list[Entry]:
    """The log with neighbouring ends below one dynamic supervisor sorted by child; those in one keep their order."""
    told: list[Entry] = []
    for above, group in groupby(log, key=_outermost):
        entries = list(group)
        told.extend(entries if above is None else sorted(entries, key=_innermost))
    return told


def _outermost(entry: Entry) -> list[str] | None:
    """The path of the outermost dynamic supervisor below which something ended; None where there is none."""
    parts = entry.path.split("/")
    place = next((place for place, part in enumerate(parts) if part.isdigit()), None)
    return None if place is None or entry.word != "exit" else parts[:place]


def _innermost(entry: Entry) -> list[str]:
    """The path of the innermost child of a dynamic supervisor that ended, or in which something ended."""
    parts = entry.path.split("/")
    while not parts[-1].isdigit():
        parts.pop()
    return parts


def _orphans(path: str, here: dict[str, int], ends: set[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Who runs below; a supervisor that failed to start is in `here` and has no end."""
    above = f"{path}/" if path else ""
    return tuple(sorted(life for life in here.items() if life[0].startswith(above) and life in ends))


def _key(answer: Answer) -> tuple[str, str, tuple[str, ...]]:
    return answer.op, answer.path, answer.said


def _told(number: int, what: str, otp: object, ours: object) -> str:
    event = "the start" if number == 0 else f"event {number}"
    return f"{what} after {event} differ\n  OTP:  {_lines(otp)}\n  ours: {_lines(ours)}"


def _lines(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{path or '(root)'}: {rows}" for path, rows in value.items())
    if isinstance(value, list):
        return ", ".join(_short(item) for item in value) or "nothing"
    return str(value)


def _short(item: object) -> str:
    match item:
        case Entry(word="exit"):
            orphans = f" with {[f'{path}#{life}' for path, life in item.orphans]}" if item.orphans else ""
            return f"exit {item.path or '(root)'}#{item.life} {item.reason}{orphans}"
        case Entry():
            return f"{item.word} {item.path or '(root)'}#{item.life}"
        case Answer():
            return f"{item.op} {item.path}: {' '.join(item.said)}"
        case _:
            return str(item)
