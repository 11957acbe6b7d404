"""The faults fit the sources as they are; whether tests notice them is the long run's business."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from tests.mutation.faults import FAULTS, PLACED, Fault
from tests.mutation.run import ALL_FAULTS, ROOT, CannotTell, Found, Untold, check, exit_code, first_failure, table

ids = [fault.name for fault in ALL_FAULTS]


@pytest.mark.parametrize("fault", ALL_FAULTS, ids=ids)
def test_every_edit_of_a_fault_stands_once_in_the_sources_and_changes_something(fault: Fault) -> None:
    for edit in fault.edits:
        assert (ROOT / edit.file).read_text(encoding="utf-8").count(edit.old) == 1, edit.old
        assert edit.new != edit.old


@pytest.mark.parametrize("fault", ALL_FAULTS, ids=ids)
def test_every_fault_names_tests_that_exist(fault: Fault) -> None:
    named = (*fault.inline, *fault.two_hosts)
    assert named
    for test in named:
        file, _, name = test.partition("::")
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not name or re.search(rf"def {name.partition('[')[0]}\(", text), test


def test_the_table_shows_who_noticed_a_fault_and_what_nobody_noticed() -> None:
    fault = FAULTS[0]
    noticed = Found(fault=fault, inline="tests/a.py::test_b[inline]", two_hosts=None)
    missed = Found(fault=fault, inline="tests/a.py::test_b[inline]", two_hosts="")

    page = table([noticed, missed], 1.0)

    assert (noticed.noticed, missed.noticed) == (True, False)
    assert f"| {fault.name} | `test_b` | – |" in page
    assert f"| {fault.name} | `test_b` | **nobody** |" in page
    assert "Of 2 faults 1 were noticed" in page


def test_a_fault_under_which_tests_can_not_be_set_up_is_not_noticed_but_untold() -> None:
    noticed = Found(fault=FAULTS[0], inline="tests/a.py::test_b[inline]", two_hosts=None)
    missed = Found(fault=FAULTS[0], inline="", two_hosts=None)
    untold = Found(fault=FAULTS[1], inline="tests/a.py::test_b[inline]", two_hosts=Untold("no app starts"))

    assert [one.verdict for one in (noticed, missed, untold)] == ["noticed", "UNNOTICED", "can not be told"]
    assert [exit_code(found) for found in ([noticed], [noticed, missed], [missed, untold])] == [0, 1, 2]
    assert f"| {FAULTS[1].name} | `test_b` | *can not be told* |" in table([noticed, untold], 1.0)


class Tried:
    """Sources of which is decided beforehand which tests fail with a fault, and which without."""

    def __init__(self, *, with_fault: str, without: str = "") -> None:
        self.planted: list[str] = []
        self.ran: list[tuple[str, ...]] = []
        self._with, self._without = with_fault, without

    def plant(self, fault: Fault) -> None:
        self.planted.append(fault.name)

    def heal(self, fault: Fault) -> None:
        self.planted.remove(fault.name)

    def failing(self, tests: Sequence[str]) -> str:
        self.ran.append(tuple(tests))
        fails = self._with if self.planted else self._without
        return fails if any(fails.startswith(test) for test in tests) else ""


FAULT = Fault(name="one", edits=(), inline=("tests/a.py::test_b", "tests/a.py::test_c"), two_hosts=())


def test_the_test_that_failed_is_run_again_without_the_fault() -> None:
    tried = Tried(with_fault="tests/a.py::test_c")

    found = check(tried, FAULT)

    assert tried.ran == [FAULT.inline, ("tests/a.py::test_c",)]
    assert not tried.planted
    assert (found.inline, found.verdict) == ("tests/a.py::test_c", "noticed")


def test_a_test_that_fails_without_the_fault_as_well_has_not_noticed_it() -> None:
    found = check(Tried(with_fault="tests/a.py::test_c", without="tests/a.py::test_c"), FAULT)

    assert found.untold == ["tests/a.py::test_c failed, but it fails without the fault as well"]
    assert exit_code([found]) == 2


def test_a_fault_under_which_all_tests_pass_is_unnoticed_and_nothing_is_run_again() -> None:
    tried = Tried(with_fault="")

    assert check(tried, FAULT).verdict == "UNNOTICED"
    assert tried.ran == [FAULT.inline]


def test_the_table_says_where_on_ray_a_test_ran() -> None:
    places = [f"{PLACED}/test_a.py::test_b[{case}]" for case in ("inline", "two_hosts-killed", "two_raylets")]

    pages = [table([Found(fault=FAULT, inline=None, two_hosts=place)], 1.0) for place in places]

    assert [page.splitlines()[-1] for page in pages] == [
        f"| one | – | {where}`test_b` |" for where in ("", "Ray: ", "Ray, two raylets: ")
    ]


def test_of_a_run_the_first_test_that_failed_is_named_though_its_tidying_up_failed_as_well() -> None:
    printed = """
ERROR tests/a.py::test_b[inline] - RuntimeError: of the teardown
FAILED tests/a.py::test_b[inline] - assert 1 == 2
FAILED tests/a.py::test_c[inline] - assert 1 == 2
"""

    assert first_failure(printed) == "tests/a.py::test_b[inline]"


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        (
            "ERROR tests/a.py::test_b[inline] - AppNotStarted: no",
            "no test failed, but this could not be set up or ended",
        ),
        ("ERROR tests/a.py - ImportError: no", "tests/a.py - ImportError"),
        ("1 failed", "named no test"),
    ],
)
def test_a_run_in_which_no_test_failed_shows_nothing(printed: str, why: str) -> None:
    with pytest.raises(CannotTell, match=why):
        first_failure(printed)
