"""Messages that end their agent, or the process it is in, and what its supervisor makes of that (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from regrow.actors import DurableAgent, on
from regrow.actors.durable_attempts import PROCESS_DIED
from regrow.runtime.address import ActorId, Address, HostId, Incarnation
from regrow.runtime.durability import open_durability
from regrow.runtime.journal_entries import CommandId, partition_of
from regrow.runtime.lifecycle import Escalated
from regrow.runtime.local_starter import LocalStarter
from regrow.runtime.message import Message
from regrow.runtime.runtime import Runtime
from regrow.runtime.starter import StartRequest, Suspicion
from regrow.runtime.testing import pass_time
from regrow.supervisors import Supervisor, SupervisorSpec, child, supervisor_behavior
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time
from tests.runtime.scripted import Nowhere

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.cell import Cell
    from regrow.runtime.lifecycle import ExitReason
    from regrow.runtime.memory_journal import MemoryJournal

CLERK = ActorId("desk/clerk")
COMMANDS = [CommandId(f"019ab2d4-6c00-7000-8000-00000000000{number}") for number in range(4)]


class Noted(BaseModel):
    numbers: list[int] = []


class Note(Message):
    number: int


class Poison(Message):
    """Its agent crashes on it."""


class Hang(Message):
    """Its agent never ends with it."""

    number: int


class Clerk(DurableAgent[Noted]):
    @on
    async def note(self, message: Note) -> None:
        self.state.numbers.append(message.number)

    @on
    async def poison(self, message: Poison) -> None:
        raise ValueError("poison")

    @on
    async def hang(self, message: Hang) -> None:
        await asyncio.get_running_loop().create_future()


class Broken(Clerk):
    @on
    async def note(self, message: Note) -> None:
        raise ValueError("everything fails")


# ---- a process that dies -------------------------------------------------------------------------


class Succession:
    """Processes that die one after the other; their guardian says what it knows of the deaths."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self._names = itertools.count(1)
        self.host: Host | None = None

    async def start(self, suspicion: Suspicion = Suspicion.NONE, *, held: bool = False) -> Host:
        """A new process has the agent."""
        self.host = host = await Host.on(self.journal, f"p{next(self._names)}")
        host.restarts = 0
        request = StartRequest(CLERK, Incarnation(100 * next(self._names)), Clerk, suspicion=suspicion, held=held)
        host.classes[CLERK] = Clerk
        failed = await host.runtime.start(request)
        assert failed is None, failed.traceback
        return host

    async def tell(self, *messages: Message) -> None:
        """Sends to the agent, and lets everything happen that needs no time."""
        assert self.host is not None
        for message in messages:
            await self.host.ref(CLERK).tell(message)
        await pass_time(0.01)

    async def die(self) -> None:
        """The process is gone, and its number in the journal revoked."""
        assert self.host is not None
        durability = self.host.runtime.durability
        assert durability is not None
        await self.host.runtime.aclose()
        await self.journal.revoke(durability.host, reaped=True)

    async def dies_and_is_followed(self, suspicion: Suspicion) -> None:
        """The process dies, and the next one has the agent."""
        await self.die()
        await self.start(suspicion)
        await pass_time(0.01)

    async def set_aside(self) -> Sequence[tuple[str, int, list[str]]]:
        """What is in quarantine: the reason, how many attempts, and the notes of them."""
        rows = await self.journal.quarantined(partition_of(CLERK))
        found = [await self.journal.show_quarantined(row.agent, row.command) for row in rows]
        return [
            (each.reason.decode(), each.attempts, [note.text.decode() for note in each.notes])
            for each in found
            if each is not None
        ]

    async def attempts(self) -> list[int]:
        """How many have failed of each message in the mailbox."""
        epoch = (await self.journal.read(CLERK)).epoch
        return [message.attempts for message in (await self.journal.take(CLERK, epoch)).messages or ()]

    async def numbers(self) -> list[int]:
        """What the state has."""
        row = await self.journal.read(CLERK)
        return [] if row.state is None else Noted.model_validate_json(row.state).numbers


@on_virtual_time
async def test_a_message_whose_process_died_three_times_while_nobody_else_was_in_it_is_set_aside() -> None:
    lives = Succession(memory_journal())
    await lives.start()
    await lives.tell(Note(number=1), Hang(number=2), Note(number=3))

    for _ in range(Clerk.poison_after - 1):
        await lives.dies_and_is_followed(Suspicion.ALONE)
        assert await lives.set_aside() == []
    await lives.dies_and_is_followed(Suspicion.ALONE)

    ((reason, attempts, notes),) = await lives.set_aside()
    assert (attempts, notes) == (Clerk.poison_after, [PROCESS_DIED] * Clerk.poison_after)
    assert "3 attempts failed; in the last one its process died" in reason
    assert await lives.numbers() == [1, 3]


@on_virtual_time
async def test_an_agent_that_had_nothing_to_do_has_nothing_counted_when_its_process_dies() -> None:
    lives = Succession(memory_journal())
    await lives.start()
    await lives.tell(Note(number=1))

    for number in range(2, 8):
        await lives.dies_and_is_followed(Suspicion.ALONE)
        await lives.tell(Note(number=number))

    assert await lives.set_aside() == []
    assert await lives.numbers() == [1, 2, 3, 4, 5, 6, 7]


