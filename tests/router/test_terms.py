"""Words are compared by stem, identifiers by their parts, families by their beginning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.router.terms import content_terms, kin, stem, terms, trigrams


@pytest.mark.parametrize(
    "family",
    [
        ("restart", "restarts", "restarted", "restarting"),
        ("memory", "memories"),
        ("retry", "retries", "retried"),
        ("box", "boxes"),
        ("stop", "stopped", "stopping"),
        ("die", "died", "dying", "death"),
        ("behaviour", "behavior"),
        ("organise", "organize"),
        ("licence", "license"),
    ],
)
def test_inflexions_and_spellings_of_a_word_share_its_stem(family: tuple[str, ...]) -> None:
    assert len({stem(word) for word in family}) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("supervisor", "supervision"), ("deliver", "delivery"), ("configure", "configuration")]
)
def test_derived_words_are_kin(one: str, other: str) -> None:
    assert kin(stem(one), stem(other))


@pytest.mark.parametrize(("one", "other"), [("content", "context"), ("process", "proceed"), ("port", "portal")])
def test_words_that_only_begin_alike_are_not_kin(one: str, other: str) -> None:
    assert not kin(stem(one), stem(other))


def test_identifiers_are_found_by_their_parts() -> None:
    assert terms("AskTimeout max_restarts at-most-once") == ["ask", "timeout", "max", "restart", "at", "most", "once"]


def test_words_that_only_ask_carry_no_topic() -> None:
    assert content_terms("How long does an ask wait?") == ["ask", "wait"]


def test_a_text_of_stopwords_only_keeps_them() -> None:
    assert content_terms("to be or not to be") == ["to", "be", "or", "not", "to", "be"]


def test_scripts_without_spaces_are_compared_by_sign() -> None:
    assert set(terms("再起動")) & set(terms("起動する"))


def test_trigrams_find_a_word_inside_a_compound() -> None:
    assert len(trigrams("billing") & trigrams("rebilling")) >= 5


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=200))
def test_stems_are_lower_case_and_never_empty(text: str) -> None:
    assert all(term and term == term.lower() for term in terms(text))


@given(st.text(max_size=40), st.text(max_size=40))
def test_kinship_is_mutual(one: str, other: str) -> None:
    assert kin(one, other) == kin(other, one)
