"""`mcp`: a server of the Model Context Protocol, whose tools agents may list and whose session is a child of the app.

    files = mcp("files", command=["npx", "-y", "@modelcontextprotocol/server-filesystem", FOLDER])

    class Librarian(Agent):
        tools = [files]

    app = App("desk", Supervisor(children=[child(files), child(Librarian)]))

What tools it has, and what they say, comes from the lock file, so that it is known before the server runs.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from regrow.actors.mcp_errors import NotPinned
from regrow.actors.mcp_lock import LOCK_NAME, Pinned, read_pins
from regrow.actors.mcp_options import ServerOptions, check_server
from regrow.actors.mcp_session import McpSession
from regrow.actors.mcp_tool import made_tool, tool_names
from regrow.actors.tool import (
    DEFAULT_APPROVAL_TIMEOUT_S,
    DEFAULT_CONCURRENCY,
    DEFAULT_RESULT_BYTES,
    DEFAULT_TIMEOUT_S,
    Tool,
    ToolSource,
)
from regrow.actors.tool_errors import InvalidTool
from regrow.runtime.errors import CodeNotImportable, Misuse
from regrow.runtime.immutable import importable_module

if TYPE_CHECKING:
    from types import FrameType

    from regrow.actors.agent import Agent

DEFAULT_START_TIMEOUT_S = 30.0
"""How long a server may take to be started, to say who it is, and to list its tools."""


class McpServer(ToolSource):
    """One server: its tools as far as they are pinned, and the agent that keeps the session with it.

    It stands in `tools` of agents and, once, as `child(…)` in the tree of the app.
    """

    makes_behavior: ClassVar[bool] = True

    def __init__(self, name: str, options: ServerOptions, *, module: str, lock: Path, folder: Path) -> None:
        self.name = name
        self.options = options
        self.lock = lock
        self.folder = folder
        """Where its process works, and where the code stands that names it."""
        self.__name__ = name
        self.__qualname__ = f"mcp({name!r})"
        self.__module__ = module
        pins = read_pins(lock, name)
        self.is_pinned = pins is not None
        self.pins: Mapping[str, Pinned] = {
            tool: pin for tool, pin in (pins or {}).items() if options.tools is None or tool in options.tools
        }
        """What somebody has consented to, of the tools that are wanted, by the server's own names."""
        self.names = tool_names(name, self.pins)
        """How each of them is called here, by its own name."""
        self._tools = {tool: made_tool(self, self.pins[tool], here) for tool, here in self.names.items()}
        body = {"server": self, "__module__": module, "__qualname__": self.__qualname__}
        self.agent_class = cast("type[Agent]", type(name, (McpSession,), body))

    @property
    def tools(self) -> tuple[Tool[Any], ...]:
        """Its pinned tools; a model knows them as `NAME_TOOL`."""
        return tuple(self._tools.values())

    def only(self, *names: str) -> SomeTools:
        """Some of its tools by the server's own names, for an agent that is to have these alone."""
        return SomeTools(self, names)

    def tool(self, name: str) -> Tool[Any]:
        """One of its pinned tools by the server's own name. Raises NotPinned, and InvalidTool where it has no such."""
        if not self.is_pinned:
            raise self._not_pinned()
        if name not in self._tools:
            raise InvalidTool(f"{self.name} has no pinned tool {name!r}; it has {', '.join(self._tools) or 'none'}")
        return self._tools[name]

    def check_usable(self) -> None:
        """Raises NotPinned where nobody has consented to its tools, or to all that the code names."""
        self.check_named({*(self.options.tools or ()), *self.options.idempotent, *self.options.approvals})

    def check_named(self, names: Collection[str]) -> None:
        """Raises NotPinned where the code names a tool to which nobody has consented."""
        if not self.is_pinned:
            raise self._not_pinned()
        if missing := sorted(set(names) - self.pins.keys()):
            raise NotPinned(
                f"mcp({self.name!r}, …) has no pinned tool {missing[0]!r}, which the code names; in {self.lock} it has "
                f"{', '.join(self.pins) or 'none'}: mend the name, or consent anew: {self.pin_command}"
            )

    @property
    def pin_command(self) -> str:
        """The command by which somebody consents to its tools."""
        return f"regrow mcp pin {importable_module(self.__module__)}:APP {self.name}"

    @property
    def code_name(self) -> str:
        """How a host finds it: `module:attribute`. Raises CodeNotImportable with the mend."""
        module = sys.modules.get(self.__module__)
        for name, value in vars(module).items() if module is not None else ():
            if value is self:
                return f"{importable_module(self.__module__)}:{name}"
        raise CodeNotImportable(
            f"mcp({self.name!r}, …) has no name by which a host could import it; write at the top of "
            f"{self.__module__}: {self.name} = mcp({self.name!r}, …), and use that in the tree"
        )

    def request(self, *args: object, **kwargs: object) -> Any:
        """Raises Misuse: its tools are called through the gate alone."""
        raise Misuse(f"the session with {self.name} is not asked; call its tools by ctx.tools.call")

    def _not_pinned(self) -> NotPinned:
        return NotPinned(
            f"nobody has consented to the tools of the MCP server {self.name!r} yet: {self.lock} does not have it; "
            f"look at what they say and pin them: {self.pin_command}"
        )

    def __repr__(self) -> str:
        return f"<mcp {self.name}: {len(self.pins)} pinned tools>"


