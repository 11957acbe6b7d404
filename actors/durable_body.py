"""Messages, replies and step results as the bytes that the journal keeps: frames of the links' codec."""

from __future__ import annotations

import hashlib
from typing import NoReturn

from regrow.runtime.address import ActorId, Address
from regrow.runtime.codec import FrameCodec, Undecodable
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.errors import CodeNotImportable
from regrow.runtime.message import Message

_NOBODY = ActorId("-")


def body_of(codec: FrameCodec, envelope: Envelope, beside: Message | None = None) -> bytes:
    """A message with who sent it, and whether its answer is read in parts; without who waits for it.

    That is over when this is read. `beside` is what goes with it, such as the time of a reminder.
    """
    lasting = envelope.origin.lasting()
    row = Envelope(Kind.TELL, envelope.receiver, envelope.message, lasting, window=envelope.window)
    if beside is None:
        return codec.encode([row])
    return codec.encode([row, Envelope(Kind.NOTICE, envelope.receiver, beside, lasting)])


def envelope_of(codec: FrameCodec, body: bytes) -> Envelope:
    """The message that `body_of` kept; an Undecodable where its class is not known here any more."""
    return with_beside(codec, body)[0]


def with_beside(codec: FrameCodec, body: bytes) -> tuple[Envelope, object]:
    """The same, and what goes with it or None."""
    envelope, *more = codec.decode(body)
    return envelope, more[0].message if more else None


def packed(codec: FrameCodec, value: object, *, parts: int = 0, by: str = "") -> bytes:
    """Any value that can travel, in how many parts it was emitted, and by whom it is, where that counts.

    Raises InvalidMessage for one that can not travel.
    """
    if value is None and not parts:
        return _NOTHING
    codec.check(value)
    rows = [Envelope(Kind.REPLY, _NOBODY, value, Origin(principal=by))]
    if parts:
        rows.append(Envelope(Kind.REPLY, _NOBODY, parts, Origin()))
    return codec.encode(rows)


def parts_of(codec: FrameCodec, content: bytes) -> int:
    """In how many parts a reply was emitted that `packed` kept."""
    _, *more = codec.decode(content)
    return int(str(more[0].message)) if more else 0


def whose(codec: FrameCodec, content: bytes) -> str:
    """By whom a value is that `packed` kept; empty where nobody has said."""
    return codec.decode(content)[0].origin.principal


def unpacked(codec: FrameCodec, content: bytes) -> object:
    """The value that `packed` kept. Raises CodeNotImportable where its class is not known here any more."""
    envelope, *_ = codec.decode(content)
    if isinstance(envelope.message, Undecodable):
        raise CodeNotImportable(f"{envelope.message.type_name} could not be read ({envelope.message.reason})")
    return envelope.message


def _no_ref(address: Address) -> NoReturn:
    raise AssertionError(f"nothing that is packed at import holds a ref, as to {address}")


_NOTHING = FrameCodec(_no_ref, float).encode([Envelope(Kind.REPLY, _NOBODY, None, Origin())])
"""What most turns reply; it is the same each time."""


def digest(content: bytes) -> str:
    """What tells one set of arguments from another."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
