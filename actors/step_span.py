"""The span of a step of a durable turn: one for each attempt, each linked to the one before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import INVALID_SPAN, Link

from regrow.runtime import telemetry

if TYPE_CHECKING:
    from opentelemetry.trace import Span


@contextmanager
def step_span(name: str, *, attempt: int = 1, earlier: Span | None = None) -> Iterator[Span]:
    """The span around one attempt at a step, in a turn that has one; elsewhere nothing is recorded."""
    if not telemetry.is_inside():
        yield INVALID_SPAN
        return
    attributes: dict[str, str | int | float | bool] = {
        telemetry.STEP_NAME: name,
        telemetry.SHOWN_AS: telemetry.SHOWN_AS_CHAIN,
    }
    if attempt > 1:
        attributes[telemetry.ATTEMPT] = attempt
    links = [Link(earlier.get_span_context())] if earlier is not None else []
    with telemetry.span(f"{telemetry.STEP} {name}", "", attributes, links=links) as span:
        yield span


def in_step_span(name: str, call: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """The same call, with the span of a step that is tried once."""

    async def called() -> Any:
        with step_span(name):
            return await call()

    return called
