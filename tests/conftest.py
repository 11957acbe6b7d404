"""Which tests stay together when two processes share them, how long properties are searched, and what took how long."""

from __future__ import annotations

import gc
import os
import signal
from collections import defaultdict
from collections.abc import Generator
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import settings

os.environ.setdefault("REGROW_TRACING__ENABLED", "false")  # tests of traces switch them on, and say where they lie
os.environ.setdefault("REGROW_INCIDENTS__STORE_MB", "0")  # so do tests of incidents

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in what a shell has put behind: all that tests start would inherit it, and wait for a Ctrl-C for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("regrow", deadline=None, max_examples=60)  # a busy machine is no fault of what is tried
settings.register_profile("quick", settings.get_profile("regrow"), max_examples=15)
settings.register_profile("nightly", settings.get_profile("regrow"), max_examples=1_000)
settings.load_profile("regrow")

PLACEMENTS = "tests/conformance/placements/"
SHORT_S = 10.0
"""A run below this needs no table of where its time went."""


def group_of(nodeid: str) -> str:
    """A file stays whole, since its tests share an app; so do all placements on Ray, which share one Ray in turns."""
    file, _, test = nodeid.partition("::")
    if file.startswith(PLACEMENTS):
        return PLACEMENTS + ("inline" if "[inline" in test else "ray")
    return file


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which a run of single files may leave out
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hands out whole groups. The mark of xdist for such groups has no effect in pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = group_of  # pyright: ignore[reportPrivateUsage] # it has no other place for this
    return scheduler


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuses a test that is to be alone and that `make test`, which leaves out `again`, would run beside others."""
    for item in items:
        if item.get_closest_marker("alone") is not None and item.get_closest_marker("again") is None:
            raise pytest.UsageError(f"{item.nodeid} is marked `alone`; mark it `again` as well (decision 14)")


def pytest_collection_finish() -> None:
    """What has been collected stays to the end: whoever collects garbage between tests need not look at it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Collects no garbage while a failure is told: sources are parsed for that, and what a task that is dropped then
    tells of itself is parsed as well, which Python 3.11 can not do within the other and would end the whole run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tells where the time went; the folders of unit and simulation tests are to stay under a minute (make quick)."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds["/".join(PurePosixPath(report.location[0]).parts[:-1])] += report.duration
    if sum(seconds.values()) > SHORT_S:
        most = sorted(((spent, folder) for folder, spent in seconds.items()), reverse=True)
        told = ", ".join(f"{folder} {spent:.0f}" for spent, folder in most if spent >= 1)
        terminalreporter.write_line(f"seconds of work by folder: {told}")
