"""How a loop has its model say something: the whole at once, or handed on while it is written."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

from regrow.actors.loop_errors import model_failed
from regrow.runtime.errors import Misuse, Refused
from regrow.runtime.guard_errors import GuardTripped

if TYPE_CHECKING:
    from regrow.actors.context import Context
    from regrow.actors.service import Service
    from regrow.router.request import ModelReply, ModelRequest
    from regrow.runtime.message import Request

R = TypeVar("R")

OnText = Callable[[str], Awaitable[object]]
"""Takes the next piece of what a model writes; the model waits for it."""


class LoopModel:
    """The models as the loops of one turn ask them, and the guards, which hear how long a model took.

    An agent that waits for a model waits for nothing else.
    """

    def __init__(self, ctx: Context, service: Service) -> None:
        self._agent = ctx.id
        self._runtime = ctx.runtime
        self._service = service

    async def __call__(self, request: Request[R], /) -> R:
        """The reply. Raises what the router refuses."""
        with self._thinking():
            return await self._service(request)

    async def answered(self, request: Request[R]) -> R:
        """The reply. Raises LoopEnded where the router refuses, and what a guard says as it is."""
        with self._ended_by_name():
            return await self(request)

    async def written(self, request: ModelRequest, on_text: OnText) -> ModelReply:
        """The reply, handed on while it is written. Raises as `answered` does, and what `on_text` raises as it is."""
        async with AsyncExitStack() as block:
            with self._asking():
                stream = await block.enter_async_context(self._service.stream(request))
            parts = aiter(stream)
            while True:
                with self._asking():
                    part = await anext(parts, None)
                if part is None:
                    return stream.reply
                await handed_on(part.text, on_text)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self._ended_by_name(), self._thinking(), self._service.answering():
            yield

    @contextmanager
    def _thinking(self) -> Iterator[None]:
        begun_s = self._runtime.loop.time()
        try:
            yield
        finally:
            self._runtime.guarding.thought(self._agent, self._runtime.loop.time() - begun_s)

    @contextmanager
    def _ended_by_name(self) -> Iterator[None]:
        try:
            yield
        except GuardTripped:
            raise
        except Refused as refusal:
            raise model_failed(self._agent, refusal) from refusal


async def handed_on(text: str, on_text: OnText) -> None:
    """Waits until it is taken. Raises Misuse for what is no async function."""
    taken = on_text(text)
    if not inspect.isawaitable(taken):
        raise Misuse(f"on_text gave {taken!r:.80} and nothing to wait for; give an async function, such as ctx.emit")
    await taken
