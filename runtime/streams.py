"""The streams of one process: which turns here emit to whom, and where the parts go that come.

Parts travel as envelopes of a kind of their own, behind each other on the link between the two processes and before the
reply or failure that ends the stream, so that order and the one end are those of the link. Back go grants, and word of
a consumer that left, which is how an ask is taken back (`signals.TakenBack`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from regrow.runtime.delivery import MAX_REROUTES
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import Bug
from regrow.runtime.message import StreamRequest
from regrow.runtime.outflow import Outflow
from regrow.runtime.signals import Granted
from regrow.runtime.stream import Stream
from regrow.runtime.stream_window import Batch, Totals, Window
from regrow.runtime.wire_values import Undecodable

if TYPE_CHECKING:
    from regrow.runtime.address import Address, HostId
    from regrow.runtime.asks import PendingAsk
    from regrow.runtime.cell import Cell
    from regrow.runtime.runtime import Runtime

P = TypeVar("P")
R = TypeVar("R")

_USUAL = Window()


class Streams:
    """Carries parts and grants for one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._flows: dict[tuple[HostId | None, int], Outflow] = {}
        self._read: dict[int, PendingAsk] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing is emitted or read here."""
        return not self._flows and not self._read

    # ---- producing -----------------------------------------------------------------------------

    def begin(self, cell: Cell, envelope: Envelope) -> Outflow | None:
        """A turn begins whose parts somebody waits for; None where it can emit none."""
        window = envelope.window
        if window is None or not isinstance(envelope.message, StreamRequest):
            return None
        flow = Outflow(
            envelope,
            window,
            self._runtime.loop,
            partial(self._send, envelope),
            stays=cell.intake is not None and cell.intake.keeps(envelope),
            travels=envelope.reply_host != self._runtime.host,
        )
        self._flows[envelope.reply_host, envelope.ask_id] = flow
        return flow

    def end(self, flow: Outflow) -> None:
        """The turn is over."""
        flow.end_turn()
        key = flow.envelope.reply_host, flow.envelope.ask_id
        if self._flows.get(key) is flow:  # else another life runs the same message by now
            del self._flows[key]

    def of(self, envelope: Envelope) -> Outflow | None:
        """What the turn of this message emits to, while it runs and somebody waits for parts."""
        flow = self._flows.get((envelope.reply_host, envelope.ask_id)) if envelope.window is not None else None
        return flow if flow is not None and flow.envelope is envelope else None

    def finish(self, envelope: Envelope) -> None:
        """The end of a stream is about to be sent: all parts go before it."""
        flow = self.of(envelope)
        if flow is not None:
            flow.finish()

    def has_been(self, envelope: Envelope, *, emitted: int) -> None:
        """The reply that a consumer is about to get is a stored one: it learns in how many parts that came once."""
        self.finish(envelope)
        if emitted:
            self._send(envelope, Batch(emitted, 0, False, ()))

    def left(self, host: HostId, ask_id: int) -> None:
        """The consumer of a stream has gone."""
        flow = self._flows.get((host, ask_id))
        if flow is not None:
            flow.leave()

    def host_died(self, host: HostId) -> None:
        """So have all that were in that process."""
        for (consumer, _), flow in list(self._flows.items()):
            if consumer == host:
                flow.leave()

    def granted(self, signal: Granted) -> None:
        """A consumer has read some parts."""
        self._granted(signal.host, signal.ask_id, Totals(signal.parts, signal.size_bytes))

    def _granted(self, host: HostId, ask_id: int, read: Totals) -> None:
        flow = self._flows.get((host, ask_id))
        if flow is not None:
            flow.granted(read)

    def _send(self, envelope: Envelope, batch: Batch) -> None:
        runtime = self._runtime
        if envelope.reply_host == runtime.host:
            ask = runtime.asks.get(envelope.ask_id)
            if ask is not None and ask.stream is not None:
                ask.host = None  # its actor has moved here, if it was elsewhere
                ask.stream.arrived(batch)
            return
        carrier = runtime.delivery.carrier
        assert carrier is not None and envelope.reply_host is not None
        parts = Envelope(Kind.PART, envelope.receiver, tuple(batch), runtime.origin, ask_id=envelope.ask_id)
        carrier.send(envelope.reply_host, parts)

    # ---- consuming -----------------------------------------------------------------------------

    def stream(
        self,
        target: Address,
        request: StreamRequest[P, R],
        *,
        timeout_s: float,
        window: Window | None,
        command_id: str | None,
    ) -> Stream[P, R]:
        """See ActorRef.stream."""
        window = window if window is not None else _USUAL
        return Stream(self._runtime, target, request, timeout_s=timeout_s, window=window, command_id=command_id)

    def opened(self, ask: PendingAsk) -> None:
        """Somebody reads the parts of this ask's answer."""
        self._read[ask.ask_id] = ask

    def closed(self, ask: PendingAsk) -> None:
        """Nobody does any more."""
        self._read.pop(ask.ask_id, None)

    def arrived(self, envelope: Envelope, host: HostId) -> None:
        """Parts have come from another process; those of a stream that nobody reads any more are dropped."""
        ask = self._runtime.asks.get(envelope.ask_id)
        if ask is None or ask.stream is None:
            return
        ask.host = host  # an actor that has moved since it was asked is there
        try:
            ask.stream.arrived(_read(envelope.message, cast("StreamRequest[Any, Any]", ask.request)))
        except ValueError as error:
            self._runtime.asks.fail(ask.ask_id, Undecodable("a part", str(error)).error(ask.actor))
        except Bug as bug:  # this stream's end, and not that of the link which brought it
            self._runtime.asks.fail(ask.ask_id, bug)

    def grant(self, ask: PendingAsk, read: Totals) -> None:
        """Tells the producer how much has been read."""
        runtime = self._runtime
        if ask.host is None:
            self._granted(runtime.host, ask.ask_id, read)
        elif runtime.delivery.carrier is not None:
            signal = Granted(host=runtime.host, ask_id=ask.ask_id, parts=read.parts, size_bytes=read.size_bytes)
            envelope = Envelope(Kind.SIGNAL, ask.actor, signal, runtime.origin)
            envelope.reroutes = MAX_REROUTES  # the turn that emits is there, or nowhere
            runtime.delivery.carrier.send(ask.host, envelope)

    def life_ended(self, cell: Cell) -> None:
        """A life ends with what it was reading, where its turn has not left that itself."""
        for ask in list(self._read.values()):
            if ask.stream is not None and ask.turn is not None and ask.turn.is_of(cell):
                ask.stream.leave()


def _read(value: object, request: StreamRequest[Any, Any]) -> Batch:
    """The batch that came as bytes. Raises ValueError where it could not be read."""
    if isinstance(value, Undecodable):
        raise ValueError(f"{value.type_name}: {value.reason}")
    try:
        first, size_bytes, wants, parts = cast("tuple[Any, ...]", value)
        read = request.part().read
        return Batch(int(first), int(size_bytes), bool(wants), tuple([read(part) for part in parts]))
    except TypeError as error:
        raise ValueError(f"no batch of parts ({error})") from error
