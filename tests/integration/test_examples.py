"""Examples run as they stand, and say what the guides say that they do."""

from __future__ import annotations

import ast
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"

FIRST_ANSWER_LIMIT_S = 2.0
NOTHING_GIVEN = "This model only quotes what it is given, and it was given no text.\n"


@pytest.mark.slow
def test_hello_answers_within_two_seconds_and_starts_nothing_else(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGROW_")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "hello.py")],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello world\n", "")
    assert list(tmp_path.iterdir()) == []  # no data folder, so no Redis
    # The time of the processor and not of the clock, so that a busy machine does not fail the test.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < FIRST_ANSWER_LIMIT_S


def test_hello_is_the_one_that_the_readme_shows() -> None:
    hello = ast.dump(ast.parse((EXAMPLES / "hello.py").read_text("utf-8")))

    assert hello in [ast.dump(ast.parse(block)) for block in blocks(REPOSITORY / "README.md", "python")]


@pytest.mark.slow
@pytest.mark.redis
def test_the_agent_with_memory_and_models_of_the_readme_runs(tmp_path: Path) -> None:
    (block,) = (block for block in blocks(REPOSITORY / "README.md", "python") if "class Analyst" in block)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REGROW_", "OPENAI_"))}
    inline = block.replace('engine="ray"', 'engine="inline"')
    (tmp_path / "desk.py").write_text(f"{inline}\n\nimport asyncio\n\nasyncio.run(main())\n", encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "desk.py"],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )

    assert inline != block
    assert (done.returncode, done.stdout) == (0, NOTHING_GIVEN), done.stderr


GUIDE = REPOSITORY / "docs/guides/let-it-crash.md"
GUIDES = {
    "let_it_crash.py": GUIDE,
    "orders.py": REPOSITORY / "docs/guides/state-that-survives.md",
    "refunds.py": REPOSITORY / "docs/guides/tools-and-approvals.md",
    "librarian.py": REPOSITORY / "docs/guides/tools-from-mcp-servers.md",
    "telling.py": REPOSITORY / "docs/guides/streaming.md",
    "runaways.py": REPOSITORY / "docs/guides/stopping-runaways.md",
    "frameworks.py": REPOSITORY / "docs/guides/bring-your-own-framework.md",
}
"""Each guide by its example."""


@pytest.mark.slow
@pytest.mark.parametrize("example", GUIDES)
def test_a_tour_says_what_its_guide_shows(example: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGROW_")}

    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example)],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )

    assert done.returncode == 0, done.stderr
    (shown,) = blocks(GUIDES[example], "text")
    assert without_times(done.stdout.strip()) == without_times(shown.strip())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("example", GUIDES)
def test_the_code_in_a_guide_is_the_code_of_its_example(example: str) -> None:
    program = (EXAMPLES / example).read_text("utf-8")
    shown = blocks(GUIDES[example], "python")

    assert len(shown) > 1
    assert [block for block in shown if block not in program] == []


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def without_times(transcript: str) -> str:
    return re.sub(r"\d+ ms", "N ms", transcript)
