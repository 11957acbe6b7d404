"""The lock file of MCP servers: the tools that a person has consented to, whole and by their hash.

It stands beside the code and is read by people: a change of it shows in a review what a server says now. What a model
is told of a tool comes from here, and never from the server.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from regrow.actors.mcp_errors import InvalidLock

LOCK_NAME = "mcp.lock"
VERSION = 1
MAX_LOCK_BYTES = 16_777_216
MAX_TOOL_BYTES = 65_536
"""What one tool says of itself as JSON; a model reads it at each of its turns."""
MAX_SERVER_TOOLS = 256
"""Of one server so many tools are looked at; more are refused as a whole."""
MAX_PLACES = 5
"""So many places at which a tool has changed are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What a server says of one tool: all that a model reads of it, and by which calls are checked."""

    name: str
    description: str
    schema: Mapping[str, Any]
    output: Mapping[str, Any] | None = None

    @property
    def hash(self) -> str:
        """Stands for all of it."""
        written = json.dumps([self.name, self.description, self.schema, self.output], sort_keys=True)
        return hashlib.blake2b(written.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def said(self) -> dict[str, Any]:
        """The same as it stands in the lock file."""
        return {"description": self.description, "input": self.schema, "output": self.output}


class ChangeKind(StrEnum):
    """What has become of a tool since somebody consented to it."""

    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One tool that is not as it was consented to. `places` are those that differ, such as `input.properties.path`."""

    tool: str
    kind: ChangeKind
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind is not ChangeKind.CHANGED:
            return f"{self.tool} was {self.kind.value}"
        more = f" and {len(self.places) - MAX_PLACES} more" if len(self.places) > MAX_PLACES else ""
        return f"{self.tool} was changed in its {', '.join(self.places[:MAX_PLACES])}{more}"


def changes(pinned: Mapping[str, Pinned], listed: Mapping[str, Pinned]) -> tuple[Change, ...]:
    """What differs between the tools that were consented to and those that a server has, by their names. Pure."""
    found = [
        Change(tool=name, kind=ChangeKind.CHANGED, places=tuple(_places(pinned[name].said(), listed[name].said(), "")))
        for name in pinned.keys() & listed.keys()
        if pinned[name].hash != listed[name].hash
    ]
    found += [Change(tool=name, kind=ChangeKind.ADDED) for name in listed.keys() - pinned.keys()]
    found += [Change(tool=name, kind=ChangeKind.REMOVED) for name in pinned.keys() - listed.keys()]
    return tuple(sorted(found, key=lambda change: change.tool))


def _places(one: object, other: object, at: str) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(one.keys() | other.keys(), key=str):
            place = f"{at}.{key}" if at else str(key)
            if key in one and key in other:
                yield from _places(one[key], other[key], place)
            else:
                yield place[:200]
    elif json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):  # 1 is not true there, as it is here
        yield at[:200]


# ---- the file ------------------------------------------------------------------------------------


def read_pins(path: Path, server: str) -> Mapping[str, Pinned] | None:
    """The pinned tools of a server by their names; None where nobody has consented to any. Raises InvalidLock."""
    told = _servers(path).get(server)
    if told is None:
        return None
    try:
        pins = {name: _pin(name, each) for name, each in told["tools"].items()}
        wrong = next((name for name, each in told["tools"].items() if pins[name].hash != each["hash"]), None)
    except (TypeError, KeyError, AttributeError) as error:
        raise InvalidLock(f"{path}: what it has of {server!r} is damaged ({error!r}); {_AGAIN}") from error
    if wrong is not None:
        raise InvalidLock(
            f"{path}: {wrong!r} of {server!r} was changed by hand, for it does not fit its hash; bring the file back, "
            f"or {_AGAIN}"
        )
    return pins


_AGAIN = "delete it, look at the tools, and consent again: regrow mcp pin MODULE:APP"


def write_pins(path: Path, server: str, tools: Mapping[str, Pinned]) -> None:
    """Keeps the tools of a server, in place of those before, and all other servers as they are. Raises InvalidLock."""
    servers = _servers(path)
    servers[server] = {"tools": {name: {"hash": pin.hash, **pin.said()} for name, pin in sorted(tools.items())}}
    written = json.dumps({"version": VERSION, "servers": dict(sorted(servers.items()))}, indent=2, ensure_ascii=False)
    # Into its place at once: an app that starts meanwhile reads the one or the other, and no half of it.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.close(handle)
        Path(name).write_text(written + "\n", encoding="utf-8", errors="backslashreplace")
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _servers(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_LOCK_BYTES:
            raise InvalidLock(f"{path} has more than {MAX_LOCK_BYTES:,} bytes; it is no lock file of ours")
        whole = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise InvalidLock(f"{path} can not be read ({error}); bring the file back, or {_AGAIN}") from error
    version = whole.get("version") if isinstance(whole, dict) else None
    if version != VERSION or not isinstance(whole.get("servers"), dict):
        raise InvalidLock(f"{path} is of version {version!r}, and {VERSION} is known here; use the newer Regrow")
    return cast("dict[str, Any]", whole["servers"])


def _pin(name: str, told: Mapping[str, Any]) -> Pinned:
    output = told["output"]
    if not isinstance(told["description"], str) or not isinstance(told["input"], dict):
        raise TypeError(name)
    if output is not None and not isinstance(output, dict):
        raise TypeError(name)
    return Pinned(name=name, description=told["description"], schema=told["input"], output=output)
