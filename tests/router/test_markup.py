"""What a person would not read aloud is left out; what stands under a heading keeps it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.router.markup import blocks, looks_like_code, without_markup


def texts(text: str) -> list[str]:
    return [block.text for block in blocks(text)]


def test_headings_name_their_paragraphs_and_are_none() -> None:
    (block,) = blocks("# Mailbox\n\nIt is bounded.\n")

    assert (block.heading, block.text) == ("Mailbox", "It is bounded.")


def test_underlined_headings_of_rst_are_headings() -> None:
    (block,) = blocks("Mailbox\n=======\n\nIt is bounded.\n")

    assert (block.heading, block.text) == ("Mailbox", "It is bounded.")


def test_wrapped_lines_are_one_paragraph_and_items_are_their_own() -> None:
    assert texts("One line\ngoes on.\n\n- first\n  wrapped\n- second\n1. third") == [
        "One line goes on.",
        "first wrapped",
        "second",
        "third",
    ]


@pytest.mark.parametrize(
    "noise",
    [
        "```python\nx = 1\n```",
        "~~~\nany words at all\n~~~",
        "| a | b |\n|---|---|\n| one cell | another cell |",
        "+---+---+\n| a | b |\n+---+---+",
        "=====  =====\nName   Use\n=====  =====\na      b\n=====  =====",
        "---",
        "[ref]: https://example.org",
        "<!-- a comment\nover lines -->",
        "<script>let words = 'here'</script>",
        "<table><tr><td>a cell</td></tr></table>",
        ".. code-block:: python\n\n   print(1)\n",
        ".. _label:",
        ">>> 1 + 1\n2",
        "    import os\n    os.getcwd()",
        "app = App(\n    [child(A), child(B)],\n)",
    ],
)
def test_noise_between_paragraphs_is_left_out(noise: str) -> None:
    assert texts(f"Before it stands this.\n\n{noise}\n\nAfter it stands that.") == [
        "Before it stands this.",
        "After it stands that.",
    ]


def test_front_matter_is_left_out() -> None:
    assert texts("---\ntitle: A page\ntags: [a]\n---\n\nThe text begins.") == ["The text begins."]


def test_a_text_cut_within_a_code_block_begins_behind_it() -> None:
    assert texts("    return self.x()\nvalue = f(1)\n```\n\nThe text goes on.") == ["The text goes on."]


def test_an_rst_literal_block_is_left_out_and_its_colon_stays() -> None:
    assert texts("Run it like this::\n\n    make run\n\nThen look.") == ["Run it like this:", "Then look."]


def test_prose_of_an_rst_note_is_kept() -> None:
    assert texts(".. note::\n\n   It needs Python 3.11.\n") == ["It needs Python 3.11."]


def test_html_gives_its_words() -> None:
    found = list(blocks("<h2>Links &amp; more</h2><p>They are <b>ordered</b>.</p><ul><li>One</li></ul>"))

    assert [(block.heading, block.text) for block in found] == [
        ("Links & more", "They are ordered."),
        ("Links & more", "One"),
    ]


@pytest.mark.parametrize(
    ("marked", "bare"),
    [
        ("**bold _and italic_** text", "bold and italic text"),
        ("a [link](https://a.b/c_(d)) here", "a link here"),
        ("see ![image](x.png) here", "see here"),
        ("`__init__.py` keeps its `_names_`", "__init__.py keeps its _names_"),
        ("snake_case_name and 2*3*4 stay", "snake_case_name and 2*3*4 stay"),
        (":class:`Ref <a.Ref>` and ``code``", "Ref and code"),
        ("a footnote[^1] gone", "a footnote gone"),
        ("<https://a.b> as it is", "https://a.b as it is"),
        (r"an escaped \* star", "an escaped * star"),
    ],
)
def test_inline_markup_is_read_as_a_person_reads_it(marked: str, bare: str) -> None:
    assert without_markup(marked) == bare


@pytest.mark.parametrize("line", ["$ make run", "x = f(1)", "import os", "def f():", "}", "foo(bar)[0]->x;"])
def test_code_lines_are_known(line: str) -> None:
    assert looks_like_code(line)


@pytest.mark.parametrize("line", ["It waits (at most 5 s) for room.", "from the first version on", "class A is old"])
def test_prose_lines_are_no_code(line: str) -> None:
    assert not looks_like_code(line)


def test_an_element_that_never_ends_takes_nothing_with_it() -> None:
    assert texts("<table>A cell of a table. <!-- and <p>A paragraph.</p>")[-1] == "A paragraph."


@given(st.text(alphabet="ab `~*_#>|-=+.:\n()[]<>&!\\", max_size=300))
def test_no_text_breaks_the_reader(text: str) -> None:
    for block in blocks(text):
        assert "\n" not in without_markup(block.text)
