"""One other process: the link to it and what keeps that link going."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog

from regrow.runtime.address import ActorId, HostId
from regrow.runtime.codec import FrameCodec, Undecodable
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.lifecycle import ExitReason
from regrow.runtime.link import Link, LinkError, LinkPorts, LinkSettings, Receiver, RowState
from regrow.runtime.outcome import Outcome
from regrow.runtime.runtime import Runtime
from regrow.runtime.signals import Failure, Tie, Watch, failure_of, note_bond
from regrow.runtime.transport import CallEnd, PeerDead, PeerLost, Transport

log = structlog.get_logger("regrow.peer")

HOLD_S = 0.001
"""How long the return of a call with a single ask waits for the reply to ride on it."""

EVERY_PROCESS = ActorId("~")
"""The receiver of what concerns a process as a whole and not one actor."""

_TURN_AWAY = 1_000_000
"""Room offered for an actor that is gone, so that what waits for it comes and is turned away."""


class Peer:
    """The link to one other process and what keeps it going."""

    def __init__(
        self,
        host: HostId,
        runtime: Runtime,
        codec: FrameCodec,
        transport: Transport,
        *,
        found_dead: Callable[[HostId, ExitReason], None],
        announced: Callable[[object], None],
        settings: LinkSettings | None,
    ) -> None:
        self.host = host
        self._overflow: dict[ActorId, OrderedDict[int, Envelope]] = {}
        self._flushing = False
        self._is_silent = False
        self._found_dead = found_dead
        self._announced = announced
        self._runtime = runtime
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False
        self._pump_soon: asyncio.Handle | None = None
        self._handled: list[int] = []
        self._held: asyncio.Future[None] | None = None
        self._listener: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.link: Link[Envelope] = Link(
            our_life=runtime.host,
            peer_life=host,
            ports=LinkPorts(
                encode=codec.encode,
                decode=codec.decode,
                deliver=self._deliver,
                settled=runtime.delivery.settle,
                wants_room=self._wants_room,
                relieved=self._relieved,
                wake=self._wake,
            ),
            settings=settings,
            can_call=transport.can_call(host),
        )
        if transport.listens:
            self._spawn(self._listen())

    # ---- out -----------------------------------------------------------------------------------

    def send(self, envelope: Envelope) -> None:
        """Sends, or keeps what must wait until the link has room."""
        envelope.holder = self
        if self._must_wait(envelope) or not self.link.send(envelope):
            self._overflow.setdefault(envelope.receiver, OrderedDict())[id(envelope)] = envelope
            return
        if self._pump_soon is not None and envelope.kind == Kind.ASK:
            self._pump()  # somebody waits for it: not even until the loop's next round

    def send_nowait(self, envelope: Envelope) -> bool:
        """Sends, unless it would have to wait here for room."""
        return not self._must_wait(envelope) and self.link.send(envelope)

    def _must_wait(self, envelope: Envelope) -> bool:
        """Behind others for the same receiver, or behind all for which room has just been found.

        Not behind those of another receiver: its room may never come.
        """
        return envelope.needs_room and bool(self._overflow) and (self._flushing or envelope.receiver in self._overflow)

    def withdraw(self, envelope: Envelope) -> bool:
        """See envelope.Holder."""
        waiting = self._overflow.get(envelope.receiver)
        if waiting is None or waiting.pop(id(envelope), None) is None:
            return self.link.withdraw(envelope)
        if not waiting:
            del self._overflow[envelope.receiver]
        return True

    def _relieved(self, _receiver: Receiver | None) -> None:
        if not self._flushing:
            self._flushing = True
            self._runtime.loop.call_soon(self._flush_overflow)

    def _flush_overflow(self) -> None:
        """Sends what waited. One full receiver must not hold up the others, so each is tried."""
        self._flushing = False
        for receiver, waiting in list(self._overflow.items()):
            while waiting and not self.link.is_closed and self.link.send(next(iter(waiting.values()))):
                waiting.popitem(last=False)
            if not waiting:
                del self._overflow[receiver]

    def _wake(self) -> None:
        if self._held is not None and not self._held.done():
            self._held.set_result(None)  # the reply rides on the return that waits for it
        elif self._pump_soon is None and not self._pumping:
            self._pump_soon = self._runtime.loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Lets out what may leave, and sets the timer for what must later."""
        if self._pump_soon is not None:
            self._pump_soon.cancel()
            self._pump_soon = None
        link, loop = self.link, self._runtime.loop
        if link.is_closed or self._is_silent:
            return
        self._pumping = True  # what wakes us from here on is seen by the poll below
        handled, self._handled = self._handled, []
        for mark in handled:
            link.handled(mark)
        self._pumping = False
        if self._listener is not None:
            self._listener.set()
        while (call := link.poll(loop.time())) is not None:
            self._transport.call(self.host, call.packet, partial(self._call_ended, call.number))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = link.next_due()
        if due is not None:
            self._timer = loop.call_at(max(due, loop.time()), self._pump)

    def _call_ended(self, number: int, end: CallEnd) -> None:
        if self.link.is_closed:
            return
        if isinstance(end, PeerDead):
            self._found_dead(self.host, end.reason)
            return
        if isinstance(end, PeerLost):
            self.link.call_failed(self._runtime.loop.time(), number)
        else:
            self.link.call_returned(self._runtime.loop.time(), number, None)
            if end:
                self._take_in(end)
        self._pump()

    async def _listen(self) -> None:
        """Where this process can not be called: keeps one call pending at the peer, which it ends to say something."""
        while not self.link.is_closed:
            try:
                packet = await self._transport.listen(self.host)
            except PeerLost:
                await asyncio.sleep(HOLD_S)
                continue
            except PeerDead as dead:
                self._found_dead(self.host, dead.reason)
                return
            if packet and not self.link.is_closed:
                self._take_in(packet)
                self._pump()

    # ---- in ------------------------------------------------------------------------------------

    async def receive(self, packet: bytes) -> bytes:
        """Takes a packet in; holds the return for a moment when it brought a single ask."""
        loop = self._runtime.loop
        if self._take_in(packet) and self._held is None:
            self._held = loop.create_future()
            timer = loop.call_later(HOLD_S, _release, self._held)
            try:
                await self._held
            finally:
                timer.cancel()
                self._held = None
        answer = self.link.answer(loop.time())
        self._pump()
        return answer

    def _take_in(self, packet: bytes) -> bool:
        """Hands a packet to the link; True if it brought a lone ask. A damaged one is logged and comes again."""
        try:
            return self.link.receive(self._runtime.loop.time(), packet)
        except LinkError as error:
            log.error("a packet could not be read", peer=self.host, reason=str(error))
            return False

    async def listened(self) -> bytes:
        """Waits until there is something for a peer that listens."""
        if self._listener is not None:
            self._listener.set()  # the call that waited there has been lost on its way, or this one doubles it
        listener = self._listener = asyncio.Event()
        self.link.peer_listens()
        while self._listener is listener and not self.link.is_closed:
            packet = self.link.poll_answer(self._runtime.loop.time())
            if packet is not None:
                self._listener = None
                return packet
            self._pump()
            listener.clear()
            await listener.wait()
        return b""

    def _deliver(self, envelope: Envelope, mark: int) -> Outcome:
        if envelope.kind <= Kind.ASK and type(envelope.message) is not Undecodable:
            cell = self._runtime.cells.get(envelope.receiver)
            if cell is None:
                return Outcome.NOT_HERE
            if envelope.origin.capability is not None and not self._runtime.delivery.permits(envelope):
                # Checked by the sender already; a host that was tampered with may not have.
                self._handled.append(mark)
                return Outcome.TAKEN
            envelope.mark = partial(self.link.handled, mark)
            return self._runtime.delivery.arrive(cell, envelope)
        outcome = self._deliver_rare(envelope)
        if outcome is Outcome.TAKEN:
            self._handled.append(mark)  # the pump that follows every delivery tells the link
        return outcome

    def _deliver_rare(self, envelope: Envelope) -> Outcome:
        """Delivers all but tells and asks; whatever is taken is also handled."""
        if envelope.kind in (Kind.REPLY, Kind.FAILURE):
            if envelope.incarnation is None:
                self._replied(envelope)
                return Outcome.TAKEN
            if isinstance(envelope.message, Undecodable):
                envelope.message = failure_of(envelope.message.error(envelope.receiver))
            cell = self._runtime.cells.get(envelope.receiver)  # the life that has taken the slot knows what to do
            return Outcome.NOT_HERE if cell is None else self._runtime.delivery.arrive(cell, envelope)
        if envelope.kind == Kind.PART:
            self._runtime.streams.arrived(envelope, self.host)
        elif isinstance(envelope.message, Undecodable):
            self._undecodable(envelope)
        elif envelope.origin.capability is not None and not self._runtime.delivery.permits(envelope):
            pass  # counted there; signals stop and tie, so they need the capability as messages do
        elif envelope.receiver == EVERY_PROCESS:
            self._runtime.loop.call_soon(self._announced, envelope.message)
        elif (cell := self._runtime.cells.get(envelope.receiver)) is not None:
            outcome = self._runtime.delivery.arrive(cell, envelope)
            if isinstance(envelope.message, Tie | Watch) and outcome is Outcome.TAKEN:
                note_bond(self._runtime, envelope.message, self.host, envelope.receiver)
            return outcome
        else:
            return Outcome.NOT_HERE
        return Outcome.TAKEN

    def _replied(self, envelope: Envelope) -> None:
        asks = self._runtime.asks
        ask = asks.get(envelope.ask_id)
        if ask is None:
            self._runtime.dead_letters.add(envelope, "late_reply")
        elif isinstance(envelope.message, Undecodable):
            asks.fail(ask.ask_id, envelope.message.error(ask.actor))
        elif isinstance(envelope.message, Failure):
            asks.fail(ask.ask_id, envelope.message.exception(ask.actor))
        else:
            try:
                value = ask.request.reply().read(envelope.message)
            except ValueError as error:
                asks.fail(ask.ask_id, Undecodable("the reply", str(error)).error(ask.actor))
            else:
                asks.reply(ask.ask_id, value)

    def _undecodable(self, envelope: Envelope) -> None:
        assert isinstance(envelope.message, Undecodable)
        if envelope.kind == Kind.ASK:
            self._runtime.fail(envelope, failure_of(envelope.message.error(envelope.receiver)))
        else:
            self._runtime.dead_letters.add(envelope, "undecodable")

    def _wants_room(self, receiver: Receiver) -> None:
        # Not at once: the link is in the middle of delivering when it says so.
        self._runtime.loop.call_soon(self._offer_room, ActorId(str(receiver)))

    def _offer_room(self, actor: ActorId) -> None:
        cell = self._runtime.cells.get(actor)
        if cell is None:
            self.link.room(actor, _TURN_AWAY)
        else:
            cell.mailbox.wait_room(_RemoteWaiter(self.link, actor))

    # ---- the end -------------------------------------------------------------------------------

    def silence(self) -> None:
        """Sends nothing more to a process that is found dead, while the verdict on it is waited for."""
        self._is_silent = True
        if self._timer is not None:
            self._timer.cancel()

    def close(self, reason: ExitReason) -> None:
        """Settles everything that was on its way to a dead process."""
        delivery = self._runtime.delivery
        for envelope, state in self._close():
            if state is not RowState.UNSENT and delivery.may_send_again(envelope, self._runtime.asks):
                self._runtime.asks.leaves_host(envelope.ask_id)
                # The store will say whether it had it; of what only reads nothing is there.
                delivery.send_again(envelope, may_have_run=state is not RowState.WAITING)
            elif state in (RowState.TAKEN, RowState.HELD):
                if envelope.kind == Kind.TELL:
                    delivery.dead(envelope, Outcome.LOST)
            elif state in (RowState.UNSENT, RowState.WAITING) and envelope.kind <= Kind.ASK:
                self._runtime.asks.leaves_host(envelope.ask_id)
                delivery.settle(envelope, Outcome.NOT_HERE)  # it never ran: wherever the actor is next may have it
            elif envelope.kind != Kind.ASK:  # those fail with the reason, once all is settled
                delivery.settle(envelope, Outcome.LOST)

    def count_late(self, packet: bytes) -> None:
        """What a dead process had sent and comes after its Down is delivered to nobody (SEMANTICS 3)."""
        try:
            late = self.link.late(packet)
        except LinkError as error:
            log.error("a packet of a dead process could not be read", peer=self.host, reason=str(error))
            return
        for envelope in late:
            if envelope.kind <= Kind.ASK:
                self._runtime.delivery.dead(envelope, Outcome.LOST)

    def close_unfinished(self) -> None:
        """Ends the link of a process that stops; what did not arrive is lost."""
        for envelope, state in self._close():
            if state is not RowState.TAKEN:
                self._runtime.delivery.settle_final(envelope, Outcome.LOST)

    def _close(self) -> list[tuple[Envelope, RowState]]:
        """Ends the link; gives what was on its way to the peer, oldest first."""
        remains = self.link.close()
        self.end()
        for envelope in remains.undelivered:
            if envelope.kind <= Kind.ASK:
                self._runtime.delivery.dead(envelope, Outcome.LOST)  # behind a gap that nobody will fill
        waited, self._overflow = self._overflow, {}
        return [
            *remains.rows,
            *((envelope, RowState.UNSENT) for waiting in waited.values() for envelope in waiting.values()),
        ]

    def end(self) -> None:
        """Stops everything that keeps the link going."""
        self.link.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            self._listener.set()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._runtime.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _RemoteWaiter:
    """A peer whose messages wait for room here. Worth waking only for some: it costs a call there and one back."""

    __slots__ = ("_actor", "_link")

    share = 0.5
    enough = 32

    def __init__(self, link: Link[Envelope], actor: ActorId) -> None:
        self._link = link
        self._actor = actor

    def offer_room(self, room: int) -> None:
        self._link.room(self._actor, room)


def _release(held: asyncio.Future[None]) -> None:
    if not held.done():
        held.set_result(None)
