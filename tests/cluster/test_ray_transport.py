"""Every call of the Ray transport ends, whatever became of it: a link waits for that."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RaySystemError

from regrow.cluster.ray_transport import RayTransport
from regrow.runtime.address import HostId
from regrow.runtime.transport import PeerDead, PeerLost
from tests.runtime.called import called

if TYPE_CHECKING:
    from collections.abc import Callable

PEER = HostId("peer-1")


class Handle:
    """What stands for an actor here: its calls leave as the test says."""

    def __init__(self, leave: Callable[[], Future[bytes | None]]) -> None:
        self._leave = leave
        self.receive = self.ping = self

    def remote(self, *arguments: object) -> Handle:
        self._left = self._leave()
        return self

    def future(self) -> Future[bytes | None]:
        return self._left

    def __await__(self) -> Any:
        return asyncio.wrap_future(self._left).__await__()


def ended_with(error: BaseException | None) -> Future[bytes | None]:
    """A call that has ended; None for one that was taken back."""
    future: Future[bytes | None] = Future()
    if error is None:
        future.cancel()
    else:
        future.set_exception(error)
    return future


def to(leave: Callable[[], Future[bytes | None]]) -> RayTransport:
    transport = RayTransport(HostId("here"))
    transport.know(PEER, Handle(leave))
    return transport


@pytest.mark.parametrize("error", [ActorUnavailableError("away", None), ValueError("no error of Ray's"), None])
async def test_a_call_whose_outcome_nobody_knows_ends_as_lost(error: BaseException | None) -> None:
    with pytest.raises(PeerLost):
        await asyncio.wait_for(called(to(lambda: ended_with(error)), PEER, b"hello"), 10.0)


async def test_a_call_that_can_not_even_leave_ends_as_lost() -> None:
    def refuse() -> Future[bytes | None]:
        raise RaySystemError("no connection")

    with pytest.raises(PeerLost, match="no connection"):
        await asyncio.wait_for(called(to(refuse), PEER, b"hello"), 10.0)


async def test_a_call_to_who_has_died_ends_as_dead_and_the_way_there_is_forgotten() -> None:
    transport = to(lambda: ended_with(ActorDiedError()))

    with pytest.raises(PeerDead):
        await asyncio.wait_for(called(transport, PEER, b"hello"), 10.0)

    assert not transport.met
