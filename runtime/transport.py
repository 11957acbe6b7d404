"""The port that carries packets between processes: Ray's actor calls in a cluster, queues in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from regrow.runtime.address import HostId
from regrow.runtime.lifecycle import ExitReason


class PeerLost(Exception):
    """A call to a peer failed and may or may not have been executed; the peer may live."""


class PeerDead(Exception):
    """A call to a peer failed because its process is dead for certain."""

    def __init__(self, reason: ExitReason) -> None:
        super().__init__(str(reason))
        self.reason = reason


CallEnd: TypeAlias = bytes | PeerLost | PeerDead | None
"""How a call ended: with what came back, which may be nothing, or with what its failure says."""


class Transport(Protocol):
    """Carries packets to other processes and decides nothing."""

    def can_call(self, host: HostId) -> bool:
        """False for a peer that can not be called, such as a driver: it listens instead."""
        ...

    def call(self, host: HostId, packet: bytes, ended: Callable[[CallEnd], None]) -> None:
        """Hands a packet over, at once where it can. `ended` is told later, once, on the loop that runs now.

        It is a function and no coroutine, since each turn of a loop that a call waits for is paid by every ask.
        """
        ...

    def greet(self, host: HostId) -> None:
        """Makes what a first call needs, such as a connection, so that it need not wait for that."""
        ...

    async def listen(self, host: HostId) -> bytes | None:
        """Waits until the peer has something for this process, which it can not call."""
        ...

    def forget(self, host: HostId) -> None:
        """The peer is dead: what is kept for calls to it may go."""
        ...

    @property
    def met(self) -> frozenset[HostId]:
        """The peers for which something is kept."""
        ...

    @property
    def listens(self) -> bool:
        """True when this process can not be called and must listen at every peer."""
        ...
