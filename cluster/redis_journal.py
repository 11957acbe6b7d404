"""The journal in Redis 6.2 or later, or in a Redis Cluster: one Lua script for each contract.

Reading order: this file, `redis_decisions` (what people see and decide), `journal_calls` (keys and payloads),
`journal_shared.lua` and the scripts beside it, `journal_scripts`, which reads those, `journal_replies`,
`redis_scripts`, `redis_lane` and `redis_line`, which send, and `journal_refusals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from regrow.cluster.high_water import HighWater
from regrow.cluster.journal_calls import batched, incoming, step_parts
from regrow.cluster.journal_replies import (
    answered,
    due_rows,
    enqueued,
    fired,
    outbox_row,
    pending,
    row_of,
    step_records,
    waiting_row,
)
from regrow.cluster.redis_check import shown_url
from regrow.cluster.redis_decisions import RedisDecisions
from regrow.cluster.redis_line import ANSWER_TIMEOUT_S
from regrow.cluster.redis_scripts import RedisScripts
from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import (
    Answered,
    AnswerVerdict,
    Claim,
    ClaimVerdict,
    Due,
    Enqueued,
    EnqueueVerdict,
    Fired,
    FireVerdict,
    OutboxRow,
    Revocation,
    StepAnswer,
    StepVerdict,
    Taken,
    TurnEnded,
    TurnVerdict,
    Waiting,
)
from regrow.runtime.journal_entries import (
    CommandId,
    Commit,
    Epoch,
    Hand,
    HostEpoch,
    Incoming,
    JournalLimits,
    OperationId,
    OutboxId,
    Outcome,
    Owner,
    Park,
    Partition,
    Row,
    StepKey,
    StepRecord,
    born_ms,
    check_id,
)
from regrow.runtime.journal_errors import JournalRestored
from regrow.runtime.journal_fit import bounded, check_batch, commit_fits, kept_apart, message_fits, park_fits

CONNECT_TIMEOUT_S: Final = 2.0

LIMIT_CONNECTIONS: Final = 2
"""One carries all calls in their order; the other is for a moment when the first was cut."""


class RedisJournal(RedisDecisions):
    """A Journal in Redis. See the port for its contracts; it keeps them by the server's clock."""

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        app: str,
        address: str = "Redis",
        limits: JournalLimits | None = None,
        replicas: int = 0,
        water: HighWater | None = None,
    ) -> None:
        """Owns `client`, which must not decode responses and must not retry; `from_url` makes one."""
        self._address = address
        self._water = water or HighWater()
        super().__init__(
            RedisScripts(client, address=address, replicas=replicas), app=app, limits=limits or JournalLimits()
        )

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        app: str,
        cluster: bool = False,
        limits: JournalLimits | None = None,
        replicas: int = 0,
        water: HighWater | None = None,
    ) -> RedisJournal:
        """A journal on the server of that URL, or on the cluster that it belongs to; connects on first use.

        Nothing is answered before `replicas` have it too, so that a failover to one of them loses nothing. A store
        that has gone back behind `water`, by default what this journal has seen itself, gets no further call.
        """
        shared: dict[str, Any] = {
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_timeout": ANSWER_TIMEOUT_S,
            # A retry in the client would send again what may have been done; here that has ids and is decided above.
            "retry": Retry(NoBackoff(), 0),
            # A server that is too old for us does not know protocol 3, and would not get to tell its version.
            "protocol": 2,
        }
        client: Redis | RedisCluster
        if cluster:
            client = RedisCluster.from_url(url, **shared)
        else:
            pool = BlockingConnectionPool.from_url(
                url, max_connections=LIMIT_CONNECTIONS, timeout=ANSWER_TIMEOUT_S, retry_on_error=[], **shared
            )
            client = Redis.from_pool(pool)
        return cls(client, app=app, address=shown_url(url), limits=limits, replicas=replicas, water=water)

    async def new_host_epoch(self) -> HostEpoch:
        """See Journal."""
        epoch, mark = await self._run_for_host("new_host_epoch", HostEpoch(0), {"seen": (seen := self._water.seen)})
        await self._rise(mark, seen)
        return HostEpoch(epoch)

    async def renew(self, host: HostEpoch, *, ttl_ms: int) -> bool:
        """See Journal."""
        seen = self._water.seen
        held, mark = await self._run_for_host("renew", host, {"host": host, "ttl": ttl_ms, "seen": seen})
        await self._rise(mark, seen)
        return bool(held)

    async def revoke(self, host: HostEpoch, *, reaped: bool = False) -> Revocation:
        """See Journal."""
        verdict, _ = await self._run_for_host("revoke", host, {"host": host, "reaped": reaped})
        return Revocation(verdict.decode())

    async def bury(self, host: HostEpoch, *, reaped: bool) -> tuple[Revocation, bool]:
        """The same for the guardian, whose word is final: a lease that still holds is not renewed any more.

        With the verdict comes whether the host had been revoked before; asked again, that may tell of this revocation.
        """
        verdict, was = await self._run_for_host("revoke", host, {"host": host, "reaped": reaped, "last": True})
        return Revocation(verdict.decode()), bool(was)

    async def revoked(self, host: HostEpoch) -> bool:
        """See Journal."""
        (gone,) = await self._run_for_host("revoked", host, {"host": host})
        return bool(gone)

    async def claim(self, agent: ActorId, host: HostEpoch, *, previous: Owner, operation: OperationId) -> Claim:
        """See Journal."""
        check_id("agent id", agent)
        check_id("operation id", operation)
        # A tombstone never goes away, so it may be read before the script that relies on it.
        if previous.host not in (None, host) and not await self.revoked(previous.host):
            row = await self.read(agent)
            held = row.owner != previous
            return Claim(verdict=ClaimVerdict.HELD if held else ClaimVerdict.NOT_REVOKED, row=row)
        payload = {"host": host, "op": operation, "previous": previous.host, "epoch": previous.epoch}
        verdict, *fields = await self._run("claim", agent, payload)
        return Claim(verdict=ClaimVerdict(verdict.decode()), row=row_of(fields))

    async def release(self, agent: ActorId, epoch: Epoch) -> bool:
        """See Journal."""
        (free,) = await self._run("release", agent, {"epoch": epoch})
        return bool(free)

    async def read(self, agent: ActorId) -> Row:
        """See Journal."""
        check_id("agent id", agent)
        return row_of(await self._run("read", agent, {}))

    async def enqueue(self, messages: Sequence[Incoming], *, capacity: int | None = None) -> tuple[Enqueued, ...]:
        """See Journal."""
        check_batch(messages, self.limits)
        fits = [message_fits(message, self.limits) for message in messages]
        answers = iter(await self._enqueue(list(compress(messages, fits)), capacity) if any(fits) else ())
        too_large = Enqueued(verdict=EnqueueVerdict.TOO_LARGE)
        return tuple([enqueued(next(answers)) if fit else too_large for fit in fits])

    async def depth(self, agent: ActorId) -> int:
        """See Journal."""
        check_id("agent id", agent)
        (waiting,) = await self._run("depth", agent, {})
        return int(waiting)

    async def take(self, agent: ActorId, epoch: Epoch, *, after: int = 0, limit: int | None = None) -> Taken:
        """See Journal."""
        payload = {"epoch": epoch, **self._following(after, bounded(limit, self.limits.take_messages))}
        now_ms, found = await self._run("take", agent, payload)
        return Taken(now_ms=now_ms, messages=None if found is False else tuple(map(pending, found)))

    async def count_attempt(
        self, agent: ActorId, command: CommandId, *, epoch: Epoch, note: bytes, holder: Epoch | None = None
    ) -> int | None:
        """See Journal."""
        payload = {
            "command": command,
            "epoch": epoch,
            "holder": epoch if holder is None else holder,
            "note": note[: self.limits.note_bytes],
            "notes": self.limits.notes,
        }
        (attempts,) = await self._run("count_attempt", agent, payload, command=command)
        return None if attempts is False else int(attempts)

    async def commit(self, commit: Commit, *, after: int = 0, limit: int | None = None) -> TurnEnded:
        """See Journal."""
        hand = commit.hand
        if not commit_fits(commit, self.limits):
            return TurnEnded(verdict=TurnVerdict.TOO_LARGE, version=hand.version)
        return await self._end_turn(
            "commit",
            hand,
            {
                **self._written(commit.writes),
                "outcome": commit.outcome.value,
                "changes": commit.outcome is Outcome.COMMITTED,
                "result": commit.result,
                "ttl": self.limits.result_ttl_ms,
                "born": born_ms(hand.command),
                **self._following(after, limit),
            },
        )

    async def park(self, park: Park, *, after: int = 0, limit: int | None = None) -> TurnEnded:
        """See Journal."""
        if not park_fits(park, self.limits):
            return TurnEnded(verdict=TurnVerdict.TOO_LARGE, version=park.hand.version)
        return await self._end_turn(
            "park",
            park.hand,
            {
                **self._written(park.writes),
                "changes": True,
                "wait": step_parts(park.wait),
                "begun": park.begun,
                "deadline": park.deadline_ms,
                "waits": self.limits.waits,
                **self._following(after, limit),
            },
        )

    async def quarantine(self, hand: Hand, reason: bytes, *, after: int = 0, limit: int | None = None) -> TurnEnded:
        """See Journal."""
        payload = {
            "reason": reason[: self.limits.note_bytes],
            "quarantined": self.limits.quarantined,
            **self._following(after, limit),
        }
        return await self._end_turn("quarantine", hand, payload)

    async def answer(
        self,
        agent: ActorId,
        command: CommandId,
        wait: StepKey,
        *,
        body: bytes | None,
        operation: OperationId,
        epoch: Epoch | None = None,
    ) -> Answered:
        """See Journal."""
        if len(body or b"") > self.limits.message_bytes:
            return Answered(verdict=AnswerVerdict.TOO_LARGE)
        check_id("operation id", operation)
        payload = {
            "agent": agent,
            "command": command,
            "wait": step_parts(wait),
            "body": body,
            "op": operation,
            "epoch": epoch,
            "operation_ttl": self.limits.operation_ttl_ms,
        }
        return answered(await self._run("answer", agent, payload, command=command, operation=f"answer:{operation}"))

    async def start_step(self, hand: Hand, step: StepKey) -> StepAnswer:
        """See Journal."""
        return await self._step("start_step", hand, step, {"steps": self.limits.steps})

    async def finish_step(self, hand: Hand, step: StepKey, result: bytes) -> StepAnswer:
        """See Journal."""
        if len(result) > self.limits.blob_bytes:
            return StepAnswer(verdict=StepVerdict.TOO_LARGE)
        blob = kept_apart(result, self.limits)
        kept = {} if blob is None else {"blob": [blob.digest, blob.size_bytes], "blobs": self.limits.blobs_bytes}
        return await self._step("finish_step", hand, step, {"result": result, **kept})

    async def steps(self, agent: ActorId, command: CommandId) -> tuple[StepRecord, ...]:
        """See Journal."""
        (found,) = await self._run("steps", agent, {}, command=command)
        return step_records(found)

    async def blob(self, agent: ActorId, command: CommandId, digest: str) -> bytes | None:
        """See Journal."""
        (content,) = await self._run("blob", agent, {"digest": digest}, command=command)
        return None if content is False else content

    async def mailboxes(self, partition: Partition, *, after: ActorId | None = None) -> tuple[ActorId, ...]:
        """See Journal."""
        (found,) = await self._page("mailboxes", partition, {"after": after})
        return tuple(ActorId(agent.decode()) for agent in found)

    async def waiting(self, partition: Partition, *, offset: int = 0) -> tuple[Waiting, ...]:
        """See Journal."""
        (found,) = await self._page("waiting", partition, {"offset": offset})
        return tuple(map(waiting_row, found))

    async def due(self, partition: Partition) -> Due:
        """See Journal."""
        return due_rows(await self._page("due", partition, {}))

    async def fire(self, timer: str, message: Incoming, *, due_ms: int, next_due_ms: int | None = None) -> Fired:
        """See Journal."""
        if not message_fits(message, self.limits):
            return Fired(verdict=FireVerdict.TOO_LARGE)
        payload = {
            **incoming(message),
            "timer": timer,
            "due": due_ms,
            "next": next_due_ms,
            "capacity": self.limits.mailbox,
            "operation_ttl": self.limits.operation_ttl_ms,
        }
        operation = f"fire:{message.command}"
        return fired(await self._run("fire", message.agent, payload, command=message.command, operation=operation))

    async def outbox(self, partition: Partition, *, after: OutboxId | None = None) -> tuple[OutboxRow, ...]:
        """See Journal."""
        (found,) = await self._page("outbox", partition, {"after": after})
        return tuple(map(outbox_row, found))

    async def relayed(self, agent: ActorId, ids: Sequence[OutboxId]) -> int:
        """See Journal."""
        (gone,) = await self._run("relayed", agent, {"ids": list(ids)})
        return int(gone)

    def refuse(self, error: JournalRestored) -> None:
        """Lets every further call fail with what somebody else has found out about the store."""
        self._scripts.refuse(error)

    async def aclose(self) -> None:
        """See Journal."""
        await self._scripts.aclose()

    async def _rise(self, mark: int, seen: int) -> None:
        try:
            self._water.rise(mark, asked_at=seen, address=self._address)
        except JournalRestored as error:
            self._scripts.refuse(error)
            raise
        await self._water.keep()

    async def _enqueue(self, messages: Sequence[Incoming], capacity: int | None) -> list[Any]:
        agent, epoch = messages[0].agent, messages[0].epoch
        payload = {
            "agent": agent,
            "epoch": epoch,
            "messages": [batched(message) for message in messages],
            "ttl": self.limits.result_ttl_ms,
            "ahead": self.limits.ahead_ms,
            "capacity": bounded(capacity, self.limits.mailbox),
        }
        keys = self._batch_keys("enqueue", agent, [message.command for message in messages])
        return await self._scripts.run("enqueue", keys, payload)
