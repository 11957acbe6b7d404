"""Messages that were taken to be stored, and were not when their agent left this process: they go on from here.

A sender elsewhere was told that its message is held, and a link has no word for «not after all»; it keeps the message
until it is stored, or this process ends. So this process sends it on under its id, again and again, until somebody has
stored it. A sender in this process is told at once, and keeps it itself.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog

from regrow.runtime.outcome import Outcome

if TYPE_CHECKING:
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


class _Queue:
    """What waits for one receiver, in its order, each with the mark that lets its sender forget it."""

    __slots__ = ("marks", "pause_s", "under_way")

    def __init__(self) -> None:
        self.marks: dict[Envelope, Callable[[], None]] = {}
        self.under_way = 0
        self.pause_s = 0.0


class Custody:
    """The messages that one process sends on."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._queues: dict[ActorId, _Queue] = {}
        self._count = 0

    def give_back(self, envelope: Envelope, *, at_once: bool = False) -> None:
        """The message was not stored here. `at_once`: its next life is started by being looked for."""
        if self._runtime.closed:
            return  # its sender hears that this process has ended
        queue = self._queues.get(envelope.receiver)
        if queue is not None and envelope in queue.marks:  # it was sent on from here, and is given back once more
            if envelope.on_settled is not None:
                self._runtime.delivery.settle_final(envelope, Outcome.NOT_HERE)
            return
        mark, envelope.mark = envelope.mark, None
        if mark is None:
            self._runtime.delivery.settle_final(envelope, Outcome.NOT_HERE)
            return
        if self._count >= MAX_IN_CUSTODY:
            log.warning("a message waits at its sender until this process ends", receiver=envelope.receiver)
            return
        self._count += 1
        if queue is None:
            queue = self._queues[envelope.receiver] = _Queue()
            queue.pause_s = AGAIN_FIRST_S
            self._runtime.loop.call_later(0.0 if at_once else AGAIN_FIRST_S, self._send, envelope.receiver, queue)
        if envelope.behind not in [ahead.command_id for ahead in queue.marks]:
            envelope.behind = None  # it was stored here, or its sender knows that it has arrived
        queue.marks[envelope] = mark

    def _send(self, receiver: ActorId, queue: _Queue) -> None:
        if self._runtime.closed:
            return
        queue.under_way = len(queue.marks)
        for envelope in list(queue.marks):
            envelope.on_settled = partial(self._settled, queue, envelope)
            self._runtime.delivery.send_again(envelope)

    def _settled(self, queue: _Queue, envelope: Envelope, outcome: Outcome) -> None:
        if self._runtime.closed:
            return
        if outcome is not Outcome.NOT_HERE:
            self._count -= 1
            mark = queue.marks.pop(envelope)
            follower = next((each for each in queue.marks if each.behind == envelope.command_id), None)
            if follower is not None:
                follower.behind = envelope.behind
            if outcome is not Outcome.TAKEN:
                self._runtime.delivery.dead(envelope, outcome)
            mark()
        queue.under_way -= 1
        if queue.under_way:
            return
        if queue.marks:  # what came meanwhile waits its turn
            queue.pause_s = min(2 * queue.pause_s, AGAIN_MAX_S)
            self._runtime.loop.call_later(queue.pause_s, self._send, envelope.receiver, queue)
        else:
            del self._queues[envelope.receiver]
