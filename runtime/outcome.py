"""What a receiver's host did with an envelope that was offered to a mailbox."""

from __future__ import annotations

import enum


class Outcome(enum.IntEnum):
    """The verdict on one offered envelope. The numbers of the first six are part of the wire format."""

    TAKEN = 0
    """It is in the mailbox, or was dropped by the mailbox's own policy and counted."""
    FULL = 1
    """No room, and the policy is to wait."""
    REJECTED = 2
    """No room, and the policy is to refuse."""
    NOT_HERE = 3
    """No such actor in this host, or another life of it than was asked for."""
    HELD = 4
    """It is in the mailbox and being stored; its sender is told when it is, and does not count on it before."""
    TOO_LARGE = 5
    """It passes the limit of what its receiver stores."""
    LOST = 6
    """The receiver's host died; it may or may not have run."""
    TOO_LATE = 7
    """It waited for room until its time was over."""
