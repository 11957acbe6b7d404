"""The agent on whom every promise is tried, and what it can be told.

A `Player` does what it is told, and writes down what it sees in a file that all processes of the machine share:
the record is outside of what is tested, survives every death, and has one order.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from regrow import ActorRef, Agent, Context, Message, Refused, Request, on
from regrow.runtime import AskFailed, Down, ExitReason, Fenced, Reachable, RegrowError, Shutdown, Unreachable
from regrow.runtime.lifecycle import ExitSignal

RECORD = Path(tempfile.gettempdir()) / f"regrow-conformance-{os.getpid()}" / "record"
"""Of the program that defines the apps; everybody else is told by its config."""

OFTEN = 1_000_000
"""A restart limit that no test reaches."""

LOOK_S = 0.005
"""Between two looks at a file that opens a gate."""


class Part(Message):
    """What a player is besides.

    `clings`: it does not let go when it is stopped; `fails`: it never starts;
    `babbles`: its start returns something.
    """

    record: str
    clings: bool = False
    fails: bool = False
    babbles: bool = False
    word: str = ""


class Note(Message):
    text: str


class Crash(Request[str]):
    """Ends the player by an exception."""

    text: str = "on demand"


class Finish(Message):
    """The player ends by itself, in order."""


class Leave(Message):
    """The player ends as one that was told to shut down."""


class Yield(Message):
    """The player ends as one whose state another has taken over."""


class Mute(Request[str]):
    """Ends the player by an exception whose own text can not be had."""


class Refuse(Request[str]):
    pass


class Life(Request[int]):
    """Asks for the incarnation that answers."""


class Pid(Request[int]):
    pass


class Word(Request[str]):
    """Asks for the word that is part of the player's config."""


class Hold(Request[str]):
    """Is never answered."""


class Gate(Request[str]):
    """Is answered, and lets later messages come, when the gate's file is there."""

    file: str


class Block(Request[str]):
    """Takes the whole process and gives nobody a turn until the file is there."""

    file: str


class Send(Message):
    to: ActorRef
    message: Message


class Burst(Message):
    """So many numbered notes, and then perhaps a crash in the same turn."""

    to: ActorRef
    count: int
    crashes: bool = False


class Offer(Request[str]):
    """Has a player tell somebody a note; the reply is `taken`, or the name of the error."""

    to: ActorRef
    text: str
    within_s: float


class AskFor(Request[str]):
    """Has a player ask somebody; the reply is that one's, or the failure as a text."""

    to: ActorRef
    request: Request[str]


class AskNoting(Request[str]):
    """As AskFor, and the player writes down that it asks, and how that ended, also where its own turn is cut short."""

    to: ActorRef
    request: Request[str]


class Chain(Request[str]):
    """Is answered by asking the first of these with the others."""

    through: tuple[ActorRef, ...]


class Here(Request[str]):
    """Is answered at once."""


class Watch(Request[int]):
    """Is answered when the monitor stands."""

    of: ActorRef


class Unwatch(Message):
    number: int


class Link(Message):
    to: ActorRef


class Unlink(Message):
    to: ActorRef


class Trap(Message):
    pass


class Spawn(Request[ActorRef]):
    name: str


class Enrol(Request[str]):
    """Has a player take a name; the reply is `taken`, or who has it."""

    name: str


class GiveBack(Request[bool]):
    """Has a player give a name back; the reply says whether it was its own."""

    name: str


class Seek(Request[ActorRef | None]):
    name: str


class Join(Request[int]):
    group: str


class Members(Request[tuple[ActorRef, ...]]):
    group: str


class Succeed(Message):
    """When the next one it watches goes down, the player takes this name in the same turn."""

    name: str


class Heir(Message):
    """When the child of that name goes down, a namesake is to be spawned in the same turn."""

    name: str


class After(Message):
    delay_s: float
    text: str


