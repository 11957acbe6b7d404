"""How runs of calls over the wire are made up, with and without retries in hiding. It imports nothing of Regrow."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from guard_events import Event

FAILURES = (429, 500, 502, 503, 0)


class Wire:
    """Writes the calls and attempts of one run, on a clock of its own."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now_s = rng.uniform(0, 1e5)
        self.events: list[Event] = []
        self.to = rng.choice(("models.example", "api.example:8080", "crm.example"))
        self._calls = 0

    def body(self) -> str:
        return f"{self.rng.getrandbits(64):016x}"

    def request(self, *, declared: int = 1) -> str:
        self._calls += 1
        self.now_s += self.rng.uniform(0.05, 4.0)
        call = f"c{self._calls}"
        self._add("request", id=call, declared=declared)
        return call

    def attempt(self, call: str, body: str, status: int) -> None:
        took_s = self.rng.uniform(0.05, 2.0)
        self._add("attempt", request=call, body=body, status=status, took=took_s)
        self.now_s += took_s

    def failure(self) -> int:
        return self.rng.choice(FAILURES)

    def good(self, number: int) -> None:
        """So many calls that go well."""
        for _ in range(number):
            self.attempt(self.request(), self.body(), 200)

    def _add(self, kind: str, **fields: Any) -> None:
        self.events.append({"kind": kind, "to": self.to, "at": self.now_s, **fields})


WireShape = Callable[[Wire], int]


# ---- runaways -----------------------------------------------------------------------------------


def sdk_default(w: Wire) -> int:
    """A client repeats each failure twice, as SDKs do unless they are told not to."""
    share = w.rng.uniform(0.3, 1.0)
    for _ in range(w.rng.randint(10, 40)):
        call, body, fails = w.request(), w.body(), w.rng.random() < share
        for repeat in range(3 if fails else 1):
            w.attempt(call, body, w.failure() if fails and repeat < 2 else 200)
            w.now_s += 0.5 * 2**repeat
    return 0


def storm(w: Wire) -> int:
    """The provider is down, and each call is repeated five to ten times."""
    w.good(w.rng.randint(0, 20))
    begins = len(w.events)
    for _ in range(w.rng.randint(5, 15)):
        call, body = w.request(), w.body()
        for _ in range(w.rng.randint(5, 10)):
            w.attempt(call, body, w.failure())
    return begins


def layers(w: Wire) -> int:
    """Three attempts are declared, and below them each is made three times."""
    for _ in range(w.rng.randint(6, 20)):
        call, body = w.request(declared=3), w.body()
        for _ in range(9):
            w.attempt(call, body, w.failure())
    return 0


def proxy(w: Wire) -> int:
    """What failed is sent again without any call that is known, as a proxy does."""
    for _ in range(w.rng.randint(8, 30)):
        body = w.body()
        w.attempt(w.request(), body, w.failure())
        for repeat in range(w.rng.randint(1, 4)):
            w.now_s += 0.3 * 2**repeat
            w.attempt("", body, w.failure())
    return 0


def late_storm(w: Wire) -> int:
    """It has gone well for long, and then every call is repeated."""
    w.good(w.rng.randint(50, 150))
    begins = len(w.events)
    for _ in range(30):
        call, body = w.request(), w.body()
        for _ in range(w.rng.randint(2, 4)):
            w.attempt(call, body, w.failure())
    return begins


def after_timeouts(w: Wire) -> int:
    """Every call that is cut off is sent once more, so that it may be paid twice."""
    for _ in range(w.rng.randint(20, 40)):
        call, body = w.request(), w.body()
        if w.rng.random() < 0.5:
            w.attempt(call, body, 0)
        w.attempt(call, body, 200)
    return 0


def redirected_storm(w: Wire) -> int:
    """Each attempt is redirected first, and repeated all the same."""
    for _ in range(w.rng.randint(10, 25)):
        call, body = w.request(), w.body()
        for _ in range(3):
            w.attempt(call, body, 307)
            w.attempt(call, body, w.failure())
    return 0


# ---- work ---------------------------------------------------------------------------------------


def all_well(w: Wire) -> int:
    """Nothing fails."""
    w.good(w.rng.randint(20, 80))
    return 0


def failures(w: Wire) -> int:
    """Calls fail, and nobody repeats them."""
    for _ in range(w.rng.randint(20, 60)):
        w.attempt(w.request(), w.body(), w.failure() if w.rng.random() < 0.4 else 200)
    return 0


def declared(w: Wire) -> int:
    """Calls say how often they may try, and keep to it."""
    for _ in range(w.rng.randint(10, 40)):
        number = w.rng.randint(1, 4)
        call, body = w.request(declared=number), w.body()
        for _ in range(w.rng.randint(0, number - 1)):
            w.attempt(call, body, w.failure())
            w.now_s += 1.0
        w.attempt(call, body, 200)
    return 0


def asked_anew(w: Wire) -> int:
    """Who gets a failure asks anew: each attempt has a call of its own."""
    for _ in range(w.rng.randint(10, 30)):
        body = w.body()
        for _ in range(w.rng.randint(0, 3)):
            w.attempt(w.request(), body, w.failure())
            w.now_s += 2.0
        w.attempt(w.request(), body, 200)
    return 0


def cut_now_and_then(w: Wire) -> int:
    """A connection breaks at times before anything was sent, and the transport connects again."""
    for _ in range(w.rng.randint(30, 200)):
        call, body = w.request(), w.body()
        if w.rng.random() < 0.03:
            w.attempt(call, body, 0)
        w.attempt(call, body, 200)
    return 0


def redirected(w: Wire) -> int:
    """Many calls are redirected once or twice."""
    for _ in range(w.rng.randint(20, 50)):
        call, body = w.request(), w.body()
        for _ in range(w.rng.randint(0, 2)):
            w.attempt(call, body, w.rng.choice((302, 307, 308)))
        w.attempt(call, body, 200)
    return 0


def same_body(w: Wire) -> int:
    """The same is sent over and over, each time by a call of its own; some fail."""
    body = w.body()
    for _ in range(w.rng.randint(30, 80)):
        w.attempt(w.request(), body, w.failure() if w.rng.random() < 0.2 else 200)
    return 0


def uncalled(w: Wire) -> int:
    """Attempts of which nobody knows a call, each for something else; some fail."""
    w.good(w.rng.randint(0, 10))
    for _ in range(w.rng.randint(20, 60)):
        w.now_s += 1.0
        w.attempt("", w.body(), w.failure() if w.rng.random() < 0.3 else 200)
    return 0


SEEN: Sequence[tuple[WireShape, bool]] = (
    *((each, True) for each in (sdk_default, storm, layers, proxy)),
    *((each, False) for each in (all_well, failures, declared, asked_anew)),
)
HELD_OUT: Sequence[tuple[WireShape, bool]] = (
    *((each, True) for each in (late_storm, after_timeouts, redirected_storm)),
    *((each, False) for each in (cut_now_and_then, redirected, same_body, uncalled)),
)
"""Each shape, and whether it is a runaway."""
