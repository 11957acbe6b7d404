"""The faults fit the sources as they are; whether tests notice them is the long run's business."""

from __future__ import annotations

import re

import pytest

from tests.mutation.faults import FAULTS, Fault
from tests.mutation.run import ROOT, Found, table

ids = [fault.name for fault in FAULTS]


@pytest.mark.parametrize("fault", FAULTS, ids=ids)
def test_every_edit_of_a_fault_stands_once_in_the_sources_and_changes_something(fault: Fault) -> None:
    for edit in fault.edits:
        assert (ROOT / edit.file).read_text(encoding="utf-8").count(edit.old) == 1, edit.old
        assert edit.new != edit.old


@pytest.mark.parametrize("fault", FAULTS, ids=ids)
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
