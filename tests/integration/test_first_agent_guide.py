"""The guide to a first agent is executed: `regrow new`, then its code in place of what that made, and its tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_examples import blocks

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDE = REPOSITORY / "docs/guides/your-first-agent.md"
FILES = (REPOSITORY / "examples/shop.py", REPOSITORY / "examples/test_shop.py")
SHOWN_ONLY = "class Manager(Agent):"
"""What the guide shows of hand-offs, which tests/actors/test_handoff.py tries."""


def done(*command: str, folder: Path, timeout_s: float = 180) -> str:
    """What a command says in that folder, as a user without plugins for async tests would have it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGROW_")}
    run = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_code_in_the_guide_is_the_code_of_its_example() -> None:
    program = "".join(file.read_text("utf-8") for file in FILES)
    shown = [block for block in blocks(GUIDE, "python") if SHOWN_ONLY not in block]

    assert len(shown) > 8
    assert [block for block in shown if block not in program] == []


@pytest.mark.slow
@pytest.mark.program
def test_a_new_project_with_the_code_of_the_guide_passes_its_tests(tmp_path: Path) -> None:
    done("regrow", "new", "shop", folder=tmp_path)
    folder = tmp_path / "shop"
    for file in FILES:
        assert (folder / file.name).exists(), "it takes the place of what the command has made"
        shutil.copy(file, folder)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:asyncio -p no:cacheprovider\n", "utf-8")

    assert "4 passed" in done("pytest", "-q", "-W", "error", folder=folder)


@pytest.mark.slow
@pytest.mark.program
@pytest.mark.ray
@pytest.mark.redis
@pytest.mark.again  # the same tests inline, and what loops do on Ray
def test_the_same_tests_pass_on_ray(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(root))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for file in FILES:
        shutil.copy(file, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:asyncio -p no:cacheprovider\n", "utf-8")

    said = done("pytest", "-q", "--regrow-engine=ray", folder=tmp_path, timeout_s=900)

    assert "3 passed, 1 skipped" in said
