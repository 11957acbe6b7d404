"""Rows: numbers for records, and which of them lie in a scope."""

from __future__ import annotations

from regrow.memory import rows as module
from regrow.memory.record import RecordId, Scope
from regrow.memory.rows import Entry, RowTable


def table(*paths: str) -> RowTable:
    made = RowTable()
    made.enter(made.reserve(len(paths)), ((RecordId(f"{path}#{n}"), Scope.of(path)) for n, path in enumerate(paths)))
    return made


def inside(rows: RowTable, scope: Scope) -> list[int] | None:
    found = rows.within(scope)
    return None if found is None else sorted(found.tolist())


def test_a_row_leads_to_its_record() -> None:
    rows = table("a", "b")

    assert (len(rows), RecordId("b#1") in rows, RecordId("b#7") in rows) == (2, True, False)
    assert rows.entry(1) == Entry(RecordId("b#1"), Scope.of("b"))
    assert rows.entry(2) is None


def test_a_scope_holds_the_rows_at_and_below_it() -> None:
    rows = table("acme", "acme/desk", "acme-corp", "other")

    assert inside(rows, Scope.of("acme")) == [0, 1]
    assert inside(rows, Scope.of("nowhere")) == []


def test_all_rows_are_told_as_none_so_that_no_filter_runs() -> None:
    assert inside(table("acme", "acme/desk"), Scope.of("acme")) is None
    assert inside(table("acme", "other"), Scope()) is None


def test_a_change_is_seen_although_the_answer_was_kept() -> None:
    rows = table("a", "b")
    before = inside(rows, Scope.of("a"))
    rows.enter(rows.reserve(1), [(RecordId("a#9"), Scope.of("a"))])
    between = inside(rows, Scope.of("a"))
    gone = rows.leave([RecordId("a#0"), RecordId("a#77")])

    assert (before, between, gone.tolist(), inside(rows, Scope.of("a"))) == ([0], [0, 2], [0], [2])


def test_numbers_are_never_reused() -> None:
    rows = table("a")
    rows.leave([RecordId("a#0")])

    assert rows.reserve(2).tolist() == [1, 2]


def test_kept_answers_are_bounded() -> None:
    rows = table("a", "b")

    for n in range(3 * module.LIMIT_CACHED_SCOPES):
        rows.within(Scope.of(f"s{n}"))

    assert inside(rows, Scope.of("a")) == [0]
