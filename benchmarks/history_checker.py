"""Judges a run by its history and its effects alone: what was acknowledged was done once, in order, by who might.

Pure, and it knows nothing of the runtime. As a program it reads the two files and prints what it found as one line of
JSON; exit code 0 means that nothing is wrong, 1 that something is, 2 that a file can not be read:

    python benchmarks/history_checker.py --history FILE --effects FILE
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from history import Effect, Event, EventType, HistoryUnreadable, read_effects, read_events

SHOWN = 20
"""Of each fault so many cases are told; all are counted."""


@dataclass(slots=True)
class Command:
    """What the history says of one command."""

    first: Event
    attempts: int = 0
    oks: list[Event] = field(default_factory=list)
    infos: int = 0

    @property
    def is_acked(self) -> bool:
        """Whether its client was told that it is done, or for a tell, that it will be."""
        return bool(self.oks)

    @property
    def positions(self) -> set[int]:
        """The places that it was told to have among what its agent has committed: one, if all is well."""
        return {ok.position for ok in self.oks if ok.position is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a run has shown. The lists name each case; `indeterminate` is no fault, all others are."""

    acked: int
    indeterminate: int
    poisoned: int
    quarantined: int
    lost: list[str]
    """Acknowledged, and without its effect, or beyond what its agent has committed in the end, or that is not told.

    So is a run in which nothing was acknowledged: its history is empty or of another run, and shows nothing.
    """
    doubled: list[str]
    """An effect that is there more than once, a command with two places or one place with two commands."""
    disordered: list[str]
    """Done in another order than one client sent it to one agent, or one agent to another."""
    fenced: list[str]
    """Done or committed by a life behind the first deed of a later one."""
    misjudged: list[str]
    """In quarantine and not planted as poison, or planted and not there, or with an effect all the same."""
    unexplained: list[str]
    """Effects and positions of commands that nobody has sent."""
    orphans: list[str]
    """Left behind."""

    @property
    def faults(self) -> dict[str, list[str]]:
        """Everything that must not be, by its kind."""
        kinds = ("lost", "doubled", "disordered", "fenced", "misjudged", "unexplained", "orphans")
        return {kind: getattr(self, kind) for kind in kinds}

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.faults.values())

    def told(self) -> dict[str, object]:
        """The counts, and of each fault the first cases."""
        counts: dict[str, object] = {kind: len(cases) for kind, cases in self.faults.items()}
        cases = {kind: cases[:SHOWN] for kind, cases in self.faults.items() if cases}
        return {
            "acked": self.acked,
            **counts,
            "indeterminate": self.indeterminate,
            "poisoned": self.poisoned,
            "quarantined": self.quarantined,
            "cases": cases,
        }


def judged(events: Iterable[Event], effects: Sequence[Effect]) -> Verdict:
    """The verdict on a run that is over: nothing is under way any more, and what is late counts as lost."""
    events = list(events)
    commands, stray = _commands(events)
    states = {event.agent: event for event in events if event.type is EventType.STATE}
    set_aside = {event.id for event in events if event.type is EventType.QUARANTINED}
    done: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for effect in effects:
        done[effect.command][effect.effect] += 1
    relayed = _relayed(commands, effects)
    known = {name: command for name, command in commands.items() if not command.first.poison}
    poison = {name: command for name, command in commands.items() if command.first.poison}
    return Verdict(
        acked=sum(command.is_acked for command in known.values()),
        indeterminate=sum(not command.is_acked and command.first.id not in set_aside for command in known.values()),
        poisoned=len(poison),
        quarantined=len(set_aside),
        lost=[*_lost(known, done), *_beyond(known, states, relayed), *_unstated(known, states)],
        doubled=[*_repeated(done), *_two_places(known), *_too_many(known, states, done, relayed)],
        disordered=_disordered(commands, effects),
        fenced=[*_late_effects(effects), *_late_commits(known)],
        misjudged=_misjudged(known, poison, set_aside, done),
        unexplained=[*stray, *_unexplained(commands, done)],
        orphans=[event.text for event in events if event.type is EventType.ORPHAN],
    )


