"""The span of one call of a model, by the GenAI conventions: what was asked for, what it took, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind

from regrow.router.conversation import Said
from regrow.runtime import telemetry

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from regrow.router.catalog import ModelCard
    from regrow.router.provider import ProviderReply
    from regrow.router.request import ModelRequest, Usage


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
        telemetry.note_content(span, telemetry.INPUT_MESSAGES, lambda: _input_messages(request))
        yield span


def note_reply(span: Span, reply: ProviderReply, usage: Usage, *, cost_usd: float | None) -> None:
    """Tells on the span of a call what came of it."""
    span.set_attribute(telemetry.INPUT_TOKENS, usage.input_tokens)
    span.set_attribute(telemetry.OUTPUT_TOKENS, usage.output_tokens)
    span.set_attribute(telemetry.FINISH_REASONS, (reply.finish.value,))
    if cost_usd is not None:
        span.set_attribute(telemetry.COST_USD, cost_usd)
    telemetry.note_content(span, telemetry.OUTPUT_MESSAGES, lambda: _output_messages(reply))


def _input_messages(request: ModelRequest) -> str:
    said = [_message("user", request.prompt)]
    for passage in request.context:
        said.append(_message("user", passage.text))
    for each in request.messages:
        said.append(_message(each.role.value, each.text) if isinstance(each, Said) else _message("tool", each.content))
    return json.dumps(said, ensure_ascii=False)


def _output_messages(reply: ProviderReply) -> str:
    calls = [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        for call in reply.tool_calls
    ]
    parts = [{"type": "text", "content": reply.text}, *calls]
    return json.dumps([{"role": "assistant", "parts": parts, "finish_reason": reply.finish.value}], ensure_ascii=False)


def _message(role: str, text: str) -> dict[str, object]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}
