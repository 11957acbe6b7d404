"""The tables and columns of a frame, in the making and as they are read; `runtime.codec` tells the format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any, TypeAlias

from regrow.runtime.address import ActorId, Address, HostId, Incarnation
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.errors import Misuse
from regrow.runtime.immutable import wire_name
from regrow.runtime.message import Message, Request
from regrow.runtime.signals import Failure
from regrow.runtime.stream_window import Window
from regrow.runtime.wire_forms import MAX_REASON_CHARS, form_of
from regrow.runtime.wire_values import UNWRITABLE, Undecodable, packed, raw

MAX_FRAME_ROWS = 2**16

ASK_ID, DEADLINE, COMMAND_ID = 1, 2, 4
"""The columns in which the rows of a head have a value."""
MAY_HAVE_RUN = 8
"""Beside them: the rows are sent again since their receiver's process died. It needs no column."""
BEHIND = 16
"""The rows must not overtake others: the ids of those stand in the column of command ids, each in front of its own."""
MAX_BODIES_BYTES = 2**26
"""What the messages of one frame may take together, once the frame was found too large."""
MAX_REMAINING_MS = 10 * 365 * 86_400_000
"""Ten years, for deadlines that mean none."""


# ---- to the wire ---------------------------------------------------------------------------------


class WrittenOff:
    """In place of a message that can not be written; it arrives as Undecodable, so that somebody answers for it."""

    __slots__ = ("reason", "type_name")

    def __init__(self, type_name: str, reason: str) -> None:
        self.type_name = type_name
        self.reason = reason[:MAX_REASON_CHARS]


class Tables:
    """The tables of a frame with these envelopes. `now` is the time from which deadlines are counted."""

    def __init__(self, envelopes: Sequence[Envelope], now: float) -> None:
        self._now = now
        self._receivers: dict[str, int] = {}
        self._stems: dict[tuple[Any, ...], int] = {}
        self._origins: dict[tuple[int, str], int] = {}
        self._known_origins: dict[Origin, int] = {}
        self._types: dict[type | None, tuple[int, list[Any]]] = {}
        self._heads: dict[tuple[Any, ...], tuple[int, list[Any]]] = {}
        self._head_rows: list[list[object]] = []
        self._runs: list[int] = []
        self._origin_runs: list[int] = []
        self._ask_ids: list[int] = []
        self._deadlines: list[int] = []
        self._command_ids: list[str] = []
        self._add(envelopes)

    def frame(self) -> list[object]:
        """All of them, in the order of the format, made of nothing but what msgpack writes itself."""
        return [
            list(self._receivers),
            [_stem_row(*stem) for stem in self._stems],
            [part for origin in self._origins for part in origin],
            [_type_row(cls, messages) for cls, (_, messages) in self._types.items()],
            self._head_rows,
            self._runs,
            self._origin_runs,
            self._ask_ids,
            self._deadlines,
            self._command_ids,
        ]

    def _add(self, envelopes: Sequence[Envelope]) -> None:
        runs, ask_ids, deadlines, now = self._runs, self._ask_ids, self._deadlines, self._now
        origin: Origin | None = None
        cls = kind = receiver = host = life = columns = window = None  # of the row before
        messages: list[Any] = []
        for envelope in envelopes:
            has = 0
            if envelope.ask_id:
                has = ASK_ID
                ask_ids.append(envelope.ask_id)
            if envelope.deadline is not None:
                has |= DEADLINE
                left_ms = (envelope.deadline - now) * 1000
                deadlines.append(int(min(left_ms, MAX_REMAINING_MS)) if left_ms > 0 else 0)
            if envelope.command_id is not None:
                has |= COMMAND_ID
                if envelope.behind is not None:
                    has |= BEHIND
                    self._command_ids.append(envelope.behind)
                self._command_ids.append(envelope.command_id)
            if envelope.may_have_run:
                has |= MAY_HAVE_RUN
            if envelope.origin is origin:
                self._origin_runs[-1] += 1
            else:
                origin = envelope.origin
                _run_on(self._origin_runs, self._origin(origin))
            message = envelope.message
            if (
                type(message) is cls
                and envelope.kind is kind
                and envelope.receiver == receiver
                and has == columns
                and envelope.reply_host == host
                and envelope.incarnation == life
                and envelope.window is window
            ):
                runs[-1] += 1
                messages.append(message)
                continue
            key = kind, receiver, cls, columns, host, life, window = (
                envelope.kind,
                envelope.receiver,
                type(message),
                has,
                envelope.reply_host,
                envelope.incarnation,
                envelope.window,
            )
            number, messages = self._heads.get(key) or self._new_head(key)
            messages.append(message)
            _run_on(runs, number)

    def _new_head(self, key: tuple[Any, ...]) -> tuple[int, list[Any]]:
        kind, receiver, cls, *rare, window = key
        of = cls if issubclass(cls, Message | WrittenOff) else None
        number, messages = self._types.setdefault(of, (len(self._types), []))
        row: list[object] = [int(kind), self._receivers.setdefault(receiver, len(self._receivers)), number]
        if window is not None:
            rare += [window.parts, window.size_bytes]
        self._head_rows.append(row + rare if rare != [0, None, None] else row)
        head = self._heads[key] = len(self._heads), messages
        return head

    def _origin(self, origin: Origin) -> int:
        number = self._known_origins.get(origin)
        if number is None:
            sender = origin.sender
            who = (None, None) if sender is None else (sender.actor, sender.incarnation)
            of_run = (origin.run, origin.steps, origin.tick)
            stem = (*who, origin.principal, origin.capability, origin.hops, origin.chain, *of_run)
            key = self._stems.setdefault(stem, len(self._stems)), origin.trace
            number = self._known_origins[origin] = self._origins.setdefault(key, len(self._origins))
        return number


