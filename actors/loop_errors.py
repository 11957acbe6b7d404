"""How an agent loop ends without an answer; each says what was spent until then.

Refused (runtime)
└── LoopEnded               the model and its tools gave no answer; the agent lives
    ├── TurnsUsedUp             the model was called as often as it may be (max_turns), and still asks for tools
    ├── CostUsedUp              also OutOfBudget: the next call could pass max_cost, or the budget of the app
    ├── TokensUsedUp            also OutOfBudget: the next call could pass max_tokens
    ├── TimeUsedUp              the deadline of the message has passed
    ├── RecordsUsedUp           the message of a durable turn keeps no more records
    ├── WindowTooSmall          what has to stay in the conversation does not fit into the window
    ├── ModelFailed             also WorldBroke: a call of the model failed; its provider, the ledger, or the service
    └── OutputInvalid           the answer is not of the type that was asked for, also when it was mended once
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from regrow.runtime.errors import OutOfBudget, Refused, WorldBroke

if TYPE_CHECKING:
    from regrow.actors.loop_answer import CallMade
    from regrow.actors.loop_limits import Spent
    from regrow.router.conversation import Said, ToolResult

E = TypeVar("E", bound="LoopEnded")


class LoopEnded(Refused):
    """The model and its tools gave no answer. What the tools have done is done.

    Attributes: `turns`, `cost` in US dollars (None where no price is known), `input_tokens` and `output_tokens`, which
    also whoever asked the agent gets; `text`, the last one of the model; and, in the process of the loop, `messages`
    and `calls`, as a LoopAnswer has them.
    """

    turns = 0
    cost: float | None = 0.0
    input_tokens = 0
    output_tokens = 0
    text = ""
    messages: tuple[Said | ToolResult, ...] = ()
    calls: tuple[CallMade, ...] = ()


class TurnsUsedUp(LoopEnded):
    """The model was called `max_turns` times, and asks for tools again; these were not run."""


class CostUsedUp(LoopEnded, OutOfBudget):
    """The next call could pass `max_cost` or the budget of the app, or what calls cost is not known."""


class TokensUsedUp(LoopEnded, OutOfBudget):
    """The next call could pass `max_tokens`."""


class TimeUsedUp(LoopEnded):
    """The deadline of the message that the agent handles has passed; nobody waits for the answer any more."""


class RecordsUsedUp(LoopEnded):
    """Of a durable turn: its message would keep more records than it may, if the next calls were made."""


class WindowTooSmall(LoopEnded):
    """The instructions, the questions and the newest exchange alone are more than `window_tokens` hold."""


class ModelFailed(LoopEnded, WorldBroke):
    """A call of the model has failed; with `messages` the loop can be gone on with.

    Attributes: `failure`, the name of the error's class, such as RateLimited; `retry_after_s`, as a provider gave it.
    The error itself is the `__cause__` in the process of the loop.
    """

    failure = ""
    retry_after_s: float | None = None


class OutputInvalid(LoopEnded):
    """The answer is not of the type `output`, though the model was told what is wrong. `text` is what it wrote."""


def spent_in(
    error: E,
    spent: Spent,
    *,
    text: str = "",
    messages: tuple[Said | ToolResult, ...] = (),
    calls: tuple[CallMade, ...] = (),
) -> E:
    """The error with what was spent until then."""
    error.turns, error.cost = spent.turns, spent.known_cost
    error.input_tokens, error.output_tokens = spent.usage.input_tokens, spent.usage.output_tokens
    error.text, error.messages, error.calls = text, messages, calls
    return error


def model_failed(agent: str, refusal: Refused) -> LoopEnded:
    """How a loop ends whose model was not called, or gave no answer, for this reason."""
    if isinstance(refusal, OutOfBudget):
        return CostUsedUp(f"{agent} has no answer: {refusal}")
    name = type(refusal).__name__
    ended = ModelFailed(f"{agent} has no answer, since a call of its model failed ({name}: {refusal})")
    ended.failure, ended.retry_after_s = name, getattr(refusal, "retry_after_s", None)
    return ended
