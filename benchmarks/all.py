"""Runs every benchmark, each in a process of its own, and writes docs/BENCHMARKS.md.

With --quick the page goes to the screen instead, unless --out names a file: figures of a quick run
should not replace real ones.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from figures import SCRIPTS, Figure
from measure import LIMIT_QUICK_S, LIMIT_S, finish, machine, today, versions

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "BENCHMARKS.md"
GRACE_S = 30
"""A script ends itself at its limit; this long after it, it is killed."""
QUIET_LOAD = 0.5
"""A load average above this share of the cores before the start makes figures doubtful."""

RULES = """\
## Rules for peers

A claim is a ratio measured side by side in one run, by a script that starts the peer itself. Absolute figures only size
things: they belong to the machine and the hour. Both sides carry the same payload (about 200 bytes) and make and
validate it as the same pydantic model; both get the same warm-up, and each its own best in-flight window, found by a
short sweep from 50 to 2,000. Rounds alternate, the peer first, five of each, and medians count. The peer is set up as
it does best: plain Ray both with awaited calls and with `ray.get` on batches, bytes that pydantic wrote instead of
pickled models, in the very Ray session that Regrow started; xoscar with a stateless actor and the same bytes.
AutoGen-core and xoscar live in venvs of their own below the cache folder, with the same pydantic. Ours counts when a
typed handler has returned, with telemetry as installed, and the handler checks the order by sequence numbers: a run
with one message lost, doubled or out of turn fails.
"""

CHAOS = """\
## chaos

`make chaos` is no measurement and a proof: [`benchmarks/chaos.py`](../benchmarks/chaos.py) harms durable agents on a
real Ray and a real Redis, and fails unless nothing that was acknowledged is lost, doubled, out of order or done by a
fenced life, nothing is left behind, and in quarantine is what was planted as poison. Clients write down what they
send and what comes back, effects are lines in a file outside Redis, and
[`benchmarks/history_checker.py`](../benchmarks/history_checker.py), which knows nothing of either, judges the two
files. A proxy before Redis knows the journal's scripts and cuts, kills or stops at the very one: enqueued and not
acknowledged, a step done and not recorded, a commit applied and its reply cut, committed and not relayed, revoked and
not claimed, stopped in a commit; each at least five times in a run. Beside these it kills agents, the supervisor, the
guardian (the keeper is the same process) and Redis, stops hosts and Redis past the lease, fills Redis,
and plants poison. Duplicate and late frames are those of the journal: a script that arrives twice, and one of a dead
process that arrives when another one has its agent; frames between hosts that do so are in the simulations. A clock
jumps in the process that it is of: what Python tells as its wall clock is moved by up to a day, and stays so in the
hosts that start afterwards. The last line of each run has its figures as JSON.

The same deck is played in other surroundings, each of which adds what only it has. With `--nodes 2` Ray has two
raylets, with hosts on both: one is killed with all that runs below it; one is stopped like a node that is cut off,
until Ray has found it dead and its agents are served on the other, and then woken, so that all it had begun comes late;
and one has its raylet alone stopped, so that Ray finds it dead while its hosts live on and reach Redis.
With `--cluster` Redis is a cluster of three masters, each behind a proxy, of which one at a time is killed, filled or
stopped past the lease; the slot of an agent, or of all leases, moves to another master while a commit or renewal in it
is on its way. All of it is on one machine, and the node with the driver and the guardian stays.

