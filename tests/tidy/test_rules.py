"""The tidy rules are tested by planted faults: a rule that finds nothing in bad code would protect nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.tidy import test_docs, test_errors, test_imports, test_layout, test_size, test_tests
from tests.tidy.conftest import House

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONG = "def long():\n" + "    pass\n" * 60
SEMANTICS = "| promise | test |\n|---|---|\n| It holds. | {} |\n"

PROMISES = test_docs.test_every_promise_names_a_test_that_exists
EXAMPLES = test_docs.test_python_in_documents_compiles
GLOSSARY = test_docs.test_the_glossary_is_sorted

FAULTS: list[tuple[Callable[[House], None], str, str, str]] = [
    (test_size.test_no_file_is_longer_than_400_lines, "runtime/cell.py", "x = 1\n" * 401, "runtime/cell.py: 401"),
    (
        test_size.test_no_function_is_longer_than_60_lines,
        "api/__init__.py",
        LONG,
        "__init__.py:1: long has 61",
    ),
    (test_layout.test_no_file_has_a_name_that_says_nothing, "memory/utils.py", "", "memory/utils.py"),
    (test_layout.test_rooms_are_flat, "router/models/small.py", "", "router/models"),
    (test_imports.test_only_ray_files_import_ray, "cluster/hosts.py", "def f():\n    import ray\n", "hosts.py:2: ray"),
    (test_imports.test_the_kernel_imports_only_its_four_libraries, "runtime/ref.py", "import redis", "ref.py:1: redis"),
    (test_imports.test_nothing_is_pickled, "router/cache.py", "from pickle import loads", "cache.py:1: pickle"),
    (
        test_imports.test_rooms_import_names_from_where_they_are_defined,
        "actors/agent.py",
        "from regrow.actors import Context",
        "agent.py:1: from regrow.actors import Context",
    ),
    (
        test_imports.test_no_module_needs_itself_to_load,
        "runtime/cell.py",
        "from regrow.runtime import cell",
        "regrow.runtime.cell → regrow.runtime.cell",
    ),
    (
        test_errors.test_nothing_catches_everything_but_the_cell_and_the_edges,
        "actors/agent.py",
        "try:\n    pass\nexcept (ValueError, Exception):\n    pass\n",
        "agent.py:3",
    ),
    (
        test_errors.test_nothing_catches_everything_but_the_cell_and_the_edges,
        "actors/agent.py",
        "with contextlib.suppress(BaseException):\n    pass\n",
        "agent.py:1",
    ),
    (
        test_errors.test_whoever_catches_everything_says_why,
        "runtime/cell.py",
        "try:\n    pass\nexcept Exception:\n    pass\n",
        "cell.py:3",
    ),
    (test_tests.test_no_test_sleeps, "tests/test_a.py", "from time import sleep\nsleep(1)", "test_a.py:2: sleep(1)"),
    (test_tests.test_no_test_sleeps, "tests/test_a.py", "await asyncio.sleep(0.1)", "asyncio.sleep(0.1)"),
    (test_docs.test_links_in_documents_are_alive, "docs/A.md", "see [b](B.md)", "docs/A.md:1: B.md"),
    (test_docs.test_links_in_documents_are_alive, "docs/A.md", "# One\nsee [2](#two)", "docs/A.md:2: #two"),
    (
        PROMISES,
        "docs/SEMANTICS.md",
        SEMANTICS.format("`test_b`"),
        "no test_b",
    ),
    (
        PROMISES,
        "docs/SEMANTICS.md",
        SEMANTICS.format("soon"),
        "3: names no test",
    ),
    (
        EXAMPLES,
        "README.md",
        "```python\na\nb c\n```\n",
        "README.md:3: invalid syntax",
    ),
    (test_docs.test_what_is_to_do_is_an_issue_not_a_comment, "runtime/bus.py", "x = 1  # TODO: more", "bus.py:1"),
    (
        GLOSSARY,
        "docs/GLOSSARY.md",
        "**tell** — a\n\n**ask** — b\n",
        "'ask' stands after 'tell'",
    ),
    (test_docs.test_a_decision_says_why_and_what_was_rejected, "docs/decisions/1.md", "## Context\n", "'Rejected'"),
    (test_docs.test_change_notes_are_named_by_their_kind, "changes/mine.md", "", "changes/mine.md"),
]


@pytest.mark.parametrize(("rule", "file", "text", "found"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_a_planted_fault_is_found(
    rule: Callable[[House], None], file: str, text: str, found: str, tmp_path: Path
) -> None:
    house = planted(tmp_path, file, text)

    with pytest.raises(pytest.fail.Exception) as failure:
        rule(house)

    assert found in str(failure.value)


SOUND: list[tuple[Callable[[House], None], str, str]] = [
    (test_imports.test_only_ray_files_import_ray, "cluster/ray_host.py", "import ray"),
    (
        test_imports.test_no_module_needs_itself_to_load,
        "runtime/cell.py",
        "if TYPE_CHECKING:\n    from regrow.runtime.cell import Cell\n",
    ),
    (
        test_errors.test_whoever_catches_everything_says_why,
        "runtime/cell.py",
        "try:\n    pass\nexcept Exception as error:  # user code ends here\n    pass\n",
    ),
    (
        test_errors.test_nothing_catches_everything_but_the_cell_and_the_edges,
        "cluster/hosts.py",
        "try:\n    pass\nexcept BaseException:\n    stop()\n    raise\n",
    ),
    (test_tests.test_no_test_sleeps, "tests/test_a.py", "await asyncio.sleep(0)"),
    (
        test_docs.test_links_in_documents_are_alive,
        "docs/A.md",
        "## What it's for\n`[x](y)` [here](#what-its-for) [far](https://example.org)\n```\n[x](y)\n```\n",
    ),
    (
        PROMISES,
        "docs/SEMANTICS.md",
        "# 1\n\n| reason | meaning |\n|---|---|\n| Normal | it ended |\n\n" + SEMANTICS.format("not yet: issue 4"),
    ),
    (EXAMPLES, "README.md", "```python\n>>> await f()\n'never run'\n```\n"),
    (
        GLOSSARY,
        "docs/GLOSSARY.md",
        "- **Ask** — a\n- **tell** — b\n## Ray\n- **node** — c\n",
    ),
]


@pytest.mark.parametrize(("rule", "file", "text"), SOUND, ids=[sound[0].__name__ for sound in SOUND])
def test_what_is_allowed_is_not_refused(rule: Callable[[House], None], file: str, text: str, tmp_path: Path) -> None:
    rule(planted(tmp_path, file, text))


def planted(root: Path, file: str, text: str) -> House:
    """A repository with this one file."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return House(root=root)
