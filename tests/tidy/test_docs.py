"""Documents keep their word: links lead somewhere, promises name their tests, examples are Python."""

from __future__ import annotations

import ast
import re
import tomllib
from itertools import pairwise
from typing import TYPE_CHECKING

from tests.tidy.conftest import outside_code_blocks, refuse
from tests.tidy.promises import NOT_YET, TEST_NAME, rows

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tidy.conftest import House

LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)")
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
TO_DO = re.compile(r"\b(TODO|FIXME|XXX|HACK|TBD)\b")
CHANGE_NAME = re.compile(r"[a-z0-9-]+\.(added|changed|fixed|removed|security)\.md")


def test_links_in_documents_are_alive(house: House) -> None:
    offences: list[str] = []
    for document in house.documents:
        text = re.sub(r"`[^`\n]*`", "", outside_code_blocks(document.read_text(encoding="utf-8")))
        for number, line in enumerate(text.splitlines(), start=1):
            offences += [
                f"{house.shown(document)}:{number}: {target}"
                for target in LINK.findall(line)
                if not re.match(r"https?:|mailto:", target) and not _leads_somewhere(document, target)
            ]

    refuse(offences, "A link leads to a file, and behind # to a heading of it; these do not:")


def _leads_somewhere(document: Path, target: str) -> bool:
    path, _, heading = target.partition("#")
    there = (document.parent / path) if path else document
    if not there.exists():
        return False
    return not heading or there.suffix != ".md" or heading in _headings(there)


def _headings(document: Path) -> set[str]:
    """The anchors that hosts make of headings: lower case, without signs, spaces as dashes, namesakes numbered."""
    anchors: set[str] = set()
    for title in re.findall(r"^#{1,6} +(.+?)[ #]*$", outside_code_blocks(document.read_text("utf-8")), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()).replace(" ", "-")
        earlier = sum(known == anchor or bool(re.fullmatch(re.escape(anchor) + r"-\d+", known)) for known in anchors)
        anchors.add(f"{anchor}-{earlier}" if earlier else anchor)
    return anchors


def test_every_promise_names_a_test_that_exists(house: House) -> None:
    """A row of docs/SEMANTICS.md is `| promise | test |`; the test is named, or the cell is `not yet: issue N`."""
    semantics = house.root / "docs/SEMANTICS.md"
    if not semantics.exists():
        return
    tests = {source.name: {function.name for function in source.functions()} for source in house.tests}
    everywhere = set[str]().union(*tests.values())
    offences: list[str] = []

    promises = list(rows(semantics))
    for number, cells in promises:
        named = TEST_NAME.findall(cells[-1])
        if not named and not NOT_YET.search(cells[-1]):
            offences.append(f"{number}: names no test in backticks and is not marked `not yet: issue N`: {cells[-1]!r}")
        offences += [
            f"{number}: there is no {f'{file}::' if file else ''}{test}"
            for file, test in named
            if test not in (tests.get(file, set()) if file else everywhere)
        ]

    refuse(offences, "Every line of docs/SEMANTICS.md names the test that holds it; line:")
    assert promises, "docs/SEMANTICS.md has no table of promises: | promise | test |"


def test_python_in_documents_compiles(house: House) -> None:
    offences: list[str] = []
    for document in house.documents:
        text = document.read_text(encoding="utf-8")
        for block in PYTHON_BLOCK.finditer(text):
            first = text[: block.start(1)].count("\n")
            try:
                compile(_program(block[1]), str(document), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            except SyntaxError as error:
                offences.append(f"{house.shown(document)}:{first + (error.lineno or 0)}: {error.msg}")

    refuse(offences, "What is shown as Python is Python:")


def _program(block: str) -> str:
    """The block itself, or the typed lines of a session with `>>>`, the others left empty so that lines agree."""
    if not re.search(r"^ *>>> ", block, re.MULTILINE):
        return block
    lines = (re.match(r" *(?:>>>|\.\.\.) ?(.*)", line) for line in block.splitlines())
    return "\n".join(typed[1] if typed else "" for typed in lines)


def test_what_is_to_do_is_an_issue_not_a_comment(house: House) -> None:
    refuse(
        (
            f"{source.name}:{line}: {comment}"
            for source in [*house.programs, *house.tests]
            for line, comment in source.comments()
            if TO_DO.search(comment)
        ),
        "A to-do is an issue; a comment says why something is as it is:",
    )


def test_the_glossary_is_sorted(house: House) -> None:
    """An entry begins its line with the word in bold: `**word** …`, `- **word** …` or `| **word** | …`."""
    glossary = house.root / "docs/GLOSSARY.md"
    if not glossary.exists():
        return
    sections = re.split(r"^#.*$", glossary.read_text(encoding="utf-8"), flags=re.MULTILINE)
    words = [re.findall(r"^(?:[-*|] +)?\*\*(.+?)\*\*", section, re.MULTILINE) for section in sections]

    refuse(
        (
            f"{later!r} stands after {earlier!r}"
            for section in words
            for earlier, later in pairwise(section)
            if later.casefold() < earlier.casefold()
        ),
        "The glossary is sorted within each section:",
    )
    assert any(words), "docs/GLOSSARY.md has no entries; begin each with its word in bold: **word** — meaning"


def test_a_decision_says_why_and_what_was_rejected(house: House) -> None:
    headings = ("Context", "Choice", "Rejected", "Consequence")

    refuse(
        (
            f"{house.shown(page)}: no heading '{heading}'"
            for page in sorted((house.root / "docs/decisions").glob("*.md"))
            for heading in headings
            if not re.search(rf"^## {heading}$", page.read_text(encoding="utf-8"), re.MULTILINE)
        ),
        f"A page in docs/decisions has the headings {', '.join(headings)}:",
    )


def test_every_dependency_says_what_it_replaces(house: House) -> None:
    project = tomllib.loads((house.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: list[list[str]] = list(project["optional-dependencies"].values())
    asked_for = [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]
    needed = {re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0] for requirement in asked_for}
    page = (house.root / "docs/decisions/0001-dependencies.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE))

    refuse(
        [
            *(
                f"{name}: add what it replaces to docs/decisions/0001-dependencies.md"
                for name in sorted(needed - explained)
            ),
            *(f"{name}: no longer in pyproject.toml" for name in sorted(explained - needed)),
        ],
        "Each dependency has a line that says what it replaces:",
    )


def test_change_notes_are_named_by_their_kind(house: House) -> None:
    refuse(
        (
            house.shown(path)
            for path in sorted((house.root / "changes").iterdir())
            if path.name != "README.md" and not CHANGE_NAME.fullmatch(path.name)
        ),
        "A file in changes/ is named short-name.kind.md, as changes/README.md says:",
    )
