"""The bytes of a link: packets, the frames in them, and what is wrong with a bad one.

A packet is msgpack, never pickle, so that any version of either end can refuse it with a reason:

    packet  = [version, from_life, to_life, ack, [[frame_no, payload], …]]
    payload = [prompt, n_rows, rows, control]        itself packed, so a frame is packed once however often it is sent
    control = nil or [settled, handled, handled_rows, room, reopen, want]

`ack` is the highest frame of the other direction that was delivered in order. `rows` is what the codec made of the
frame's rows. The control rows are:

    settled       frame_no (all its rows were taken), or [frame_no, index, outcome, index, outcome, …] for the others
    handled       [first, last]: every taken row of the frames first..last has been handled
    handled_rows  [frame_no, index, index, …]: these rows have been handled, others of the frame not yet
    room          [receiver, n]: the receiver has room for about n rows that wait for it
    reopen        receiver: rows for it come again, from this frame on; none sent earlier is on its way
    want          receiver: more rows wait for it than were sent; tell when there is room

This module checks shapes and ranges; whether a number fits the state of a link is the link's to say.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias, cast

import msgpack

from regrow.runtime.errors import WorldBroke
from regrow.runtime.outcome import Outcome

Receiver: TypeAlias = str | bytes | int
"""The key of a row's receiver: it is compared, hashed and sent, and else means nothing to a link."""

VERSION = 1
MAX_FRAME_NO = 2**47
"""No link lives to number this many frames; a larger number is damage. Marks stay below 64 bits with it."""
ROW_BITS = 16
MAX_ROWS = 2**ROW_BITS
"""Rows of one frame, so that frame number and row index fit in one integer (the mark)."""


class LinkError(WorldBroke):
    """A packet that no right peer sends; nothing of it was applied.

    The other end runs another version or is damaged. Sending again will not help: end the link, with
    the verdict that the peer can not be talked to.
    """


_OUTCOMES = (
    Outcome.TAKEN,
    Outcome.FULL,
    Outcome.REJECTED,
    Outcome.NOT_HERE,
    Outcome.HELD,
    Outcome.TOO_LARGE,
)
"""What a host can say of a row that arrived, by number; the other outcomes are verdicts of the sender's side."""

Exceptions: TypeAlias = tuple[tuple[int, Outcome], ...]
"""The rows of a frame that were not simply taken: (index, outcome), ascending."""


class Control(NamedTuple):
    """The control rows of one frame, in the order in which they are applied; `want` after the frame's rows."""

    settled: tuple[tuple[int, Exceptions], ...] = ()
    handled: tuple[tuple[int, int], ...] = ()
    handled_rows: tuple[tuple[int, tuple[int, ...]], ...] = ()
    room: tuple[tuple[Receiver, int], ...] = ()
    reopen: tuple[Receiver, ...] = ()
    want: tuple[Receiver, ...] = ()


NO_CONTROL = Control()


class Frame(NamedTuple):
    """A frame as it arrived: `rows` still encoded, `prompt` if somebody waits for its Settled."""

    number: int
    prompt: bool
    n_rows: int
    rows: bytes
    control: Control


class Packet(NamedTuple):
    """A packet as it arrived, shapes and ranges checked."""

    from_life: str
    to_life: str
    ack: int
    frames: tuple[Frame, ...]


def pack_payload(*, prompt: bool, n_rows: int, rows: bytes, control: Control) -> bytes:
    """The payload of one frame."""
    return _packed((prompt, n_rows, rows, None if control == NO_CONTROL else _packable(control)))


def pack_packet(*, from_life: str, to_life: str, ack: int, frames: list[tuple[int, bytes]]) -> bytes:
    """A packet with these (number, payload) frames; none of them: a pure acknowledgement."""
    return _packed((VERSION, from_life, to_life, ack, frames))


def lives_of(packet: bytes) -> tuple[str, str]:
    """(from_life, to_life) of a packet without reading its frames, to find the link it belongs to.

    Raises: LinkError if this is no packet of our version.
    """
    unpacker = msgpack.Unpacker(use_list=False)
    unpacker.feed(packet)
    try:
        fields = unpacker.read_array_header()
        head = [unpacker.unpack() for _ in range(min(fields, 3))]
    except _BAD_BYTES as error:
        raise LinkError(f"a packet of {len(packet)} bytes is not msgpack: {error}") from error
    return _lives(tuple(head), fields)


def parse_packet(packet: bytes) -> Packet:
    """The packet with all its frames.

    Raises: LinkError naming the first thing that is wrong.
    """
    fields = _unpacked(packet, "a packet")
    if not isinstance(fields, tuple):
        raise LinkError(f"a packet holds {type(fields).__name__} instead of an array")
    from_life, to_life = _lives(fields, len(fields))
    _, _, _, ack, frames = fields
    return Packet(
        from_life,
        to_life,
        _number(ack, "ack", 0, MAX_FRAME_NO),
        tuple([_frame(entry) for entry in _array(frames, "frames")]),
    )


# msgpack reports damage by ValueError and its own UnpackException; TypeError is a map key that can not be hashed.
_BAD_BYTES = (ValueError, TypeError, msgpack.exceptions.UnpackException)


