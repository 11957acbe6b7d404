"""Which tests stay together when two processes share them."""

from __future__ import annotations

from typing import Any

import pytest

PLACEMENTS = "tests/conformance/placements/"


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
