"""What an actor can be: agents with typed handlers, and agent functions.

Reading order: errors, context, handlers → agent → function → adopted; durable → keyed; tool_errors, tool → tool_gate →
tool_calls, tool_runner, tool_process → agent_tool; skill → skill_folder, skill_places → skills; mcp_errors,
mcp_lock → mcp_server → mcp_session, mcp_link; loop_errors,
loop_answer → loop_limits, loop_output → agent_loop → agent_models, handoff.
"""

if __name__ != "regrow.actors":
    raise ImportError(f"this is regrow.actors; import it under that name, not as {__name__!r}")

from regrow.actors.adopted import Adopted, Prompt, adopt
from regrow.actors.agent import Agent, on
from regrow.actors.agent_models import AgentModels
from regrow.actors.agent_tool import as_tool
from regrow.actors.budget import Budget, BudgetLeft
from regrow.actors.context import Context
from regrow.actors.durable import DurableAgent
from regrow.actors.durable_context import DurableContext
from regrow.actors.durable_wait import AnswerAbout
from regrow.actors.errors import CutOff, HeldOn, InvalidAgent, InvalidConfig, ThreadsFull, TooManyParts, Unhandled
from regrow.actors.function import FunctionAgent, agent
from regrow.actors.handed_back import HandedBack
from regrow.actors.handoff import Handoff, HandoffFailed
from regrow.actors.keyed import keyed
from regrow.actors.loop_answer import CallMade, LoopAnswer
from regrow.actors.loop_errors import (
    CostUsedUp,
    LoopEnded,
    OutputInvalid,
    TimeUsedUp,
    TokensUsedUp,
    TurnsUsedUp,
    WindowTooSmall,
)
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
    "AgentModels",
    "AnswerAbout",
    "Budget",
    "BudgetLeft",
    "CallMade",
    "Context",
    "CostUsedUp",
    "CutOff",
    "DurableAgent",
    "DurableContext",
    "FunctionAgent",
    "HandedBack",
    "Handoff",
    "HandoffFailed",
    "HeldOn",
    "InvalidAgent",
    "InvalidArguments",
    "InvalidConfig",
    "InvalidLock",
    "InvalidResult",
    "InvalidSkill",
    "InvalidTool",
    "LoopAnswer",
    "LoopEnded",
    "McpServer",
    "NotApproved",
    "NotPinned",
    "OutcomeUnknown",
    "OutputInvalid",
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
    "TimeUsedUp",
    "TokensUsedUp",
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
    "TurnsUsedUp",
    "Unhandled",
    "UnknownSkill",
    "UnknownTool",
    "WindowTooSmall",
    "adopt",
    "agent",
    "as_tool",
    "keyed",
    "mcp",
    "on",
    "tool",
]
