"""How calls of the journal are put to Redis: their keys, and the payloads of calls that are alike.

Keys of the app `desk`, with 17 for the partition: `regrow:desk:{17}:row:desk/clerk` and so on, in the order in which
`journal_shared.lua` names them. The braces are the cluster's hash tag: an agent's keys and the indexes of its
partition lie in one slot, so that they change in one script. Leases and tombstones of hosts lie under `{hosts}`.
"""

from __future__ import annotations

from typing import Any

from regrow.cluster.journal_replies import step_answer, turn_ended
from regrow.cluster.redis_scripts import RedisScripts
from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import SettleVerdict, StepAnswer, TurnEnded
from regrow.runtime.journal_entries import (
    CommandId,
    Hand,
    HostEpoch,
    Incoming,
    JournalLimits,
    OperationId,
    Partition,
    SetTimer,
    StepKey,
    Writes,
    check_id,
    check_partition,
    partition_of,
)
from regrow.runtime.journal_fit import checked_step

_NOBODY = ActorId("")


class JournalCalls:
    """What the contracts of RedisJournal have in common."""

    def __init__(self, scripts: RedisScripts, *, app: str, limits: JournalLimits) -> None:
        check_id("app name", app)
        self.limits = limits
        self._scripts = scripts
        self._prefix = f"regrow:{app}:"
        self._epochs_key = f"{self._prefix}{{hosts}}:epochs"

    def _host_keys(self, host: HostEpoch) -> list[str]:
        hosts = f"{self._prefix}{{hosts}}"
        return [f"{hosts}:lease:{host}", f"{hosts}:revoked"]

    def _keys(self, agent: ActorId, command: str = "", operation: str = "") -> list[str]:
        return self._keys_in(partition_of(agent), agent, command, operation)

    def _keys_in(self, partition: Partition, agent: ActorId, command: str = "", operation: str = "") -> list[str]:
        part = f"{self._prefix}{{{partition}}}:"
        # NUL, because an agent's id may hold any other sign, and two ids must not make one key.
        message = f"{agent}\0{command}"
        return [
            f"{part}row:{agent}",
            f"{part}mail:{agent}",
            f"{part}notes:{agent}",
            f"{part}mark:{message}",
            f"{part}steps:{message}",
            f"{part}ready",
            f"{part}outbox",
            f"{part}timers",
            f"{part}schedules",
            f"{part}waits",
            f"{part}quarantine",
            f"{part}op:{agent}\0{operation}",
        ]

    def _following(self, after: int, limit: int) -> dict[str, Any]:
        return {"after": after, "limit": limit, "bytes": self.limits.take_bytes}

    def _written(self, writes: Writes) -> dict[str, Any]:
        changes = [
            [change.timer, change.due_ms, change.schedule] if isinstance(change, SetTimer) else [change.timer, False]
            for change in writes.timers
        ]
        return {
            "state": writes.state,
            "schema": writes.schema,
            "delete": writes.delete,
            "out": [[sent.target, sent.command, sent.body] for sent in writes.outgoing],
            "timers": changes,
            "outbox": self.limits.outbox,
            "timers_limit": self.limits.timers,
        }

    async def _page(self, name: str, partition: Partition, payload: dict[str, Any]) -> list[Any]:
        check_partition(partition)
        return await self._scripts.run(name, self._keys_in(partition, _NOBODY), {**payload, "page": self.limits.page})

    async def _end_turn(self, name: str, hand: Hand, payload: dict[str, Any]) -> TurnEnded:
        given = {**_in_hand(hand), "version": hand.version, **payload}
        return turn_ended(await self._scripts.run(name, self._keys(hand.agent, hand.command), given))

    async def _step(self, name: str, hand: Hand, step: StepKey, payload: dict[str, Any]) -> StepAnswer:
        given = {**_in_hand(hand), "step": step_parts(step), **payload}
        return step_answer(await self._scripts.run(name, self._keys(hand.agent, hand.command), given))

    async def _settle(
        self, name: str, agent: ActorId, command: CommandId, operation: OperationId, payload: dict[str, Any]
    ) -> SettleVerdict:
        check_id("operation id", operation)
        given = {
            "agent": agent,
            "command": command,
            "op": operation,
            "operation_ttl": self.limits.operation_ttl_ms,
            **payload,
        }
        (verdict,) = await self._scripts.run(name, self._keys(agent, command, f"{name}:{operation}"), given)
        return SettleVerdict(verdict.decode())


def incoming(message: Incoming) -> dict[str, Any]:
    """The fields of a message for a mailbox."""
    return {
        "agent": message.agent,
        "command": message.command,
        "body": message.body,
        "expires": message.expires_ms,
        "epoch": message.epoch,
    }


def step_parts(step: StepKey) -> list[Any]:
    """Name, occurrence as text, and digest."""
    checked_step(step)
    return [step.name, str(step.occurrence), step.digest]


def _in_hand(hand: Hand) -> dict[str, Any]:
    return {"agent": hand.agent, "epoch": hand.epoch, "command": hand.command, "op": hand.operation}
