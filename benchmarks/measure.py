"""How the benchmarks measure: options, alternated rounds, sweeps, medians, versions, tables, the JSON line."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import signal
import statistics
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import structlog
from figures import Figure, shown
from rich.console import Console
from rich.table import Table

LIMIT_S = 600
LIMIT_QUICK_S = 90
"""A benchmark that takes longer ends itself, in order."""

SHOWN_ROUNDS = 6

Result = dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line said."""

    quick: bool
    json: bool

    @property
    def rounds(self) -> int:
        """Alternated rounds of every comparison."""
        return 2 if self.quick else 5

    @property
    def side_s(self) -> float:
        """About how long one side of one round runs."""
        return 0.1 if self.quick else 1.0

    @property
    def windows(self) -> tuple[int, ...]:
        """The in-flight windows that a sweep tries."""
        return (50, 200) if self.quick else (50, 100, 200, 500, 1_000, 2_000)


class Screen:
    """What people read; with --json nothing of it is printed."""

    def __init__(self, options: Options) -> None:
        width = None if sys.stdout.isatty() else 120
        self._console = Console(quiet=options.json, highlight=False, width=width)

    def say(self, text: str) -> None:
        """Prints a line."""
        self._console.print(text, markup=False)

    def rates(self, title: str, sides: Mapping[str, Sequence[float]], unit: str) -> None:
        """Prints the rounds of a comparison, one line a side."""
        table = Table(title=title, title_justify="left")
        table.add_column("side")
        table.add_column(f"median {unit}", justify="right")
        table.add_column("rounds", justify="right")
        for name, values in sides.items():
            each = "  ".join(shown(value) for value in values)
            span = f"{shown(min(values))} to {shown(max(values))}, {len(values)} rounds"
            table.add_row(name, shown(median(values)), each if len(values) <= SHOWN_ROUNDS else span)
        self._console.print(table)

    def figures(self, title: str, figures: Sequence[Figure], result: Result) -> None:
        """Prints the figures of a script beside their goals."""
        table = Table(title=title, title_justify="left")
        for heading in ("figure", "value", "goal", "reached"):
            table.add_column(heading, justify="left" if heading == "figure" else "right")
        for figure in figures:
            value = result.get(figure.key)
            table.add_row(figure.says, figure.text(value), figure.goal(), figure.reached(value).strip("*"))
        self._console.print(table)


def options_of(description: str | None) -> Options:
    """Reads the command line of a script."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short run that shows that it works; not for citing")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    given = parser.parse_args()
    quiet()
    return Options(quick=given.quick, json=given.json)


def quiet() -> None:
    """Makes this process fit for measuring: a Ray of its own, and no log line between the tables."""
    os.environ.pop("RAY_ADDRESS", None)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def finish(result: Mapping[str, object]) -> None:
    """Prints the JSON object, the last line of every script."""
    sys.stderr.flush()
    print(json.dumps(result), flush=True)


@contextmanager
def ends_within(limit_s: float) -> Iterator[None]:
    """Interrupts this process when the time is over, as Ctrl-C does, so that it ends in order."""
    # To the main thread itself: a signal that another thread takes would not end a blocking read.
    main_thread = threading.main_thread().ident or 0
    timer = threading.Timer(limit_s, signal.pthread_kill, (main_thread, signal.SIGINT))
    timer.daemon = True
    timer.start()
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(f"interrupted, or not done within {limit_s:g} s") from None
    finally:
        timer.cancel()


def limit_s(options: Options) -> float:
    """How long a script may take."""
    return LIMIT_QUICK_S if options.quick else LIMIT_S


async def alternated(rounds: int, sides: Mapping[str, Callable[[], Awaitable[float]]]) -> dict[str, list[float]]:
    """Measures each side once a round, in the order given, peers first; so a slow moment hits all of them."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            values[name].append(await side())
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best way that a sweep found, and the rate it gave."""

    way: str
    window: int
    rate: float

    def count(self, seconds: float) -> int:
        """How many messages keep this way busy for that long, at least two windows full."""
        return max(int(self.rate * seconds), 2 * self.window)


async def swept(
    ways: Mapping[str, Callable[[int, int], Awaitable[float]]], windows: Sequence[int], seconds: float
) -> Best:
    """Tries each way, called with count and window, at each window; a first trial of each way only warms up."""
    best = Best(way="", window=0, rate=0.0)
    for way, run in ways.items():
        rate = await run(2 * windows[0], windows[0])
        for window in windows:
            rate = await run(max(int(rate * seconds), window), window)
            if rate > best.rate:
                best = Best(way=way, window=window, rate=rate)
    return best


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: a value that was measured, never one in between."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)]


def ratio(one: float | None, other: float | None) -> float | None:
    """One by the other, with four digits; None where a side is missing."""
    return None if one is None or other is None else float(f"{one / other:.4g}")


def ratio_by_rounds(rounds: Mapping[str, Sequence[float]]) -> float | None:
    """The first side by the second, as the median of all rounds: a slow moment of the machine hits both of one."""
    first, second = rounds.values()
    return rounded(median([one / other for one, other in zip(first, second, strict=True)]))


def rounded(value: float | None) -> float | None:
    """Four digits, which is more than the rounds agree on."""
    return None if value is None else float(f"{value:.4g}")


def versions(*packages: str) -> dict[str, str]:
    """What is installed here, Python included."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Cores, memory and system in one line."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores ({_processor()}), {pages / 2**30:.0f} GiB memory, {platform.system()}"


def today() -> str:
    """The date, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
