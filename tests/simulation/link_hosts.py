"""The hosts of a link simulation: mailboxes with readers, and the transport of each end of a link."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgpack

from regrow.runtime.link import Link, LinkPorts
from regrow.runtime.outcome import Outcome
from tests.simulation.link_history import SimRow

if TYPE_CHECKING:
    from tests.simulation.link_net import Net

HOLD_S = 0.001
"""How long a return is held for the reply to a lone ask."""


class Mailbox:
    """A bounded mailbox with a reader of a certain speed, or none."""

    def __init__(self, host: Host, name: str, *, capacity: int, service_s: float | None, rejects: bool) -> None:
        self.host = host
        self.name = name
        self.capacity = capacity
        self.service_s = service_s
        self.rejects = rejects
        self.rows: deque[tuple[SimRow, int, End]] = deque()
        self.waiting: dict[End, None] = {}
        self.is_reading = False
        self.has_ended = False
        self.counted = 0

    def offer(self, row: SimRow, mark: int, end: End) -> Outcome:
        if row.needs_room:
            if self.counted >= self.capacity:
                return Outcome.REJECTED if self.rejects else Outcome.FULL
            self.counted += 1
        self.rows.append((row, mark, end))
        if self.service_s is not None and not self.is_reading:
            self.is_reading = True
            self.host.at(self.service_s, self.read)
        return Outcome.TAKEN

    def read(self) -> None:
        """Handles one row, and goes on as long as there are any."""
        if not self.rows or self.service_s is None:
            self.is_reading = False
            return
        row, mark, end = self.rows.popleft()
        self.counted -= row.needs_room
        self.host.handle(row, mark, end)
        self.offer_room()
        self.host.at(self.service_s, self.read)

    def offer_room(self) -> None:
        if self.waiting and (self.has_ended or self.counted <= self.capacity // 2):
            waiting, self.waiting = self.waiting, {}
            for end in waiting:
                end.link.room(self.name, 1_000_000 if self.has_ended else max(self.capacity - self.counted, 1))

    def stop(self) -> None:
        """The actor ends: what is queued becomes dead letters, what waits comes and finds nobody."""
        self.has_ended = True
        while self.rows:
            self.host.handle(*self.rows.popleft())
        self.offer_room()


class Host:
    """One life of one host: its mailboxes, and an end of a link per life of another host."""

    def __init__(self, net: Net, name: str, number: int) -> None:
        self.net = net
        self.name = name
        self.life = f"{name}#{number}"
        self.is_alive = True
        self.can_be_called = not name.startswith("driver")
        self.ends: dict[str, End] = {}
        self.mailboxes: dict[str, Mailbox] = {}
        self.open_returns: dict[Callable[[], None], None] = {}

    def at(self, delay_s: float, act: Callable[[], object]) -> None:
        """Does something later, should this life last."""
        self.net.at(delay_s, lambda: act() if self.is_alive else None)

    def end_to(self, peer: Host) -> End:
        end = self.ends.get(peer.life)
        if end is None:
            end = self.ends[peer.life] = End(self, peer)
            if not self.can_be_called:
                end.listen()
            if not peer.is_alive:
                self.at(self.net.weather.verdict_s[1], lambda: self.bury(peer))
        return end

    def handle(self, row: SimRow, mark: int, end: End) -> None:
        history = self.net.history
        history.check(row.number not in history.handled, f"row {row.number} was handled twice")
        history.handled.add(row.number)
        self.net.log(f"{self.life} handled {row.number}")
        end.link.handled(mark)
        if row.is_ask and not end.link.is_closed:
            end.send(self.net.row(self.life, "replies", needs_room=False))

    def die(self) -> None:
        """Ends this life: its callers see their calls fail, the others are told after a while."""
        self.is_alive = False
        self.net.log(f"{self.life} died")
        for fail in list(self.open_returns):
            fail()
        for other in [*self.net.hosts.values()]:
            if other is not self:
                other.at(self.net.rng.uniform(*self.net.weather.verdict_s), partial(other.bury, self))

    def bury(self, peer: Host) -> None:
        """The verdict that a peer's life is over."""
        end = self.end_to(peer)
        if not end.link.is_closed:
            end.close()


