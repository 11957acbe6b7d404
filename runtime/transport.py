"""The port that carries packets between processes: Ray's actor calls in a cluster, queues in tests."""

from __future__ import annotations

from typing import Protocol

from regrow.runtime.address import HostId
from regrow.runtime.lifecycle import ExitReason


class PeerLost(Exception):
    """A call to a peer failed and may or may not have been executed; the peer may live."""


class PeerDead(Exception):
    """A call to a peer failed because its process is dead for certain."""

    def __init__(self, reason: ExitReason) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Transport(Protocol):
    """Carries packets to other processes and decides nothing."""

    def can_call(self, host: HostId) -> bool:
        """False for a peer that can not be called, such as a driver: it listens instead."""
        ...

    async def call(self, host: HostId, packet: bytes) -> bytes | None:
        """Hands a packet over and returns what came back. Raises PeerLost or PeerDead."""
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
