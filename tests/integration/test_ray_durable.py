"""Durable agents on Ray and on a real Redis: whatever is killed, what was accepted is done once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import Running
from regrow.cluster.app import EngineName
from tests.integration.apps import ledger
from tests.integration.apps.ledger import Add, Where
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import kill

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.redis, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there a process to kill."""
    return "ray"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    """The app, started once: it has to survive everything that these tests do to it."""
    with nothing_left(root):
        async with start(ledger.app) as app:
            yield app


async def test_the_state_of_a_durable_agent_outlives_the_kill_of_its_host(running: Running) -> None:
    book = running.ref("book")
    assert await book.ask(Add(number=3)) == 3
    pid = await book.ask(Where())

    await kill(running, "ledger/book")

    assert await book.ask(Add(number=4)) == 7
    assert await book.ask(Where()) != pid