def _commands(events: Iterable[Event]) -> tuple[dict[str, Command], list[str]]:
    """All commands by name, in the order in which they were first sent; and answers to what nobody has sent."""
    commands: dict[str, Command] = {}
    stray: list[str] = []
    for event in events:
        match event.type:
            case EventType.INVOKE:
                commands.setdefault(event.command, Command(event)).attempts += 1
            case EventType.OK | EventType.INFO if event.command not in commands:
                stray.append(f"{event.command} was answered and never sent")
            case EventType.OK:
                commands[event.command].oks.append(event)
            case EventType.INFO:
                commands[event.command].infos += 1
            case _:
                pass
    return commands, stray


def _relayed(commands: dict[str, Command], effects: Iterable[Effect]) -> Counter[str]:
    """How many messages of other agents each agent has handled, by what they did: each is a commit of its own."""
    messages = {
        (effect.agent, effect.source, effect.number)
        for effect in effects
        if effect.command in commands and effect.source != commands[effect.command].first.process
    }
    return Counter(agent for agent, _, _ in messages)


def _lost(known: dict[str, Command], done: dict[str, Counter[str]]) -> list[str]:
    return [
        f"{name} was acknowledged, and {effect} was not done"
        for name, command in known.items()
        if command.is_acked
        for effect in command.first.effects
        if not done.get(name, Counter())[effect]
    ]


def _beyond(known: dict[str, Command], states: dict[str, Event], relayed: Counter[str]) -> list[str]:
    """Commits that were told and are not in the state: above its last position, or more than it counts."""
    cases: list[str] = []
    told = Counter(relayed)
    for name, command in known.items():
        agent = command.first.agent
        told[agent] += command.is_acked
        last = states[agent].position if agent in states else None
        if last is not None and any(position > last for position in command.positions):
            cases.append(f"{name} was committed at {max(command.positions)}, and {agent} ends at {last}")
    for agent, state in states.items():
        if state.position is not None and state.position < told[agent]:
            cases.append(f"{agent} acknowledged or did {told[agent]} commands and has committed {state.position}")
    return cases


def _unstated(known: dict[str, Command], states: dict[str, Event]) -> list[str]:
    """Agents of which nobody says what they have committed, so that a commit may be lost unseen."""
    acked = {command.first.agent: None for command in known.values() if command.is_acked}
    if not acked:
        return ["nothing was acknowledged, so the history is empty or cut off"]
    cases: list[str] = []
    for agent in acked:
        state = states.get(agent)
        if state is None or state.position is None:
            why = state.text if state is not None else "there is no line of it"
            cases.append(f"{agent} has acknowledged commands, and its state is not told: {why}")
    return cases


def _repeated(done: dict[str, Counter[str]]) -> list[str]:
    return [
        f"{effect} of {name} was done {count} times"
        for name, counts in done.items()
        for effect, count in counts.items()
        if count > 1
    ]


def _two_places(known: dict[str, Command]) -> list[str]:
    taken: dict[tuple[str, int], str] = {}
    cases: list[str] = []
    for name, command in known.items():
        if len(command.positions) > 1:
            cases.append(f"{name} was committed at {' and '.join(map(str, sorted(command.positions)))}")
        for position in command.positions:
            other = taken.setdefault((command.first.agent, position), name)
            if other != name:
                cases.append(f"{name} and {other} were both committed at {position} of {command.first.agent}")
    return cases


def _too_many(
    known: dict[str, Command], states: dict[str, Event], done: dict[str, Counter[str]], relayed: Counter[str]
) -> list[str]:
    """Agents that have committed more than all commands that may have been: acknowledged, or with an effect."""
    may = relayed + Counter(
        command.first.agent
        for name, command in known.items()
        if command.is_acked or not command.first.effects or done.get(name)
    )
    return [
        f"{agent} has committed {state.position} commands, and at most {may[agent]} can have been"
        for agent, state in states.items()
        if state.position is not None and state.position > may[agent]
    ]


