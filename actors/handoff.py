"""A conversation that is handed to another agent, which answers in place of the one that had it.

The agent that takes it has a handler for `Handoff`, goes on with `ctx.models.run(handoff)` and its own tools, and
returns `answer.handed_back()`. It has the deadline and the capability of the message behind it, as every ask has, and
of turns, money and tokens what is left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, Field, ValidationError

from regrow.actors.called_together import in_one_line
from regrow.actors.handed_back import HandedBack
from regrow.actors.loop_errors import LoopEnded, TimeUsedUp
from regrow.actors.loop_limits import MAX_TURNS, Limits
from regrow.actors.tool import json_text
from regrow.actors.tool_errors import NO_ANSWER
from regrow.router.conversation import LIMIT_MESSAGES, Said, ToolCall, ToolResult, ToolSchema
from regrow.router.request import LIMIT_PASSAGES, Passage, Usage
from regrow.runtime.errors import AskTimeout, ContactLost, Misuse, Refused
from regrow.runtime.message import Request

if TYPE_CHECKING:
    from regrow.actors.context import Context
    from regrow.runtime.ref import ActorRef

HANDOFF_TIMEOUT_S: Final = 600.0
"""How long the other agent may take where the message has no earlier deadline; a durable turn waits without limit."""
WITHOUT_LIMIT_S: Final = 10 * 365 * 86_400.0
"""As good as none; every ask has a deadline."""
MAX_HANDOFFS: Final = 32
"""Agents among which one model chooses."""
HANDOFF_STEP: Final = "handoff:"
"""Before the id of the agent, in the name of the step that a hand-off is in a durable turn."""

_PREFIX: Final = "hand_off_to_"
_ODD: Final = re.compile(r"[^a-zA-Z0-9_-]+")


class _Arguments(BaseModel):
    reason: str = Field(default="", description="What it is to do. It reads the whole conversation and this.")


_SCHEMA: Final = json_text(_Arguments.model_json_schema())


class HandoffFailed(Refused):
    """The other agent has given no answer; the model is told, and goes on itself.

    Attributes: `turns`, `cost`, `input_tokens` and `output_tokens`, what the other agent is known to have spent.
    """

    turns = 0
    cost: float | None = 0.0
    input_tokens = 0
    output_tokens = 0

    @property
    def usage(self) -> Usage:
        """The tokens together."""
        return Usage(input_tokens=self.input_tokens, output_tokens=self.output_tokens)


class Handoff(Request[HandedBack]):
    """A conversation to go on with, as far as it has come, and what may still be spent on it.

    `context` is what its answer may lean on, and `instructions` say of what form it has to be.
    """

    messages: tuple[Said | ToolResult, ...] = Field(max_length=LIMIT_MESSAGES)
    context: tuple[Passage, ...] = Field(default=(), max_length=LIMIT_PASSAGES)
    instructions: str = ""
    max_turns: int = Field(ge=1, le=MAX_TURNS)
    max_cost: float | None = None
    max_tokens: int | None = None

    @property
    def limits(self) -> Limits:
        """What may still be spent."""
        return Limits(max_turns=self.max_turns, max_cost=self.max_cost, max_tokens=self.max_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taker:
    """An agent that a conversation may be handed to, and how the model is told of it."""

    ref: ActorRef
    schema: ToolSchema


def takers(ctx: Context, handoff: Sequence[object] | Mapping[object, str]) -> Mapping[str, Taker]:
    """The agents of `handoff` by what the model calls them; in a mapping each with when it is the right one.

    Raises Misuse where these are too many, or two that the model could not tell apart.
    """
    if isinstance(handoff, str | bytes) or not isinstance(handoff, Sequence | Mapping):
        raise Misuse(f'handoff={handoff!r}: give a list of agents, such as handoff=["shop/manager"]')
    if len(handoff) > MAX_HANDOFFS:
        raise Misuse(f"{ctx.id} names {len(handoff)} agents to hand over to, and at most {MAX_HANDOFFS} can be given")
    found: dict[str, Taker] = {}
    for target in handoff:
        ref = ctx.ref(target)
        id = ref.address.actor
        name = _PREFIX + _ODD.sub("_", id.rpartition("/")[2])[: 64 - len(_PREFIX)]
        if name in found:
            raise Misuse(
                f"{ctx.id} names {id} and {found[name].ref.address.actor} to hand over to, and its model calls both "
                f"{name}; name one of them"
            )
        when = handoff[target] if isinstance(handoff, Mapping) else ""
        described = f"Hands this conversation to {id}, which answers in your place." + (f" {when}" if when else "")
        found[name] = Taker(ref=ref, schema=ToolSchema(name=name, description=described, parameters=_SCHEMA))
    return found


async def handed_over(ctx: Context, call: ToolCall, taker: Taker, request: Handoff) -> HandedBack:
    """What the other agent gives. In a durable turn it is a step, and its failure is recorded too.

    Raises HandoffFailed, and TimeUsedUp where the other has it and takes too long: it goes on, so nobody else may.
    """
    actor = taker.ref.address.actor
    try:
        _Arguments.model_validate_json(call.arguments if call.arguments.strip() else "{}")
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise HandoffFailed(in_one_line(f"not handed over: its arguments are not what it takes ({problem})")) from error

    async def ask() -> HandedBack:
        timeout_s = HANDOFF_TIMEOUT_S if ctx.tools.ends_at_deadline else WITHOUT_LIMIT_S
        try:
            return await ctx.ask(taker.ref, request, timeout_s=timeout_s)
        except (AskTimeout, ContactLost) as error:
            raise TimeUsedUp(
                f"{actor} has the conversation of {ctx.id} and has not answered it in time ({error}); it goes on with "
                "it, so do not have it done by another: look there what came of it"
            ) from error
        except (Refused, *NO_ANSWER) as error:
            why = f"{actor} has not answered ({type(error).__name__}: {error}); go on yourself, or do without"
            raise _with_spent(HandoffFailed(in_one_line(why)), error) from error

    return await ctx.tools.once(HANDOFF_STEP + actor, f"{call.id} {request.model_dump_json()}", ask)


def _with_spent(failed: HandoffFailed, error: Exception) -> HandoffFailed:
    if isinstance(error, LoopEnded):
        failed.turns, failed.cost = error.turns, error.cost
        failed.input_tokens, failed.output_tokens = error.input_tokens, error.output_tokens
    return failed
