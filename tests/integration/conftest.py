"""What the integration tests share: one local Ray for the whole run, both engines, and a look at what is left.

The Ray lives in a folder of its own, with everything that tests make; `alone` compares processes, named
Ray actors and files before and after. No test ever runs `ray stop`, which would end every Ray of the machine.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from regrow import App, Running
from regrow.cluster.app import EngineName
from regrow.cluster.config import RaySettings, Settings
from tests.integration.belongings import Process, app_processes, files_in
from tests.integration.waiting import until_none

Start = Callable[[App], AbstractAsyncContextManager[Running]]

START_S = 120.0
STOP_S = 60.0
"""Far beyond what a start or stop takes on a busy machine: they are here so that one that hangs is a failure."""

LEFT_S = 20.0
"""How long what was killed may take to vanish from the process list of a busy machine."""


@pytest.fixture(scope="session")
def root() -> Iterator[Path]:
    """A folder for the run, with a short name: Ray puts sockets below it, whose paths are limited."""
    folder = Path(tempfile.mkdtemp(prefix="rt-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def local_ray(root: Path) -> Iterator[Path]:
    """One Ray for all tests that do not harm it; gives the folder in which it and its apps work."""
    from regrow.cluster.ray_connect import RaySession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(root))
        patch.delenv("RAY_ADDRESS", raising=False)
        session = RaySession(RaySettings())
        session.open()
        yield root
        session.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Has `make test` leave out on Ray what it tries inline."""
    for item in items:
        if item.get_closest_marker("again_on_ray") and item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.again)


@pytest.fixture(scope="module", params=["inline", pytest.param("ray", marks=pytest.mark.ray)])
def engine(request: pytest.FixtureRequest) -> EngineName:
    """Each engine in turn; the promises are the same on both."""
    if request.param == "ray":
        request.getfixturevalue("local_ray")
    return cast("EngineName", request.param)


@pytest.fixture(scope="module")
def settings(root: Path, engine: EngineName) -> Settings:
    """Settings with a data folder for the module and engine; no file of the machine is read."""
    return Settings(data_dir=Path(tempfile.mkdtemp(prefix=f"data-{engine}-", dir=root)))


@pytest.fixture(scope="module")
def start(engine: EngineName, settings: Settings) -> Start:
    """`async with start(app) as running`, on the engine whose turn it is."""

    @asynccontextmanager
    async def started(app: App) -> AsyncIterator[Running]:
        async with asyncio.timeout(START_S):
            running = await app.start(engine=engine, settings=settings)
        try:
            yield running
        finally:
            async with asyncio.timeout(STOP_S):
                await running.stop()

    return started


@dataclass(frozen=True, slots=True)
class Belongings:
    """What there is of apps at one moment."""

    processes: frozenset[Process]
    actors: frozenset[str]
    files: frozenset[str]

    @classmethod
    def now(cls, root: Path) -> Belongings:
        """What there is below a folder and in this process's Ray."""
        files = {name for name in files_in(root) if not name.startswith("regrow-ray-")}
        folders = {path.name for path in root.iterdir() if not path.name.startswith("data-")}
        return cls(frozenset(app_processes(root)), frozenset(named_actors()), frozenset(files | folders))

    def more_than(self, before: Belongings) -> list[str]:
        """What was not there before."""
        processes = [f"process {p.pid} {p.title[:80]}" for p in self.processes - before.processes]
        actors = [f"Ray actor {name}" for name in self.actors - before.actors]
        return processes + actors + [f"file {name}" for name in self.files - before.files]


def named_actors() -> set[str]:
    """The names of all Ray actors, where a Ray runs."""
    import ray
    from ray.util import list_named_actors

    if not ray.is_initialized():
        return set()
    actors = cast("list[dict[str, str]]", list_named_actors(all_namespaces=True))
    return {f"{actor['namespace']}:{actor['name']}" for actor in actors}


@contextmanager
def nothing_left(root: Path) -> Iterator[None]:
    """What is started inside is gone soon after its end: processes, named Ray actors, files."""
    before = Belongings.now(root)
    yield
    until_none(lambda: Belongings.now(root).more_than(before), "of what the test has started", within_s=LEFT_S)


@pytest.fixture
def alone(root: Path) -> Iterator[None]:
    """The test leaves nothing behind."""
    with nothing_left(root):
        yield
