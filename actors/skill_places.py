"""Where skills are: in `skills/` beside the code that names them, and in the folder of the settings.

The folder beside the code is looked through when a class is defined. That of the settings may be known only when the
app starts; a skill that was not found until then is looked for once more when its agent starts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from regrow.actors.skill import INSTRUCTIONS, Skill, SkillName
from regrow.actors.skill_errors import InvalidSkill, SkillNotFound
from regrow.actors.skill_folder import TOOLS, read_head, read_skill_folder

BESIDE = "skills"
"""The folder beside the file of an agent."""

_of_settings: list[Path] = []
_loaded: dict[Path, tuple[tuple[int, ...], Skill]] = {}
"""By their folders, so that agents of one process share the tools of a skill; and how its files were then."""


def look_in(folder: Path | None) -> None:
    """From now on this process finds skills in the folder that its settings name, too; None for none."""
    _of_settings[:] = [folder] if folder is not None else []


def folder_beside(module: str) -> Path:
    """The folder for the skills of what stands in this module; of a notebook or prompt the one where it runs."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return (Path(file).resolve().parent if file else Path.cwd()) / BESIDE


def found(name: SkillName, beside: Path) -> Skill | None:
    """The skill in that version, None where no folder has it. Raises InvalidSkill where it is there and broken."""
    for folder in _candidates(name, beside):
        if not folder.is_dir():
            continue
        if read_head(folder)[1] == name:
            return skill_in(folder)
    return None


def skill_in(folder: Path) -> Skill:
    """The skill in a folder, read once as long as it does not change. Raises InvalidSkill, SkillOutside."""
    whole, stamp = folder.resolve(), _stamp(folder)
    known = _loaded.get(whole)
    if known is None or known[0] != stamp:
        known = _loaded[whole] = (stamp, read_skill_folder(folder))
    return known[1]


def _stamp(folder: Path) -> tuple[int, ...]:
    """How the files are that make a skill: another one where they have changed, as with `--reload` they may."""
    files = [each.stat() for each in (folder / INSTRUCTIONS, folder / TOOLS) if each.is_file()]
    return tuple(number for each in files for number in (each.st_mtime_ns, each.st_size))


def not_found(owner: str, name: SkillName, beside: Path) -> SkillNotFound:
    """What is raised where no folder has the skill; the text says where was looked and what is there."""
    places = [beside, *_of_settings]
    versions = sorted({str(each) for each in names_in(places) if each.name == name.name})
    there = f"there is {', '.join(versions)}" if versions else "none of that name is there"
    hint = "" if _of_settings else ", or set skills_dir in regrow.toml to the folder that has it"
    return SkillNotFound(
        f"{owner} wants the skill {name}, and it is not in {' or '.join(map(str, places))} ({there}); put it there"
        f"{hint}"
    )


def names_in(places: Iterable[Path]) -> list[SkillName]:
    """The skills of these folders by what their heads say; one that is broken is left out."""
    names = list[SkillName]()
    for folder in skill_folders(places):
        try:
            names.append(read_head(folder)[1])
        except InvalidSkill:
            continue
    return names


def skill_folders(places: Iterable[Path]) -> list[Path]:
    """The folders of these places that hold a SKILL.md, sorted."""
    return [
        each
        for place in places
        if place.is_dir()
        for each in sorted(place.iterdir())
        if (each / INSTRUCTIONS).is_file()
    ]


def _candidates(name: SkillName, beside: Path) -> Sequence[Path]:
    return [place / folder for place in (beside, *_of_settings) for folder in (str(name), name.name)]
