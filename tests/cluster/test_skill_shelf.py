"""`regrow skills`: which skills are here, and whether their tests pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from regrow.actors.skill_errors import InvalidSkill
from regrow.cluster import cli
from regrow.cluster.config import Settings
from regrow.cluster.skill_shelf import run_tests, shelved
from regrow.runtime.errors import Misuse
from tests.actors.skill_shelf import shelve

Regrow = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("REGROW_"):
            monkeypatch.delenv(name)


@pytest.fixture
def regrow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Regrow:
    """Runs the command in this process; gives its exit code and what it printed."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["regrow", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_skills_list_shows_what_is_beside_the_code_and_where_the_settings_say(regrow: Regrow, tmp_path: Path) -> None:
    shelve(tmp_path / "skills", code="raise RuntimeError('listing runs nothing')")
    shelve(tmp_path / "shared", name="others", tools="[]")
    (tmp_path / "regrow.toml").write_text('skills_dir = "shared"\n', "utf-8")

    code, out, _ = regrow("skills", "list")

    assert code == 0
    assert out.splitlines() == [
        "refunds@1.2  How to pay money back.",
        "  tools: find_order, refund",
        "others@1.2  How to pay money back.",
    ]


def test_skills_list_tells_what_is_wrong_with_one_that_is_broken(regrow: Regrow, tmp_path: Path) -> None:
    (shelve(tmp_path / "skills") / "more.md").symlink_to("/etc/passwd")

    code, out, _ = regrow("skills", "list", "--json")

    (row,) = json.loads(out)
    assert code == 1
    assert (row["name"], row["version"]) == ("refunds", "")
    assert "more.md leads to /etc/passwd, out of its skill" in row["problem"]


def test_where_there_are_no_skills_the_list_says_where_it_has_looked(regrow: Regrow, tmp_path: Path) -> None:
    assert regrow("skills", "list") == (0, "", f"regrow: there are no skills in {tmp_path / 'skills'}\n")


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("refund", r"there is no skill 'refund' in .*skills; there is refunds@1.3, refunds@1.2"),
        ("refunds@2", r"there is no skill 'refunds@2'"),
        ("refunds", r"there are several of refunds: refunds@1.2, refunds@1.3, in .*; name one of them"),
        ("refunds@1.2", r"refunds@1.2 has no tests; write them into .*skills/refunds@1.2"),
        ("../x", r"there is no skill '../x'"),
    ],
)
def test_skills_test_says_what_it_could_not_test(label: str, told: str, regrow: Regrow, tmp_path: Path) -> None:
    shelve(tmp_path / "skills", folder="refunds@1.2")
    shelve(tmp_path / "skills", version="1.3")

    with pytest.raises(Misuse, match=told):
        run_tests(label, Settings())
    assert regrow("skills", "test", label)[0] == 2


def test_a_broken_skill_is_not_tested_but_told(tmp_path: Path) -> None:
    folder = shelve(tmp_path / "skills", code="1 / 0")
    (folder / "test_it.py").write_text("def test_it(): pass\n", "utf-8")

    with pytest.raises(InvalidSkill, match="can not be imported"):
        run_tests("refunds", Settings())
    (folder / "SKILL.md").write_text("nothing", "utf-8")
    with pytest.raises(InvalidSkill, match="has no head"):
        run_tests("refunds", Settings())


def test_both_places_are_one_where_the_settings_name_the_folder_here(tmp_path: Path) -> None:
    shelve(tmp_path / "skills")

    assert len(shelved(Settings(skills_dir=Path("skills")))) == 1


@pytest.mark.slow
@pytest.mark.program
@pytest.mark.parametrize(("expected", "code"), [("find_order", 0), ("delete_order", 1)])
def test_the_tests_of_a_skill_are_run_with_the_skill_that_they_stand_in(
    expected: str, code: int, regrow: Regrow, tmp_path: Path
) -> None:
    tests = shelve(tmp_path / "skills") / "tests"
    tests.mkdir()
    (tests / "test_it.py").write_text(f"def test_it(skill):\n    assert {expected!r} in skill.tools\n", "utf-8")

    ended, out, _ = regrow("skills", "test", "refunds", "--json")

    came = json.loads(out)
    assert (ended, came["name"], came["passed"]) == (code, "refunds@1.2", code == 0)
    assert ("1 passed" if code == 0 else "1 failed") in came["output"]


@pytest.mark.slow
@pytest.mark.program
def test_a_test_that_wants_a_skill_and_stands_in_none_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(skill): pass\n", "utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "takes the fixture `skill`, and no folder near it has a SKILL.md" in done.stdout
