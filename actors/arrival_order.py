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


class ArrivalOrder:
    """The last row that one receiver has seen of each sender; pure."""

    def __init__(self) -> None:
        self._last: dict[ActorId | None, str | None] = {}

    def takes(self, envelope: Envelope) -> bool:
        """Whether this row is in order, and then it is the last one of its sender."""
        sender = envelope.origin.sender.actor if envelope.origin.sender is not None else None
        if envelope.behind is not None and self._last.get(sender) not in (envelope.behind, envelope.command_id):
            return False
        self._last.pop(sender, None)
        self._last[sender] = envelope.command_id
        if len(self._last) > MAX_SENDERS:
            del self._last[next(iter(self._last))]
        return True
