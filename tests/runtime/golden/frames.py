"""What the golden frames hold: every kind of row, every table, and every value that has a form of its own.

The bytes beside this file are promises to programs that run already. A frame that is new gets a name here and its
file by `WRITE_GOLDEN=1 pytest tests/runtime/test_codec.py -k golden`; one that exists is changed only together with
`codec.VERSION`. Nothing may be renamed here, for wire names are part of the bytes.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import uuid
import zoneinfo
from dataclasses import dataclass
from typing import Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field

from regrow.runtime.address import ActorId, Address, HostId, Incarnation
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.lifecycle import Crashed, Down, Escalated, Exited, Fenced, Killed, NoProc, Normal, Shutdown
from regrow.runtime.message import Message, Request, StreamRequest
from regrow.runtime.ref import ActorRef
from regrow.runtime.reply_slot import ReplySlot
from regrow.runtime.signals import (
    AskedInStop,
    Chase,
    Failure,
    Granted,
    LinkedExit,
    RingFound,
    Stop,
    TakenBack,
    Tie,
    Untie,
    Unwatch,
    Watch,
)
from regrow.runtime.stream_window import Batch, Window

NOW: Final = 1_000.0
"""The time at which the golden frames are written and read."""


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.StrEnum):
    SMALL = "small"
    LARGE = "large"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    color: Color = Color.RED


class Span(BaseModel):
    model_config = ConfigDict(frozen=True)

    first: Point
    last: Point


class Note(Message):
    text: str
    n: int = 0


class Memo(Message):
    text: str
    n: int = 0


class Ping(Message):
    pass


class Answer(Message):
    text: str
    sources: tuple[str, ...] = ()


class Question(Request[Answer]):
    text: str


class Tell(StreamRequest[Note, Answer]):
    text: str


class Renamed(Message):
    from_: str = Field(alias="from")
    to: str


class Values(Message):
    """A field of each type; where a union is ambiguous, the value decides."""

    text: str = "é\ud83d"
    number: int | float = 2.0
    large: int = -(2**70)
    content: bytes = b"\x00\xff"
    nothing: int | None = None
    span: complex = 1 - 2j
    moment: datetime.datetime = datetime.datetime(2026, 8, 1, 10, 0, tzinfo=datetime.UTC)
    zoned: datetime.datetime = datetime.datetime(
        2026, 10, 25, 2, 30, 0, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1
    )
    day: datetime.date | datetime.datetime = datetime.date(2026, 8, 1)
    time: datetime.time = datetime.time(10, 30, fold=1)
    delta: datetime.timedelta = datetime.timedelta(days=-1, microseconds=1)
    price: decimal.Decimal = decimal.Decimal("1.20")
    key: uuid.UUID | str = uuid.UUID(int=7)
    path: pathlib.PurePath = pathlib.PurePosixPath("a/b")
    windows: pathlib.PurePath = pathlib.PureWindowsPath("c:/a")
    words: frozenset[str] = frozenset(("one", "two", "three", "four", "five"))
    pairs: tuple[tuple[str, int], ...] = (("a", 1), ("b", 2))
    color: Color | str = Color.BLUE
    size: Size | str = Size.LARGE
    rights: Rights = Rights.READ | Rights.WRITE
    point: Point | None = Point(x=1.0, y=2.0, color=Color.BLUE)
    points: frozenset[Point] = frozenset((Point(x=0.0, y=0.0), Point(x=1.0, y=0.0)))
    line: Span = Span(first=Point(x=0.0, y=0.0), last=Point(x=1.0, y=1.0))
    note: Note | Memo = Memo(text="not a Note", n=3)
    any_message: Message = Question(text="of any class?")
    messages: tuple[Message, ...] = (Ping(), Note(text="a"))


class Handover(Message):
    ref: ActorRef
    refs: tuple[ActorRef, ...] = ()


class Delegated(Message):
    slot: ReplySlot[str]
    others: tuple[ReplySlot[int], ...] = ()


def ref_of(address: Address) -> ActorRef:
    """A ref that can not send; equal to every other to that address."""
    return ActorRef(address, cast("Any", None))


def slot_of(ask_id: int) -> ReplySlot[Any]:
    """A slot that can not answer."""
    return ReplySlot(ref_of(Address(B, Incarnation(2))), HOST, ask_id, "tests:Question")


ROOT: Final = Origin(principal="ops")
TURN: Final = Origin(
    sender=Address(ActorId("desk/clerk"), Incarnation(7)),
    principal="ada",
    capability=("desk", "memory/shared"),
    trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    hops=2,
    chain=(ActorId("desk/front"), ActorId("desk/clerk")),
)
IN_A_RUN: Final = Origin(
    sender=Address(ActorId("desk/clerk"), Incarnation(7)), principal="ada", hops=3, run="host-1/9", steps=(1, 2**64 - 1)
)
A, B = ActorId("desk/a"), ActorId("desk/b")
HOST = HostId("host-1")


def tell(receiver: ActorId, message: object, origin: Origin = ROOT) -> Envelope:
    return Envelope(Kind.TELL, receiver, message, origin)


def reply(value: object, ask_id: int = 1) -> Envelope:
    return Envelope(Kind.REPLY, A, value, ROOT, ask_id=ask_id)


def parts(batch: Batch, ask_id: int) -> Envelope:
    return Envelope(Kind.PART, A, tuple(batch), ROOT, ask_id=ask_id)


def signal(message: Message) -> Envelope:
    return Envelope(Kind.SIGNAL, A, message, TURN, incarnation=Incarnation(3))


FRAMES: Final[dict[str, list[Envelope]]] = {
    "empty": [],
    "tells": [tell(A, Note(text="x", n=1)), tell(B, Note(text="y", n=2)), tell(B, Note(text="z", n=3))],
    "mixed": [
        tell(A, Note(text="one", n=1)),
        tell(A, Ping(), TURN),
        tell(B, Note(text="two", n=-2), TURN),
        Envelope(Kind.ASK, A, Question(text="?"), TURN, NOW + 30.5, 12, HOST, Incarnation(3), "command"),
        Envelope(Kind.ASK, A, Question(text="??"), ROOT, NOW + 1.25, 2**40, HOST),
        Envelope(Kind.ASK, A, Question(text="???"), ROOT, NOW, 14, HOST),
        tell(A, Note(text="three"), Origin(principal="ops")),
    ],
    "sent_again": [
        tell(A, Note(text="again")),
        Envelope(Kind.ASK, A, Question(text="?"), ROOT, NOW + 5.0, 12, HOST, None, "asked", may_have_run=True),
        Envelope(Kind.ASK, A, Question(text="??"), ROOT, NOW + 5.0, 13, HOST, None, "new"),
    ],
    "replies": [
        reply(Answer(text="42", sources=("a", "b")), 12),
        reply("text", 13),
        reply(None, 14),
        reply((1, 2.5, True, b"bytes"), 15),
        reply([1, [2]], 16),
        reply({"a": {1, 2}, 3: {"b": [None]}}, 17),
        reply(frozenset(("a", "b", "c")), 18),
        reply((Note(text="in a tuple"), ref_of(Address(A))), 19),
        Envelope(Kind.FAILURE, A, Failure(error="MailboxFull", text="full"), ROOT, ask_id=20),
        Envelope(
            Kind.FAILURE, A, Failure(error="", text="died", reason=Crashed(type_name="E", message="m")), ROOT, ask_id=21
        ),
    ],
    "signals": [
        signal(Watch(monitor=1, watcher="desk/w", watcher_incarnation=2)),
        signal(Unwatch(monitor=1, watcher="desk/w")),
        signal(Tie(actor="desk/b", incarnation=4)),
        signal(Untie(actor="desk/b")),
        signal(LinkedExit(actor="desk/b", incarnation=4, reason=Killed(detail="oom"))),
        signal(Stop(reason=Shutdown(), grace_s=None)),
        signal(Exited(actor="desk/b", incarnation=4, reason=Escalated(child="x", restarts=3), event="host-2")),
        *(
            Envelope(Kind.NOTICE, A, Down(monitor=1, actor="desk/b", incarnation=4, reason=reason), ROOT)
            for reason in (Normal(), Fenced(), NoProc())
        ),
    ],
    "values": [
        tell(A, Values()),
        tell(A, Handover(ref=ref_of(Address(A)), refs=(ref_of(Address(B, Incarnation(2))),))),
        tell(A, Renamed.model_validate({"from": "a", "to": "b"})),
    ],
    "calls": [
        tell(A, Delegated(slot=slot_of(12), others=(slot_of(13), slot_of(2**40)))),
        reply((1, slot_of(14)), 15),
        Envelope(Kind.REPLY, B, "by a slot", TURN, ask_id=12, reply_host=HOST, incarnation=Incarnation(2)),
        signal(TakenBack(host=HOST, ask_id=16)),
        signal(Chase(number=1, path=(("desk/a", HOST, 17), ("desk/b", "host-2", 3)), found=())),
        signal(RingFound(ask_id=17, agents=("desk/a", "desk/b"))),
    ],
    "streams": [
        Envelope(Kind.ASK, A, Tell(text="?"), ROOT, NOW + 5.0, 12, HOST, window=Window(parts=64, size_bytes=4_096)),
        Envelope(Kind.ASK, A, Tell(text="alone"), ROOT, NOW + 5.0, 13, HOST),
        parts(Batch(0, 34, False, (Note(text="one", n=1), Note(text="two"))), 12),
        parts(Batch(2, 5, True, ("text", None, (1, 2.5))), 14),
        parts(Batch(5, 0, True, ()), 14),
        signal(Granted(host=HOST, ask_id=12, parts=32, size_bytes=2_048)),
        reply(Answer(text="the end"), 12),
    ],
    "runs": [
        tell(A, Note(text="on"), IN_A_RUN),
        tell(B, Note(text="and on"), IN_A_RUN),
        tell(A, Note(text="first"), Origin(run="host-1/10")),
    ],
    "ticks": [
        tell(A, Note(text="look"), Origin(sender=IN_A_RUN.sender, hops=1, run="host-1/9", tick="host-1/12")),
        tell(A, Note(text="on"), IN_A_RUN),
    ],
    "stops": [
        signal(AskedInStop(host=HOST, ask_id=12, asker="desk/b", request="Question")),
    ],
    "behind": [
        Envelope(Kind.TELL, A, Note(text="first"), TURN, command_id="one"),
        Envelope(Kind.TELL, A, Note(text="second"), TURN, command_id="two", behind="one"),
        Envelope(Kind.TELL, B, Note(text="another"), TURN, command_id="three"),
        Envelope(Kind.TELL, A, Note(text="third"), TURN, command_id="four", behind="two"),
    ],
}
