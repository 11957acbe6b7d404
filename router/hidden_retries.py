"""How many attempts go over the wire that nobody has declared, and whether they are more than a budget holds. Pure.

A client that repeats by itself multiplies what its callers repeat, and costs money where nobody sees it. So each
attempt is counted against the call that has declared it: what is over, and what repeats a failed attempt without any
call, is hidden. All calls to one address share a budget: a share of them, and a few more, since connections may break.
What was sent is told to the store of runs with each hidden attempt, and with no other, so a declared one costs nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from regrow.runtime.guard_errors import HiddenRetries
from regrow.runtime.guards import Finding, Rung
from regrow.runtime.run_store import WireCounts

GRACE: Final = 3
"""So many hidden attempts are borne however few the calls are."""
MAX_OPEN: Final = 10_000
"""Calls and failed attempts that are remembered; those of longest ago are forgotten first."""
AGAIN_WITHIN_S: Final = 300.0
"""What is sent so long after the same has failed repeats it."""
REDIRECTS: Final = range(300, 400)


@dataclass(slots=True)
class _Call:
    declared: int
    attempts: int = 0


def over_budget(to: str, sent: WireCounts, share: float) -> Finding | None:
    """What is to be said of a hidden attempt, where all that was `sent` to an address has come to this with it."""
    if sent.hidden <= share * sent.calls + GRACE:
        return None
    return Finding(
        error=HiddenRetries,
        rung=Rung.REFUSE,
        text=(
            f"{to} was sent {sent.attempts:.0f} attempts for {sent.calls:.0f} calls, and {sent.hidden:.0f} "
            f"of them were declared by nobody (retry_share={share:g}): a client repeats by itself; give it "
            "max_retries=0, and have one layer repeat"
        ),
        evidence={
            "address": to,
            "calls": round(sent.calls),
            "attempts": round(sent.attempts),
            "hidden": round(sent.hidden),
        },
    )


class RetryMeter:
    """Tells hidden attempts from others, and keeps what was sent by address until it is told."""

    def __init__(self) -> None:
        self._untold: dict[str, WireCounts] = {}
        self._calls: OrderedDict[str, _Call] = OrderedDict()
        self._failed: OrderedDict[tuple[str, str], float] = OrderedDict()

    def called(self, to: str, call: str, *, declared: int = 1) -> None:
        """A call to this address begins, which says itself that it may take so many attempts."""
        self._add(to, WireCounts(calls=1))
        self._calls[call] = _Call(declared)
        if len(self._calls) > MAX_OPEN:
            self._calls.popitem(last=False)

    def sent(self, to: str, call: str, body: str, now_s: float) -> bool:
        """Whether an attempt that goes over the wire is hidden. `body` is a likeness of what it sends.

        It is one for this call or, where that is empty, for none that is known.
        """
        hidden = self._is_hidden(to, call, body, now_s)
        self._add(to, WireCounts(attempts=1, hidden=hidden))
        return hidden

    def untold(self, to: str) -> WireCounts:
        """What was sent there since this was asked last."""
        return self._untold.pop(to, WireCounts())

    def not_told(self, to: str, counts: WireCounts) -> None:
        """Takes back what was to be told, and could not be."""
        self._add(to, counts)

    def answered(self, to: str, call: str, body: str, status: int, now_s: float) -> None:
        """An attempt has ended with this HTTP status, 0 where it was cut off."""
        if status in REDIRECTS and call in self._calls:
            self._calls[call].attempts -= 1  # the next one follows it, and repeats nothing
        if 0 < status < 400:
            self._failed.pop((to, body), None)
            return
        self._failed[to, body] = now_s
        self._failed.move_to_end((to, body))
        if len(self._failed) > MAX_OPEN:
            self._failed.popitem(last=False)

    def _add(self, to: str, counts: WireCounts) -> None:
        self._untold[to] = self._untold.get(to, WireCounts()).plus(counts)

    def _is_hidden(self, to: str, call: str, body: str, now_s: float) -> bool:
        known = self._calls.get(call)
        if known is not None:
            known.attempts += 1
            return known.attempts > known.declared
        failed_s = self._failed.get((to, body))
        return failed_s is not None and now_s - failed_s <= AGAIN_WITHIN_S
