"""What people see and decide in the journal in Redis: the history of agents, and messages in quarantine."""

from __future__ import annotations

from regrow.cluster.journal_calls import JournalCalls
from regrow.cluster.journal_replies import index_entry, past_turn, quarantined_message
from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import Assume, PastTurn, Quarantined, QuarantineRow, SettleVerdict
from regrow.runtime.journal_entries import CommandId, OperationId, Partition, born_ms, check_id
from regrow.runtime.journal_fit import bounded


class RedisDecisions(JournalCalls):
    """The contracts of RedisJournal that serve people."""

    async def history(self, agent: ActorId, *, limit: int | None = None) -> tuple[PastTurn, ...]:
        """See Journal."""
        check_id("agent id", agent)
        count = bounded(limit, self.limits.history_turns)
        if not count:
            return ()
        (found,) = await self._run("history", agent, {"limit": count, "turns_ttl": self.limits.history_ttl_ms})
        return tuple(past_turn(fields) for fields in reversed(found))

    async def quarantined(self, partition: Partition, *, offset: int = 0) -> tuple[QuarantineRow, ...]:
        """See Journal."""
        (found,) = await self._page("quarantined", partition, {"offset": offset})
        rows = [(index_entry(member), at_ms) for member, at_ms in found]
        return tuple(
            QuarantineRow(agent=ActorId(agent), command=CommandId(command), at_ms=at_ms)
            for (agent, command), at_ms in rows
        )

    async def show_quarantined(self, agent: ActorId, command: CommandId) -> Quarantined | None:
        """See Journal."""
        there, *fields = await self._run("show_quarantined", agent, {"command": command}, command=command)
        return quarantined_message(agent, command, fields) if there else None

    async def requeue(
        self, agent: ActorId, command: CommandId, *, operation: OperationId, assume: Assume | None = None, by: str = ""
    ) -> SettleVerdict:
        """See Journal."""
        payload = {"assume": None if assume is None else assume.value, "by": by}
        return await self._settle("requeue", agent, command, operation, payload)

    async def drop(self, agent: ActorId, command: CommandId, *, operation: OperationId, by: str = "") -> SettleVerdict:
        """See Journal."""
        payload = {"ttl": self.limits.result_ttl_ms, "born": born_ms(command), "by": by}
        return await self._settle("drop", agent, command, operation, payload)
