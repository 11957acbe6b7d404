"""Sentences end where a person ends them, and only readable ones are given."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.router.sentences import LONGEST_SENTENCE_CHARS, is_prose, sentences, split


@pytest.mark.parametrize(
    "whole",
    [
        "It waits 5.0 s, e.g. for room.",
        "Written by J. Smith et al. in 1998.",
        "The file foo.py is read first.",
        "See fig. 3 for the shape.",
        "It runs (once. Then never) in a turn.",
        "Call `a. B` to begin.",
    ],
)
def test_a_stop_inside_a_sentence_does_not_end_it(whole: str) -> None:
    assert split(whole) == [whole]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One is here. Two is there.", ["One is here.", "Two is there."]),
        ('He said "stop." Then it stopped!', ['He said "stop."', "Then it stopped!"]),
        ("It restarts one. rest_for_one stops the later.", ["It restarts one.", "rest_for_one stops the later."]),
        ("It ends. `kill` helps.", ["It ends.", "`kill` helps."]),
        ("一つ目です。二つ目です。", ["一つ目です。", "二つ目です。"]),
        ("It holds A, B, etc. Then it goes on.", ["It holds A, B, etc.", "Then it goes on."]),
    ],
)
def test_sentences_are_parted(text: str, parts: list[str]) -> None:
    assert split(text) == parts


def test_positions_count_through_and_paragraphs_are_marked() -> None:
    found = sentences("One stands here first. Two comes after it.\n\nThree opens a new one.")

    assert [(one.position, one.opens_paragraph) for one in found] == [(0, True), (1, False), (2, True)]


def test_a_catchword_names_what_follows_it() -> None:
    (found,) = sentences("# Decisions\n\n**Delivery.** It happens at most once here.")

    assert found.heading == "Decisions Delivery."


def test_a_short_sentence_names_what_follows_it_too() -> None:
    (found,) = sentences("# Decisions\n\nDelivery. It happens at most once here.")

    assert found.heading == "Decisions Delivery."


def test_a_question_in_the_text_is_no_answer_but_names_one() -> None:
    (found,) = sentences("How long does it wait? It waits for five seconds.")

    assert (found.text, found.heading) == ("It waits for five seconds.", "How long does it wait?")


def test_the_words_before_a_list_name_its_items() -> None:
    found = sentences("The shard promises these things:\n\n- it keeps every record\n- it forgets on request only\n")

    assert [one.text for one in found] == ["it keeps every record", "it forgets on request only"]
    assert {one.heading for one in found} == {"The shard promises these things:"}


def test_cut_ends_of_a_passage_are_marked() -> None:
    found = sentences("which was then lost for ever. This one is whole here. And this one ends in the")

    assert [one.whole for one in found] == [False, True, False]


def test_a_long_sentence_is_parted_at_semicolons_but_not_within_brackets() -> None:
    clause = "this clause has some words in it (an aside; with a semicolon)"
    found = sentences("; ".join([clause] * 8) + ".")

    assert {one.text.rstrip(".") for one in found} == {clause}


@pytest.mark.parametrize("text", ["Licence", "0 1 2 3 4 5 6", "{'a': [1, 2], 'b': (3,)}", "x y z 1 2"])
def test_labels_numbers_and_code_are_no_prose(text: str) -> None:
    assert not is_prose(text)


@given(st.text(max_size=2_000))
def test_no_sentence_is_longer_than_the_limit_or_over_two_lines(text: str) -> None:
    for one in sentences(text):
        assert "\n" not in one.text
        assert len(one.text) <= LONGEST_SENTENCE_CHARS
        assert one.text == one.text.strip()


HOSTILE = (
    *("(a. B", "`a` *b ", "[x](", "<a ", "**x", "a.b.", "| ", "- ", "_x_*", "xxxxxxx", "1.", "a. ", "\n\n", "``\n"),
    *("<!--", "<script>", "<table><pre>", "<h1>", "</p", "```\n", "# `a", "a\n=\n", ">>> a\n\n", ".. x::\n", "::\n\n"),
)


@pytest.mark.heavy
@pytest.mark.slow
def test_time_is_linear_in_the_length_of_hostile_text() -> None:
    def taken_s(text: str) -> float:
        return min(_measured_s(text) for _ in range(3))

    for hostile in HOSTILE:
        small = hostile * (5_000 // len(hostile))
        assert taken_s(small * 8) < 40 * taken_s(small) + 0.05, hostile


def _measured_s(text: str) -> float:
    begun_s = time.perf_counter()
    sentences(text)
    return time.perf_counter() - begun_s
