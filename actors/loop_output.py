"""An answer as an object of a type: how a model is asked for it, and how what it wrote is read. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final, Generic, TypeVar

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from regrow.runtime.errors import Misuse

T = TypeVar("T")

MAX_PROBLEMS: Final = 5
"""So many of what is wrong are told at once."""
MAX_PROBLEM_CHARS: Final = 1_000

_FENCED: Final = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.DOTALL)


class Output(Generic[T]):
    """One type of answers. Raises Misuse for one that has no JSON schema."""

    def __init__(self, output: type[T]) -> None:
        self.name = getattr(output, "__name__", str(output))
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(output)
            self._schema = json.dumps(self._adapter.json_schema(), ensure_ascii=False, separators=(",", ":"))
        except PydanticUserError as error:
            raise Misuse(
                f"output={self.name} has no JSON schema, so that no model could write one "
                f"({str(error).partition(chr(10))[0]}); give a pydantic model"
            ) from error

    @property
    def instructions(self) -> str:
        """What a model is told beforehand."""
        return (
            "Give the final answer as one JSON value of this JSON schema, and nothing else: no text around it.\n"
            + self._schema
        )

    def read(self, text: str) -> T:
        """The value that a model wrote, in a fence or with words around it as well. Raises ValidationError."""
        first: ValidationError | None = None
        for part in _parts(text):
            try:
                return self._adapter.validate_json(part)
            except ValidationError as error:
                if first is None or _is_no_json(first):
                    first = error
        assert first is not None
        raise first

    def problems(self, error: ValidationError) -> str:
        """What is wrong, in one line for a model and for people."""
        found = error.errors(include_url=False, include_context=False, include_input=False)
        told = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'the whole'}: {each['msg']}" for each in found[:MAX_PROBLEMS]
        )
        more = f"; and {len(found) - MAX_PROBLEMS} more" if len(found) > MAX_PROBLEMS else ""
        return " ".join(told[:MAX_PROBLEM_CHARS].split()) + more

    def mend(self, error: ValidationError) -> str:
        """What a model is told of an answer that is none."""
        return f"That is no {self.name} ({self.problems(error)}). Give the whole answer again, as JSON alone."


def _parts(text: str) -> list[str]:
    """What of a text may be the JSON: all of it, what stands in a fence, and from the first brace to the last."""
    parts: list[Any] = [text.strip(), *(match.strip() for match in _FENCED.findall(text)[-1:])]
    start, end = text.find("{"), text.rfind("}")
    if 0 <= start < end:
        parts.append(text[start : end + 1])
    return parts


def _is_no_json(error: ValidationError) -> bool:
    return any(each["type"] == "json_invalid" for each in error.errors(include_url=False))
