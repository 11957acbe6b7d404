"""What a tool gave, checked against what it declares and against its limit. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from regrow.actors.tool_errors import MAX_TOLD_CHARS, InvalidResult, ResultTooLarge, ToolFailed

if TYPE_CHECKING:
    from regrow.actors.tool import Tool


@dataclass(frozen=True, slots=True)
class Given:
    """What a tool gave: the value, and the same as JSON."""

    value: Any
    written: str

    @property
    def told(self) -> str:
        """The same as a model reads it: a text as it stands, all else as JSON."""
        return self.value if isinstance(self.value, str) else self.written


def checked_result(tool: Tool[Any], value: object) -> Given:
    """What a tool gave, where it is what the tool declares. Raises InvalidResult, ResultTooLarge."""
    if isinstance(value, Written):
        return _read(tool, value)
    try:
        checked = tool.result.validate_python(value, strict=True)
        written = tool.result.dump_json(checked, warnings="error")
    except ValidationError as error:
        raise invalid(tool, error.errors(include_url=False)[0]["msg"], type(value).__name__) from error
    except ValueError as error:  # what pydantic raises for a value that JSON has no form for
        raise invalid(tool, f"it has no JSON form: {error}", type(value).__name__) from error
    if len(written) > tool.result_bytes:
        raise too_large(tool, f"{len(written):,} bytes")
    return Given(checked, written.decode())


class Written(str):
    """A result that came as JSON, from another process."""

    __slots__ = ()


def _read(tool: Tool[Any], written: Written) -> Given:
    try:
        return Given(tool.result.validate_json(written), str(written))
    except ValidationError as error:
        raise invalid(tool, error.errors(include_url=False)[0]["msg"], "something") from error


def failed(tool: Tool[Any], kind: str, text: str) -> ToolFailed:
    """What is raised where the tool's own code has raised an error of that class with that text."""
    text = text[:MAX_TOLD_CHARS]
    return ToolFailed(f"{tool.name} failed ({kind}{': ' if text else ''}{text})", tool=tool.name)


def invalid(tool: Tool[Any], why: str, gave: str) -> InvalidResult:
    """What is raised for a result of another type."""
    return InvalidResult(
        f"{tool.name} gave {gave}, which is not what it declares ({why[:MAX_TOLD_CHARS]}); what it did is done: mend "
        "the tool, or what it declares",
        tool=tool.name,
    )


def too_large(tool: Tool[Any], size: str) -> ResultTooLarge:
    """What is raised for a result of that size."""
    return ResultTooLarge(
        f"{tool.name} gave {size} as JSON, and {tool.result_bytes:,} is the limit (result_bytes); what it did is done: "
        "ask it for less, or keep the rest elsewhere and give where it is",
        tool=tool.name,
    )
