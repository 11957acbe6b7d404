"""Durable turns beside the bare commit of the journal, an ask of a durable agent, and how soon one is back.

Turns: 1, 8 and 64 agents in one process on Ray work off mailboxes that were filled before, each turn with a state of
about 500 bytes, its reply and its history. The peer sends the very commit script of the journal by hand, the same
bytes, with the commits of as many agents in one write. Both use one Redis, with `appendfsync always` and `everysec` in
turn; a ratio is the lower one of the two. An ask is one of an agent in the same process, stored before it is handled
and committed before it is answered, in units of a lone bare commit. Takeover is from a SIGKILL in the midst of a
turn to the reply that the next life has committed. Recovery is of an agent that has had 10,000 turns, in an app that
keeps as many of them as a setting allows; they lie in Redis, and nothing that recovers reads them.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter, time
from typing import TYPE_CHECKING

from bare_commit import BareCommits, told
from durable_work import VICTIM, Account, AskOften, Book, Die, Drain, Driver, Fill, Pid, Sum, app, clerks
from figures import DURABLE
from measure import (
    Options,
    Result,
    Screen,
    alternated,
    ends_within,
    finish,
    limit_s,
    median,
    options_of,
    percentile,
    ratio,
    rounded,
    versions,
)
from processes import wait_hosts_rest
from pydantic import SecretStr

from regrow.cluster.config import MAX_HISTORY_TURNS, HistorySettings, RedisSettings, Settings
from regrow.cluster.redis_server import RedisServer

if TYPE_CHECKING:
    from regrow import Running

AGENTS = (1, 8, 64)
FSYNC = ("always", "everysec")
QUEUED = 32
"""At least so many messages wait for each agent."""
MESSAGES = 4_096
MESSAGES_QUICK = 256
"""Of all agents together, in one round."""
LIMIT_EACH = 900
"""A mailbox holds 1,000."""
ASKS = 400
ASKS_QUICK = 20
KILLS = 20
KILLS_QUICK = 2
OLD_TURNS = 10_000
OLD_TURNS_QUICK = 200
STARTS = 10
ACTIVATIONS = 200
ACTIVATIONS_QUICK = 20
STORED_LIMIT_S = 60.0
LOOK_S = 0.02
ASK_LIMIT_S = 60.0
WARM_LIMIT_S = 20.0
HOSTS = 3
"""Those of the clerks and of the victim, and the spare."""
RESERVE_S = 15.0
"""No further kill when so little time is left."""


class Bench:
    """A running ledger, its Redis, and the bare commits beside it."""

    def __init__(self, running: Running, url: str, options: Options) -> None:
        self._running = running
        self._url = url
        self._messages = MESSAGES_QUICK if options.quick else MESSAGES
        self._driver = running.ref(Driver)

    def fsync(self, how: str) -> None:
        """Changes how often the server syncs to its disk."""
        told(self._url, [b"CONFIG", b"SET", b"appendfsync", how.encode()])

    def each(self, agents: int) -> int:
        """How many messages wait for each agent in a round."""
        return min(LIMIT_EACH, max(QUEUED, self._messages // agents))

    async def turns(self, agents: int) -> float:
        """Turns in a second, of full mailboxes."""
        each = self.each(agents)
        await self._driver.tell(Fill(clerks=agents, each=each))
        await self._stored(agents * (each + 1))
        took_s = await self._driver.ask(Drain(clerks=agents, each=each), timeout_s=ASK_LIMIT_S)
        return agents * (each + 2) / took_s  # what held them, the entries, and the question behind

    async def bare(self, commits: BareCommits, agents: int) -> float:
        """Bare commits in a second."""
        each = self.each(agents)
        await commits.fill(each, int(time() * 1000))
        return agents * each / await asyncio.to_thread(commits.drained, each)

    async def asks_ms(self, times: int) -> tuple[float, ...]:
        """The time of each of so many asks."""
        return await self._driver.ask(AskOften(times=times), timeout_s=ASK_LIMIT_S)

    async def bare_ms(self, commits: BareCommits, times: int) -> list[float]:
        """The time of each of so many bare commits."""
        await commits.fill(times, int(time() * 1000))
        return await asyncio.to_thread(commits.one_by_one, times)

    async def recoveries_ms(self, turns: int) -> list[float]:
        """How long the first clerk takes to be stopped, started and to answer, after it had so many turns."""
        done = 0
        while done < turns:
            each = self.each(1)
            await self.turns(1)
            done += each + 2
        clerk = self._running.ref(next(iter(clerks(1))))
        took_ms: list[float] = []
        for _ in range(STARTS):
            begun = perf_counter()
            await self._running.restart(clerk)
            await clerk.ask(Pid(), timeout_s=ASK_LIMIT_S)
            took_ms.append((perf_counter() - begun) * 1e3)
        return took_ms

    def turns_kept(self) -> int:
        """How many turns the history of the first clerk has."""
        clerk = next(iter(clerks(1)))
        (keys,) = told(self._url, [b"KEYS", f"regrow:ledger:*:past:{clerk}".encode()])
        (kept,) = told(self._url, [b"XLEN", keys[0]])
        return int(kept)

    async def activations_ms(self, times: int) -> list[float]:
        """How long so many agents with keys take to be started by an ask from outside, and to answer it."""
        took_ms: list[float] = []
        for number in range(times):
            account = self._running.ref(Account, key=f"customer-{number}")
            begun = perf_counter()
            await account.ask(Pid(), timeout_s=ASK_LIMIT_S)
            took_ms.append((perf_counter() - begun) * 1e3)
        return took_ms

    async def idle_bytes(self) -> float:
        """What Redis holds for an agent that has had one turn: its state, the reply and the history of that turn."""
        *_, clerk = clerks(64)
        await self._running.ref(clerk).ask(Sum(), timeout_s=ASK_LIMIT_S)
        (keys,) = told(self._url, [b"KEYS", f"regrow:ledger:*:{clerk}*".encode()])
        sizes = told(self._url, *([b"MEMORY", b"USAGE", key] for key in keys))
        return float(sum(sizes))

    async def _stored(self, wanted: int) -> None:
        deadline = monotonic() + STORED_LIMIT_S
        while True:
            (mails,) = told(self._url, [b"KEYS", b"regrow:ledger:*:mail:*"])
            lengths = told(self._url, *([b"XLEN", key] for key in mails)) if mails else []
            if sum(lengths) >= wanted:
                return
            if monotonic() > deadline:
                raise SystemExit(f"{sum(lengths)} of {wanted} messages were stored within {STORED_LIMIT_S:g} s")
            await asyncio.sleep(LOOK_S)


async def measured(options: Options, screen: Screen) -> Result:
    """All figures; see the top of this file."""
    result: Result = {}
    until = monotonic() + limit_s(options) - RESERVE_S
    with tempfile.TemporaryDirectory(prefix="regrow-durable-") as folder:
        server = RedisServer(Path(folder) / "server", appendfsync="always")
        await server.start()
        try:
            redis = RedisSettings(url=SecretStr(server.url))
            settings = Settings(data_dir=Path(folder) / "data", redis=redis)
            result |= await _recovery(settings, server.url, options, screen)
            async with app.start(engine="ray", settings=settings) as running:
                bench = Bench(running, server.url, options)
                result["redis_bytes_per_idle_agent"] = rounded(await bench.idle_bytes())
                result |= await _turn_ratios(bench, server.url, options, screen)
                result |= await _ask_ratio(bench, server.url, options, screen)
                cold = await bench.activations_ms(ACTIVATIONS_QUICK if options.quick else ACTIVATIONS)
                screen.rates("The first ask of an agent with a key", {"Regrow": cold}, "ms")
                result["activate_ms"] = rounded(median(cold))
                takeovers = await _takeovers_ms(running, options, screen, until)
                screen.rates("SIGKILL in the midst of a turn to its committed reply", {"Regrow": takeovers}, "ms")
                result |= {
                    "takeover_ms_p50": rounded(median(takeovers)),
                    "takeover_ms_p99": rounded(percentile(takeovers, 99)),
                    "takeovers": float(len(takeovers)),
                }
        finally:
            await server.stop()
    return result


async def _recovery(settings: Settings, url: str, options: Options, screen: Screen) -> Result:
    """How soon an agent is back that has had many turns, with as much history as an app may keep."""
    most = settings.model_copy(update={"history": HistorySettings(turns=MAX_HISTORY_TURNS)})
    async with app.start(engine="ray", settings=most) as running:
        bench = Bench(running, url, options)
        old = await bench.recoveries_ms(OLD_TURNS_QUICK if options.quick else OLD_TURNS)
        screen.rates("An agent with many turns behind it is started anew", {"Regrow": old}, "ms")
        return {"recovery_ms": rounded(median(old)), "recovery_history_turns": float(bench.turns_kept())}


async def _turn_ratios(bench: Bench, url: str, options: Options, screen: Screen) -> Result:
    found: Result = {}
    for agents in AGENTS:
        peer = BareCommits(url, agents, Book())
        by_fsync: list[float] = []
        for how in FSYNC:
            bench.fsync(how)
            sides: dict[str, Callable[[], Awaitable[float]]] = {
                "bare commits": partial(bench.bare, peer, agents),
                "turns": partial(bench.turns, agents),
            }
            await alternated(1, sides)  # only warms up
            rates = await alternated(options.rounds, sides)
            screen.rates(f"{agents} agents, appendfsync {how}", rates, "/s")
            of_bare = ratio(median(rates["turns"]), median(rates["bare commits"]))
            assert of_bare is not None
            by_fsync.append(of_bare)
            found[f"turn_ratio_{agents}_{how}"] = of_bare
            found[f"turns_per_s_{agents}_{how}"] = rounded(median(rates["turns"]))
            found[f"bare_per_s_{agents}_{how}"] = rounded(median(rates["bare commits"]))
        found[f"turn_ratio_{agents}"] = min(by_fsync)
        peer.close()
    return found


async def _ask_ratio(bench: Bench, url: str, options: Options, screen: Screen) -> Result:
    found: Result = {}
    peer = BareCommits(url, 1, Book())
    times = ASKS_QUICK if options.quick else ASKS
    units: list[float] = []
    for how in FSYNC:
        bench.fsync(how)
        bare_ms: list[float] = []
        asks_ms: list[float] = []
        for _ in range(options.rounds):
            bare_ms.append(median(await bench.bare_ms(peer, times)))
            asks_ms.append(median(await bench.asks_ms(times)))
        screen.rates(f"A lone ask, appendfsync {how}", {"bare commit": bare_ms, "durable ask": asks_ms}, "ms")
        of_bare = ratio(median(asks_ms), median(bare_ms))
        assert of_bare is not None
        units.append(of_bare)
        found[f"ask_in_commits_p50_{how}"] = of_bare
        found[f"ask_ms_p50_{how}"] = rounded(median(asks_ms))
    bench.fsync("always")
    peer.close()
    return found | {"ask_in_commits_p50": max(units)}


async def _takeovers_ms(running: Running, options: Options, screen: Screen, until: float) -> list[float]:
    clerk = running.ref(VICTIM)
    took_ms: list[float] = []
    for _ in range(KILLS_QUICK if options.quick else KILLS):
        if took_ms and monotonic() > until:
            break
        if not await wait_hosts_rest(HOSTS, limit_s=WARM_LIMIT_S):
            screen.say(f"no spare host at rest within {WARM_LIMIT_S:g} s; measured all the same")
        pid = await clerk.ask(Pid(), timeout_s=ASK_LIMIT_S)
        begun = perf_counter()
        await clerk.ask(Die(victim=pid), timeout_s=ASK_LIMIT_S)
        took_ms.append((perf_counter() - begun) * 1e3)
    return took_ms


def main() -> None:
    """Measures, and prints tables and the JSON line."""
    options = options_of(__doc__)
    screen = Screen(options)
    with ends_within(limit_s(options)):
        result = asyncio.run(measured(options, screen))
    found = versions("regrow", "ray", "redis", "hiredis", "msgpack", "pydantic")
    screen.figures("Durable agents", DURABLE, result)
    screen.say(" · ".join(f"{name} {version}" for name, version in found.items()))
    finish(result | {"versions": found, "quick": options.quick})


if __name__ == "__main__":
    main()
