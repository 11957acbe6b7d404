"""The other processes this one talks to: one link for each, kept busy and told of deaths.

The links decide what is sent when; this file does it: it hands packets to a transport, gives
arrived envelopes to their cells, keeps one timer a link, and settles every envelope when a peer
dies. The transport is Ray in a cluster and a pair of queues in tests.
"""

from __future__ import annotations

import asyncio
from functools import partial

from regrow.runtime.address import HostId
from regrow.runtime.bonds import kind_of
from regrow.runtime.cell import Cell
from regrow.runtime.codec import FrameCodec
from regrow.runtime.envelope import ANSWERS, Envelope, Kind
from regrow.runtime.errors import AskFailed, ContactLost
from regrow.runtime.lifecycle import ExitReason, Reachable, Unreachable
from regrow.runtime.link import LinkSettings
from regrow.runtime.message import Message
from regrow.runtime.outcome import Outcome
from regrow.runtime.peer import EVERY_PROCESS, Peer
from regrow.runtime.runtime import Runtime
from regrow.runtime.signals import Watch, end_text, note_bond
from regrow.runtime.transport import Transport
from regrow.runtime.verdicts import HostDied, HostReachable, HostReady, HostUnreachable

LATE_S = 60.0
"""For so long after the death of a host what it had sent may still come, and is counted as dead letters."""
VERDICT_WAIT_S = 10.0
"""How long the verdict on a peer that a call found dead is waited for, before the call is believed."""

LOOK_S = 0.005
"""Between two looks whether all peers have what was sent to them; only a process that ends asks."""

MAX_DEAD_HOSTS = 10_000
"""How many dead hosts are remembered; of one that died so many deaths ago nothing is under way any more."""


