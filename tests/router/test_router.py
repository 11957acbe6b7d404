"""The router decides, reserves, calls and settles; whatever ends a call, the money is right."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.router.catalog import ModelCard, PriceBand
from regrow.router.conversation import ToolCall
from regrow.router.errors import (
    BadAnswer,
    BudgetExceeded,
    InvalidSettings,
    LedgerUnreachable,
    ProviderBroke,
    ProviderFailed,
    ProviderTimedOut,
    RateLimited,
)
from regrow.router.ledger import MemoryLedger
from regrow.router.prompting import most_input_tokens
from regrow.router.provider import Answer, Emit, ProviderReply, ScriptedProvider
from regrow.router.request import FinishReason, ModelRequest, Quote, Tier, Usage, Work
from regrow.router.router import RoutedModel, Router
from regrow.router.usage import CallId, CallRecord

PRICED = (PriceBand(input_usd_per_mtok=1.0, cached_input_usd_per_mtok=0.5, output_usd_per_mtok=10.0),)
SMALL = ModelCard(name="mini", provider="p", tier=Tier.SMALL, bands=PRICED)
LARGE = ModelCard(name="maxi", provider="p", tier=Tier.LARGE, bands=PRICED)
USAGE = Usage(input_tokens=1_000, output_tokens=100, cached_tokens=400)
COST_USD = 0.0018
"""600 tokens at 1 $, 400 at 0.50 $ and 100 at 10 $ a million."""

REASON = ModelRequest(work=Work.REASON, prompt="why?", principal="ann", agent="desk/analyst", max_output_tokens=100)
CLASSIFY = ModelRequest(work=Work.CLASSIFY, prompt="which?", labels=("a", "b"))


def router(
    answers: Sequence[Answer | Callable[[ModelRequest], Answer]] = (),
    *,
    cards: Sequence[ModelCard] = (SMALL, LARGE),
    budget_usd: float | None = None,
    now_s: Callable[[], float] = lambda: 0.0,
) -> tuple[Router, ScriptedProvider]:
    provider = ScriptedProvider(answers)
    numbers = itertools.count()
    made = Router(
        [RoutedModel(card=card, provider=provider) for card in cards],
        MemoryLedger(budget_usd=budget_usd),
        now_s=now_s,
        new_call_id=lambda: CallId(f"call-{next(numbers)}"),
    )
    return made, provider


def counted(text: str = "so") -> ProviderReply:
    return ProviderReply(text=text, usage=USAGE)


async def test_the_reply_carries_all_that_is_known() -> None:
    times = iter((10.0, 12.5))
    said = ProviderReply(
        text="so", usage=USAGE, finish=FinishReason.LENGTH, quotes=(Quote(text="q", source="s"),), sources=("s",)
    )
    made, _ = router([said], now_s=lambda: next(times))

    reply = await made.complete(REASON)

    assert (reply.text, reply.quotes, reply.sources, reply.finish) == (said.text, said.quotes, ("s",), said.finish)
    assert (reply.tier, reply.model, reply.provider, reply.fell_back) == (Tier.LARGE, "maxi", "p", False)
    assert (reply.usage, reply.cost_usd, reply.latency_s) == (USAGE, COST_USD, 2.5)


async def test_the_declared_work_chooses_the_model_and_both_are_recorded() -> None:
    made, _ = router([counted(), counted()])

    replies = [await made.complete(request) for request in (REASON, CLASSIFY)]

    assert [reply.model for reply in replies] == ["maxi", "mini"]
    totals = await made.usage(history=10)
    assert [(one.tier, one.totals.calls, one.totals.cost_usd) for one in totals.by_tier] == [
        (Tier.LARGE, 1, COST_USD),
        (Tier.SMALL, 1, COST_USD),
    ]
    calls = [record.call for record in totals.recent]
    assert [(call.work, call.agent, call.principal) for call in calls] == [
        (Work.CLASSIFY, "", ""),
        (Work.REASON, "desk/analyst", "ann"),
    ]


async def test_a_missing_tier_falls_back_and_both_tiers_are_recorded() -> None:
    made, _ = router([counted()], cards=[SMALL])

    reply = await made.complete(REASON)

    assert (reply.tier, reply.fell_back) == (Tier.SMALL, True)
    (record,) = (await made.usage(history=1)).recent
    assert (record.call.wanted, record.call.tier) == (Tier.LARGE, Tier.SMALL)


async def test_an_unknown_price_gives_no_cost_and_is_counted() -> None:
    made, _ = router([counted()], cards=[LARGE.model_copy(update={"bands": ()})])

    reply = await made.complete(REASON)

    assert reply.cost_usd is None
    totals = (await made.usage()).all
    assert (totals.unpriced_calls, totals.cost_usd, totals.input_tokens) == (1, 0.0, 1_000)


async def test_a_reply_without_usage_is_settled_at_its_reserve_and_its_tokens_estimated() -> None:
    made, _ = router([ProviderReply(text="so it is")])

    reply = await made.complete(REASON)

    most_usd = (most_input_tokens(REASON) * 1.0 + 100 * 10.0) / 1e6
    assert reply.cost_usd == pytest.approx(most_usd)
    assert reply.usage == Usage(input_tokens=1, output_tokens=2, estimated=True)
    (record,) = (await made.usage(history=1)).recent
    assert record.at_reserve


async def test_a_failure_that_cost_nothing_gives_its_reserve_back() -> None:
    made, provider = router([RateLimited("slow down", retry_after_s=1.0)], budget_usd=1.0)

    with pytest.raises(RateLimited):
        await made.complete(REASON)

    totals = await made.usage(history=1)
    assert (totals.spent_usd, totals.reserved_usd, totals.open_calls) == (0.0, 0.0, 0)
    assert (totals.all.calls, totals.all.failed_calls) == (1, 1)
    assert totals.recent[0].failure == "RateLimited"
    assert len(provider.requests) == 1


async def test_more_calls_than_a_reply_may_have_fail_this_request_alone() -> None:
    many = tuple(ToolCall(id=str(number), name="x") for number in range(129))
    made, _ = router([ProviderReply(text="", tool_calls=many, usage=USAGE), counted()], budget_usd=1.0)

    with pytest.raises(BadAnswer, match="asked for 129 calls of tools at once, and the limit is 128"):
        await made.complete(REASON)

    assert (await made.complete(REASON)).text == "so"
    totals = await made.usage(history=2)
    assert (totals.reserved_usd, totals.open_calls) == (0.0, 0)


async def test_a_failure_that_may_have_cost_is_settled_at_its_reserve() -> None:
    made, _ = router([ProviderTimedOut("late", may_have_cost=True)], budget_usd=1.0)

    with pytest.raises(ProviderTimedOut):
        await made.complete(REASON)

    totals = await made.usage(history=1)
    assert totals.spent_usd > 0.001
    assert totals.reserved_usd == 0.0
    assert totals.recent[0].at_reserve


class Hanging:
    """A provider that never answers, and says when it was asked."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def complete(self, request: ModelRequest, card: ModelCard) -> ProviderReply:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def stream(self, request: ModelRequest, card: ModelCard, emit: Emit) -> ProviderReply:
        return await self.complete(request, card)

    async def aclose(self) -> None: ...


