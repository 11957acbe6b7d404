"""What a chaos run has left behind: processes in its folder, and keys in Redis that nobody would ever read."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from redis import Redis
from redis.cluster import RedisCluster

STAYS = frozenset({"row", "mark", "past", "tombstones", "epochs", "water", "quarantine"})
"""Keys that an app keeps when all is done: states, results, history, and what hosts were."""


def processes_in(folder: Path, proc: Path = Path("/proc")) -> list[str]:
    """The processes that work below a folder, by what the process list says."""
    found: list[str] = []
    for entry in proc.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _works_in(entry, folder):
            found.append(f"process {entry.name} {title_of(entry)}")
    return found


def keys_left(redis: Redis | RedisCluster, app: str, *, set_aside: set[str]) -> list[str]:
    """Keys of an app that should be gone, by what they are; `set_aside` are the commands in quarantine."""
    found: Counter[str] = Counter()
    for key in redis.scan_iter(match=f"regrow:{app}:*", count=1_000):
        kind, _, whose = key.decode().partition("}:")[2].partition(":")
        command = whose.partition("\0")[2]
        if kind in STAYS or (kind == "steps" and command in set_aside):
            continue
        if kind == "notes" and set_aside.issuperset(map(_text, redis.hkeys(key))):
            continue
        if kind == "outbox" and not redis.xlen(key):
            continue  # a stream stays when its last row is gone
        found[f"key {kind} of {whose.partition(chr(0))[0] or key.decode()}"] += 1
    return [f"{count} × {name}" for name, count in found.items()]


def unrelayed(redis: Redis | RedisCluster, app: str) -> int:
    """How many messages between agents are committed, and not taken out of the outbox."""
    outboxes = redis.scan_iter(match=f"regrow:{app}:*}}:outbox*", count=1_000, _type="stream")
    return sum(redis.xlen(key) for key in outboxes)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _works_in(entry: Path, folder: Path) -> bool:
    try:
        if (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
            return False
        links = [entry / "cwd", *(entry / "fd").iterdir()]
    except OSError:
        return False  # it ended while it was looked at, or is somebody else's
    return any(_leads_into(link, folder) for link in links)


def _leads_into(link: Path, folder: Path) -> bool:
    try:
        return link.readlink().is_relative_to(folder)
    except OSError:
        return False  # this one was closed meanwhile, which says nothing of the others


def title_of(entry: Path) -> str:
    """What the entry of a process in the process list calls it."""
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:100]
    except OSError:
        return ""