def _disordered(commands: dict[str, Command], effects: Iterable[Effect]) -> list[str]:
    """Effects behind a later one of the same pair. A client that has sent again has given up its order by that."""
    reached: dict[tuple[str, str, str], int] = {}
    cases: list[str] = []
    for effect in effects:
        command = commands.get(effect.command)
        if command is not None and effect.source == command.first.process and command.attempts > 1:
            continue
        pair = (effect.effect, effect.source, effect.agent)
        if effect.number < reached.get(pair, 0):
            cases.append(
                f"{effect.effect} of {effect.command} at {effect.agent}: number {effect.number} of {effect.source} "
                f"came behind its {reached[pair]}"
            )
        reached[pair] = max(effect.number, reached.get(pair, 0))
    return cases


def _late_effects(effects: Iterable[Effect]) -> list[str]:
    """Effects of a life behind the first one of a later life of its agent."""
    reached: dict[str, int] = {}
    cases: list[str] = []
    for effect in effects:
        if effect.epoch < reached.get(effect.agent, 0):
            cases.append(
                f"{effect.effect} of {effect.command} was done by {effect.agent} in epoch {effect.epoch}, "
                f"behind {reached[effect.agent]}"
            )
        reached[effect.agent] = max(effect.epoch, reached.get(effect.agent, 0))
    return cases


def _late_commits(known: dict[str, Command]) -> list[str]:
    """Commits of a life behind those of a later one, in the order of the agent's own count."""
    placed: defaultdict[str, dict[int, tuple[int, str]]] = defaultdict(dict)
    for name, command in known.items():
        for ok in command.oks:
            if ok.position is not None and ok.epoch is not None:
                placed[command.first.agent].setdefault(ok.position, (ok.epoch, name))
    cases: list[str] = []
    for agent, commits in placed.items():
        reached = 0
        for position in sorted(commits):
            epoch, name = commits[position]
            if epoch < reached:
                cases.append(f"{name} was committed at {position} of {agent} in epoch {epoch}, behind {reached}")
            reached = max(reached, epoch)
    return cases


def _misjudged(
    known: dict[str, Command], poison: dict[str, Command], set_aside: set[str], done: dict[str, Counter[str]]
) -> list[str]:
    planted = {command.first.id for command in poison.values()}
    names = {command.first.id: name for name, command in known.items() if command.first.id}
    cases = [f"{names.get(id, id)} was set aside, and is no poison" for id in sorted(set_aside - planted)]
    for name, command in poison.items():
        if command.first.id not in set_aside:
            cases.append(f"{name} is poison, and was not set aside")
        if command.is_acked:
            cases.append(f"{name} is poison, and was acknowledged")
        if done.get(name):
            cases.append(f"{name} is poison, and has done {', '.join(done[name])}")
    return cases


def _unexplained(commands: dict[str, Command], done: dict[str, Counter[str]]) -> list[str]:
    cases: list[str] = []
    for name, counts in done.items():
        if name not in commands:
            cases.append(f"{name} has done {', '.join(counts)}, and nobody sent it")
            continue
        meant = commands[name].first.effects
        cases += [f"{name} has done {effect}, which it was not to do" for effect in counts if effect not in meant]
    return cases


def main() -> None:
    """Judges two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=Path, required=True, help="what clients have written, as JSON lines")
    parser.add_argument("--effects", type=Path, required=True, help="what was done outside, as JSON lines")
    given = parser.parse_args()
    try:
        verdict = judged(read_events(given.history), read_effects(given.effects))
    except (HistoryUnreadable, OSError) as error:
        print(f"it can not be judged: {error}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(verdict.told()))
    sys.exit(0 if verdict.is_clean else 1)


if __name__ == "__main__":
    main()
