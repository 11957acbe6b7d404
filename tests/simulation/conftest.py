"""A failed simulation says how to see it again; every second seed and crash point is left to CI."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.simulation.seeds import repeats

HERE = Path(__file__).parent
DRAWN = {"seed", "lives"}
"""Parameters of which any value tries the same: which dice are thrown, and at which operation a process dies."""


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every second value of what is drawn as tried again, so that a developer waits for half of them."""
    values: defaultdict[tuple[str, str], dict[object, int]] = defaultdict(dict)
    for item in items:
        if isinstance(item, pytest.Function) and item.path.parent == HERE and hasattr(item, "callspec"):
            for name in item.callspec.params.keys() & DRAWN:
                of_test = values[item.nodeid.partition("[")[0], name]
                if of_test.setdefault(item.callspec.params[name], len(of_test)) % 2:
                    item.add_marker(pytest.mark.again)


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