class End:
    """The transport of one end of one link."""

    def __init__(self, host: Host, peer: Host) -> None:
        self.host = host
        self.peer = peer
        self.net = host.net
        self.sent: set[int] = set()
        self.link: Link[SimRow] = Link(
            our_life=host.life,
            peer_life=peer.life,
            ports=LinkPorts(
                encode=_encode,
                decode=_decode,
                deliver=self.deliver,
                settled=self.net.history.tell,
                wants_room=self.wants_room,
                relieved=self.relieved,
                wake=self.wake,
            ),
            settings=self.net.settings,
            can_call=peer.can_be_called,
        )
        self.timer_s: float | None = None
        self.is_pumping = False
        self.held: Callable[[], None] | None = None
        self.listener: Callable[[bytes], None] | None = None
        self.congested: dict[Callable[[], None], None] = {}
        self.pending = 0

    # rows

    def send(self, row: SimRow) -> bool:
        accepted = self.link.send(row)
        if accepted:
            self.sent.add(row.number)
            self.net.history.accept(row, self.net.now)
        return accepted

    def withdraw(self, row: SimRow) -> bool:
        if self.link.is_closed or not self.link.withdraw(row):
            return False
        self.net.history.withdrawn.add(row.number)
        self.net.log(f"{self.host.life} withdrew {row.number}")
        return True

    def deliver(self, row: SimRow, mark: int) -> Outcome:
        mailbox = self.host.mailboxes.get(row.receiver)
        outcome = Outcome.NOT_HERE if mailbox is None or mailbox.has_ended else mailbox.offer(row, mark, self)
        if outcome is Outcome.TAKEN:
            self.net.history.take(row, self.host.life, self.net.now)
        elif outcome is not Outcome.FULL:
            self.net.history.turn_away(row, outcome)
        self.net.log(f"{self.host.life} got {row.number}: {outcome.name}")
        return outcome

    def wants_room(self, receiver: object) -> None:
        mailbox = self.host.mailboxes[str(receiver)]
        mailbox.waiting[self] = None
        # Not from inside the link, as the real mailbox does it in a later step too.
        self.host.at(0.0, mailbox.offer_room)

    def relieved(self, receiver: object) -> None:
        retries, self.congested = self.congested, {}
        for retry in retries:
            self.host.at(0.0, retry)

    # packets

    def wake(self) -> None:
        if self.held is not None:
            self.host.at(0.0, self.held)
        elif not self.is_pumping:
            self.is_pumping = True
            self.host.at(0.0, self.pump)

    def pump(self) -> None:
        """Says all there is to say now, then sleeps until something is due."""
        self.is_pumping = False
        while (call := self.link.poll(self.net.now)) is not None:
            self.net.carry(self, call)
        if self.listener is not None and (packet := self.link.poll_answer(self.net.now)) is not None:
            listener, self.listener = self.listener, None
            listener(packet)
        due_s = self.link.next_due()
        history = self.net.history
        history.check(due_s is None or due_s > self.net.now, f"{self.host.life} spins: due {due_s} at {self.net.now}")
        if due_s != self.timer_s:
            self.timer_s = due_s
            if due_s is not None:
                self.host.at(due_s - self.net.now, lambda: self.ring(due_s))

    def ring(self, due_s: float) -> None:
        """The timer for this time goes off, unless another was armed since."""
        if self.timer_s == due_s:
            self.timer_s = None
            self.pump()

    def receive(self, packet: bytes, reply: Callable[[bytes], None]) -> None:
        """A call of the peer arrived; its return is held for a moment if it brought nothing but one ask."""

        def let_go() -> None:
            if self.held is let_go:
                self.held = None
                reply(self.link.answer(self.net.now))
                self.wake()

        if self.link.receive(self.net.now, packet) and self.held is None:
            self.held = let_go
            self.host.at(HOLD_S, let_go)
        else:
            reply(self.link.answer(self.net.now))
            self.wake()

    def returned(self, call: int, reply: bytes) -> None:
        self.pending -= 1
        self.link.call_returned(self.net.now, call, reply)

    def failed(self, call: int) -> None:
        self.pending -= 1
        self.link.call_failed(self.net.now, call)

    def learn(self, result: Callable[[], object]) -> None:
        """A call of ours has a result."""
        result()
        self.wake()

    def listen(self) -> None:
        """Keeps a call pending at a peer that can not call us."""
        if not self.link.is_closed:
            self.net.listen(self, self.link.answer(self.net.now))

    def listened(self, packet: bytes, reply: Callable[[bytes], None]) -> None:
        """A listen call of the peer arrived; an older one has been given up by the peer or soon will be."""
        self.link.receive(self.net.now, packet)
        if self.listener is not None:
            self.listener(b"")
        self.listener = reply
        self.link.peer_listens()
        self.wake()

    def close(self) -> None:
        remains = self.link.close()
        self.net.log(
            f"{self.host.life} closed {self.peer.life}: {[(row.number, state.name) for row, state in remains.rows]}"
        )
        self.net.history.close(remains.rows, self.sent)
        self.relieved(None)


def _encode(rows: list[SimRow]) -> bytes:
    fields = [(row.number, row.sender, row.receiver, row.needs_room, row.is_ask) for row in rows]
    packed: bytes | None = msgpack.packb(fields)
    assert packed is not None
    return packed


def _decode(packed: bytes) -> list[SimRow]:
    return [SimRow(*fields) for fields in msgpack.unpackb(packed)]
