"""What an agent holds as `ctx.models`: completions in one line, on whichever model the router chooses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

from regrow.router.conversation import Said, ToolResult, ToolSchema
from regrow.router.errors import ToolsNotRun
from regrow.router.request import (
    DEFAULT_MAX_OUTPUT_TOKENS,
    LIMIT_PASSAGES,
    ModelPart,
    ModelReply,
    ModelRequest,
    Passage,
    Tier,
    Work,
)
from regrow.router.usage import UsageReport, UsageTotals
from regrow.runtime.errors import Misuse
from regrow.runtime.message import Request, StreamRequest
from regrow.runtime.stream import Stream

P = TypeVar("P")
R = TypeVar("R")


class Ask(Protocol):
    """A way to ask the router: takes a request, gives its reply."""

    async def __call__(self, request: Request[R], /) -> R:
        """Give the reply."""
        ...


class Read(Protocol):
    """A way to read the router's answer in parts."""

    def __call__(self, request: StreamRequest[P, R], /) -> Stream[P, R]:
        """Give the stream, still to be opened."""
        ...


@runtime_checkable
class Citable(Protocol):
    """Something with a text and what to cite it by, such as a memory hit."""

    @property
    def text(self) -> str:
        """The words."""
        ...

    @property
    def source(self) -> str:
        """Where they stand."""
        ...


class Models:
    """The models as one agent sees them; `principal` and `agent` name it in the ledger."""

    def __init__(self, ask: Ask, *, stream: Read | None = None, principal: str = "", agent: str = "") -> None:
        self._ask = ask
        self._stream = stream
        self._principal = principal
        self._agent = agent

    async def complete(
        self,
        work: Work,
        prompt: str,
        *,
        context: Iterable[Citable | str] = (),
        labels: Sequence[str] = (),
        messages: Sequence[Said | ToolResult] = (),
        tools: Sequence[object] = (),
        max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS,
        tier: Tier | None = None,
    ) -> ModelReply:
        """Give the completion of `prompt`, which may lean on `context` (best first).

        `work` says what kind of work it is, which decides between small and large model unless `tier`
        does. CLASSIFY and ROUTE choose one of `labels`. `messages` are what was said since the prompt. `tools` are
        schemas, as `ctx.tools.schemas()` gives them: the reply then has what the model asks for in `tool_calls`, and
        whoever calls runs that (`ctx.tools.answer`) and asks again.

        Raises:
            ToolsNotRun: `tools` holds tools, and not their schemas.
            Misuse: `context` has too many items, or one that is no text.
            BudgetExceeded: the call could pass the budget; it was not made.
            ProviderFailed: the model gave no usable answer; the text says why and what to do.
        """
        return await self._ask(self._request(work, prompt, context, labels, messages, tools, max_output_tokens, tier))

    def stream(
        self,
        work: Work,
        prompt: str,
        *,
        context: Iterable[Citable | str] = (),
        labels: Sequence[str] = (),
        messages: Sequence[Said | ToolResult] = (),
        tools: Sequence[object] = (),
        max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS,
        tier: Tier | None = None,
    ) -> Stream[ModelPart, ModelReply]:
        """Give the completion piece by piece: `async with models.stream(…) as stream: async for part in stream: …`.

        Behind the last part `stream.reply` is what `complete` gives, and its text is that of all parts together; what
        `complete` raises is raised by the loop. Leaving the block early ends the call of the model, which is then
        settled at its reserve, once.

        Raises Misuse as `complete` does, and where nothing can be streamed.
        """
        if self._stream is None:
            raise Misuse("these models give whole completions only; use complete()")
        return self._stream(self._request(work, prompt, context, labels, messages, tools, max_output_tokens, tier))

    def _request(
        self,
        work: Work,
        prompt: str,
        context: Iterable[Citable | str],
        labels: Sequence[str],
        messages: Sequence[Said | ToolResult],
        tools: Sequence[object],
        max_output_tokens: int,
        tier: Tier | None,
    ) -> ModelRequest:
        schemas = tuple(each for each in tools if isinstance(each, ToolSchema))
        if len(schemas) < len(tools):
            raise ToolsNotRun(
                f"{len(tools)} tools were given to a completion, which runs none; give their schemas, as "
                "ctx.tools.schemas() does, and run what the reply asks for with ctx.tools.answer(call)"
            )
        return ModelRequest(
            work=work,
            prompt=prompt,
            context=passages_of(context),
            labels=tuple(labels),
            messages=tuple(messages),
            tools=schemas,
            max_output_tokens=max_output_tokens,
            tier=tier,
            principal=self._principal,
            agent=self._agent,
        )

    async def usage(self, history: int = 0) -> UsageTotals:
        """Give what all calls of the app came to, and up to `history` of the last ones."""
        return await self._ask(UsageReport(history=history))


def passages_of(context: Iterable[Citable | str]) -> tuple[Passage, ...]:
    """Give what a request may lean on. Raises Misuse for too many items, or one that is no text."""
    if isinstance(context, str):
        # A lone string is iterable too, and would become one passage for each of its signs.
        context = (context,)
    passages: list[Passage] = []
    for item in context:
        if len(passages) == LIMIT_PASSAGES:
            raise Misuse(f"context has more than {LIMIT_PASSAGES} items; give the best ones only")
        if isinstance(item, str):
            passages.append(Passage(text=item))
        elif isinstance(item, Citable):
            passages.append(Passage(text=item.text, source=item.source))
        else:
            raise Misuse(f"context holds a {type(item).__name__}; give strings, or objects with .text and .source")
    return tuple(passages)
