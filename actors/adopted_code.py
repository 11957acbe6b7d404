"""What can be seen of code before it is adopted: its name, its parameters, and whether it is async."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from regrow.actors.errors import InvalidAgent
from regrow.actors.handlers import hints_of, is_context


def name_of(call: Any) -> str:
    """What it is called, also where it is a partial or an object; `adopted` where that is no name."""
    while isinstance(call, functools.partial):
        call = call.func
    name = getattr(call, "__name__", type(call).__name__)
    return name if name.isidentifier() else "adopted"


def code_of(call: Any) -> Any:
    """The function or method inside, of a partial or an object that can be called."""
    while isinstance(call, functools.partial):
        call = call.func
    return call if inspect.isroutine(call) else type(call).__call__


def is_async(call: Callable[..., Any]) -> bool:
    """Whether a call of it gives something to await or to iterate, and does nothing before that."""
    code = code_of(call)
    return inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code)


def asked_parameters(
    call: Callable[..., Any], namespace: dict[str, Any]
) -> tuple[str | None, list[inspect.Parameter] | None]:
    """The name of the one that gets the context, and those that have to be given; None where Python can not tell."""
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except ValueError:
        return None, None  # a builtin without a signature
    hints = _hints(call, namespace)
    context = next((p.name for p in parameters if is_context(hints.get(p.name))), None)
    return context, [p for p in parameters if p.name != context and not _can_be_left_out(p)]


def _can_be_left_out(parameter: inspect.Parameter) -> bool:
    """True where a text given by place would not reach it, and nothing need."""
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        return parameter.default is not parameter.empty
    return parameter.kind is inspect.Parameter.VAR_KEYWORD


def _hints(call: Callable[..., Any], namespace: dict[str, Any]) -> dict[str, Any]:
    if inspect.isfunction(call):
        return hints_of(name_of(call), call, namespace)
    try:
        return get_type_hints(code_of(call))
    except (NameError, TypeError):
        return {}  # names that only its type checker knows; then none of them is ours


def check_takes_text(call: Callable[..., Any]) -> None:
    try:
        inspect.signature(call).bind("text")
    except ValueError:
        return  # a builtin without a signature; a wrong one fails when it is asked
    except TypeError as error:
        raise InvalidAgent(
            f"{name_of(call)} can not be called with one text ({error}); write a function with types around it: "
            "async def ask(question: str) -> str"
        ) from error


def check_takes_nothing(call: Callable[..., Any], context_name: str | None) -> None:
    """Raises InvalidAgent where something could be given: whether it is asked or runs by itself is to be said."""
    parameters = inspect.signature(call).parameters.values()
    given = [str(p.replace(annotation=p.empty)) for p in parameters if p.name != context_name]
    if given:
        raise InvalidAgent(
            f"{name_of(call)} takes ({', '.join(given)}), which nobody need give, so it can not be seen whether it is "
            "asked or runs by itself; write around it async def work() -> None for the agent's own work, or a function "
            "with types that is asked, such as async def ask(question: str) -> str"
        )
