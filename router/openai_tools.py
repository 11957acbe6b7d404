"""Conversations with tools in the words of chat completions, there and back. Pure.

What a model wrote is handed on as it is: arguments that are no JSON, and names that no tool has, are for whoever runs
the tools to answer, so that the model can mend them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

from pydantic import BaseModel, ConfigDict

from regrow.router.conversation import LIMIT_CALLS, Said, ToolCall, ToolResult, ToolSchema
from regrow.runtime.contain import travelling


class SaidFunction(BaseModel):
    """What a call names. Some servers give arguments as an object."""

    model_config = ConfigDict(from_attributes=True)
    name: str
    arguments: Any = ""


class SaidCall(BaseModel):
    """A call in a completion."""

    model_config = ConfigDict(from_attributes=True)
    id: str | None = None
    function: SaidFunction


def as_messages(turns: Sequence[Said | ToolResult]) -> list[dict[str, Any]]:
    """What was said, as chat messages."""
    return [_as_message(turn) for turn in turns]


def as_tools(schemas: Sequence[ToolSchema]) -> list[dict[str, Any]]:
    """Tools as they are offered to a model."""
    return [
        {
            "type": "function",
            "function": {
                "name": schema.name,
                "description": schema.description,
                "parameters": json.loads(schema.parameters),
            },
        }
        for schema in schemas
    ]


def calls_in(said: Sequence[SaidCall]) -> tuple[ToolCall, ...]:
    """The calls that a model asks for, each under an id of its own. Raises ValueError for more than LIMIT_CALLS."""
    if len(said) > LIMIT_CALLS:
        raise ValueError(f"{len(said)} calls of tools at once, and the limit is {LIMIT_CALLS}")
    ids = _ids([travelling(call.id or "") for call in said])
    return tuple(
        ToolCall(id=id, name=travelling(call.function.name), arguments=_arguments(call.function.arguments))
        for id, call in zip(ids, said, strict=True)
    )


def _ids(said: Sequence[str]) -> list[str]:
    """The ids that a model wrote, and others where it wrote none or one twice, since a result is told by its id."""
    taken, ids = set(said), list[str]()
    for number, id in enumerate(said):
        if not id or id in ids:
            fresh = (f"{id or 'call'}_{each}" for each in count(number))
            id = next(each for each in fresh if each not in taken)
        taken.add(id)
        ids.append(id)
    return ids


def _arguments(given: object) -> str:
    if given is None:
        return ""
    return travelling(given if isinstance(given, str) else json.dumps(given, ensure_ascii=False))


def _as_message(turn: Said | ToolResult) -> dict[str, Any]:
    if isinstance(turn, ToolResult):
        return {"role": "tool", "tool_call_id": turn.call_id, "content": turn.content}
    message: dict[str, Any] = {"role": turn.role.value, "content": turn.text}
    if turn.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in turn.tool_calls
        ]
    return message
