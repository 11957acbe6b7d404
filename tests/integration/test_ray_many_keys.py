"""A hundred thousand agents with keys have their state in a Redis, and a few of them are asked (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
from pydantic import SecretStr
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.client import MonitorCommandInfo

from regrow import Running
from regrow.cluster.config import RedisSettings, Settings
from regrow.runtime import ActorId
from regrow.runtime.journal_entries import PARTITIONS, partition_of
from tests.conformance.redis_servers import redis_7_program, started
from tests.integration.apps import keys
from tests.integration.apps.keys import Account, Add, Where
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.redis, pytest.mark.again, pytest.mark.alone]

FEW, MANY = 10, 100_000
ASKED = 5
PATIENCE_S = 120.0
TIMES_SLOWER = 3.0
"""What noise alone may do to the median of a few starts on a busy machine."""
NOISE_BYTES = 10 * 2**20
"""By which two processes differ that have done the same. A key that were kept would take a hundred bytes at least."""
ROWS_AT_ONCE = 1_000
NOBODY = "keys/~"
"""Whose row a host reads to connect its journal ahead of the first use."""
PART = "regrow:keys:{%d}:%s:%s"


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took to start agents that did not run: for each, and for the two processes they are in."""

    took_s: list[float]
    commands: list[int]
    bytes: int


class Watched:
    """What a Redis is asked by its clients, read from its own monitor."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.by_agent: Counter[str] = Counter()
        self.partitions: set[int] = set()
        """Those whose indexes were looked at."""

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        async with AsyncRedis.from_url(self._url, socket_timeout=None) as client, client.monitor() as monitor:
            reading = asyncio.create_task(self._read(monitor.listen()))
            try:
                yield
            finally:
                reading.cancel()
                with suppress(asyncio.CancelledError):
                    await reading

    async def _read(self, lines: AsyncIterator[MonitorCommandInfo]) -> None:
        async for line in lines:
            if line["client_type"] == "lua":
                continue  # what a script does is part of its one command
            words = line["command"].split()
            agents = {word.split(":row:")[1] for word in words if ":row:" in word}
            self.by_agent.update(agents - {NOBODY})
            self.partitions |= {int(word.split("{")[1].split("}")[0]) for word in words if word.endswith(":ready")}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with started(redis_7_program(), tmp_path, "port 0", "appendonly yes", "appendfsync always"):
        yield f"unix://{tmp_path}/redis.sock"


@asynccontextmanager
async def running_on(url: str, root: Path) -> AsyncIterator[Running]:
    settings = Settings(
        data_dir=Path(tempfile.mkdtemp(prefix="data-many-", dir=root)), redis=RedisSettings(url=SecretStr(url))
    )
    async with keys.app.start(engine="ray", settings=settings) as running:
        yield running


def copy_rows(url: str, numbers: Sequence[int]) -> None:
    """Gives agents the row and the history that the first one has, as if each had been asked once like that one."""

    def place(number: int, name: str) -> str:
        agent = ActorId(f"keys/account/user-{number}")
        return PART % (partition_of(agent), name, agent)

    with Redis.from_url(url) as client:
        dumped = {name: client.dump(place(0, name)) or b"" for name in ("row", "past")}
        assert all(dumped.values())
        for first in range(0, len(numbers), ROWS_AT_ONCE):
            pipeline = client.pipeline(transaction=False)
            for number in numbers[first : first + ROWS_AT_ONCE]:
                for name, value in dumped.items():
                    pipeline.restore(place(number, name), 0, value)
            pipeline.execute()


async def active(running: Running) -> set[str]:
    return {row.id for row in await running.which_children("account")}


def resident_bytes(pid: int) -> int:
    """How much memory a process has."""
    (line,) = [
        line for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines() if line[:6] == "VmRSS:"
    ]
    return int(line.split()[1]) * 1_024


async def cost_of(running: Running, watched: Watched, numbers: Sequence[int]) -> Cost:
    """Asks agents that do not run, one after the other, and waits until they have ended again."""

    async def nobody_runs() -> bool:
        return not await active(running)

    took: list[float] = []
    names = [f"user-{number}" for number in numbers]
    host = 0
    for name in names:
        began = time.monotonic()
        assert await running.ref(Account, key=name).ask(Add(number=1), timeout_s=PATIENCE_S) == 2, "what it had, and 1"
        took.append(time.monotonic() - began)
        host = await running.ref(Account, key=name).ask(Where(), timeout_s=PATIENCE_S)
    await until(nobody_runs, "they have ended", within_s=PATIENCE_S)
    commands = [watched.by_agent[f"keys/account/{name}"] for name in names]
    guardian = (await running.tree())[0].pid
    return Cost(took, commands, resident_bytes(guardian) + resident_bytes(host))


async def test_of_a_hundred_thousand_keys_none_runs_and_each_start_costs_what_it_costs_among_ten(
    local_ray: Path, root: Path, server: str
) -> None:
    watched_few, watched_many = Watched(server), Watched(server)

    async def all_looked_through() -> bool:
        return len(watched_many.partitions) == PARTITIONS

    async with running_on(server, root) as running:
        await running.ref(Account, key="user-0").ask(Add(number=1), timeout_s=PATIENCE_S)
    copy_rows(server, range(1, FEW))
    async with watched_few.watching(), running_on(server, root) as running:
        few = await cost_of(running, watched_few, range(1, 1 + ASKED))

    copy_rows(server, range(FEW, MANY))
    async with watched_many.watching(), running_on(server, root) as running:
        await until(all_looked_through, "it was looked for who has something to do", within_s=PATIENCE_S)
        assert await active(running) == set()
        assert watched_many.by_agent == Counter()
        many = await cost_of(running, watched_many, range(MANY - ASKED, MANY))

    print(f"{few}\n{many}")
    assert median(many.commands) == median(few.commands)
    assert median(many.took_s) < TIMES_SLOWER * median(few.took_s)
    assert many.bytes - few.bytes < NOISE_BYTES
