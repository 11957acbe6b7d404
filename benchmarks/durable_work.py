"""The durable agents that `durable.py` measures, and the one in their process that drives them.

Hosts import this module, so it holds nothing but what runs in them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from time import perf_counter

from payload import SOURCE, TEXT, TOPIC
from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, Message, Packed, Request, Supervisor, child, keyed, on

LIMIT_CLERKS = 64
VICTIM = "victim"
STATE_TEXT = "what was told before, as a state of about five hundred bytes keeps it; " * 6

gate = asyncio.Event()
"""Of this process: while it is not set, clerks wait in their first turn, so that their mailboxes fill."""


class Hold(Message):
    """Waits for the gate."""


class Entry(Message):
    """One message of work: about 200 bytes."""

    seq: int
    source: str
    topic: str
    text: str


class Sum(Request[int]):
    """Asks how many entries there were, behind all of them."""


class Die(Request[int]):
    """Kills the process in the midst of its turn, once; the reply is that of the next life."""

    victim: int


class Enter(Request[int]):
    """Asks for one more entry; the reply is how many there are."""


class Pid(Request[int]):
    """Asks for the process id."""


class Book(BaseModel):
    """About 500 bytes."""

    entries: int = 0
    text: str = STATE_TEXT


class Clerk(DurableAgent[Book]):
    """Counts entries in its state: one commit for each."""

    @on
    async def hold(self, message: Hold) -> None:
        """Fills the mailbox behind it."""
        await gate.wait()

    @on
    async def enter(self, entry: Entry) -> None:
        """One turn."""
        if entry.seq != self.state.entries:
            raise ValueError(f"entry {entry.seq} came as number {self.state.entries}")
        self.state.entries += 1

    @on
    async def enter_one(self, request: Enter) -> int:
        """One turn with a reply."""
        self.state.entries += 1
        return self.state.entries

    @on
    async def sum(self, request: Sum) -> int:
        """Tells the count, which begins anew."""
        entries, self.state.entries = self.state.entries, 0
        return entries

    @on
    async def pid(self, request: Pid) -> int:
        """Where it runs."""
        return os.getpid()

    @on
    async def die(self, request: Die) -> int:
        """Its first run kills the process that it names, its own; the second one answers."""
        if os.getpid() == request.victim:
            os.kill(request.victim, signal.SIGKILL)
        self.state.entries += 1
        return os.getpid()


class Account(Clerk):
    """One for each customer."""


class Fill(Message):
    """Fill the mailboxes of so many clerks with so many entries each."""

    clerks: int
    each: int


class Drain(Request[float]):
    """Open the gate; the seconds until each clerk has answered behind its last entry."""

    clerks: int
    each: int


class AskOften(Request[tuple[float, ...]]):
    """Ask the first clerk again and again; the milliseconds of each ask."""

    times: int


class Driver(Agent):
    """Drives the clerks from their own process, so that what is measured is their turns and no link."""

    @on
    async def fill(self, message: Fill, ctx: Context) -> None:
        """Fills the mailboxes; the journal shows when all is stored."""
        gate.clear()
        for clerk in clerks(message.clerks):
            ctx.tell_nowait(clerk, Hold())
        for seq in range(message.each):
            entry = Entry(seq=seq, source=SOURCE, topic=TOPIC, text=TEXT)
            for clerk in clerks(message.clerks):
                ctx.tell_nowait(clerk, entry)
            await asyncio.sleep(0)  # so that they are stored meanwhile

    @on
    async def drain(self, request: Drain, ctx: Context) -> float:
        """Lets them work."""
        begun = perf_counter()
        gate.set()
        counted = await ctx.ask_all(list(clerks(request.clerks)), Sum(), timeout_s=120)
        took_s = perf_counter() - begun
        wrong = [outcome for outcome in counted if getattr(outcome, "reply", None) != request.each]
        if wrong:
            raise ValueError(f"a clerk has lost or doubled entries: {wrong[0]}")
        return took_s

    @on
    async def ask_often(self, request: AskOften, ctx: Context) -> tuple[float, ...]:
        """One ask after the other."""
        (clerk,) = clerks(1)
        took_ms: list[float] = []
        for _ in range(request.times):
            begun = perf_counter()
            await ctx.ask(clerk, Enter())
            took_ms.append((perf_counter() - begun) * 1e3)
        await ctx.ask(clerk, Sum())  # which begins to count anew
        return tuple(took_ms)


def clerks(count: int) -> Iterable[str]:
    """The ids of the first so many clerks."""
    return (f"ledger/clerk-{number}" for number in range(count))


def ledger_app() -> App:
    """All clerks, accounts and their driver in one process, and a clerk with one of its own, which is killed."""
    pool = Packed("ledger")
    members = [child(Clerk, id=f"clerk-{number}", placement=pool) for number in range(LIMIT_CLERKS)]
    driver = child(Driver, id="driver", placement=pool)
    children = [*members, driver, child(Clerk, id=VICTIM), keyed(Account, id="account", placement=pool)]
    return App("ledger", Supervisor(max_restarts=1_000, within_s=1.0, children=children))


app = ledger_app()
