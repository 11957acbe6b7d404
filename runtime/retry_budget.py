"""How many calls may be repeated: a share of those that succeed, so that repeats do not drown who is ill already.

After gRPC's retry throttling (proposal A6): a failure takes a token, a success gives a tenth of one back, and a
call may be repeated while more than half of the tokens are there. Pure.
"""

from __future__ import annotations

from collections import OrderedDict

TOKENS = 10.0
"""Of a name at the start, and at most: five failures in a row may be followed by another try."""
PER_SUCCESS = 0.1
MAX_NAMES = 1_000
"""Of those, the one that was used longest ago is forgotten for another."""


class RetryBudget:
    """The tokens of one process, by the name of what is called."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[str, float] = OrderedDict()

    def succeeded(self, name: str) -> None:
        """A call has succeeded."""
        self._put(name, self._take(name) + PER_SUCCESS)

    def failed(self, name: str) -> bool:
        """A call has failed; True when it may be repeated."""
        left = self._take(name) - 1.0
        self._put(name, left)
        return left > TOKENS / 2

    def _take(self, name: str) -> float:
        return self._tokens.pop(name, TOKENS)

    def _put(self, name: str, tokens: float) -> None:
        self._tokens[name] = min(max(tokens, 0.0), TOKENS)
        if len(self._tokens) > MAX_NAMES:
            self._tokens.popitem(last=False)
