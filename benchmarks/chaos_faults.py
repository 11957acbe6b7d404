"""Does the faults of a chaos run, one at a time for each agent, and waits each time until it is served again."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from time import monotonic

from chaos_clients import Clients, Wish
from chaos_desk import AGENTS, CLOCK, SUPERVISOR
from chaos_hosts import StoppedHosts
from chaos_late import verdict_on_late, was_done
from chaos_log import Fault, FaultLog, Missed
from chaos_nodes import ChaosNodes
from chaos_plans import TAKES_AWAY, Kind, Plan, deck, lanes
from chaos_processes import Processes
from chaos_proxy import Act, Side, Sprung, Trap
from chaos_redis import ChaosStore
from chaos_wide import KILL_LIMIT_S, SHORT_STOP_S, WideFaults
from redis.exceptions import RedisError

from regrow import RegrowError, Running
from regrow.runtime import ActorId

SPRING_LIMIT_S = 20.0
"""For a trap to spring: the script it waits for runs many times a second, unless another fault keeps it from that."""
RECOVER_LIMIT_S = 240.0
DONE_BEFORE = "done_before"
DELAY_S = (0.05, 0.4)
REST_S = (0.2, 0.8)
"""Between two faults that hit all."""
LOOK_S = 0.1
JUMPS_S = (-86_400.0, -3_600.0, 3_600.0, 86_400.0, 0.0)
LIMIT_TRIES = 5
"""How often a fault is tried that could not be done, as another one was in its way."""


class Faults:
    """Who does them."""

    def __init__(
        self,
        running: Running,
        clients: Clients,
        redis: ChaosStore,
        *,
        nodes: ChaosNodes | None,
        plans: Sequence[Plan],
        folder: Path,
        seed: int,
        rest_s: float,
    ) -> None:
        """An agent serves for `rest_s` between two faults that hit it alone; a deck has all `plans`."""
        self.log = FaultLog()
        self._running = running
        self._clients = clients
        self._proxy = redis.proxy
        self._redis = redis
        self._plans = plans
        self._folder = folder
        self._rest_s = rest_s
        self._dice = random.Random(f"faults {seed}")
        self._long = asyncio.Lock()
        """Held by what takes longer than a lease, so that two of them do not add up."""
        self._sprung_last: dict[str, Sprung] = {}
        self._journal = redis.journal(running.app.name)
        self._hosts = StoppedHosts(self._journal, self.log)
        self._wide = WideFaults(
            running,
            redis,
            nodes,
            dice=self._dice,
            long=self._long,
            note=self._note,
            spring=lambda trap: self._sprung(self._proxy.arm(trap)),
            served=lambda plan, at_s: self._wait_served(plan, self.log.faults[-1:], at_s),
            log=self.log,
        )

    async def play(self, until_s: float, *, say: Callable[[str], None]) -> None:
        """One whole deck, and more of them until that time. No lane waits for another: a slow one would hold up all."""
        decks = [lanes(deck(self._dice, self._plans))]
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
                decks.append(lanes(deck(self._dice, self._plans)))
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
                return await self._wide.kill_guardian(plan)
            case Kind.REDIS_KILL | Kind.REDIS_STOP | Kind.REDIS_STOP_PAST_LEASE | Kind.REDIS_FULL:
                return await self._wide.harm_redis(plan)
            case Kind.SLOT_MOVE:
                return await self._wide.move_slot(plan)
            case Kind.NODE_KILL | Kind.NODE_STOP | Kind.NODE_CUT:
                return await self._wide.harm_node(plan)
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
        except (TimeoutError, ProcessLookupError):
            raise Missed from None

    async def _come_late(self, fault: Fault) -> None:
        """Sends what a dead process had wanted to say, now that another one serves its agent."""
        raw = self._sprung_last[fault.agent].call.raw
        if await was_done(self._redis.client, raw):
            self.log.late_answers[DONE_BEFORE] += 1  # by its own process, to which Redis could not answer
            return
        self.log.late_answers[await verdict_on_late(lambda: self._redis.send_late(raw))] += 1

    async def _stop_host(self, plan: Plan) -> float:
        """Stops a host in the middle of a commit, and lets it go on; past its lease it is replaced meanwhile."""
        past_lease = plan.kind is Kind.HOST_STOP_PAST_LEASE
        async with self._long if past_lease else nullcontext():
            trap = Trap(script="commit", side=Side.BEFORE, act=Act.STOP, agent=plan.agent)
            sprung = await self._sprung(self._proxy.arm(trap))
            with Processes([sprung.pid]) as host:
                try:
                    if past_lease:
                        await self._hosts.replace(ActorId(plan.agent), host)
                    else:
                        await asyncio.sleep(self._dice.uniform(*SHORT_STOP_S))
                finally:
                    host.send(signal.SIGCONT)
        self._note(plan, sprung.at_s, command=sprung.call.command)
        return monotonic()

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
