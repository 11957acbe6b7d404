"""A journal under test with its clock, and an agent's holder that makes calls of it short."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Awaitable, Callable

from regrow.runtime.address import ActorId
from regrow.runtime.journal import Journal
from regrow.runtime.journal_answers import ClaimVerdict, EnqueueVerdict, TurnEnded
from regrow.runtime.journal_entries import (
    NOTHING,
    CommandId,
    Commit,
    Epoch,
    Hand,
    HostEpoch,
    Incoming,
    OperationId,
    Outcome,
    Owner,
    Park,
    Partition,
    Pending,
    StepKey,
    Writes,
    partition_of,
)

CLERK = ActorId("desk/clerk")
HERE = partition_of(CLERK)
FAR_MS = 3_600_000


def command_at(ms: int, number: int = 0) -> CommandId:
    """A UUIDv7 of that millisecond; the number makes it one of several."""
    return CommandId(str(uuid.UUID(int=ms << 80 | 0x7 << 76 | 0b10 << 62 | number)))


class Stand:
    """One journal, what tells its store's time, and a source of ids."""

    def __init__(self, journal: Journal, elapse: Callable[[int], Awaitable[None]]) -> None:
        self.journal = journal
        self.elapse = elapse
        """Lets at least so many milliseconds pass on the store's clock."""
        self._numbers = itertools.count(1)

    async def now_ms(self) -> int:
        """The store's time."""
        return (await self.journal.due(Partition(0))).now_ms

    async def command(self, *, ago_ms: int = 0) -> CommandId:
        """A new id, made so long ago."""
        return command_at(await self.now_ms() - ago_ms, next(self._numbers))

    def operation(self) -> OperationId:
        """A new id."""
        return OperationId(f"op-{next(self._numbers)}")

    async def host(self) -> HostEpoch:
        """A host with a lease that outlives the test."""
        host = await self.journal.new_host_epoch()
        assert await self.journal.renew(host, ttl_ms=FAR_MS)
        return host

    async def hold(
        self, agent: ActorId = CLERK, *, host: HostEpoch | None = None, previous: Owner | None = None
    ) -> Holder:
        """Claims the agent for a host, a new one unless told which, and of whom it is by now unless told."""
        host = await self.host() if host is None else host
        previous = (await self.journal.read(agent)).owner if previous is None else previous
        claim = await self.journal.claim(agent, host, previous=previous, operation=self.operation())
        assert claim.verdict is ClaimVerdict.CLAIMED
        return Holder(self, agent, host, claim.row.epoch, claim.row.version)


class Holder:
    """One incarnation of an agent."""

    def __init__(self, stand: Stand, agent: ActorId, host: HostEpoch, epoch: Epoch, version: int) -> None:
        self.agent, self.host, self.epoch, self.version = agent, host, epoch, version
        self._stand = stand
        self._journal = stand.journal

    @property
    def owner(self) -> Owner:
        """For the next one's claim."""
        return Owner(host=self.host, epoch=self.epoch)

    async def receive(self, body: bytes = b"hello") -> CommandId:
        """A new message in the mailbox."""
        command = await self._stand.command()
        message = Incoming(agent=self.agent, command=command, body=body, epoch=self.epoch)
        (answer,) = await self._journal.enqueue([message])
        assert answer.verdict is EnqueueVerdict.ACCEPTED
        return command

    def hand(self, command: CommandId, operation: OperationId | None = None) -> Hand:
        """The message in hand, for one call."""
        return Hand(
            agent=self.agent,
            epoch=self.epoch,
            version=self.version,
            command=command,
            operation=operation or self._stand.operation(),
        )

    async def commit(
        self,
        command: CommandId,
        *,
        result: bytes = b"done",
        outcome: Outcome = Outcome.COMMITTED,
        writes: Writes = NOTHING,
    ) -> TurnEnded:
        """Ends the turn, and knows the version then."""
        ended = await self._journal.commit(
            Commit(hand=self.hand(command), outcome=outcome, result=result, writes=writes), limit=100
        )
        self.version = ended.version
        return ended

    async def park(self, command: CommandId, wait: StepKey, *, deadline_ms: int | None = None) -> TurnEnded:
        """Ends the turn with a wait, and knows the version then."""
        ended = await self._journal.park(
            Park(hand=self.hand(command), wait=wait, begun=b"began with this", deadline_ms=deadline_ms), limit=100
        )
        self.version = ended.version
        return ended

    async def pending(self) -> list[CommandId]:
        """The mailbox, in order."""
        return [message.command for message in await self.taken()]

    async def taken(self) -> list[Pending]:
        """The messages of the mailbox."""
        messages = (await self._journal.take(self.agent, self.epoch)).messages
        assert messages is not None
        return list(messages)
