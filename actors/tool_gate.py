"""The gate: whether this agent, on behalf of the message that it handles, may run this tool with these arguments. Pure.

It is the one place where that is decided, and `Allowed` is the only thing that is run: `tool_runner` takes nothing
else. What stands in the way is an error whose text says what to do, to a person and to a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import structlog
from pydantic import ValidationError

from regrow.actors.tool import Tool, ToolSource
from regrow.actors.tool_errors import MAX_TOLD_CHARS, InvalidArguments, InvalidTool, ToolDenied, ToolError, UnknownTool
from regrow.runtime import capability as capabilities
from regrow.runtime.contain import text_of

MAX_TOOLS = 128
"""In the list of one agent; no provider takes more, and no model chooses well among so many."""
MAX_ARGUMENT_BYTES = 262_144
"""The arguments of one call as JSON; what is larger is kept elsewhere, and its place given."""
OF_A_SCHEMA = "schema"
"""The type of a problem whose text says itself where it is, as those of JSON schemas do."""
MAX_PROBLEMS = 5
"""Of arguments that are none, so many are told at once."""

log = structlog.get_logger("regrow.tools")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """The call may be made. `arguments` has an attribute for each, `written` is the same as JSON."""

    tool: Tool[Any]
    arguments: object
    written: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsApproval:
    """The call may be made once a person has consented to it."""

    call: Allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """The call may not be made, and nothing of it runs."""

    error: ToolError


Verdict: TypeAlias = Allowed | NeedsApproval | Denied


def allow_list(owner: str, tools: object) -> Mapping[str, Tool[Any]]:
    """The tools of an agent class by their names. Raises InvalidTool where its list is none."""
    if not isinstance(tools, Sequence) or isinstance(tools, str):
        raise InvalidTool(f"{owner}.tools is {tools!r}; write a list of tools, such as tools = [search_web]")
    singly = [one for each in tools for one in (each.tools if isinstance(each, ToolSource) else (each,))]
    if len(singly) > MAX_TOOLS:
        raise InvalidTool(f"{owner} has {len(singly)} tools, and at most {MAX_TOOLS} can be given; split its work")
    found: dict[str, Tool[Any]] = {}
    for each in singly:
        if not isinstance(each, Tool):
            name = getattr(each, "__name__", repr(each))
            raise InvalidTool(f"{owner}.tools has {name}, which is no tool; write @tool above it, or take it out")
        if each.name in found:
            raise InvalidTool(
                f"{owner}.tools has two tools of the name {each.name!r}, and a model could not tell them apart; take "
                'one out, or give it another name with @tool(name="…")'
            )
        found[each.name] = each
    return MappingProxyType(found)


def allowed_tools(tools: Mapping[str, Tool[Any]], capability: tuple[str, ...] | None) -> tuple[Tool[Any], ...]:
    """Those of an agent's tools that it may run on behalf of a message with this capability."""
    return tuple(each for each in tools.values() if capabilities.allows_tool(capability, each.name))


def decide(
    agent: str,
    tools: Mapping[str, Tool[Any]],
    capability: tuple[str, ...] | None,
    wanted: Tool[Any] | str,
    arguments: Mapping[str, object] | str,
) -> Verdict:
    """Whether a call may be made. `tools` is the agent's list, `capability` what came with its message.

    `arguments` are named values, or JSON as a model writes it.
    """
    listed = listed_tool(agent, tools, capability, wanted)
    if isinstance(listed, ToolError):
        return Denied(error=listed)
    name = listed.name
    if not capabilities.allows_tool(capability, name):
        return Denied(
            error=ToolDenied(
                f"{agent} may not run {name} on behalf of this message, whose capability allows "
                f"{capabilities.told(capability)}; do without it, or have it asked by somebody who may",
                tool=name,
            )
        )
    if isinstance(arguments, str) and len(arguments) > MAX_ARGUMENT_BYTES:
        return Denied(error=_too_long(listed, len(arguments)))
    try:
        read = _read(listed, arguments)
        written = listed.arguments.dump_json(read)
    except ValidationError as error:
        return Denied(error=InvalidArguments(_problems(listed, error), tool=name))
    except ValueError as error:  # of a value that JSON has no form for
        return Denied(error=InvalidArguments(f"{name}: its arguments have no JSON form ({error})", tool=name))
    except Exception as error:  # of a validator of the tool's author: the call is refused, and its agent lives
        return Denied(error=InvalidArguments(_not_checked(name, error), tool=name))
    if len(written) > MAX_ARGUMENT_BYTES:
        return Denied(error=_too_long(listed, len(written)))
    call = Allowed(tool=listed, arguments=read, written=written.decode())
    return NeedsApproval(call=call) if _needs_approval(listed, read) else call


