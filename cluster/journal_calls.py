"""How calls of the journal are put to Redis: their keys, and the payloads of calls that are alike.

Keys of the app `desk`, with 17 for the partition: `regrow:desk:{17}:row:desk/clerk` and so on, by the names that
`journal_shared.lua` tells of. The braces are the cluster's hash tag: an agent's keys and the indexes of its
partition lie in one slot, so that they change in one script. Leases and tombstones of hosts lie under `{hosts}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from regrow.cluster.journal_replies import step_answer, turn_ended
from regrow.cluster.journal_scripts import SCRIPTS
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
    born_ms,
    check_id,
    check_partition,
    partition_of,
)
from regrow.runtime.journal_fit import bounded, check_not_behind, checked_step, kept_about

LIMIT_KNOWN_AGENTS: Final = 4_096
"""Agents whose keys are kept ready; making them anew takes some microseconds."""


class JournalCalls:
    """What the contracts of RedisJournal have in common."""

    def __init__(self, scripts: RedisScripts, *, app: str, limits: JournalLimits) -> None:
        check_id("app name", app)
        self.limits = limits
        self._scripts = scripts
        self._prefix = f"regrow:{app}:"
        self._known_keys = lru_cache(LIMIT_KNOWN_AGENTS)(self._agent_keys)

    async def _run(
        self,
        name: str,
        agent: ActorId,
        payload: dict[str, Any],
        *,
        command: str = "",
        operation: str = "",
        more: bool = False,
    ) -> list[Any]:
        return await self._scripts.run(name, self._keys(name, agent, command, operation, more=more), payload)

    async def _run_for_host(self, name: str, host: HostEpoch, payload: dict[str, Any]) -> list[Any]:
        hosts = f"{self._prefix}{{hosts}}:"
        keys = {name: f"{hosts}{name}" for name in ("tombstones", "epochs", "water")}
        keys["lease"] = f"{hosts}lease:{host}"
        return await self._scripts.run(name, [keys[key].encode() for key in SCRIPTS[name].keys], payload)

    def _keys(
        self, name: str, agent: ActorId, command: str = "", operation: str = "", *, more: bool = False
    ) -> list[bytes]:
        """The keys that a script is given; `more` adds those that it needs only sometimes."""
        script = SCRIPTS[name]
        known = self._known_keys(agent)
        ends = {"mark": command, "steps": command, "repeated": operation}
        names = (*script.keys, *script.more) if more else script.keys
        return [known[key] + ends[key].encode() if key in ends else known[key] for key in names]

    def _batch_keys(self, name: str, agent: ActorId, commands: Sequence[CommandId]) -> list[bytes]:
        """The keys of a script that is given a mark for each of several commands, behind all others."""
        known = self._known_keys(agent)
        marks = [known["mark"] + command.encode() for command in commands]
        return [*[known[key] for key in SCRIPTS[name].keys], *marks]

    def _agent_keys(self, agent: ActorId) -> dict[str, bytes]:
        """By name, and where a command or an operation follows, what stands before it."""
        part = f"{self._prefix}{{{partition_of(agent)}}}:"
        # NUL, because an agent's id may hold any other sign, and two ids must not make one key.
        own = {name: f"{part}{name}:{agent}" for name in ("row", "mail", "notes", "past")}
        each = {name: f"{part}{name}:{agent}\0" for name in ("mark", "steps", "repeated")}
        return {name: key.encode() for name, key in {**own, **each, **self._index_keys(part)}.items()}

    def _index_keys(self, part: str) -> dict[str, str]:
        return {name: f"{part}{name}" for name in ("ready", "outbox", "timers", "schedules", "waits", "quarantine")}

    def _following(self, after: int, limit: int | None) -> dict[str, Any]:
        """None is asked for unless a limit says how many."""
        limit = bounded(limit or 0, self.limits.take_messages)
        if limit == 0:
            return {}
        return {"after": after, "limit": limit, "bytes": self.limits.take_bytes}

    def _written(self, writes: Writes) -> dict[str, Any]:
        given: dict[str, Any] = {"delete": writes.delete}
        if writes.state is not None:
            given |= {"state": writes.state, "schema": writes.schema}
        if writes.outgoing:
            out = [[sent.target, sent.command, sent.body] for sent in writes.outgoing]
            given |= {"out": out, "outbox": self.limits.outbox}
        if writes.timers:
            changes = [
                [change.timer, change.due_ms, change.schedule]
                if isinstance(change, SetTimer)
                else [change.timer, False]
                for change in writes.timers
            ]
            given |= {"timers": changes, "timers_limit": self.limits.timers}
        return given

    async def _page(self, name: str, partition: Partition, payload: dict[str, Any]) -> list[Any]:
        check_partition(partition)
        known = self._index_keys(f"{self._prefix}{{{partition}}}:")
        keys = [known[key].encode() for key in SCRIPTS[name].keys]
        return await self._scripts.run(name, keys, {**payload, "page": self.limits.page})

    async def _end_turn(self, name: str, hand: Hand, payload: dict[str, Any]) -> TurnEnded:
        told = {"since": hand.begun_ms, "about": kept_about(hand, self.limits), **self._remembered()}
        given = {**_in_hand(hand), "version": hand.version, **told, **payload}
        more = "out" in payload or "timers" in payload
        ended = turn_ended(await self._run(name, hand.agent, given, command=hand.command, more=more))
        check_not_behind(hand, ended.version)
        return ended

    def _remembered(self) -> dict[str, Any]:
        """How much history is kept."""
        if not self.limits.history_turns:
            return {}
        return {"turns": self.limits.history_turns, "turns_ttl": self.limits.history_ttl_ms}

    async def _step(self, name: str, hand: Hand, step: StepKey, payload: dict[str, Any]) -> StepAnswer:
        given = {**_in_hand(hand), "step": step_parts(step), **payload}
        return step_answer(await self._run(name, hand.agent, given, command=hand.command))

    async def _settle(
        self, name: str, agent: ActorId, command: CommandId, operation: OperationId, payload: dict[str, Any]
    ) -> SettleVerdict:
        check_id("operation id", operation)
        given = {
            "agent": agent,
            "command": command,
            "op": operation,
            "operation_ttl": self.limits.operation_ttl_ms,
            **self._remembered(),
            **payload,
        }
        (verdict,) = await self._run(name, agent, given, command=command, operation=f"{name}:{operation}")
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


def batched(message: Incoming) -> list[Any]:
    """The same of one of several, that have their agent and epoch in common."""
    return [message.command, message.body, born_ms(message.command), message.expires_ms]


def step_parts(step: StepKey) -> list[Any]:
    """Name, occurrence as text, and digest."""
    checked_step(step)
    return [step.name, str(step.occurrence), step.digest]


def _in_hand(hand: Hand) -> dict[str, Any]:
    return {"agent": hand.agent, "epoch": hand.epoch, "command": hand.command, "op": hand.operation}
