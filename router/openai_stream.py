"""A completion that comes in chunks: what each adds, and which of its text may be shown already."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from regrow.router.conversation import LIMIT_CALLS
from regrow.router.openai_tools import SaidCall, SaidFunction

LIMIT_TEXT_CHARS: Final = 4_000_000
"""More than any model writes in one completion; a server that goes on is cut off."""

_THINK: Final = "<think>"
_THOUGHTS: Final = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)


class _FunctionPart(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    name: str | None = None
    arguments: str | None = None


class _CallPart(BaseModel):
    """A piece of the call at `index`: its id and name come with the first, its arguments bit by bit."""

    model_config = ConfigDict(from_attributes=True)
    index: int = Field(default=0, ge=0, lt=LIMIT_CALLS)
    id: str | None = None
    function: _FunctionPart | None = None


class _Delta(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_CallPart] | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Chunk(BaseModel):
    """The part of a chunk that is used. The SDK checks none of it."""

    model_config = ConfigDict(from_attributes=True)
    choices: list[_Choice] = []
    usage: Any = None


class Written:
    """What has been written so far. `finish_reason` is None until the model has said that it is done."""

    def __init__(self) -> None:
        self.content = ""
        self.refusal = ""
        self.finish_reason: str | None = None
        self.usage: object = None
        self._calls: dict[int, tuple[str, str, str]] = {}
        """By their index: id, name, arguments."""
        self._shown = 0
        self._began: int | None = None

    def add(self, raw: object) -> None:
        """Takes a chunk in. Raises ValueError for what is none, and beyond LIMIT_TEXT_CHARS."""
        chunk = _Chunk.model_validate(raw, from_attributes=True)
        if chunk.usage is not None:
            self.usage = chunk.usage  # of the whole call; it comes in a last chunk without a choice
        for choice in chunk.choices[:1]:
            self.content += choice.delta.content or ""
            self.refusal += choice.delta.refusal or ""
            for part in choice.delta.tool_calls or ():
                self._add_call(part)
            self.finish_reason = choice.finish_reason or self.finish_reason
        written = sum(len(name) + len(arguments) for _, name, arguments in self._calls.values())
        if len(self.content) + len(self.refusal) + written > LIMIT_TEXT_CHARS:
            raise ValueError(f"a text of more than {LIMIT_TEXT_CHARS:,} signs")

    def _add_call(self, part: _CallPart) -> None:
        id, name, arguments = self._calls.get(part.index, ("", "", ""))
        function = part.function or _FunctionPart()
        # Some servers say id and name again in each piece; only the arguments come in bits.
        self._calls[part.index] = part.id or id, name or function.name or "", arguments + (function.arguments or "")

    @property
    def calls(self) -> list[SaidCall]:
        """The calls that it asks for, in their order."""
        return [
            SaidCall(id=id, function=SaidFunction(name=name, arguments=arguments))
            for _, (id, name, arguments) in sorted(self._calls.items())
        ]

    def check_whole(self) -> None:
        """Raises ValueError where the model has not said that it is done."""
        if self.finish_reason is None:
            raise ValueError("a stream without a finish_reason, so it is not whole")

    def fresh(self) -> str:
        """The text that is new and surely part of the completion: no thoughts, and no space that may be its last."""
        begin = self._beginning()
        if begin is None:
            return ""
        end = len(self.content.rstrip())
        fresh = self.content[max(begin, self._shown) : end]
        self._shown = max(self._shown, end)
        return fresh

    def _beginning(self) -> int | None:
        """Where the text begins behind a reasoning model's thoughts; None while that is open."""
        if self._began is None:
            text = self.content
            start = len(text) - len(text.lstrip())
            if (thoughts := _THOUGHTS.match(text)) is not None and thoughts.end() < len(text):
                self._began = thoughts.end()
            elif start < len(text) and not _THINK.startswith(text[start : start + len(_THINK)]):
                self._began = start
        return self._began


def is_whole(headers: Mapping[str, str]) -> bool:
    """Whether a server has answered with a whole completion, though it was asked for a stream of its chunks."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def outside(limit: asyncio.Timeout, emitting: Awaitable[None]) -> None:
    """Waits for a reader, on whose time the provider's limit does not run."""
    loop, until_s = asyncio.get_running_loop(), limit.when()
    began_s = loop.time()
    limit.reschedule(None)
    await emitting
    if until_s is not None:
        limit.reschedule(until_s + loop.time() - began_s)
