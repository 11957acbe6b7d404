"""The bytes of a link: what they are, and that bad ones are refused with a reason and change nothing."""

from __future__ import annotations

import msgpack
import pytest

from regrow.runtime.link import LinkError, lives_of
from regrow.runtime.link_wire import Control, pack_packet, pack_payload, parse_packet
from regrow.runtime.outcome import Outcome
from tests.runtime.link_pair import Pair, states

CONTROL = Control(
    settled=((1, ()), (2, ((0, Outcome.FULL), (3, Outcome.NOT_HERE)))),
    handled=((1, 4), (6, 6)),
    handled_rows=((7, (0, 2)),),
    room=(("desk", 5),),
    reopen=("shop", 17),
    want=(b"key",),
)
GOLDEN = (
    "9501a3612331a362233203919207c43394c302c404726f777396920195020001030392920104920606919307000291"
    "92a46465736b0592a473686f701191c4036b6579"
)


def pack(value: object) -> bytes:
    packed: bytes | None = msgpack.packb(value)
    assert packed is not None
    return packed


LIVES: tuple[object, object] = ("a#1", "b#1")
ROW = pack([("x", "desk", True, False)])


def packet(*frames: object, ack: object = 0, version: object = 1, lives: tuple[object, object] = LIVES) -> bytes:
    return pack([version, *lives, ack, list(frames)])


def payload(*, rows: bytes = b"", n_rows: object = 0, prompt: object = False, control: object = None) -> bytes:
    return pack([prompt, n_rows, rows, control])


def control(**given: object) -> bytes:
    names = ("settled", "handled", "handled_rows", "room", "reopen", "want")
    return payload(control=[given.get(name, []) for name in names])


def test_the_format_of_version_1_does_not_change() -> None:
    packed = pack_packet(
        from_life="a#1",
        to_life="b#2",
        ack=3,
        frames=[(7, pack_payload(prompt=True, n_rows=2, rows=b"rows", control=CONTROL))],
    )

    assert packed.hex() == GOLDEN


def test_a_packet_reads_as_it_was_written() -> None:
    read = parse_packet(bytes.fromhex(GOLDEN))

    (frame,) = read.frames
    assert (read.from_life, read.to_life, read.ack) == ("a#1", "b#2", 3)
    assert (frame.number, frame.prompt, frame.n_rows, frame.rows) == (7, True, 2, b"rows")
    assert frame.control == CONTROL


def test_the_lives_of_a_packet_are_known_without_reading_its_frames() -> None:
    assert lives_of(bytes.fromhex(GOLDEN)) == ("a#1", "b#2")
    assert lives_of(packet("no frame")) == ("a#1", "b#1")


@pytest.mark.parametrize("packed", [b"", b"\xc1", pack(7), packet(version=2), packet(lives=("a#1", 2)), pack([1, "a"])])
def test_lives_of_what_is_no_packet_are_an_error(packed: bytes) -> None:
    with pytest.raises(LinkError):
        lives_of(packed)


BAD = {
    "nothing at all": (b"", "is not msgpack"),
    "no msgpack": (b"\xc1\xff", "is not msgpack"),
    "cut short": (packet()[:-1], "is not msgpack"),
    "more behind": (packet() + b"\x00", "is not msgpack"),
    "no array": (pack({"a": 1}), "a packet holds dict"),
    "another version": (packet(version=2), "version 2; this end speaks version 1"),
    "true is no version": (packet(version=True), "version True"),
    "missing fields": (pack([1, "a#1", "b#1", 0]), "4 fields instead of 5"),
    "a life of no text": (packet(lives=("a#1", 7)), "not texts"),
    "a negative ack": (packet(ack=-1), "ack is -1"),
    "an ack of no number": (packet(ack="1"), "ack is '1'"),
    "an ack of what was never sent": (packet(ack=9), "frame 9 is acknowledged; only 1"),
    "frames of no array": (pack([1, "a#1", "b#1", 0, 5]), "frames is int"),
    "frame number 0": (packet([0, payload()]), "frame number is 0"),
    "an absurd frame number": (packet([2**60, payload()]), "frame number is 1152921504606846976"),
    "a frame of three": (packet([1, payload(), 3]), "a frame has 3 fields"),
    "a payload of text": (packet([1, "text"]), "frame 1 holds str"),
    "a payload of no msgpack": (packet([1, b"\xc1"]), "frame 1 of 1 bytes is not msgpack"),
    "a payload too short": (packet([1, pack([True])]), "frame 1 has 1 fields"),
    "a flag of no truth": (packet([1, payload(prompt=3)]), "flag 3"),
    "a negative row count": (packet([1, payload(n_rows=-1)]), "row count of frame 1 is -1"),
    "an absurd row count": (packet([1, payload(n_rows=2**40)]), "row count of frame 1"),
    "other rows than announced": (packet([1, payload(n_rows=2, rows=ROW)]), "announced 2"),
    "control of no array": (packet([1, payload(control=5)]), "control is int"),
    "control too short": (packet([1, payload(control=[[]])]), "control has 1 fields"),
    "settled of nothing": (packet([1, control(settled=[[]])]), "no pairs"),
    "settled without outcome": (packet([1, control(settled=[[1, 0]])]), "no pairs"),
    "settled rows out of order": (packet([1, control(settled=[[1, 1, 1, 0, 1]])]), "settled row is 0"),
    "an unknown outcome": (packet([1, control(settled=[[1, 0, 6]])]), "outcome is 6"),
    "settled before its turn": (packet([1, control(settled=[2])]), "frame 2 is settled; the next to be settled is 1"),
    "settled twice": (packet([1, control(settled=[1, 1])]), "frame 1 is settled; the next to be settled is None"),
    "settled row that was not sent": (packet([1, control(settled=[[1, 5, 2]])]), "row 5 of frame 1"),
    "system row refused as full": (packet([1, control(settled=[[1, 1, 1]])]), "needs no room"),
    "handled before settled": (packet([1, control(handled=[[1, 1]])]), "frame 1 is handled"),
    "handled backwards": (packet([1, control(handled=[[3, 1]])]), "last handled frame is 1"),
    "handled rows of nothing": (packet([1, control(handled_rows=[[]])]), "partly handled frame is None"),
    "no room": (packet([1, control(room=[["desk", 0]])]), "room is 0"),
    "a receiver that is no key": (packet([1, control(reopen=[[1, 2]])]), "a receiver is"),
    "a bad frame behind a good one": (
        packet([1, payload(n_rows=1, rows=ROW)], [2, control(settled=[2])]),
        "frame 2 is settled",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_packet_is_refused_with_its_reason_and_changes_nothing(name: str) -> None:
    packed, reason = BAD[name]
    pair = Pair()
    pair.b.send("to a")
    pair.b.send("system", needs_room=False)
    pair.b.polled(0.0)

    with pytest.raises(LinkError, match=reason):
        pair.b.link.receive(0.0, packed)

    assert pair.b.got == []
    assert parse_packet(pair.b.link.answer(0.0)).ack == 0
    assert len(states(pair.b.link.close())) == 2
