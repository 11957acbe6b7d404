"""An app of agents that answer, refuse, crash, wait and ask each other; each has a host of its own."""

from __future__ import annotations

import datetime
import enum
import os
import threading
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from regrow import ActorRef, Agent, App, Context, Message, Packed, Refused, Request, Supervisor, agent, child, on
from regrow.runtime import Down
from tests.integration.waiting import until


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: int
    y: float


class Card(Message):
    """A message with all that may stand in one."""

    text: str = "ä→"
    raw: bytes = b"\x00\xff"
    colour: Colour = Colour.RED
    point: Point = Point(1, 0.5)
    price: Decimal = Decimal("1.10")
    on_day: datetime.date = datetime.date(2024, 2, 29)
    tags: frozenset[str] = frozenset({"a"})
    parts: tuple[Card, ...] = ()
    maybe: int | None = None


class Show(Request[Card]):
    card: Card


class Add(Request[int]):
    numbers: tuple[int, ...]


class Halve(Request[float]):
    number: int


class Split(Request[tuple[str, ...]]):
    text: str


class Find(Request[str | None]):
    key: str


class Nothing(Request[None]):
    pass


class WhereAmI(Request[int]):
    """Asks for the number of the process."""


class Crash(Request[int]):
    text: str = "no such thing"


class CrashTold(Message):
    pass


class Lie(Request[int]):
    """Its handler breaks its word and returns a text."""


class Decline(Request[int]):
    pass


class Wait(Request[int]):
    """Touches the file `begun`, and is answered once there is a file `go`."""

    begun: str
    go: str


class Unknown(Request[int]):
    """Nobody handles it."""


class UnknownTold(Message):
    pass


class NotOnSundays(Refused):
    """A refusal of this app's own."""


class Speaker(Agent):
    """Answers everything above."""

    def __init__(self) -> None:
        self.answered = 0

    @on
    async def show(self, request: Show) -> Card:
        return request.card

    @on
    async def add(self, request: Add, ctx: Context) -> int:
        self.answered += 1
        return sum(request.numbers)

    @on
    async def halve(self, request: Halve) -> float:
        return request.number / 2

    @on
    async def split(self, request: Split) -> tuple[str, ...]:
        return tuple(request.text.split())

    @on
    async def find(self, request: Find) -> str | None:
        return request.key if request.key == "here" else None

    @on
    async def nothing(self, request: Nothing) -> None:
        return None

    @on
    async def where(self, request: WhereAmI) -> int:
        return os.getpid()

    @on
    async def crash(self, request: Crash) -> int:
        raise ValueError(request.text)

    @on
    async def crash_told(self, message: CrashTold) -> None:
        raise KeyError("told")

    @on
    async def lie(self, request: Lie) -> int:
        return "seven"  # type: ignore[return-value] # what a handler must not do

    @on
    async def decline(self, request: Decline) -> int:
        raise NotOnSundays("come back on Monday")

    @on
    async def wait(self, request: Wait) -> int:
        Path(request.begun).touch()
        await until(Path(request.go).exists, "the speaker may answer", within_s=120)
        return 1


class Thread(Request[str]):
    """Asks for the name of the thread that the handler runs in."""


class Sync(Agent):
    """Has a `def` handler."""

    @on
    def thread(self, request: Thread, ctx: Context) -> str:
        return f"{threading.current_thread().name} of {ctx.id}"


class Introduce(Message):
    to: ActorRef


class AskFriend(Request[int]):
    numbers: tuple[int, ...]


class WhoIsFriend(Request[ActorRef]):
    pass


class AskMyself(Request[int]):
    pass


class AskInCircle(Request[int]):
    pass


class CrashFriend(Request[str]):
    pass


class Friendly(Agent):
    """Learns of a friend by a ref in a message, and asks it."""

    friend: ActorRef

    @on
    async def introduce(self, message: Introduce) -> None:
        self.friend = message.to

    @on
    async def who(self, request: WhoIsFriend) -> ActorRef:
        return self.friend

    @on
    async def pass_on(self, request: AskFriend, ctx: Context) -> int:
        return await ctx.ask(self.friend, Add(numbers=request.numbers))

    @on
    async def myself(self, request: AskMyself, ctx: Context) -> int:
        return await ctx.ask(ctx.self_ref, AskMyself())

    @on
    async def circle(self, request: AskInCircle, ctx: Context) -> int:
        return await ctx.ask(self.friend, AskInCircle())

    @on
    async def crash_friend(self, request: CrashFriend, ctx: Context) -> str:
        try:
            await ctx.ask(self.friend, Crash())
        except Exception as error:  # what an asker sees is what the test is about
            return f"{type(error).__name__}: {error}"
        return "no error"


class StartClock(Message):
    ticks: int


class Ticks(Request[tuple[int, ...]]):
    pass


class Tick(Message):
    number: int


class Clock(Agent):
    """Tells itself the time."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    @on
    async def start(self, message: StartClock, ctx: Context) -> None:
        for number in range(message.ticks):
            ctx.after(0.01 * number, Tick(number=number))
        ctx.after(0.015, Tick(number=-1)).cancel()

    @on
    async def tick(self, message: Tick) -> None:
        self.seen.append(message.number)

    @on
    async def ticks(self, request: Ticks) -> tuple[int, ...]:
        return tuple(self.seen)


class Spawn(Request[ActorRef]):
    name: str


class EndParent(Message):
    pass


class Parent(Agent):
    """Spawns speakers."""

    @on
    async def spawn(self, request: Spawn, ctx: Context) -> ActorRef:
        return await ctx.spawn(Speaker, request.name)

    @on
    async def end(self, message: EndParent, ctx: Context) -> None:
        ctx.stop()


class Monitor(Request[int]):
    of: str


class Demonitor(Message):
    number: int


class Greet(Request[int]):
    """Has the watcher ask somebody, so that what it sent before has arrived there."""

    of: str


class Downs(Request[tuple[Down, ...]]):
    pass


class Watcher(Agent):
    """Remembers the Downs that it gets."""

    def __init__(self) -> None:
        self.downs: list[Down] = []

    @on
    async def monitor(self, request: Monitor, ctx: Context) -> int:
        return ctx.monitor(request.of)

    @on
    async def demonitor(self, message: Demonitor, ctx: Context) -> None:
        ctx.demonitor(message.number)

    @on
    async def greet(self, request: Greet, ctx: Context) -> int:
        return await ctx.ask(request.of, Add(numbers=(1,)))

    @on
    async def down(self, message: Down) -> None:
        self.downs.append(message)

    @on
    async def downs_so_far(self, request: Downs) -> tuple[Down, ...]:
        return tuple(self.downs)


@agent
async def double(number: int, times: int = 2) -> int:
    return number * times


@agent
def shout(text: str, ctx: Context) -> str:
    return f"{ctx.id}: {text.upper()}"


TOGETHER = Packed("together")

app = App(
    "talk",
    Supervisor(
        max_restarts=1_000,
        within_s=1.0,
        children=[
            child(Speaker),
            child(Friendly, id="ann"),
            child(Friendly, id="bob"),
            child(Sync, placement=TOGETHER),
            child(Clock, placement=TOGETHER),
            child(Parent, placement=TOGETHER),
            child(Watcher),
            child(double, placement=TOGETHER),
            child(shout, placement=TOGETHER),
        ],
    ),
)
