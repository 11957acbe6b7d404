"""Tools as plain functions, for frameworks that take nothing else: each call goes through the gate of its turn."""

from __future__ import annotations

import asyncio
import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from threading import get_ident
from typing import TYPE_CHECKING, Any

from regrow.actors.tool_errors import ToolCalledDirectly
from regrow.runtime.context import current

if TYPE_CHECKING:
    from regrow.actors.context import Context
    from regrow.actors.tool import Tool

Call = Callable[[Mapping[str, object]], Awaitable[Any]]


def plain_function(tool: Tool[Any], call: Call) -> Callable[..., Awaitable[Any]]:
    """An async function with the name, docstring and typed parameters of the tool's; `call` makes its calls."""
    signature = _signature(tool)

    async def plain(*args: Any, **kwargs: Any) -> Any:
        return await call(signature.bind(*args, **kwargs).arguments)

    return _named_after(tool, signature, plain)


def function_of_any_turn(tool: Tool[Any]) -> Callable[..., Awaitable[Any]]:
    """The same, where each call belongs to the turn in which it is made, on whichever thread and loop."""

    async def call(arguments: Mapping[str, object]) -> Any:
        turn = _turn(tool)
        calling, loop = turn.tools.call(tool, arguments), turn.runtime.loop
        if asyncio.get_running_loop() is loop:
            return await calling
        # A framework that is called in a thread may run a loop of its own there.
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(calling, loop))

    return plain_function(tool, call)


def blocking_function(tool: Tool[Any]) -> Callable[..., Any]:
    """A plain `def` that waits for what the tool gives, for code that runs in a thread."""
    signature = _signature(tool)

    def plain(*args: Any, **kwargs: Any) -> Any:
        turn = _turn(tool)
        if get_ident() == turn.runtime.thread_id:
            raise ToolCalledDirectly(
                f"{tool.name} was called on the loop of its host, which it would hold up while it waits; call it from "
                f"code in a thread, or register {tool.name}.as_function(), which is async"
            )
        arguments = signature.bind(*args, **kwargs).arguments
        return asyncio.run_coroutine_threadsafe(turn.tools.call(tool, arguments), turn.runtime.loop).result()

    return _named_after(tool, signature, plain)


def _turn(tool: Tool[Any]) -> Context:
    """The turn that runs here. Raises ToolCalledDirectly where none does."""
    from regrow.actors.context import Context  # here, since a context has tools

    turn = current.get()
    if not isinstance(turn, Context):
        raise ToolCalledDirectly(
            f"{tool.name} was called outside of any agent's turn, so nobody can decide who may run it; call it from "
            f"what an agent runs that lists it in `tools`, or {tool.name}.function(…) in a unit test"
        )
    return turn


def _signature(tool: Tool[Any]) -> inspect.Signature:
    """With types and not their names, which a framework would look up in the wrong module: that of this file."""
    whole, hints = inspect.signature(tool.function), _hints(tool)
    names = set(tool.signature.names)
    kept = [
        each.replace(annotation=hints.get(each.name, each.annotation))
        for each in whole.parameters.values()
        if each.name in names
    ]
    return whole.replace(parameters=kept, return_annotation=hints.get("return", whole.return_annotation))


def _hints(tool: Tool[Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(tool.function, include_extras=True)
    except NameError:  # a type that is defined inside of a function; then its name is all there is
        return {}


def _named_after(tool: Tool[Any], signature: inspect.Signature, plain: Callable[..., Any]) -> Callable[..., Any]:
    plain.__name__ = plain.__qualname__ = tool.name
    plain.__doc__ = tool.function.__doc__
    plain.__module__ = tool.function.__module__
    plain.__annotations__ = {
        **{name: each.annotation for name, each in signature.parameters.items()},
        "return": signature.return_annotation,
    }
    plain.__signature__ = signature  # type: ignore[attr-defined] # what inspect.signature looks at first
    return plain
