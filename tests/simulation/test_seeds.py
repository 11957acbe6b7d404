"""Which seeds a simulation runs with, and that a failure says how to repeat it."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from tests.simulation import seeds as of_runs
from tests.simulation.seeds import BELOW, FRESH, KEPT, ONE, repeats, seeds


@pytest.fixture(autouse=True)
def asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (FRESH, ONE):
        monkeypatch.delenv(name, raising=False)


def test_a_seed_that_is_kept_runs_with_the_fixed_ones_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_runs, "KEPT", MappingProxyType({**KEPT, "tree": (7, 1)}))

    assert seeds("tree", range(3)) == [0, 1, 2, 7]


def test_fresh_seeds_are_the_same_in_all_processes_of_a_run_and_others_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(FRESH, "5")

    monkeypatch.setattr(of_runs, "RUN", "one run")
    here, there, other = seeds("tree", []), seeds("tree", []), seeds("calls", [])
    monkeypatch.setattr(of_runs, "RUN", "the next")

    assert here == there
    assert len({*here, *other, *seeds("tree", [])}) == 15
    assert all(0 <= seed < BELOW for seed in here)


def test_the_command_runs_the_test_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    command = repeats("tests/simulation/test_a.py::test_b[123]", 123)
    monkeypatch.setenv(*command.partition(" ")[0].split("="))

    assert 123 in seeds("tree", range(3))
    assert command.endswith("pytest 'tests/simulation/test_a.py::test_b[123]'")
