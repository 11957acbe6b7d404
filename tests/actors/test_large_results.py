"""What a step gives may be large: it is kept once, given again, bounded by name, and never made anew unseen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import Request
from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_errors import InQuarantine
from regrow.actors.step_retries import Retries
from regrow.actors.turn_history import read_about
from regrow.runtime.address import ActorId
from regrow.runtime.blobs import BlobRef
from regrow.runtime.journal_entries import JournalLimits
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, Unreliable, memory_journal, on_virtual_time

CLERK = ActorId("desk/clerk")
COMMAND = "019ab2d4-6c00-7000-8000-000000000001"
LIMITS = JournalLimits(step_bytes=100, blob_bytes=4_000, blobs_bytes=6_000)


class Fetched(BaseModel):
    pages: int = 0


class Fetch(Request[int]):
    sizes: tuple[int, ...]
    crashes: int = 0
    asks: bool = False
    retries: bool = False
    idempotent: bool = False


class Page(Request[str]):
    size: int


class World:
    def __init__(self) -> None:
        self.fetched: list[int] = []
        self.crashes = 0


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know


async def fetch(size: int) -> str:
    world.fetched.append(size)
    return "p" * size


class Clerk(DurableAgent[Fetched]):
    @on
    async def fetch(self, request: Fetch, ctx: DurableContext) -> int:
        pages: list[str] = []
        for size in request.sizes:
            if request.asks:
                pages.append(await ctx.ask("scribe", Page(size=size)))
            elif request.retries:
                pages.append(await ctx.step("fetch", fetch, size, idempotent=True, retries=Retries(on=OSError)))
            else:
                pages.append(await ctx.step("fetch", fetch, size, idempotent=request.idempotent))
        if world.crashes < request.crashes:
            world.crashes += 1
            raise ValueError("as the test wants it")
        self.state.pages += len(pages)
        return sum(map(len, pages))


class Scribe(DurableAgent[Fetched]):
    @on
    async def page(self, request: Page) -> str:
        world.fetched.append(request.size)
        return "p" * request.size


async def desk(journal: Any = None) -> Host:
    host = await Host.on(journal if journal is not None else memory_journal(LIMITS))
    assert await host.start(Clerk, CLERK) is None
    assert await host.start(Scribe, "desk/scribe") is None
    return host


@pytest.mark.parametrize("how", [{}, {"asks": True}, {"retries": True}], ids=["step", "ask", "retries"])
def test_a_large_result_is_given_again_when_its_turn_is_run_again(how: dict[str, bool]) -> None:
    @on_virtual_time
    async def test() -> None:
        host = await desk()

        total = await host.ref(CLERK).ask(Fetch(sizes=(1_000, 10), crashes=2, **how))

        assert total == 1_010
        assert world.fetched == [1_000, 10]

    test()


@on_virtual_time
async def test_history_tells_the_size_and_digest_of_a_large_result_and_nothing_of_it_is_left_in_the_journal() -> None:
    journal = memory_journal(LIMITS)
    host = await desk(journal)

    await host.ref(CLERK).ask(Fetch(sizes=(1_000, 10)), command_id=COMMAND)

    (turn,) = await journal.history(CLERK)
    large, small = read_about(turn.about).steps
    assert isinstance(large.blob, BlobRef) and large.blob.size_bytes > 1_000
    assert small.blob is None
    assert await journal.blob(CLERK, COMMAND, large.blob.digest) is None  # type: ignore[arg-type] # it is one


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((5_000,), r"step 'fetch' \(number 1\) of desk/clerk gave 5,\d+ bytes, and the limit .* is 4,000 .*elsewhere"),
        ((3_500, 3_400), r"\(number 2\).* gave 3,4\d+ bytes, which with .* 6,000 for one message"),
        ((0, 3_000, 3_010), r"\(number 3\).* gave 3,0\d+ bytes, which with .* 6,000 for one message"),
    ],
)
def test_a_result_over_its_limit_sets_its_message_aside_with_the_reason_and_is_not_made_again(
    sizes: tuple[int, ...], said: str
) -> None:
    @on_virtual_time
    async def test() -> None:
        host = await desk()

        with pytest.raises(InQuarantine, match=said):
            await host.ref(CLERK).ask(Fetch(sizes=sizes, idempotent=True))

        assert world.fetched == list(sizes)
        assert host.ends == []
        assert await host.ref(CLERK).ask(Fetch(sizes=(10,))) == 10

    test()


@pytest.mark.parametrize(("content", "said"), [(None, "is gone"), (b"damaged", "has 7 bytes that do not match")])
@pytest.mark.parametrize("idempotent", [True, False])
def test_a_large_result_that_is_gone_or_damaged_sets_its_message_aside_and_its_step_is_not_run_again(
    content: bytes | None, said: str, idempotent: bool
) -> None:
    class Damaged(Unreliable):
        async def blob(self, *args: Any) -> bytes | None:
            return content

    @on_virtual_time
    async def test() -> None:
        host = await desk(Damaged(memory_journal(LIMITS)))

        with pytest.raises(InQuarantine, match=rf"result of step 'fetch' \(number 1\) of desk/clerk, .*{said}"):
            await host.ref(CLERK).ask(Fetch(sizes=(1_000,), crashes=1, idempotent=idempotent))

        assert world.fetched == [1_000]
        assert len(await host.quarantined(CLERK)) == 1

    test()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["finish_step", "blob"])
def test_a_large_result_whose_recording_or_reading_was_cut_is_there_once(method: str, when: str) -> None:
    @on_virtual_time
    async def test() -> None:
        journal = Unreliable(memory_journal(LIMITS))
        journal.cuts[method, 1] = when
        host = await desk(journal)

        assert await host.ref(CLERK).ask(Fetch(sizes=(1_000,), crashes=1)) == 1_000

        assert world.fetched == [1_000]

    test()


@on_virtual_time
async def test_a_life_that_is_killed_between_step_and_record_leaves_nothing_large_behind() -> None:
    journal = Unreliable(memory_journal(LIMITS))
    host = await desk(journal)
    journal.cuts = {("finish_step", number): "before" for number in range(1, 100)}
    asking = asyncio.create_task(host.ref(CLERK).ask(Fetch(sizes=(1_000,), idempotent=True), command_id=COMMAND))
    while not journal.calls.get("finish_step"):
        await pass_time(0.001)

    host.runtime.cells[CLERK].kill()
    journal.cuts.clear()

    assert await asking == 1_000
    assert world.fetched == [1_000, 1_000]
    (turn,) = await journal.history(CLERK)
    blobs = [step.blob for step in read_about(turn.about).steps if step.blob is not None]
    assert [await journal.blob(CLERK, COMMAND, blob.digest) for blob in blobs] == [None]
