"""What `regrow mcp` does: looks at the tools of an app's MCP servers, compares them with the lock file, writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from regrow.actors.mcp_link import look_at
from regrow.actors.mcp_lock import Change, Pinned, changes, write_pins
from regrow.actors.mcp_server import McpServer, SomeTools
from regrow.actors.mcp_tool import tool_names
from regrow.actors.tool import ToolSource
from regrow.cluster import logs
from regrow.cluster.code import agent_class, app_named
from regrow.cluster.config import LogSettings
from regrow.runtime.errors import Misuse
from regrow.supervisors import SpecError

if TYPE_CHECKING:
    from regrow.cluster.app import App


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One server: what of it is pinned, what it has now (None where nobody has looked), and what differs."""

    server: McpServer
    pinned: Mapping[str, Pinned]
    listed: Mapping[str, Pinned] | None = None
    changes: tuple[Change, ...] = ()
    unfit: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """The same as one JSON value."""
        tools = self.pinned if self.listed is None else self.listed
        return {
            "server": self.server.name,
            "place": self.server.options.place,
            "lock": str(self.server.lock),
            "pinned": self.server.is_pinned,
            "tools": [{"name": pin.name, "hash": pin.hash, **pin.said()} for _, pin in sorted(tools.items())],
            "changes": [
                {"tool": each.tool, "kind": each.kind.value, "places": list(each.places)} for each in self.changes
            ],
            "unfit": list(self.unfit),
        }


def servers_named(target: str, names: Iterable[str]) -> list[McpServer]:
    """The MCP servers of `MODULE:APP`, those of these names alone where some are given.

    Raises AppNotFound, and Misuse where it has none of such a name.
    """
    known = {server.name: server for server in servers_of(app_named(target))}
    wanted = list(names) or list(known)
    if missing := [name for name in wanted if name not in known]:
        raise Misuse(f"{target} has no MCP server {missing[0]!r}; it has {', '.join(known) or 'none'}")
    return [known[name] for name in wanted]


def servers_of(app: App) -> list[McpServer]:
    """The servers whose sessions an app keeps, and those that agents of its tree list."""
    return sorted({*_sessions(app.agents.values()), *_listed(app.agents.values())}, key=lambda server: server.name)


def check_sessions(agents: Mapping[Any, object]) -> None:
    """Raises SpecError where an agent of a tree has tools of a server with which the tree keeps no session, or two."""
    sessions = [server for server in agents.values() if isinstance(server, McpServer)]
    for server in sessions:
        if [other.name for other in sessions].count(server.name) > 1:
            raise SpecError("children", server, "MCP servers of different names, each once", where="the tree")
    for actor, target in agents.items():
        for server in _listed([target]):
            if sessions.count(server) != 1:
                raise SpecError(
                    "tools",
                    server,
                    f"servers with one session in the tree; add child({server.name}), once",
                    where=actor,
                )


def _sessions(targets: Iterable[object]) -> set[McpServer]:
    return {target for target in targets if isinstance(target, McpServer)}


def _listed(targets: Iterable[object]) -> set[McpServer]:
    classes = (agent_class(target) for target in targets)
    sources = [source for cls in classes if cls for source in cls.tool_sources]
    return {source.server if isinstance(source, SomeTools) else source for source in sources if _is_ours(source)}


def _is_ours(source: ToolSource) -> TypeGuard[McpServer | SomeTools]:
    return isinstance(source, McpServer | SomeTools)


def pinned(servers: Iterable[McpServer]) -> list[Looked]:
    """What is in the lock files."""
    return [Looked(server=server, pinned=server.pins) for server in servers]


def compared(servers: Iterable[McpServer]) -> list[Looked]:
    """What the servers have now, beside what is in the lock files. Blocks. Raises ServerNotStarted."""
    logs.configure(LogSettings(level="error"))  # to stderr, so that what is printed is the result alone
    return asyncio.run(_compared(list(servers)))


async def _compared(servers: list[McpServer]) -> list[Looked]:
    found: list[Looked] = []
    for server in servers:  # one after the other, so that what one of them says on the way is told apart
        listed, unfit = await look_at(server)
        found.append(
            Looked(
                server=server,
                pinned=server.pins,
                listed=listed,
                changes=changes(server.pins, listed),
                unfit=unfit,
            )
        )
    return found


def consent(looked: Looked) -> None:
    """Keeps what a server has now as what was consented to. Raises Misuse where the code names a tool it has not."""
    server, listed = looked.server, looked.listed or {}
    named = {*(server.options.tools or ()), *server.options.idempotent, *server.options.approvals}
    if missing := sorted(named - listed.keys()):
        raise Misuse(
            f"mcp({server.name!r}, …) names the tool {missing[0]!r}, which the server has not; it has "
            f"{', '.join(sorted(listed)) or 'none'}"
        )
    tool_names(server.name, listed)  # what could have no name here is said now, and not when the app is imported
    write_pins(server.lock, server.name, listed)
