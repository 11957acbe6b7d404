"""What a recorded call is told about itself, so that it can make itself safe against a second run."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from regrow.actors.threads import in_thread


@dataclass(frozen=True, slots=True)
class Step:
    """What a step's function gets that has a parameter of this type, to make itself safe against a second run.

    `key` is the same whenever this step of this message runs; `epoch` grows with each life of the agent, so that
    whoever has seen a higher one can refuse this one.
    """

    key: str
    epoch: int


def call_with_step(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], step: Step
) -> Callable[[], Awaitable[Any]]:
    """A call of a step's function, with its Step where it wants that; a `def` function runs in a thread."""
    given = {**kwargs, **_wanted(function, step)}
    if inspect.iscoroutinefunction(function):
        return lambda: function(*args, **given)
    return lambda: in_thread(lambda: function(*args, **given), ())


def _wanted(function: Callable[..., Any], step: Step) -> dict[str, Step]:
    """The step under the name of the parameter that wants it."""
    try:
        parameters = inspect.signature(function, eval_str=True).parameters.values()
    except (TypeError, ValueError, NameError):  # a built-in has none to show
        return {}
    return {parameter.name: step for parameter in parameters if parameter.annotation is Step}
