"""Links under storms: hosts die, calls fail, overtake and double, and no row is lost, doubled or overtaken.

Which seeds run, and how a failure is repeated: tests/simulation/seeds.py.
"""

from __future__ import annotations

import random
from functools import partial

import pytest

from regrow.runtime.link import LinkSettings, RowState
from tests.simulation.link_history import SimRow
from tests.simulation.link_hosts import End, Host, Mailbox
from tests.simulation.link_net import CALM, Net, Weather
from tests.simulation.seeds import seeds

SEEDS = seeds("link", range(1, 11))
STORM_S = 1.0

SETTINGS = [
    LinkSettings(),
    LinkSettings(max_frame_rows=1, max_early_frames=2),
    LinkSettings(max_frame_rows=4, max_calls_in_flight=3, max_early_frames=3, max_waiting_rows=3),
    LinkSettings(max_frame_rows=16, max_unsettled_rows=32, max_waiting_rows=8, max_calls_in_flight=1),
    LinkSettings(max_frame_rows=64, max_frame_bytes=300, max_held_calls=3, max_calls_pending=4),
]
WEATHERS = [
    CALM,
    Weather(request_lost=0.2, reply_lost=0.2),
    Weather(doubled=0.3, slow=0.1),
    Weather(latency_s=(0.0001, 0.05), slow=0.05, request_lost=0.05, reply_lost=0.1, doubled=0.1),
]


class Source:
    """An agent that sends rows to receivers all over, and now and then takes one back."""

    def __init__(self, host: Host, rows: int) -> None:
        self.host = host
        self.net = host.net
        self.left = rows
        self.target: tuple[str, str] | None = None
        self.sent: list[tuple[End, SimRow]] = []

    def step(self) -> None:
        """Sends one row to somebody."""
        if not self.left:
            return
        self.left -= 1
        rng = self.net.rng
        if self.target is None or rng.random() < 0.2:
            self.target = self.any_target()
        peer, receiver = self.target
        row = self.net.row(self.host.life, receiver, needs_room=rng.random() < 0.95, is_ask=rng.random() < 0.3)
        self.send(self.host.end_to(self.net.hosts[peer]), row)

    def any_target(self) -> tuple[str, str]:
        """A host and a receiver there; many rows in a row go to it, so that it fills up."""
        peers = [name for name in self.net.hosts if name != self.host.name]
        receivers = ["fast", "fast", "slow", "slow", "slow", "picky", "mortal", "mortal", "nobody", "never"]
        return self.net.rng.choice(peers), self.net.rng.choice(receivers)

    def send(self, end: End, row: SimRow) -> None:
        """Sends it, or waits with it until the link has room again."""
        if not end.link.is_closed:
            if end.send(row):
                self.sent.append((end, row))
            elif row.receiver != "never":
                end.congested[partial(self.send, end, row)] = None
                return
        rng = self.net.rng
        if self.sent and rng.random() < 0.05:
            sent_on, sent = rng.choice(self.sent)
            sent_on.withdraw(sent)
        self.host.at(0.0 if rng.random() < 0.5 else rng.expovariate(200), self.step)


def start(net: Net, name: str, rows: int) -> None:
    """Starts a (new life of a) host with receivers of all sorts and two sources."""
    host = net.host(name)
    for receiver, capacity, service_s, rejects in (
        ("replies", 10_000, 0.0, False),
        ("fast", 50, 0.0001, False),
        ("slow", 5, 0.002, False),
        ("picky", 4, 0.002, True),
        ("never", 5, None, False),
        ("mortal", 4, 0.003, False),
    ):
        host.mailboxes[receiver] = Mailbox(host, receiver, capacity=capacity, service_s=service_s, rejects=rejects)
    host.at(net.rng.uniform(0.0, STORM_S), host.mailboxes["mortal"].stop)
    for _ in range(2):
        host.at(net.rng.uniform(0.0, 0.01), Source(host, rows).step)


