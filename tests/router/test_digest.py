"""Summaries and compression keep what a text is about, in its order, within their limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regrow.router.digest import standing_for, within
from regrow.router.ranking import lines_of, tokens_of

ARTICLE = """
Regrow is a runtime for agents that restarts what dies. Its supervisors watch agents and restart them in order.
The office plants were watered on Tuesday by somebody. Agents keep bounded mailboxes, so that no agent floods another.
A router sends work to models inside a budget. Supervisors give up when agents die too often.
"""


def test_a_summary_opens_with_what_the_text_opens_with_and_skips_asides() -> None:
    found = [line.text for line in standing_for(lines_of([(ARTICLE, "")]), limit=3)]

    assert found[0] == "Regrow is a runtime for agents that restarts what dies."
    assert not any("plants" in text for text in found)


def test_a_summary_does_not_say_the_same_twice() -> None:
    text = (
        "Agents keep bounded mailboxes in the runtime. Agents in the runtime keep their bounded mailboxes. "
        "The router keeps budgets for all models of agents."
    )

    found = [line.text for line in standing_for(lines_of([(text, "")]), limit=2)]

    assert "The router keeps budgets for all models of agents." in found


_PASSAGES = st.lists(st.tuples(st.text(alphabet="abc de. AB", max_size=400), st.just("s")), max_size=4)


@given(passages=_PASSAGES, limit=st.integers(1, 6))
def test_a_summary_is_quotations_in_the_order_of_the_text(passages: list[tuple[str, str]], limit: int) -> None:
    lines = lines_of(passages)

    places = [lines.index(line) for line in standing_for(lines, limit=limit)]

    assert places == sorted(set(places))
    assert len(places) <= limit
    assert bool(places) == bool(lines)


@given(passages=_PASSAGES, limit_tokens=st.integers(0, 200))
def test_compression_fits_its_limit(passages: list[tuple[str, str]], limit_tokens: int) -> None:
    kept = within(lines_of(passages), limit_tokens=limit_tokens)

    assert sum(tokens_of(line.text) for line in kept) <= limit_tokens
