"""What every Transport keeps: packets come and go as they are; a dead peer is told apart from a silent one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from regrow.runtime.address import HostId
from regrow.runtime.lifecycle import ExitReason
from regrow.runtime.testing import Wires
from regrow.runtime.transport import PeerDead, PeerLost, Transport
from tests.integration.waiting import until
from tests.runtime.called import called

DRIVER, PEER = HostId("driver-1"), HostId("peer-1")


class Station:
    """A peer: turns packets round, and says to whoever listens what it is told to."""

    def __init__(self) -> None:
        self.news: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(self, host: str, packet: bytes) -> bytes:
        return b"" if packet == b"quiet" else host.encode() + b":" + packet[::-1]

    async def listened(self, host: str) -> bytes:
        return await self.news.get()

    def died(self, host: HostId, reason: ExitReason) -> None:
        raise AssertionError(f"{host} died, and nobody killed it")


class Field(Protocol):
    """One peer and the transport of a driver, which can not be called."""

    @property
    def transport(self) -> Transport:
        """The driver's."""
        ...

    async def say(self, packet: bytes) -> None:
        """Has the peer say something to whoever listens."""
        ...

    async def kill(self) -> None:
        """Kills the peer's process."""
        ...


class WiredField:
    """Over wires in this process, in real time."""

    def __init__(self) -> None:
        self._wires = Wires()
        self._station = Station()
        self._wires.join(PEER, self._station)
        self.transport = self._wires.transport(DRIVER, listens=True)

    async def say(self, packet: bytes) -> None:
        """See Field."""
        self._station.news.put_nowait(packet)

    async def kill(self) -> None:
        """See Field."""
        self._wires.cut(PEER)


class RayField:
    """Over actor calls to a process of its own."""

    def __init__(self, actor: Any, pid: int, transport: Transport) -> None:
        self._actor = actor
        self._pid = pid
        self.transport = transport

    async def say(self, packet: bytes) -> None:
        """See Field."""
        await self._actor.say.remote(packet)

    async def kill(self) -> None:
        """See Field."""
        os.kill(self._pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """A Ray for this file alone, whose peer is killed."""
    from regrow.cluster.config import RaySettings
    from regrow.cluster.ray_connect import RaySession

    folder = Path(tempfile.mkdtemp(prefix="rt-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.delenv("RAY_ADDRESS", raising=False)
        session = RaySession(RaySettings())
        session.open()
        yield
        session.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["wires", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow, pytest.mark.again])])
async def field(request: pytest.FixtureRequest) -> AsyncIterator[Field]:
    if request.param == "wires":
        yield WiredField()
        return
    request.getfixturevalue("ray_session")
    import ray

    from regrow.cluster.ray_transport import NAMESPACE, RayTransport, actor_name

    class Peer(Station):
        def pid(self) -> int:
            return os.getpid()

        async def say(self, packet: bytes) -> None:
            self.news.put_nowait(packet)

    remote: Any = ray.remote(max_restarts=0, num_cpus=0)(Peer)
    actor = remote.options(name=actor_name(PEER), namespace=NAMESPACE).remote()
    yield RayField(actor, await actor.pid.remote(), cast("Transport", RayTransport(DRIVER)))
    ray.kill(actor)


async def ended(call: Any) -> BaseException:
    """How a call to a dead peer ends; contact may be lost a few times before the death is certain."""
    with pytest.raises((PeerLost, PeerDead)) as failure:
        await call
    return failure.value


async def test_a_call_brings_its_packet_and_brings_the_answer_back(field: Field) -> None:
    assert await called(field.transport, PEER, b"\x00\xff packet") == b"driver-1:tekcap \xff\x00"


async def test_a_peer_may_have_nothing_to_answer(field: Field) -> None:
    assert not await called(field.transport, PEER, b"quiet")


async def test_many_calls_at_once_each_get_their_own_answer(field: Field) -> None:
    answers = await asyncio.gather(*(called(field.transport, PEER, b"%03d" % n) for n in range(100)))

    assert answers == [b"driver-1:" + (b"%03d" % n)[::-1] for n in range(100)]


async def test_who_listens_hears_what_the_peer_says_when_it_says_it(field: Field) -> None:
    listening = asyncio.ensure_future(field.transport.listen(PEER))
    await called(field.transport, PEER, b"quiet")
    heard_before = listening.done()

    await field.say(b"news")

    assert not heard_before
    assert await listening == b"news"


async def test_a_driver_listens_and_a_host_is_called(field: Field) -> None:
    assert field.transport.listens
    assert field.transport.can_call(PEER)
    assert not field.transport.can_call(DRIVER)


async def test_a_pending_call_ends_with_its_peer(field: Field) -> None:
    listening = asyncio.ensure_future(field.transport.listen(PEER))
    await called(field.transport, PEER, b"quiet")

    await field.kill()

    assert isinstance(await ended(listening), PeerLost | PeerDead)


async def test_a_peer_that_is_forgotten_is_found_again_when_it_is_called(field: Field) -> None:
    await called(field.transport, PEER, b"quiet")
    met = field.transport.met

    field.transport.forget(PEER)
    forgotten = field.transport.met
    answer = await called(field.transport, PEER, b"again")

    assert (met, forgotten) == ({PEER}, frozenset())
    assert answer == b"driver-1:niaga"


async def test_a_peer_that_is_greeted_is_met_before_it_is_called(field: Field) -> None:
    field.transport.forget(PEER)

    field.transport.greet(PEER)
    await until(lambda: field.transport.met, "it is met")

    assert await called(field.transport, PEER, b"hello") == b"driver-1:olleh"


async def test_calls_to_a_dead_peer_come_to_say_that_it_is_dead(field: Field) -> None:
    await field.kill()

    for _ in range(200):
        if isinstance(error := await ended(called(field.transport, PEER, b"hello")), PeerDead):
            assert error.reason.abnormal
            assert field.transport.met == frozenset()
            return
    raise AssertionError("the peer is dead, and nobody says so")
