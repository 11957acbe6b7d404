"""How many attempts go over the wire that nobody has declared, and whether they are more than a budget holds. Pure.

A client that repeats by itself multiplies what its callers repeat, and costs money where nobody sees it. So each
attempt is counted against the call that has declared it: what is over, and what repeats a failed attempt without any
call, is hidden. All calls to one address share a budget: a share of them, and a few more, since connections may break.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from regrow.runtime.guard_errors import HiddenRetries
from regrow.runtime.guards import Finding, Rung

GRACE: Final = 3
"""So many hidden attempts are borne however few the calls are."""
WINDOW_CALLS: Final = 1_000
"""After so many calls to an address all its counts are halved, so that what is long ago counts less."""
MAX_OPEN: Final = 10_000
"""Calls and failed attempts that are remembered; those of longest ago are forgotten first."""
AGAIN_WITHIN_S: Final = 300.0
"""What is sent so long after the same has failed repeats it."""
REDIRECTS: Final = range(300, 400)


@dataclass(slots=True)
class _Call:
    declared: int
    attempts: int = 0


@dataclass(slots=True)
class _Counts:
    calls: float = 0.0
    attempts: float = 0.0
    hidden: float = 0.0


class RetryMeter:
    """Counts calls and attempts by address. `share` of the calls may be hidden attempts."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._counts: dict[str, _Counts] = {}
        self._calls: OrderedDict[str, _Call] = OrderedDict()
        self._failed: OrderedDict[tuple[str, str], float] = OrderedDict()

    def called(self, to: str, call: str, *, declared: int = 1) -> None:
        """A call to this address begins, which says itself that it may take so many attempts."""
        counts = self._counts.setdefault(to, _Counts())
        counts.calls += 1
        if counts.calls > WINDOW_CALLS:
            counts.calls, counts.attempts, counts.hidden = counts.calls / 2, counts.attempts / 2, counts.hidden / 2
        self._calls[call] = _Call(declared)
        if len(self._calls) > MAX_OPEN:
            self._calls.popitem(last=False)

    def sent(self, to: str, call: str, body: str, now_s: float) -> Finding | None:
        """An attempt goes over the wire, for a call or, where that is empty, for none that is known.

        What is to be said of it, before it leaves; `body` is a likeness of what it sends.
        """
        counts = self._counts.setdefault(to, _Counts())
        counts.attempts += 1
        if not self._is_hidden(to, call, body, now_s):
            return None
        counts.hidden += 1
        if counts.hidden <= self._share * counts.calls + GRACE:
            return None
        return Finding(
            error=HiddenRetries,
            rung=Rung.REFUSE,
            text=(
                f"{to} was sent {counts.attempts:.0f} attempts for {counts.calls:.0f} calls, and {counts.hidden:.0f} "
                f"of them were declared by nobody (retry_share={self._share:g}): a client repeats by itself; give it "
                "max_retries=0, and have one layer repeat"
            ),
            evidence={
                "address": to,
                "calls": round(counts.calls),
                "attempts": round(counts.attempts),
                "hidden": round(counts.hidden),
            },
        )

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

    def _is_hidden(self, to: str, call: str, body: str, now_s: float) -> bool:
        known = self._calls.get(call)
        if known is not None:
            known.attempts += 1
            return known.attempts > known.declared
        failed_s = self._failed.get((to, body))
        return failed_s is not None and now_s - failed_s <= AGAIN_WITHIN_S
