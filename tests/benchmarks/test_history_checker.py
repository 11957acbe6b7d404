"""The judge of chaos runs, by faults that are planted: each must be found for what it is, and a clean run passes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from history import Effect, Event, EventType
from history_checker import Verdict, judged

CLERK, ARCHIVE = "desk/clerk", "desk/archive"
CLIENTS = ("one", "two")
COMMANDS = 5
POISON_AT = 3
"""The number of the command of the first client that is poison."""


class Recording:
    """What was written down of a small run in which all went well: two clients, one clerk, an archive."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.effects: list[Effect] = []
        position = 0
        for number in range(1, COMMANDS + 1):
            for client in CLIENTS:
                poison = client == CLIENTS[0] and number == POISON_AT
                invoke = Event(
                    type=EventType.INVOKE,
                    process=client,
                    agent=CLERK,
                    command=f"{client}#{number}",
                    id=f"id of {client}#{number}",
                    number=number,
                    kind="ask",
                    effects=() if poison else ("write", "file"),
                    poison=poison,
                )
                self.events.append(invoke)
                if poison:
                    self.events.append(replace(invoke, type=EventType.INFO, text="set aside"))
                    continue
                position += 1
                epoch = 1 + position // 5
                self.effects.append(effect("write", CLERK, invoke.command, epoch, client, number))
                self.effects.append(effect("file", ARCHIVE, invoke.command, 1, CLERK, position))
                self.events.append(ok(invoke, position, epoch))
        self.events.append(Event(type=EventType.STATE, agent=CLERK, position=position))
        self.events.append(Event(type=EventType.STATE, agent=ARCHIVE, position=position))
        self.events.append(Event(type=EventType.QUARANTINED, agent=CLERK, id=f"id of one#{POISON_AT}"))

    def judged(self) -> Verdict:
        return judged(self.events, self.effects)

    def at(self, type: EventType, command: str = "", agent: str = "") -> int:
        """Where the event of that type stands, of any agent if none is named."""
        return next(
            n
            for n, each in enumerate(self.events)
            if each.type is type and each.command == command and agent in ("", each.agent)
        )

    def effect_at(self, name: str, command: str) -> int:
        """Where the effect stands."""
        return next(n for n, each in enumerate(self.effects) if (each.effect, each.command) == (name, command))


def effect(name: str, agent: str, command: str, epoch: int, source: str, number: int) -> Effect:
    key = f"{command}/{name}"
    return Effect(effect=name, agent=agent, command=command, key=key, epoch=epoch, source=source, number=number)


def ok(invoke: Event, position: int, epoch: int) -> Event:
    return Event(
        type=EventType.OK,
        process=invoke.process,
        agent=invoke.agent,
        command=invoke.command,
        position=position,
        epoch=epoch,
    )


def changed(type: EventType, command: str = "", of: str = "", **fields: object) -> Callable[[Recording], None]:
    def change(run: Recording) -> None:
        at = run.at(type, command, of)
        run.events[at] = replace(run.events[at], **fields)  # type: ignore[arg-type] # as the test says

    return change


def cut_off(length: int) -> Callable[[Recording], None]:
    """Only the first lines of the history are there, and what is done by its commands."""

    def cut(run: Recording) -> None:
        del run.events[length:]
        names = {event.command for event in run.events}
        run.effects = [each for each in run.effects if each.command in names]

    return cut


def without_event(type: EventType, command: str = "") -> Callable[[Recording], None]:
    def remove(run: Recording) -> None:
        del run.events[run.at(type, command)]

    return remove


def without_effect(name: str, command: str) -> Callable[[Recording], None]:
    def remove(run: Recording) -> None:
        del run.effects[run.effect_at(name, command)]

    return remove


def added(*lines: Event | Effect) -> Callable[[Recording], None]:
    def add(run: Recording) -> None:
        run.events += [line for line in lines if isinstance(line, Event)]
        run.effects += [line for line in lines if isinstance(line, Effect)]

    return add


def swapped(name: str, one: str, other: str) -> Callable[[Recording], None]:
    def swap(run: Recording) -> None:
        a, b = run.effect_at(name, one), run.effect_at(name, other)
        run.effects[a], run.effects[b] = run.effects[b], run.effects[a]

    return swap


def older_effect(run: Recording) -> None:
    """An effect of a fenced life: its epoch is that of before."""
    at = run.effect_at("write", "two#5")
    run.effects[at] = replace(run.effects[at], epoch=1)


