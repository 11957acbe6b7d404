"""Runs as lines of JSON: the form in which guards are measured, and in which others may bring theirs.

Each line is one object and belongs to a `run`. The lines of one run stand in the order in which things happened; `at`
is in seconds and only grows.

    {"run": "1", "kind": "label", "of": "loop", "runaway": true, "from": 4}
    {"run": "1", "kind": "turn", "id": "t2", "cause": "t1", "agent": "desk/a", "type": "Note", "message": {…},
     "state": {…}, "at": 1.5}
    {"run": "1", "kind": "call", "agent": "desk/a", "tool": "search", "arguments": {…}, "outcome": …, "at": 2.0,
     "took": 0.3, "batch": "b1", "state": {…}}
    {"run": "2", "kind": "label", "of": "retry", "runaway": false}
    {"run": "2", "kind": "request", "id": "c1", "to": "api.example", "declared": 1, "at": 0.0}
    {"run": "2", "kind": "attempt", "request": "c1", "to": "api.example", "body": "…", "status": 429, "at": 0.1,
     "took": 0.2}

`label` says what a run is: a runaway that loops or repeats in hiding, or work that must not be stopped; `from` is the
number of its first line that need not have been, counted from 0 without labels. A `turn` is an agent that handles a
message and sends something on; `cause` is the turn that has sent it, null for one from outside. `took`, `batch` (calls
that were decided on together) and `state` (of the agent, before what it did) may be missing. An `attempt` is what went
over the wire, with an empty `request` where nobody knows for which; a status of 0 is one that was cut off.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Of = Literal["loop", "retry"]
Event = dict[str, Any]

FIELDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "label": {"of": str, "runaway": bool},
    "turn": {"id": str, "agent": str, "type": str, "at": (int, float)},
    "call": {"agent": str, "tool": str, "at": (int, float)},
    "request": {"id": str, "to": str, "declared": int, "at": (int, float)},
    "attempt": {"request": str, "to": str, "body": str, "status": int, "at": (int, float)},
}
"""What a line of each kind must have."""


class NoTrace(Exception):
    """A file is none of this form; the text says where and why."""


@dataclass(slots=True)
class Run:
    """One run: what it is, and what has happened in it."""

    id: str
    of: Of = "loop"
    runaway: bool = False
    begins: int = 0
    shape: str = ""
    events: list[Event] = field(default_factory=list)


def read_runs(path: Path) -> list[Run]:
    """The runs of a file. Raises NoTrace for a line that is none, and for a run without a label."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NoTrace(f"{path} can not be read ({error}); give a file of JSON lines with --data") from error
    runs: dict[str, Run] = {}
    labelled: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            _take(_checked(f"{path}:{number}", line), runs, labelled)
    if missing := sorted(runs.keys() - labelled):
        raise NoTrace(f"{path}: run {missing[0]!r} has no line of kind label, which says whether it is a runaway")
    if not runs:
        raise NoTrace(f"{path} holds no run; the form is described in benchmarks/guard_events.py")
    return list(runs.values())


def _checked(where: str, line: str) -> Event:
    try:
        event: object = json.loads(line)
    except ValueError as error:
        raise NoTrace(f"{where} is no JSON ({error})") from error
    kind = event.get("kind") if isinstance(event, dict) else None
    if not isinstance(event, dict) or kind not in FIELDS or not isinstance(event.get("run"), str):
        raise NoTrace(f"{where} is {line[:80]!r}; give an object with a run and a kind of {', '.join(FIELDS)}")
    for name, types in FIELDS[str(kind)].items():
        if not isinstance(event.get(name), types):
            raise NoTrace(f"{where}: a {kind} needs {name!r}, and it is {event.get(name)!r}")
    if kind == "label" and event["of"] not in ("loop", "retry"):
        raise NoTrace(f'{where}: "of" is {event["of"]!r}; give "loop" or "retry"')
    return event


def _take(event: Event, runs: dict[str, Run], labelled: set[str]) -> None:
    run = runs.setdefault(event["run"], Run(event["run"]))
    if event["kind"] == "label":
        labelled.add(run.id)
        run.of, run.runaway, run.begins = event["of"], event["runaway"], int(event.get("from", 0))
    else:
        run.events.append(event)


def written(runs: Iterable[Run]) -> str:
    """The same as a file."""
    lines: list[str] = []
    for run in runs:
        label = {"run": run.id, "kind": "label", "of": run.of, "runaway": run.runaway, "from": run.begins}
        lines += [json.dumps(each) for each in (label, *({**event, "run": run.id} for event in run.events))]
    return "\n".join(lines) + "\n"
