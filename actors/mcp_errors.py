"""What goes wrong with MCP servers and their tools.

InvalidDefinition (runtime)
├── NotPinned               nobody has consented to the tools of this server yet
└── InvalidLock             the lock file is damaged, or of another version
WorldBroke (runtime)
├── ServerNotStarted        it could not be started or reached, or does not speak MCP
└── ServerEnded             its session is over: it ended, flooded, or does not answer; the supervisor starts it again
Refused (runtime)
└── ToolError (tool_errors)
    ├── ToolChanged             it is not what was consented to
    ├── ServerLost              the session ended, and the call may be made again
    └── OutcomeUnknown          the session ended while it was under way, and it must not be made twice

What a server says itself is data: of what it has changed these texts name the place and not the words, for a model may
read them.
"""

from __future__ import annotations

from regrow.actors.tool_errors import ToolError
from regrow.runtime.errors import InvalidDefinition, WorldBroke


class NotPinned(InvalidDefinition):
    """Nobody has consented to the tools of this server; the text has the command by which one does."""


class InvalidLock(InvalidDefinition):
    """A lock file that can not be read; the text says why and what to do."""


class ServerNotStarted(WorldBroke):
    """An MCP server could not be started or reached, or does not speak MCP; the text has what it said last."""


class ServerEnded(WorldBroke):
    """The session with an MCP server is over, though nobody has ended it; the text says why, and what it said last."""


class ToolChanged(ToolError):
    """A tool of an MCP server is not what was consented to, or gone; nothing of it has run."""


class ServerLost(ToolError):
    """The session with the tool's server has ended. The call may be made again: nothing ran, or it is idempotent."""


class OutcomeUnknown(ToolError):
    """The session with the tool's server ended during the call, which may have been done and must not be made twice."""