class Peers:
    """Every link of one process."""

    def __init__(
        self,
        runtime: Runtime,
        codec: FrameCodec,
        transport: Transport,
        settings: LinkSettings | None = None,
        *,
        arbiter: HostId | None = None,
    ) -> None:
        self._runtime = runtime
        self._codec = codec
        self._transport = transport
        self._settings = settings
        self._peers: dict[HostId, Peer] = {}
        self._dead: dict[HostId, None] = {}
        self._sealed: dict[HostId, Peer] = {}
        self._lost: set[HostId] = set()
        self._found_dead_at: dict[HostId, asyncio.TimerHandle] = {}
        self._closed = False
        self.arbiter = arbiter
        """The peer whose word on others counts. None: what a failed call says is believed at once."""
        runtime.delivery.carrier = self

    def send(self, host: HostId, envelope: Envelope) -> None:
        """See delivery.Carrier."""
        if host in self._dead or self._closed:
            is_lost = self._closed or envelope.kind in ANSWERS
            self._runtime.delivery.settle(envelope, Outcome.LOST if is_lost else Outcome.NOT_HERE)
            return
        if envelope.kind == Kind.SIGNAL:
            note_bond(self._runtime, envelope.message, host, envelope.receiver)
            if host in self._lost and isinstance(envelope.message, Watch):
                self._tell_contact(host, Unreachable, monitor=envelope.message.monitor)
        if envelope.kind == Kind.ASK and (ask := self._runtime.asks.get(envelope.ask_id)) is not None:
            ask.host, ask.has_left = host, True
        self._peer(host).send(envelope)

    def send_nowait(self, host: HostId, envelope: Envelope) -> bool:
        """See delivery.Carrier."""
        peer = self._peers.get(host)
        if peer is not None:
            return peer.send_nowait(envelope)
        self.send(host, envelope)
        return True

    def is_dead(self, host: HostId) -> bool:
        """See delivery.Carrier."""
        return host in self._dead

    def is_lost(self, envelope: Envelope) -> bool:
        """See delivery.Carrier."""
        return isinstance(envelope.holder, Peer) and envelope.holder.host in self._lost

    async def receive(self, host: HostId, packet: bytes) -> bytes:
        """Takes a call of a peer in; returns what its return carries."""
        if host in self._dead or self._closed:
            if host in self._sealed:
                self._sealed[host].count_late(packet)
            return b""  # sealed: nothing of a dead life is delivered after its Down
        return await self._peer(host).receive(packet)

    async def listened(self, host: HostId) -> bytes:
        """Holds the listen call of a peer that can not be called, until there is something for it."""
        if host in self._dead:
            return b""  # a call that was late: a link made now would be nobody's
        packet = await self._peer(host).listened() if not self._closed else b""
        if self._closed and not packet:
            await asyncio.Event().wait()  # until this process ends: an answer would only make it listen again
        return packet

    def died(self, host: HostId, reason: ExitReason) -> None:
        """The verdict that a peer's process is dead: what it owed fails, what it never got goes elsewhere."""
        if host in self._dead:
            return
        self._dead[host] = None
        if len(self._dead) > MAX_DEAD_HOSTS:
            del self._dead[next(iter(self._dead))]
        self._lost.discard(host)
        timer = self._found_dead_at.pop(host, None)
        if timer is not None:
            timer.cancel()
        self._transport.forget(host)
        peer = self._peers.pop(host, None)
        if peer is not None:
            peer.close(reason)
            self._sealed[host] = peer
            self._runtime.loop.call_later(LATE_S, self._sealed.pop, host, None)
        self._tell_death(host, reason)
        self._runtime.streams.host_died(host)
        for ask in self._runtime.asks:
            if ask.host != host:
                continue
            if ask.envelope is not None and self._runtime.delivery.may_send_again(ask.envelope, self._runtime.asks):
                ask.host = None
                # It is stored, and its reply will come from elsewhere; or it only reads, and its next receiver says so.
                self._runtime.delivery.send_again(ask.envelope, may_have_run=True)
            else:
                kept = ask.envelope is not None and self._runtime.delivery.keeps(ask.envelope)
                asked = type(ask.request).__name__
                text = end_text(
                    ask.actor, 0, reason, asked, "its supervisor starts it again unless it is temporary", kept=kept
                )
                self._runtime.asks.fail(ask.ask_id, AskFailed(ask.actor, reason, text))

    def _tell_death(self, host: HostId, reason: ExitReason) -> None:
        """Tells everybody here who watched or was linked to an actor of a dead host."""
        runtime = self._runtime
        for cell in list(runtime.cells.values()):
            cell.bonds.forget_watchers(host)
            for message in cell.bonds.lost_with(host, reason) if not cell.is_over else ():
                self._tell(cell, message)
        runtime.delivery.directory.host_died(host)

    def _tell(self, cell: Cell, message: Message) -> None:
        envelope = Envelope(kind_of(message), cell.actor, message, self._runtime.origin, incarnation=cell.incarnation)
        self._runtime.delivery.arrive(cell, envelope)

    def _found_dead(self, host: HostId, reason: ExitReason) -> None:
        """A call says that a peer's process is gone. Where another's word counts it comes first, for it frees names."""
        if self.arbiter is None or host == self.arbiter:
            self.died(host, reason)
        elif host not in self._dead and host not in self._found_dead_at:
            self._found_dead_at[host] = self._runtime.loop.call_later(VERDICT_WAIT_S, self.died, host, reason)
            peer = self._peers.get(host)
            if peer is not None:
                peer.silence()

    # ---- contact lost, which is no death ---------------------------------------------------------

    def lost_contact(self, host: HostId) -> None:
        """A peer does not answer: its monitors are told, and what it was asked ends as unknown (SEMANTICS 1)."""
        if host in self._dead or host in self._lost or self._closed:
            return
        self._lost.add(host)
        self._tell_contact(host, Unreachable)
        for ask in self._runtime.asks:
            if ask.host == host:
                self._runtime.asks.fail(ask.ask_id, ContactLost(ask.actor, type(ask.request).__name__))

    def regained_contact(self, host: HostId) -> None:
        """A peer answers again; the monitors that were told of the loss are told of it."""
        if host in self._lost:
            self._lost.discard(host)
            self._tell_contact(host, Reachable)

    def _tell_contact(
        self, host: HostId, news: type[Unreachable] | type[Reachable], *, monitor: int | None = None
    ) -> None:
        """Tells all monitors here of actors there, or one of them."""
        for cell in list(self._runtime.cells.values()):
            for number, actor in cell.bonds.watched_in(host) if cell.bonds.watched_at and not cell.is_over else ():
                if monitor in (None, number):
                    self._tell(cell, news(monitor=number, actor=actor))

    def _announced(self, host: HostId, message: object) -> None:
        """Obeys a verdict of the one whose word counts."""
        if host != self.arbiter:
            return
        match message:
            case HostDied():
                self.died(HostId(message.host), message.reason)
            case HostUnreachable():
                self.lost_contact(HostId(message.host))
            case HostReachable():
                self.regained_contact(HostId(message.host))
            case HostReady() if message.host not in self._dead:
                self._transport.greet(HostId(message.host))
            case _:
                pass

    # ---- all peers -------------------------------------------------------------------------------

    def meet(self, host: HostId) -> None:
        """Makes a link before anything is sent, so that a process which must listen does so."""
        self._peer(host)

    def known(self) -> list[HostId]:
        """The peers that there are links to."""
        return list(self._peers)

    def tell_all(self, message: Message) -> None:
        """Tells every peer's runtime something about the whole app, behind what was sent to it before."""
        for host in self.known():
            self.tell(host, message)

    def tell(self, host: HostId, message: Message) -> None:
        """Tells one peer's runtime something about the whole app."""
        self._peer(host).send(Envelope(Kind.NOTICE, EVERY_PROCESS, message, self._runtime.origin))

    async def wait_delivered(self, limit_s: float) -> None:
        """Waits until all peers have what was sent to them, so that this process may end; at most so long."""
        for _ in range(round(limit_s / LOOK_S)):
            if all(peer.link.is_delivered for peer in self._peers.values()):
                return
            await asyncio.sleep(LOOK_S)

    def close(self) -> None:
        """Ends every link of a process that stops."""
        self._closed = True
        self._runtime.asking.fail_all()  # first: where they wait for room, their links would say that a host was lost
        for timer in self._found_dead_at.values():
            timer.cancel()
        peers, self._peers = self._peers, {}
        for peer in peers.values():
            peer.close_unfinished()

    def _peer(self, host: HostId) -> Peer:
        peer = self._peers.get(host)
        if peer is None:
            peer = self._peers[host] = Peer(
                host,
                self._runtime,
                self._codec,
                self._transport,
                found_dead=self._found_dead,
                announced=partial(self._announced, host),
                settings=self._settings,
            )
        return peer
