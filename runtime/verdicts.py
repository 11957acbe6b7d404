"""What one process tells others of an app about a host: that it is there, is dead, does not answer, or answers again.

On Ray the guardian says it, and nobody else's word counts: before it speaks of a death it has freed the
names of all who died (SEMANTICS 3). Each verdict travels behind what was sent before it.
"""

from __future__ import annotations

from regrow.runtime.lifecycle import ExitReason
from regrow.runtime.message import Message


class HostDied(Message):
    """Nothing of that host's life will come any more."""

    host: str
    reason: ExitReason


class HostUnreachable(Message):
    """That host does not answer. It may live, so nothing that was there starts elsewhere."""

    host: str


class HostReachable(Message):
    """That host answers again; it was not dead."""

    host: str


class HostReady(Message):
    """That host is ready for agents; who will ask them may greet it, so that the first ask need not wait."""

    host: str


Verdict = HostDied | HostUnreachable | HostReachable
