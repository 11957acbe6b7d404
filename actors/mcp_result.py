"""What a server says, read: the tools that it lists, and what a call has given. Pure.

All of it is data. A text goes back as the result of the tool, and as nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from regrow.actors.mcp_call import Outcome, ToolAnswer
from regrow.actors.mcp_lock import MAX_TOOL_BYTES, Pinned
from regrow.actors.mcp_schema import Shape
from regrow.actors.tool_errors import MAX_TOLD_CHARS

if TYPE_CHECKING:
    from mcp.types import CallToolResult, ContentBlock, Tool

MAX_NAME_CHARS = 128


def pins_of(tools: Iterable[Tool]) -> tuple[dict[str, Pinned], tuple[str, ...]]:
    """What a server lists, by its names; and why some of it can not be used, in words."""
    found: dict[str, Pinned] = {}
    unfit: list[str] = []
    for tool in tools:
        pin = Pinned(
            name=tool.name, description=tool.description or "", schema=tool.input_schema, output=tool.output_schema
        )
        size_bytes = len(json.dumps(pin.said()))
        if not tool.name or len(tool.name) > MAX_NAME_CHARS or not tool.name.isprintable():
            unfit.append(f"a tool has no usable name ({tool.name[:40]!r})")
        elif tool.name in found:
            unfit.append(f"{tool.name} is listed twice")
        elif size_bytes > MAX_TOOL_BYTES:
            unfit.append(f"{tool.name} says {size_bytes:,} bytes of itself, and {MAX_TOOL_BYTES:,} is the limit")
        elif (wrong := _wrong_schema(pin)) is not None:
            unfit.append(f"{tool.name} has a schema that is none: {wrong}")
        else:
            found[tool.name] = pin
    return found, tuple(unfit)


def _wrong_schema(pin: Pinned) -> str | None:
    return Shape(pin.schema).why_no_schema() or (Shape(pin.output).why_no_schema() if pin.output else None)


def given(result: CallToolResult, pin: Pinned) -> tuple[Any, bool]:
    """The value of a result, and whether its server has said that it is one of the tool's output schema."""
    if pin.output is None:
        return text_of(result.content), False
    return result.structured_content, result.structured_content is not None


def failure(result: CallToolResult) -> ToolAnswer:
    """What is told of a result that the server calls an error."""
    return ToolAnswer(outcome=Outcome.FAILED, text=text_of(result.content)[:MAX_TOLD_CHARS])


def text_of(content: Iterable[ContentBlock]) -> str:
    """What a model reads of a result: its texts, and a word for what is none."""
    return "\n".join(_text(each) for each in content)


def _text(block: ContentBlock) -> str:
    match block.type:
        case "text":
            return block.text
        case "image" | "audio":
            return f"[{block.type} of type {block.mime_type}, {len(block.data):,} characters of base64, left out]"
        case "resource_link":
            return f"[resource {block.name}: {block.uri}]"
        case "resource":
            text = getattr(block.resource, "text", None)
            return text if isinstance(text, str) else f"[resource {block.resource.uri}, not a text, left out]"


def answer_with(value: object, limit_bytes: int) -> ToolAnswer:
    """The answer that carries this value, where it is not too large."""
    written = json.dumps(value, ensure_ascii=False)
    size_bytes = len(written.encode("utf-8", "surrogatepass"))
    if size_bytes > limit_bytes:
        return ToolAnswer(outcome=Outcome.TOO_LARGE, text=f"{size_bytes:,} bytes as JSON")
    return ToolAnswer(outcome=Outcome.GIVEN, text=written)


def parsed(arguments: str) -> Mapping[str, Any]:
    """The arguments of a call, as they were checked before they were sent."""
    found: Mapping[str, Any] = json.loads(arguments)
    return found
