"""What is asked of a model and what comes back: Work, ModelRequest, ModelReply, Usage."""

from __future__ import annotations

from enum import Enum

from pydantic import Field

from regrow.router.conversation import LIMIT_CALLS, LIMIT_MESSAGES, LIMIT_TOOLS, Said, ToolCall, ToolResult, ToolSchema
from regrow.runtime.message import Message, StreamRequest

DEFAULT_MAX_OUTPUT_TOKENS = 2_048
"""Room for a long answer; a reasoning model spends part of it before its first word."""

LIMIT_OUTPUT_TOKENS = 200_000
"""More than any model writes in one completion; a larger number is a slip of the keyboard."""

LIMIT_PASSAGES = 1_000
"""Passages of one request. Nobody reads more, and each one is validated on its way."""

LIMIT_LABELS = 1_000


class Tier(Enum):
    """How large a model a piece of work is given to."""

    SMALL = "small"
    LARGE = "large"

    @property
    def other(self) -> Tier:
        """The tier that stands in where this one has no model."""
        return Tier.LARGE if self is Tier.SMALL else Tier.SMALL


class Work(Enum):
    """The kind of work that the caller declares; the best single predictor of the model it needs.

    ROUTE to EXTRACT and COMPRESS say again what is there, which a small model does well; the others
    have to add something.
    """

    ROUTE = "route"
    SUMMARIZE = "summarize"
    EXTRACT = "extract"
    CLASSIFY = "classify"
    COMPRESS = "compress"
    PLAN = "plan"
    SYNTHESIZE = "synthesize"
    REASON = "reason"
    GENERATE = "generate"

    @property
    def tier(self) -> Tier:
        """The tier that does this kind of work unless the request says otherwise."""
        return Tier.SMALL if self in _SMALL_WORK else Tier.LARGE


_SMALL_WORK = frozenset((Work.ROUTE, Work.SUMMARIZE, Work.EXTRACT, Work.CLASSIFY, Work.COMPRESS))


class FinishReason(Enum):
    """Why the text ends where it ends."""

    STOP = "stop"
    LENGTH = "length"
    """`max_output_tokens` was reached; the text may end in the middle of a thought."""
    FILTERED = "filtered"
    """The provider withheld text by its content rules."""
    TOOL_CALLS = "tool_calls"
    """The model waits for the results of the calls that it asks for."""
    NOTHING_FOUND = "nothing_found"
    """The model says that what it was given holds no answer. Only the extractive model knows this surely."""


class Passage(Message):
    """A piece of text that a model may lean on, and `source`, what an answer cites it by."""

    text: str
    source: str = ""


class Quote(Message):
    """Words that stand in a passage as they are quoted (markup and line breaks aside), with its source."""

    text: str
    source: str = ""


class Usage(Message):
    """Tokens of one call. `cached_tokens` are part of `input_tokens`; `estimated` where nobody counted them."""

    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    cached_tokens: int = Field(default=0, ge=0)
    estimated: bool = False

    def plus(self, other: Usage) -> Usage:
        """Both together; estimated where one of them is."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            estimated=self.estimated or other.estimated,
        )


class ModelReply(Message):
    """A completion, and everything that is known about how it came to be.

    `text` is what the model wrote, and `tool_calls` what it asks to be run, as it wrote that. `quotes` were checked to
    stand in the passages; `sources` are those the text leans on, in the order of their first use. `cost_usd` is None
    where no price is known, never 0 for that reason. `fell_back` is True where the tier that the work asks for has no
    model. `latency_s` is the provider's time alone. `context_limit_tokens` is what this model can read and write in one
    call, None where that is not known.
    """

    text: str
    quotes: tuple[Quote, ...] = ()
    sources: tuple[str, ...] = ()
    tier: Tier
    model: str
    provider: str
    usage: Usage
    cost_usd: float | None
    latency_s: float = Field(ge=0)
    finish: FinishReason = FinishReason.STOP
    fell_back: bool = False
    tool_calls: tuple[ToolCall, ...] = Field(default=(), max_length=LIMIT_CALLS)
    context_limit_tokens: int | None = None


class ModelPart(Message):
    """The next piece of a completion's text; all of them together are the text of its reply."""

    text: str


class ModelRequest(StreamRequest[ModelPart, ModelReply]):
    """One completion to be made; streamed, its text comes in pieces as the model writes it.

    `prompt` is the question or instruction, `context` what the answer may lean on (best first),
    `labels` the choices of CLASSIFY and ROUTE. `instructions` stand with those of its work, before all else.
    `messages` are what was said since: the model's own words and calls, the results of these, more questions. `tools`
    is what it may ask for; whoever asked runs them. `tier` overrides the one of the declared work. `principal` and
    `agent` say in the ledger for whom it was. With `max_cost_usd` it is not sent where what it sends alone costs more.
    """

    work: Work
    prompt: str
    context: tuple[Passage, ...] = Field(default=(), max_length=LIMIT_PASSAGES)
    labels: tuple[str, ...] = Field(default=(), max_length=LIMIT_LABELS)
    instructions: str = ""
    max_output_tokens: int = Field(default=DEFAULT_MAX_OUTPUT_TOKENS, ge=1, le=LIMIT_OUTPUT_TOKENS)
    messages: tuple[Said | ToolResult, ...] = Field(default=(), max_length=LIMIT_MESSAGES)
    tools: tuple[ToolSchema, ...] = Field(default=(), max_length=LIMIT_TOOLS)
    tier: Tier | None = None
    principal: str = ""
    agent: str = ""
    max_cost_usd: float | None = None

    @property
    def wanted_tier(self) -> Tier:
        """The tier this request asks for: its own choice, else that of its kind of work."""
        return self.tier if self.tier is not None else self.work.tier
