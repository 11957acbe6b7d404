"""The virtual clock, the probe and the wires, on which other tests stand."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from regrow.runtime import virtual_time
from regrow.runtime.address import HostId
from regrow.runtime.lifecycle import ExitReason, Killed
from regrow.runtime.testing import CALM, START_S, FaultPlan, Probe, Stuck, Wires, pass_time, run_virtual, virtual
from regrow.runtime.transport import PeerDead, PeerLost
from tests.runtime.called import called
from tests.runtime.scripted import Echo, Note, Process

if TYPE_CHECKING:
    from regrow.runtime.testing import LoopbackTransport

A, B = HostId("a#1"), HostId("b#1")


# ---- the clock -----------------------------------------------------------------------------------


def test_an_hour_passes_at_once() -> None:
    async def wait() -> float:
        await pass_time(3600.0)
        return asyncio.get_running_loop().time()

    began_s = time.monotonic()

    assert run_virtual(wait()) == START_S + 3600.0
    assert time.monotonic() - began_s < 5.0


@virtual
async def test_timers_fire_in_the_order_of_their_times() -> None:
    fired: list[str] = []
    loop = asyncio.get_running_loop()
    loop.call_later(2.0, fired.append, "second")
    loop.call_later(1.0, fired.append, "first")

    await pass_time(1.5)
    by_then = list(fired)
    await pass_time(1.0)

    assert (by_then, fired) == (["first"], ["first", "second"])


@virtual
async def test_timeouts_of_asyncio_obey_it() -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(loop.create_future(), 30.0)

    assert loop.time() - began_s == pytest.approx(30.0)


def test_what_waits_for_something_that_can_not_come_is_stuck_and_does_not_hang() -> None:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck, match="nothing is ready and no timer is set"):
        run_virtual(wait())


@virtual
async def test_time_stands_still_while_a_thread_works() -> None:
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    result = await loop.run_in_executor(None, sum, (1, 2))

    assert (result, loop.time()) == (3, began_s)


def test_threads_that_do_not_end_are_named_where_no_timer_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual_time, "STUCK_S", 0.05)
    released = threading.Event()

    def blocks() -> None:
        released.wait()

    async def wait() -> None:
        await asyncio.get_running_loop().run_in_executor(pool, blocks)

    with ThreadPoolExecutor(1, thread_name_prefix="blocked") as pool:
        try:
            with pytest.raises(Stuck, match=r"only threads work: .*blocked_0 in .*blocks at test_testing\.py:\d+"):
                run_virtual(wait())
        finally:
            released.set()


# ---- the probe -----------------------------------------------------------------------------------


@virtual
async def test_a_probe_gives_its_messages_in_order_and_waits_for_the_next() -> None:
    process, probe = Process(), Probe()
    ref = await process.start("probe", lambda: probe)
    ref.tell_nowait(Note(n=1))
    asyncio.get_running_loop().call_later(2.0, ref.tell_nowait, Note(n=2))

    assert [await probe.expect(Note), await probe.expect(Note)] == [Note(n=1), Note(n=2)]


@virtual
async def test_a_probe_says_what_came_instead_and_what_did_not_come() -> None:
    process, probe = Process(), Probe()
    ref = await process.start("probe", lambda: probe)
    await ref.tell(Note(n=1))

    with pytest.raises(AssertionError, match=r"expected a Echo, got Note\(n=1\)"):
        await probe.expect(Echo)
    with pytest.raises(TimeoutError):
        await probe.expect(Note, within_s=1.0)


@virtual
async def test_a_request_waits_until_the_test_answers_it() -> None:
    process, probe = Process(), Probe()
    asking = asyncio.ensure_future((await process.start("probe", lambda: probe)).ask(Echo(text="?")))

    assert (await probe.expect(Echo)).text == "?"
    probe.reply("!")

    assert await asking == "!"


# ---- the wires -----------------------------------------------------------------------------------


class Station:
    """A host that keeps what it is sent and answers with how much that was."""

    def __init__(self) -> None:
        self.got: list[tuple[HostId, bytes]] = []
        self.deaths: list[tuple[HostId, ExitReason]] = []
        self.news: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive(self, host: HostId, packet: bytes) -> bytes:
        self.got.append((host, packet))
        return b"%d" % len(self.got)

    async def listened(self, host: HostId) -> bytes:
        return await self.news.get()

    def died(self, host: HostId, reason: ExitReason) -> None:
        self.deaths.append((host, reason))


def pair(plan: FaultPlan = CALM, seed: int = 0) -> tuple[Wires, LoopbackTransport, Station, Station]:
    """Wires between two stations, and the transport of the first."""
    wires, a, b = Wires(seed, plan), Station(), Station()
    wires.join(A, a)
    wires.join(B, b)
    return wires, wires.transport(A), a, b


async def outcomes(transport: LoopbackTransport, calls: int) -> list[str]:
    """How so many calls ended."""

    async def one(n: int) -> str:
        try:
            return (await called(transport, B, b"%d" % n) or b"").decode()
        except PeerLost:
            return "lost"

    return [await one(n) for n in range(calls)]


@virtual
async def test_a_lost_request_is_not_executed_and_a_lost_reply_was() -> None:
    _, requests, _, unheard = pair(FaultPlan(request_lost=1.0))
    _, replies, _, heard = pair(FaultPlan(reply_lost=1.0))

    assert await outcomes(requests, 3) == await outcomes(replies, 3) == ["lost"] * 3
    assert (len(unheard.got), len(heard.got)) == (0, 3)


@virtual
async def test_a_doubled_call_is_executed_twice() -> None:
    _, transport, _, b = pair(FaultPlan(doubled=1.0))

    await outcomes(transport, 3)
    await pass_time(1.0)

    assert len(b.got) == 6


@virtual
async def test_calls_overtake_each_other() -> None:
    _, transport, _, b = pair(FaultPlan(slow=0.3))

    await asyncio.gather(*(called(transport, B, b"%d" % n) for n in range(30)))

    numbers = [int(packet) for _, packet in b.got]
    assert numbers != sorted(numbers)
    assert sorted(numbers) == list(range(30))


def test_one_seed_gives_one_course_and_another_seed_another() -> None:
    async def run(seed: int) -> list[str]:
        _, transport, _, _ = pair(FaultPlan(request_lost=0.3, reply_lost=0.3), seed)
        return await outcomes(transport, 20)

    assert run_virtual(run(1)) == run_virtual(run(1))
    assert run_virtual(run(1)) != run_virtual(run(2))


@virtual
async def test_a_death_ends_what_runs_there_and_is_told_to_the_others_later() -> None:
    wires, transport, a, b = pair()
    listening = asyncio.ensure_future(transport.listen(B))
    await pass_time(1.0)

    wires.cut(B, Killed(detail="by hand"))
    told_at_once = list(a.deaths)
    await asyncio.wait([listening])
    await pass_time(1.0)

    assert isinstance(listening.exception(), PeerLost | PeerDead)
    assert (told_at_once, a.deaths, b.deaths) == ([], [(B, Killed(detail="by hand"))], [])
    assert wires.hosts == [A]


@virtual
async def test_calls_to_the_dead_and_from_the_dead_fail() -> None:
    wires, transport, _, b = pair()
    wires.cut(A)

    assert await outcomes(transport, 3) == ["lost"] * 3
    assert b.got == []


@virtual
async def test_who_listens_can_not_be_called() -> None:
    wires, _, _, _ = pair()
    driver = wires.transport(HostId("driver#1"), listens=True)

    assert (driver.listens, driver.can_call(A), wires.transport(A).can_call(HostId("driver#1"))) == (True, True, False)
