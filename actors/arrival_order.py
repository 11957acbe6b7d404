"""Whether what an outbox elsewhere has sent may be taken now, or would overtake what was sent in front of it.

Rows of one receiver that are on their way together may come back one by one: the first finds its receiver away, and the
second finds it there. So each says behind which one it was sent, as long as that is on its way, and is taken only by
who has seen that one. What is turned away stays with its sender, which then sends it behind the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId
    from regrow.runtime.envelope import Envelope

MAX_SENDERS = 1_000
"""Of how many senders the last row is known; of one that was forgotten, a row goes alone once."""
MAX_TURNED_AWAY = 200
"""Of how many rows of one sender it is known that they were turned away; with more, the sender is forgotten."""


class _Seen:
    """What one receiver has seen of one sender."""

    __slots__ = ("last", "turned_away")

    def __init__(self) -> None:
        self.last: str | None = None
        self.turned_away: set[str | None] = set()
        """Rows whose sender knows that they were not taken, though an earlier copy of them may have been."""


class ArrivalOrder:
    """The last row that one receiver has seen of each sender; pure."""

    def __init__(self) -> None:
        self._seen: dict[ActorId | None, _Seen] = {}

    def takes(self, envelope: Envelope, *, has_room: bool = True) -> bool:
        """Whether this row is in order and there is room for it, and then it is the last one of its sender."""
        sender = envelope.origin.sender.actor if envelope.origin.sender is not None else None
        seen = self._seen.pop(sender, None) or _Seen()
        is_taken = has_room and _is_in_order(envelope, seen)
        if is_taken:
            seen.last = envelope.command_id
            if envelope.behind is None:
                seen.turned_away.clear()  # all that is in front of this one has arrived
            seen.turned_away.discard(envelope.command_id)
        else:
            seen.turned_away.add(envelope.command_id)
        if len(seen.turned_away) <= MAX_TURNED_AWAY:
            self._seen[sender] = seen
        if len(self._seen) > MAX_SENDERS:
            del self._seen[next(iter(self._seen))]
        return is_taken


def _is_in_order(envelope: Envelope, seen: _Seen) -> bool:
    """Behind a row that was turned away none is taken, also where an earlier copy of it was: that may yet be lost.

    A sender that has gone to another process sends copies of what is being stored here. If 8 and 9 of them came back
    and 10, the last one seen, did not, 10 would be stored before them should the receiver leave with the first copies.
    """
    if envelope.behind is None:
        return True
    return envelope.behind not in seen.turned_away and seen.last in (envelope.behind, envelope.command_id)
