"""Keeps a model call within the caps of its run: what it may come to is held back, and settled at what it came to.

A call is made where what it sends has room, and what it may come to at most is held back until it has ended, so that
of calls at once only the last one can pass a cap, as one call alone can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import structlog

from regrow.router.errors import ProviderFailed
from regrow.router.provider import estimated_usage
from regrow.runtime.errors import Refused
from regrow.runtime.guard_errors import RunUsedUp
from regrow.runtime.guards import Rung
from regrow.runtime.run_ends import used_up
from regrow.runtime.run_store import NUSD_PER_USD, Amounts

if TYPE_CHECKING:
    from regrow.router.request import ModelReply, ModelRequest
    from regrow.runtime.context import CellContext
    from regrow.runtime.run_store import RunStore, Taken

log = structlog.get_logger("regrow.guards")


class RunBudget:
    """The caps of runs, as one router keeps them. Its owner is one event loop."""

    def __init__(self) -> None:
        self._unpriced = ""
        self._closing: set[asyncio.Task[None]] = set()
        """What closes the counts of calls, also of those that nobody waits for any more."""

    async def within(
        self,
        ctx: CellContext | None,
        request: ModelRequest,
        call: Callable[[], Awaitable[ModelReply]],
        *,
        most_nusd: int = 0,
    ) -> ModelReply:
        """What the call gives, which is expected to cost `most_nusd` at most.

        Cancelled, as when nobody reads any more, its call counts with all that was held back for it.

        Raises:
            RunUsedUp: its run has come to a cap, or one of money can not be kept; no model was called. Or its seconds
                were over while one was, which counts as one that was cancelled.
            RunsUnreachable: the store does not answer, so that nothing may be spent.
        """
        if ctx is None or not ctx.runtime.guarding.guards.has_caps:
            return await call()
        guarding, origin = ctx.runtime.guarding, ctx.origin()
        guards, runs = guarding.guards, guarding.runs
        self._check_price(guards.max_cost_usd)
        id = f"{ctx.runtime.host}/{ctx.runtime.fresh_number()}"
        least = Amounts(calls=1, tokens=estimated_usage(request, "").input_tokens)
        held = Amounts(tokens=request.max_output_tokens, cost_nusd=most_nusd)
        taking = asyncio.ensure_future(runs.take(origin.run, least, guards, id=id, held=held))
        try:
            taken = await asyncio.shield(taking)
        except asyncio.CancelledError:
            self._close(self._taken_back(runs, origin.run, id, taking))
            raise
        guarding.heard(origin.run, taken)
        if taken.over:
            finding = used_up(taken.over, taken.counts, taken.age_s, guards, run=origin.run)
            guarding.found(finding, origin, agent=request.agent)
            if guards.top >= Rung.REFUSE:
                finding.refuse()
        limit = asyncio.timeout_at(guarding.ends_at(origin))
        try:
            async with limit:
                return await self._counted(runs, origin.run, id, call, most=least.plus(held))
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise guarding.time_is_up(origin, agent=request.agent) from error

    async def _counted(
        self, runs: RunStore, run: str, id: str, call: Callable[[], Awaitable[ModelReply]], *, most: Amounts
    ) -> ModelReply:
        """What the call gives, which comes to `most` where nobody knows what it has come to."""
        try:
            reply = await call()
        except ProviderFailed as failed:
            await self._settled(runs, run, id, most if failed.may_have_cost else Amounts(calls=1))
            raise
        except Refused:  # by the budget of the app: no model was called
            await self._settled(runs, run, id, Amounts())
            raise
        except asyncio.CancelledError:  # the request may have been sent, and nobody waits for what it comes to
            self._close(runs.settle(run, id, most))
            raise
        await self._settled(runs, run, id, self._cost_of(reply))
        return reply

    async def aclose(self) -> None:
        """Waits for what closes the counts of calls that were cancelled."""
        if self._closing:
            await asyncio.wait(self._closing)

    def _check_price(self, max_cost_usd: float | None) -> None:
        if self._unpriced and max_cost_usd is not None:
            raise RunUsedUp(
                f"a run may cost ${max_cost_usd:g} (max_cost_usd), and no price is known for {self._unpriced}, "
                "so that can not be kept; give its price in the settings, or take max_cost_usd out",
                cap="max_cost_usd",
            )

    def _cost_of(self, reply: ModelReply) -> Amounts:
        if reply.cost_usd is None:
            self._unpriced = reply.model
        tokens = reply.usage.input_tokens + reply.usage.output_tokens
        return Amounts(calls=1, tokens=tokens, cost_nusd=round((reply.cost_usd or 0.0) * NUSD_PER_USD))

    async def _taken_back(self, runs: RunStore, run: str, id: str, taking: asyncio.Future[Taken]) -> None:
        """Takes back what was asked for and is not needed, once it was given."""
        await asyncio.wait([taking])
        if taking.exception() is None:
            await runs.settle(run, id, Amounts())

    async def _settled(self, runs: RunStore, run: str, id: str, amounts: Amounts) -> None:
        """Settles, to its end: a reader that goes at this moment must not leave the call open."""
        settling = asyncio.create_task(runs.settle(run, id, amounts))
        self._keep(settling)
        await asyncio.shield(settling)

    def _close(self, closing: Coroutine[Any, Any, None]) -> None:
        """The same for what nobody waits for."""
        self._keep(asyncio.create_task(closing))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        task.add_done_callback(_told)


def _told(closing: asyncio.Task[None]) -> None:
    """Says that the counts of a call stay open; its run has less room for the rest of its life."""
    if not closing.cancelled() and (error := closing.exception()) is not None:
        log.warning("the counts of a model call are still open", error=str(error))
