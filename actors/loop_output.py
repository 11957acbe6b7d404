"""An answer as an object of a type: how a model is asked for it, and how what it wrote is read. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Final, Generic, TypeVar

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from regrow.runtime.contain import text_of
from regrow.runtime.errors import Misuse

T = TypeVar("T")

MAX_PROBLEMS: Final = 5
"""So many of what is wrong are told at once."""
MAX_PROBLEM_CHARS: Final = 1_000

MAX_STARTS: Final = 100
"""Braces and brackets of one text that are tried as the begin of a value."""

_FENCE: Final = "```"
_BEGINS: Final = re.compile(r"[{\[]")


class Output(Generic[T]):
    """One type of answers. Raises Misuse for one that has no JSON schema."""

    def __init__(self, output: type[T]) -> None:
        if isinstance(output, str):
            raise Misuse(f"output={output!r} is the name of a type; give the type itself, such as output={output}")
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
            except Exception as error:  # of a validator of the type's author: the model is told, and the agent lives
                first = _failed_validator(self.name, error)
                break
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


def _parts(text: str) -> Iterator[str]:
    """What of a text may be the JSON: all of it, what is in the last fence, and each value in it, the last first."""
    yield text.strip()
    between = text.split(_FENCE)
    if len(between) > 1:
        fenced = between[-2 if len(between) % 2 else -1]
        language, newline, rest = fenced.partition("\n")
        yield (rest if newline and (not language.strip() or language.strip().isalpha()) else fenced).strip()
    yield from reversed(list(_values(text)))


def _values(text: str) -> Iterator[str]:
    """The objects and lists in a text, as they are written; only the first MAX_STARTS places are looked at."""
    decoder, end = json.JSONDecoder(), 0
    for start in islice(_BEGINS.finditer(text), MAX_STARTS):
        if start.start() < end:
            continue  # inside of the one before
        try:
            _, end = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        yield text[start.start() : end]


def _failed_validator(name: str, error: Exception) -> ValidationError:
    said = PydanticCustomError("validator_failed", "{said}", {"said": f"{type(error).__name__}: {text_of(error)}"})
    return ValidationError.from_exception_data(name, [{"type": said, "loc": (), "input": None}])


def _is_no_json(error: ValidationError) -> bool:
    return any(each["type"] == "json_invalid" for each in error.errors(include_url=False))
