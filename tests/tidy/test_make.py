"""On a fresh machine each make target alone sets up what it needs; CI begins with one, from nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.tidy.conftest import House

WITHOUT_SET_UP = {"help", "clean"}


@pytest.fixture
def fresh(house: House, tmp_path: Path) -> Path:
    """What make reads of a fresh clone, without a `.venv`."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(house.root / name, tmp_path / name)
    return tmp_path


def planned(at: Path, target: str) -> list[str]:
    """The commands that make would run for a target, in their order."""
    command = ["make", "--dry-run", target, "PYTHON=python3"]
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def targets(house: House) -> set[str]:
    """What the Makefile declares as commands and not as files."""
    (declared,) = re.findall(r"^\.PHONY: (.+)$", (house.root / "Makefile").read_text(encoding="utf-8"), re.M)
    return set(declared.split())


def test_each_target_makes_the_venv_first_when_there_is_none(house: House, fresh: Path) -> None:
    for target in sorted(targets(house) - WITHOUT_SET_UP):
        commands = planned(fresh, target)
        made = next(number for number, command in enumerate(commands) if "-m venv" in command)
        uses = [at for at, command in enumerate(commands) if ".venv/bin/" in command and "-m pip" not in command]

        assert made < min(uses, default=len(commands)), target


def test_a_venv_that_is_ready_is_not_made_again(fresh: Path) -> None:
    (fresh / ".venv").mkdir()
    (fresh / ".venv" / ".ready").touch()

    assert not any("venv --clear" in command for command in planned(fresh, "run"))


def test_ci_leaves_out_no_test_but_those_of_the_night(house: House) -> None:
    by_day, by_night = ((house.root / ".ci" / name).read_text(encoding="utf-8") for name in ("run", "nightly"))

    assert """make test ARGS="-m 'not alone and not nightly'" """ in by_day
    assert """make test ARGS="-m 'alone and not nightly'" JOBS=0 """ in by_day
    assert """make test ARGS="-m nightly" """ in by_night


def test_ci_begins_on_a_clean_clone_with_the_main_job_alone(house: House) -> None:
    script = (house.root / ".ci" / "run").read_text(encoding="utf-8")

    calls = re.findall(r"^make (?:--\S+ )*([a-z-]+)", script, re.M)
    assert calls[0] == "run" and {"check", "test"} <= set(calls)


def test_no_script_sets_a_variable_that_an_app_would_take_for_a_setting_of_its_own(house: House) -> None:
    for name in ("Makefile", ".ci/run", ".ci/nightly"):
        assert "REGROW_" not in (house.root / name).read_text(encoding="utf-8"), name
