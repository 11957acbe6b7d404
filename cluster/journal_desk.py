"""What people decide about durable messages: one actor that looks into the journal for them, and changes it.

It is in the process that holds the supervisors, like the registry of names, and is reached by requests on every
engine. It has none of the app's classes: what a message says is read where these are (`set_aside`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from regrow.runtime import ActorId, Incarnation, Message, Refused, RegrowError, Request
from regrow.runtime.cell import Cell
from regrow.runtime.durability import AGAIN_FIRST_S, AGAIN_MAX_S
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.journal_answers import Assume, QuarantineRow, SettleVerdict, Waiting
from regrow.runtime.journal_entries import PARTITIONS, CommandId, OperationId, Partition, StepKey, partition_of
from regrow.runtime.journal_errors import InvalidEntry, JournalAway, JournalRefused, JournalUnknown
from regrow.runtime.signals import NewMail
from regrow.runtime.start import start_life
from regrow.runtime.starter import StartRequest

if TYPE_CHECKING:
    from regrow.cluster.incidents import Incidents
    from regrow.runtime import Runtime
    from regrow.runtime.journal import Journal
    from regrow.runtime.journal_entries import StepRecord

T = TypeVar("T")

Row = TypeVar("Row", QuarantineRow, Waiting)
Row_co = TypeVar("Row_co", covariant=True)


class Pages(Protocol[Row_co]):
    """A contract of the journal that gives rows of a partition by pages."""

    def __call__(self, partition: Partition, *, offset: int) -> Awaitable[tuple[Row_co, ...]]:
        """The rows behind the first so many."""
        ...


DESK = ActorId("~journal")
"""The id of the actor; no agent can have it, since theirs begin with the app's name."""
LIST_LIMIT = 1_000
"""How many messages one answer lists."""
LOOKS_AT_ONCE = 256
"""Of how many partitions an answer is waited for at a time."""
WITHIN_S = 20.0
"""How long a journal that does not answer is asked again; then whoever waits is told."""


class SetAsideRow(Message):
    """One message in quarantine, and since when."""

    agent: str
    command: str
    at_ms: int


class SetAsideRows(Message):
    """The messages in quarantine, longest there first; `more` is true where there are more than LIST_LIMIT."""

    rows: tuple[SetAsideRow, ...]
    more: bool


class FailedAttempt(Message):
    """What an incarnation left about its attempt."""

    epoch: int
    text: str


class KeptApart(Message):
    """What stands for a large result."""

    digest: str
    size_bytes: int


class TakenStep(Message):
    """A recorded call of a turn; `result` is as the journal has it, and of a large one digest and size are told."""

    name: str
    number: int
    state: str
    epoch: int
    result: bytes
    kept_apart: KeptApart | None = None


class SetAsideMessage(Message):
    """All that is known of a message in quarantine; `body` is as the journal has it."""

    agent: str
    command: str
    at_ms: int
    reason: str
    attempts: int
    body: bytes
    history: tuple[FailedAttempt, ...]
    steps: tuple[TakenStep, ...]


class ListSetAside(Request[SetAsideRows]):
    """The messages in quarantine, of one agent where one is named."""

    agent: str = ""


class ShowSetAside(Request[tuple[SetAsideMessage, ...]]):
    """One message in quarantine with its history; nothing where it is not there."""

    agent: str
    command: str


class Settle(Request[bool]):
    """Have a message handled again, or forget it; False where it is not in quarantine. See Journal.requeue, drop."""

    agent: str
    command: str
    operation: str
    drop: bool = False
    assume: Assume | None = None
    by: str = ""


class OpenWait(Message):
    """A message whose turn waits for an answer, by when at the latest (None: without limit), and for which class."""

    agent: str
    command: str
    name: str
    number: int
    digest: str
    deadline_ms: int | None


class OpenWaits(Message):
    """The messages that wait, oldest first; `more` is true where there are more than LIST_LIMIT."""

    rows: tuple[OpenWait, ...]
    more: bool


class ListWaits(Request[OpenWaits]):
    """The messages that wait, of one agent where one is named."""

    agent: str = ""


class ListSteps(Request[tuple[TakenStep, ...]]):
    """The recorded calls of a message that is neither in quarantine nor over."""

    agent: str
    command: str


