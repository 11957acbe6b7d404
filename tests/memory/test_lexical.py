"""The BM25 leg: exact words in, no query syntax, no rows of other scopes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regrow.memory import lexical as module
from regrow.memory.errors import ShardClosed
from regrow.memory.lexical import LexicalIndex
from regrow.memory.record import Scope

TEXTS = (
    "The supervisor restarts a crashed child within five seconds.",
    "A mailbox is bounded: a full mailbox refuses further messages.",
    "FAISS searches vectors; Redis keeps the records.",
    "Ein Café in Köln serves naïve résumé readers.",
)
SCOPE = Scope.of("acme/desk")


@pytest.fixture
def index() -> Iterator[LexicalIndex]:
    made = LexicalIndex()
    made.add((row, SCOPE, text) for row, text in enumerate(TEXTS))
    yield made
    made.close()


def found(index: LexicalIndex, text: str, scope: Scope = SCOPE) -> list[int]:
    return [row for row, _ in index.search(text, 10, scope)]


def test_rows_that_share_a_word_are_found_best_first(index: LexicalIndex) -> None:
    matches = index.search("full mailbox of a supervisor", 10, SCOPE)

    assert [row for row, _ in matches] == [1, 0]
    assert matches[0][1] > matches[1][1] > 0.0


def test_at_most_k_are_found(index: LexicalIndex) -> None:
    assert len(index.search("supervisor mailbox redis", 2, SCOPE)) == 2


@pytest.mark.parametrize(
    ("text", "row"), [("RESTARTED", 0), ("restarting", 0), ("cafe", 3), ("Koln", 3), ("faiss/redis", 2)]
)
def test_case_accents_and_english_endings_do_not_matter(index: LexicalIndex, text: str, row: int) -> None:
    assert found(index, text) == [row]


@pytest.mark.parametrize("text", ["", "   ", "the of and is", "?!…", "👍", "zebra", "x" * 5_000])
def test_a_question_without_a_known_word_finds_nothing(index: LexicalIndex, text: str) -> None:
    assert found(index, text) == []


@pytest.mark.parametrize(
    "text",
    [
        'mailbox AND "',
        "+mailbox -bounded",
        "scope:other mailbox",
        "mailbox^5 OR (",
        "mailbox~2 [a TO b]",
        "NOT mailbox",
        "mail* /mailbox/",
        "row:1 IN [mailbox]",
        "\\ mailbox \x00",
    ],
)
def test_query_syntax_is_only_text(index: LexicalIndex, text: str) -> None:
    assert found(index, text) == [1]


def test_a_field_of_ours_can_not_be_asked_for(index: LexicalIndex) -> None:
    assert found(index, "scope:acme row:1 *") == []


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text())
def test_no_text_is_an_error(index: LexicalIndex, text: str) -> None:
    assert set(found(index, text)) <= {0, 1, 2, 3}


def test_only_rows_at_or_below_the_scope_are_found(index: LexicalIndex) -> None:
    others = ("acme", "acme/desk/a", "acme/desk-2", "acme-corp", "other")
    index.add((10 + n, Scope.of(path), "mailbox") for n, path in enumerate(others))

    assert set(found(index, "mailbox", Scope.of("acme/desk"))) == {1, 11}
    assert set(found(index, "mailbox", Scope.of("acme"))) == {1, 10, 11, 12}
    assert set(found(index, "mailbox", Scope())) == {1, 10, 11, 12, 13, 14}
    assert found(index, "mailbox", Scope.of("nowhere")) == []


def test_the_scope_does_not_change_the_score(index: LexicalIndex) -> None:
    assert index.search("mailbox", 1, SCOPE) == index.search("mailbox", 1, Scope())


def test_a_removed_row_is_not_found_also_when_it_was_never_committed(index: LexicalIndex) -> None:
    index.add([(9, SCOPE, "zebra")])
    index.remove([9, 1, 77])

    assert found(index, "zebra mailbox") == []


def test_what_is_added_after_a_search_is_found_by_the_next(index: LexicalIndex) -> None:
    before = found(index, "zebra")
    index.add([(4, SCOPE, "a zebra")])

    assert (before, found(index, "zebra")) == ([], [4])


def test_many_additions_are_committed_in_between(index: LexicalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_UNCOMMITTED", 8)

    index.add((10 + n, SCOPE, f"zebra {n}") for n in range(20))

    assert len(index.search("zebra", 50, SCOPE)) == 20


def test_a_word_asked_for_twice_counts_twice(index: LexicalIndex) -> None:
    [(_, once)], [(_, twice)] = index.search("redis", 1, SCOPE), index.search("redis redis", 1, SCOPE)

    assert twice == pytest.approx(2 * once)


def test_of_a_long_question_the_most_frequent_words_are_looked_up(
    index: LexicalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT_QUERY_TERMS", 2)

    assert found(index, "mailbox faiss supervisor faiss") == [2, 1]


@pytest.mark.slow
def test_threads_may_add_and_search_together(index: LexicalIndex) -> None:
    with ThreadPoolExecutor(4) as pool:
        for row in range(10, 30):
            pool.submit(index.add, [(row, SCOPE, f"zebra number {row}")])
            pool.submit(index.search, "zebra", 5, SCOPE)

    assert len(index.search("zebra", 50, SCOPE)) == 20


def test_a_closed_index_says_so_and_may_be_closed_again() -> None:
    index = LexicalIndex()
    index.close()
    index.close()

    with pytest.raises(ShardClosed):
        index.add([(1, SCOPE, "late")])
    with pytest.raises(ShardClosed):
        index.search("late", 1, SCOPE)
