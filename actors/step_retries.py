"""Repeats a step that fails, and records each attempt: after a crash those that were made still count.

Only the runtime repeats: whoever is called from a step must not (design decision 7).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from regrow.actors.durable_errors import StepFailed
from regrow.actors.step_span import step_span
from regrow.runtime.contain import text_of
from regrow.runtime.errors import Misuse, RegrowError
from regrow.runtime.journal_entries import StepKey
from regrow.runtime.retry_budget import RetryBudget
from regrow.runtime.signals import Failure

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from regrow.actors.recorded_steps import RecordedSteps

MAX_ATTEMPTS = 100
"""Each is a record, and a message may have so many of them."""
MAX_TEXT_CHARS = 2_000
"""Of what an exception says, in the record of its attempt."""
ATTEMPT_MARK = "~"
"""Between the name of a step and the number of an attempt; in no other name of a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """When an idempotent step is tried again: after an exception of these classes, so often, after such waits.

    A RegrowError, such as a Refused of somebody who was asked, is never tried again.

    The waits double from `first_wait_s` to `longest_wait_s`, each shortened by chance to half at most. No attempt
    begins after the deadline of the ask that is handled, and none when too many steps of that name have failed in
    this process (`RetryBudget`).
    """

    on: type[Exception] | tuple[type[Exception], ...]
    attempts: int = 3
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= MAX_ATTEMPTS:
            raise Misuse(f"Retries(attempts={self.attempts}): give 1 to {MAX_ATTEMPTS}")
        if not 0 <= self.first_wait_s <= self.longest_wait_s:
            raise Misuse(
                f"Retries(first_wait_s={self.first_wait_s}, longest_wait_s={self.longest_wait_s}): give waits of 0 "
                "or more, the longest not below the first"
            )


async def tried(
    first: StepKey,
    call: Callable[[], Awaitable[Any]],
    retries: Retries,
    records: RecordedSteps,
    *,
    budget: RetryBudget,
    time_left_s: Callable[[], float | None],
) -> Any:
    """The result of a step, of this run of its turn or of an earlier one. Raises StepFailed, and what `on` has not."""
    made, last = 0, Failure(error="", text="")
    while made < retries.attempts and (found := await records.recorded(attempt_key(first, made))) is not None:
        (result,) = found
        if not isinstance(result, Failure):
            return result
        made, last = made + 1, result
    if made == retries.attempts:
        raise StepFailed(f"step {first.name!r} has failed {made} times; the last time: {last.text}")

    def again(failed: Exception) -> float | bool:
        if not isinstance(failed, _Failed):
            return False  # the journal's word, or a result that can not be stored: to run it again would mend neither
        wait_s = min(retries.longest_wait_s, retries.first_wait_s * 2 ** (made - 1)) * random.uniform(0.5, 1.0)
        # All failures count for the budget, also one after which nothing is left to try.
        if not budget.failed(first.name):
            return False
        left_s = time_left_s()
        return False if left_s is not None and left_s <= wait_s else wait_s

    earlier: Span | None = None
    import stamina  # here, since few processes repeat anything

    try:
        async for attempt in stamina.retry_context(on=again, attempts=retries.attempts - made, timeout=None):
            with attempt:
                key = attempt_key(first, made)
                made += 1
                await records.begin(key)
                try:
                    with step_span(first.name, attempt=made, earlier=earlier) as earlier:
                        result = await call()
                except retries.on as error:
                    if isinstance(error, RegrowError):
                        raise  # what the runtime says of itself is no failure of the step
                    await records.end(key, Failure(error=type(error).__name__, text=text_of(error)[:MAX_TEXT_CHARS]))
                    raise _Failed from error
                await records.end(key, result)
                budget.succeeded(first.name)
                return result
    except _Failed as failed:
        cause = failed.__cause__
        raise StepFailed(f"step {first.name!r} has failed {made} times; the last time: {cause!r:.500}") from cause
    raise AssertionError("stamina gives up by raising")


class _Failed(Exception):
    """The step itself has failed; its cause is what it raised."""


def attempt_key(first: StepKey, made: int) -> StepKey:
    """The key of the next attempt, after so many; the first one's is that of a step without retries."""
    return first if made == 0 else replace(first, name=f"{first.name}{ATTEMPT_MARK}{made + 1}")
