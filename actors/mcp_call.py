"""A call of a tool of an MCP server, from the agent's side: sent to the session, and what comes of it.

It is sent with a capability for this one call, which nobody has but whom the gate has let pass; the session takes no
other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from regrow.actors.mcp_errors import OutcomeUnknown, ServerLost, ToolChanged
from regrow.actors.tool_errors import InvalidResult, ResultTooLarge, ToolError, ToolFailed, ToolTimedOut
from regrow.runtime.address import ActorId, Address
from regrow.runtime.capability import one_call
from regrow.runtime.errors import AskFailed, ContactLost, Misuse, TooLate
from regrow.runtime.lifecycle import NoProc
from regrow.runtime.message import Message, StreamRequest
from regrow.runtime.ref import ActorRef

if TYPE_CHECKING:
    from regrow.actors.context import Context
    from regrow.actors.mcp_lock import Pinned
    from regrow.actors.mcp_server import McpServer
    from regrow.actors.tool import Tool


class Outcome(StrEnum):
    """What has come of a call."""

    GIVEN = "given"
    FAILED = "failed"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    CHANGED = "changed"
    TIMED_OUT = "timed_out"
    NOT_SENT = "not_sent"
    MAY_HAVE_RUN = "may_have_run"


class ToolAnswer(Message):
    """What a session answers: the value as JSON where there is one, else why there is none."""

    outcome: Outcome
    text: str


class CallTool(StreamRequest[str, ToolAnswer]):
    """Asks a session for one call. It is read as a stream, without parts, so that it ends with whoever waits for it.

    `name` is the tool's own, `tool` what it is called here, and `hash` stands for what was consented to.
    """

    name: str
    tool: str
    hash: str
    arguments: str


async def call_server(
    server: McpServer, pin: Pinned, tool: Tool[Any], arguments: Mapping[str, Any], ctx: Context
) -> object:
    """The value that the server gives. Raises ToolError."""
    session = _session(server, tool, ctx)
    request = CallTool(
        name=pin.name, tool=tool.name, hash=pin.hash, arguments=json.dumps(arguments, ensure_ascii=False)
    )
    try:
        with one_call(session, tool.name):
            async with ActorRef(Address(session), ctx.runtime).stream(request, timeout_s=tool.timeout_s) as stream:
                async for _ in stream:
                    pass
                answer = stream.reply
    except AskFailed as error:
        raise _lost(tool, str(error), may_have_run=not isinstance(error.reason, NoProc)) from error
    except ContactLost as error:
        raise _lost(tool, str(error), may_have_run=error.may_have_run) from error
    except TooLate as error:
        raise _timed_out(tool) from error
    return _value(answer, tool)


def _session(server: McpServer, tool: Tool[Any], ctx: Context) -> ActorId:
    try:
        return ctx.runtime.ref(server).address.actor
    except Misuse as error:
        raise Misuse(
            f"{tool.name} is a tool of the MCP server {server.name}, and this app keeps no session with it; add "
            f"child({server.name}) to its tree, once"
        ) from error


def _value(answer: ToolAnswer, tool: Tool[Any]) -> object:
    name, text = tool.name, answer.text
    match answer.outcome:
        case Outcome.GIVEN:
            return json.loads(text)
        case Outcome.FAILED:
            raise ToolFailed(f"{name} failed ({text})", tool=name)
        case Outcome.INVALID:
            raise InvalidResult(
                f"{name} gave what does not fit its output schema ({text}); what it did is done", tool=name
            )
        case Outcome.TOO_LARGE:
            raise ResultTooLarge(
                f"{name} gave {text}, and {tool.result_bytes:,} is the limit (result_bytes); what it did is done: ask "
                "it for less",
                tool=name,
            )
        case Outcome.CHANGED:
            raise ToolChanged(
                f"{name} was not run, since it is not what was consented to: {text}; do without, until somebody has "
                "looked at it and consented (regrow mcp check, regrow mcp pin), and the app has been started again",
                tool=name,
            )
        case Outcome.TIMED_OUT:
            raise _timed_out(tool)
        case Outcome.NOT_SENT:
            raise _lost(tool, text, may_have_run=False)
        case Outcome.MAY_HAVE_RUN:
            raise _lost(tool, text, may_have_run=True)


def _lost(tool: Tool[Any], why: str, *, may_have_run: bool) -> ToolError:
    if may_have_run and not tool.idempotent:
        return OutcomeUnknown(
            f"{tool.name} was under way when its server was lost ({why}); whether it was done is not known, so look "
            "before it is called again",
            tool=tool.name,
        )
    did = "it may be called again" if may_have_run else "nothing of it has run, and it may be called again"
    return ServerLost(f"{tool.name} gave nothing, since its server was lost ({why}); {did}", tool=tool.name)


def _timed_out(tool: Tool[Any]) -> ToolTimedOut:
    return ToolTimedOut(
        f"{tool.name} was stopped after {tool.timeout_s:g} s (timeout_s) without a result; what it has done until then "
        "is done",
        tool=tool.name,
    )
