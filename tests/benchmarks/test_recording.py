"""The judge on what was recorded of one agent in a real chaos run: as it was, and with faults planted at random."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from history import Effect, Event, EventType
from history_checker import judged

RECORDING = Path(__file__).parent / "recording"
SEEDS = range(12)

Planter = Callable[[list[Event], list[Effect], random.Random], None]


def recorded() -> tuple[list[Event], list[Effect]]:
    """The events and effects of one agent, which was killed, stopped, cut and poisoned meanwhile."""
    events, effects = _read()
    return list(events), list(effects)


@cache
def _read() -> tuple[list[Event], list[Effect]]:
    lines = {
        name: gzip.decompress((RECORDING / f"{name}.jsonl.gz").read_bytes()).decode().splitlines()
        for name in ("history", "effects")
    }
    return [Event.read(line) for line in lines["history"]], [Effect.read(line) for line in lines["effects"]]


def acked_effect(events: list[Event], effects: list[Effect], dice: random.Random) -> int:
    """Where the effect of a command stands that was acknowledged."""
    acked = {event.command for event in events if event.type is EventType.OK}
    return dice.choice([n for n, effect in enumerate(effects) if effect.command in acked])


def lose_an_effect(events: list[Event], effects: list[Effect], dice: random.Random) -> None:
    del effects[acked_effect(events, effects, dice)]


def double_an_effect(events: list[Event], effects: list[Effect], dice: random.Random) -> None:
    effects.append(effects[acked_effect(events, effects, dice)])


def lose_a_commit(events: list[Event], effects: list[Effect], dice: random.Random) -> None:
    at = next(n for n, event in enumerate(events) if event.type is EventType.STATE)
    events[at] = replace(events[at], position=(events[at].position or 0) - 1)


def double_a_commit(events: list[Event], effects: list[Effect], dice: random.Random) -> None:
    oks = [n for n, event in enumerate(events) if event.type is EventType.OK and event.position is not None]
    one, other = dice.sample(oks, 2)
    if events[one].command != events[other].command:
        events[one] = replace(events[one], position=events[other].position)
    else:
        events[one] = replace(events[one], position=0)


def reorder(events: list[Event], effects: list[Effect], dice: random.Random) -> None:
    """Has what was done for one message of the agent to the archive done behind all that came after it."""
    files = [n for n, effect in enumerate(effects) if effect.effect == "file"]
    effects.append(effects.pop(dice.choice(files[:-1])))


def go_behind_the_fence(events: list[Event], effects: list[Effect], dice: random.Random) -> None:
    own = [n for n, effect in enumerate(effects) if effect.effect == "write" and effect.epoch > 1]
    at = dice.choice(own)
    effects[at] = replace(effects[at], epoch=effects[at].epoch - 1)
    effects.insert(at, replace(effects[at], epoch=effects[at].epoch + 1, command=effects[at].command))


def set_a_good_one_aside(events: list[Event], effects: list[Effect], dice: random.Random) -> None:
    good = [event for event in events if event.type is EventType.INVOKE and event.id and not event.poison]
    events.append(Event(type=EventType.QUARANTINED, id=dice.choice(good).id))


def let_poison_go(events: list[Event], effects: list[Effect], dice: random.Random) -> None:
    events[:] = [event for event in events if event.type is not EventType.QUARANTINED]


PLANTERS: dict[str, Planter] = {
    "lost": lose_an_effect,
    "lost, in the state": lose_a_commit,
    "doubled": double_an_effect,
    "doubled, in the state": double_a_commit,
    "disordered": reorder,
    "fenced": go_behind_the_fence,
    "misjudged": set_a_good_one_aside,
    "misjudged, poison": let_poison_go,
}


def test_the_recorded_run_was_clean() -> None:
    events, effects = recorded()

    verdict = judged(events, effects)

    assert verdict.is_clean, verdict.told()
    assert verdict.acked > 100
    assert verdict.poisoned == verdict.quarantined > 0
    assert {event.kind for event in events if event.type is EventType.FAULT} >= {"host_kill", "redis_full", "cut_after"}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("planted", PLANTERS)
def test_a_fault_that_is_planted_into_the_recording_is_found(planted: str, seed: int) -> None:
    events, effects = recorded()

    PLANTERS[planted](events, effects, random.Random(f"{planted} {seed}"))

    kind = planted.partition(",")[0]
    assert judged(events, effects).faults[kind]
