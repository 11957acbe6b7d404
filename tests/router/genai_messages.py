"""What the GenAI conventions demand of the messages on a span, written down from their published JSON schemas.

gen-ai-input-messages.json, gen-ai-output-messages.json and gen-ai-system-instructions.json, as of September 2026. The
schemas let any further part pass as a generic one; here only those that Regrow has reason to send do, so that a part
whose fields have other names than a consumer reads is noticed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Part(BaseModel):
    """Further fields would be allowed; there is no reason to have any."""

    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(Part):
    type: Literal["text"]
    content: str


class ToolCallRequestPart(Part):
    """The arguments may be anything; an object where they can be read as one."""

    type: Literal["tool_call"]
    id: str | None = None
    name: str
    arguments: Any = None


class ToolCallResponsePart(Part):
    type: Literal["tool_call_response"]
    id: str | None = None
    response: Any


AnyPart = Annotated[TextPart | ToolCallRequestPart | ToolCallResponsePart, Field(discriminator="type")]


class ChatMessage(Part):
    role: Literal["system", "user", "assistant", "tool"]
    parts: list[AnyPart]


class OutputMessage(ChatMessage):
    """`finish_reason` was required, and is deprecated now: it may be there."""

    finish_reason: Literal["stop", "length", "content_filter", "tool_call", "error"] | str


SYSTEM_INSTRUCTIONS = TypeAdapter(list[TextPart])
INPUT_MESSAGES = TypeAdapter(list[ChatMessage])
OUTPUT_MESSAGES = TypeAdapter(list[OutputMessage])
