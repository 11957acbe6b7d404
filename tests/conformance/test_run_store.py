"""What every RunStore keeps, over the twin and over a real Redis: exact counts of runs, caps, and the last calls."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from regrow.cluster.redis_runs import RedisRuns
from regrow.router.bounded_redis import ANSWER_TIMEOUT_S
from regrow.runtime.fallback_runs import FallbackRuns
from regrow.runtime.guard_errors import RunsUnreachable
from regrow.runtime.guards import Guards
from regrow.runtime.likeness import Likenesses, StateLikenesses
from regrow.runtime.memory_runs import MemoryRuns
from regrow.runtime.run_store import (
    KEPT_CALLS,
    NUSD_PER_USD,
    RUN_TTL_S,
    WINDOW_CALLS,
    WIRE_TTL_S,
    Amounts,
    CallNote,
    RunStore,
    Tone,
    WireCounts,
)
from tests.conformance.conftest import CLUSTER, EMBEDDED, REDIS_7
from tests.memory.redis_server import running_redis

UNCAPPED = Guards()


@pytest.fixture(params=["memory", "fallback", EMBEDDED, REDIS_7, CLUSTER])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[RunStore]:
    now_s = asyncio.get_running_loop().time
    if request.param in ("memory", "fallback"):
        yield MemoryRuns(now_s) if request.param == "memory" else FallbackRuns(MemoryRuns(now_s), now_s)
        return
    url: str = request.getfixturevalue(request.param)
    runs = RedisRuns.from_url(url, app=f"app-{uuid.uuid4().hex}", cluster=request.param == "cluster")
    yield runs
    await runs.aclose()


async def test_what_is_taken_adds_up_and_runs_are_apart(store: RunStore) -> None:
    first = await store.take("a", Amounts(messages=2, calls=1), UNCAPPED)
    second = await store.take("a", Amounts(tokens=5, cost_nusd=7), UNCAPPED)
    other = await store.take("b}", Amounts(calls=1), UNCAPPED)

    assert (first.counts, first.over) == (Amounts(messages=2, calls=1), "")
    assert second.counts == Amounts(messages=2, calls=1, tokens=5, cost_nusd=7)
    assert other.counts == Amounts(calls=1)
    assert 0 <= second.age_s < 60


@pytest.mark.parametrize(
    ("guards", "amounts", "cap"),
    [
        (Guards(max_messages=3), Amounts(messages=1), "max_messages"),
        (Guards(max_calls=3), Amounts(calls=1), "max_calls"),
        (Guards(max_tokens=300), Amounts(tokens=100), "max_tokens"),
        (Guards(max_cost_usd=0.3), Amounts(cost_nusd=NUSD_PER_USD // 10), "max_cost_usd"),
    ],
)
async def test_what_would_pass_a_cap_is_not_added(store: RunStore, guards: Guards, amounts: Amounts, cap: str) -> None:
    taken = [await store.take("a", amounts, guards) for _ in range(5)]

    assert [each.over for each in taken] == ["", "", "", cap, cap]
    assert taken[4].counts == taken[2].counts
    assert (await store.take("a", Amounts(), UNCAPPED)).counts == taken[2].counts


async def test_a_run_may_take_no_longer_than_its_cap(store: RunStore) -> None:
    await store.take("a", Amounts(calls=1), Guards(max_s=60.0))

    assert (await store.take("a", Amounts(calls=1), Guards(max_s=60.0))).over == ""
    while (late := await store.take("a", Amounts(calls=1), Guards(max_s=0.0))).age_s == 0:
        pass  # the store's clock tells milliseconds
    assert late.over == "max_s"


async def test_of_several_caps_the_first_is_named(store: RunStore) -> None:
    taken = await store.take(
        "a", Amounts(messages=1, calls=1, tokens=1), Guards(max_messages=1, max_calls=0, max_tokens=0)
    )

    assert taken.over == "max_calls"


async def test_what_was_taken_under_an_id_is_taken_once_and_settled_once(store: RunStore) -> None:
    for _ in range(2):
        taken = await store.take("a", Amounts(calls=1, tokens=100), UNCAPPED, id="one")
        assert taken.counts == Amounts(calls=1, tokens=100)
    for _ in range(2):
        await store.settle("a", "one", Amounts(calls=1, tokens=40, cost_nusd=9))
    await store.settle("a", "never", Amounts(calls=1))

    assert (await store.take("a", Amounts(), UNCAPPED)).counts == Amounts(calls=1, tokens=40, cost_nusd=9)


async def test_a_settlement_may_pass_a_cap_and_then_nothing_more_is_taken(store: RunStore) -> None:
    guards = Guards(max_tokens=10)
    await store.take("a", Amounts(tokens=1), guards, id="one")
    await store.settle("a", "one", Amounts(tokens=50))

    taken = await store.take("a", Amounts(tokens=1), guards)

    assert (taken.over, taken.counts) == ("max_tokens", Amounts(tokens=50))


async def test_many_who_take_at_once_do_not_pass_a_cap_together(store: RunStore) -> None:
    guards = Guards(max_calls=10)

    taken = await asyncio.gather(*(store.take("a", Amounts(calls=1), guards) for _ in range(30)))

    assert sum(not each.over for each in taken) == 10


SENT = WireCounts(calls=10, attempts=12, hidden=2)


def made(id: str, *, what: int = 1, batch: str = "", tone: Tone = Tone.TOLD, seconds: float = 0.0) -> CallNote:
    """A call; all that a store has to keep of it differs."""
    return CallNote(
        id=id,
        what=Likenesses(what, what + 1, what + 2, what + 3, 2**40 - 1),
        outcome=Likenesses(what + 4, 0, what + 6, what + 7, what + 8),
        state=StateLikenesses(what + 9, 2**40 - 2, 0),
        tone=tone,
        batch=batch,
        took_s=seconds,
        thought_s=2 * seconds,
    )


async def test_what_is_held_back_may_pass_a_cap_and_leaves_no_room_for_others_until_it_is_settled(
    store: RunStore,
) -> None:
    guards, call, held = Guards(max_cost_usd=0.1), Amounts(calls=1), Amounts(tokens=9, cost_nusd=NUSD_PER_USD // 16)

    taken = await asyncio.gather(*(store.take("a", call, guards, id=str(at), held=held) for at in range(32)))

    made = [at for at, each in enumerate(taken) if not each.over]
    assert len(made) == 2
    assert {each.over for each in taken} == {"", "max_cost_usd"}
    assert max(each.counts.cost_nusd for each in taken) == NUSD_PER_USD // 8
    for at in made:
        await store.settle("a", str(at), Amounts(calls=1, tokens=1, cost_nusd=5))
    again = await store.take("a", call, guards, id="again", held=held)
    assert again.over == ""
    assert again.counts == Amounts(calls=3, tokens=11, cost_nusd=10 + NUSD_PER_USD // 16)


async def test_nothing_is_refused_for_a_cap_of_which_it_takes_nothing(store: RunStore) -> None:
    guards, held = Guards(max_tokens=10, max_cost_usd=0.1), Amounts(tokens=50, cost_nusd=NUSD_PER_USD)
    await store.take("a", Amounts(calls=1), guards, id="model", held=held)

    beside = [await store.take("a", each, guards) for each in (Amounts(calls=1), Amounts(messages=1))]
    taken = await store.take("a", Amounts(calls=1), guards, id="next", held=Amounts(cost_nusd=1))

    assert [each.over for each in beside] == ["", ""]
    assert taken.over == "max_cost_usd"


async def test_calls_are_kept_in_their_order_each_once_by_its_id(store: RunStore) -> None:
    calls = [made("1"), made("2", what=99, batch="b/1", tone=Tone.DONE, seconds=1.5), made("11", tone=Tone.PENDING)]
    for call in (*calls[:2], made("1", what=7), calls[2]):
        await store.note("a", "desk/a", call)
    await store.note("a", "desk/b", made("1"))

    kept = await store.calls("a", "desk/a")

    assert [replace(each, at_s=0.0) for each in kept.notes] == calls
    stamps = [each.at_s for each in kept.notes]
    assert stamps == sorted(stamps) and stamps[-1] <= kept.now_s < stamps[-1] + 60
    assert (await store.calls("b", "desk/a")).notes == ()


async def test_what_was_sent_adds_up_by_address_and_is_halved_when_it_is_much(store: RunStore) -> None:
    address = f"{uuid.uuid4().hex}.example:443"

    assert await store.sent(address, SENT) == SENT
    assert await store.sent(address, WireCounts(calls=1.5, hidden=1)) == WireCounts(calls=11.5, attempts=12, hidden=3)
    assert await store.sent("other.example", SENT) == SENT
    assert await store.sent(address, WireCounts(calls=3 * WINDOW_CALLS - 11.5)) == WireCounts(
        calls=3 * WINDOW_CALLS / 4, attempts=3, hidden=0.75
    )


async def test_of_many_calls_the_last_are_kept(store: RunStore) -> None:
    for number in range(KEPT_CALLS + 5):
        await store.note("a", "desk/a", made(str(number), what=number))

    kept = (await store.calls("a", "desk/a")).notes
    assert [each.what.written for each in kept] == list(range(5, KEPT_CALLS + 5))


async def test_the_twin_forgets_a_run_of_long_ago() -> None:
    now_s = [0.0]
    runs = MemoryRuns(lambda: now_s[0])
    await runs.take("a", Amounts(calls=1), UNCAPPED)
    now_s[0] += RUN_TTL_S + 1

    assert (await runs.take("a", Amounts(calls=1), UNCAPPED)).counts == Amounts(calls=1)


async def test_the_twin_forgets_what_was_sent_long_after_the_last_of_it() -> None:
    now_s = [0.0]
    runs = MemoryRuns(lambda: now_s[0])
    await runs.sent("a", SENT)
    now_s[0] += WIRE_TTL_S

    assert (await runs.sent("a", SENT)).hidden == 4
    now_s[0] += WIRE_TTL_S + 1
    assert await runs.sent("a", SENT) == SENT


@pytest.mark.redis
async def test_redis_forgets_a_run_by_itself_and_two_hosts_share_it(embedded: str) -> None:
    app = f"app-{uuid.uuid4().hex}"
    one, other = (RedisRuns.from_url(embedded, app=app) for _ in range(2))
    await one.take("a", Amounts(calls=1), UNCAPPED)
    await one.note("a", "desk/a", made("1"))
    await one.sent("example", SENT)

    assert (await other.sent("example", SENT)).hidden == 4
    assert (await other.take("a", Amounts(calls=1), UNCAPPED)).counts == Amounts(calls=2)
    assert len((await other.calls("a", "desk/a")).notes) == 1
    async with Redis.from_url(embedded) as client:
        keys = await client.keys(f"*{app}*")
        left_s = [await client.ttl(key) for key in keys]
    assert len(keys) == 3 and all(0 < each <= RUN_TTL_S for each in left_s)
    await one.aclose()
    await other.aclose()


@pytest.mark.redis
async def test_a_redis_that_went_away_is_a_refusal_that_names_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        runs = RedisRuns.from_url(server.url, app="desk")
        await runs.take("a", Amounts(calls=1), UNCAPPED)
        server.end()

        with pytest.raises(RunsUnreachable, match="check that it runs") as caught:
            await runs.take("a", Amounts(calls=1), UNCAPPED)

    assert server.password not in str(caught.value)
    await runs.aclose()


@pytest.mark.slow  # it waits for the server as long as one may
@pytest.mark.redis
async def test_a_redis_that_hangs_costs_a_moment_and_calls_are_noted_beside_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    now_s = asyncio.get_running_loop().time
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        runs = FallbackRuns(RedisRuns.from_url(server.url, app="desk"), now_s)
        await runs.note("a", "desk/a", made("before"))
        server.process.send_signal(signal.SIGSTOP)
        began_s = now_s()
        for number in range(5):
            await runs.note("a", "desk/a", made(f"beside/{number}"))
        beside = (await runs.calls("a", "desk/a")).notes
        took_s = now_s() - began_s
        server.process.send_signal(signal.SIGCONT)

        assert len(beside) == 5
        assert took_s < ANSWER_TIMEOUT_S  # each of them would wait so long for an answer of the server
    await runs.aclose()
