"""What a handler holds as `ctx.skills`, and the tool by which a model reads on: first what there is, then the rest.

A prompt has the name and the description of each skill. Its instructions, and the files that they name, are read when
they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from regrow.actors.skill import Skill
from regrow.actors.skill_errors import UnknownSkill
from regrow.actors.threads import in_thread
from regrow.actors.tool import tool
from regrow.runtime.context import CellContext

if TYPE_CHECKING:
    from regrow.actors.context import Context


class Skills:
    """The skills of one agent."""

    def __init__(self, listed: Mapping[str, Skill]) -> None:
        self._listed = listed

    def listed(self) -> tuple[Skill, ...]:
        """All of them, in the order of the class's list."""
        return tuple(self._listed.values())

    def prompt(self) -> str:
        """What a model is told of them beforehand: names, descriptions, and how to read on; empty where none is."""
        if not self._listed:
            return ""
        lines = [f"- {each.name.name}: {' '.join(each.description.split())}" for each in self.listed()]
        return "\n".join(
            ("You have these skills. Before you do such work, read what is to be done with read_skill.", *lines)
        )

    def instructions(self, name: str) -> str:
        """The instructions of the skill of that name. Raises UnknownSkill."""
        return self._named(name).instructions

    def file(self, name: str, path: str) -> str:
        """A text beside the instructions, such as `references/rates.md`. It is read now. Raises UnknownSkill."""
        return self._named(name).file(path)

    def _named(self, name: str) -> Skill:
        skill = self._listed.get(name)
        if skill is None:
            known = ", ".join(self._listed) or "none"
            raise UnknownSkill(f"there is no skill {name[:80]!r} here; there is {known}", tool=name[:80])
        return skill


@tool(idempotent=True)
async def read_skill(ctx: CellContext, name: str, file: str = "") -> str:
    """Gives the instructions of one of your skills, or a file that its instructions name.

    Args:
        name: of the skill
        file: a file of the skill; leave it out for the instructions
    """
    skills = cast("Context", ctx).skills
    return str(await in_thread(skills.file, (name, file))) if file else skills.instructions(name)


def listed_skills(behavior: object) -> Mapping[str, Skill]:
    """The skills of the agent that this behavior is or drives, by name; empty for whatever is no agent."""
    found: Mapping[str, Skill] = getattr(getattr(behavior, "agent", behavior), "listed_skills", {})
    return found
