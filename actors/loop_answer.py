"""What an agent loop gives: the answer, and everything that was said, called and spent on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from regrow.actors.handed_back import HandedBack

if TYPE_CHECKING:
    from regrow.router.conversation import Said, ToolCall, ToolResult
    from regrow.router.request import FinishReason, Usage
    from regrow.runtime.errors import Refused

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMade:
    """One call of a tool, or a hand-off, that the model asked for, and what came of it.

    `told` is what the model was told: the result, or why there is none. `error` is the refusal behind that, None where
    it went well. `seconds` is how long it took in this run of the turn: next to nothing where it was given again from
    its record. `cost` is the tool's own, in US dollars; 0 where nothing has run.
    """

    call: ToolCall
    told: str
    error: Refused | None = None
    seconds: float
    cost: float = 0.0

    @property
    def name(self) -> str:
        """The tool, as the model named it."""
        return self.call.name

    @property
    def arguments(self) -> str:
        """As the model wrote them: meant as a JSON object, and maybe none."""
        return self.call.arguments

    @property
    def outcome(self) -> str:
        """`done`, or the name of the error's class."""
        return "done" if self.error is None else type(self.error).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopAnswer(Generic[T_co]):
    """The answer of a model that was given tools.

    `output` is the answer as the type that was asked for, None without one. `messages` is the whole conversation with
    the answer: given to the next `run` with one more question, it goes on. `said` is what was said in this run, without
    what was left out. `calls` are in the order in which the model
    asked for them. `usage` and `cost` (US dollars; None where no price is known) are those of all model calls and
    tools together, `turns` how often the model was called. `left_out` are the messages that the model was not shown
    any more at the end, since the window was full. `answered_by` is the agent that the conversation was handed to,
    empty where it was this one. `sources` are those the text leans on.
    """

    text: str
    output: T_co
    messages: tuple[Said | ToolResult, ...]
    said: tuple[Said | ToolResult, ...]
    calls: tuple[CallMade, ...]
    usage: Usage
    cost: float | None
    turns: int
    finish: FinishReason
    sources: tuple[str, ...] = ()
    left_out: tuple[Said | ToolResult, ...] = ()
    answered_by: str = ""

    def handed_back(self) -> HandedBack:
        """What an agent returns that has gone on with a `Handoff`."""
        return HandedBack(
            text=self.text,
            messages=self.said,
            usage=self.usage,
            cost=self.cost,
            turns=self.turns,
            finish=self.finish,
            sources=self.sources,
        )
