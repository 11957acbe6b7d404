"""One value as bytes outside of any link: what waits for the process that knows its class.

It is the frame format of the links, so there is one codec and one versioning.
"""

from __future__ import annotations

import threading
import time

from regrow.runtime.address import ActorId, Address
from regrow.runtime.codec import FrameCodec, Undecodable
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.errors import CodeNotImportable
from regrow.runtime.message import Message
from regrow.runtime.ref import ActorRef
from regrow.runtime.wire_forms import check


class Opaque(Message):
    """A packed value on its way through a process that does not know its class."""

    packed: bytes


def pack(value: object) -> bytes:
    """Any codec value as bytes. Raises InvalidMessage when it is none."""
    check(value)
    return _of_thread.codec.encode([Envelope(Kind.REPLY, ActorId("-"), value, Origin())])


def unpack(packed: bytes) -> object:
    """What `pack` packed. Raises CodeNotImportable for a class that is unknown here."""
    [envelope] = _of_thread.codec.decode(packed)
    if isinstance(envelope.message, Undecodable):
        raise CodeNotImportable(f"{envelope.message.type_name} could not be read here ({envelope.message.reason})")
    return envelope.message


def opened(value: object) -> object:
    """The value itself, also if it came as an Opaque. Raises CodeNotImportable for a class that is unknown here."""
    return unpack(value.packed) if isinstance(value, Opaque) else value


def _no_ref(address: Address) -> ActorRef:
    raise CodeNotImportable(f"a ref to {address} can not stand in a config or an order; pass the id as text")


class _OfThread(threading.local):
    """A codec for each thread: a host packs answers on the thread of its cells and what it tells of itself on another,
    and of two that shared one, the bytes were mixed up now and then."""

    def __init__(self) -> None:
        self.codec = FrameCodec(_no_ref, time.monotonic)


_of_thread = _OfThread()