def storm(seed: int) -> Net:
    """A net that lived through a storm of this seed and came to rest."""
    dice = random.Random(seed)
    net = Net(seed, weather=dice.choice(WEATHERS), settings=dice.choice(SETTINGS))
    names = [dice.choice(["driver", "host 0"]), *[f"host {number}" for number in range(1, dice.randint(2, 6))]]
    rows = 500 // len(names)

    def kill(name: str) -> None:
        if net.hosts[name].is_alive:
            net.hosts[name].die()
            net.at(dice.uniform(0.01, 0.6), lambda: start(net, name, rows // 2))

    for name in names:
        start(net, name, rows)
    for _ in range(dice.choice([0, 0, 1, 2, 3])):
        net.at(dice.uniform(0.01, STORM_S), lambda: kill(dice.choice(names)))
    net.at(STORM_S, lambda: setattr(net, "weather", CALM))
    net.run()
    return net


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_no_row_is_lost_doubled_or_overtaken_in_a_storm(seed: int) -> None:
    net = storm(seed)

    assert_silent(net)
    assert_all_arrived(net)
    assert_all_accounted_for(net)


@pytest.mark.heavy
@pytest.mark.slow
def test_one_seed_twice_gives_the_same_log() -> None:
    assert storm(7).lines == storm(7).lines


def test_a_receiver_that_never_reads_delays_nobody_else() -> None:
    net = Net(1, settings=LinkSettings(max_frame_rows=8, max_unsettled_rows=64, max_waiting_rows=10))
    here, there = net.host("here"), net.host("there")
    there.mailboxes["fast"] = Mailbox(there, "fast", capacity=100, service_s=0.0, rejects=False)
    there.mailboxes["never"] = Mailbox(there, "never", capacity=5, service_s=None, rejects=False)
    end = here.end_to(there)
    for step in range(300):
        here.at(step * 0.001, lambda: end.send(net.row(here.life, "never")))
        here.at(step * 0.001, lambda: end.send(net.row(here.life, "fast")))

    net.run()

    history = net.history
    fast = [number for number, row in history.accepted.items() if row.receiver == "fast"]
    assert len(fast) == 300
    assert max(history.taken_s[number] - history.accepted_s[number] for number in fast) < 0.01
    assert there.mailboxes["never"].counted == 5


def living_ends(net: Net) -> list[End]:
    return [end for host in net.hosts.values() for end in host.ends.values() if not end.link.is_closed]


def assert_silent(net: Net) -> None:
    """Nothing is left to say and no timer runs, though rows may wait for mailboxes that are never read."""
    for end in living_ends(net):
        net.history.check(end.link.poll(net.now + 60) is None, f"{end.host.life} still calls {end.peer.life}")
        net.history.check(not end.congested, f"{end.host.life} has room for {end.peer.life} and told nobody")
        net.history.check(end.link.next_due() is None, f"{end.host.life} has a timer for {end.peer.life}")


def assert_all_arrived(net: Net) -> None:
    """Whatever was sent to one that reads has been handled; the others' rows fill their mailboxes and wait."""
    lives = {host.life: host for host in net.hosts.values()}
    peers = {number: end.peer.life for end in living_ends(net) for number in end.sent}
    history = net.history
    for number, row in history.accepted.items():
        if number in history.withdrawn or peers.get(number) not in lives or row.sender not in lives:
            continue
        if row.receiver == "never" and row.needs_room:
            full = lives[peers[number]].mailboxes["never"].counted == 5
            history.check(number in history.taken_by or full, f"row {number} waits, but there is room")
        elif row.receiver != "never":
            ended = number in history.handled or number in history.turned_away
            history.check(ended, f"row {number} for {row.receiver} was accepted and never handled")
            told = number in history.told or (row.on_settled is None and number in history.handled)
            history.check(told, f"the sender of row {number} was never told")


def assert_all_accounted_for(net: Net) -> None:
    """Every link, closed in the end, returns just the rows that were neither handled nor turned away."""
    ends = living_ends(net)
    for end in ends:
        end.close()
    for number in {number for end in ends for number in end.sent} & net.history.returned.keys():
        state = net.history.returned[number]
        net.history.check(state in (RowState.WAITING, RowState.TAKEN), f"row {number} was {state} in a silent net")
        net.history.check(number not in net.history.handled, f"row {number} was handled and not forgotten")
