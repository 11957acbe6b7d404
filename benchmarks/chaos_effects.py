"""What the agents do outside: lines in a file, written by something that honours keys and fences, as a bank would.

The file itself is all that it remembers, so there is no moment at which a line is there and not known. Hosts import
this module.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

from history import Effect, append_line

from regrow.actors import Step

EFFECTS = "CHAOS_EFFECTS"
LOCKS = "CHAOS_FOLDER"
"""Environment variables: the file of effects, and the folder in which the locks lie, one for each agent."""

_LINE = re.compile(rb'"agent": "([^"]*)".*?"key": "([^"]*)", "epoch": (\d+)')


class Fenced(Exception):
    """A later life of the agent has been here."""


class EffectsFile:
    """The effects, as one process knows them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._keys: set[bytes] = set()
        self._epochs: defaultdict[bytes, int] = defaultdict(int)
        self._reading = threading.Lock()

    def add(self, effect: Effect, lock: Path) -> bool:
        """Adds a line, unless its key has one. Raises Fenced where a later life of the agent has added one before.

        `lock` is the agent's, so that nobody comes in between; it goes with the process that has it.
        """
        with lock.open("a") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            self._look()
            if effect.key.encode() in self._keys:
                return False
            if effect.epoch < self._epochs[effect.agent.encode()]:
                raise Fenced(f"{effect.agent} in epoch {effect.epoch} comes behind a later one")
            append_line(self._path, effect.line())
            return True

    def _look(self) -> None:
        """Reads what has come since the last time, up to the last whole line."""
        with self._reading, self._path.open("rb") as opened:
            opened.seek(self._read_bytes)
            whole, newline, _ = opened.read().rpartition(b"\n")
            self._read_bytes += len(whole) + len(newline)
            for agent, key, epoch in _LINE.findall(whole):
                self._keys.add(key)
                self._epochs[agent] = max(self._epochs[agent], int(epoch))


@lru_cache(1)
def _opened(path: str) -> EffectsFile:
    return EffectsFile(Path(path))


def effect(name: str, agent: str, command: str, source: str, number: int, step: Step) -> None:
    """The function of a step: done once for its key."""
    line = Effect(
        effect=name, agent=agent, command=command, key=step.key, epoch=step.epoch, source=source, number=number
    )
    lock = Path(os.environ[LOCKS]) / f"{agent.replace('/', '.')}.lock"
    _opened(os.environ[EFFECTS]).add(line, lock)
