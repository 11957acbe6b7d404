"""The seeds of each simulation: those that always run, those that once failed, and fresh ones.

`SIMULATION_SEEDS=100` adds so many fresh seeds to each test, others every time, and `SIMULATION_SEED=7` adds this one.
A test that fails prints the command that repeats it (tests/simulation/conftest.py). Its seed goes into KEPT, with a
word about what it showed, and so stays a regression.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping

FRESH, ONE = "SIMULATION_SEEDS", "SIMULATION_SEED"
"""The environment variables."""

BELOW = 10**9
"""Fresh seeds are smaller than this."""

KEPT: Mapping[str, tuple[int, ...]] = {
    "calls": (),
    "claims": (),
    "calls of a fleet": (
        # A start of a supervisor that was cut short forgot children which were those of its next life by then.
        534565252,
        184680765,
        21456970,
    ),
    "durable": (),
    "durable ends": (),
    "fleet": (
        # Siblings of a child that an operator had stopped stayed `restarting`, and nobody tried to start them.
        483558270,
        510170050,
        907644475,
        # By hand: lives begun before the death of the one before was confirmed; the death of a host counted for each.
        1,
        3,
    ),
    "keyed": (),
    "keyed storms": (),
    "link": (),
    "loop": (),
    "moves": (
        # Two processes had each other's messages in custody, and each waited until those on their way had arrived.
        72,
        # A copy in custody was sent behind later ones, and those behind it.
        38,
    ),
    "ordered restarts": (),
    "poison": (),
    "pool": (),
    "runtimes": (),
    "streams": (),
    "tree": (),
}
"""By simulation, the seeds that have found a mistake."""

RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(random.SystemRandom().randrange(BELOW))
"""What the fresh seeds are made from: other ones in each run, and the same ones in all processes of a run."""


def seeds(simulation: str, fixed: Iterable[int]) -> list[int]:
    """The seeds to run: the fixed ones, those kept for this simulation, and what the environment asks for."""
    dice = random.Random(f"{RUN} {simulation}")
    fresh = [dice.randrange(BELOW) for _ in range(int(os.environ.get(FRESH) or 0))]
    one = [int(os.environ[ONE])] if os.environ.get(ONE) else []
    return list(dict.fromkeys([*fixed, *KEPT[simulation], *one, *fresh]))


def repeats(test: str, seed: int) -> str:
    """The command that runs one test with this seed."""
    return f"{ONE}={seed} .venv/bin/pytest '{test}'"
