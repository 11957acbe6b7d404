"""Frames of any messages come back exactly, and no bytes can make the codec do more than refuse them."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from regrow.runtime.address import ActorId, Address, HostId, Incarnation
from regrow.runtime.codec import CodecError, Undecodable
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.message import Message, Request
from regrow.runtime.signals import Failure, Watch
from regrow.runtime.stream_window import MAX_WINDOW_BYTES, MAX_WINDOW_PARTS, Window
from tests.runtime.golden import frames
from tests.runtime.golden.frames import FRAMES, NOW
from tests.runtime.test_codec import codec_at, exactly, seen

pytestmark = pytest.mark.slow

TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)  # with half surrogate pairs
NUMBERS = st.floats(allow_nan=False)
WHOLE = st.one_of(st.integers(), st.integers(-(2**80), 2**80))
ZONES = st.one_of(
    st.none(),
    st.timezones(),
    # Whole seconds: Python's fromisoformat reads an offset of less than one as UTC.
    st.integers(-86_399, 86_399).map(lambda offset_s: datetime.timezone(datetime.timedelta(seconds=offset_s))),
)
MOMENTS = st.builds(lambda moment, fold: moment.replace(fold=fold), st.datetimes(timezones=ZONES), st.integers(0, 1))
TIMES = st.builds(lambda time, fold: time.replace(fold=fold), st.times(timezones=ZONES), st.integers(0, 1))
PATHS = st.one_of(TEXTS.map(pathlib.PurePosixPath), TEXTS.map(pathlib.PureWindowsPath), TEXTS.map(pathlib.Path))
IDS = st.sampled_from(["desk", "desk/a", "desk/b", "shop/ü"]).map(ActorId)
LIVES = st.one_of(st.none(), st.integers(0, 2**60).map(Incarnation))
ADDRESSES = st.builds(Address, IDS, LIVES)
COLORS = st.sampled_from(frames.Color)
POINTS = st.builds(frames.Point, NUMBERS, NUMBERS, COLORS)
NOTES = st.builds(frames.Note, text=TEXTS, n=WHOLE)
QUESTIONS = st.builds(frames.Question, text=TEXTS)
ANSWERS = st.builds(frames.Answer, text=TEXTS, sources=st.lists(TEXTS, max_size=3).map(tuple))
MESSAGES = st.one_of(NOTES, QUESTIONS, ANSWERS, st.builds(frames.Ping), st.builds(frames.Memo, text=TEXTS))
VALUES = st.builds(
    frames.Values,
    text=TEXTS,
    number=st.one_of(WHOLE, NUMBERS),
    large=WHOLE,
    content=st.binary(max_size=20),
    nothing=st.one_of(st.none(), WHOLE),
    span=st.complex_numbers(allow_nan=False),
    moment=MOMENTS,
    zoned=MOMENTS,
    day=st.one_of(st.dates(), MOMENTS),
    time=TIMES,
    delta=st.timedeltas(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    key=st.one_of(st.uuids(), TEXTS),
    path=PATHS,
    words=st.frozensets(TEXTS, max_size=5),
    pairs=st.lists(st.tuples(TEXTS, WHOLE), max_size=3).map(tuple),
    color=st.one_of(COLORS, TEXTS),
    size=st.one_of(st.sampled_from(frames.Size), TEXTS),
    rights=st.integers(0, 3).map(frames.Rights),
    point=st.one_of(st.none(), POINTS),
    points=st.frozensets(POINTS, max_size=3),
    line=st.builds(frames.Span, first=POINTS, last=POINTS),
    note=st.one_of(NOTES, st.builds(frames.Memo, text=TEXTS, n=WHOLE)),
    any_message=MESSAGES,
    messages=st.lists(MESSAGES, max_size=3).map(tuple),
)
REFS = ADDRESSES.map(frames.ref_of)
HANDLES = st.one_of(REFS, st.integers(0, 2**60).map(frames.slot_of))
LEAVES = st.one_of(st.none(), st.booleans(), WHOLE, NUMBERS, TEXTS, st.binary(max_size=9), MOMENTS, st.uuids(), HANDLES)
REPLIES = st.one_of(
    MESSAGES,
    st.recursive(
        LEAVES,
        lambda held: st.one_of(
            st.lists(held, max_size=3),
            st.lists(held, max_size=3).map(tuple),
            st.dictionaries(TEXTS, held, max_size=3),
            st.sets(TEXTS, max_size=3),
        ),
        max_leaves=8,
    ),
)
ORIGINS = st.builds(
    Origin,
    sender=st.one_of(st.none(), ADDRESSES),
    principal=TEXTS,
    capability=st.one_of(st.none(), st.lists(TEXTS, max_size=2).map(tuple)),
    trace=TEXTS,
    hops=st.integers(0, 99),
    chain=st.lists(IDS, max_size=3).map(tuple),
    run=TEXTS,
    steps=st.lists(st.integers(0, 2**64 - 1), max_size=3).map(tuple),
)
BODIES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.TELL: st.one_of(MESSAGES, VALUES),
    Kind.ASK: QUESTIONS,
    Kind.REPLY: REPLIES,
    Kind.FAILURE: st.builds(Failure, error=TEXTS, text=TEXTS),
    Kind.SIGNAL: st.builds(Watch, monitor=WHOLE, watcher=TEXTS, watcher_incarnation=WHOLE),
    Kind.NOTICE: MESSAGES,
    Kind.PART: st.tuples(WHOLE, WHOLE, st.booleans(), st.lists(REPLIES, max_size=3).map(tuple)),
}
WINDOWS = st.builds(Window, parts=st.integers(1, MAX_WINDOW_PARTS), size_bytes=st.integers(1, MAX_WINDOW_BYTES))


@st.composite
def envelopes(draw: Callable[..., Any]) -> list[Envelope]:
    """Rows that share origins, receivers and types as turns make them, in any mixture."""
    origins = draw(st.lists(ORIGINS, min_size=1, max_size=3))
    rows: list[Envelope] = []
    for kind in draw(st.lists(st.sampled_from(Kind), max_size=12)):
        rows.append(
            Envelope(
                kind,
                draw(IDS),
                draw(BODIES[kind]),
                draw(st.sampled_from(origins)),
                draw(st.one_of(st.none(), st.integers(0, 10**6).map(lambda left_ms: NOW + left_ms / 1000))),
                draw(st.integers(0, 2**60)),
                draw(st.one_of(st.none(), st.sampled_from(["host-1", "host-2"]).map(HostId))),
                draw(LIVES),
                draw(st.one_of(st.none(), TEXTS)),
                draw(st.booleans()),
                draw(st.one_of(st.none(), WINDOWS)),
            )
        )
    return rows


@given(message=VALUES)
def test_every_value_comes_back_exactly(message: Message) -> None:
    codec = codec_at()
    codec.check(message)

    [envelope] = codec.decode(codec.encode([Envelope(Kind.TELL, ActorId("desk"), message, Origin())]))

    assert envelope.message == message
    assert exactly(envelope.message) == exactly(message)


@given(value=REPLIES)
def test_every_reply_comes_back_exactly(value: object) -> None:
    codec = codec_at()
    codec.check(value)

    [envelope] = codec.decode(codec.encode([Envelope(Kind.REPLY, ActorId("desk"), value, Origin(), ask_id=1)]))

    assert exactly(envelope.message) == exactly(value)


@given(rows=envelopes())
@example(rows=[Envelope(Kind.TELL, ActorId("desk"), frames.Ping(), Origin(), window=Window(parts=1, size_bytes=1))])
def test_every_frame_comes_back_in_order(rows: list[Envelope]) -> None:
    codec = codec_at()

    arrived = codec.decode(codec.encode(rows))

    for row, expected in zip(arrived, rows, strict=True):
        assert row.deadline == (expected.deadline and pytest.approx(expected.deadline, abs=0.0011))
        expected.deadline = row.deadline = None
        assert seen(row) == seen(expected)


@given(rows=envelopes())
def test_a_frame_written_again_has_the_same_bytes(rows: list[Envelope]) -> None:
    assert codec_at().encode(rows) == codec_at().encode(list(rows))


# ---- damage --------------------------------------------------------------------------------------

GOLDEN = [codec_at().encode(rows) for rows in FRAMES.values()]
ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 300),
        st.integers(-(2**63), 2**63),
        st.floats(),
        st.sampled_from(["", "text", "tests.runtime.golden.frames:Note", "regrow.runtime.signals:Stop"]),
        st.binary(max_size=3),
        st.builds(msgpack.ExtType, st.integers(0, 12), st.binary(max_size=16)),
    ),
    lambda held: st.one_of(
        st.lists(held, max_size=4), st.dictionaries(st.one_of(st.integers(0, 9), st.text(max_size=1)), held, max_size=2)
    ),
    max_leaves=6,
)


def survives(payload: bytes) -> None:
    """Reads bytes as a frame; whatever they are, what the runtime relies on must hold."""
    try:
        rows = codec_at().decode(payload)
    except CodecError:
        return
    for row in rows:
        assert type(row.kind) is Kind
        assert type(row.receiver) is str
        assert type(row.ask_id) is int
        assert row.origin.capability is None or {type(prefix) for prefix in row.origin.capability} <= {str}
        assert row.deadline is None or type(row.deadline) is float
        assert row.window is None or type(row.window) is Window
        if row.kind not in (Kind.REPLY, Kind.PART):
            assert isinstance(row.message, Message | Undecodable)
        if row.kind is Kind.ASK:
            assert isinstance(row.message, Request | Undecodable)
        if row.kind is Kind.FAILURE:
            assert isinstance(row.message, Failure | Undecodable)


@given(payload=st.binary(max_size=200))
def test_random_bytes_are_refused(payload: bytes) -> None:
    survives(payload)


@given(payload=st.sampled_from(GOLDEN), damage=st.data())
def test_a_damaged_frame_is_refused_or_read_as_another(payload: bytes, damage: st.DataObject) -> None:
    damaged = bytearray(payload)
    for _ in range(damage.draw(st.integers(1, 3))):
        place = damage.draw(st.integers(0, len(damaged)))
        match damage.draw(st.sampled_from(["flip", "cut", "insert", "drop"])):
            case "flip" if place < len(damaged):
                damaged[place] = damage.draw(st.integers(0, 255))
            case "cut":
                del damaged[place:]
            case "insert":
                damaged[place:place] = damage.draw(st.binary(max_size=4))
            case _:
                del damaged[place : place + 2]

    survives(bytes(damaged))


@given(payload=st.sampled_from(GOLDEN), damage=st.data())
def test_a_frame_with_anything_at_any_place_is_refused_or_read_as_another(
    payload: bytes, damage: st.DataObject
) -> None:
    tables: Any = msgpack.unpackb(payload, strict_map_key=False, unicode_errors="surrogatepass")
    place = tables
    while True:
        index = damage.draw(st.integers(0, len(place) - 1))
        if not isinstance(place[index], list) or not place[index] or damage.draw(st.integers(0, 3)) == 0:
            break
        place = place[index]
    place[index] = damage.draw(ANYTHING)
    damaged: bytes | None = msgpack.packb(tables, unicode_errors="surrogatepass")

    assert damaged is not None
    survives(damaged)
