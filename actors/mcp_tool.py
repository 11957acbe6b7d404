"""A pinned tool of an MCP server as a Tool, which the gate decides about and the runner runs like any other."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, JsonValue, TypeAdapter
from pydantic_core import PydanticCustomError

from regrow.actors.context import Context
from regrow.actors.mcp_call import call_server
from regrow.actors.mcp_lock import Pinned
from regrow.actors.mcp_options import NO_LIMITS
from regrow.actors.mcp_schema import ARGUMENT_CHECKS, Shape
from regrow.actors.tool import Isolation, Tool
from regrow.actors.tool_errors import InvalidTool
from regrow.actors.tool_gate import OF_A_SCHEMA
from regrow.actors.tool_signature import Signature

if TYPE_CHECKING:
    from regrow.actors.mcp_server import McpServer

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")
MAX_NAME_CHARS = 64
"""What all providers take for the name of a tool."""
_PYTHON = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict}


def tool_names(server: str, pins: Mapping[str, Pinned]) -> dict[str, str]:
    """How each of a server's tools is called here, by its own name. Raises InvalidTool."""
    names: dict[str, str] = {}
    for tool in sorted(pins):
        here = f"{server}_{_NOT_IN_A_NAME.sub('_', tool)}"
        if len(here) > MAX_NAME_CHARS:
            raise InvalidTool(
                f"{tool!r} of mcp({server!r}) would be called {here!r} here, and {MAX_NAME_CHARS} signs are the most; "
                "give the server a shorter name, or leave the tool out by tools=[…]"
            )
        if here in names.values():
            other = next(known for known, name in names.items() if name == here)
            raise InvalidTool(
                f"{tool!r} and {other!r} of mcp({server!r}) would both be called {here!r} here; leave one out by "
                "tools=[…]"
            )
        names[tool] = here
    return names


def made_tool(server: McpServer, pin: Pinned, name: str) -> Tool[Any]:
    """The tool, whose function has the session with its server make the call."""
    options, names = server.options, tuple(_properties(pin))

    async def function(arguments: Mapping[str, Any], ctx: Context) -> object:
        return await call_server(server, pin, made, arguments, ctx)

    _look_like(function, name, pin)
    signature = Signature(
        name=name,
        description=pin.description,
        schema=pin.schema,
        hash=pin.hash,
        names=names,
        arguments=TypeAdapter(Annotated[dict[str, JsonValue], AfterValidator(_fits(pin))]),
        result=TypeAdapter(JsonValue),
        context="ctx",
        step=None,
        is_async=True,
        as_one=True,
    )
    made: Tool[Any] = Tool(
        name=name,
        description=signature.description,
        schema=signature.schema,
        hash=signature.hash,
        function=function,
        signature=signature,
        timeout_s=options.timeout_s,
        concurrency=options.concurrency,
        cost_usd=0.0,
        idempotent=pin.name in options.idempotent,
        approval=options.approve_all or pin.name in options.approvals,
        approval_timeout_s=options.approval_timeout_s,
        isolation=Isolation.HOST,
        limits=NO_LIMITS,
        result_bytes=options.result_bytes,
    )
    return made


def _fits(pin: Pinned) -> Callable[[dict[str, Any]], dict[str, Any]]:
    shape = Shape(pin.schema)

    def fits(arguments: dict[str, Any]) -> dict[str, Any]:
        problems = shape.problems(arguments, checks=ARGUMENT_CHECKS)
        if problems:
            raise PydanticCustomError(OF_A_SCHEMA, "{problems}", {"problems": "; ".join(problems)})
        return arguments

    return fits


def _properties(pin: Pinned) -> dict[str, Any]:
    properties = pin.schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _look_like(function: Any, name: str, pin: Pinned) -> None:
    """Gives it the name, docstring and parameters that another framework sees, which has `ctx.tools.functions`."""
    required = pin.schema.get("required")
    needed = set(required) if isinstance(required, list) else set()
    parameters = [
        inspect.Parameter(
            each,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if each in needed else None,
            annotation=_annotation(told),
        )
        for each, told in _properties(pin).items()
        if each.isidentifier()
    ]
    function.__name__ = function.__qualname__ = name
    function.__doc__ = pin.description
    function.__signature__ = inspect.Signature(parameters, return_annotation=Any)
    function.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": Any}


def _annotation(told: object) -> Any:
    kind = told.get("type") if isinstance(told, dict) else None
    return _PYTHON.get(kind, Any) if isinstance(kind, str) else Any
