"""What messages do to the lives of their durable agent: failed attempts, quarantine, and what follows for supervisors.

A message that its agent crashed on has failed once more. So has one whose process died, where nobody else was in that
process. Where others were, it is a suspect: its agent runs alone until that message has its outcome.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from regrow.actors.durable_body import envelope_of
from regrow.actors.durable_outcome import FENCING, overruled
from regrow.actors.durable_turn import Turn
from regrow.actors.turn_history import occasion_of
from regrow.runtime.codec import Undecodable
from regrow.runtime.contain import travelling
from regrow.runtime.deaths import Fate, note
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import NotAwaited
from regrow.runtime.journal_answers import TurnVerdict
from regrow.runtime.lifecycle import Cleared, Refund, crashed
from regrow.runtime.starter import Suspicion

if TYPE_CHECKING:
    from regrow.actors.durable_claim import Claimed
    from regrow.actors.durable_entry import Entry
    from regrow.actors.durable_intake import DurableIntake
    from regrow.runtime.cell import Cell
    from regrow.runtime.durability import Durability
    from regrow.runtime.journal_answers import TurnEnded
    from regrow.runtime.journal_entries import CommandId, Epoch, Pending
    from regrow.runtime.message import Message

log = structlog.get_logger("regrow.durable")

PROCESS_DIED = "its process died, and nobody else was in it"
"""The note of an attempt that left no other word: a crash of native code, an exit of the process, out of memory."""

ROOM_FIRST_S = 0.1
ROOM_MAX_S = 5.0
"""Between two looks whether an agent's quarantine, which was full, has room for one message more."""


def check_failed_by_itself(error: BaseException) -> None:
    """Raises what the turn of an agent that is being stopped ends with, where its handler has failed for that.

    It is no attempt, since the message has done nothing to its agent. A handler whose ask the stop has failed ends as
    one that was cut: CancelledError. One that fails as it is cut has crashed all the same.
    """
    if isinstance(error, asyncio.CancelledError):
        raise error
    causes = _causes(error)
    if any(isinstance(cause, NotAwaited) for cause in causes):
        raise asyncio.CancelledError("its agent is being stopped, and what it asked is waited for no longer") from error
    if any(isinstance(cause, asyncio.CancelledError) for cause in causes):
        raise error


def _causes(error: BaseException) -> list[BaseException]:
    """The error, and all that it was raised for or behind, once each."""
    found, left = dict[int, BaseException](), [error]
    while left:
        cause = left.pop()
        if id(cause) in found:
            continue
        found[id(cause)] = cause
        if isinstance(cause, BaseExceptionGroup):
            left += cause.exceptions
        left += [each for each in (cause.__cause__, cause.__context__) if each is not None]
    return list(found.values())


@dataclass(slots=True)
class Blame:
    """What one process remembers of it from one life of the agent to the next."""

    restarts: int = 0
    """How many the messages in quarantine have caused since the last commit."""
    until: int = 0
    """The last life that ended for one of them."""
    suspect: CommandId | None = None
    """The message that may have killed the process of the life before."""