def _run_on(runs: list[int], number: int) -> None:
    """One more row of this number."""
    if runs and runs[-2] == number:
        runs[-1] += 1
    else:
        runs += (number, 1)


def written_off(envelopes: Sequence[Envelope]) -> list[Envelope]:
    """The same envelopes, with a WrittenOff in place of each message that can not be written or has no room left."""
    room = MAX_BODIES_BYTES
    kept: list[Envelope] = []
    for envelope in envelopes:
        message = envelope.message
        try:
            size = len(packed(raw(message)))
        except UNWRITABLE as error:
            message = WrittenOff(wire_name(type(message)), f"it could not be written: {error}")
        else:
            if size > room:
                message = WrittenOff(wire_name(type(message)), f"it has {size} bytes, and its frame room for {room}")
            else:
                room -= size
        kept.append(
            Envelope(
                envelope.kind,
                envelope.receiver,
                message,
                envelope.origin,
                envelope.deadline,
                envelope.ask_id,
                envelope.reply_host,
                envelope.incarnation,
                envelope.command_id,
                envelope.may_have_run,
                envelope.window,
                envelope.behind,
            )
        )
    return kept


def _stem_row(
    sender: str | None,
    incarnation: int | None,
    principal: str,
    capability: Any,
    hops: int,
    chain: Any,
    run: str,
    steps: Any,
    tick: str,
) -> list[object]:
    reach = None if capability is None else list(capability)
    row: list[object] = [sender, incarnation, principal, reach, hops, list(chain)]
    if tick:
        return [*row, run, list(steps), tick]
    return [*row, run, list(steps)] if run or steps else row


def _type_row(cls: Any, messages: list[Any]) -> list[object]:
    if cls is None:
        return [None, [], [[raw(message) for message in messages]]]
    if cls is WrittenOff:
        return ["", [], [[message.type_name for message in messages], [message.reason for message in messages]]]
    form = form_of(cls)
    return [form.name, list(form.fields), form.columns(messages)]


# ---- from the wire -------------------------------------------------------------------------------

Rare: TypeAlias = tuple[Iterator[Any], Iterator[Any], Iterator[Any]]
"""Ask ids, deadlines as local time, and command ids of the rows that are still to come."""

_KINDS = tuple(Kind)


