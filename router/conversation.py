"""What is said in turns between a model and whoever runs tools for it: messages, calls, results, schemas.

The router knows nothing of tools but this: their names, what they say of themselves, and text.
"""

from __future__ import annotations

from enum import Enum

from pydantic import Field

from regrow.runtime.message import Message

LIMIT_TOOLS = 128
"""Schemas in one request; no provider takes more."""

LIMIT_MESSAGES = 2_000
"""Messages of one conversation; whoever has more leaves the oldest out, or has them summarized."""

LIMIT_CALLS = 128
"""Calls that a model makes at once."""


class Role(Enum):
    """Who says a message of a conversation."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class ToolSchema(Message):
    """A tool as a model is told of it; `parameters` is the JSON schema of its arguments, an object, as text."""

    name: str
    description: str
    parameters: str = '{"type":"object","properties":{}}'

    @property
    def size_bytes(self) -> int:
        """Of all that a model reads of it."""
        return len(self.name.encode()) + len(self.description.encode()) + len(self.parameters.encode())


class ToolCall(Message):
    """What a model asks to be run. `arguments` is as it wrote them: meant as a JSON object, and maybe none."""

    id: str
    name: str
    arguments: str = ""

    @property
    def size_bytes(self) -> int:
        """Of all that a model reads of it."""
        return len(self.id.encode()) + len(self.name.encode()) + len(self.arguments.encode())


class ToolResult(Message):
    """What a model is told of one of its calls, named by `call_id`: the result, or why there is none."""

    call_id: str
    content: str
    is_error: bool = False

    @property
    def size_bytes(self) -> int:
        """Of all that a model reads of it."""
        return len(self.call_id.encode()) + len(self.content.encode())


class Said(Message):
    """One message of a conversation; only an assistant's has calls.

    With `mends` it is no question: it says what is wrong with the answer before it, to which it belongs.
    """

    role: Role
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = Field(default=(), max_length=LIMIT_CALLS)
    mends: bool = False

    @property
    def size_bytes(self) -> int:
        """Of all that a model reads of it."""
        return len(self.text.encode()) + sum(call.size_bytes for call in self.tool_calls)


Turn = Said | ToolResult
"""What a conversation is made of, in its order; the results of calls follow the message that has them."""
