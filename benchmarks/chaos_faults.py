"""Does the faults of a chaos run, one at a time for each agent, and waits each time until it is served again."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import select
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import TypeVar

from chaos_clients import Clients, Wish
from chaos_desk import AGENTS, CLOCK, SUPERVISOR
from chaos_plans import TAKES_AWAY, Kind, Plan, Window, deck, lanes, verdict_in
from chaos_proxy import Act, RedisProxy, Side, Sprung, Trap
from chaos_redis import ChaosRedis
from redis.exceptions import RedisError

from regrow import RegrowError, Running
from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime import ActorId
from regrow.runtime.durability import LEASE_TTL_MS
from regrow.runtime.journal_answers import ClaimVerdict, Revocation
from regrow.runtime.journal_entries import HostEpoch, OperationId

SPRING_LIMIT_S = 20.0
"""For a trap to spring: the script it waits for runs many times a second, unless another fault keeps it from that."""
RECOVER_LIMIT_S = 240.0
DONE_BEFORE = "done_before"
LATE_LIMIT_S = 60.0
"""For Redis to say something to a late script: longer than it is stopped, loads its data, or has no room."""
KILL_LIMIT_S = 60.0
SHORT_STOP_S = (0.2, 1.5)
DELAY_S = (0.05, 0.4)
FULL_S = (0.3, 1.0)
REST_S = (0.2, 0.8)
"""Between two faults that hit all."""
LEASE_S = LEASE_TTL_MS / 1_000
PAST_LEASE_S = LEASE_S + 1.0
OTHER_TTL_MS = 6 * LEASE_TTL_MS
"""For a host that only claims: it does not renew."""
LOOK_S = 0.1
JUMPS_S = (-86_400.0, -3_600.0, 3_600.0, 86_400.0, 0.0)
LIMIT_TRIES = 5
"""How often a fault is tried that could not be done, as another one was in its way."""

V = TypeVar("V")


@dataclass(slots=True, kw_only=True)
class Fault:
    """One that was done. `recover_ms` is from then on, or from the end of a stop, to the first command served."""

    kind: Kind
    agent: str
    at_s: float
    window: Window | None = None
    command: str = ""
    recover_ms: float | None = None
    text: str = ""


@dataclass(slots=True)
class FaultLog:
    """All faults of a run."""

    faults: list[Fault] = field(default_factory=list)
    unserved: list[str] = field(default_factory=list)
    """Agents that were not served again in time, and after what."""
    late_answers: Counter[str] = field(default_factory=Counter)
    """What Redis said to scripts of dead processes that came late."""

    def kinds(self) -> Counter[Kind]:
        """How many of each."""
        return Counter(fault.kind for fault in self.faults)

    def windows(self) -> dict[Window, int]:
        """How many hit each window."""
        found = Counter(fault.window for fault in self.faults)
        return {window: found[window] for window in Window}


class Missed(Exception):
    """A fault could not be done, as what it waits for did not happen."""


def wake(process: int) -> None:
    """Lets a stopped process go on, by its pidfd."""
    with suppress(ProcessLookupError):  # somebody else has killed it meanwhile
        signal.pidfd_send_signal(process, signal.SIGCONT)


def has_ended(process: int) -> bool:
    """Whether a process has, by its pidfd."""
    return bool(select.select([process], [], [], 0)[0])


async def verdict_on_late(send: Callable[[], bytes], *, pause_s: float = LOOK_S) -> str:
    """What Redis says to a late script; it is sent again while another fault keeps Redis from saying anything."""
    deadline = monotonic() + LATE_LIMIT_S
    while True:
        answer = b""
        with suppress(OSError):  # it is killed, or stopped; TimeoutError is one of these
            answer = await asyncio.to_thread(send)
        if verdict := verdict_in(answer):
            return verdict
        if monotonic() > deadline:
            return repr(answer[:40])
        await asyncio.sleep(pause_s)


class Faults:
    """Who does them."""

    def __init__(
        self,
        running: Running,
        clients: Clients,
        proxy: RedisProxy,
        redis: ChaosRedis,
        *,
        folder: Path,
        seed: int,
        rest_s: float,
    ) -> None:
        """An agent serves for `rest_s` between two faults that hit it alone."""
        self.log = FaultLog()
        self._running = running
        self._clients = clients
        self._proxy = proxy
        self._redis = redis
        self._folder = folder
        self._rest_s = rest_s
        self._dice = random.Random(f"faults {seed}")
        self._long = asyncio.Lock()
        """Held by what takes longer than a lease, so that two of them do not add up."""
        self._sprung_last: dict[str, Sprung] = {}
        self._journal = RedisJournal.from_url(f"unix://{redis.socket}", app=running.app.name)

    async def play(self, until_s: float, *, say: Callable[[str], None]) -> None:
        """One whole deck, and more of them until that time. No lane waits for another: a slow one would hold up all."""
        decks = [lanes(deck(self._dice))]
        async with asyncio.TaskGroup() as under_way:
            for agent in decks[0]:
                under_way.create_task(self._play_lane(agent, decks, until_s, say))

    async def aclose(self) -> None:
        """Lets go of the journal."""
        await self._journal.aclose()

    async def _play_lane(
        self, agent: str, decks: list[dict[str, list[Plan]]], until_s: float, say: Callable[[str], None]
    ) -> None:
        for number in itertools.count():
            if number == len(decks):
                if monotonic() > until_s:
                    return
                say(f"deck {number + 1}: {len(self.log.faults)} faults so far, {self._clients.acked:,} acknowledged")
                decks.append(lanes(deck(self._dice)))
            for plan in decks[number][agent]:
                await asyncio.sleep(self._rest_s if agent else self._dice.uniform(*REST_S))
                if number and monotonic() > until_s:
                    return
                await self._try(plan)

    async def _try(self, plan: Plan) -> None:
        for _ in range(LIMIT_TRIES):
            try:
                await self._do(plan)
                return
            except (Missed, RegrowError, RedisError):
                await asyncio.sleep(LOOK_S)  # it is tried again when what was in its way is over

    async def _do(self, plan: Plan) -> None:
        """One fault, and the wait until all whom it hit are served again."""
        begun = len(self.log.faults)
        try:
            served_from_s = await self._done(plan)
        except Missed:
            if killed := self._done_since(begun, plan):
                await self._wait_served(plan, killed, killed[-1].at_s)  # or the next try kills it at the same message
            raise
        done = self._done_since(begun, plan)
        await self._wait_served(plan, done, served_from_s)
        if plan.kind is Kind.LATE:
            await self._come_late(done[-1])

    def _done_since(self, begun: int, plan: Plan) -> list[Fault]:
        return [fault for fault in self.log.faults[begun:] if fault.agent == plan.agent]

    async def _wait_served(self, plan: Plan, done: list[Fault], served_from_s: float) -> None:
        for agent in [plan.agent] if plan.agent else AGENTS:
            try:
                served_s = await asyncio.wait_for(self._clients.wait_ack(agent, after_s=served_from_s), RECOVER_LIMIT_S)
            except TimeoutError:
                self.log.unserved.append(f"{agent} after {plan.kind} {plan.script}")
                continue
            for fault in done:
                if fault.kind in TAKES_AWAY:
                    took_ms = round((served_s - served_from_s) * 1_000, 1)
                    fault.recover_ms = max(took_ms, fault.recover_ms or 0.0)

    async def _done(self, plan: Plan) -> float:
        """Does it; the time from which on its victims should be served. Raises Missed, RegrowError."""
        match plan.kind:
            case Kind.HOST_STOP | Kind.HOST_STOP_PAST_LEASE:
                return await self._stop_host(plan)
            case Kind.AGENT_KILL | Kind.SUPERVISOR_KILL:
                at_s = monotonic()
                await self._running.kill(plan.agent or SUPERVISOR, timeout_s=KILL_LIMIT_S)
                return self._note(plan, at_s)
            case Kind.AGENT_RESTART | Kind.SUPERVISOR_RESTART:
                return await self._restart(plan)
            case Kind.GUARDIAN_KILL:
                return await self._kill_guardian(plan)
            case Kind.REDIS_KILL | Kind.REDIS_STOP | Kind.REDIS_STOP_PAST_LEASE | Kind.REDIS_FULL:
                return await self._harm_redis(plan)
            case Kind.POISON:
                return await self._wish(plan, Wish(poison=True))
            case Kind.ASKED_TWICE:
                return await self._wish(plan, Wish(twice=True))
            case Kind.CLOCK_JUMP:
                ahead_s = self._dice.choice(JUMPS_S)
                (self._folder / CLOCK).write_text(str(ahead_s))
                return await self._wish(plan, Wish(clock_ahead_s=ahead_s))
            case _:
                return (await self._trap(plan)).at_s

    def _note(self, plan: Plan, at_s: float, *, command: str = "", text: str = "") -> float:
        self.log.faults.append(
            Fault(kind=plan.kind, agent=plan.agent, at_s=at_s, window=plan.window, command=command, text=text)
        )
        self._clients.write_fault(plan.kind, plan.agent, at_s, window=plan.window or "")
        return at_s

    async def _wish(self, plan: Plan, wish: Wish) -> float:
        """Counts when a client has sent it, which it does while it has room."""
        try:
            sent_s = await asyncio.wait_for(self._clients.send_as(plan.agent, wish), SPRING_LIMIT_S)
        except TimeoutError:
            raise Missed from None
        return self._note(plan, sent_s)

    # ---- at the wire -----------------------------------------------------------------------------

    async def _trap(self, plan: Plan) -> Sprung:
        """Arms what the plan says, and waits until it has sprung; kills the host first where that is needed."""
        trap = Trap(
            script=plan.script,
            side=plan.side,
            act=plan.act,
            agent="" if plan.script == "revoke" else plan.agent,  # that one is of a host
            fits=plan.fits,
            delay_s=self._dice.uniform(*DELAY_S),
        )
        if plan.behind_kill:
            kill = Trap(script="commit", side=Side.BEFORE, act=Act.KILL, agent=plan.agent, then=trap)
            try:
                killed = await self._sprung(self._proxy.arm(kill))
            except Missed:
                trap.sprung.cancel()  # it may be armed by now
                raise
            self._note(replace(plan, kind=Kind.HOST_KILL, window=None), killed.at_s, command=killed.call.command)
        else:
            self._proxy.arm(trap)
        sprung = await self._sprung(trap.sprung)
        self._note(plan, sprung.at_s, command=sprung.call.command, text=plan.script)
        self._sprung_last[plan.agent] = sprung
        return sprung

    async def _sprung(self, springing: Future[Sprung]) -> Sprung:
        try:
            return await asyncio.wait_for(asyncio.wrap_future(springing), SPRING_LIMIT_S)
        except TimeoutError:
            raise Missed from None

    async def _come_late(self, fault: Fault) -> None:
        """Sends what a dead process had wanted to say, now that another one serves its agent."""
        raw = self._sprung_last[fault.agent].call.raw
        if await asyncio.to_thread(self._redis.has_done, raw):
            self.log.late_answers[DONE_BEFORE] += 1  # by its own process, to which Redis could not answer
            return
        self.log.late_answers[await verdict_on_late(lambda: self._proxy.send_late(raw))] += 1

    async def _stop_host(self, plan: Plan) -> float:
        """Stops a host in the middle of a commit, and lets it go on; past its lease it is replaced meanwhile."""
        past_lease = plan.kind is Kind.HOST_STOP_PAST_LEASE
        async with self._long if past_lease else nullcontext():
            trap = Trap(script="commit", side=Side.BEFORE, act=Act.STOP, agent=plan.agent)
            sprung = await self._sprung(self._proxy.arm(trap))
            process = os.pidfd_open(sprung.call.pid)
            try:
                if past_lease:
                    await self._replaced(ActorId(plan.agent), process)
                else:
                    await asyncio.sleep(self._dice.uniform(*SHORT_STOP_S))
            finally:
                wake(process)
                os.close(process)
        self._note(plan, sprung.at_s, command=sprung.call.command)
        return monotonic()

    async def _replaced(self, agent: ActorId, process: int) -> None:
        """Claims an agent for another host when the lease of its stopped one is over, and wakes that one to its end.

        Then the agent is given back, and its supervisor starts it again.
        """
        owner = (await self._journal.read(agent)).owner
        former = owner.host
        if former is None:
            raise Missed
        other = await self._journal.new_host_epoch()
        await self._until(lambda: self._is_revoked(former))
        await self._journal.renew(other, ttl_ms=OTHER_TTL_MS)
        operation = OperationId(f"chaos {other}")
        claim = await self._surely(lambda: self._journal.claim(agent, other, previous=owner, operation=operation))
        if claim.verdict is not ClaimVerdict.CLAIMED:
            raise Missed
        try:
            wake(process)
            await self._until(lambda: asyncio.to_thread(has_ended, process))
        except Missed:
            self.log.unserved.append(f"{agent}, whose host was replaced while it was stopped, and does not end")
        finally:
            await self._surely(lambda: self._journal.release(agent, claim.row.epoch))
            await self._surely(lambda: self._journal.revoke(other, reaped=True))

    async def _is_revoked(self, host: HostEpoch) -> bool:
        return await self._journal.revoke(host) is Revocation.REVOKED

    async def _until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Looks until it holds. Raises Missed."""
        deadline = monotonic() + 2 * PAST_LEASE_S
        while not await holds():
            if monotonic() > deadline:
                raise Missed
            await asyncio.sleep(LOOK_S)

    async def _surely(self, call: Callable[[], Awaitable[V]]) -> V:
        """Calls the journal until it answers: what has an operation of its own may be sent again."""
        deadline = monotonic() + RECOVER_LIMIT_S
        while True:
            try:
                return await call()
            except RegrowError:
                if monotonic() > deadline:
                    raise
                await asyncio.sleep(LOOK_S)

    async def _restart(self, plan: Plan) -> float:
        """In order: an agent while the word that its step is done is on its way, or a supervisor with all below it."""
        at_s = monotonic()
        if plan.agent:
            trap = Trap(
                script=plan.script,
                side=plan.side,
                act=plan.act,
                agent=plan.agent,
                delay_s=self._dice.uniform(*DELAY_S),
            )
            at_s = (await self._sprung(self._proxy.arm(trap))).at_s
        await self._running.restart(plan.agent or SUPERVISOR, timeout_s=KILL_LIMIT_S)
        return self._note(plan, at_s)

    # ---- all at once -----------------------------------------------------------------------------

    async def _kill_guardian(self, plan: Plan) -> float:
        async with self._long:
            pid = (await self._running.tree())[0].pid
            at_s = monotonic()
            os.kill(pid, signal.SIGKILL)
            return self._note(plan, at_s)

    async def _harm_redis(self, plan: Plan) -> float:
        at_s, redis = monotonic(), self._redis
        match plan.kind:
            case Kind.REDIS_KILL:
                await redis.kill()
                await redis.start()
            case Kind.REDIS_FULL:
                await asyncio.to_thread(redis.fill)
                await asyncio.sleep(self._dice.uniform(*FULL_S))
                await asyncio.to_thread(redis.make_room)
            case _:
                past_lease = plan.kind is Kind.REDIS_STOP_PAST_LEASE
                async with self._long:
                    redis.send(signal.SIGSTOP)
                    await asyncio.sleep(PAST_LEASE_S if past_lease else self._dice.uniform(*SHORT_STOP_S))
                    redis.send(signal.SIGCONT)
        self._note(plan, at_s)
        return at_s if plan.kind is Kind.REDIS_KILL else monotonic()