class Head:
    """A head as it was read: what its rows have in common."""

    __slots__ = ("columns", "host", "incarnation", "kind", "messages", "plain", "receiver", "type", "window")

    def __init__(
        self,
        receivers: Any,
        kind: int,
        receiver: int,
        of_type: int,
        columns: int = 0,
        host: str | None = None,
        incarnation: int | None = None,
        *window: int,
    ) -> None:
        if min(kind, receiver, of_type) < 0:
            raise ValueError("a number below 0")  # which Python would count from the end
        self.kind = _KINDS[kind]
        self.receiver = ActorId(one_of(str, receivers[receiver]))
        self.type = of_type
        self.columns = one_of(int, columns)
        self.host = None if host is None else HostId(one_of(str, host))
        self.incarnation = None if incarnation is None else Incarnation(one_of(int, incarnation))
        self.window = _window(*all_of(int, window)) if window else None
        self.plain = not columns and host is None and incarnation is None and self.window is None
        self.messages: Iterator[object] = iter(())

    def take(self, cls: type | None, messages: Iterator[object]) -> None:
        """Takes its messages from this iterator, which heads of the same type share."""
        self.messages = messages if _fits(self.kind, cls) else map(self._misfit, messages)

    def envelopes(self, count: int, origins: Iterator[Origin], rare: Rare) -> list[Envelope]:
        """Its next rows; fewer where a column is too short."""
        kind, receiver = self.kind, self.receiver
        messages = islice(self.messages, count)
        if self.plain:
            return [
                Envelope(kind, receiver, message, origin) for message, origin in zip(messages, origins, strict=False)
            ]
        host, life, window = self.host, self.incarnation, self.window
        may_have_run = bool(self.columns & MAY_HAVE_RUN)
        ask_ids, deadlines, command_ids = rare
        rows = zip(
            messages,
            origins,
            deadlines if self.columns & DEADLINE else repeat(None),
            ask_ids if self.columns & ASK_ID else repeat(0),
            command_ids if self.columns & BEHIND else repeat(None),
            command_ids if self.columns & COMMAND_ID else repeat(None),
            strict=False,
        )
        return [
            Envelope(
                kind, receiver, message, origin, deadline, ask_id, host, life, command_id, may_have_run, window, behind
            )
            for message, origin, deadline, ask_id, behind, command_id in rows
        ]

    def _misfit(self, message: object) -> Undecodable:
        if isinstance(message, Undecodable):
            return message
        return Undecodable(wire_name(type(message)), f"a {self.kind.name.lower()} can not be one")


def _window(parts: int, size_bytes: int) -> Window:
    try:
        return Window(parts, size_bytes)
    except Misuse as error:
        raise ValueError(str(error)) from error


def _fits(kind: Kind, cls: type | None) -> bool:
    """Whether a row of this kind may carry messages of this class; the runtime relies on it."""
    if kind is Kind.REPLY or cls is Undecodable:
        return True
    if cls is None or kind is Kind.PART:
        return kind is Kind.PART and cls is None
    if kind is Kind.ASK:
        return issubclass(cls, Request)
    if kind is Kind.FAILURE:
        return issubclass(cls, Failure)
    if kind is Kind.SIGNAL:
        return cls.__module__.startswith("regrow.runtime.")
    return True


def read_runs(flat: Any) -> list[tuple[int, int]]:
    counts = all_of(int, flat)[1::2]
    if len(flat) % 2 or (flat and min(flat) < 0) or 0 in counts or sum(counts) > MAX_FRAME_ROWS:
        raise ValueError(f"runs of {sum(counts)} rows; from 1 each to {MAX_FRAME_ROWS} together may be")
    return list(zip(flat[::2], counts, strict=True))


def read_origins(stems: Any, origins: Any, runs: list[tuple[int, int]]) -> Iterator[Origin]:
    """The origin of each row."""
    made_stems = [_stem(*stem) for stem in stems]
    numbers, traces = all_of(int, origins[::2]), all_of(str, origins[1::2])
    if min(numbers, default=0) < 0:
        raise ValueError("a stem below 0")
    made = [_origin(made_stems[number], trace) for number, trace in zip(numbers, traces, strict=True)]
    return chain.from_iterable([repeat(made[number], rows) for number, rows in runs])


def _stem(
    sender: Any,
    incarnation: Any,
    principal: Any,
    capability: Any,
    hops: Any,
    callers: Any,
    run: Any = "",
    steps: Any = (),
    tick: Any = "",
) -> Origin:
    if incarnation is not None:
        one_of(int, incarnation)
    return Origin(
        sender=None if sender is None else Address(ActorId(one_of(str, sender)), incarnation),
        principal=one_of(str, principal),
        capability=None if capability is None else all_of(str, capability),
        hops=one_of(int, hops),
        chain=all_of(str, callers),
        run=one_of(str, run),
        steps=all_of(int, steps),
        tick=one_of(str, tick),
    )


def _origin(stem: Origin, trace: str) -> Origin:
    return stem.under(trace) if trace else stem


def one_of(cls: type, value: Any) -> Any:
    if type(value) is not cls:
        raise TypeError(f"{value!r:.40} in place of a {cls.__name__}")
    return value


def all_of(cls: type, values: Any) -> Any:
    """The array itself, if it is one of such values only."""
    if type(values) is not tuple or not {cls}.issuperset(map(type, values)):
        raise TypeError(f"something else in an array of {cls.__name__}")
    return values
