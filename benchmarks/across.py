"""Messages between processes: Regrow, plain Ray in the same session, and xoscar.

The sender is this process on each side, the receiver a process of its own. Tells count when a typed
handler has returned: a count that is asked for behind them is answered after the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from measure import Best, Options, Result, Screen, alternated, median, ratio, rounded, swept
from payload import in_window
from peer_venv import XOSCAR, PeerMissing, PeerProcess
from raw_ray import ask_awaited, ask_in_batches, raw_desk, tell_awaited, tell_in_batches
from workload import Count, Desk, desk_app, note, question

from regrow import ActorRef, MailboxFull

Way = Callable[[int, int], Awaitable[float]]
LONE_CALLS = 300


async def measured(options: Options, screen: Screen) -> tuple[Result, dict[str, str]]:
    """Every figure of messages between processes, and the versions of the peers."""
    async with desk_app.start(engine="ray") as running:  # plain Ray runs in the session that this starts
        ref, desk = running.ref(Desk), raw_desk()
        result = {
            **await tells(ref, desk, options, screen),
            **await asks(ref, desk, options, screen),
            **await lone(ref, desk, options, screen),
        }
        pipelined, found = await beside_xoscar(ref, options, screen)
    return {**result, **pipelined}, found


# ---- tells ------------------------------------------------------------------------------------------


async def tells(ref: ActorRef, desk: Any, options: Options, screen: Screen) -> Result:
    """Tells beside one raw call per message."""
    raw_ways = {"awaited": raw_tells(desk, tell_awaited), "ray.get": raw_tells(desk, tell_in_batches)}
    our_ways = {"tell": our_tells(ref, tell_each), "tell_nowait": our_tells(ref, tell_ahead)}
    raw = await swept(raw_ways, options.windows, options.side_s / 2)
    ours = await swept(our_ways, options.windows, options.side_s / 2)
    rounds = await alternated(
        options.rounds,
        {
            named("raw Ray", raw): at(raw_ways, raw, options.side_s),
            named("Regrow", ours): at(our_ways, ours, options.side_s),
        },
    )
    screen.rates("Tells, one raw call per message against ours", rounds, "/s")
    raw_rate, our_rate = (median(values) for values in rounds.values())
    return {
        "tell_ratio": ratio(our_rate, raw_rate),
        "tell_per_s": rounded(our_rate),
        "raw_tell_per_s": rounded(raw_rate),
    }


def our_tells(ref: ActorRef, send: Callable[[ActorRef, int, int], Awaitable[None]]) -> Way:
    """The rate at which notes are sent and handled. The handler has checked their order."""

    async def run(count: int, window: int) -> float:
        begun = perf_counter()
        await send(ref, count, window)
        tally = await ref.ask(Count())
        elapsed_s = perf_counter() - begun
        if tally.notes != count or tally.out_of_turn:
            raise AssertionError(f"of {count} notes {tally.notes} were handled, {tally.out_of_turn} out of turn")
        return count / elapsed_s

    return run


async def tell_each(ref: ActorRef, count: int, window: int) -> None:
    """Awaits each tell in one of `window` tasks."""

    async def once(seq: int) -> None:
        await ref.tell(note(seq))

    await in_window(count, window, once)


async def tell_ahead(ref: ActorRef, count: int, window: int) -> None:
    """Tells without waiting, but for the last of each half window; a half is always under way."""
    half = max(window // 2, 1)
    under_way: asyncio.Task[None] | None = None
    for seq in range(count):
        if (seq + 1) % half:
            try:
                ref.tell_nowait(note(seq))
            except MailboxFull:
                await ref.tell(note(seq))
        else:
            earlier, under_way = under_way, asyncio.create_task(ref.tell(note(seq)))
            await asyncio.sleep(0)  # lets the task send, so that order holds
            if earlier is not None:
                await earlier
    if under_way is not None:
        await under_way


def raw_tells(desk: Any, send: Callable[[Any, int, int], Awaitable[None]]) -> Way:
    """The rate of raw calls that have returned."""

    async def run(count: int, window: int) -> float:
        begun = perf_counter()
        await send(desk, count, window)
        elapsed_s = perf_counter() - begun
        notes = await desk.count.remote()
        if notes != count:
            raise AssertionError(f"of {count} notes {notes} were handled")
        return count / elapsed_s

    return run


# ---- asks -------------------------------------------------------------------------------------------


async def asks(ref: ActorRef, desk: Any, options: Options, screen: Screen) -> Result:
    """Asks in flight beside raw calls in flight."""
    raw_ways = {"awaited": timed(desk, ask_awaited), "ray.get": timed(desk, ask_in_batches)}
    our_ways = {"ask": timed(ref, ask_each)}
    raw = await swept(raw_ways, options.windows, options.side_s / 2)
    ours = await swept(our_ways, options.windows, options.side_s / 2)
    rounds = await alternated(
        options.rounds,
        {
            named("raw Ray", raw): at(raw_ways, raw, options.side_s),
            named("Regrow", ours): at(our_ways, ours, options.side_s),
        },
    )
    screen.rates("Pipelined asks", rounds, "/s")
    raw_rate, our_rate = (median(values) for values in rounds.values())
    return {
        "ask_pipelined_ratio": ratio(our_rate, raw_rate),
        "ask_per_s": rounded(our_rate),
        "raw_ask_per_s": rounded(raw_rate),
    }


async def ask_each(ref: ActorRef, count: int, window: int) -> None:
    """Awaits each ask in one of `window` tasks."""

    async def once(seq: int) -> None:
        answer = await ref.ask(question(seq))
        assert answer.seq == seq

    await in_window(count, window, once)


async def beside_xoscar(ref: ActorRef, options: Options, screen: Screen) -> tuple[Result, dict[str, str]]:
    """Asks in flight beside those of xoscar, where it can be installed."""
    our_ways = {"ask": timed(ref, ask_each)}
    try:
        async with await PeerProcess.started(XOSCAR, options) as peer:
            best = await swept({"ask": peer.rate}, options.windows, options.side_s / 2)
            ours = await swept(our_ways, options.windows, options.side_s / 2)
            rounds = await alternated(
                options.rounds,
                {
                    named("xoscar", best): at({"ask": peer.rate}, best, options.side_s),
                    named("Regrow", ours): at(our_ways, ours, options.side_s),
                },
            )
    except PeerMissing as missing:
        screen.say(f"xoscar: not measured ({missing})")
        return {}, {"xoscar": f"none: {missing}"}
    screen.rates("Pipelined asks beside xoscar", rounds, "/s")
    peer_rate, our_rate = (median(values) for values in rounds.values())
    rates: Result = {"ask_pipelined_of_xoscar": ratio(our_rate, peer_rate), "xoscar_ask_per_s": rounded(peer_rate)}
    return rates, {"xoscar": peer.version}


# ---- one at a time ----------------------------------------------------------------------------------


async def lone(ref: ActorRef, desk: Any, options: Options, screen: Screen) -> Result:
    """The median time of one ask with nothing else in flight, beside one raw call."""
    calls = LONE_CALLS // 5 if options.quick else LONE_CALLS

    async def raw() -> float:
        return await median_ms(calls, lambda seq: ask_awaited(desk, 1, 1))

    async def ours() -> float:
        return await median_ms(calls, lambda seq: ask_each(ref, 1, 1))

    rounds = await alternated(options.rounds, {"raw Ray": raw, "Regrow": ours})
    screen.rates("A lone ask", rounds, "ms")
    return {
        "ask_lone_ratio": ratio(median(rounds["Regrow"]), median(rounds["raw Ray"])),
        "lone_ask_ms": rounded(median(rounds["Regrow"])),
        "raw_lone_ms": rounded(median(rounds["raw Ray"])),
    }


async def median_ms(calls: int, once: Callable[[int], Awaitable[None]]) -> float:
    """The median time of one call, after ten that warm up."""
    times_s: list[float] = []
    for seq in range(calls + 10):
        begun = perf_counter()
        await once(seq)
        times_s.append(perf_counter() - begun)
    return median(times_s[10:]) * 1e3


# ---- ways -------------------------------------------------------------------------------------------


def timed(receiver: Any, send: Callable[[Any, int, int], Awaitable[None]]) -> Way:
    """The rate at which `send` sees its messages answered."""

    async def run(count: int, window: int) -> float:
        begun = perf_counter()
        await send(receiver, count, window)
        return count / (perf_counter() - begun)

    return run


def at(ways: dict[str, Way], best: Best, seconds: float) -> Callable[[], Awaitable[float]]:
    """One side of a round: the best way, for about that long."""
    return lambda: ways[best.way](best.count(seconds), best.window)


def named(side: str, best: Best) -> str:
    """A side with how it did best."""
    return f"{side} ({best.way}, window {best.window:,})"
