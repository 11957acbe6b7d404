"""The port to whoever runs a model, and its scripted twin for tests without one."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from regrow.router.catalog import ModelCard
from regrow.router.conversation import ToolCall
from regrow.router.errors import ProviderFailed, RequestRejected
from regrow.router.request import FinishReason, ModelRequest, Quote, Usage
from regrow.runtime.errors import Closed

SIGNS_PER_TOKEN: Final = 4
"""The rule of thumb for English text; what is counted with it is marked as estimated."""

SCRIPTED_REQUESTS_LIMIT: Final = 10_000
"""Requests that a scripted provider keeps for a test to look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReply:
    """What a provider gave back. `usage` is None where it counted nothing."""

    text: str
    finish: FinishReason = FinishReason.STOP
    quotes: tuple[Quote, ...] = ()
    sources: tuple[str, ...] = ()
    usage: Usage | None = None
    tool_calls: tuple[ToolCall, ...] = ()


Emit = Callable[[str], Awaitable[None]]
"""Takes the next piece of a text; waits while its reader is slow, and is cancelled with it."""


class Provider(Protocol):
    """Runs one completion on one model, once: it neither retries nor falls back nor counts money.

    It may be called again while earlier calls run. Cancelling a call abandons it.
    """

    async def complete(self, request: ModelRequest, card: ModelCard) -> ProviderReply:
        """Give the completion of `request` by the model of `card`.

        Raises:
            ProviderFailed: there is none; the subclass says whose turn it is to act.
            Closed: the provider was closed before.
        """
        ...

    async def stream(self, request: ModelRequest, card: ModelCard, emit: Emit) -> ProviderReply:
        """Give the same, and its text in pieces while it is made: all of them together are the text of the reply.

        How long `emit` takes counts for no limit of the provider's.

        Raises as `complete` does, also behind some pieces.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections. May be called twice."""
        ...


Answer = str | ToolCall | tuple[ToolCall, ...] | ProviderReply | ProviderFailed
"""What a script gives for one request: a text, calls of tools, a whole reply, or a failure to raise."""


class ScriptedProvider:
    """Answers from a list, one item per request, in the order in which requests come.

    An item may also be a function of the request. What it was asked stands in `requests`. With
    `repeat_last` the last item answers all further requests; else they are refused by name.

    >>> import asyncio
    >>> from regrow.router.catalog import extractive_card
    >>> from regrow.router.request import Tier, Work
    >>> provider = ScriptedProvider(["yes"])
    >>> request = ModelRequest(work=Work.REASON, prompt="Is it?")
    >>> asyncio.run(provider.complete(request, extractive_card(Tier.LARGE))).text
    'yes'
    """

    def __init__(
        self, answers: Iterable[Answer | Callable[[ModelRequest], Answer]], *, repeat_last: bool = False
    ) -> None:
        self._answers = list(answers)
        self._repeat_last = repeat_last
        self._closed = False
        self.requests: list[ModelRequest] = []

    async def complete(self, request: ModelRequest, card: ModelCard) -> ProviderReply:
        """Give the next item of the script.

        Raises:
            ProviderFailed: the item is one, or (RequestRejected) the script is used up.
            Closed: the provider was closed before.
        """
        if self._closed:
            raise Closed("the scripted provider was closed; make another one")
        number = len(self.requests)
        if number >= SCRIPTED_REQUESTS_LIMIT or (
            number >= len(self._answers) and not (self._repeat_last and self._answers)
        ):
            raise RequestRejected(
                f"the script has {len(self._answers)} answers and this is request {number + 1} "
                f"({request.work.value}: {request.prompt[:80]!r}); add an answer, or set repeat_last=True",
                provider=card.provider,
                model=card.name,
            )
        self.requests.append(request)
        answer = self._answers[min(number, len(self._answers) - 1)]
        given = answer(request) if callable(answer) else answer
        if isinstance(given, ProviderFailed):
            raise given
        if isinstance(given, ProviderReply):
            return given
        calls = (given,) if isinstance(given, ToolCall) else given if isinstance(given, tuple) else ()
        text = given if isinstance(given, str) else ""
        finish = FinishReason.TOOL_CALLS if calls else FinishReason.STOP
        return ProviderReply(text=text, finish=finish, tool_calls=calls, usage=estimated_usage(request, text))

    async def stream(self, request: ModelRequest, card: ModelCard, emit: Emit) -> ProviderReply:
        """Give the next item of the script, word by word."""
        reply = await self.complete(request, card)
        for piece in words_of(reply.text):
            await emit(piece)
        return reply

    async def aclose(self) -> None:
        """Take no more requests."""
        self._closed = True


def words_of(text: str) -> list[str]:
    """Give the words of a text, each with what stands between it and the next; together they are the text."""
    return re.findall(r"\S+\s*|\s+", text)


def estimated_usage(request: ModelRequest, text: str) -> Usage:
    """Estimate the tokens of a call by the length of what went in and came out."""
    signs_in = len(request.prompt) + len(request.instructions) + sum(len(passage.text) for passage in request.context)
    signs_in += sum(each.size_bytes for each in (*request.messages, *request.tools))
    return Usage(input_tokens=estimated_tokens(signs_in), output_tokens=estimated_tokens(len(text)), estimated=True)


def estimated_tokens(signs: int) -> int:
    """Estimate the tokens of that many signs of text, rounded up."""
    return -(-signs // SIGNS_PER_TOKEN)
