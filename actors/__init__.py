"""What an actor can be: agents with typed handlers, and agent functions.

Reading order: errors, context, handlers → agent → function → adopted; durable → keyed; tool_errors, tool → tool_gate →
tool_calls, tool_runner, tool_process → agent_tool; skill → skill_folder, skill_places → skills; mcp_errors,
mcp_lock → mcp_server → mcp_session, mcp_link.
"""

if __name__ != "regrow.actors":
    raise ImportError(f"this is regrow.actors; import it under that name, not as {__name__!r}")

from regrow.actors.adopted import Adopted, Prompt, adopt
from regrow.actors.agent import Agent, on
from regrow.actors.agent_tool import as_tool
from regrow.actors.context import Context
from regrow.actors.durable import DurableAgent
from regrow.actors.durable_context import DurableContext
from regrow.actors.durable_wait import AnswerAbout
from regrow.actors.errors import CutOff, HeldOn, InvalidAgent, InvalidConfig, ThreadsFull, TooManyParts, Unhandled
from regrow.actors.function import FunctionAgent, agent
from regrow.actors.keyed import keyed
from regrow.actors.mcp_errors import (
    InvalidLock,
    NotPinned,
    OutcomeUnknown,
    ServerEnded,
    ServerLost,
    ServerNotStarted,
    ToolChanged,
)
from regrow.actors.mcp_server import McpServer, mcp
from regrow.actors.reminder import Reminder
from regrow.actors.skill import Skill
from regrow.actors.skill_errors import InvalidSkill, SkillNotFound, SkillOutside, UnknownSkill
from regrow.actors.skills import Skills
from regrow.actors.step import Step
from regrow.actors.step_retries import Retries
from regrow.actors.tool import Tool, tool
from regrow.actors.tool_approval import ToolApproval
from regrow.actors.tool_calls import Tools
from regrow.actors.tool_errors import (
    InvalidArguments,
    InvalidResult,
    InvalidTool,
    NotApproved,
    ResultTooLarge,
    ResultUnknown,
    ToolCalledDirectly,
    ToolDenied,
    ToolError,
    ToolFailed,
    ToolTimedOut,
    UnknownTool,
)
from regrow.actors.tool_options import ProcessLimits

__all__ = [
    "Adopted",
    "Agent",
    "AnswerAbout",
    "Context",
    "CutOff",
    "DurableAgent",
    "DurableContext",
    "FunctionAgent",
    "HeldOn",
    "InvalidAgent",
    "InvalidArguments",
    "InvalidConfig",
    "InvalidLock",
    "InvalidResult",
    "InvalidSkill",
    "InvalidTool",
    "McpServer",
    "NotApproved",
    "NotPinned",
    "OutcomeUnknown",
    "ProcessLimits",
    "Prompt",
    "Reminder",
    "ResultTooLarge",
    "ResultUnknown",
    "Retries",
    "ServerEnded",
    "ServerLost",
    "ServerNotStarted",
    "Skill",
    "SkillNotFound",
    "SkillOutside",
    "Skills",
    "Step",
    "ThreadsFull",
    "TooManyParts",
    "Tool",
    "ToolApproval",
    "ToolCalledDirectly",
    "ToolChanged",
    "ToolDenied",
    "ToolError",
    "ToolFailed",
    "ToolTimedOut",
    "Tools",
    "Unhandled",
    "UnknownSkill",
    "UnknownTool",
    "adopt",
    "agent",
    "as_tool",
    "keyed",
    "mcp",
    "on",
    "tool",
]
