"""Order between agents and the bound of a mailbox, on both engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import ActorRef, AskTimeout, MailboxFull, Running
from tests.integration.apps.crowd import SMALL, Fill, Filler, Hold, Item, Receiver, Seen, SendAll, app
from tests.integration.conftest import Start, nothing_left
from tests.integration.waiting import PATIENCE_S, until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

COUNT = 2_500
LITTLE_S = 0.3
"""Long enough for a message to arrive, short enough to wait for one that must not."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(start: Start, root: Path) -> AsyncIterator[Running]:
    """The app, started once for all tests of an engine."""
    with nothing_left(root):
        async with start(app) as running:
            yield running


async def test_5000_tells_of_two_agents_arrive_once_and_in_each_ones_order(crowd: Running) -> None:
    receiver = crowd.ref(Receiver)
    send = SendAll(to=receiver, count=COUNT)

    await asyncio.gather(*(crowd.ref(id).ask(send, timeout_s=120) for id in ("left", "right")))

    items = await receiver.ask(Seen(), timeout_s=60)
    for sender in ("crowd/left", "crowd/right"):
        assert [item.number for item in items if item.sender == sender] == list(range(COUNT))
    assert len(items) == 2 * COUNT


async def test_a_tell_to_a_full_mailbox_waits_and_then_says_so(crowd: Running) -> None:
    stuck = await _filled(crowd, "blocking")

    with pytest.raises(MailboxFull, match=r"the mailbox of crowd/blocking is full .*waited 0\.3 s"):
        await stuck.tell(Item(sender="late", number=9), send_timeout_s=LITTLE_S)

    assert await _depth(crowd, "crowd/blocking") == SMALL


async def test_an_agents_tell_to_a_full_mailbox_says_the_same(crowd: Running) -> None:
    stuck = await _filled(crowd, "blocking")

    told = await crowd.ref(Filler).ask(Fill(to=stuck))

    assert told.startswith("MailboxFull: the mailbox of crowd/blocking is full")


async def test_an_ask_to_a_full_mailbox_waits_until_its_deadline_and_never_runs(crowd: Running) -> None:
    stuck = await _filled(crowd, "blocking")

    with pytest.raises(AskTimeout, match="crowd/blocking did not answer Seen"):
        await stuck.ask(Seen(), timeout_s=LITTLE_S)

    assert await _depth(crowd, "crowd/blocking") == SMALL


async def test_a_rejecting_mailbox_refuses_tell_and_ask_at_once(crowd: Running) -> None:
    stuck = await _filled(crowd, "rejecting")

    with pytest.raises(MailboxFull, match="the mailbox of crowd/rejecting is full"):
        await stuck.tell(Item(sender="late", number=9), send_timeout_s=30)
    with pytest.raises(MailboxFull, match="the mailbox of crowd/rejecting is full"):
        await stuck.ask(Seen(), timeout_s=30)


async def test_a_dropping_mailbox_takes_everything_and_counts_what_it_drops(crowd: Running) -> None:
    stuck = await _filled(crowd, "dropping")

    await stuck.tell(Item(sender="late", number=9))

    async def dropped() -> int:
        return dict((await crowd.counts()).dead_letters).get("dropped_newest", 0)

    assert await until(dropped, "a dead letter `dropped_newest`") == 1
    assert await _depth(crowd, "crowd/dropping") == SMALL


async def test_a_full_receiver_does_not_hold_up_the_others(crowd: Running) -> None:
    stuck = await _filled(crowd, "blocking")
    many = [stuck.tell(Item(sender="many", number=n), send_timeout_s=PATIENCE_S) for n in range(50)]
    waiting = [asyncio.ensure_future(tell) for tell in many]
    with pytest.raises(MailboxFull):
        await stuck.tell(Item(sender="late", number=9), send_timeout_s=LITTLE_S)

    for number in range(20):
        await crowd.ref(Receiver).tell(Item(sender="beside", number=number), send_timeout_s=PATIENCE_S)

    assert not any(tell.done() for tell in waiting), "these wait still, and nobody has waited for them"
    for tell in waiting:
        tell.cancel()
    await asyncio.wait(waiting)
    items = await crowd.ref(Receiver).ask(Seen(), timeout_s=60)
    assert [item.number for item in items if item.sender == "beside"] == list(range(20))


async def _filled(running: Running, id: str) -> ActorRef:
    """A stuck agent whose mailbox is full, whether it was so before or not."""
    ref = running.ref(id)
    if await _depth(running, ref.id) < SMALL:
        await ref.tell(Hold())
        await until(lambda: _begun(running, ref.id), "it has begun to hold")
        for number in range(SMALL):
            await ref.tell(Item(sender="filling", number=number))
    return ref


async def _begun(running: Running, id: str) -> bool:
    return await _depth(running, id) == 0


async def _depth(running: Running, id: str) -> int:
    return next(node.mailbox for _, node in (await running.tree())[0].walk() if node.id == id)
