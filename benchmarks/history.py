"""What clients and effects write down of a run, so that a judge need not trust the program that ran.

A history has one line of JSON for each thing that a client did or saw: it *invokes* a command, gets an *ok* with what
came back, or an *info* that says why it does not know. At its end stand lines of what was *found*: the last state of
each agent, the commands in quarantine, and what was left behind. The effects are in a file of their own, one line for
each thing that was done outside, appended by whoever did it. Nothing here knows the runtime.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TextIO, TypeVar


class EventType(StrEnum):
    """What a line of a history says."""

    INVOKE = "invoke"
    """A client sends a command, for the first time or again under the same name."""
    OK = "ok"
    """What came back."""
    INFO = "info"
    """Nothing came back, and the text says why: it may have been done or not."""
    FAULT = "fault"
    """Harm was done to the system: its `kind`, and in the text which window it hit."""
    STATE = "state"
    """Found at the end: what one agent has committed."""
    QUARANTINED = "quarantined"
    """Found at the end: one command that was set aside."""
    ORPHAN = "orphan"
    """Found at the end: something that was left behind."""


class HistoryUnreadable(Exception):
    """A line of a history or of effects that is none; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a history.

    A command is named by who sends it: `command` is the same in each try of it. `number` grows by one with each
    command of a `process` for one `agent`, in the order in which they are sent. `time` is in seconds on one clock.
    `effects` are the names of what the command is to do outside, each once. A command that is planted `poison` is to
    be set aside, and to do nothing.

    With an ok of an ask come `position`, which the command took among all that its agent has committed, from 1 on, and
    the `epoch` of the life that committed it; a `state` line has the last position. `id` is the system's own name for a
    command, under which it tells of those in quarantine.
    """

    type: EventType
    time: float = 0.0
    process: str = ""
    agent: str = ""
    command: str = ""
    id: str = ""
    number: int = 0
    kind: str = ""
    effects: tuple[str, ...] = ()
    poison: bool = False
    position: int | None = None
    epoch: int | None = None
    text: str = ""

    def line(self) -> str:
        """The line, without what says nothing."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        return json.dumps({each.name: said[each.name] for each in fields(self) if said[each.name] != each.default})

    @classmethod
    def read(cls, line: str) -> Self:
        """What `line` gave. Raises ValueError."""
        given = _object(line, cls)
        given["type"] = EventType(given.get("type", ""))
        given["effects"] = tuple(given.get("effects", ()))
        return cls(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One thing that was done outside: by `agent`, for a command, in the life that holds `epoch`.

    `source` is who sent the message that did it, and `number` its place among what was sent from there to this agent.
    """

    effect: str
    agent: str
    command: str
    key: str
    epoch: int
    source: str
    number: int

    def line(self) -> str:
        """The line."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> Self:
        """What `line` gave. Raises ValueError."""
        given = _object(line, cls)
        missing = {each.name for each in fields(cls)} - given.keys()
        if missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        return cls(**given)


Line = TypeVar("Line", Event, Effect)


@dataclass(slots=True)
class Recorder:
    """Writes a history, each line before what it tells of goes on; keeps the events as well."""

    file: TextIO | None = None
    events: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """One more line."""
        self.events.append(event)
        if self.file is not None:
            self.file.write(event.line() + "\n")
            self.file.flush()


def read_events(path: Path) -> list[Event]:
    """A history. Raises HistoryUnreadable, OSError."""
    return [_parsed(Event, path, number, line) for number, line in _lines(path)]


def read_effects(path: Path) -> list[Effect]:
    """The effects, in the order in which they were done; none where there is no such file. Raises HistoryUnreadable."""
    return [_parsed(Effect, path, number, line) for number, line in _lines(path)] if path.exists() else []


def append_line(path: Path, line: str) -> None:
    """Appends a line in one write, and returns when the disk has it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_lines(path: Path, lines: Iterable[Event | Effect]) -> None:
    """Writes a whole file."""
    path.write_text("".join(f"{each.line()}\n" for each in lines), encoding="utf-8")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open(encoding="utf-8") as opened:
        yield from ((number, line) for number, line in enumerate(opened, start=1) if line.strip())


def _parsed(cls: type[Line], path: Path, number: int, line: str) -> Line:
    try:
        return cls.read(line)
    except (ValueError, TypeError) as error:
        raise HistoryUnreadable(
            f"{path.name}, line {number}: {line.strip()[:200]!r} is no {cls.__name__.lower()} line "
            f"({error}); the file is damaged or of something else"
        ) from error


def _object(line: str, cls: type) -> dict[str, Any]:
    given = json.loads(line)
    if not isinstance(given, Mapping):
        raise ValueError("it is no object")
    unknown = given.keys() - {each.name for each in fields(cls)}
    if unknown:
        raise ValueError(f"it has {', '.join(sorted(map(str, unknown)))}, which nobody writes")
    return dict(given)
