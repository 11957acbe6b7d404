"""A simulation that fails says how to see it again."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.simulation.seeds import repeats


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the seed of a failed test and the command that repeats it."""
    report = yield
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    if report.failed and isinstance(seed := parameters.get("seed"), int):
        text = f"{repeats(item.nodeid, seed)}\nthen keep {seed} in KEPT of tests/simulation/seeds.py"
        report.sections.append((f"seed {seed}: how to repeat it", text))
    return report
