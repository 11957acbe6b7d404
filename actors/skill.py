"""A skill: instructions for one kind of work, the tools that it takes, and tests, in a folder with name and version."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regrow.actors.skill_errors import InvalidSkill, UnknownSkill
from regrow.actors.tool import Tool

MAX_SKILLS = 32
"""Of one agent: their names and descriptions are in each prompt, and a model chooses badly among more."""
MAX_FILE_BYTES = 262_144
"""Of a text that is read for a model beside the instructions."""
LISTED_FILES = 50
"""So many are told to a model that has asked for one that is not there."""

_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_VERSION = re.compile(r"[0-9A-Za-z]+(?:\.[0-9A-Za-z]+)*")
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class SkillName:
    """Which skill, in which version: `refunds@1.2`."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def module(self) -> str:
        """Under which name its module is imported, also in the processes of its tools."""
        return SKILL_MODULES + "__".join(re.sub(r"\W", "_", each) for each in (self.name, self.version))


SKILL_MODULES = "regrow_skill_"
"""Begins the names of modules of skills, which stand in no package."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Skill:
    """A skill as it was loaded. `instructions` are for a model that does such work, and `description` says when.

    `tools` are those that it declares, by name: they join the list of each agent that has the skill.
    """

    name: SkillName
    description: str
    instructions: str = field(repr=False)
    folder: Path
    tools: Mapping[str, Tool[Any]] = field(repr=False)

    def file(self, path: str) -> str:
        """A text of its folder beside the instructions, such as `references/rates.md`. Raises UnknownSkill."""
        found = (self.folder / path).resolve()
        if not found.is_relative_to(self.folder) or found.suffix not in TEXTS or not found.is_file():
            known = ", ".join(self.files[:LISTED_FILES]) or "none"
            raise UnknownSkill(f"{self.name} has no file {path[:200]!r}; its files are: {known}", tool=str(self.name))
        if found.stat().st_size > MAX_FILE_BYTES:
            raise UnknownSkill(
                f"{path} of {self.name} has more than {MAX_FILE_BYTES:,} bytes, which no model reads; read another",
                tool=str(self.name),
            )
        try:
            return found.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise UnknownSkill(f"{path} of {self.name} is no text; read another", tool=str(self.name)) from error

    @property
    def files(self) -> tuple[str, ...]:
        """The texts beside its instructions and its code, as `file` takes them."""
        found = (each for each in self.folder.rglob("*") if each.is_file() and each.suffix in TEXTS)
        names = sorted(each.relative_to(self.folder).as_posix() for each in found)
        return tuple(name for name in names if name != INSTRUCTIONS)


INSTRUCTIONS = "SKILL.md"
TEXTS = (".md", ".txt", ".csv", ".json", ".toml", ".yaml", ".yml")
"""How texts for a model end; nothing else of a skill is read to one, such as its code or a key beside it."""


def skill_name(label: object) -> SkillName:
    """What `refunds@1.2` names. Raises InvalidSkill."""
    name, at, version = label.partition("@") if isinstance(label, str) else ("", "", "")
    if not at or not is_name(name) or not is_version(version):
        raise InvalidSkill(
            f'{label!r} names no skill; write its name and its version, as in "refunds@1.2": small letters, digits and '
            "single dashes, and behind the @ letters and digits between dots"
        )
    return SkillName(name, version)


def skill_names(owner: str, skills: object) -> tuple[SkillName, ...]:
    """The skills of an agent class, as its list names them. Raises InvalidSkill where it is none."""
    if not isinstance(skills, Sequence) or isinstance(skills, str):
        raise InvalidSkill(f'{owner}.skills is {skills!r}; write a list, such as skills = ["refunds@1.2"]')
    if len(skills) > MAX_SKILLS:
        raise InvalidSkill(f"{owner} has {len(skills)} skills, and at most {MAX_SKILLS} can be given; split its work")
    names = tuple(map(skill_name, skills))
    for number, each in enumerate(names):
        if any(each.name == earlier.name for earlier in names[:number]):
            raise InvalidSkill(f"{owner}.skills has {each.name} twice; take one of them out")
    return names


def is_name(text: object) -> bool:
    """Whether a skill may be called so; nothing that leads to another folder is a name."""
    return isinstance(text, str) and len(text) <= _LONGEST and _NAME.fullmatch(text) is not None


def is_version(text: object) -> bool:
    """Whether a version may be written so."""
    return isinstance(text, str) and len(text) <= _LONGEST and _VERSION.fullmatch(text) is not None