def listed_tool(
    agent: str, tools: Mapping[str, Tool[Any]], capability: tuple[str, ...] | None, wanted: Tool[Any] | str
) -> Tool[Any] | ToolError:
    """The tool of the agent's list that is wanted, or why it has none."""
    listed = tools.get(wanted if isinstance(wanted, str) else wanted.name)
    if listed is None or (listed is not wanted and not isinstance(wanted, str)):
        return _not_listed(agent, tools, capability, wanted, listed)
    return listed


def _not_listed(
    agent: str,
    tools: Mapping[str, Tool[Any]],
    capability: tuple[str, ...] | None,
    wanted: Tool[Any] | str,
    listed: Tool[Any] | None,
) -> ToolError:
    may_run = ", ".join(each.name for each in allowed_tools(tools, capability)) or "none"
    if isinstance(wanted, str):
        return UnknownTool(
            f"{agent} has no tool called {wanted[:80]!r}; it has {may_run}: use one of them, or do without",
            tool=wanted[:80],
        )
    why = "is another one than the tool of that name in" if listed is not None else "is not in"
    return ToolDenied(
        f"{agent} may not run {wanted.name}, which {why} the list of its class ({may_run}); what is not in `tools` is "
        "denied, so add it there if this agent is to have it",
        tool=wanted.name,
    )


def _read(tool: Tool[Any], arguments: Mapping[str, object] | str) -> object:
    if isinstance(arguments, str):
        return tool.arguments.validate_json(arguments if arguments.strip() else "{}")  # as models write «nothing»
    return tool.arguments.validate_python(dict(arguments))


def _needs_approval(tool: Tool[Any], arguments: object) -> bool:
    try:
        return tool.needs_approval(arguments)
    except Exception as error:  # of the author's function: what it can not judge is for a person to judge
        why = f"{type(error).__name__}: {text_of(error)[:MAX_TOLD_CHARS]}"
        log.warning("approval of a tool failed, so that its call needs consent", tool=tool.name, error=why)
        return True


def _not_checked(name: str, error: Exception) -> str:
    return (
        f"{name} was not run, since its arguments could not be checked ({type(error).__name__}: "
        f"{text_of(error)[:MAX_TOLD_CHARS]}); give others, or do without"
    )


def _problems(tool: Tool[Any], error: ValidationError) -> str:
    """What is wrong with arguments, so that a model can mend it."""
    found = error.errors(include_url=False, include_context=False)
    told = "; ".join(
        each["msg"] if each["type"] == OF_A_SCHEMA else f"{_place(each['loc'])}: {each['msg']}"
        for each in found[:MAX_PROBLEMS]
    )
    more = f"; and {len(found) - MAX_PROBLEMS} more" if len(found) > MAX_PROBLEMS else ""
    takes = ", ".join(tool.signature.names) or "no arguments"
    return (
        f"{tool.name} was not run, since its arguments are not what it takes ({told[:1_000]}{more}); it takes {takes}"
    )


def _place(steps: tuple[int | str, ...]) -> str:
    return ".".join(map(str, steps)) or "the whole"


def _too_long(tool: Tool[Any], size_bytes: int) -> InvalidArguments:
    return InvalidArguments(
        f"{tool.name} was not run, since its arguments take {size_bytes:,} bytes as JSON, and the limit is "
        f"{MAX_ARGUMENT_BYTES:,}; keep the rest elsewhere and give where it is",
        tool=tool.name,
    )