class SomeTools(ToolSource):
    """Some tools of one server, as they stand in the list of an agent."""

    def __init__(self, server: McpServer, names: Sequence[str]) -> None:
        self.server = server
        self._names = tuple(names)

    @property
    def tools(self) -> tuple[Tool[Any], ...]:
        """Those of them that are pinned; all, where their agent could start."""
        return tuple(self.server.tool(name) for name in self._names if name in self.server.pins)

    def check_usable(self) -> None:
        """See McpServer; these names count as well."""
        self.server.check_usable()
        self.server.check_named(self._names)


def mcp(
    name: str,
    *,
    command: Sequence[str] | None = None,
    url: str | None = None,
    tools: Collection[str] | None = None,
    idempotent: Collection[str] = (),
    approval: bool | Collection[str] = False,
    environment: Collection[str] = (),
    headers: Mapping[str, str] | None = None,
    folder: str | Path | None = None,
    lock: str | Path | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    start_timeout_s: float = DEFAULT_START_TIMEOUT_S,
    approval_timeout_s: float = DEFAULT_APPROVAL_TIMEOUT_S,
    concurrency: int = DEFAULT_CONCURRENCY,
    result_bytes: int = DEFAULT_RESULT_BYTES,
) -> McpServer:
    """A server that is started by a command and spoken to by its pipes, or one that is reached at a URL.

    Of its tools agents have `tools`, all that are pinned where None. `idempotent` are those that may run again where it
    is not known whether they did: no other is, whatever the server says of itself. `approval` are those that need the
    consent of a person to each call, or True for all. All three are by the server's own names.

    Of the environment its process gets PATH and the like, and what is named in `environment`. In `headers`, for a URL,
    `${NAME}` stands for a variable of the host's environment. It works in `folder`, and its tools are pinned in `lock`:
    the folder of the calling file and `mcp.lock` in it, unless said otherwise. The other options are those of `@tool`.

    Raises InvalidTool for an option that can not be, and InvalidLock for a lock file that can not be read.
    """
    caller = _caller()
    beside = Path(caller.f_globals.get("__file__") or Path.cwd() / "typed").resolve().parent
    options = check_server(
        name,
        ServerOptions(
            command=command if command is None else tuple(command),
            url=url,
            tools=None if tools is None else tuple(tools),
            idempotent=tuple(idempotent),
            approve_all=approval is True,
            approvals=() if isinstance(approval, bool) else tuple(approval),
            environment=tuple(environment),
            headers=tuple((headers or {}).items()),
            timeout_s=timeout_s,
            start_timeout_s=start_timeout_s,
            approval_timeout_s=approval_timeout_s,
            concurrency=concurrency,
            result_bytes=result_bytes,
        ),
    )
    return McpServer(
        name,
        options,
        module=str(caller.f_globals.get("__name__", "")),
        lock=Path(lock) if lock is not None else beside / LOCK_NAME,
        folder=Path(folder) if folder is not None else beside,
    )


def _caller() -> FrameType:
    frame = inspect.currentframe()
    caller = frame.f_back.f_back if frame is not None and frame.f_back is not None else None
    assert caller is not None
    return caller
