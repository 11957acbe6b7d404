"""What goes wrong with skills.

InvalidDefinition (runtime)
└── InvalidSkill            a skill, or an agent's list of them, that is defined wrongly; the text says where
    ├── SkillNotFound           no folder has it in the version that is wanted
    └── SkillOutside            its folder holds something that leads out of it
Refused (runtime)
└── ToolError
    └── UnknownSkill        the agent has no skill of that name, or the skill no such file; a model may be told
"""

from __future__ import annotations

from regrow.actors.tool_errors import ToolError
from regrow.runtime.errors import InvalidDefinition


class InvalidSkill(InvalidDefinition):
    """A skill or an agent's list of skills is defined wrongly, or its module fails; the text says where."""


class SkillNotFound(InvalidSkill):
    """No folder that was looked through has the skill in the version that is wanted."""


class SkillOutside(InvalidSkill):
    """A skill's folder holds something that leads out of it, such as a symlink; nothing of it was loaded."""


class UnknownSkill(ToolError):
    """The agent has no skill of that name, or the skill has no such file; the text lists what there is."""
