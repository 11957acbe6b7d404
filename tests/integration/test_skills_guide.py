"""The guide on skills is executed: its program says what it shows, and the tests of its skill pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_examples import blocks

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDE = REPOSITORY / "docs/guides/skills.md"
EXAMPLES = REPOSITORY / "examples"
SKILL = EXAMPLES / "skills/refunds"
PROGRAMS = (EXAMPLES / "skilled.py", SKILL / "tools.py", SKILL / "test_refunds.py")


def said(*command: str) -> str:
    """What a command prints in the folder of the examples."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGROW_")}
    done = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:]],
        check=False,
        cwd=EXAMPLES,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": "-p no:cacheprovider"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_the_skills_guide_shows_stands_in_its_files() -> None:
    program = "".join(file.read_text("utf-8") for file in PROGRAMS)
    shown = blocks(GUIDE, "python")

    assert len(shown) > 1
    assert [block for block in shown if block not in program] == []
    assert blocks(GUIDE, "markdown") == [(SKILL / "SKILL.md").read_text("utf-8")]


@pytest.mark.slow
def test_the_program_of_the_skills_guide_says_what_it_shows() -> None:
    (shown,) = blocks(GUIDE, "text")

    assert said("python", "skilled.py").strip() == shown.strip()


@pytest.mark.slow
@pytest.mark.program
def test_the_tests_of_the_guides_skill_pass() -> None:
    assert "3 passed" in said("regrow", "skills", "test", "refunds")