def _packed(value: object) -> bytes:
    return cast(bytes, msgpack.packb(value))  # None only for a Packer without autoreset


def _unpacked(packed: bytes, what: str) -> object:
    try:
        value: object = msgpack.unpackb(packed, use_list=False)
    except _BAD_BYTES as error:
        raise LinkError(f"{what} of {len(packed)} bytes is not msgpack: {error}") from error
    return value


def _lives(head: tuple[Any, ...], fields: int) -> tuple[str, str]:
    if not head or head[0] != VERSION or isinstance(head[0], bool):
        raise LinkError(f"a packet of version {head[0] if head else None!r}; this end speaks version {VERSION}")
    if fields != 5:
        raise LinkError(f"a packet of {fields} fields instead of 5")
    from_life, to_life = head[1], head[2]
    if not isinstance(from_life, str) or not isinstance(to_life, str):
        raise LinkError(f"a packet between lives {from_life!r} and {to_life!r}, which are not texts")
    return from_life, to_life


def _frame(entry: object) -> Frame:
    number_payload = _array(entry, "a frame", 2)
    number = _number(number_payload[0], "frame number", 1, MAX_FRAME_NO)
    payload = number_payload[1]
    if not isinstance(payload, bytes):
        raise LinkError(f"frame {number} holds {type(payload).__name__} instead of bytes")
    prompt, n_rows, rows, control = _array(_unpacked(payload, f"frame {number}"), f"frame {number}", 4)
    if not isinstance(prompt, bool) or not isinstance(rows, bytes):
        raise LinkError(f"frame {number} has flag {prompt!r} and rows of type {type(rows).__name__}")
    return Frame(
        number,
        prompt,
        _number(n_rows, f"row count of frame {number}", 0, MAX_ROWS),
        rows,
        NO_CONTROL if control is None else _control(control),
    )


def _packable(control: Control) -> tuple[object, ...]:
    settled = [
        number if not exceptions else (number, *[part for exception in exceptions for part in exception])
        for number, exceptions in control.settled
    ]
    handled_rows = [(number, *indices) for number, indices in control.handled_rows]
    return (settled, control.handled, handled_rows, control.room, control.reopen, control.want)


def _control(value: object) -> Control:
    settled, handled, handled_rows, room, reopen, want = _array(value, "control", 6)
    return Control(
        settled=tuple([_settled(entry) for entry in _array(settled, "settled")]),
        handled=tuple([_range(entry) for entry in _array(handled, "handled")]),
        handled_rows=tuple([_rows_of_frame(entry) for entry in _array(handled_rows, "handled_rows")]),
        room=tuple([_room(entry) for entry in _array(room, "room")]),
        reopen=tuple([_receiver(entry) for entry in _array(reopen, "reopen")]),
        want=tuple([_receiver(entry) for entry in _array(want, "want")]),
    )


def _settled(entry: object) -> tuple[int, Exceptions]:
    if isinstance(entry, int):
        return _number(entry, "settled frame", 1, MAX_FRAME_NO), ()
    number, *flat = _array(entry, "settled") or (None,)
    if len(flat) % 2 or not flat:
        raise LinkError(f"settled frame {number!r} with {len(flat)} numbers, which are no pairs of row and outcome")
    exceptions: list[tuple[int, Outcome]] = []
    previous = -1
    for index, outcome in zip(flat[::2], flat[1::2], strict=True):
        previous = _number(index, "settled row", previous + 1, MAX_ROWS - 1)
        exceptions.append((previous, _OUTCOMES[_number(outcome, "outcome", 1, len(_OUTCOMES) - 1)]))
    return _number(number, "settled frame", 1, MAX_FRAME_NO), tuple(exceptions)


def _range(entry: object) -> tuple[int, int]:
    first, last = _array(entry, "handled", 2)
    first = _number(first, "first handled frame", 1, MAX_FRAME_NO)
    return first, _number(last, "last handled frame", first, MAX_FRAME_NO)


def _rows_of_frame(entry: object) -> tuple[int, tuple[int, ...]]:
    number, *indices = _array(entry, "handled_rows") or (None,)
    return (
        _number(number, "partly handled frame", 1, MAX_FRAME_NO),
        tuple([_number(index, "handled row", 0, MAX_ROWS - 1) for index in indices]),
    )


def _room(entry: object) -> tuple[Receiver, int]:
    receiver, rows = _array(entry, "room", 2)
    return _receiver(receiver), _number(rows, "room", 1, MAX_FRAME_NO)


def _array(value: object, what: str, length: int | None = None) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        raise LinkError(f"{what} is {type(value).__name__} instead of an array")
    if length is not None and len(value) != length:
        raise LinkError(f"{what} has {len(value)} fields instead of {length}")
    return value


def _number(value: object, what: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise LinkError(f"{what} is {value!r}, not a number from {low} to {high}")
    return value


def _receiver(value: object) -> Receiver:
    if isinstance(value, bool) or not isinstance(value, (str, bytes, int)):
        raise LinkError(f"a receiver is {value!r}, not a text, bytes or number")
    return value
