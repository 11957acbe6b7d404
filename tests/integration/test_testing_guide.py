"""The guide on testing agents is executed: its tests pass inline and on Ray, as a user's project runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_examples import blocks

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDE = REPOSITORY / "docs/guides/testing-agents.md"
FILES = (REPOSITORY / "examples/support.py", REPOSITORY / "examples/test_support.py")

pytestmark = [pytest.mark.slow, pytest.mark.program]


def what_pytest_says(folder: Path, *options: str, timeout_s: float = 180) -> str:
    """What pytest prints for the two files alone, in a folder of the user's, with no plugin for async tests."""
    for file in FILES:
        shutil.copy(file, folder)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:asyncio -p no:cacheprovider\n", "utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGROW_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_code_in_the_guide_is_the_code_of_its_example() -> None:
    program = "".join(file.read_text("utf-8") for file in FILES)
    shown = blocks(GUIDE, "python")

    assert len(shown) > 4
    assert [block for block in shown if block not in program] == []


def test_the_tests_of_the_guide_pass_inline(tmp_path: Path) -> None:
    assert "7 passed" in what_pytest_says(tmp_path, "-W", "error")


@pytest.mark.ray
@pytest.mark.redis
@pytest.mark.again  # the line to the hosts is tried without Ray, and the same tests inline
def test_the_same_tests_pass_on_ray(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(root))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    said = what_pytest_says(tmp_path, "--regrow-engine=ray", timeout_s=900)

    assert "6 passed, 1 skipped" in said