async def test_a_cancelled_call_is_settled_at_its_reserve() -> None:
    provider = Hanging()
    made = Router(
        [RoutedModel(card=LARGE, provider=provider)],
        MemoryLedger(),
        now_s=lambda: 0.0,
        new_call_id=lambda: CallId("one"),
    )
    call = asyncio.create_task(made.complete(REASON))
    await provider.asked.wait()
    assert (await made.usage()).open_calls == 1

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    totals = await made.usage(history=1)
    assert (totals.open_calls, totals.reserved_usd) == (0, 0.0)
    assert (totals.recent[0].failure, totals.recent[0].at_reserve) == ("Cancelled", True)


class Slow(MemoryLedger):
    """Closes a reserve once it may, or fails to."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.may = asyncio.Event(), asyncio.Event()
        self.failure: Exception | None = None

    async def settle_at_reserve(self, id: CallId, usage: Usage | None, *, failure: str = "") -> CallRecord:
        self.began.set()
        await self.may.wait()
        if self.failure is not None:
            raise self.failure
        return await super().settle_at_reserve(id, usage, failure=failure)


@pytest.mark.parametrize("failure", [None, LedgerUnreachable("gone")])
async def test_the_reserve_of_a_call_that_is_cancelled_twice_is_closed_before_the_ledger(
    failure: Exception | None, capsys: pytest.CaptureFixture[str]
) -> None:
    provider, ledger = Hanging(), Slow()
    ledger.failure = failure
    made = Router(
        [RoutedModel(card=LARGE, provider=provider)], ledger, now_s=lambda: 0.0, new_call_id=lambda: CallId("one")
    )
    call = asyncio.create_task(made.complete(REASON))
    await provider.asked.wait()
    call.cancel()
    await ledger.began.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    closing = asyncio.create_task(made.aclose())
    asyncio.get_running_loop().call_soon(ledger.may.set)
    await closing

    assert (await made.usage()).open_calls == (0 if failure is None else 1)
    told = capsys.readouterr()
    assert ("still open" in told.out + told.err) == (failure is not None)


async def test_a_call_that_could_pass_the_budget_is_not_made() -> None:
    made, provider = router([counted()], budget_usd=0.001)

    with pytest.raises(BudgetExceeded, match="raise budget_usd") as caught:
        await made.complete(REASON)

    assert caught.value.needed_usd is not None
    assert caught.value.needed_usd > 0.001
    assert provider.requests == []
    assert (await made.usage()).all.calls == 0


def test_a_budget_over_a_model_of_unknown_price_is_refused_before_any_call() -> None:
    with pytest.raises(InvalidSettings, match="no price is known for maxi"):
        router(cards=[LARGE.model_copy(update={"bands": ()})], budget_usd=1.0)


def test_a_router_without_models_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="at least one model"):
        router(cards=[])


async def test_closing_closes_a_shared_provider_once() -> None:
    class Counting(ScriptedProvider):
        closed = 0

        async def aclose(self) -> None:
            Counting.closed += 1

    provider = Counting([])
    made = Router(
        [RoutedModel(card=card, provider=provider) for card in (SMALL, LARGE)],
        MemoryLedger(),
        now_s=lambda: 0.0,
        new_call_id=lambda: CallId("one"),
    )

    await made.aclose()

    assert Counting.closed == 1


_USAGES = st.builds(Usage, input_tokens=st.integers(0, 60), output_tokens=st.integers(0, 100))
_ANSWERS = st.one_of(
    _USAGES.map(lambda usage: ProviderReply(text="so", usage=usage)),
    st.just(ProviderReply(text="so")),
    st.booleans().map(lambda cost: ProviderBroke("boom", may_have_cost=cost)),
)


@given(answers=st.lists(_ANSWERS, max_size=30), budget_usd=st.floats(0, 0.02))
def test_many_calls_at_once_never_spend_more_than_the_budget(answers: list[Answer], budget_usd: float) -> None:
    async def run() -> None:
        made, provider = router(answers, budget_usd=budget_usd)

        done = await asyncio.gather(*(made.complete(REASON) for _ in answers), return_exceptions=True)

        totals = await made.usage()
        assert totals.spent_usd <= budget_usd
        assert (totals.reserved_usd, totals.open_calls) == (0.0, 0)
        assert totals.all.calls == len(provider.requests)
        assert all(
            not isinstance(one, BaseException) or isinstance(one, BudgetExceeded | ProviderFailed) for one in done
        )

    asyncio.run(run())