class Attempts:
    """The failed attempts of one life, and of the one whose dead process it follows."""

    def __init__(
        self, cell: Cell, durability: Durability, intake: DurableIntake, *, epoch: Epoch, poison_after: int
    ) -> None:
        self._cell = cell
        self._durability = durability
        self._intake = intake
        self._blame = intake.blame
        self._epoch = epoch
        self._poison_after = poison_after

    async def looked_through(self, pending: list[Pending], claimed: Claimed) -> list[Pending] | None:
        """What is left of a mailbox that a dead process has left; None where another life holds the agent.

        A supervisor's Suspicion concerns the message at its head, since an agent that lives is always at that one.
        """
        suspicion = self._cell.request.suspicion
        if suspicion is Suspicion.NONE:
            return pending
        if claimed.dead is None or not pending:
            self._say(Cleared(actor=self._cell.actor))
            return pending
        head, *others = pending
        self._blame.suspect = head.command
        if suspicion is Suspicion.SHARED:
            return pending
        # Under the number of the life that died: had it counted a crash on this message before, that was this attempt.
        attempts = await self._count(head.command, PROCESS_DIED, of=claimed.dead.epoch)
        if attempts is None or attempts < self._poison_after:
            return [replace(head, attempts=attempts or head.attempts), *others]
        turn = await self._turn_of(head, claimed)
        reason = f"{attempts} attempts failed; in the last one {PROCESS_DIED}"
        ended = await self._quarantined(turn, reason)
        if ended.verdict is TurnVerdict.QUARANTINE_FULL:
            return [replace(head, attempts=attempts), *others]  # its turn waits for room, and a start does not
        is_done = self._is_set_aside(turn, ended, attempts, until=self._before, reason=reason)
        return others if is_done else None

    def unfit(self, entry: Entry) -> str | None:
        """Why a message is set aside without being run; None for one that may run."""
        message = entry.envelope.message
        if isinstance(message, Undecodable):
            return f"{message.type_name} could not be read here ({message.reason})"
        if entry.attempts >= self._poison_after:  # the life that counted the last one has not come to set it aside
            return f"{entry.attempts} attempts failed"
        return None

    async def failed(self, entry: Entry, error: BaseException) -> str | None:
        """Counts a crash; why the message is to be set aside, where that was the last attempt."""
        what = str(crashed(error))
        attempts = await self._count(entry.command, what, of=self._epoch)
        if attempts is None:
            return None
        entry.attempts = attempts
        if attempts < self._poison_after:
            return None
        return f"{attempts} attempts failed, the last with {what:.500}"

    async def set_aside(self, entry: Entry, turn: Turn, reason: str) -> bool:
        """Ends a turn by setting its message aside; False where another life holds the agent.

        While the quarantine is full it waits: not to run the message again and again is all that can be done, and what
        is behind it keeps its place. Raises TurnOverruled.
        """
        ended, pause_s = await self._quarantined(turn, reason), ROOM_FIRST_S
        if ended.verdict is TurnVerdict.QUARANTINE_FULL:
            log.error(
                "an agent waits with a message that fails, since its quarantine is full; drop others from there",
                drop_with=f"regrow quarantine drop {turn.agent}@COMMAND",
                agent=turn.agent,
                incarnation=self._cell.incarnation,
                command=turn.command,
                limit=self._durability.journal.limits.quarantined,
                reason=reason,
            )
        while ended.verdict is TurnVerdict.QUARANTINE_FULL:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, ROOM_MAX_S)
            ended = await self._quarantined(turn, reason)
        is_done = self._is_set_aside(turn, ended, entry.attempts, until=self._cell.incarnation, reason=reason)
        if is_done:
            note(self._cell, entry.envelope, Fate.QUARANTINED, entry.command)
            self._intake.ended(entry.envelope)
        return is_done

    def ended(self, command: CommandId, *, committed: bool = False) -> None:
        """A turn has ended, and its process lives."""
        if self._blame.suspect == command:
            self._blame.suspect = None
            self._say(Cleared(actor=self._cell.actor))
        if committed and self._blame.restarts:
            self._say(Refund(actor=self._cell.actor, restarts=self._blame.restarts, until=self._blame.until))
            self._blame.restarts = 0

    @property
    def _before(self) -> int:
        return self._cell.incarnation - 1

    async def _count(self, command: CommandId, note: str, *, of: Epoch) -> int | None:
        count = partial(self._durability.journal.count_attempt, self._cell.actor, command, epoch=of, holder=self._epoch)
        return await self._durability.surely(partial(count, note=travelling(note).encode()))

    async def _turn_of(self, message: Pending, claimed: Claimed) -> Turn:
        durable, agent = self._durability, self._cell.actor
        occasion = occasion_of(
            envelope_of(durable.codec, message.body), self._cell.incarnation, begun_ms=durable.now_ms()
        )
        records = await durable.surely(lambda: durable.journal.steps(agent, message.command))
        return Turn(agent, message.command, self._epoch, claimed.row.version, records, occasion=occasion)

    async def _quarantined(self, turn: Turn, reason: str) -> TurnEnded:
        journal, hand = self._durability.journal, turn.ending(self._durability.operation())
        return await self._durability.surely(lambda: journal.quarantine(hand, travelling(reason).encode()))

    def _is_set_aside(self, turn: Turn, ended: TurnEnded, attempts: int, *, until: int, reason: str) -> bool:
        if ended.verdict in FENCING:
            return False
        if ended.verdict is not TurnVerdict.DONE:
            raise overruled(turn.agent, turn.command, ended.verdict)
        if attempts:
            self._blame.restarts += attempts
            self._blame.until = until
        self.ended(turn.command)
        self._tell_set_aside(turn, reason)
        return True

    def _tell_set_aside(self, turn: Turn, reason: str) -> None:
        message, sender = turn.occasion.message, turn.occasion.sender
        name = message.type_name if isinstance(message, Undecodable) else type(message).__name__
        deaths = self._cell.runtime.deaths
        deaths.set_aside(self._cell, command=turn.command, message=name, sender=sender or "outside", reason=reason)

    def _say(self, word: Message) -> None:
        cell = self._cell
        if cell.parent is not None and cell.request.survives_exit:  # else nobody has started it again for this
            cell.runtime.delivery.send(Envelope(Kind.SIGNAL, cell.parent, word, cell.runtime.origin))
