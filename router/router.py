"""The doer: decide which model, reserve, call, settle. One attempt; asking again is the caller's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog

from regrow.router.catalog import ModelCard, NanoUsd, cost_nusd, in_usd, most_cost_nusd, nano_usd
from regrow.router.chat_span import chat_span, note_reply
from regrow.router.conversation import LIMIT_CALLS
from regrow.router.errors import BadAnswer, BudgetExceeded, InvalidSettings, ProviderFailed
from regrow.router.ledger import Ledger
from regrow.router.policy import Candidate, candidates
from regrow.router.prompting import most_input_tokens
from regrow.router.provider import Emit, Provider, ProviderReply, estimated_usage
from regrow.router.request import ModelReply, ModelRequest, Usage
from regrow.router.usage import Call, CallId, CallRecord, UsageTotals
from regrow.runtime.metrics import Metrics, ModelKey

T = TypeVar("T")

CANCELLED: Final = "Cancelled"
"""The `failure` of a call whose caller did not wait for its end."""


log = structlog.get_logger("regrow.router")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedModel:
    """A model that the router may choose, and the provider that runs it."""

    card: ModelCard
    provider: Provider


class Router:
    """Runs each request on one model, inside the budget, and records it.

    It owns its providers and its ledger, and counts its calls in `metrics`. `now_s` is a monotonic clock;
    `new_call_id` gives ids that no other router and no earlier life of this one has given.

    Raises InvalidSettings when there is no model, or when a budget cannot be kept because a model's
    price is not known.
    """

    def __init__(
        self,
        models: Sequence[RoutedModel],
        ledger: Ledger,
        *,
        now_s: Callable[[], float],
        new_call_id: Callable[[], CallId],
        metrics: Metrics | None = None,
    ) -> None:
        if not models:
            raise InvalidSettings("the router needs at least one model; leave the settings out for the extractive one")
        unpriced = [model.card.name for model in models if not model.card.price_known]
        if ledger.budget_usd is not None and unpriced:
            raise InvalidSettings(
                f"a budget is set, but no price is known for {', '.join(unpriced)}, so it could not be kept; "
                "give the price in the settings (input_usd_per_mtok, output_usd_per_mtok), or take the budget out"
            )
        self._cards = tuple(model.card for model in models)
        self._providers = {(model.card.tier, model.card.provider, model.card.name): model.provider for model in models}
        self._ledger = ledger
        self._now_s = now_s
        self._new_call_id = new_call_id
        self._metrics = metrics if metrics is not None else Metrics()
        self._closing: set[asyncio.Task[Any]] = set()
        """What closes reserves, also of calls that nobody waits for any more."""

    async def complete(self, request: ModelRequest, *, emit: Emit | None = None, parent: str = "") -> ModelReply:
        """Give the completion of `request` by the first candidate, and its pieces to `emit` while it is made.

        Its span stands below `parent`, a traceparent; below the current one where that is empty.

        Cancelled, as when nobody reads any more, it closes what it has reserved: at what the call cost where that is
        known, else at the reserve.

        Raises:
            BudgetExceeded: the call could pass the budget, or would pass its own cap; it was not made.
            ProviderFailed: it was made, or tried, and gave nothing.
            LedgerUnreachable: the money cannot be counted.
        """
        chosen = candidates(request, self._cards)[0]
        card = chosen.card
        _check_cap(request, card)
        call = Call(
            id=self._new_call_id(),
            work=request.work,
            wanted=request.wanted_tier,
            tier=card.tier,
            provider=card.provider,
            model=card.name,
            principal=request.principal,
            agent=request.agent,
        )
        most = most_cost_nusd(
            card, input_limit_tokens=most_input_tokens(request), output_limit_tokens=request.max_output_tokens
        )
        await self._reserved(call, most)
        with chat_span(request, card, parent) as span:
            began_s = self._now_s()
            reply = await self._called(call, request, card, emit)
            latency_s = self._now_s() - began_s
            # To its end, since a reader that goes at this moment must not leave the call open.
            usage, record = await self._to_its_end(self._settled(call, request, card, reply))
            note_reply(span, reply, usage, cost_usd=record.cost_usd)
        return _reply(chosen, reply, usage, record, latency_s)

    def expected_nusd(self, request: ModelRequest) -> NanoUsd:
        """Give about the most that `request` costs on the model that it goes to; 0 where no price is known.

        What it sends is estimated by its length, as for the caps of runs; the budget of the app takes an upper bound.
        """
        most = most_cost_nusd(
            candidates(request, self._cards)[0].card,
            input_limit_tokens=estimated_usage(request, "").input_tokens,
            output_limit_tokens=request.max_output_tokens,
        )
        return NanoUsd(0) if most is None else most

    async def usage(self, history: int = 0) -> UsageTotals:
        """Give what all calls came to, and up to `history` of the last ones."""
        return await self._ledger.totals(history)

    async def aclose(self) -> None:
        """Close the providers and the ledger, once the reserves of calls that were cancelled are closed.

        Calls in flight are the caller's to end first.
        """
        if self._closing:
            await asyncio.wait(self._closing)
        for provider in {id(provider): provider for provider in self._providers.values()}.values():
            await provider.aclose()
        await self._ledger.aclose()

    async def _reserved(self, call: Call, most: NanoUsd | None) -> None:
        """Reserves; cancelled meanwhile, it takes the reserve back, since nothing was sent."""
        reserving = asyncio.ensure_future(self._ledger.reserve(call, most))
        try:
            await asyncio.shield(reserving)
        except asyncio.CancelledError:
            await self._to_its_end(self._taken_back(call, reserving))
            raise

    async def _taken_back(self, call: Call, reserving: asyncio.Future[None]) -> None:
        await asyncio.wait([reserving])
        if reserving.exception() is None:
            await self._ledger.void(call.id, failure=CANCELLED)

    async def _called(self, call: Call, request: ModelRequest, card: ModelCard, emit: Emit | None) -> ProviderReply:
        """The provider's answer. A failure closes the reserve before it leaves here.

        Any other error is a bug, which ends the router; its next life settles what was left open.
        """
        provider = self._providers[card.tier, card.provider, card.name]
        try:
            if emit is None:
                return _checked(await provider.complete(request, card), card)
            return _checked(await provider.stream(request, card, emit), card)
        except ProviderFailed as error:
            failure = type(error).__name__
            if error.may_have_cost:
                await self._counted(self._ledger.settle_at_reserve(call.id, None, failure=failure))
            else:
                await self._counted(self._ledger.void(call.id, failure=failure))
            raise
        except asyncio.CancelledError:
            # The request may have been sent, and a second cancellation must not lose the money.
            at_reserve = self._ledger.settle_at_reserve(call.id, None, failure=CANCELLED)
            await self._to_its_end(self._counted(at_reserve))
            raise

    async def _to_its_end(self, closing: Coroutine[Any, Any, T]) -> T:
        """Closes a reserve, also where whoever waits for it is cancelled meanwhile."""
        task = asyncio.create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_told)
            raise

    async def _settled(
        self, call: Call, request: ModelRequest, card: ModelCard, reply: ProviderReply
    ) -> tuple[Usage, CallRecord]:
        if reply.usage is None:
            usage = estimated_usage(request, reply.text)
            return usage, await self._counted(self._ledger.settle_at_reserve(call.id, usage))
        cost = cost_nusd(card, reply.usage)
        return reply.usage, await self._counted(self._ledger.settle(call.id, reply.usage, cost))

    async def _counted(self, closing: Awaitable[CallRecord]) -> CallRecord:
        """Closes a call, and counts it."""
        record = await closing
        used = (record.usage.input_tokens, record.usage.output_tokens) if record.usage is not None else (0, 0)
        key = ModelKey(record.call.model, record.call.tier.value)
        self._metrics.model_called(key, tokens=used, cost_usd=record.cost_usd or 0.0, failed=bool(record.failure))
        return record


def _check_cap(request: ModelRequest, card: ModelCard) -> None:
    """Raises BudgetExceeded where what the request sends costs more than it may, or nobody knows what it costs."""
    if request.max_cost_usd is None:
        return
    least = cost_nusd(card, estimated_usage(request, ""))
    if least is None:
        raise BudgetExceeded(
            f"the call may cost ${request.max_cost_usd:g}, and no price is known for {card.name}, so that can not be "
            "kept; give its price in the settings, or take the cap out"
        )
    if least > nano_usd(request.max_cost_usd):
        raise BudgetExceeded(
            f"the call may cost ${request.max_cost_usd:g}, and what it sends alone comes to about "
            f"${in_usd(least):.6f} on {card.name}; raise the cap, or ask for less",
            needed_usd=in_usd(least),
        )


def _told(closing: asyncio.Task[Any]) -> None:
    """Says that a reserve stays open which nobody waits for any more; the router's next life closes it."""
    if not closing.cancelled() and (error := closing.exception()) is not None:
        log.warning("the reserve of a cancelled call is still open", error=str(error))


def _checked(reply: ProviderReply, card: ModelCard) -> ProviderReply:
    """The reply of any provider. Raises BadAnswer for more calls than a reply may have."""
    if len(reply.tool_calls) > LIMIT_CALLS:
        raise BadAnswer(
            f"{card.name} asked for {len(reply.tool_calls)} calls of tools at once, and the limit is {LIMIT_CALLS}; "
            "try again, or tell it to make fewer",
            provider=card.provider,
            model=card.name,
            may_have_cost=True,
        )
    return reply


def _reply(chosen: Candidate, reply: ProviderReply, usage: Usage, record: CallRecord, latency_s: float) -> ModelReply:
    return ModelReply(
        text=reply.text,
        quotes=reply.quotes,
        sources=reply.sources,
        tier=chosen.card.tier,
        model=chosen.card.name,
        provider=chosen.card.provider,
        usage=usage,
        cost_usd=record.cost_usd,
        latency_s=latency_s,
        finish=reply.finish,
        fell_back=chosen.fell_back,
        tool_calls=reply.tool_calls,
        context_limit_tokens=chosen.card.context_limit_tokens,
    )
