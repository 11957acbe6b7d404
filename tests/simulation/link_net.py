"""A simulated network of hosts joined by links: seeded, on virtual time, with all that calls can suffer.

The transport here does what the real one does (calls, returns, held returns, listen calls of a driver) over a
network that delays, reorders, loses and doubles. `link_history` keeps what truly happened beside what the links
said, and fails as soon as the two differ; `link_hosts` are the mailboxes and transports.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from regrow.runtime.link import Call, LinkSettings
from regrow.runtime.link_wire import parse_packet
from tests.simulation.link_history import History, SimRow
from tests.simulation.link_hosts import End, Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How the network behaves. Probabilities are per call."""

    latency_s: tuple[float, float] = (0.0002, 0.002)
    request_lost: float = 0.0
    reply_lost: float = 0.0
    doubled: float = 0.0
    slow: float = 0.0
    """Calls that take a hundred times as long, so that later ones overtake them by far."""
    verdict_s: tuple[float, float] = (0.005, 0.3)
    """From the death of a host until others are told."""


CALM = Weather()


class Net:
    """Virtual time, the hosts that live now, and the calls between them."""

    def __init__(self, seed: int, *, weather: Weather = CALM, settings: LinkSettings | None = None) -> None:
        self.rng = random.Random(seed)
        self.history = History(seed)
        self.weather = weather
        self.settings = settings or LinkSettings()
        self.now = 0.0
        self.hosts: dict[str, Host] = {}
        self.lines: list[str] = []
        self.calls = 0
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._events = 0
        self._rows = 0

    def host(self, name: str) -> Host:
        """Starts a host, or the next life of one."""
        number = int(self.hosts[name].life.split("#")[1]) + 1 if name in self.hosts else 1
        new = self.hosts[name] = Host(self, name, number)
        for other in self.hosts.values():
            # Who can not be called listens to everybody from the start, or could be told nothing.
            if other is not new and other.is_alive and not (other.can_be_called and new.can_be_called):
                other.end_to(new)
                new.end_to(other)
        return new

    def row(self, sender: str, receiver: str, *, needs_room: bool = True, is_ask: bool = False) -> SimRow:
        self._rows += 1
        return SimRow(self._rows, sender, receiver, needs_room, is_ask, object() if self._rows % 3 else None)

    def log(self, line: str) -> None:
        self.lines.append(f"{self.now:.6f} {line}")

    def at(self, delay_s: float, act: Callable[[], object]) -> None:
        self._events += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._events, act))

    def run(self, until_s: float = 1e9, *, max_events: int = 200_000) -> None:
        """Runs until nothing is left to happen, or that time."""
        while self._heap and self._heap[0][0] <= until_s:
            max_events -= 1
            self.history.check(max_events > 0, f"never falls silent; time is {self.now}")
            self.now, _, act = heapq.heappop(self._heap)
            act()
        if until_s < 1e9:
            self.now = until_s

    def carry(self, end: End, call: Call) -> None:
        """Takes a packet to the peer and its answer back, or not."""
        self.calls += 1
        end.pending += 1
        self.history.check(end.pending <= self.settings.max_calls_pending, f"{end.pending} calls pend at once")
        for frame in parse_packet(call.packet).frames:
            self.history.check(frame.n_rows <= self.settings.max_frame_rows, f"a frame of {frame.n_rows} rows")
        self._exchange(
            end,
            arrive=lambda peer, reply: peer.receive(call.packet, reply),
            done=partial(end.returned, call.number),
            failed=partial(end.failed, call.number),
        )

    def listen(self, end: End, packet: bytes) -> None:
        """Takes a listen call to the peer, and what it returns back, whenever that is."""

        def done(reply: bytes) -> None:
            if reply:
                end.link.receive(self.now, reply)
            end.listen()

        self._exchange(
            end,
            arrive=lambda peer, reply: peer.listened(packet, reply),
            done=done,
            failed=lambda: end.host.at(0.02, end.listen) if end.peer.is_alive else None,
        )

    def _exchange(
        self,
        end: End,
        *,
        arrive: Callable[[End, Callable[[bytes], None]], None],
        done: Callable[[bytes], None],
        failed: Callable[[], None],
    ) -> None:
        rng, weather, peer = self.rng, self.weather, end.peer
        is_lost, reply_is_lost = rng.random() < weather.request_lost, rng.random() < weather.reply_lost
        is_open = True

        def finish(act: Callable[[], object]) -> None:
            nonlocal is_open
            if is_open:
                is_open = False
                peer.open_returns.pop(fail, None)
                end.host.at(self._latency(), lambda: end.learn(act))

        def fail() -> None:
            finish(failed)

        def reply(packet: bytes) -> None:
            finish(failed if reply_is_lost else lambda: done(packet))

        def deliver() -> None:
            if not peer.is_alive:
                fail()
                return
            arrive(peer.end_to(end.host), reply)

        peer.open_returns[fail] = None
        if is_lost or not peer.is_alive:
            # Lost for a long time, too: longer than a call may take before others stop waiting for it.
            self.at(rng.choice([0.001, 0.05, 1.0, 10.0]), fail)
            return
        if reply_is_lost and rng.random() < 0.5:
            self.at(rng.choice([0.0001, 0.01]), fail)  # The failure is known before the call is executed.
        self.at(self._latency(), deliver)
        if rng.random() < weather.doubled:
            self.at(self._latency(), deliver)

    def _latency(self) -> float:
        times = 100 if self.rng.random() < self.weather.slow else 1
        return self.rng.uniform(*self.weather.latency_s) * times
