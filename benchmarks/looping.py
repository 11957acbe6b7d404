"""What the agent loop adds to a model and its tools, and many agents that wait on a model at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter

from loop_work import (
    ANSWER,
    CROWD,
    WAIT_S,
    WAITERS,
    Loop,
    Looper,
    SlowModel,
    Think,
    add,
    loop_app,
    scripted,
    waiting_app,
)
from measure import Options, Result, Screen, alternated, median, rounded

from regrow import ActorRef
from regrow.cluster import Running
from regrow.cluster.config import MemorySettings, Settings
from regrow.cluster.inline import InlineEngine
from regrow.cluster.testing_playbook import Playbook
from regrow.cluster.testing_watch import PlaybookHere, watched
from regrow.router.catalog import extractive_card
from regrow.router.provider import ScriptedProvider
from regrow.router.request import ModelRequest, Tier, Work
from regrow.testing import TestApp

IN_PROCESS = MemorySettings(store="memory")
"""No Redis, and so the ledger is in memory too."""
CALLS = 50
"""Of a tool in one loop: the conversation grows with each."""
LOOPS = 20
LOOPS_QUICK = 4
STARTS_AT_ONCE = 50
"""Agents are started so many at a time, before anything is measured."""


async def loop_measured(options: Options, screen: Screen) -> Result:
    """The milliseconds that a loop adds to each call of a tool, in one process."""
    loops = LOOPS_QUICK if options.quick else LOOPS

    async def bare() -> float:
        """Milliseconds for each call of the same function, and of the same provider before it."""
        seconds, provider = 0.0, ScriptedProvider([])
        for _ in range(loops):
            refill(provider)
            begun_s = perf_counter()
            await bare_loop(provider)
            seconds += perf_counter() - begun_s
        return seconds / loops / CALLS * 1e3

    async with looping(Settings(memory=IN_PROCESS), loops) as ours, looping(Settings(), loops) as with_redis:
        await ours()
        await with_redis()
        sides = {"bare": bare, "the loop": ours, "… its ledger in a Redis": with_redis}
        rounds = await alternated(options.rounds, sides)
    screen.rates(f"A loop of {CALLS} calls of a tool", rounds, "ms a call")
    bare_ms, our_ms, redis_ms = (median(values) for values in rounds.values())
    return {
        "loop_ms_per_call": rounded(our_ms - bare_ms),
        "loop_ms_per_call_redis": rounded(redis_ms - bare_ms),
        "bare_loop_ms_per_call": rounded(bare_ms),
    }


@asynccontextmanager
async def looping(settings: Settings, loops: int) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """What has an agent run so many loops, and gives the milliseconds for each call of a tool."""
    provider = ScriptedProvider([])
    engine = InlineEngine(loop_app, settings, made=lambda make: watched(make, PlaybookHere(Playbook()), provider))

    async def looped() -> float:
        seconds = 0.0
        for _ in range(loops):
            refill(provider)
            seconds += (await looper.ask(Loop(calls=CALLS))).seconds
        return seconds / loops / CALLS * 1e3

    await engine.start()
    try:
        looper = Running(loop_app, engine).ref(Looper)
        yield looped
    finally:
        await engine.stop()


def refill(provider: ScriptedProvider) -> None:
    """The script of one more loop."""
    provider.__init__(scripted(CALLS))  # type: ignore[misc] # the same object, which the router holds


async def bare_loop(provider: ScriptedProvider) -> None:
    """What is left of a loop without the loop: the provider is asked, and the function called."""
    request, card, calls = ModelRequest(work=Work.REASON, prompt="Add up the numbers"), extractive_card(Tier.LARGE), 0
    while (reply := await provider.complete(request, card)).text != ANSWER:
        assert reply.tool_calls
        if await add.function(one=2, other=3) != 5:
            raise AssertionError("2 and 3 are 5")
        calls += 1
    if calls != CALLS:
        raise AssertionError(f"{calls} calls were made of {CALLS}")


async def waiting_measured(options: Options, screen: Screen) -> Result:
    """The seconds until a thousand agents of one host have the answers that a model takes two seconds for each."""
    async with TestApp(waiting_app, models=SlowModel(WAIT_S), engine="ray", settings=Settings()) as stage:
        limit = asyncio.Semaphore(STARTS_AT_ONCE)

        async def started() -> ActorRef:
            async with limit:
                return await stage.running.start_child(CROWD)

        refs = await asyncio.gather(*(started() for _ in range(WAITERS)))

        async def waited() -> float:
            begun_s = perf_counter()
            said = await asyncio.gather(*(ref.ask(Think(), timeout_s=60.0) for ref in refs))
            took_s = perf_counter() - begun_s
            if said != [ANSWER] * WAITERS:
                raise AssertionError("an agent has another answer")
            return took_s

        await refs[0].ask(Think(), timeout_s=60.0)  # has everything loaded
        rounds = [await waited() for _ in range(1 if options.quick else options.rounds)]
    screen.rates(f"{WAITERS:,} agents in one host, each waiting {WAIT_S:g} s on a model", {"Regrow": rounds}, "s")
    return {"waiting_1000_s": rounded(median(rounds))}
