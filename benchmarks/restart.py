"""Takeover: SIGKILL of an agent's process to the first answered ask, beside an actor that Ray restarts itself.

Both are asked from this process, which asks again when an ask fails. Each round kills one of either
side; before it, the process list must show the warm spare host at rest. The peer is an async actor
with max_restarts=-1 and max_task_retries=-1, so that Ray repeats the call as soon as it can.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from time import monotonic, perf_counter
from typing import Any

from figures import RESTART
from measure import (
    Options,
    Result,
    Screen,
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
from raw_ray import raw_desk
from ray.exceptions import RayError
from workload import Desk, Pid, victim_app

from regrow import AskFailed, AskTimeout

ROUNDS = 40
ROUNDS_QUICK = 2
HOSTS = 2
"""The agent's own and the spare."""
WARM_LIMIT_S = 20.0
ASK_LIMIT_S = 30.0
RESERVE_S = 25.0
"""No further round begins when so little time is left."""

Ask = Callable[[], Awaitable[int]]


async def measured(options: Options, screen: Screen) -> Result:
    """Kills and asks, in turns."""
    until = monotonic() + limit_s(options) - RESERVE_S
    regrow_ms: list[float] = []
    ray_ms: list[float] = []
    async with victim_app.start(engine="ray") as running:  # the peer runs in the session that this starts
        ref, peer = running.ref(Desk), raw_desk(max_restarts=-1, max_task_retries=-1)

        async def ask_ours() -> int:
            return await ref.ask(Pid(), timeout_s=ASK_LIMIT_S)

        async def ask_peer() -> int:
            pid: int = await asyncio.wait_for(_awaited(peer.pid.remote()), ASK_LIMIT_S)
            return pid

        for number in range(ROUNDS_QUICK if options.quick else ROUNDS):
            if number and monotonic() > until:
                screen.say(f"time is up after {number} rounds")
                break
            await warm(screen)
            ray_ms.append(await killed_to_answered(ask_peer))
            await warm(screen)
            regrow_ms.append(await killed_to_answered(ask_ours))
    screen.rates("SIGKILL to the first answered ask", {"Ray's own restart": ray_ms, "Regrow": regrow_ms}, "ms")
    return {
        "regrow_ms_p50": rounded(median(regrow_ms)),
        "regrow_ms_p99": rounded(percentile(regrow_ms, 99)),
        "ray_ms_p50": rounded(median(ray_ms)),
        "ratio": ratio(median(ray_ms), median(regrow_ms)),
        "rounds": float(len(regrow_ms)),
    }


async def killed_to_answered(ask: Ask) -> float:
    """Kills the process that answers; the milliseconds until another one does."""
    killed = await ask()
    begun = perf_counter()
    os.kill(killed, signal.SIGKILL)
    while True:
        try:
            pid = await ask()
        except (AskFailed, AskTimeout, RayError):
            continue
        if pid != killed:
            return (perf_counter() - begun) * 1e3


async def warm(screen: Screen) -> None:
    """Waits for the warm spare."""
    if not await wait_hosts_rest(HOSTS, limit_s=WARM_LIMIT_S):
        screen.say(f"no spare host at rest within {WARM_LIMIT_S:g} s; measured all the same")


async def _awaited(reference: Any) -> Any:
    return await reference


def main() -> None:
    """Measures, and prints tables and the JSON line."""
    options = options_of(__doc__)
    screen = Screen(options)
    with ends_within(limit_s(options)):
        result = asyncio.run(measured(options, screen))
    found = versions("regrow", "ray")
    screen.figures("Takeover", RESTART, result)
    screen.say(" · ".join(f"{name} {version}" for name, version in found.items()))
    finish(result | {"rounds": int(result["rounds"] or 0), "versions": found, "quick": options.quick})


if __name__ == "__main__":
    main()
