"""Frames: what they are, that they come back exactly, and that nothing in them can break more than its own row.

The bytes of version 1 lie in `golden/`. A new golden frame gets its file by
`WRITE_GOLDEN=1 pytest tests/runtime/test_codec.py -k golden`, which never overwrites one that is there.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import os
import pathlib
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgpack
import pytest
from pydantic import BaseModel, ConfigDict, field_validator

from regrow.runtime.codec import FrameCodec
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.message import Message
from regrow.runtime.ref import ActorRef
from tests.runtime.golden.frames import FRAMES, NOW, ROOT, A, Note, Point, ref_of, reply, tell

GOLDEN = pathlib.Path(__file__).parent / "golden"
NOTE = "tests.runtime.golden.frames:Note"
BOX = f"{__name__}:Box"
PICKY = f"{__name__}:Picky"
T = TypeVar("T")


def exactly(value: Any) -> object:
    """What two values share only if they are alike to the type, in all their parts."""
    cls = type(value)
    if isinstance(value, datetime.datetime | datetime.time):
        return cls, value.isoformat(), value.fold, getattr(value.tzinfo, "key", None)
    if isinstance(value, Message | BaseModel):
        return cls, exactly(value.__dict__)
    if isinstance(value, enum.Enum | ActorRef):
        return cls, value
    if dataclasses.is_dataclass(value):
        return cls, [exactly(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, tuple | list):
        return cls, [exactly(item) for item in value]
    if isinstance(value, frozenset | set):
        return cls, sorted(repr(exactly(item)) for item in value)
    if isinstance(value, dict):
        return cls, [(exactly(key), exactly(held)) for key, held in value.items()]
    return cls, repr(value)


def seen(envelope: Envelope) -> list[object]:
    """All that an envelope says."""
    origin = envelope.origin
    return [
        *(getattr(origin, name) for name in Origin.__slots__),
        exactly(envelope.message),
        *(getattr(envelope, name) for name in Envelope.__slots__ if name not in ("message", "origin")),
    ]


def codec_at(now: float = NOW) -> FrameCodec:
    return FrameCodec(ref_of, lambda: now)


def there_and_back(*envelopes: Envelope) -> list[Envelope]:
    return codec_at().decode(codec_at().encode(list(envelopes)))


def carried(message: object) -> object:
    """The message after its way through a frame."""
    [envelope] = there_and_back(tell(A, message) if isinstance(message, Message) else reply(message))
    return envelope.message


def pack(value: object) -> bytes:
    packed: bytes | None = msgpack.packb(value)
    assert packed is not None
    return packed


def frame(change: Callable[[list[Any]], None]) -> bytes:
    """The frame of three tells, with something changed in its tables."""
    tables: list[Any] = msgpack.unpackb(codec_at().encode(FRAMES["tells"]))
    change(tables)
    return pack(tables)


def frame_of(name: object, fields: object, columns: object, *, rows: int = 1) -> bytes:
    def change(tables: list[Any]) -> None:
        tables[4], tables[5] = [[name, fields, columns]], [[0, 0, 0]]
        tables[6] = tables[7] = [0, rows]

    return frame(change)


def reply_frame(value: object) -> bytes:
    """A frame with this value as a reply, packed as it stands."""
    tables = msgpack.unpackb(codec_at().encode([reply(None)]))
    tables[4] = [[None, [], [[value]]]]
    return pack(tables)


def decoded(payload: bytes) -> list[object]:
    return [envelope.message for envelope in codec_at().decode(payload)]


# ---- the format ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FRAMES)
def test_golden_frames_are_read_as_what_they_were_written_from(name: str) -> None:
    file = GOLDEN / f"{name}.v1.msgpack"
    if os.environ.get("WRITE_GOLDEN") and not file.exists():
        file.write_bytes(codec_at().encode(FRAMES[name]))

    envelopes = codec_at().decode(file.read_bytes())

    assert [seen(envelope) for envelope in envelopes] == [seen(envelope) for envelope in FRAMES[name]]


@pytest.mark.parametrize("name", FRAMES)
def test_golden_frames_are_still_written_byte_by_byte(name: str) -> None:
    assert codec_at().encode(FRAMES[name]) == (GOLDEN / f"{name}.v1.msgpack").read_bytes()


def test_the_drawing_of_the_format_is_true() -> None:
    tables = msgpack.unpackb(codec_at().encode(FRAMES["tells"]))

    assert tables[:2] == [1, ["desk/a", "desk/b"]]
    assert tables[2:4] == [[[None, None, "ops", None, 0, []]], [0, ""]]
    assert tables[4] == [[NOTE, ["text", "n"], [["x", "y", "z"], [1, 2, 3]]]]
    assert tables[5:] == [[[0, 0, 0], [0, 1, 0]], [0, 1, 1, 2], [0, 3], [], [], []]


def test_what_repeats_in_a_frame_is_sent_once() -> None:
    origins = [Origin(principal="ada", trace="00-" + "0" * 32, capability=("desk",)) for _ in range(200)]
    rows = [tell(A, Note(text="hello", n=1), origin) for origin in origins]

    size_bytes = len(codec_at().encode(rows))

    assert size_bytes < 200 * 8 + 200


def test_rows_keep_their_order_across_types_receivers_and_kinds() -> None:
    rows = [envelope for _ in range(3) for name in FRAMES for envelope in FRAMES[name]]

    assert [seen(envelope) for envelope in there_and_back(*rows)] == [seen(envelope) for envelope in rows]


# ---- deadlines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_s", "expected_s"), [(30.0, 30.0), (0.0015, 0.001), (0.0, 0.0), (-5.0, 0.0), (float("inf"), 315_360_000.0)]
)
def test_a_deadline_is_what_was_left_counted_on_the_clock_of_the_receiver(left_s: float, expected_s: float) -> None:
    payload = codec_at(NOW).encode([Envelope(Kind.TELL, A, Note(text="x"), ROOT, NOW + left_s)])

    [envelope] = codec_at(50_000.0).decode(payload)

    assert envelope.deadline == pytest.approx(50_000.0 + expected_s)


def test_a_deadline_shrinks_while_its_envelope_waits_to_be_written() -> None:
    row = Envelope(Kind.TELL, A, Note(text="x"), ROOT, NOW + 10)

    [first] = codec_at(0.0).decode(codec_at(NOW + 4).encode([row]))

    assert first.deadline == pytest.approx(6.0)


# ---- values --------------------------------------------------------------------------------------


class Box(Message, Generic[T]):
    held: T


class Strict(Message):
    model_config = ConfigDict(strict=True)

    pairs: tuple[tuple[Point, datetime.date], ...]
    path: pathlib.Path


class Picky(Message):
    n: int

    @field_validator("n")
    @classmethod
    def even(cls, n: int) -> int:
        if n < 0:
            raise KeyError(n)
        return n


class Tree(Message):
    children: tuple[Tree, ...] = ()


class Circle(Point):
    pass


class Extra(Message):
    model_config = ConfigDict(extra="allow")


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    __slots__ = ()


def test_a_strict_class_gets_values_of_the_very_types_it_asks_for() -> None:
    message = Strict(pairs=((Point(x=1.0, y=2.0), datetime.date(2026, 8, 1)),), path=pathlib.Path("/a"))

    assert exactly(carried(message)) == exactly(message)


def test_not_a_number_comes_back_as_such() -> None:
    value = carried((float("nan"), decimal.Decimal("NaN"), float("-inf"), -0.0))

    assert repr(value) == "(nan, Decimal('NaN'), -inf, -0.0)"


def test_subclasses_of_plain_types_travel_as_what_they_derive_from() -> None:
    assert exactly(carried((Text("a"), [Text("b")]))) == exactly(("a", ["b"]))


def test_a_reply_of_models_arrives_as_what_its_declared_type_can_be_built_from() -> None:
    value = carried([Point(x=1.0, y=2.0), frozenset((Level.LOW,)), frozenset((Point(x=0.0, y=0.0),))])

    assert value == [{"x": 1.0, "y": 2.0, "color": "red"}, {1}, [{"x": 0.0, "y": 0.0, "color": "red"}]]


def test_a_zone_that_is_unknown_here_leaves_the_offset_of_its_moment() -> None:
    [moment] = decoded(reply_frame(msgpack.ExtType(2, b"2026-08-01T10:00:00+02:00[Mars/Olympus]")))

    assert moment == datetime.datetime.fromisoformat("2026-08-01T10:00:00+02:00")