class AnswerWait(Request[str]):
    """Give a wait its answer, packed; the reply is the journal's verdict. See Journal.answer."""

    wait: OpenWait
    body: bytes
    operation: str


class EndedTurn(Message):
    """How a turn of an agent ended; see PastTurn. `about` is as the journal has it."""

    command: str
    ending: str
    epoch: int | None
    failed: int
    begun_ms: int | None
    ended_ms: int
    about: bytes
    by: str


class EndedTurns(Message):
    """The newest turns of an agent, newest last; `more` is true where older ones are kept.

    `is_known` says whether the journal has ever had this agent.
    """

    turns: tuple[EndedTurn, ...]
    more: bool
    is_known: bool


class ListTurns(Request[EndedTurns]):
    """The newest turns of an agent that have ended, at most LIST_LIMIT of them."""

    agent: str
    limit: int


class JournalDesk:
    """The behavior of that actor."""

    def __init__(self, runtime: Runtime, journal: Journal, incidents: Incidents | None) -> None:
        self._runtime = runtime
        self._journal = journal
        self._incidents = incidents

    async def started(self, ctx: Any) -> None:
        """See Behavior."""

    async def stopping(self, reason: Any, ctx: Any) -> None:
        """See Behavior."""

    def runs_concurrently(self, message: object) -> bool:
        """See BehaviorTraits: who waits for a slow journal holds up nobody."""
        return True

    async def handle(self, message: Any, ctx: Any) -> object:
        """Answers one request. Raises Refused where the journal does not serve it, and for anything else."""
        try:
            return await self._answered(message)
        except (InvalidEntry, JournalRefused) as error:
            raise Refused(str(error)) from error

    async def _answered(self, message: Any) -> object:
        journal = self._journal
        match message:
            case ListSetAside():
                return await self._list(message.agent)
            case ShowSetAside():
                return await self._show(ActorId(message.agent), CommandId(message.command))
            case Settle():
                return await self._settle(message)
            case ListWaits():
                return await self._waits(message.agent)
            case ListSteps():
                return _taken(await _surely(lambda: journal.steps(ActorId(message.agent), CommandId(message.command))))
            case AnswerWait():
                return await self._answer(message)
            case ListTurns():
                return await self._turns(ActorId(message.agent), max(0, min(message.limit, LIST_LIMIT)))
            case _:
                raise Refused(f"{DESK} serves people at the journal and has no use for {type(message).__name__}")

    async def _settle(self, order: Settle) -> bool:
        agent, command, operation = ActorId(order.agent), CommandId(order.command), OperationId(order.operation)
        if order.drop:
            settling = partial(self._journal.drop, agent, command, operation=operation, by=order.by)
        else:
            settling = partial(
                self._journal.requeue, agent, command, operation=operation, assume=order.assume, by=order.by
            )
        verdict = await _surely(settling)
        self._tell(agent)
        if verdict is SettleVerdict.SETTLED and self._incidents is not None:
            self._incidents.ordered("drop" if order.drop else "requeue", agent, command=command)
        return verdict is SettleVerdict.SETTLED

    def _tell(self, agent: ActorId) -> None:
        """The agent is to look into its mailbox; one that does not run looks when it starts."""
        self._runtime.delivery.send(Envelope(Kind.SIGNAL, agent, NewMail(), self._runtime.origin))

    async def _list(self, agent: str) -> SetAsideRows:
        found = await self._rows(agent, self._journal.quarantined)
        found.sort(key=lambda row: row.at_ms)
        listed = (SetAsideRow(agent=row.agent, command=row.command, at_ms=row.at_ms) for row in found[:LIST_LIMIT])
        return SetAsideRows(rows=tuple(listed), more=len(found) > LIST_LIMIT)

    async def _waits(self, agent: str) -> OpenWaits:
        found = await self._rows(agent, self._journal.waiting)
        found.sort(key=lambda row: row.command)  # which begins with its time
        listed = (
            OpenWait(
                agent=row.agent,
                command=row.command,
                name=row.wait.name,
                number=row.wait.occurrence,
                digest=row.wait.digest,
                deadline_ms=row.deadline_ms,
            )
            for row in found[:LIST_LIMIT]
        )
        return OpenWaits(rows=tuple(listed), more=len(found) > LIST_LIMIT)

    async def _answer(self, message: AnswerWait) -> str:
        wait = message.wait
        agent = ActorId(wait.agent)
        answered = await _surely(
            partial(
                self._journal.answer,
                agent,
                CommandId(wait.command),
                StepKey(name=wait.name, occurrence=wait.number, digest=wait.digest),
                body=message.body,
                operation=OperationId(message.operation),
            )
        )
        self._tell(agent)
        return answered.verdict.value

    async def _turns(self, agent: ActorId, limit: int) -> EndedTurns:
        row = await _surely(lambda: self._journal.read(agent))
        found = await _surely(lambda: self._journal.history(agent, limit=limit + 1))
        turns = (
            EndedTurn(
                command=turn.command,
                ending=turn.ending.value,
                epoch=turn.epoch,
                failed=turn.failed,
                begun_ms=turn.begun_ms,
                ended_ms=turn.ended_ms,
                about=turn.about,
                by=turn.by,
            )
            for turn in found[-limit:]
        )
        return EndedTurns(
            turns=tuple(turns) if limit else (), more=len(found) > limit, is_known=row.epoch > 0 or bool(found)
        )

    async def _rows(self, agent: str, page: Pages[Row]) -> list[Row]:
        """What the pages of one agent's partition hold of it, or those of all partitions."""
        partitions = [partition_of(ActorId(agent))] if agent else [Partition(number) for number in range(PARTITIONS)]
        found: list[Row] = []
        for first in range(0, len(partitions), LOOKS_AT_ONCE):
            looks = (_all_pages(page, partition) for partition in partitions[first : first + LOOKS_AT_ONCE])
            for rows in await asyncio.gather(*looks):
                found += [row for row in rows if not agent or row.agent == agent]
        return found

    async def _show(self, agent: ActorId, command: CommandId) -> tuple[SetAsideMessage, ...]:
        found = await _surely(lambda: self._journal.show_quarantined(agent, command))
        if found is None:
            return ()
        shown = SetAsideMessage(
            agent=agent,
            command=command,
            at_ms=found.at_ms,
            reason=_text(found.reason),
            attempts=found.attempts,
            body=found.body,
            history=tuple(FailedAttempt(epoch=note.epoch, text=_text(note.text)) for note in found.notes),
            steps=_taken(found.steps),
        )
        return (shown,)


