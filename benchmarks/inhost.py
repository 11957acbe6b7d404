"""Asks inside one process: Regrow's inline engine, AutoGen-core's runtime, and a bare asyncio loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

from measure import Options, Result, Screen, alternated, median, ratio, rounded, swept
from payload import in_window
from peer_venv import AUTOGEN, PeerMissing, PeerProcess
from workload import Answer, Desk, Question, desk_app, question

from regrow import ActorRef

Way = Callable[[int, int], Awaitable[float]]
WINDOWS = (10, 100, 1_000)


async def measured(options: Options, screen: Screen) -> tuple[Result, dict[str, str]]:
    """Every figure of asks inside one process, and the versions of the peers."""
    async with desk_app.start(engine="inline") as running:
        ours = our_asks(running.ref(Desk))
        result = await beside_bare(ours, options, screen)
        beside, found = await beside_autogen(ours, options, screen)
    return {**result, **beside}, found


async def beside_bare(ours: Way, options: Options, screen: Screen) -> Result:
    """Sequential asks beside a queue and a future, which is the least that an ask can be."""
    async with BareDesk() as bare:
        counts = {"bare": 0, "ours": 0}
        for name, way in (("bare", bare.asks), ("ours", ours)):
            counts[name] = int(await way(1_000, 1) * options.side_s)
        rounds = await alternated(
            options.rounds,
            {
                "bare asyncio loop": lambda: bare.asks(counts["bare"], 1),
                "Regrow": lambda: ours(counts["ours"], 1),
            },
        )
    screen.rates("Sequential asks in one process", rounds, "/s")
    bare_rate, our_rate = (median(values) for values in rounds.values())
    return {
        "ask_inhost_of_bare": ratio(our_rate, bare_rate),
        "bare_ask_per_s": rounded(bare_rate),
        "inhost_ask_per_s": rounded(our_rate),
    }


async def beside_autogen(ours: Way, options: Options, screen: Screen) -> tuple[Result, dict[str, str]]:
    """Asks beside AutoGen-core's, one after the other and each at its best window."""
    try:
        async with await PeerProcess.started(AUTOGEN, options) as peer:
            theirs = await swept({"ask": peer.rate}, WINDOWS, options.side_s / 2)
            best = await swept({"ask": ours}, WINDOWS, options.side_s / 2)
            lone, our_lone = await peer.rate(500, 1), await ours(500, 1)
            rounds = await alternated(
                options.rounds,
                {
                    "AutoGen-core": lambda: peer.rate(int(lone * options.side_s), 1),
                    "Regrow": lambda: ours(int(our_lone * options.side_s), 1),
                    f"AutoGen-core, window {theirs.window:,}": lambda: peer.rate(
                        theirs.count(options.side_s), theirs.window
                    ),
                    f"Regrow, window {best.window:,}": lambda: ours(best.count(options.side_s), best.window),
                },
            )
    except PeerMissing as missing:
        screen.say(f"AutoGen-core: not measured ({missing})")
        return {}, {"autogen-core": f"none: {missing}"}
    screen.rates("Asks in one process beside AutoGen-core", rounds, "/s")
    autogen, sequential, autogen_window, window = (median(values) for values in rounds.values())
    return {
        "ask_inhost_ratio": ratio(max(sequential, window), max(autogen, autogen_window)),
        "ask_inhost_sequential_ratio": ratio(sequential, autogen),
        "ask_inhost_window_ratio": ratio(window, autogen_window),
        "inhost_ask_window_per_s": rounded(window),
        "autogen_ask_per_s": rounded(autogen),
        "autogen_ask_window_per_s": rounded(autogen_window),
    }, {"autogen-core": peer.version}


def our_asks(ref: ActorRef) -> Way:
    """The rate of answered asks of an agent in this process."""

    async def once(seq: int) -> None:
        answer = await ref.ask(question(seq))
        assert answer.seq == seq

    return timed(once)


class BareDesk:
    """A task that reads a queue of questions, each with the future of its answer."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[Question, asyncio.Future[Answer]]] = asyncio.Queue()

    async def __aenter__(self) -> BareDesk:
        self._task = asyncio.create_task(self._answer())
        self.asks = timed(self._once)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _once(self, seq: int) -> None:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((question(seq), future))
        answer = await future
        assert answer.seq == seq

    async def _answer(self) -> None:
        while True:
            asked, future = await self._queue.get()
            future.set_result(Answer(seq=asked.seq, text=asked.text))


def timed(once: Callable[[int], Awaitable[None]]) -> Way:
    """The rate at which `once` returns."""

    async def run(count: int, window: int) -> float:
        begun = perf_counter()
        await in_window(count, window, once)
        return count / (perf_counter() - begun)

    return run
