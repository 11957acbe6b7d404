"""A promise about processes, supervision or mailboxes is tried in every placement, or its reason is written."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tests.tidy.conftest import refuse
from tests.tidy.promises import (
    EVERYWHERE,
    NOT_YET,
    PLACEMENTS,
    TEST_NAME,
    placements_of_tests,
    rows,
    written_elsewhere,
)

if TYPE_CHECKING:
    from tests.tidy.conftest import House

LAST = "## 6. Durable agents"
"""The sections before this one are tried in all placements."""

SKIPS = ("pytest.skip", "pytest.mark.skip", "pytest.mark.skipif", "pytest.xfail", "pytest.mark.xfail")


def test_every_promise_of_sections_1_to_5_is_tried_in_all_placements_or_says_why_not(house: House) -> None:
    """Each test of the placements that a row names runs in all, or elsewhere.toml says what is left out, and why."""
    semantics = house.root / "docs/SEMANTICS.md"
    if not semantics.exists():
        return
    written = written_elsewhere(house)
    placed = placements_of_tests(house, written.fixtures)
    offences = [f"elsewhere.toml: gives no reason: {entry}" for entry in written.without_reason]

    last = semantics.read_text(encoding="utf-8").splitlines().index(LAST)
    ours = [(number, cells) for number, cells in rows(semantics) if number < last]
    for number, (promise, *_, tests) in ours:
        named = [placed[test] for _, test in TEST_NAME.findall(tests) if test in placed]
        missing = EVERYWHERE - EVERYWHERE.intersection(*named)
        if not named:
            if promise not in written.not_tried and not NOT_YET.search(tests):
                offences.append(
                    f"{number}: names no test of {PLACEMENTS} and stands nowhere in [[elsewhere]]: {promise!r}"
                )
        elif missing != (said := written.left_out.get(promise, frozenset())):
            offences.append(
                f"{number}: its tests leave out {sorted(missing)}, and [[left_out]] says {sorted(said)}: {promise!r}"
            )
        if named and promise in written.not_tried:
            offences.append(
                f"{number}: names a test of {PLACEMENTS}, so it does not belong in [[elsewhere]]: {promise!r}"
            )
    known = {cells[0] for _, cells in ours}
    offences += [f"elsewhere.toml: no row {promise!r}" for promise in {*written.not_tried, *written.left_out} - known]

    refuse(offences, "A promise of sections 1 to 5 is tried in all placements, or its reason is written; line:")


def test_only_the_fixtures_that_say_why_leave_a_placement_out(house: House) -> None:
    """Else the rule above could not see it."""
    folder = house.root / PLACEMENTS
    tests = [s for s in house.tests if s.path.is_relative_to(folder) and s.path.name.startswith("test_")]

    refuse(
        (
            f"{source.name}:{call.lineno}: {ast.unparse(call)[:80]}"
            for source in tests
            for call in source.nodes(ast.Call)
            if ast.unparse(call.func) in SKIPS
            or (call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value == "placement")
        ),
        "Use a fixture that stands in elsewhere.toml with its reason:",
    )
