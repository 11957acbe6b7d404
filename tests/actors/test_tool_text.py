"""Docstrings as models read them."""

from __future__ import annotations

import pytest

from regrow.actors.tool_text import described

GOOGLE = """Searches the web.

    It knows what stands there: nothing else.

    Args:
        query: what to look for,
            in words: plain ones
        limit (int, optional): how many

        kind: a blank line is none of our business
    Returns:
        Titles.
    """


def test_a_section_of_arguments_is_taken_out_and_read() -> None:
    description, of_arguments = described(GOOGLE)

    assert description == "Searches the web.\n\nIt knows what stands there: nothing else.\n\nReturns:\n    Titles."
    assert of_arguments == {
        "query": "what to look for, in words: plain ones",
        "limit": "how many",
        "kind": "a blank line is none of our business",
    }


def test_the_parameters_of_sphinx_are_read() -> None:
    description, of_arguments = described(
        """Sends a mail.

        :param to: who gets it,
            by address
        :param str text: what it says
        :returns: its number
        """
    )

    assert description == "Sends a mail.\n\n:returns: its number"
    assert of_arguments == {"to": "who gets it, by address", "text": "what it says"}


@pytest.mark.parametrize("docstring", ["One line.", "One line.\n\nNote: this is: no argument.", "  One line."])
def test_without_arguments_all_of_it_is_the_description(docstring: str) -> None:
    assert described(docstring) == (docstring.strip(), {})


def test_nothing_is_nothing() -> None:
    assert described("") == ("", {})
