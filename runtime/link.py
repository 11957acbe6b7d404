"""The link between two host lives: both directions of it, as one pure state machine.

Nothing here waits, sends, reads a clock or rolls a die: the time `now` is handed in, packets come and go as
bytes, and a transport carries them as Ray calls and their returns. Such calls overtake each other, fail although
they were executed, and cost about half a millisecond each; so frames are numbered, sent again until they are
acknowledged, put into order by who receives them, and made large when calls are in flight.

    A (calls)                                                    B (answers)
    send a1 ── poll ──► call 1 [frame 1: a1] ───────────────────► deliver a1
    send a2, a3, a4: a call is in flight, so they gather                 │ answer
    ◄────────────── return 1 [ack 1, frame 1: settled 1] ────────────────┘
    poll ─────────────► call 2 [ack 1, frame 2: a2 a3 a4] ──────► a2 taken, a3's mailbox is full: refused, and so is
    ◄──── return 2 [ack 2, frame 2: settled 2 but a3, a4] ──────── a4, which is for the same receiver; others pass
    a3, a4 wait in A; what is sent to that receiver waits behind them      …
    ◄──────────────── call [frame 3: room for that receiver] ───── its mailbox is read
    poll ─────────────► call 3 [frame 3: reopen, a3 a4] ────────► a3 and a4 are delivered, in order

Everything but the cumulative `ack` travels in numbered frames, so nothing is lost, doubled or overtaken; a frame of
reports is acknowledged like any other, but at leisure, and an acknowledgement is never acknowledged: two links with
nothing to say fall silent. A new life of either end is a new link, and packets of another life are ignored.

Reading order: `link_wire` (the bytes), `link_rows` (rows, settings, ports), this file, `link_outgoing`,
`link_waiting`, `link_calls`, `link_incoming`. SEMANTICS 3 (order) and 5 (backpressure).
"""

from __future__ import annotations

from typing import Generic

from regrow.runtime.errors import Closed
from regrow.runtime.link_calls import Calls, backoff
from regrow.runtime.link_incoming import Incoming
from regrow.runtime.link_outgoing import Outgoing, SentFrame
from regrow.runtime.link_rows import Call, LinkPorts, LinkSettings, Remains, Row, RowState, RowT
from regrow.runtime.link_wire import LinkError, Receiver, lives_of, pack_packet, parse_packet
from regrow.runtime.outcome import Outcome

__all__ = [
    "Call",
    "Link",
    "LinkError",
    "LinkPorts",
    "LinkSettings",
    "Outcome",
    "Receiver",
    "Remains",
    "Row",
    "RowState",
    "lives_of",
]

# How many unsent rows wake the transport. In between: a full frame, while a call is in flight.
_ROW_ONLY = 0  # a return is held for a reply, and a mere report must not end that
_ANYTHING = 1  # idle
_NOTHING = 2**62  # somebody will poll anyway