A long run is `make chaos ARGS="--seconds 3000 --rest 3 --acked 50000 --faults 1000"`, as each night: an agent serves
for three seconds between its faults, or there would be many faults and few commands, and the run fails unless it has
had 1,000 faults and 50,000 acknowledged commands. It needs the machine for itself: where other work takes the two
cores, the same time has seen less than half of the commands and two thirds of the faults.
"""
RUNS = "### Runs of chaos"
"""Above what is told of single runs, which stays in the page: whoever has made such a run writes it there."""


class BenchmarkFailed(Exception):
    """A script ended without its JSON line, or with figures missing in it."""


def run(script: str, *, quick: bool, silent: bool) -> dict[str, Any]:
    """What a script measured; its tables pass through to the screen. Raises BenchmarkFailed.

    Only figures of peers may be null, where there is no network to install those from.
    """
    command = [sys.executable, str(HERE / f"{script}.py"), *(["--quick"] if quick else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    timer = threading.Timer((LIMIT_QUICK_S if quick else LIMIT_S) + GRACE_S, process.kill)
    timer.start()
    last = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            last = line if line.strip() else last
            if not silent:
                print(line, end="", flush=True)
    finally:
        timer.cancel()
        process.wait()
    try:
        measured: dict[str, Any] = json.loads(last)
    except ValueError:
        raise BenchmarkFailed(f"benchmarks/{script}.py ended with {process.returncode} and no result") from None
    missing = [
        figure.key
        for figure in SCRIPTS[script]
        if not isinstance(measured.get(figure.key), int | float) and not (figure.of_peer and figure.key in measured)
    ]
    if process.returncode != 0 or missing:
        raise BenchmarkFailed(f"benchmarks/{script}.py ended with {process.returncode} and without {missing}")
    return measured


def page(results: Mapping[str, Mapping[str, Any]], *, load: float, quick: bool) -> str:
    """docs/BENCHMARKS.md."""
    found = versions("regrow", "ray", "pydantic", "msgpack")
    for result in results.values():
        found |= result.get("versions", {})
    quickly = " **This was a quick run, which shows that the scripts work and nothing else.**" if quick else ""
    listed = ", ".join(f"{name} {version}" for name, version in sorted(found.items()))
    intro = (
        "Written by `make bench`; do not edit by hand. Each table comes from the script below its heading, "
        f"whose last line is the same as JSON.{quickly}"
    )
    circumstances = (
        f"- date: {today()}\n- machine: {machine()}; load average before the run {load:.2f}\n- versions: {listed}"
    )
    sections = [section(script, SCRIPTS[script], result) for script, result in results.items()]
    parts = ["# Benchmarks", intro, circumstances, *sections, CHAOS, runs_in(PAGE.read_text(encoding="utf-8")), RULES]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def runs_in(written: str) -> str:
    """What a page tells of runs of chaos."""
    _, heading, told = written.partition(f"\n{RUNS}\n")
    return heading + told.partition("\n## ")[0]


def section(script: str, figures: tuple[Figure, ...], result: Mapping[str, Any]) -> str:
    """One script: how it measures, and its figures beside their goals."""
    docstring = ast.get_docstring(ast.parse((HERE / f"{script}.py").read_text(encoding="utf-8"))) or ""
    title, _, how = docstring.partition("\n\n")
    rows = [
        f"| `{figure.key}` | {figure.says} | {figure.text(result.get(figure.key))} | {figure.goal()} "
        f"| {figure.reached(result.get(figure.key))} |"
        for figure in figures
    ]
    table = "\n".join(["| key | figure | value | goal | reached |", "|---|---|---:|---:|---|", *rows])
    return f"## {script}\n\n[`benchmarks/{script}.py`](../benchmarks/{script}.py) — {title}\n\n{how}\n\n{table}"


def missed_goals(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each figure that lies on the wrong side of its goal."""
    return [
        f"  {script}: {figure.key} is {figure.text(value)}, the goal {figure.goal()}"
        for script, result in results.items()
        for figure in SCRIPTS[script]
        if figure.is_missed(value := result.get(figure.key))
    ]


def main() -> None:
    """Runs the scripts and writes the page; exit code 1 when one failed or, in a full run, a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short runs that show that all works; not for citing")
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON line")
    parser.add_argument("--out", type=Path, help="write the page to this file instead of docs/BENCHMARKS.md")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    if load > QUIET_LOAD * len(os.sched_getaffinity(0)):
        print(f"this machine is busy (load average {load:.1f}), which makes the figures doubtful", file=sys.stderr)
    results: dict[str, dict[str, Any]] = {}
    failed: list[str] = []
    for script in SCRIPTS:
        try:
            results[script] = run(script, quick=given.quick, silent=given.json)
        except BenchmarkFailed as error:
            failed.append(str(error))
    text = page(results, load=load, quick=given.quick)
    out: Path | None = given.out or (None if given.quick else PAGE)
    if failed:
        print("\n".join([*failed, "so no page is written"]), file=sys.stderr)
    elif out is not None:
        out.write_text(text, encoding="utf-8")
    elif not given.json:
        print(text)
    missed = [] if given.quick else missed_goals(results)
    if missed:
        print("\n".join(["goals that were missed:", *missed]), file=sys.stderr)
    finish(results)
    sys.exit(1 if failed or missed else 0)


if __name__ == "__main__":
    main()
