"""Faults of a chaos run that hit all agents: of the guardian, of a server of Redis, of a slot, of a node."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from time import monotonic

from chaos_cluster import ChaosCluster
from chaos_desk import AGENTS
from chaos_hosts import PAST_LEASE_S
from chaos_log import FaultLog, Missed
from chaos_nodes import ChaosNodes
from chaos_plans import Kind, Plan
from chaos_proxy import Act, Side, Sprung, Trap
from chaos_redis import ChaosServer, ChaosStore
from ray._private.node import Node

from regrow import Running
from regrow.runtime import ActorId
from regrow.runtime.journal_entries import partition_of

SHORT_STOP_S = (0.2, 1.5)
FULL_S = (0.3, 1.0)
KILL_LIMIT_S = 60.0
LIMIT_MOVES = 5
MOVE_DELAY_S = 0.2
"""For so long the script is held that waits while its slot begins to move."""
HOSTS = "hosts"
"""The tag of the slot in which the leases of all hosts lie."""

Note = Callable[[Plan, float], float]
"""Writes down that a fault was done at a time, which it gives back."""


class WideFaults:
    """Who does them. Each gives the time from which on everybody is to be served."""

    def __init__(
        self,
        running: Running,
        redis: ChaosStore,
        nodes: ChaosNodes | None,
        *,
        dice: random.Random,
        long: asyncio.Lock,
        note: Note,
        spring: Callable[[Trap], Awaitable[Sprung]],
        served: Callable[[Plan, float], Awaitable[None]],
        log: FaultLog,
    ) -> None:
        """`long` is held by what takes longer than a lease. `served` waits until all agents are, behind a fault."""
        self._running = running
        self._redis = redis
        self._nodes = nodes
        self._dice = dice
        self._long = long
        self._note = note
        self._spring = spring
        self._served = served
        self._log = log

    async def kill_guardian(self, plan: Plan) -> float:
        """Kills the process that has the supervisors, and on the head of Ray owns all hosts."""
        async with self._long:
            pid = (await self._running.tree())[0].pid
            at_s = monotonic()
            os.kill(pid, signal.SIGKILL)
            return self._note(plan, at_s)

    async def harm_redis(self, plan: Plan) -> float:
        """Kills, fills or stops a server."""
        at_s, server = monotonic(), self._dice.choice(self._redis.servers)
        match plan.kind:
            case Kind.REDIS_KILL:
                await server.kill()
                await server.start()
            case Kind.REDIS_FULL:
                await asyncio.to_thread(server.fill)
                await asyncio.sleep(self._dice.uniform(*FULL_S))
                await asyncio.to_thread(server.make_room)
            case _:
                await self._stop_redis(plan, server)
        self._note(plan, at_s)
        return at_s if plan.kind is Kind.REDIS_KILL else monotonic()

    async def _stop_redis(self, plan: Plan, server: ChaosServer) -> None:
        past_lease = plan.kind is Kind.REDIS_STOP_PAST_LEASE
        async with self._long:
            server.send(signal.SIGSTOP)
            await asyncio.sleep(PAST_LEASE_S if past_lease else self._dice.uniform(*SHORT_STOP_S))
            server.send(signal.SIGCONT)

    async def move_slot(self, plan: Plan) -> float:
        """Moves the slot of an agent, or that of all leases, while a commit or renewal in it is on its way."""
        agent = self._dice.choice((*AGENTS, ""))
        tag = str(partition_of(ActorId(agent))) if agent else HOSTS
        script = "commit" if agent else "renew"
        trap = Trap(script=script, side=Side.BEFORE, act=Act.DELAY, agent=agent, delay_s=MOVE_DELAY_S)
        at_s = (await self._spring(trap)).at_s
        assert isinstance(self._redis, ChaosCluster)
        await self._redis.move(f"{{{tag}}}", self._dice)
        return self._note(plan, at_s)

    async def harm_node(self, plan: Plan) -> float:
        """Kills a node, or stops it, or its raylet alone, until its agents are served elsewhere; another one joins."""
        assert self._nodes is not None
        async with self._long:
            node = await self._with_agents(self._nodes)
            at_s = monotonic()
            try:
                if plan.kind is Kind.NODE_KILL:
                    return self._note(plan, await self._nodes.kill(node))
                async with self._nodes.stopped(node, hosts=plan.kind is Kind.NODE_STOP):
                    self._note(plan, at_s)
                    await self._served(plan, at_s)
            except TimeoutError as error:
                self._log.unserved.append(f"{plan.kind}: {error}")
            return monotonic()

    async def _with_agents(self, nodes: ChaosNodes) -> Node:
        """A node that has an agent; where none has, one is killed, as its next host goes there. Raises Missed."""
        for _ in range(LIMIT_MOVES):
            agents = [node for tree in await self._running.tree() for _, node in tree.walk() if node.id in AGENTS]
            found = nodes.with_any({agent.pid for agent in agents}, self._dice)
            if found is not None:
                return found
            await self._running.kill(self._dice.choice(AGENTS), timeout_s=KILL_LIMIT_S)
        raise Missed
