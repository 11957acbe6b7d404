"""Frames: many envelopes as one msgpack value, never pickle. What repeats in a frame is sent once.

A frame is tables and columns. A head says what many rows have in common, and runs of heads give the order of the
rows. All messages of one type lie together, each field a column; they are taken in the order of their rows:

    frame = [version, receivers, stems, origins, types, heads, runs, origin_runs, ask_ids, deadlines, command_ids]

    receivers    [actor id, …]
    stems        [[sender, incarnation, principal, capability, hops, chain], …], and behind these two values more
                 where a turn has sent them: the run, and its last steps as numbers; and where that follows from
                 a timer, the tick
    origins      [stem, trace, stem, trace, …]
    types        [[module:qualname, [field, …], [column, …]], …]
                 [nil, [], [values]]                replies that are no Message (runtime/wire_values says how), and the
                                                    parts of streams, [first, bytes, wants, [part, …]] (see Batch)
                 ["", [], [names, reasons]]         messages that could not be written, and why
    heads        [[kind, receiver, type], …], or [kind, receiver, type, columns, reply host, incarnation], and behind
                 these two numbers more for an ask whose answer is streamed: the parts and bytes of its window
                 columns: 1 if the rows have an ask_id, + 2 a deadline, + 4 a command_id; + 8 if they may have run;
                 + 16 if each has, in front of its command_id, that of the row which it must not overtake
    runs         [head, rows, head, rows, …]
    origin_runs  [origin, rows, origin, rows, …]
    ask_ids      [number, …]                        one for each row whose head says so; so are the next two
    deadlines    [milliseconds left when the frame was written, …]
    command_ids  [text, …]

    tell a Note("x", 1)       receivers [a, b]      types [[m:Note, [text, n], [["x", "y", "z"], [1, 2, 3]]]]
    tell b Note("y", 2)   =   heads [[0, 0, 0], [0, 1, 0]]          runs [0, 1, 1, 2]
    tell b Note("z", 3)       stems [[desk/a, 7, me, nil, 1, []]]   origins [0, ""]     origin_runs [0, 3]

A plain tell so costs its values and a share of the tables, and one call validates all messages of a type, to
whomever they go. Fields stand with their names: a class may gain a field with a default while old senders live.
A row that means nothing here arrives with an `Undecodable` for a message; only a damaged frame is a CodecError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import msgpack
from pydantic import PydanticUserError

from regrow.runtime.address import Address
from regrow.runtime.envelope import Envelope
from regrow.runtime.errors import InvalidMessage
from regrow.runtime.link_wire import LinkError
from regrow.runtime.message import registered
from regrow.runtime.ref import ActorRef
from regrow.runtime.wire_forms import Reader, check
from regrow.runtime.wire_tables import (
    MAX_FRAME_ROWS,
    Head,
    Tables,
    all_of,
    one_of,
    read_origins,
    read_runs,
    written_off,
)
from regrow.runtime.wire_values import (
    MAX_KNOWN_CLASSES,
    UNWRITABLE,
    Reading,
    Undecodable,
    Unreadable,
    packable,
    packed,
    settled,
)

__all__ = ["CodecError", "FrameCodec", "Undecodable"]

VERSION = 1
MAX_FRAME_BYTES = 2**27
"""A larger frame is refused unread. A message for which there is no room in a frame arrives as Undecodable."""
MAX_KEPT_BUFFER_BYTES = 2**20
"""The packer's buffer grows with its largest frame; beyond this it is given back."""


class CodecError(LinkError):
    """Bytes that no right peer sends as a frame: the other end runs another version, or they are damaged."""


