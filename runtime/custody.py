"""Messages that were taken to be stored, and were not when their agent left this process: they go on from here.

A sender elsewhere was told that its message is held, and a link has no word for «not after all»; it keeps the message
until it is stored, or this process ends. So this process sends it on under its id, again and again, until somebody has
stored it. A sender in this process is told at once, and keeps it itself.

Two processes may have the same message, each on its way to the other: nothing here waits until what is on its way is
heard of, and a copy that comes back takes the place of what was sent.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog

from regrow.runtime.outcome import Outcome

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from regrow.runtime.address import ActorId
    from regrow.runtime.envelope import Envelope
    from regrow.runtime.runtime import Runtime

log = structlog.get_logger("regrow.delivery")

AGAIN_FIRST_S = 1.0
AGAIN_MAX_S = 60.0
"""Between two tries to send a message on."""
MAX_IN_CUSTODY = 10_000
"""How many messages one process sends on; what is beyond waits at its sender until this process ends."""


class _Kept:
    """One message, with the marks that let those who sent it forget it."""

    __slots__ = ("envelope", "is_on_way", "marks")

    def __init__(self, envelope: Envelope, mark: Callable[[], None]) -> None:
        self.envelope = envelope
        self.marks = [mark]
        self.is_on_way = False


class _Queue:
    """What is kept for one receiver, by command id, in its order."""

    __slots__ = ("kept", "pause_s", "timer")

    def __init__(self) -> None:
        self.kept: dict[str | None, _Kept] = {}
        self.pause_s = AGAIN_FIRST_S
        self.timer: asyncio.TimerHandle | None = None


class Custody:
    """The messages that one process sends on."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._queues: dict[ActorId, _Queue] = {}
        self._count = 0

    def keeps(self, envelope: Envelope) -> bool:
        """Whether the envelope is sent from here until it is stored."""
        return self._found(envelope) is not None

    def give_back(self, envelope: Envelope, *, at_once: bool = False) -> None:
        """The message was not stored here. `at_once`: its next life is started by being looked for."""
        if self._runtime.closed:
            return  # its sender hears that this process has ended
        if (kept := self._found(envelope)) is not None and not kept.is_on_way:
            return
        mark, envelope.mark = envelope.mark, None
        if mark is None:  # it was sent from here, perhaps by this custody
            self._runtime.delivery.settle_final(envelope, Outcome.NOT_HERE)
            return
        if self._count >= MAX_IN_CUSTODY:
            log.warning("a message waits at its sender until this process ends", receiver=envelope.receiver)
            return
        queue = self._queues.setdefault(envelope.receiver, _Queue())
        earlier = queue.kept.get(envelope.command_id)
        if earlier is None:
            self._count += 1
            queue.kept[envelope.command_id] = _Kept(envelope, mark)
        else:  # whoever had that copy may wait for this process by now
            envelope.behind = earlier.envelope.behind
            earlier.envelope, earlier.is_on_way = envelope, False
            earlier.marks.append(mark)
        self._again(queue, envelope.receiver, 0.0 if at_once else queue.pause_s)

    def _found(self, envelope: Envelope) -> _Kept | None:
        queue = self._queues.get(envelope.receiver)
        kept = queue.kept.get(envelope.command_id) if queue is not None else None
        return kept if kept is not None and kept.envelope is envelope else None

    def _again(self, queue: _Queue, receiver: ActorId, pause_s: float) -> None:
        if queue.timer is None:
            queue.timer = self._runtime.loop.call_later(pause_s, self._send, queue, receiver)

    def _send(self, queue: _Queue, receiver: ActorId) -> None:
        """Sends what is not on its way."""
        queue.timer = None
        if self._runtime.closed:
            return
        queue.pause_s = min(2 * queue.pause_s, AGAIN_MAX_S)
        for kept in list(queue.kept.values()):
            if not kept.is_on_way:
                kept.is_on_way = True
                if kept.envelope.behind not in queue.kept:
                    kept.envelope.behind = None  # that was stored, or its sender knows that it has arrived
                kept.envelope.on_settled = partial(self._settled, queue, kept, kept.envelope)
                self._runtime.delivery.send_again(kept.envelope)

    def _settled(self, queue: _Queue, kept: _Kept, envelope: Envelope, outcome: Outcome) -> None:
        if self._runtime.closed or queue.kept.get(envelope.command_id) is not kept:
            return
        if outcome in (Outcome.TAKEN, Outcome.TOO_LARGE):
            self._let_go(queue, envelope, kept)
            if outcome is Outcome.TOO_LARGE:  # of all that may become of it, only this can not change
                self._runtime.delivery.dead(envelope, outcome)
        elif kept.envelope is envelope:
            kept.is_on_way = False
            self._again(queue, envelope.receiver, queue.pause_s)

    def _let_go(self, queue: _Queue, envelope: Envelope, kept: _Kept) -> None:
        self._count -= 1
        del queue.kept[envelope.command_id]
        queue.pause_s = AGAIN_FIRST_S
        follower = next((each.envelope for each in queue.kept.values() if _is_behind(each, envelope)), None)
        if follower is not None:
            follower.behind = kept.envelope.behind
        for mark in kept.marks:
            mark()
        if not queue.kept:
            if queue.timer is not None:
                queue.timer.cancel()
            del self._queues[envelope.receiver]


def _is_behind(kept: _Kept, envelope: Envelope) -> bool:
    return kept.envelope.behind is not None and kept.envelope.behind == envelope.command_id
