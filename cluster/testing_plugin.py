"""The pytest plugin: runs tests of agents on a virtual clock, or with `--regrow-engine=ray` on Ray.

A test takes part by its fixture `test_app`, or by the mark `regrow`; it may be `async def`, with no plugin for that and
no configuration. All other tests are left alone. Nothing else of Regrow is imported before such a test runs, since
pytest loads this file in every project where Regrow is installed.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from regrow.actors.skill import Skill
    from regrow.cluster.errors import RayUnavailable
    from regrow.cluster.ray_connect import RaySession
    from regrow.cluster.testing import TestApp

MARK = "regrow"
FIXTURE = "test_app"
SKILL_DEPTH = 3
"""So many folders above a test are looked at for the skill that it is of."""
INLINE, RAY = "inline", "ray"

_ray: pytest.StashKey[RaySession] = pytest.StashKey()
_failed: pytest.StashKey[list[RayUnavailable]] = pytest.StashKey()

RAY_TRIES = 2
"""So often a run tries to start its Ray: a busy machine may need another try, and where none helps each takes long."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--regrow-engine`."""
    parser.getgroup("regrow").addoption(
        "--regrow-engine",
        choices=(INLINE, RAY),
        default=INLINE,
        help="what runs the apps of tests that take test_app or are marked regrow: one process on a virtual clock, "
        "or a local Ray on the real one (default: inline)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Makes the mark known."""
    config.addinivalue_line(
        "markers",
        f"{MARK}(engine=None): an async test of agents, which Regrow runs; on one engine alone where it is named",
    )


@pytest.fixture
def test_app() -> type[TestApp]:
    """The class TestApp: `async with test_app(app, models=…) as t`. A test that takes it is run by Regrow."""
    from regrow.cluster.testing import TestApp

    return TestApp


@pytest.fixture
def skill(request: pytest.FixtureRequest) -> Skill:
    """The skill whose folder the test stands in, loaded as an agent would: `skill.tools["refund"].function(…)`."""
    from regrow.actors.skill import INSTRUCTIONS
    from regrow.actors.skill_places import skill_in

    for folder in request.path.parents[:SKILL_DEPTH]:
        if (folder / INSTRUCTIONS).is_file():
            return skill_in(folder)
    raise pytest.UsageError(
        f"{request.path} takes the fixture `skill`, and no folder near it has a {INSTRUCTIONS}; put the test into the "
        "folder of its skill, or into `tests` in it"
    )


@pytest.hookimpl(wrapper=True, trylast=True)  # inside of pytest-asyncio, which must see no coroutine any more
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Makes of each test that takes part one that is called and not awaited."""
    made = yield
    for item in made if isinstance(made, list) else [made]:
        if isinstance(item, pytest.Function) and _takes_part(item):
            _prepare(item)
    return made


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Says how an async test of an app is run, where nobody has run it."""
    try:
        return (yield)
    except pytest.fail.Exception as error:
        code = getattr(pyfuncitem.obj, "__code__", None)
        if inspect.iscoroutinefunction(pyfuncitem.obj) and "TestApp" in getattr(code, "co_names", ()):
            error.msg = f"{error.msg}\nA test of an app that takes no `{FIXTURE}` is marked with @pytest.mark.{MARK}"
        raise


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the Ray of the run."""
    session = config.stash.get(_ray, None)
    if session is not None:
        session.close()


def _takes_part(item: pytest.Function) -> bool:
    return FIXTURE in item.fixturenames or item.get_closest_marker(MARK) is not None


def _prepare(item: pytest.Function) -> None:
    engine = str(item.config.getoption("--regrow-engine"))
    mark = item.get_closest_marker(MARK)
    only = mark.kwargs.get("engine") if mark is not None else None
    if only not in (None, INLINE, RAY):
        raise pytest.UsageError(f"{item.nodeid}: there is no engine {only!r}; use one of 'inline', 'ray'")
    if only is not None and only != engine:
        item.add_marker(pytest.mark.skip(reason=f"it is marked for the engine {only}, and this run is on {engine}"))
    test: Callable[..., Coroutine[Any, Any, None]] = item.obj
    if inspect.iscoroutinefunction(test):
        item.obj = _called(test, engine, item.config)


def _called(test: Callable[..., Coroutine[Any, Any, None]], engine: str, config: pytest.Config) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        from regrow.cluster.testing import run_test

        if engine == RAY:
            _open_ray(config)
            run_test(test(*args, **kwargs), "ray")
        else:
            run_test(test(*args, **kwargs), "inline")

    return run


def _open_ray(config: pytest.Config) -> None:
    """One Ray for the whole run, since it takes seconds to start; begun by the first test that needs it."""
    if _ray in config.stash:
        return
    from regrow.cluster.config import RaySettings
    from regrow.cluster.errors import RayUnavailable
    from regrow.cluster.ray_connect import RaySession

    failed = config.stash.setdefault(_failed, [])
    if len(failed) >= RAY_TRIES:
        raise RayUnavailable(f"not tried again, since {len(failed)} tries failed: {failed[-1]}")
    session = RaySession(RaySettings())
    try:
        session.open()
    except RayUnavailable as error:
        failed.append(error)
        raise
    config.stash[_ray] = session
