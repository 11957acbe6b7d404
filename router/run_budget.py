"""Keeps a model call within the caps of its run: taken at its least before it is made, settled at what it came to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from regrow.router.errors import ProviderFailed
from regrow.router.provider import estimated_usage
from regrow.runtime.errors import Refused
from regrow.runtime.guard_errors import RunUsedUp
from regrow.runtime.guards import Rung
from regrow.runtime.message_count import used_up
from regrow.runtime.run_store import NUSD_PER_USD, Amounts

if TYPE_CHECKING:
    from regrow.router.request import ModelReply, ModelRequest
    from regrow.runtime.context import CellContext


class RunBudget:
    """The caps of runs, as one router keeps them."""

    def __init__(self) -> None:
        self._unpriced = ""

    async def within(
        self, ctx: CellContext | None, request: ModelRequest, call: Callable[[], Awaitable[ModelReply]]
    ) -> ModelReply:
        """What the call gives.

        Raises:
            RunUsedUp: its run has come to a cap, or one of money can not be kept; no model was called.
            RunsUnreachable: the store does not answer, so that nothing may be spent.
        """
        if ctx is None or not ctx.runtime.guarding.guards.has_caps:
            return await call()
        guards, runs, origin = ctx.runtime.guarding.guards, ctx.runtime.guarding.runs, ctx.origin()
        if self._unpriced and guards.max_cost_usd is not None:
            raise RunUsedUp(
                f"a run may cost ${guards.max_cost_usd:g} (max_cost_usd), and no price is known for {self._unpriced}, "
                "so that can not be kept; give its price in the settings, or take max_cost_usd out",
                cap="max_cost_usd",
            )
        id = f"{ctx.runtime.host}/{ctx.runtime.fresh_number()}"
        least = Amounts(calls=1, tokens=estimated_usage(request, "").input_tokens)
        taken = await runs.take(origin.run, least, guards, id=id)
        if taken.over:
            finding = used_up(taken.over, taken.counts, taken.age_s, guards, run=origin.run)
            ctx.runtime.guarding.found(finding, origin, agent=request.agent)
            if guards.top >= Rung.REFUSE:
                finding.refuse()
        try:
            reply = await call()
        except ProviderFailed as failed:
            await runs.settle(origin.run, id, least if failed.may_have_cost else Amounts(calls=1))
            raise
        except Refused:  # by the budget of the app: no model was called
            await runs.settle(origin.run, id, Amounts())
            raise
        if reply.cost_usd is None:
            self._unpriced = reply.model
        cost_nusd = round((reply.cost_usd or 0.0) * NUSD_PER_USD)
        tokens = reply.usage.input_tokens + reply.usage.output_tokens
        await runs.settle(origin.run, id, Amounts(calls=1, tokens=tokens, cost_nusd=cost_nusd))
        return reply
