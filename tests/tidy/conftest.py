"""The repository as the tidy tests see it: its rooms, their files and syntax trees, its documents."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOMS = ("runtime", "supervisors", "memory", "router", "actors", "cluster")
PROGRAMS = ("api", "examples", "benchmarks")

N = TypeVar("N", bound=ast.AST)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One Python file; its text and tree are read once."""

    path: Path
    name: str
    """Its path from the repository's root, as it is shown in a failure."""

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=self.name)

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def module(self) -> str:
        """The name it is imported by: `regrow.runtime.cell` for runtime/cell.py, `regrow` for api/__init__.py."""
        parts = ["regrow", *Path(self.name).with_suffix("").parts]
        return ".".join(part for part in parts if part not in ("api", "__init__"))

    def nodes(self, kind: type[N]) -> Iterator[N]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kind))

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        yield from self.nodes(ast.FunctionDef)
        yield from self.nodes(ast.AsyncFunctionDef)

    def comments(self) -> Iterator[tuple[int, str]]:
        """Each comment with its line number."""
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string

    def imports(self) -> Iterator[Import]:
        """Every import in the file, also the one inside a function or for the type checkers only."""
        yield from _imports(self.tree, needed_to_load=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module: `from a.b import c` is module `a.b` with name `c`, `import a.b` has no name."""

    line: int
    module: str
    name: str | None
    needed_to_load: bool
    """Whether it runs when the file is loaded: not inside a function, not under `if TYPE_CHECKING`."""

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def _imports(node: ast.AST, *, needed_to_load: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(line=child.lineno, module=alias.name, name=None, needed_to_load=needed_to_load)
        elif isinstance(child, ast.ImportFrom):
            module = "." * child.level + (child.module or "")
            for alias in child.names:
                yield Import(line=child.lineno, module=module, name=alias.name, needed_to_load=needed_to_load)
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for part in child.body:
                yield from _imports(ast.Module([part], []), needed_to_load=False)
            for part in child.orelse:
                yield from _imports(ast.Module([part], []), needed_to_load=needed_to_load)
        else:
            late = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, needed_to_load=needed_to_load and not late)


@dataclass(frozen=True, kw_only=True)
class House:
    """The repository's files, sorted as its rules speak of them."""

    root: Path

    def sources(self, *folders: str) -> list[Source]:
        """The Python files below these folders."""
        return [
            source
            for folder in folders
            for path in sorted((self.root / folder).rglob("*.py"))
            if "__pycache__" not in path.parts
            for source in [Source(path=path, name=path.relative_to(self.root).as_posix())]
        ]

    @cached_property
    def rooms(self) -> list[Source]:
        return self.sources(*ROOMS)

    @cached_property
    def programs(self) -> list[Source]:
        """What is written for people to run or import, rooms first."""
        return [*self.rooms, *self.sources(*PROGRAMS)]

    @cached_property
    def tests(self) -> list[Source]:
        return self.sources("tests")

    @cached_property
    def documents(self) -> list[Path]:
        """Every Markdown file of the repository, none that a tool has put there."""
        tops = ("docs", "changes", "deploy", *ROOMS, *PROGRAMS, "tests")
        below = [path for top in tops for path in (self.root / top).rglob("*.md")]
        return sorted([*self.root.glob("*.md"), *below])

    def shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def refuse(offences: Iterable[str], because: str) -> None:
    """Fail with every offence on a line of its own, below the rule and its remedy."""
    found = list(offences)
    if found:
        pytest.fail("\n  ".join([because, *found]), pytrace=False)


def outside_code_blocks(text: str) -> str:
    """Markdown without its fenced blocks; lines keep their numbers."""
    return re.sub(r"^( *)```.*?^\1```", lambda block: "\n" * block[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="session")
def house() -> House:
    return House(root=Path(__file__).resolve().parents[2])
