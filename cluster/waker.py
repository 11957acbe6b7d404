"""Starts agents with keys that do not run and have something to do: mail, messages to relay, reminders, ends of waits.

It looks through all partitions of the journal when the app starts, and through one whenever an agent of it has ended.
In between it keeps no more than the next time at which each has something due. Agents that run see to all that
themselves. Where nobody will run again under an id that has mail, it says so. It is in the process that holds the
supervisors, and its next life looks through everything again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from regrow.runtime import ActorId, RegrowError
from regrow.runtime.durability import AGAIN_FIRST_S, AGAIN_MAX_S
from regrow.runtime.journal_entries import PARTITIONS, OutboxId, Partition, partition_of
from regrow.runtime.journal_errors import JournalAway, JournalRefused, JournalUnknown

if TYPE_CHECKING:
    from regrow.cluster.durable_ids import DurableIds
    from regrow.cluster.roots import Roots
    from regrow.runtime import Runtime
    from regrow.runtime.journal import Journal

T = TypeVar("T")

log = structlog.get_logger("regrow.waker")

LOOKS_AT_ONCE = 256
"""Of how many partitions the journal is asked at a time; one whose agents take long to start holds up no other."""
STARTS_AT_ONCE = 16
"""How many agents of one partition are started side by side."""
LOOK_AGAIN_S = 600.0
"""How long what is due later is waited for without another look: the clock of the store may be set meanwhile."""
TRY_AGAIN_S = 5.0
"""Between two tries to start an agent that could not be; doubles each time, up to LOOK_AGAIN_S."""
ALL_PARTITIONS = tuple(map(Partition, range(PARTITIONS)))
TOLD_LIMIT = 100
"""Of how many kinds of unknown agents it is told that they have mail."""


class Waker:
    """Looks into the journal for agents with keys that have something to do."""

    def __init__(
        self,
        roots: Roots,
        runtime: Runtime,
        journal: Journal,
        *,
        is_durable: DurableIds,
        first: Iterable[Partition] = ALL_PARTITIONS,
    ) -> None:
        """Looks through the partitions `first` at once: all, or none of a journal that is new."""
        self._roots = roots
        self._loop = runtime.loop
        self._journal = journal
        self._is_durable = is_durable
        self._due_at: dict[Partition, float] = {}
        self._failed: dict[Partition, float] = {}
        """How long was waited last where an agent could not be started."""
        self._to_look: set[Partition] = set(first)
        self._looking = 0
        self._waking: set[ActorId] = set()
        """Those whose starts are under way: another look at their partition leaves them out."""
        self._wanted = asyncio.Event()
        self._told: set[str] = set()
        roots.released = self._released
        self._task = runtime.spawn_task(self._run())

    def _released(self, actor: ActorId) -> None:
        self._to_look.add(partition_of(actor))
        self._wanted.set()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as looks:
            while True:
                now = self._loop.time()
                for partition in [each for each, at in self._due_at.items() if at <= now]:
                    del self._due_at[partition]
                    self._to_look.add(partition)
                while self._to_look and self._looking < LOOKS_AT_ONCE:
                    self._looking += 1
                    looks.create_task(self._look_at(self._to_look.pop()))
                self._wanted.clear()
                next_at = None if self._to_look else min(self._due_at.values(), default=None)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wanted.wait(), None if next_at is None else max(0.0, next_at - now))

    async def _look_at(self, partition: Partition) -> None:
        """Starts whoever of one partition has something to do and does not run."""
        try:
            try:
                agents = await self._look(partition)
            finally:  # before the starts, which may take long: others are to be looked at meanwhile
                self._looking -= 1
                self._wanted.set()
            all_run = await self._wake(self._asleep(agents))
        except Exception as error:  # it would end the looks at all partitions, for as long as this process lives
            log.error("a look for agents that have something to do failed", partition=partition, exc_info=error)
            all_run = False
        if all_run:
            self._failed.pop(partition, None)
        else:
            self._failed[partition] = min(2 * self._failed.get(partition, TRY_AGAIN_S / 2), LOOK_AGAIN_S)
            self._look_in(partition, self._failed[partition])
            self._wanted.set()

    async def _look(self, partition: Partition) -> set[ActorId]:
        """Who of one partition has something to do."""
        self._due_at.pop(partition, None)
        due = await _surely(partial(self._journal.due, partition))
        agents = {timer.agent for timer in due.timers} | {wait.agent for wait in due.waits}
        agents |= await self._with_mail(partition)
        agents |= await self._with_messages(partition)
        if due.next_ms is not None:
            self._look_in(partition, (due.next_ms - due.now_ms) / 1000)
        if max(len(due.timers), len(due.waits)) >= self._journal.limits.page:
            self._look_in(partition, TRY_AGAIN_S)  # there may be more than were told
        return agents

    def _look_in(self, partition: Partition, delay_s: float) -> None:
        at = self._loop.time() + max(0.0, min(delay_s, LOOK_AGAIN_S))
        self._due_at[partition] = min(at, self._due_at.get(partition, at))

    async def _with_mail(self, partition: Partition) -> set[ActorId]:
        found: set[ActorId] = set()
        after: ActorId | None = None
        while page := await _surely(partial(self._journal.mailboxes, partition, after=after)):
            found.update(page)
            after = page[-1]
        return found

    async def _with_messages(self, partition: Partition) -> set[ActorId]:
        found: set[ActorId] = set()
        after: OutboxId | None = None
        while page := await _surely(partial(self._journal.outbox, partition, after=after)):
            found.update(row.agent for row in page)
            after = page[-1].id
        return found

    def _asleep(self, agents: set[ActorId]) -> Iterator[ActorId]:
        for agent in sorted(agents):
            if agent in self._waking:
                continue
            if self._roots.is_keyed(agent):
                pool = self._roots.pool_of(agent)
                if pool is None or not pool.runs(agent.rpartition("/")[2]):
                    yield agent  # where its supervisor is between two lives, the start waits for the next one
            elif not self._is_durable(agent):
                self._tell_left(agent, "it is not in the app's tree")
            elif self._is_durable.is_numbered(agent) and self._roots.row(agent) is None:
                self._tell_left(agent, "its DynamicSupervisor has been started anew since, and gives other ids")

    async def _wake(self, agents: Iterator[ActorId]) -> bool:
        """Starts these; False where one could not be started, and is to be tried again."""
        all_run = True

        async def work() -> None:
            nonlocal all_run
            for agent in agents:
                self._waking.add(agent)
                try:
                    reason = "" if await self._roots.start_on_demand(agent) else "its supervisor does not run"
                except RegrowError as error:
                    reason = str(error)
                except Exception as error:  # of one start; the others of its partition are to be tried all the same
                    reason = repr(error)
                    log.error("a start broke", agent=agent, exc_info=error)
                finally:
                    self._waking.discard(agent)
                if reason:
                    all_run = False
                    log.warning("an agent that has something to do did not start", agent=agent, reason=reason)

        await asyncio.gather(*(work() for _ in range(STARTS_AT_ONCE)))
        return all_run

    def _tell_left(self, agent: ActorId, why: str) -> None:
        kind = agent.rpartition("/")[0]
        if kind not in self._told and len(self._told) < TOLD_LIMIT:
            self._told.add(kind)
            log.warning("an agent that will not run again has mail, which stays where it is", agent=agent, reason=why)


async def _surely(operation: Callable[[], Awaitable[T]]) -> T:
    """Does an operation of the journal until its answer has come."""
    pause_s = AGAIN_FIRST_S
    while True:
        try:
            return await operation()
        except (JournalUnknown, JournalAway, JournalRefused):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_MAX_S)
