"""A question is answered by the sentences that hold its rare words, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.router.ranking import answering, lines_of

MANUAL = """
# The mailbox

The mailbox of an actor is bounded. It holds a thousand messages by default. A full mailbox refuses user
messages and accepts stop.

# Supervision

A supervisor starts its children again after they crash. It gives up after three restarts within five
seconds, because a child that always crashes would burn the machine. The restart takes 18 ms.

```python
mailbox = Mailbox(capacity=1000)
```
"""


GIVES_UP = (
    "It gives up after three restarts within five seconds, because a child that always crashes would burn the machine."
)


def answer(question: str, *passages: tuple[str, str], limit: int = 3) -> list[str]:
    return [line.text for line in answering(question, lines_of(passages or [(MANUAL, "manual.md")]), limit=limit)]


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("What does a full mailbox do?", "A full mailbox refuses user messages and accepts stop."),
        ("How many messages does a mailbox hold by default?", "It holds a thousand messages by default."),
        (
            "Why does a supervisor give up on a child?",
            GIVES_UP,
        ),
        ("What is the mailbox of an actor?", "The mailbox of an actor is bounded."),
        ("how long does restarting take", "The restart takes 18 ms."),
    ],
)
def test_the_sentence_that_answers_is_quoted(question: str, best: str) -> None:
    assert best in answer(question)


@pytest.mark.parametrize(
    "question",
    [
        "How do I bake a chocolate cake?",
        "Who painted the Mona Lisa?",
        "What is the boiling point of ethanol at sea level?",
    ],
)
def test_a_foreign_question_has_no_answer(question: str) -> None:
    assert answer(question) == []


def test_a_definition_goes_before_a_mention() -> None:
    found = answer(
        "What is Regrow?",
        ("Do not put a folder named regrow at the root. It would hide the regrow package.", "a"),
        ("Regrow is an actor runtime for agents.", "b"),
        limit=1,
    )

    assert found == ["Regrow is an actor runtime for agents."]


def test_a_sentence_that_leans_on_another_brings_it_along() -> None:
    found = answer(
        "What does the keeper watch?",
        ("The keeper lives on each node. It holds one pending call on every host to watch its death.", "a"),
        limit=2,
    )

    assert found == [
        "The keeper lives on each node.",
        "It holds one pending call on every host to watch its death.",
    ]


def test_the_same_sentence_in_two_passages_is_quoted_once() -> None:
    text = "A full mailbox refuses user messages and accepts stop."

    assert answer("What does a full mailbox do?", (text, "a"), (f"{text} And more is said here.", "b")) == [text]


def test_both_parts_of_a_question_are_answered() -> None:
    found = answer(
        "What is the guardian and where do ledgers live?",
        ("The guardian holds the supervisors of an app. The guardian is named.", "a"),
        ("Weather was fine that day in the valley.", "b"),
        ("All ledgers live in Redis under one tag.", "c"),
    )

    assert "All ledgers live in Redis under one tag." in found
    assert any("guardian" in line for line in found)


def test_words_of_the_heading_count() -> None:
    found = answer(
        "How does supervision treat crashes?",
        ("# Supervision\n\nEvery crash costs one restart of the budget.", "a"),
        ("# Weather\n\nEvery crash of thunder was heard far away.", "b"),
        limit=1,
    )

    assert found == ["Every crash costs one restart of the budget."]


def test_words_of_the_source_count() -> None:
    found = answer(
        "Where was Grace Krilanovich educated?",
        ("She was educated in Toledo by her aunts.", "Another Person"),
        ("She was educated in Boston by her aunt.", "Grace Krilanovich"),
        limit=1,
    )

    assert found == ["She was educated in Boston by her aunt."]


def test_a_cut_sentence_loses_to_a_whole_one() -> None:
    found = answer(
        "Who owns the hosts of a node?",
        ("so the keeper owns the hosts of the node", "a"),
        ("The keeper owns the hosts of its node.", "b"),
        limit=1,
    )

    assert found == ["The keeper owns the hosts of its node."]


@given(
    question=st.text(max_size=80),
    passages=st.lists(st.tuples(st.text(max_size=300), st.text(max_size=10)), max_size=5),
    limit=st.integers(1, 5),
)
def test_answers_are_quotations_within_the_limit_and_never_twice(
    question: str, passages: list[tuple[str, str]], limit: int
) -> None:
    lines = lines_of(passages)

    found = answering(question, lines, limit=limit)

    assert len(found) <= limit + 1
    assert len({id(line) for line in found}) == len(found)
    assert all(any(line is known for known in lines) for line in found)
    assert [line.text for line in answering(question, lines, limit=limit)] == [line.text for line in found]