class FrameCodec:
    """Envelopes to bytes and back, for one thread of one process; `time` gives its monotonic seconds."""

    def __init__(self, ref_of: Callable[[Address], ActorRef], time: Callable[[], float]) -> None:
        self._ref_of = ref_of
        self._time = time
        self._readers: dict[tuple[str, tuple[str, ...]], Reader] = {}
        self._packer = _packer()

    def check(self, message: object) -> None:
        """Raises InvalidMessage, naming the field, when a message or reply can not travel."""
        check(message)

    def encode(self, envelopes: list[Envelope]) -> bytes:
        """The frame with these envelopes, in this order. Never raises for what one of them holds."""
        assert len(envelopes) <= MAX_FRAME_ROWS
        now = self._time()
        try:
            frame = self._pack(Tables(envelopes, now))
        except UNWRITABLE:
            frame = b""
        if not frame or len(frame) > MAX_FRAME_BYTES:
            frame = self._pack(Tables(written_off(envelopes), now))
        return frame

    def decode(self, payload: bytes) -> list[Envelope]:
        """The envelopes of a frame. Raises CodecError when the bytes are no frame."""
        reading = Reading(self._ref_of, self._read_nested)
        tables = _unpacked(payload, reading)
        try:
            return self._envelopes(reading, *tables)
        # What tables of wrong shapes raise below; a message never raises here, and becomes Undecodable.
        except (TypeError, ValueError, LookupError, OverflowError, StopIteration) as error:
            raise CodecError(f"a frame of {len(payload)} bytes is damaged: {error}") from error

    def _pack(self, tables: Tables) -> bytes:
        frame = [VERSION, *tables.frame()]
        try:
            content: bytes = self._packer.pack(frame)
        except UnicodeEncodeError:
            content = packed(frame)  # half a surrogate pair, as in cut-off JSON of a model: exact too, but slower
        if len(content) > MAX_KEPT_BUFFER_BYTES:
            self._packer = _packer()
        return content

    def _envelopes(
        self,
        reading: Reading,
        receivers: Any,
        stems: Any,
        origins: Any,
        types: Any,
        heads: Any,
        runs: Any,
        origin_runs: Any,
        ask_ids: Any,
        deadlines: Any,
        command_ids: Any,
    ) -> list[Envelope]:
        made_heads = [Head(receivers, *row) for row in heads]
        pairs = read_runs(runs)
        counts = [0] * len(types)
        for number, count in pairs:
            counts[made_heads[number].type] += count
        messages = [self._messages(reading, rows, *row) for row, rows in zip(types, counts, strict=True)]
        for head in made_heads:
            head.take(*messages[head.type])
        now = self._time()
        rare = (
            iter(all_of(int, ask_ids)),
            iter([now + left / 1000 for left in all_of(int, deadlines)]),
            iter(all_of(str, command_ids)),
        )
        of_rows = read_origins(stems, origins, read_runs(origin_runs))
        envelopes: list[Envelope] = []
        for number, count in pairs:
            head = made_heads[number]
            if count == 1 and head.plain:  # as in a tell to many; a run of its own would cost twice as much
                envelopes.append(Envelope(head.kind, head.receiver, next(head.messages), next(of_rows)))
            else:
                envelopes += head.envelopes(count, of_rows, rare)
        if len(envelopes) != sum(counts) or any(next(rest, None) is not None for rest in (of_rows, *rare)):
            raise ValueError("rows and columns do not end together")
        return envelopes

    def _messages(
        self, reading: Reading, rows: int, name: Any, fields: Any, columns: Any
    ) -> tuple[type | None, Iterator[object]]:
        """The class of these messages, None for raw values, and an iterator over them."""
        settle = reading.met_parts or reading.met_undecodable
        if name is None:
            (values,) = columns
            return None, iter([_raw(value) for value in values] if settle else values)
        if name == "":
            names, reasons = columns
            return Undecodable, map(Undecodable, all_of(str, names), all_of(str, reasons))
        reader = self._reader(name, fields)
        if isinstance(reader, Undecodable):
            return Undecodable, repeat(reader, rows)
        return reader.message_class, iter(reader.read(columns, rows, settle=settle))

    def _read_nested(self, name: str, fields: tuple[str, ...], values: tuple[object, ...]) -> object:
        reader = self._reader(name, fields)
        return reader if isinstance(reader, Undecodable) else reader.read_one(values)

    def _reader(self, name: str, fields: tuple[str, ...]) -> Reader | Undecodable:
        reader = self._readers.get((name, fields))
        if reader is None:
            message_class = registered(one_of(str, name))
            if message_class is None:
                return Undecodable(name, "no message class of this name is imported here")
            try:
                reader = Reader(message_class, all_of(str, fields))
            except (NameError, PydanticUserError, InvalidMessage) as error:
                return Undecodable(name, f"its class is not complete here: {error}")
            if len(self._readers) >= MAX_KNOWN_CLASSES:
                self._readers.clear()
            self._readers[name, fields] = reader
        return reader


def _packer() -> Any:
    return msgpack.Packer(default=packable, strict_types=True)


def _unpacked(payload: bytes, reading: Reading) -> tuple[Any, ...]:
    if len(payload) > MAX_FRAME_BYTES:
        raise CodecError(f"a frame of {len(payload)} bytes; the limit is {MAX_FRAME_BYTES}")
    try:
        # Walks over all of it and builds nothing: an array that claims more than there is must not be allocated.
        whole = msgpack.Unpacker(max_buffer_size=MAX_FRAME_BYTES)
        whole.feed(payload)
        whole.skip()
        frame: object = msgpack.unpackb(
            payload,
            use_list=False,
            strict_map_key=False,
            object_pairs_hook=reading.tagged,
            ext_hook=reading.ext,
            unicode_errors="surrogatepass",
        )
    # ValueError and UnpackException are how msgpack reports damage.
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError, OverflowError) as error:
        raise CodecError(f"a frame of {len(payload)} bytes is not msgpack: {error}") from error
    if type(frame) is not tuple or len(frame) != 11 or type(frame[0]) is not int or frame[0] != VERSION:
        version = frame[0] if type(frame) is tuple and frame else frame
        raise CodecError(f"a frame of version {version!r:.40}; this end reads version {VERSION}")
    return frame[1:]


def _raw(value: object) -> object:
    try:
        return settled(value, {})
    except (Unreadable, TypeError, RecursionError) as error:
        return Undecodable("a reply", str(error))
