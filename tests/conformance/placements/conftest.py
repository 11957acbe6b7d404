"""The stage on which every promise is tried: one app for each placement, shared by all tests."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import tomllib
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

RAYLET_DEATHS = "test_raylet_deaths"
LAST = (RAYLET_DEATHS, "test_last")
"""What leaves no stage behind, so that the next test would have to wait for another one."""

AGAIN = {Placement.ONE_HOST, Placement.TWO_RAYLETS}
"""Between inline and two hosts, each promise is tried within a process and between processes; these repeat that."""

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
        if item.callspec.params["placement"] in AGAIN:
            item.add_marker(pytest.mark.again)
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


def _skip_where_left_out(fixture: str, placement: Placement) -> None:
    """Skips in the placements in which the fixture says, in elsewhere.toml, that its tests can not be tried."""
    entries = tomllib.loads((HERE / "elsewhere.toml").read_text(encoding="utf-8"))["fixture"]
    (entry,) = (entry for entry in entries if entry["name"] == fixture)
    if placement in entry["leaves_out"]:
        pytest.skip(entry["why"])


@pytest.fixture(scope="package")
def processes(placement: Placement) -> None:
    """The test needs a process beside its own."""
    _skip_where_left_out("processes", placement)


@pytest.fixture(scope="package")
def bystanders(placement: Placement) -> None:
    """The test needs agents that survive the death of another's process."""
    _skip_where_left_out("bystanders", placement)


@pytest.fixture(scope="package")
def raylets(placement: Placement) -> None:
    """The test needs a second raylet."""
    _skip_where_left_out("raylets", placement)


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
