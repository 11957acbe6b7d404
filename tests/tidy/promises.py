"""The promises of docs/SEMANTICS.md, and which placements the tests of a promise run in."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.tidy.conftest import outside_code_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.tidy.conftest import House, Source

NOT_YET = re.compile(r"not yet: issue \d+")
TEST_NAME = re.compile(r"`(?:(tests/[\w/]+\.py)(?:::|`[ :]*`))?(?:Test\w+::)?(test_\w+)(?:\[[^\]`]*\])?`")

PLACEMENTS = "tests/conformance/placements"
EVERYWHERE = frozenset({"inline", "one host", "two hosts", "two raylets"})
"""The names of `Placement` in stage.py there."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def rows(document: Path) -> Iterator[tuple[int, list[str]]]:
    """The body rows of every table whose last column is called `test`, each with its line."""
    column = ""
    text = outside_code_blocks(document.read_text(encoding="utf-8"))
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.startswith("|"):
            column = ""
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not column:
            column = cells[-1].lower()
        elif column in ("test", "tests") and set("".join(cells)) - set(":- "):
            yield number, cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """elsewhere.toml: what is not tried in all placements, and why."""

    fixtures: dict[str, frozenset[str]]
    """The placements that a fixture leaves out, by its name."""
    left_out: dict[str, frozenset[str]]
    """The placements that the tests of a promise leave out, by its text."""
    not_tried: frozenset[str]
    """Promises whose tests stand outside of the placements."""
    without_reason: tuple[str, ...]
    """What gives no reason."""


def written_elsewhere(house: House) -> Elsewhere:
    """What is written there."""
    read = tomllib.loads((house.root / PLACEMENTS / "elsewhere.toml").read_text(encoding="utf-8"))
    entries = [*read["fixture"], *read["left_out"], *read["elsewhere"]]
    return Elsewhere(
        fixtures={entry["name"]: frozenset(entry["leaves_out"]) for entry in read["fixture"]},
        left_out={
            promise: frozenset(entry["placements"]) for entry in read["left_out"] for promise in entry["promises"]
        },
        not_tried=frozenset(promise for entry in read["elsewhere"] for promise in entry["promises"]),
        without_reason=tuple(str(entry) for entry in entries if not entry["why"].strip()),
    )


def placements_of_tests(house: House, leaves_out: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """By test of the placements, those it runs in: all but what the fixtures that it uses leave out."""
    sources = [source for source in house.tests if source.path.is_relative_to(house.root / PLACEMENTS)]
    everybodys = {
        name: used for source in sources if source.path.name == "conftest.py" for name, used in _needs(source)
    }
    return {
        function.name: EVERYWHERE - _left_out(_used(function) | _of_module(source), fixtures, leaves_out)
        for source in sources
        for fixtures in [everybodys | dict(_needs(source))]
        for function in source.functions()
        if function.name.startswith("test_")
    }


def _left_out(
    used: frozenset[str], fixtures: dict[str, frozenset[str]], leaves_out: dict[str, frozenset[str]]
) -> frozenset[str]:
    """What these fixtures leave out, and those that they use themselves."""
    known, found = set[str](), frozenset[str]()
    ahead = set(used)
    while ahead:
        name = ahead.pop()
        known.add(name)
        found |= leaves_out.get(name, frozenset())
        ahead |= fixtures.get(name, frozenset()) - known
    return found


def _needs(source: Source) -> Iterator[tuple[str, frozenset[str]]]:
    """The fixtures of a file, each with those it uses."""
    for function in source.functions():
        if any("fixture" in ast.unparse(decorator) for decorator in function.decorator_list):
            yield function.name, _used(function)


def _used(function: Function) -> frozenset[str]:
    arguments = frozenset(argument.arg for argument in (*function.args.args, *function.args.kwonlyargs))
    return arguments.union(*(_marked(decorator) for decorator in function.decorator_list))


def _of_module(source: Source) -> frozenset[str]:
    """The fixtures that a file uses for all its tests."""
    marks = (node.value for node in source.tree.body if isinstance(node, ast.Assign) and _is_pytestmark(node))
    return frozenset[str]().union(*map(_marked, marks))


def _is_pytestmark(node: ast.Assign) -> bool:
    return [ast.unparse(target) for target in node.targets] == ["pytestmark"]


def _marked(node: ast.AST) -> frozenset[str]:
    """The fixtures named in calls of `usefixtures`."""
    calls = (call for call in ast.walk(node) if isinstance(call, ast.Call))
    uses = (call for call in calls if ast.unparse(call.func) == "pytest.mark.usefixtures")
    return frozenset(str(ast.literal_eval(argument)) for call in uses for argument in call.args)
