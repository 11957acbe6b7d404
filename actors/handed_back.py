"""What an agent gives back that has taken a conversation."""

from __future__ import annotations

from pydantic import Field

from regrow.router.conversation import Said, ToolResult
from regrow.router.request import FinishReason, Usage
from regrow.runtime.message import Message


class HandedBack(Message):
    """What the agent gives that has taken a conversation: its answer, what was said since, and what it has spent."""

    text: str
    messages: tuple[Said | ToolResult, ...] = ()
    usage: Usage
    cost: float | None
    turns: int = Field(ge=0)
    finish: FinishReason = FinishReason.STOP
    sources: tuple[str, ...] = ()
