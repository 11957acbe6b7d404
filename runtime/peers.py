"""The other processes this one talks to: one link for each, kept busy and told of deaths.

The links decide what is sent when; this file does it: it hands packets to a transport, gives
arrived envelopes to their cells, keeps one timer a link, and settles every envelope when a peer
dies. The transport is Ray in a cluster and a pair of queues in tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from regrow.runtime.address import HostId
from regrow.runtime.codec import FrameCodec
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import AskFailed
from regrow.runtime.lifecycle import Down, ExitReason
from regrow.runtime.link import LinkSettings
from regrow.runtime.message import Message
from regrow.runtime.outcome import Outcome
from regrow.runtime.peer import EVERY_PROCESS, Peer, note_bond
from regrow.runtime.runtime import Runtime
from regrow.runtime.signals import end_text
from regrow.runtime.transport import Transport

LOOK_S = 0.005
"""Between two looks whether all peers have what was sent to them; only a process that ends asks."""


class Peers:
    """Every link of one process."""

    def __init__(
        self, runtime: Runtime, codec: FrameCodec, transport: Transport, settings: LinkSettings | None = None
    ) -> None:
        self._runtime = runtime
        self._codec = codec
        self._transport = transport
        self._settings = settings
        self._peers: dict[HostId, Peer] = {}
        self._dead: dict[HostId, ExitReason] = {}
        self._closed = False
        self.on_announcement: Callable[[HostId, object], None] = lambda host, message: None
        runtime.delivery.carrier = self

    def send(self, host: HostId, envelope: Envelope) -> None:
        """See delivery.Carrier."""
        if host in self._dead or self._closed:
            is_lost = self._closed or envelope.kind in (Kind.REPLY, Kind.FAILURE)
            self._runtime.delivery.settle(envelope, Outcome.LOST if is_lost else Outcome.NOT_HERE)
            return
        if envelope.kind == Kind.SIGNAL:
            note_bond(self._runtime, envelope.message, host, envelope.receiver)
        if envelope.kind == Kind.ASK and (ask := self._runtime.asks.get(envelope.ask_id)) is not None:
            ask.host = host
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

    async def receive(self, host: HostId, packet: bytes) -> bytes:
        """Takes a call of a peer in; returns what its return carries."""
        if host in self._dead or self._closed:
            return b""  # sealed: nothing of a dead life is delivered after its Down
        return await self._peer(host).receive(packet)

    async def listened(self, host: HostId) -> bytes:
        """Holds the listen call of a peer that can not be called, until there is something for it."""
        packet = await self._peer(host).listened() if not self._closed else b""
        if self._closed and not packet:
            await asyncio.Event().wait()  # until this process ends: an answer would only make it listen again
        return packet

    def died(self, host: HostId, reason: ExitReason) -> None:
        """The verdict that a peer's process is dead: what it owed fails, what it never got goes elsewhere."""
        if host in self._dead:
            return
        self._dead[host] = reason
        peer = self._peers.pop(host, None)
        if peer is not None:
            peer.close(reason)
        self._tell_death(host, reason)
        for ask in self._runtime.asks:
            if ask.host == host:
                text = end_text(ask.actor, 0, reason, type(ask.request).__name__, "its supervisor starts it again")
                self._runtime.asks.fail(ask.ask_id, AskFailed(ask.actor, reason, text))

    def _tell_death(self, host: HostId, reason: ExitReason) -> None:
        """Tells everybody here who watched or was linked to an actor of a dead host."""
        runtime = self._runtime
        for cell in list(runtime.cells.values()):
            for message in cell.bonds.lost_with(host, reason) if not cell.is_over else ():
                kind = Kind.NOTICE if isinstance(message, Down) else Kind.SIGNAL
                envelope = Envelope(kind, cell.actor, message, runtime.origin, incarnation=cell.incarnation)
                runtime.delivery.arrive(cell, envelope)
        runtime.delivery.directory.host_died(host)

    def meet(self, host: HostId) -> None:
        """Makes a link before anything is sent, so that a process which must listen does so."""
        self._peer(host)

    def known(self) -> list[HostId]:
        """The peers that there are links to."""
        return list(self._peers)

    def tell_all(self, message: Message) -> None:
        """Tells every peer's runtime something about the whole app, behind what was sent to it before."""
        for peer in list(self._peers.values()):
            peer.send(Envelope(Kind.NOTICE, EVERY_PROCESS, message, self._runtime.origin))

    async def wait_delivered(self, limit_s: float) -> None:
        """Waits until all peers have what was sent to them, so that this process may end; at most so long."""
        for _ in range(round(limit_s / LOOK_S)):
            if all(peer.link.is_delivered for peer in self._peers.values()):
                return
            await asyncio.sleep(LOOK_S)

    def close(self) -> None:
        """Ends every link of a process that stops."""
        self._closed = True
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
                died=self.died,
                announced=lambda message: self.on_announcement(host, message),
                settings=self._settings,
            )
        return peer
