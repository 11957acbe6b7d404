"""What every Ledger keeps, over the twin and over a real Redis: exact money, and never more than the budget."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regrow.router.catalog import NanoUsd, in_usd
from regrow.router.errors import BudgetExceeded, LedgerUnreachable
from regrow.router.ledger import ABANDONED, Ledger, MemoryLedger
from regrow.router.redis_ledger import RedisLedger
from regrow.router.request import Tier, Usage, Work
from regrow.router.usage import Call, CallId, CallRecord, Totals
from regrow.runtime.errors import Bug, Refused
from tests.conformance.conftest import CLUSTER
from tests.memory.redis_server import RunningRedis, running_redis

USAGE = Usage(input_tokens=100, output_tokens=10, cached_tokens=40)
HISTORY = 5

MakeLedger = Callable[[float | None], Ledger]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningRedis]:
    with running_redis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis), CLUSTER])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[MakeLedger]:
    made: list[Ledger] = []

    def memory(budget_usd: float | None) -> Ledger:
        made.append(MemoryLedger(budget_usd=budget_usd, history_limit=HISTORY))
        return made[-1]

    def redis(budget_usd: float | None) -> Ledger:
        is_cluster = request.param == "cluster"
        url = request.getfixturevalue("cluster") if is_cluster else request.getfixturevalue("redis_server").url
        app = f"app-{uuid.uuid4().hex}"
        made.append(
            RedisLedger.from_url(url, app=app, cluster=is_cluster, budget_usd=budget_usd, history_limit=HISTORY)
        )
        return made[-1]

    yield memory if request.param == "memory" else redis
    for ledger in made:
        await ledger.aclose()


def call(id: str = "one", *, tier: Tier = Tier.LARGE, model: str = "vendor/maxi") -> Call:
    return Call(
        id=CallId(id),
        work=Work.REASON,
        wanted=Tier.LARGE,
        tier=tier,
        provider="p",
        model=model,
        principal="ann",
        agent="desk/analyst",
    )


def nano(amount: int) -> NanoUsd:
    return NanoUsd(amount)


async def test_a_settled_call_is_recorded_with_what_it_cost(make: MakeLedger) -> None:
    ledger = make(None)
    await ledger.reserve(call(), nano(500))

    record = await ledger.settle(CallId("one"), USAGE, nano(120))

    assert record == CallRecord(call=call(), usage=USAGE, cost_usd=in_usd(nano(120)))
    totals = await ledger.totals(history=3)
    assert totals.recent == (record,)
    expected = Totals(calls=1, input_tokens=100, output_tokens=10, cached_tokens=40, cost_usd=in_usd(nano(120)))
    assert totals.all == expected
    assert [(one.tier, one.totals) for one in totals.by_tier] == [(Tier.LARGE, expected)]
    assert [(one.provider, one.model, one.totals) for one in totals.by_model] == [("p", "vendor/maxi", expected)]


async def test_an_open_call_holds_its_reserve_and_nothing_is_spent(make: MakeLedger) -> None:
    ledger = make(1.0)

    await ledger.reserve(call(), nano(500))

    totals = await ledger.totals()
    assert (totals.spent_usd, totals.reserved_usd, totals.open_calls) == (0.0, in_usd(nano(500)), 1)
    assert (totals.all, totals.recent) == (Totals(), ())


async def test_unknown_usage_is_settled_at_the_reserve(make: MakeLedger) -> None:
    ledger = make(1.0)
    await ledger.reserve(call(), nano(500))

    record = await ledger.settle_at_reserve(CallId("one"), None, failure="ProviderTimedOut")

    assert (record.cost_usd, record.at_reserve, record.failure) == (in_usd(nano(500)), True, "ProviderTimedOut")
    totals = await ledger.totals()
    assert (totals.spent_usd, totals.reserved_usd) == (in_usd(nano(500)), 0.0)
    assert (totals.all.failed_calls, totals.all.input_tokens) == (1, 0)


async def test_a_voided_call_costs_nothing_and_is_counted_as_failed(make: MakeLedger) -> None:
    ledger = make(1.0)
    await ledger.reserve(call(), nano(500))

    record = await ledger.void(CallId("one"), failure="RateLimited")

    assert (record.cost_usd, record.usage, record.failure) == (0.0, None, "RateLimited")
    totals = await ledger.totals()
    assert (totals.spent_usd, totals.reserved_usd, totals.open_calls) == (0.0, 0.0, 0)
    assert totals.all == Totals(calls=1, failed_calls=1)


async def test_an_unknown_price_is_counted_as_such_and_never_as_zero(make: MakeLedger) -> None:
    ledger = make(None)
    for id in ("one", "two"):
        await ledger.reserve(call(id), None)

    settled = await ledger.settle(CallId("one"), USAGE, None)
    at_reserve = await ledger.settle_at_reserve(CallId("two"), USAGE)

    assert (settled.cost_usd, at_reserve.cost_usd) == (None, None)
    assert (await ledger.totals()).all.unpriced_calls == 2


async def test_a_call_that_does_not_fit_is_refused_with_the_amounts(make: MakeLedger) -> None:
    ledger = make(0.001)
    await ledger.reserve(call("one"), nano(600_000))
    await ledger.settle(CallId("one"), USAGE, nano(200_000))
    await ledger.reserve(call("two"), nano(500_000))

    with pytest.raises(BudgetExceeded) as caught:
        await ledger.reserve(call("three"), nano(300_001))

    error = caught.value
    assert (error.budget_usd, error.spent_usd, error.reserved_usd, error.needed_usd) == (
        0.001,
        0.0002,
        0.0005,
        in_usd(nano(300_001)),
    )
    await ledger.reserve(call("three"), nano(300_000))


async def test_under_a_budget_an_unknown_price_is_refused(make: MakeLedger) -> None:
    with pytest.raises(BudgetExceeded, match="no price is known"):
        await make(1.0).reserve(call(), None)


async def test_free_calls_go_on_when_nothing_is_left(make: MakeLedger) -> None:
    ledger = make(0.0)

    await ledger.reserve(call(), nano(0))
    record = await ledger.settle(CallId("one"), USAGE, nano(0))

    assert record.cost_usd == 0.0


async def test_reserving_twice_under_one_id_holds_once(make: MakeLedger) -> None:
    ledger = make(1.0)

    for _ in range(2):
        await ledger.reserve(call(), nano(500))

    assert (await ledger.totals()).reserved_usd == in_usd(nano(500))


async def test_closing_twice_counts_once_and_the_first_close_stands(make: MakeLedger) -> None:
    ledger = make(None)
    await ledger.reserve(call(), nano(500))
    first = await ledger.settle(CallId("one"), USAGE, nano(120))

    assert await ledger.settle(CallId("one"), USAGE, nano(400)) == first
    assert await ledger.settle_at_reserve(CallId("one"), None) == first
    assert await ledger.void(CallId("one"), failure="X") == first
    await ledger.reserve(call(), nano(500))

    totals = await ledger.totals()
    assert (totals.all.calls, totals.spent_usd, totals.reserved_usd) == (1, in_usd(nano(120)), 0.0)


async def test_closing_what_was_never_reserved_is_a_bug(make: MakeLedger) -> None:
    with pytest.raises(Bug, match="never reserved"):
        await make(None).settle(CallId("nobody"), USAGE, nano(1))


async def test_the_history_is_bounded_and_the_totals_are_not(make: MakeLedger) -> None:
    ledger = make(None)
    for n in range(HISTORY + 3):
        await ledger.reserve(call(str(n)), nano(10))
        await ledger.settle(CallId(str(n)), USAGE, nano(10))

    totals = await ledger.totals(history=100)

    assert [record.call.id for record in totals.recent] == ["7", "6", "5", "4", "3"]
    assert totals.all.calls == HISTORY + 3
    assert len((await ledger.totals(history=2)).recent) == 2


async def test_calls_left_open_are_settled_at_their_reserve(make: MakeLedger) -> None:
    ledger = make(1.0)
    for id in ("one", "two"):
        await ledger.reserve(call(id), nano(300))

    assert await ledger.settle_abandoned() == 2
    assert await ledger.settle_abandoned() == 0

    totals = await ledger.totals(history=2)
    assert (totals.spent_usd, totals.reserved_usd, totals.open_calls) == (in_usd(nano(600)), 0.0, 0)
    assert {record.failure for record in totals.recent} == {ABANDONED}


async def test_a_hundred_reserves_at_once_never_pass_the_budget(make: MakeLedger) -> None:
    ledger = make(in_usd(nano(1_000)))

    done = await asyncio.gather(*(ledger.reserve(call(str(n)), nano(30)) for n in range(100)), return_exceptions=True)

    refused = [one for one in done if one is not None]
    assert len(done) - len(refused) == 33
    assert all(isinstance(one, BudgetExceeded) for one in refused)
    assert (await ledger.totals()).reserved_usd == in_usd(nano(990))


@dataclass
class Model:
    """What a ledger should say, in three dozen lines nobody can get wrong."""

    budget: int | None
    open: dict[str, int] = field(default_factory=dict)
    spent: int = 0
    by_tier: dict[Tier, list[int]] = field(default_factory=dict)


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "at_reserve", "void"]),
        st.integers(0, 5),
        st.integers(0, 1_000),
        st.floats(0, 1),
        st.sampled_from(Tier),
    ),
    max_size=40,
)


@given(steps=_STEPS, budget=st.none() | st.integers(0, 3_000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_sequence_keeps_the_budget_and_sums_exactly(
    make: MakeLedger,
    steps: list[tuple[str, int, int, float, Tier]],
    budget: int | None,
) -> None:
    ledger = make(None if budget is None else in_usd(nano(budget)))
    model = Model(budget=budget)
    tiers: dict[str, Tier] = {}

    for lap, (step, number, amount, part, tier) in enumerate(steps):
        id = next((open for open in model.open if open.startswith(f"{number}-")), f"{number}-{lap}")
        if step == "reserve" and id not in model.open:
            fits = budget is None or model.spent + sum(model.open.values()) + amount <= budget
            if fits:
                await ledger.reserve(call(id, tier=tier), nano(amount))
                model.open[id], tiers[id] = amount, tier
            else:
                with pytest.raises(BudgetExceeded):
                    await ledger.reserve(call(id, tier=tier), nano(amount))
        elif step != "reserve" and id in model.open:
            most = model.open.pop(id)
            cost = {"settle": int(most * part), "at_reserve": most, "void": 0}[step]
            if step == "settle":
                await ledger.settle(CallId(id), USAGE, nano(cost))
            elif step == "at_reserve":
                await ledger.settle_at_reserve(CallId(id), USAGE)
            else:
                await ledger.void(CallId(id), failure="X")
            model.spent += cost
            model.by_tier.setdefault(tiers[id], []).append(cost)

    totals = await ledger.totals()
    assert budget is None or round((totals.spent_usd + totals.reserved_usd) * 1e9) <= budget
    assert totals.spent_usd == in_usd(nano(model.spent))
    assert totals.reserved_usd == in_usd(nano(sum(model.open.values())))
    assert totals.open_calls == len(model.open)
    assert totals.all.cost_usd == in_usd(nano(sum(map(sum, model.by_tier.values()))))
    assert {one.tier: (one.totals.calls, one.totals.cost_usd) for one in totals.by_tier} == {
        tier: (len(costs), in_usd(nano(sum(costs)))) for tier, costs in model.by_tier.items()
    }


@pytest.mark.redis
async def test_two_routers_on_one_redis_share_one_budget_and_what_was_written_stays(redis_server: RunningRedis) -> None:
    app = f"app-{uuid.uuid4().hex}"
    first, second = (RedisLedger.from_url(redis_server.url, app=app, budget_usd=in_usd(nano(100))) for _ in range(2))
    await first.reserve(call("one"), nano(60))

    with pytest.raises(BudgetExceeded):
        await second.reserve(call("two"), nano(60))
    await second.settle(CallId("one"), USAGE, nano(10))
    await first.aclose()

    assert (await second.totals(history=1)).recent[0].call == call("one")
    await second.aclose()


@pytest.mark.redis
async def test_amounts_of_a_million_dollars_stay_exact(redis_server: RunningRedis) -> None:
    ledger = RedisLedger.from_url(redis_server.url, app=f"app-{uuid.uuid4().hex}", budget_usd=2_000_000.0)
    await ledger.reserve(call("one"), nano(1_000_000_000_000_001))

    record = await ledger.settle_at_reserve(CallId("one"), None)

    assert record.cost_usd == in_usd(nano(1_000_000_000_000_001))
    assert (await ledger.totals()).spent_usd == in_usd(nano(1_000_000_000_000_001))
    await ledger.aclose()


@pytest.mark.redis
async def test_a_redis_that_went_away_is_a_refusal_that_names_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        ledger = RedisLedger.from_url(server.url, app="desk")
        await ledger.reserve(call(), nano(1))
        server.end()

        with pytest.raises(LedgerUnreachable, match="check that it runs") as caught:
            await ledger.settle(CallId("one"), USAGE, nano(1))
        with pytest.raises(LedgerUnreachable):
            await ledger.totals()

    assert isinstance(caught.value, Refused)
    assert server.password not in str(caught.value)
    await ledger.aclose()