class Link(Generic[RowT]):
    """One end of a link. The transport's loop, after anything happened (also `wake`, and the time `next_due`):

        while (call := link.poll(now)) is not None:
            start a Ray call with call.packet; end it with call_returned(…) or call_failed(…), always
        arm one timer for link.next_due()

    and for a call of the peer: `receive`, then return `answer`. Where the peer can not be called, it keeps a
    listen call pending here: `peer_listens`, then `poll_answer` until there is something to return.
    A link has no locks: all calls come from one thread.
    """

    def __init__(
        self,
        *,
        our_life: str,
        peer_life: str,
        ports: LinkPorts[RowT],
        settings: LinkSettings | None = None,
        can_call: bool = True,
    ) -> None:
        self.our_life = our_life
        self.peer_life = peer_life
        self.can_call = can_call
        self.is_closed = False
        self._settings = settings or LinkSettings()
        self._out: Outgoing[RowT] = Outgoing(
            self._settings, encode=ports.encode, tell_settled=ports.settled, relieved=ports.relieved
        )
        self._in: Incoming[RowT] = Incoming(
            decode=ports.decode,
            deliver=ports.deliver,
            wants_room=ports.wants_room,
            max_early=self._settings.max_early_frames,
            prompt_after=self._settings.prompt_after_frames,
        )
        self._max_in_flight = self._settings.max_calls_in_flight
        self._wake = ports.wake
        self._wake_at = _ANYTHING
        self._calls: Calls[RowT] = Calls(self._settings)
        self._is_listening = False
        # The last frame of the peer that a packet of ours acknowledged.
        self._acked = 0
        # When what can wait must leave: an acknowledgement, reports of settled rows, reports of handled rows.
        self._ack_due_s: float | None = None
        self._settled_due_s: float | None = None
        self._handled_due_s: float | None = None

    # ---- rows ----------------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether `send` takes a row that needs room, unless its receiver is blocked."""
        return self._out.has_room

    def has_room_for(self, receiver: Receiver) -> bool:
        """Whether `send` takes a row that needs room for this receiver."""
        return self._out.has_room_for(receiver)

    @property
    def is_delivered(self) -> bool:
        """Whether the peer has acknowledged all rows and reports but those that wait for room there."""
        out = self._out
        return self.is_closed or not (out.unsent or out.unacked or self._in.marks or self._in.has_settled)

    def send(self, row: RowT) -> bool:
        """Takes a row to be delivered once, in order; False if a limit is reached (`relieved` tells when to retry).

        Raises: Closed if the link has ended.
        """
        if self.is_closed:
            raise Closed(f"the link from {self.our_life} to {self.peer_life} has ended; resolve the address again")
        if not self._out.send(row):
            return False
        if len(self._out.unsent) >= self._wake_at:
            self._rouse()
        return True

    def withdraw(self, row: RowT) -> bool:
        """Takes back a row that waits for room or has not left; False if it may be on its way."""
        return self._out.withdraw(row)

    def handled(self, mark: int) -> None:
        """Notes that the row delivered with this mark was handled or dropped as a dead letter: once per TAKEN row.

        Once per HELD row, too, when it is stored: from then on its sender counts on it.
        """
        if self.is_closed:
            return
        marks, held = self._in.marks, self._in.held
        marks.append(mark)
        is_news = len(marks) == 1
        if held and mark in held:
            held.discard(mark)
            self._in.prompt = is_news = True
        if is_news and self._wake_at == _ANYTHING:
            self._rouse()

    def room(self, receiver: Receiver, rows: int) -> None:
        """Offers room for about so many rows to the peer's rows that wait for this receiver, if any do.

        Call it once after `wants_room`; and with any number when the receiver has ended, so that its rows come
        and are turned away.
        """
        if not self.is_closed and self._in.room(receiver, rows) and self._wake_at == _ANYTHING:
            self._rouse()

    # ---- packets -------------------------------------------------------------------------------------------------

    def poll(self, now: float) -> Call | None:
        """The next packet to send as a call, or None until something happens or `next_due` comes."""
        if self.is_closed or not self.can_call:
            return None
        self._stamp(now)
        if not self._calls.may_start(now) or (in_flight := self._calls.in_flight(now)) >= self._max_in_flight:
            self._wake_at = _NOTHING
        elif in_flight == 0:
            if self._has_due(now):
                return self._call(now)
            self._wake_at = _ANYTHING
        else:
            if (self._out.can_seal and self._out.is_full) or _is_due(self._out.resend_due_s(), now):
                return self._call(now)
            self._wake_at = self._out.rows_per_frame
        return None

    def call_returned(self, now: float, call: int, reply: bytes | None) -> None:
        """Ends a call; `reply` is what the peer's `answer` made, empty or None if it had nothing to say.

        Raises: LinkError as `receive` does.
        """
        if self._calls.returned(call) and reply:
            self.receive(now, reply)

    def call_failed(self, now: float, call: int) -> None:
        """Ends a call that failed, executed or not: its frames go again, after a delay that grows with each failure."""
        self._calls.failed(now, call)

    def receive(self, now: float, packet: bytes) -> bool:
        """Takes a packet of the peer in; True if all it brought is one ask, so that its return is worth holding.

        Held or not, what follows is `answer` and a poll.

        Raises: LinkError if no right peer sends such a packet, or what `decode` raises; nothing of it is applied then.
        """
        arrived = parse_packet(packet)
        if self.is_closed or (arrived.from_life, arrived.to_life) != (self.peer_life, self.our_life):
            return False
        if arrived.ack > self._out.sealed:
            raise LinkError(f"frame {arrived.ack} is acknowledged; only {self._out.sealed} were sent")
        fresh = self._in.fresh(arrived.frames)
        run = self._in.in_order(fresh)
        self._out.check([frame.control for frame in run])

        self._in.keep(fresh)
        self._out.acked(arrived.ack)
        all_taken = bool(run)
        for frame in run:
            self._in.reopen(frame.control.reopen)
            self._out.apply(frame.control)
            all_taken &= self._in.deliver(frame)
        if self._in.delivered - self._acked >= self._settings.prompt_after_frames:
            self._ack_due_s = now
        elif arrived.frames and self._ack_due_s is None:
            # Duplicates too: they mean that our acknowledgement was lost.
            self._ack_due_s = now + self._settings.ack_delay_s
        self._stamp(now)
        is_lone_ask = all_taken and len(fresh) == 1 and len(fresh[0].rows) == 1 and fresh[0].rows[0].is_ask
        if is_lone_ask:
            self._wake_at = _ROW_ONLY
        return is_lone_ask

    def answer(self, now: float) -> bytes:
        """A packet for something that leaves anyway: the return of the peer's call, or our own listen call."""
        if self.is_closed:
            return b""
        return self._packet(now)[0]

    def peer_listens(self) -> None:
        """The peer keeps a call pending here that `poll_answer` may end (only where we can not call it)."""
        self._is_listening = True
        self._wake_at = _ANYTHING

    def poll_answer(self, now: float) -> bytes | None:
        """What the peer's pending listen call returns; None as long as there is nothing to say, or no call pends."""
        if self.is_closed or not self._is_listening:
            return None
        self._stamp(now)
        if not self._has_due(now):
            self._wake_at = _ANYTHING
            return None
        self._is_listening = False
        self._wake_at = _NOTHING
        return self._packet(now)[0]

    # ---- time ----------------------------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When to poll again if nothing happens before; None if nothing will be due then.

        After a poll that gave None it lies ahead of that poll's `now`, so a timer armed for it never spins.
        """
        if self.is_closed or (not self.can_call and not self._is_listening):
            return None
        news_due_s, resend_due_s = self._news_due_s(), self._out.resend_due_s()
        if not self.can_call:
            return _first(news_due_s, resend_due_s)
        if self._calls.is_spent:
            return None
        quiet_until_s = self._calls.quiet_until_s
        free_at_s = max(quiet_until_s, self._calls.free_at(1))
        return _first(
            _not_before(news_due_s, free_at_s),
            _not_before(resend_due_s, max(quiet_until_s, self._calls.free_at(self._max_in_flight))),
            # A row sent now would wake nobody, and the call that it waits for may never end.
            free_at_s if self._wake_at > _ANYTHING else None,
        )

    # ---- the end -------------------------------------------------------------------------------------------------

    def close(self) -> Remains[RowT]:
        """Ends the link: the peer died or can not be talked to. Returns every row whose end is not known.

        Packets that come later are ignored; frames sent by the peer before its death that did come were delivered.
        """
        self.is_closed = True
        self._calls.close()
        return Remains(rows=self._out.close(), undelivered=self._in.close())

    def late(self, packet: bytes) -> list[RowT]:
        """The rows of a packet that came after `close`, each once; nobody is handed them. Raises LinkError."""
        arrived = parse_packet(packet)
        if (arrived.from_life, arrived.to_life) != (self.peer_life, self.our_life):
            return []
        return self._in.late(arrived.frames)

    # ---- inside --------------------------------------------------------------------------------------------------

    @property
    def _has_urgent(self) -> bool:
        """Whether something is ready that need not wait for company."""
        return bool(self._out.unsent) or bool(self._out.waiting.has_turns) or self._in.prompt

    def _news_due_s(self) -> float | None:
        """When a packet should leave for the sake of what it would carry for the first time."""
        if not self._out.can_seal:
            return self._ack_due_s
        return 0.0 if self._has_urgent else _first(self._ack_due_s, self._settled_due_s, self._handled_due_s)

    def _has_due(self, now: float) -> bool:
        return _is_due(self._news_due_s(), now) or _is_due(self._out.resend_due_s(), now)

    def _stamp(self, now: float) -> None:
        """Gives reports that came up since the last look the time by which they leave."""
        if self._settled_due_s is None and self._in.has_settled:
            self._settled_due_s = now + self._settings.ack_delay_s
        if self._handled_due_s is None and self._in.marks:
            self._handled_due_s = now + self._settings.handled_delay_s

    def _call(self, now: float) -> Call:
        packet, frames = self._packet(now)
        return Call(number=self._calls.start(now, frames), packet=packet)

    def _packet(self, now: float) -> tuple[bytes, list[SentFrame[RowT]]]:
        """All that may leave now: frames to be sent again, the next frame, the acknowledgement."""
        frames = self._out.resends(now)
        if self._out.can_seal and (self._out.unsent or self._out.waiting.has_turns or self._in.has_reports):
            frames.append(self._out.seal(self._in.take_reports))
            self._settled_due_s = self._handled_due_s = None
        patience_s = self._calls.patience_s(now)
        for frame in frames:
            frame.due_s = now + max(patience_s, backoff(self._settings, self._settings.resend_after_s, frame.tries))
            frame.tries += 1
        self._ack_due_s = None
        self._acked = self._in.delivered
        packet = pack_packet(
            from_life=self.our_life,
            to_life=self.peer_life,
            ack=self._in.delivered,
            frames=[(frame.number, frame.payload) for frame in frames],
        )
        return packet, frames

    def _rouse(self) -> None:
        self._wake_at = _NOTHING
        self._wake()


def _is_due(due_s: float | None, now: float) -> bool:
    return due_s is not None and due_s <= now


def _not_before(due_s: float | None, gate_s: float) -> float | None:
    return None if due_s is None else max(due_s, gate_s)


def _first(*dues_s: float | None) -> float | None:
    return min([due_s for due_s in dues_s if due_s is not None], default=None)
