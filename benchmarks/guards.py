"""How many runaways the guards stop, and how much work they stop wrongly.

Runs are made up by seed, 400 of loops and 400 of retries in hiding, half of each runaways, and replayed through the
guards with their default limits, as a host uses them. Runaways are loops over one to four agents, calls of tools in
turns, tests and commands that fail alike, hasty polls, thanks to and fro, clients that repeat in hiding; ids, times and
counters differ each time, in fields of any name. Work that must not be stopped is pages, polls with changes or growing
waits, retries, sweeps, clicks, dice, deletions of many things, dialogues, jobs that are pulled by equal messages,
redirects, broken connections. What makes runs up imports nothing of Regrow.

The figures are those of the shapes and seeds that were put aside when they were written, and on which nothing was
tuned; what the others come to is on the screen, and so is what can not be told apart by what is the same: texts in
ever other words, agents that count their turns, and many requests that are decided on by id. `--data FILE` judges
runs from outside in place of these; benchmarks/guard_events.py describes their form.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import guard_retries
from figures import GUARDS
from guard_events import NoTrace, Of, Run, read_runs, written
from guard_judge import tally
from guard_lists import HARD, HELD_OUT, SEEN, Shapes
from guard_shapes import Writer
from measure import LIMIT_S, Options, Result, Screen, ends_within, finish, median, percentile, quiet, rounded, versions

RUNS = 200
RUNS_QUICK = 50
SEED = 39
SEED_HELD_OUT = 9_039


def loops(shapes: Shapes, number: int, seed: int) -> list[Run]:
    """So many runaways, and as many runs of work."""

    def make(run: Run, shape: Any, rng: random.Random) -> None:
        writer = Writer(rng)
        run.begins = shape(writer)
        run.events = writer.events

    return _made("loop", shapes, number, seed, make)


def retries(shapes: Sequence[tuple[guard_retries.WireShape, bool]], number: int, seed: int) -> list[Run]:
    """So many runs with retries in hiding, and as many without."""

    def make(run: Run, shape: Any, rng: random.Random) -> None:
        wire = guard_retries.Wire(rng)
        run.begins = shape(wire)
        run.events = wire.events

    return _made("retry", shapes, number, seed, make)


def _made(
    of: Of, shapes: Sequence[tuple[Any, bool]], number: int, seed: int, make: Callable[[Run, Any, random.Random], None]
) -> list[Run]:
    runs: list[Run] = []
    for runaway in (True, False):
        fitting = [shape for shape, is_runaway in shapes if is_runaway is runaway]
        for at in range(number):
            shape = fitting[at % len(fitting)]
            run = Run(f"{of}-{seed}-{runaway:d}-{at}", of=of, runaway=runaway, shape=shape.__name__)
            make(run, shape, random.Random(f"{seed} {of} {runaway} {at}"))
            runs.append(run)
    return runs


def told(runs: Sequence[Run], screen: Screen, title: str) -> dict[str, Any]:
    """The figures of these runs, which the screen tells as well."""
    found = tally(runs)
    spent = found["spent"] or [0]
    screen.say(
        f"{title}: {found['runaways']} runaways, recall {found['recall']:.3f}; {found['benign']} runs of work, "
        f"false alarms {found['false_alarms']:.3f}; spent before the stop: median {median(spent):.0f}, "
        f"at most {max(spent)}"
    )
    for name, shapes in (("  missed", found["missed"]), ("  stopped wrongly", found["wrong"])):
        if shapes:
            counts = {shape: shapes.count(shape) for shape in sorted(set(shapes))}
            screen.say(f"{name}: " + ", ".join(f"{shape or 'a run'} {count}" for shape, count in counts.items()))
    return found


def measured(screen: Screen, number: int, data: Path | None) -> Result:
    """The figures of the runs that are held out, or of those in the file."""
    if data is not None:
        runs = read_runs(data)
        loop, retry = ([run for run in runs if run.of == of] for of in ("loop", "retry"))
    else:
        told(loops(SEEN, number, SEED), screen, "loops, shapes that were tuned on")
        told(retries(guard_retries.SEEN, number, SEED), screen, "retries, shapes that were tuned on")
        told(loops(HARD, number, SEED_HELD_OUT), screen, "loops that can not be told apart by what is the same")
        loop = loops(HELD_OUT, number, SEED_HELD_OUT)
        retry = retries(guard_retries.HELD_OUT, number, SEED_HELD_OUT)
    of_loops = told(loop, screen, "loops")
    of_retries = told(retry, screen, "retries")
    result: Result = {}
    for name, found in (("loop", of_loops), ("retry", of_retries)):
        result[f"{name}_recall"] = rounded(found["recall"]) if found["runaways"] else None
        result[f"{name}_false_alarms"] = rounded(found["false_alarms"]) if found["benign"] else None
        spent = found["spent"]
        result[f"{name}_spent_p50"] = rounded(percentile(spent, 50)) if spent else None
        result[f"{name}_spent_p99"] = rounded(percentile(spent, 99)) if spent else None
    return result


def main() -> None:
    """Judges the runs, and prints what came of it and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer runs, which show that it works; not for citing")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    parser.add_argument("--data", type=Path, help="judge the runs in this file of JSON lines in place of those made up")
    parser.add_argument("--write", type=Path, help="write the runs that are held out to this file, and judge nothing")
    given = parser.parse_args()
    quiet()
    options = Options(quick=given.quick, json=given.json)
    screen = Screen(options)
    number = RUNS_QUICK if options.quick else RUNS
    if given.write is not None:
        held = loops(HELD_OUT, number, SEED_HELD_OUT)
        held += retries(guard_retries.HELD_OUT, number, SEED_HELD_OUT)
        given.write.write_text(written(held), encoding="utf-8")
        return
    try:
        with ends_within(LIMIT_S):
            result = measured(screen, number, given.data)
    except NoTrace as error:
        sys.exit(str(error))
    screen.figures("Guards", GUARDS, result)
    found = versions("regrow")
    finish({figure.key: result.get(figure.key) for figure in GUARDS} | {"versions": found, "quick": options.quick})


if __name__ == "__main__":
    main()
