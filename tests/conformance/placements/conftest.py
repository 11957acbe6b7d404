"""The stage on which every promise is tried: one app for each placement, shared by all tests."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import wraps
from pathlib import Path

import pytest
import pytest_asyncio

from tests.conformance.placements.clusters import Clusters
from tests.conformance.placements.stage import Placement, Stage, Stages
from tests.integration.belongings import app_processes
from tests.integration.waiting import until_none

HERE = Path(__file__).parent

LAST = ("test_raylet_deaths", "test_last")
"""What leaves no stage behind, so that the next test would have to wait for another one."""

LEFT_S = 20.0
"""How long what was killed may take to vanish from the process list of a busy machine."""


LIMIT_S = 60.0
"""No test takes longer: an ask that waits ten minutes fails it here, and the traceback says which one waits."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts what leaves no stage behind last in its placement, and limits how long each test may take."""
    ours = [place for place, item in enumerate(items) if item.path.is_relative_to(HERE)]
    in_order = sorted((items[place] for place in ours), key=_rank)
    for place, item in zip(ours, in_order, strict=True):
        assert isinstance(item, pytest.Function)
        item.obj = _limited(item.obj)
        items[place] = item


def _limited(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @wraps(test)
    async def run(*arguments: object, **fixtures: object) -> None:
        async with asyncio.timeout(LIMIT_S):
            await test(*arguments, **fixtures)

    return run


def _rank(item: pytest.Item) -> tuple[int, int]:
    assert isinstance(item, pytest.Function)
    placement = item.callspec.params["placement"]
    assert isinstance(placement, Placement)
    return list(Placement).index(placement), LAST.index(item.path.stem) if item.path.stem in LAST else -1


@pytest.fixture(scope="package")
def folder() -> Iterator[Path]:
    """A folder with a short name: Ray puts sockets below it, whose paths are limited."""
    made = Path(tempfile.mkdtemp(prefix="rc-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="package")
def clusters(folder: Path) -> Iterator[Clusters]:
    """The Ray of all placements on Ray; the second raylet joins it last."""
    made = Clusters(folder)
    yield made
    made.close()


@pytest.fixture(
    scope="package",
    params=[
        pytest.param(placement, marks=pytest.mark.ray if placement.on_ray else (), id=placement.replace(" ", "_"))
        for placement in Placement
    ],
)
def placement(request: pytest.FixtureRequest) -> Placement:
    """Each placement in turn; all tests of one run before the next begins."""
    value: Placement = request.param
    return value


@pytest.fixture
def processes(placement: Placement) -> None:
    """The test needs a process beside its own."""
    if not placement.on_ray:
        pytest.skip("inline the whole app is this one process: its death or delay is that of the test itself")


@pytest.fixture
def bystanders(processes: None, placement: Placement) -> None:
    """The test needs agents that survive the death of another's process."""
    if not placement.apart:
        pytest.skip("all agents share one process, so none is left who could be told of its death")


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def stages(placement: Placement, clusters: Clusters, folder: Path) -> AsyncIterator[Stages]:
    """What makes the stage of this placement, and others beside it."""
    made = Stages(placement, clusters, Path(tempfile.mkdtemp(prefix="data-", dir=folder)))
    made.record.open()
    yield made
    await made.close()
    until_none(lambda: app_processes(folder), "of an app that has stopped", within_s=LEFT_S)
    made.record.close()


@pytest_asyncio.fixture(loop_scope="package")
async def stage(stages: Stages) -> Stage:
    """The app in this placement; nothing is seen yet."""
    return await stages.stage()
