"""Reads a skill from its folder: SKILL.md with its head in TOML, and `tools.py` where the head declares tools.

Nothing is read before it is certain that nothing in the folder leads out of it.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from regrow.actors.skill import INSTRUCTIONS, Skill, SkillName, is_name, is_version
from regrow.actors.skill_errors import InvalidSkill, SkillOutside
from regrow.actors.tool import Tool

TOOLS = "tools.py"
FENCE = "+++"
KEYS = ("name", "version", "description", "tools")

MAX_INSTRUCTIONS_BYTES = 65_536
"""Of SKILL.md. What is longer is not read by a model as a whole; it belongs into files beside it."""
MAX_DESCRIPTION_CHARS = 1_024
"""It is in each prompt of each agent that has the skill."""
MAX_FILES = 1_000
"""In the folder of one skill: each is looked at when it is loaded."""


def read_skill_folder(folder: Path) -> Skill:
    """The skill in a folder, with its tools imported. Raises InvalidSkill, SkillOutside."""
    head, name, instructions = read_head(folder)
    folder = folder.resolve()
    declared = head.get("tools", [])
    tools = _tools(folder, name, declared) if declared else {}
    return Skill(
        name=name,
        description=head["description"],
        instructions=instructions,
        folder=folder,
        tools=MappingProxyType(tools),
    )


def read_head(folder: Path) -> tuple[Mapping[str, Any], SkillName, str]:
    """What a skill says of itself, and its instructions; none of its code is run. Raises as `read_skill_folder`."""
    check_inside(folder)
    file = folder / INSTRUCTIONS
    if not file.is_file():
        raise InvalidSkill(f"there is no file {file}; a skill has its instructions there")
    try:
        if file.stat().st_size > MAX_INSTRUCTIONS_BYTES:
            raise InvalidSkill(
                f"{file} has more than {MAX_INSTRUCTIONS_BYTES:,} bytes; put what is not always needed into files "
                "beside it, and say there when to read them"
            )
        text = file.read_text("utf-8-sig")  # some editors begin a file with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSkill(f"{file} can not be read ({error}); mend it") from error
    head, instructions = _parted(file, text)
    return head, SkillName(head["name"], head["version"]), instructions


def check_inside(folder: Path) -> None:
    """Raises SkillOutside where anything in a skill's folder leads out of it, or the folder out of its own."""
    whole = folder.parent.resolve() / folder.name
    if _end_of(folder) != whole:
        raise SkillOutside(f"{folder} leads to {_end_of(folder)}, which is another folder; put the skill itself there")
    for number, each in enumerate(folder.rglob("*")):
        if number >= MAX_FILES:
            raise InvalidSkill(f"{folder} holds more than {MAX_FILES:,} files; a skill is small, so take some out")
        if each.is_symlink() and not _end_of(each).is_relative_to(whole):
            raise SkillOutside(f"{each} leads to {_end_of(each)}, out of its skill; put the file itself there")


def _end_of(path: Path) -> Path:
    """Where a path leads to in the end."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # links that lead round in a ring end nowhere, and so not in the skill
        return Path("nowhere")


def _parted(file: Path, text: str) -> tuple[Mapping[str, Any], str]:
    """The head of SKILL.md, checked, and what stands below it."""
    first, _, rest = text.partition("\n")
    between, *below = re.split(rf"^{re.escape(FENCE)}[ \t]*$", rest, maxsplit=1, flags=re.MULTILINE)
    if first.strip() != FENCE or not below:
        raise InvalidSkill(
            f"{file} has no head; begin it with lines of TOML between two lines {FENCE}, such as\n{FENCE}\n"
            f'name = "{file.parent.name}"\nversion = "1.0"\ndescription = "When to use it."\n{FENCE}'
        )
    try:
        head = tomllib.loads(between)
    except tomllib.TOMLDecodeError as error:
        raise InvalidSkill(f"the head of {file} is no valid TOML ({error}); correct it") from error
    _check_head(file, head)
    instructions = below[0].strip()
    if not instructions:
        raise InvalidSkill(f"{file} has no instructions below its head; say there how such work is done")
    return head, instructions


def _check_head(file: Path, head: Mapping[str, Any]) -> None:
    for key in head:
        if key not in KEYS:
            raise InvalidSkill(f"the head of {file} has {key!r}, which is no key; it has {', '.join(KEYS)}")
    if not is_name(head.get("name")):
        raise InvalidSkill(
            f"the head of {file} has name = {head.get('name')!r}; give small letters, digits and single dashes"
        )
    if not is_version(head.get("version")):
        raise InvalidSkill(
            f'the head of {file} has version = {head.get("version")!r}; give one as a text, such as version = "1.0"'
        )
    if file.parent.name not in (head["name"], f"{head['name']}@{head['version']}"):
        raise InvalidSkill(
            f"{file} is of the skill {head['name']!r} and stands in the folder {file.parent.name!r}; call the folder "
            f"{head['name']}, or {head['name']}@{head['version']} where there are several versions"
        )
    description = head.get("description")
    if not isinstance(description, str) or not 0 < len(description.strip()) <= MAX_DESCRIPTION_CHARS:
        raise InvalidSkill(
            f"the head of {file} needs a description of up to {MAX_DESCRIPTION_CHARS:,} signs, by which a model "
            "decides when to read on"
        )
    tools = head.get("tools", [])
    if not isinstance(tools, list) or not all(isinstance(each, str) for each in tools):
        raise InvalidSkill(f'the head of {file} has tools = {tools!r}; give their names, such as tools = ["search"]')


def _tools(folder: Path, name: SkillName, declared: list[str]) -> dict[str, Tool[Any]]:
    """Those that the head declares, and no others that its module may hold."""
    file = folder / TOOLS
    if not file.is_file():
        raise InvalidSkill(f"{name} declares the tools {', '.join(declared)}, and has no {file}; write them there")
    module = skill_module(name.module, file)
    there = {each.name: each for each in vars(module).values() if isinstance(each, Tool)}
    missing = [each for each in declared if each not in there]
    if missing:
        raise InvalidSkill(
            f"{name} declares the tool {missing[0]!r}, and {file} has no @tool of that name at its top; it has "
            f"{', '.join(there) or 'none'}"
        )
    return {each: there[each] for each in declared}


def skill_module(module: str, file: Path) -> ModuleType:
    """The module of a skill, imported from its file under that name. Raises InvalidSkill where it fails.

    It is a package, so that it may import others of its folder: `from .prices import price_of`.
    """
    spec = importlib.util.spec_from_file_location(module, file, submodule_search_locations=[str(file.parent)])
    assert spec is not None, "the name of the file says that it is Python"
    assert spec.loader is not None
    before = _taken_out(module)  # also what it has imported of its folder, which may have changed since
    made = sys.modules[module] = importlib.util.module_from_spec(spec)
    # In its place before it runs: annotations are looked up there while it is imported.
    try:
        spec.loader.exec_module(made)
    except (Exception, SystemExit) as error:  # an import runs the author's code, which may raise anything
        _taken_out(module)
        sys.modules.update(before)
        raise InvalidSkill(
            f"{file} can not be imported ({type(error).__name__}: {error}); mend it. What stands beside it is imported "
            "with a dot: from .other import …"
        ) from error
    return made


def _taken_out(module: str) -> dict[str, ModuleType]:
    """Forgets a module and those below it; gives them."""
    names = [name for name in sys.modules if name == module or name.startswith(f"{module}.")]
    return {name: sys.modules.pop(name) for name in names}
