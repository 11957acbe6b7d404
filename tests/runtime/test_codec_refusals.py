"""What can not travel is refused where it is sent, and what can not be read costs its own row and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from regrow.runtime import codec as codec_module
from regrow.runtime import wire_tables
from regrow.runtime.codec import CodecError, Undecodable
from regrow.runtime.envelope import Kind
from regrow.runtime.errors import InvalidMessage
from regrow.runtime.message import Message
from tests.runtime.golden import frames
from tests.runtime.golden.frames import FRAMES, A, Color, Note, reply, tell
from tests.runtime.test_codec import (
    BOX,
    NOTE,
    PICKY,
    Box,
    Circle,
    Extra,
    Tree,
    carried,
    codec_at,
    decoded,
    frame,
    frame_of,
    pack,
    there_and_back,
)

# ---- what can not travel -------------------------------------------------------------------------


def nested(levels: int) -> tuple[object, ...]:
    held: tuple[object, ...] = ()
    for _ in range(levels):
        held = (held,)
    return held


@pytest.mark.parametrize(
    "message", [Note(text="x"), frames.Values(), Tree(children=(Tree(),)), "text", 1, [{"a": (1,)}]]
)
def test_what_can_travel_passes_the_check(message: object) -> None:
    codec_at().check(message)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (Box(held=object()), "Box.held is a object, which has no form on the wire"),
        (Box(held=(1, {"a": 2})), r"Box.held\[1\] is a dict, which can be changed"),
        (Box(held=Color.RED), "Box.held is a Color, which the receiver can not know"),
        (frames.Values(point=Circle(x=1.0, y=2.0)), "Values.point is a Circle, .* name Circle in the field's type"),
        (frames.Values(any_message=Box(held=print)), "Values.any_message.held is a builtin_function_or_method"),
        (Box[int](held=1), r"Box\[int\] has no name of its own on the wire"),
        (Extra(), "Extra allows extra fields"),
        ([1, {"a": object()}], r"list\[1\]\[1\] is a object"),
        (nested(200), "nested deeper than 100"),
    ],
)
def test_what_can_not_travel_is_an_error_to_its_sender_that_names_the_field(message: object, complaint: str) -> None:
    with pytest.raises(InvalidMessage, match=complaint):
        codec_at().check(message)


def test_the_check_of_a_class_that_can_always_travel_looks_at_no_value() -> None:
    note = Note.model_construct(text=object())  # what validation would have refused

    codec_at().check(note)


def test_a_message_that_was_not_checked_costs_its_own_row_and_no_other() -> None:
    rows = [tell(A, Note(text="x")), tell(A, Box(held=object())), reply(object(), 7), tell(A, Note(text="y"))]

    first, unwritten, reply_row, last = there_and_back(*rows)

    assert (first.message, last.message) == (Note(text="x"), Note(text="y"))
    assert isinstance(unwritten.message, Undecodable)
    assert unwritten.message.type_name.endswith("test_codec:Box")
    assert "object has no form on the wire" in unwritten.message.reason
    assert isinstance(reply_row.message, Undecodable)
    assert reply_row.ask_id == 7


@pytest.mark.parametrize(
    "message",
    [
        Note.model_construct(n=1),
        Note.model_construct(text=print, n=1),
        Box(held=nested(2_000)),
    ],
)
def test_a_broken_message_leaves_nothing_behind_in_later_frames(message: Message) -> None:
    codec = codec_at()
    expected = codec.encode(FRAMES["tells"])

    [envelope] = codec.decode(codec.encode([tell(A, message)]))

    assert isinstance(envelope.message, Undecodable)
    assert codec.encode(FRAMES["tells"]) == expected


def test_a_message_too_large_for_a_frame_is_told_to_its_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_module, "MAX_FRAME_BYTES", 2_000)
    monkeypatch.setattr(wire_tables, "MAX_BODIES_BYTES", 1_000)

    large, small = there_and_back(tell(A, Note(text="x" * 3_000)), tell(A, Note(text="y")))

    assert isinstance(large.message, Undecodable)
    assert "and its frame room for 1000" in large.message.reason
    assert small.message == Note(text="y")


def test_a_dict_that_looks_like_a_tagged_value_does_not_become_one() -> None:
    forged = {1: ["desk/vault", None]}

    assert carried(forged) == forged
    assert carried(Box(held=forged)) == Box(held=forged)


# ---- what can not be read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (lambda: frame_of("nowhere:Nothing", ["a"], [[1]]), "no message class of this name is imported here"),
        (lambda: frame_of("os:system", [], []), "no message class of this name is imported here"),
        (lambda: frame_of(NOTE, ["text"], [[1]]), "text: Input should be a valid string"),
        (lambda: frame_of(NOTE, ["n"], [[1]]), "text: Field required"),
        (lambda: frame_of(NOTE, ["text", "extra"], [["x"], [1]]), "extra: Extra inputs are not permitted"),
        (lambda: frame_of(NOTE, ["text"], [[msgpack.ExtType(99, b"")]]), "text: Input should be a valid string"),
        (lambda: frame_of(BOX, ["held"], [[msgpack.ExtType(99, b"")]]), "extension 99 is not known here"),
        (lambda: frame_of(BOX, ["held"], [[msgpack.ExtType(7, b"1e")]]), "extension 7 of b'1e'"),
        (lambda: frame_of(BOX, ["held"], [[{99: []}]]), "a map of 1 entries is no tagged value"),
        (lambda: frame_of(BOX, ["held"], [[{"a": 1, "b": 2}]]), "a map of 2 entries is no tagged value"),
        (lambda: frame_of(BOX, ["held"], [[{2: [[{6: []}]]}]]), "unhashable type: 'list'"),
        (lambda: frame_of(BOX, ["held"], [[{3: ["nowhere:Nothing"]}]]), "nowhere:Nothing: no message class"),
        (lambda: frame_of(BOX, ["held"], [[{3: [NOTE, "n", "x"]}]]), "Note: text: Field required"),
        (lambda: frame_of(PICKY, ["n"], [[-1]]), "KeyError: -1"),
    ],
)
def test_a_row_that_means_nothing_here_arrives_with_the_reason(payload: Callable[[], bytes], reason: str) -> None:
    [message] = decoded(payload())

    assert isinstance(message, Undecodable)
    assert reason in message.reason


def test_rows_beside_one_that_means_nothing_arrive() -> None:
    messages = decoded(frame_of(NOTE, ["text"], [["x", 2, "z"]], rows=3))

    assert [type(message) for message in messages] == [Note, Undecodable, Note]


def test_a_reason_does_not_grow_with_what_was_sent() -> None:
    [message] = decoded(frame_of(NOTE, ["x" * 10_000], [[1]]))

    assert isinstance(message, Undecodable)
    assert len(message.reason) <= 300


def test_a_class_that_gained_a_field_reads_frames_from_before() -> None:
    assert decoded(frame_of(NOTE, ["text"], [["x"]])) == [Note(text="x", n=0)]


def test_fields_are_read_by_name_in_whatever_order_they_stand() -> None:
    assert decoded(frame_of(NOTE, ["n", "text"], [[5], ["x"]])) == [Note(text="x", n=5)]


def test_a_class_not_declared_by_the_message_is_never_looked_up() -> None:
    [message] = decoded(frame_of(BOX, ["held"], [[{5: ["pathlib:Path", "x", {4: ["os:system", "true"]}]}]]))

    assert message == Box(held={"x": "true"})


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Kind.ASK, NOTE), (Kind.SIGNAL, NOTE), (Kind.FAILURE, NOTE), (Kind.TELL, None), (Kind.NOTICE, None)],
)
def test_a_kind_that_can_not_carry_such_a_message_does_not(kind: Kind, name: str | None) -> None:
    tables = msgpack.unpackb(frame_of(name, ["text"] if name else [], [["x"]]))
    tables[5] = [[int(kind), 0, 0]]

    [message] = decoded(pack(tables))

    assert isinstance(message, Undecodable)
    assert f"a {kind.name.lower()} can not be one" in message.reason


# ---- what is no frame ----------------------------------------------------------------------------


def at(path: tuple[int, ...], value: object) -> bytes:
    """The frame of three tells with this value at this place in its tables."""

    def change(tables: Any) -> None:
        for index in path[:-1]:
            tables = tables[index]
        tables[path[-1]] = value

    return frame(change)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (pack([1])[:-1], "not msgpack"),
        (pack([1]) + b"\x00", "not msgpack"),
        (b"\x91" * 5_000 + b"\x00", "not msgpack"),
        (b"\xdd\xff\xff\xff\xff" * 50, "not msgpack"),
        (pack({"a": 1}), "of version"),
        (pack([2, *[[]] * 10]), "of version 2; this end reads version 1"),
        (pack([1, *[[]] * 9]), "of version 1"),
        (at((1,), []), "damaged"),
        (at((1, 0), 5), "damaged"),
        (at((2, 0, 2), None), "damaged"),
        (at((2, 0, 3), "desk"), "damaged"),
        (at((2, 0, 3), [1]), "damaged"),
        (at((2, 0, 1), "7"), "damaged"),
        (at((3,), [-1, ""]), "damaged"),
        (at((3,), [0]), "damaged"),
        (at((4, 0), [NOTE, ["text", "n"], [["x"], [1]]]), "damaged"),
        (at((4, 0), [NOTE, ["text", 7], [["x"] * 3, [1] * 3]]), "damaged"),
        (at((4, 0, 0), 5), "damaged"),
        (at((5, 0), [99, 0, 0]), "damaged"),
        (at((5, 0), [-1, 0, 0]), "damaged"),
        (at((5, 0), [0, 9, 0]), "damaged"),
        (at((5, 0), [0, 0, 0, 1, None, None]), "damaged"),
        (at((6,), [0, 1, 1]), "damaged"),
        (at((6,), [0, 3, 1, 0]), "damaged"),
        (at((6,), [0, 4]), "damaged"),
        (at((6,), [0, 2**40]), "damaged"),
        (at((7,), [0, 2]), "damaged"),
        (at((7,), [0, 4]), "damaged"),
        (at((8,), [1]), "damaged"),
        (at((9,), ["soon"]), "damaged"),
    ],
)
def test_bytes_that_are_no_frame_are_refused_as_a_whole(payload: bytes, complaint: str) -> None:
    with pytest.raises(CodecError, match=complaint):
        codec_at().decode(payload)


def test_a_frame_beyond_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = codec_at().encode(FRAMES["tells"])
    monkeypatch.setattr(codec_module, "MAX_FRAME_BYTES", len(payload) - 1)

    with pytest.raises(CodecError, match="the limit is"):
        codec_at().decode(payload)