def _taken(records: tuple[StepRecord, ...]) -> tuple[TakenStep, ...]:
    taken = (
        TakenStep(
            name=record.key.name,
            number=record.key.occurrence + 1,
            state=record.state.value,
            epoch=record.epoch,
            result=record.result,
            kept_apart=KeptApart(digest=blob.digest, size_bytes=blob.size_bytes) if (blob := record.blob) else None,
        )
        for record in records
    )
    return tuple(taken)


async def keep_journal_desk(runtime: Runtime, journal: Journal, incidents: Incidents | None = None) -> None:
    """Makes this process the one in which people reach the journal of its app; `incidents` keep what they decide."""
    request = StartRequest(actor=DESK, incarnation=Incarnation(1), target=JournalDesk, survives_exit=False)
    cell = runtime.cells[DESK] = Cell(runtime, request)
    failed = await start_life(cell, request, JournalDesk(runtime, journal, incidents))
    if failed is not None:
        raise RegrowError(f"the desk at the journal did not start ({failed})")


async def _surely(operation: Callable[[], Awaitable[T]]) -> T:
    """Does an operation until its answer has come. Raises Refused after WITHIN_S: a person waits for it."""
    deadline, pause_s = asyncio.get_running_loop().time() + WITHIN_S, AGAIN_FIRST_S
    while True:
        try:
            return await operation()
        except (JournalUnknown, JournalAway) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise Refused(f"the journal has not answered within {WITHIN_S:g} s ({error}); try again") from error
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_MAX_S)


async def _all_pages(page: Pages[Row], partition: Partition) -> list[Row]:
    found: list[Row] = []
    while len(found) <= LIST_LIMIT:
        rows = await _surely(partial(page, partition, offset=len(found)))
        if not rows:
            break
        found += rows
    return found


def _text(stored: bytes) -> str:
    return stored.decode(errors="replace")  # a note that was cut may end within a character
