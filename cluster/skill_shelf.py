"""The skills that agents of this folder find: which there are, and whether their own tests pass."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regrow.actors.skill import SkillName
from regrow.actors.skill_errors import InvalidSkill
from regrow.actors.skill_folder import read_head, read_skill_folder
from regrow.actors.skill_places import BESIDE, skill_folders
from regrow.cluster.config import Settings
from regrow.runtime.errors import Misuse

TESTS_LIMIT_S = 600.0
"""The tests of one skill that take longer hang."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """What a folder with a SKILL.md says of itself. `problem` says why it could not be loaded; empty where it could."""

    name: str
    version: str
    description: str
    tools: tuple[str, ...]
    folder: str
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """How the tests of a skill went, and what pytest printed."""

    name: str
    folder: str
    passed: bool
    output: str


def places(settings: Settings) -> list[Path]:
    """Where skills are looked for: beside the code of this folder, and where the settings say."""
    own, named = Path(BESIDE).absolute(), settings.skills_folder
    return [own] if named is None or named == own else [own, named]


def shelved(settings: Settings) -> list[Shelved]:
    """All skills that are there, broken ones too. None of their code is run."""
    return [_seen(folder) for folder in skill_folders(places(settings))]


def _seen(folder: Path) -> Shelved:
    try:
        head, name, _ = read_head(folder)
    except InvalidSkill as error:
        return Shelved(name=folder.name, version="", description="", tools=(), folder=str(folder), problem=str(error))
    return Shelved(
        name=name.name,
        version=name.version,
        description=" ".join(head["description"].split()),
        tools=tuple(head.get("tools", ())),
        folder=str(folder),
    )


def run_tests(label: str, settings: Settings) -> Tested:
    """Loads a skill, named with its version or without, and runs the tests in its folder by this Python's pytest.

    Raises InvalidSkill where it can not be loaded, and Misuse where there is none, are several, or are no tests.
    """
    folder = _folder_of(label, places(settings))
    name = read_skill_folder(folder).name
    if not any(folder.rglob("test_*.py")):
        raise Misuse(f"{name} has no tests; write them into {folder}, in files called test_….py")
    if importlib.util.find_spec("pytest") is None:
        raise Misuse("the tests of skills are run by pytest, which is not installed here; install it beside regrow")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", str(folder)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TESTS_LIMIT_S,
        )
    except subprocess.TimeoutExpired as late:
        raise Misuse(f"the tests of {name} did not end within {TESTS_LIMIT_S:g} s; see what hangs in them") from late
    return Tested(name=str(name), folder=str(folder), passed=done.returncode == 0, output=done.stdout)


def _folder_of(label: str, where: Sequence[Path]) -> Path:
    """The one folder of that skill."""
    name, _, version = label.partition("@")
    folders = {folder: _name_in(folder) for folder in skill_folders(where)}
    fitting = [
        folder
        for folder, known in folders.items()
        if known is not None and known.name == name and version in ("", known.version)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        known = ", ".join(sorted({str(folders[each]) for each in fitting}))
        raise Misuse(f"there are several of {label}: {known}, in {' and '.join(map(str, fitting))}; name one of them")
    # One that is broken is named by its folder, so that what is wrong with it can be told.
    for folder in folders:
        if folder.name in (label, name):
            read_head(folder)
    known = ", ".join(str(each) for each in folders.values() if each is not None) or "none"
    raise Misuse(f"there is no skill {label!r} in {' or '.join(map(str, where))}; there is {known}")


def _name_in(folder: Path) -> SkillName | None:
    try:
        return read_head(folder)[1]
    except InvalidSkill:
        return None