@on_virtual_time
async def test_a_death_of_which_nothing_is_said_or_among_others_is_no_attempt() -> None:
    lives = Succession(memory_journal())
    await lives.start()
    await lives.tell(Hang(number=1))

    for suspicion in 5 * [Suspicion.NONE, Suspicion.SHARED]:
        await lives.dies_and_is_followed(suspicion)

    assert await lives.set_aside() == []
    assert await lives.attempts() == [0]


@on_virtual_time
async def test_an_agent_that_was_given_back_before_its_process_died_has_nothing_counted() -> None:
    lives = Succession(memory_journal())
    await lives.start()
    await lives.tell(Hang(number=1))

    for _ in range(4):
        assert lives.host is not None
        lives.host.runtime.cells[CLERK].kill("by an operator")
        lives.host.runtime.forget(CLERK)
        await pass_time(0.01)
        await lives.dies_and_is_followed(Suspicion.ALONE)

    assert await lives.set_aside() == []


@on_virtual_time
async def test_a_crash_and_the_death_of_the_process_after_it_are_one_attempt() -> None:
    lives = Succession(memory_journal())
    await lives.start()
    assert lives.host is not None
    lives.host.ref(CLERK).tell_nowait(Poison())
    await pass_time(0.01)

    await lives.die()
    await lives.start(Suspicion.ALONE)
    await pass_time(0.01)

    assert await lives.attempts() == [2]  # the crash, which was that process's only attempt, and the crash here


@on_virtual_time
async def test_a_kill_of_the_agent_in_a_process_that_lives_is_no_attempt() -> None:
    lives = Succession(memory_journal())
    host = await lives.start()
    host.restarts = 10
    await lives.tell(Hang(number=1))

    for _ in range(5):
        host.runtime.cells[CLERK].kill("by an operator")
        await pass_time(0.01)

    assert len(host.ends) == 5
    assert await lives.set_aside() == []


@on_virtual_time
async def test_a_life_that_is_held_begins_with_its_messages_when_it_is_known_to_run() -> None:
    lives = Succession(memory_journal())
    host = await lives.start(held=True)
    await lives.tell(Note(number=1))
    await pass_time(60)
    assert await lives.numbers() == []

    behavior: Any = host.runtime.cells[CLERK].behavior
    for _ in range(2):  # the word may come twice
        behavior.begin()
    await pass_time(0.01)

    assert await lives.numbers() == [1]


# ---- refunds -------------------------------------------------------------------------------------


class Tree:
    """A supervisor with a durable clerk, in one process; `ended` is why the supervisor did."""

    def __init__(self, runtime: Runtime, journal: MemoryJournal) -> None:
        self.runtime = runtime
        self.journal = journal
        self.ended: ExitReason | None = None
        Host(runtime)  # closed with the test
        runtime.on_root_exit = self._ended

    @classmethod
    async def grown(cls, kind: type[Clerk], *, max_restarts: int) -> Tree:
        """Starts it."""
        loop, journal = asyncio.get_running_loop(), memory_journal()
        lives = itertools.count(1)

        def make(request: StartRequest) -> Behavior:
            target: Any = request.target
            if isinstance(target, SupervisorSpec):
                return supervisor_behavior(
                    target,
                    LocalStarter(runtime),
                    incarnations=lambda: Incarnation(next(lives)),
                    time=loop.time,
                    jitter=lambda: 0.0,
                    report=lambda _: None,
                )
            made: Behavior = target.made(request.config)
            return made

        runtime = Runtime(HostId("here"), make_behavior=make, directory=Nowhere())
        tree = cls(runtime, journal)
        runtime.durability = await open_durability(runtime, journal, rng=random.Random(1))
        spec = Supervisor(children=[child(kind, id="clerk")], max_restarts=max_restarts, within_s=3600)
        request = StartRequest(ActorId("desk"), Incarnation(next(lives)), spec, survives_exit=False)
        assert await runtime.start(request) is None
        return tree

    def _ended(self, cell: Cell, reason: ExitReason) -> None:
        self.ended = reason

    async def tell(self, *messages: Message) -> None:
        """Sends, and lets everything happen that needs no time."""
        for message in messages:
            self.runtime.ref_to(Address(CLERK)).tell_nowait(message)
        await pass_time(0.1)

    async def kill(self) -> None:
        """An operator kills the agent, and its supervisor starts it again."""
        self.runtime.cells[CLERK].kill("by an operator")
        await pass_time(0.1)

    async def quarantined(self) -> int:
        """How many messages are set aside."""
        return len(await self.journal.quarantined(partition_of(CLERK)))


@on_virtual_time
async def test_poison_messages_with_commits_between_them_never_bring_their_supervisor_down() -> None:
    tree = await Tree.grown(Clerk, max_restarts=3)

    for number in range(5):
        await tree.tell(Poison(), Note(number=number))

    assert tree.ended is None
    assert await tree.quarantined() == 5


@on_virtual_time
async def test_an_agent_that_fails_on_everything_still_escalates() -> None:
    tree = await Tree.grown(Broken, max_restarts=3)

    await tree.tell(Note(number=1), Note(number=2))

    assert isinstance(tree.ended, Escalated)
    assert await tree.quarantined() == 1


@on_virtual_time
async def test_restarts_that_no_message_in_quarantine_has_caused_are_not_refunded() -> None:
    tree = await Tree.grown(Clerk, max_restarts=4)
    await tree.kill()

    await tree.tell(Poison(), Note(number=1))  # three restarts, which are refunded
    for _ in range(3):
        await tree.kill()
    assert tree.ended is None
    await tree.kill()

    assert isinstance(tree.ended, Escalated)
