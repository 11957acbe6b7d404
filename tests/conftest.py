"""Which tests stay together when two processes share them (`--dist=loadgroup`)."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
PLACEMENTS = HERE / "conformance" / "placements"


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file stays whole, since its tests share an app; so do all placements on Ray, which share one Ray in turns."""
    for item in items:
        group = str(item.path.relative_to(HERE)) if item.path.is_relative_to(HERE) else item.path.name
        if item.path.is_relative_to(PLACEMENTS):
            group = "placements on ray" if item.get_closest_marker("ray") is not None else "placements inline"
        item.add_marker(pytest.mark.xdist_group(group))
