"""The span of one call of a model, by the GenAI conventions: what was asked for, what it took, and what it cost.

Messages have the fields of the conventions' JSON schemas (gen-ai-input-messages.json, gen-ai-output-messages.json and
gen-ai-system-instructions.json of semantic-conventions-genai, as of September 2026).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import SpanKind

from regrow.router.conversation import Said, ToolCall, ToolResult
from regrow.router.prompting import chat_messages
from regrow.router.request import FinishReason
from regrow.runtime import telemetry
from regrow.runtime.span_content import note_messages, parsed

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from regrow.router.catalog import ModelCard
    from regrow.router.provider import ProviderReply
    from regrow.router.request import ModelRequest, Usage

Fields = dict[str, object]

_FINISH: Final = {FinishReason.FILTERED: "content_filter", FinishReason.TOOL_CALLS: "tool_call"}
"""What the conventions call by another name; of NOTHING_FOUND they know none."""


@contextmanager
def chat_span(request: ModelRequest, card: ModelCard, parent: str) -> Iterator[Span]:
    """The span around a call, below the current one; where there is none, below `parent`, a traceparent."""
    attributes: dict[str, str | int | float | bool] = {
        telemetry.OPERATION: telemetry.CHAT,
        telemetry.PROVIDER: card.provider,
        telemetry.REQUEST_MODEL: card.name,
        telemetry.MAX_TOKENS: request.max_output_tokens,
        telemetry.WORK: request.work.value,
    }
    if request.agent:
        attributes[telemetry.AGENT_ID] = request.agent
    with telemetry.span(f"{telemetry.CHAT} {card.name}", parent, attributes, kind=SpanKind.CLIENT) as span:
        note_messages(span, telemetry.SYSTEM_INSTRUCTIONS, lambda: _instructions(request))
        note_messages(span, telemetry.INPUT_MESSAGES, lambda: _input_messages(request))
        yield span


def note_reply(span: Span, reply: ProviderReply, usage: Usage, *, cost_usd: float | None) -> None:
    """Tells on the span of a call what came of it."""
    span.set_attribute(telemetry.INPUT_TOKENS, usage.input_tokens)
    span.set_attribute(telemetry.OUTPUT_TOKENS, usage.output_tokens)
    if usage.cached_tokens:
        span.set_attribute(telemetry.CACHED_TOKENS, usage.cached_tokens)
    span.set_attribute(telemetry.FINISH_REASONS, (_finish(reply),))
    if cost_usd is not None:
        span.set_attribute(telemetry.COST_USD, cost_usd)
    note_messages(span, telemetry.OUTPUT_MESSAGES, lambda: [_output_message(reply)])


def _instructions(request: ModelRequest) -> Sequence[Fields]:
    return [_text(said.content) for said in chat_messages(request) if said.role == "system"]


def _input_messages(request: ModelRequest) -> Sequence[Fields]:
    """What follows the instructions, in the order in which a model reads it."""
    asked = [_message(said.role, _text(said.content)) for said in chat_messages(request) if said.role != "system"]
    return [*asked, *map(_turn, request.messages)]


def _turn(turn: Said | ToolResult) -> Fields:
    if isinstance(turn, ToolResult):
        return _message("tool", {"type": "tool_call_response", "id": turn.call_id, "response": turn.content})
    return _message(turn.role.value, *_parts(turn.text, turn.tool_calls))


def _output_message(reply: ProviderReply) -> Fields:
    return _message("assistant", *_parts(reply.text, reply.tool_calls)) | {"finish_reason": _finish(reply)}


def _parts(text: str, calls: Sequence[ToolCall]) -> Sequence[Fields]:
    """A text, unless it is empty beside calls, and the calls."""
    return [*([_text(text)] if text or not calls else ()), *map(_call, calls)]


def _call(call: ToolCall) -> Fields:
    arguments = parsed(call.arguments)
    return {
        "type": "tool_call",
        "id": call.id,
        "name": call.name,
        "arguments": call.arguments if arguments is None else arguments,
    }


def _text(text: str) -> Fields:
    return {"type": "text", "content": text}


def _message(role: str, *parts: Fields) -> Fields:
    return {"role": role, "parts": parts}


def _finish(reply: ProviderReply) -> str:
    return _FINISH.get(reply.finish, reply.finish.value)