PLANTED: dict[str, tuple[str, Callable[[Recording], None]]] = {
    "an acknowledged command without its effect": ("lost", without_effect("write", "one#1")),
    "one whose message never arrived": ("lost", without_effect("file", "two#2")),
    "an acknowledged commit beyond the final state": ("lost", changed(EventType.STATE, position=8)),
    "an agent that does not tell its state": ("lost", changed(EventType.STATE, position=None, text="timeout")),
    "a history that is cut off before the states": ("lost", without_event(EventType.STATE)),
    "an empty history": ("lost", cut_off(0)),
    "a history without one answer": ("lost", cut_off(1)),
    "an effect twice": ("doubled", added(effect("file", ARCHIVE, "two#5", 1, CLERK, 9))),
    "a commit twice": ("doubled", changed(EventType.STATE, position=10)),
    "a relayed message that is handled twice under one key": (
        "doubled",
        changed(EventType.STATE, of=ARCHIVE, position=10),
    ),
    "a relayed message whose commit is lost": ("lost", changed(EventType.STATE, of=ARCHIVE, position=8)),
    "one place for two": ("doubled", changed(EventType.OK, "two#5", position=8)),
    "two answers to one command": (
        "doubled",
        added(Event(type=EventType.OK, process="two", agent=CLERK, command="two#5", position=7, epoch=3)),
    ),
    "two of one client in the wrong order": ("disordered", swapped("write", "two#1", "two#2")),
    "two of one agent in the wrong order": ("disordered", swapped("file", "two#1", "two#2")),
    "an effect behind its fence": ("fenced", older_effect),
    "a commit behind its fence": ("fenced", changed(EventType.OK, "two#5", epoch=1)),
    "a good command in quarantine": (
        "misjudged",
        added(Event(type=EventType.QUARANTINED, agent=CLERK, id="id of two#5")),
    ),
    "poison that was not set aside": ("misjudged", without_event(EventType.QUARANTINED)),
    "poison that was acknowledged": (
        "misjudged",
        added(Event(type=EventType.OK, process="one", agent=CLERK, command="one#3")),
    ),
    "poison with an effect": ("misjudged", added(effect("write", CLERK, "one#3", 4, "one", 6))),
    "an effect of nobody's command": ("unexplained", added(effect("write", CLERK, "one#9", 4, "one", 9))),
    "an answer to nobody": ("unexplained", added(Event(type=EventType.OK, agent=CLERK, command="one#9"))),
    "a process that was left": ("orphans", added(Event(type=EventType.ORPHAN, text="process 7"))),
}
"""What goes wrong, as which fault it must be found, and how it is planted."""


def test_a_run_in_which_all_went_well_is_clean() -> None:
    verdict = Recording().judged()

    assert verdict.is_clean
    assert (verdict.acked, verdict.indeterminate, verdict.poisoned, verdict.quarantined) == (9, 0, 1, 1)


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_fault_is_found_for_what_it_is(planted: str) -> None:
    run = Recording()
    kind, plant = PLANTED[planted]

    plant(run)

    assert run.judged().faults[kind], run.judged().faults


def unanswered(run: Recording, command: str, *, with_effects: bool) -> None:
    """The answer to a command is lost for good, and so may be what it did."""
    at = run.at(EventType.OK, command)
    run.events[at] = Event(type=EventType.INFO, process="two", agent=CLERK, command=command, text="timeout")
    if not with_effects:
        run.effects = [each for each in run.effects if each.command != command]
        changed(EventType.STATE, position=8)(run)
        changed(EventType.STATE, of=ARCHIVE, position=8)(run)


@pytest.mark.parametrize("with_effects", [True, False])
def test_a_command_without_an_answer_may_have_been_done_or_not(with_effects: bool) -> None:
    run = Recording()

    unanswered(run, "two#5", with_effects=with_effects)

    assert run.judged().is_clean
    assert (run.judged().acked, run.judged().indeterminate) == (8, 1)


def test_but_not_twice() -> None:
    run = Recording()

    unanswered(run, "two#5", with_effects=True)
    run.effects.append(effect("write", CLERK, "two#5", 9, "two", 5))

    assert run.judged().doubled


def test_a_client_that_sends_again_has_given_up_its_order_and_gets_one_answer() -> None:
    run = Recording()
    swapped("write", "two#1", "two#2")(run)

    run.events.insert(run.at(EventType.OK, "two#1"), run.events[run.at(EventType.INVOKE, "two#1")])
    first = run.events[run.at(EventType.OK, "two#1")]
    run.events.append(first)

    assert run.judged().is_clean
    assert run.judged().acked == 9


@pytest.mark.parametrize("seed", range(20))
def test_of_a_run_from_which_anything_was_taken_something_is_found(seed: int) -> None:
    run, dice = Recording(), random.Random(seed)

    victim = dice.choice(run.effects)
    run.effects.remove(victim)

    assert run.judged().lost == [f"{victim.command} was acknowledged, and {victim.effect} was not done"]
