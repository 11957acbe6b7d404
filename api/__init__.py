"""Regrow: an actor-model runtime for AI agents on Ray. What dies grows back.

    from regrow import App, agent

This page of names is what most programs need. Each comes from a room, which holds more and explains it in this order:

- `regrow.runtime` — messages, refs, exit reasons, errors: what an actor is made of
- `regrow.supervisors` — who restarts whom, and when to give up
- `regrow.memory` — what agents remember and how they find it again
- `regrow.router` — which model does which kind of work, and what it costs
- `regrow.actors` — what an agent can be: handlers, context, timers
- `regrow.cluster` — `App`, its engines, the command line

`import regrow` loads none of them: a room is loaded when one of its names is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regrow.actors import (
        Agent,
        Context,
        DurableAgent,
        DurableContext,
        Prompt,
        Step,
        ToolApproval,
        ToolError,
        adopt,
        agent,
        keyed,
        mcp,
        on,
        tool,
    )
    from regrow.cluster import App, Running
    from regrow.router import Work
    from regrow.runtime import (
        ActorRef,
        AskFailed,
        AskTimeout,
        Crashed,
        Dedicated,
        Guards,
        GuardTripped,
        Killed,
        MailboxFull,
        Message,
        Normal,
        NotAllowed,
        OutOfBudget,
        Packed,
        PartsLost,
        Refused,
        RegrowError,
        Request,
        Rung,
        Shutdown,
        StreamRequest,
        new_command_id,
    )
    from regrow.supervisors import DynamicSupervisor, Supervisor, child

__version__: str

__all__ = [
    "ActorRef",
    "Agent",
    "App",
    "AskFailed",
    "AskTimeout",
    "Context",
    "Crashed",
    "Dedicated",
    "DurableAgent",
    "DurableContext",
    "DynamicSupervisor",
    "GuardTripped",
    "Guards",
    "Killed",
    "MailboxFull",
    "Message",
    "Normal",
    "NotAllowed",
    "OutOfBudget",
    "Packed",
    "PartsLost",
    "Prompt",
    "Refused",
    "RegrowError",
    "Request",
    "Rung",
    "Running",
    "Shutdown",
    "Step",
    "StreamRequest",
    "Supervisor",
    "ToolApproval",
    "ToolError",
    "Work",
    "__version__",
    "adopt",
    "agent",
    "child",
    "keyed",
    "mcp",
    "new_command_id",
    "on",
    "tool",
]

_ROOM_OF = {
    **dict.fromkeys(("Agent", "Context", "DurableAgent", "DurableContext", "Prompt", "Step"), "actors"),
    **dict.fromkeys(("ToolApproval", "ToolError", "adopt", "agent", "keyed", "mcp", "on", "tool"), "actors"),
    **dict.fromkeys(("App", "Running"), "cluster"),
    **dict.fromkeys(("Work",), "router"),
    **dict.fromkeys(("DynamicSupervisor", "Supervisor", "child"), "supervisors"),
}
"""The room of each name that is not from `regrow.runtime`."""


def _load(name: str) -> object:
    """Take a name from its room and keep it, so that this runs once for each name."""
    value: object
    if name == "__version__":
        from importlib.metadata import version  # takes 20 ms, for which only those who ask should wait

        value = version("regrow")
    else:
        value = getattr(import_module(f"regrow.{_ROOM_OF.get(name, 'runtime')}"), name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # a checker that saw this function would take every misspelt name for a good one

    def __getattr__(name: str) -> object:  # PEP 562: asked only for names that are not here yet
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return _load(name)


def __dir__() -> list[str]:
    return list(__all__)
