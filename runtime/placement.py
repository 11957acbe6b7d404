"""Where an actor is to run: alone in a process of its own, or packed with others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dedicated:
    """One agent for each host process, so that it can crash, block or be killed alone."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Many agents in a pool of `hosts` processes, since agents mostly wait."""

    pool: str
    hosts: int = 1


Placement = Dedicated | Packed
