"""The long differential run: `make oracle`, or `python -m tests.oracle.run --traces N --seed S --json`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from tests.oracle.compare import Comparer, Rule
from tests.oracle.generate import traces
from tests.oracle.otp import REPEATS_LIMIT, Otp
from tests.oracle.ours import run_ours
from tests.oracle.trace import Trace

DEFAULT_TRACES = 10_000
SERIES = 100
"""So many traces share one seed of hypothesis."""

LARGE_AND_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
PLAIN = settings(database=None, deadline=None, report_multiple_bugs=False, suppress_health_check=LARGE_AND_SLOW)


class Differs(Exception):
    """Tells hypothesis that a trace is worth making smaller."""


@dataclass(slots=True)
class Figures:
    """What a run has to show."""

    otp: str
    traces: int = 0
    events: int = 0
    effective: int = 0
    """Events that started or ended something, or were answered."""
    differences: list[str] = field(default_factory=list[str])
    rules: Counter[Rule] = field(default_factory=Counter[Rule])
    took_s: float = 0.0

    def as_json(self) -> str:
        """One line for machines."""
        return json.dumps(
            {
                "otp": self.otp,
                "traces": self.traces,
                "events": self.events,
                "events_effective": self.effective,
                "differences": len(self.differences),
                "rules": {rule.name.lower(): self.rules[rule] for rule in Rule},
                "took_s": round(self.took_s, 1),
            }
        )

    def __str__(self) -> str:
        rules = ", ".join(f"{rule.name.lower()} {self.rules[rule]}" for rule in Rule)
        return (
            f"OTP {self.otp}: {self.traces} traces, {self.events} events ({self.effective} with an effect), "
            f"{len(self.differences)} differences; deviations used: {rules}; {self.took_s:.0f} s"
        )


def compare_many(otp: Otp, count: int, *, seed_number: int = 0, keep: int = 1) -> Figures:
    """Compares `count` random traces. Stops after `keep` differences; one seed gives one series."""
    figures = Figures(otp.version)
    began = time.monotonic()
    # Hypothesis makes new examples out of earlier ones, so that one long series would stay in one corner.
    for number in range(seed_number * count, (seed_number + 1) * count):
        left = count - figures.traces
        if left <= 0 or len(figures.differences) >= keep:
            break
        _compare_series(otp, min(left, SERIES), number, keep, figures)
    figures.took_s = time.monotonic() - began
    return figures


def _compare_series(otp: Otp, count: int, number: int, keep: int, figures: Figures) -> None:
    @seed(number)
    @settings(PLAIN, max_examples=count, phases=[Phase.generate])
    @given(traces())
    def each(trace: Trace) -> None:
        if len(figures.differences) < keep:
            compare_one(otp, trace, figures)

    each()


def smallest_difference(otp: Otp, count: int, *, number: int = 0) -> tuple[str, Trace] | None:
    """The first difference among `count` traces of one series, made as small as hypothesis can."""
    found: list[tuple[str, Trace]] = []

    @seed(number)
    @settings(PLAIN, max_examples=count, phases=[Phase.generate, Phase.shrink], verbosity=Verbosity.quiet)
    @given(traces())
    def each(trace: Trace) -> None:
        difference = compare_one(otp, trace, Figures(otp.version))
        if difference is not None:
            found.append((difference, trace))
            raise Differs

    try:
        each()
    except Differs:
        return found[-1]
    return None


class Outcome(NamedTuple):
    """What came of one comparison."""

    difference: str | None
    rules: Counter[Rule]
    effective: int
    """Events that started or ended something, or were answered."""


def compare(otp: Otp, trace: Trace) -> Outcome:
    """Runs a trace on both sides.

    Limits that run out are in real time on OTP's side, so a difference is believed of a run without a stall.
    """
    ours = run_ours(trace)
    effective = sum(bool(step.log or step.answers) for step in ours[1:-1])
    repeats = 0
    while True:
        comparer = Comparer()
        found = comparer.difference(otp.run(trace), ours)
        repeats += 1
        if found is None or not otp.stalled or repeats == REPEATS_LIMIT:
            return Outcome(found, comparer.used, effective)


def compare_one(otp: Otp, trace: Trace, figures: Figures) -> str | None:
    """Compares one trace and adds it to the figures; gives the difference."""
    outcome = compare(otp, trace)
    figures.traces += 1
    figures.events += len(trace.events)
    figures.effective += outcome.effective
    figures.rules += outcome.rules
    if outcome.difference is not None:
        figures.differences.append(f"{outcome.difference}\nin {trace!r}")
    return outcome.difference


def main(arguments: list[str] | None = None) -> int:
    """Returns 0 when nothing differs."""
    parser = argparse.ArgumentParser(prog="tests.oracle.run", description=__doc__)
    parser.add_argument("--traces", type=int, default=DEFAULT_TRACES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=int, default=1, help="stop after so many differences")
    parser.add_argument("--shrink", action="store_true", help="make the first difference as small as possible")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    with Otp() as otp:
        if chosen.shrink:
            return _show_smallest(otp, chosen.traces, chosen.seed)
        figures = compare_many(otp, chosen.traces, seed_number=chosen.seed, keep=chosen.keep)
    for difference in figures.differences:
        print(difference, file=sys.stderr)
    print(figures.as_json() if chosen.json else figures)
    return 1 if figures.differences else 0


def _show_smallest(otp: Otp, count: int, seed_number: int) -> int:
    first = seed_number * count
    for number in range(first, first + -(-count // SERIES)):
        found = smallest_difference(otp, SERIES, number=number)
        if found is not None:
            print(f"{found[0]}\nin {found[1]!r}")
            return 1
    print("no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