class TextError(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        raise LookupError("no text")


class NotToday(Refused):
    """A refusal of this app's own."""


def write(record: str, who: str, life: int, text: str) -> None:
    """One line more in the record; a single small append, so lines of several processes never mix.

    All processes of a machine have one monotonic clock, so the times of the lines can be compared.
    """
    line = json.dumps([who.partition("/")[2], life, text, time.monotonic()]) + "\n"
    with Path(record).open("ab", buffering=0) as file:
        file.write(line.encode())


def one_less(file: Path) -> bool:
    """Takes one from the number in a file; False when it was 0 or the file is not there, which is never made here."""
    try:
        with file.open("r+") as counted:
            digits = counted.read()
            left = int(digits)
            if left and left != OFTEN:  # that one stands until the test takes it back
                counted.seek(0)
                counted.write(str(left - 1).zfill(len(digits)))
    except FileNotFoundError:
        return False
    return left > 0


async def look_again() -> None:
    """Lets others run for a moment."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=LOOK_S)


def told(error: RegrowError) -> str:
    """A failure as a player tells it."""
    kind = f" {error.reason.kind}" if isinstance(error, AskFailed) else ""
    return f"{type(error).__name__}{kind}: {error}"


class Player(Agent):
    """Does what it is told, and writes down what it sees."""

    config: Part
    heir = ""
    office = ""

    def sees(self, ctx: Context, text: str) -> None:
        """One more line in the record."""
        write(self.config.record, ctx.id, ctx.incarnation, text)

    async def started(self, ctx: Context) -> None:
        """Fails if its part or a file named for it says so, and asks whom one says that is for its parent."""
        if self.config.fails:
            raise ValueError("told to fail")
        if one_less(Path(f"{self.config.record}.{ctx.id.replace('/', '.')}.fails")):
            self.sees(ctx, "start fails")
            raise RuntimeError("not now")
        asks = Path(f"{self.config.record}.{ctx.id.rpartition('/')[0].replace('/', '.')}.children-ask")
        if asks.exists():
            await ctx.ask(asks.read_text(), Here())
        if self.config.babbles:
            return {"ok": True}  # type: ignore[return-value] # what a checker would have told is tried here
        self.sees(ctx, "started")
        return None

    async def stopping(self, reason: ExitReason, ctx: Context) -> None:
        self.sees(ctx, "stopping")
        if self.config.clings:
            await asyncio.Event().wait()
        lingers = Path(f"{self.config.record}.{ctx.id.replace('/', '.')}.lingers")
        if lingers.exists():
            while lingers.exists():
                await look_again()
            self.sees(ctx, "stopped")
        asks = Path(f"{self.config.record}.{ctx.id.replace('/', '.')}.asks-at-stop")
        if asks.exists():
            try:
                await ctx.ask(asks.read_text(), Here())
            except AskFailed:
                self.sees(ctx, "got no answer")

    async def reach(self, ref: ActorRef, ctx: Context) -> None:
        """Returns when what was sent to somebody has arrived there, or when there is nobody."""
        with suppress(AskFailed):
            await ctx.ask(ref, Here())

    @on
    async def here(self, message: Here) -> str:
        return "here"

    @on
    async def note(self, message: Note, ctx: Context) -> None:
        self.sees(ctx, message.text)

    @on
    async def crash(self, message: Crash) -> str:
        raise ValueError(message.text)

    @on
    async def finish(self, message: Finish, ctx: Context) -> None:
        ctx.stop()

    @on
    async def leave(self, message: Leave, ctx: Context) -> None:
        ctx.stop(Shutdown(detail="it wants to"))

    @on
    async def give_way(self, message: Yield, ctx: Context) -> None:
        ctx.stop(Fenced())

    @on
    async def mute(self, message: Mute) -> str:
        raise TextError

    @on
    async def refuse(self, message: Refuse) -> str:
        raise NotToday("come back on Monday")

    @on
    async def life(self, message: Life, ctx: Context) -> int:
        return ctx.incarnation

    @on
    async def pid(self, message: Pid) -> int:
        return os.getpid()

    @on
    async def word(self, message: Word) -> str:
        return self.config.word

    @on
    async def hold(self, message: Hold, ctx: Context) -> str:
        self.sees(ctx, "holds")
        await asyncio.Event().wait()
        return ""

    @on
    async def gate(self, message: Gate, ctx: Context) -> str:
        self.sees(ctx, "at the gate")
        while not Path(message.file).exists():
            await look_again()
        self.sees(ctx, "through")
        return "open"

    @on
    async def block(self, message: Block, ctx: Context) -> str:
        self.sees(ctx, "blocks")
        while not Path(message.file).exists():
            threading.Event().wait(LOOK_S)
        return "free"

    @on
    async def send(self, message: Send, ctx: Context) -> None:
        await ctx.tell(message.to, message.message)

    @on
    async def burst(self, message: Burst, ctx: Context) -> None:
        for number in range(message.count):
            ctx.tell_nowait(message.to, Note(text=str(number)))
        if message.crashes:
            raise ValueError("after the last note")

    @on
    async def offer(self, message: Offer) -> str:
        try:
            await message.to.tell(Note(text=message.text), send_timeout_s=message.within_s)
        except RegrowError as error:
            return type(error).__name__
        return "taken"

    @on
    async def ask_for(self, message: AskFor, ctx: Context) -> str:
        try:
            return await ctx.ask(message.to, message.request)
        except RegrowError as error:
            return told(error)

    @on
    async def ask_noting(self, message: AskNoting, ctx: Context) -> str:
        self.sees(ctx, "asks")
        try:
            reply = await ctx.ask(message.to, message.request)
        except RegrowError as error:
            reply = told(error)
        except asyncio.CancelledError:
            self.sees(ctx, "its ask ended: cancelled with its turn")
            raise
        self.sees(ctx, f"its ask ended: {reply.partition(':')[0]}")
        return reply

    @on
    async def chain(self, message: Chain, ctx: Context) -> str:
        first, *others = message.through
        return await ctx.ask(first, Chain(through=tuple(others)))

    @on
    async def watch(self, message: Watch, ctx: Context) -> int:
        number = ctx.monitor(message.of)
        await self.reach(message.of, ctx)
        return number

    @on
    async def unwatch(self, message: Unwatch, ctx: Context) -> None:
        ctx.demonitor(message.number)

    @on
    async def link(self, message: Link, ctx: Context) -> None:
        ctx.link(message.to)
        await self.reach(message.to, ctx)

    @on
    async def unlink(self, message: Unlink, ctx: Context) -> None:
        ctx.unlink(message.to)

    @on
    async def trap(self, message: Trap, ctx: Context) -> None:
        ctx.trap_exits()

    @on
    async def spawn(self, message: Spawn, ctx: Context) -> ActorRef:
        return await ctx.spawn(Player, message.name, config=self.config)

    @on
    async def after(self, message: After, ctx: Context) -> None:
        ctx.after(message.delay_s, Note(text=message.text))

    @on
    async def down(self, message: Down, ctx: Context) -> None:
        self.sees(ctx, f"down {message.actor.partition('/')[2]} {message.reason.kind}")

        if self.office:
            self.sees(ctx, f"{self.office} {await self.enrol(Enrol(name=self.office), ctx)}")
        if self.heir:
            try:
                await ctx.spawn(Player, self.heir, config=self.config)
            except RegrowError as error:
                self.sees(ctx, told(error))

    @on
    async def succeed(self, message: Succeed) -> None:
        self.office = message.name

    @on
    async def enrol(self, message: Enrol, ctx: Context) -> str:
        try:
            await ctx.register(message.name)
        except RegrowError as error:
            return told(error)
        return "taken"

    @on
    async def give_back(self, message: GiveBack, ctx: Context) -> bool:
        return await ctx.unregister(message.name)

    @on
    async def seek(self, message: Seek, ctx: Context) -> ActorRef | None:
        return await ctx.whereis(message.name)

    @on
    async def join(self, message: Join, ctx: Context) -> int:
        await ctx.join(message.group)
        return len(await ctx.members(message.group))

    @on
    async def members(self, message: Members, ctx: Context) -> tuple[ActorRef, ...]:
        return tuple(await ctx.members(message.group))

    @on
    async def unreachable(self, message: Unreachable, ctx: Context) -> None:
        self.sees(ctx, f"unreachable {message.actor.partition('/')[2]}")

    @on
    async def reachable(self, message: Reachable, ctx: Context) -> None:
        self.sees(ctx, f"reachable {message.actor.partition('/')[2]}")

    @on
    async def await_heir(self, message: Heir) -> None:
        self.heir = message.name

    @on
    async def exited(self, message: ExitSignal, ctx: Context) -> None:
        self.sees(ctx, f"exit {message.actor.partition('/')[2]} {message.reason.kind}")
