"""What goes wrong with tools. What a model may be told of it is the text of the error, and nothing else.

InvalidDefinition (runtime)
└── InvalidTool             a tool, or an agent's list of them, that is defined wrongly; raised when it is defined
Misuse (runtime)
└── ToolCalledDirectly      a tool was called like a function, past the gate
Refused (runtime)
└── ToolError               a call of a tool gave no result; the agent lives, and a model may be told
    ├── UnknownTool             the agent has no tool of that name
    ├── InvalidArguments        they are not what the tool takes
    ├── ToolDenied              also NotAllowed: not in the agent's list, or not in the capability of its message
    ├── NotApproved             a person said no, or nobody said anything, or nobody could be asked
    ├── ToolBusy                it was not run, since all its places were taken
    ├── ToolTimedOut            it took longer than it may; it was stopped, or is left to itself
    ├── ToolFailed              it raised an error, or its process ended
    ├── InvalidResult           it gave something else than it declares
    ├── ResultTooLarge          it gave more than it may
    └── ResultUnknown           it was done by word of a person, who does not know what it gave

They are `Refused`, for a tool that fails is no fault of its agent, which a restart would not mend; and so each is
an outcome that a durable turn records, and meets again when it is run again.
"""

from __future__ import annotations

from regrow.runtime.errors import (
    AskCycle,
    AskFailed,
    CallingSelf,
    ContactLost,
    InvalidDefinition,
    MailboxFull,
    MessageTooLarge,
    Misuse,
    NotAllowed,
    Refused,
    TooLate,
)

MAX_TOLD_CHARS = 1_000
"""Of what a tool's exception says; a longer text would cost a model more than it is worth."""


NO_ANSWER = (AskFailed, TooLate, MailboxFull, MessageTooLarge, ContactLost, AskCycle, CallingSelf)
"""What tells that an ask gave no answer, which a model may be told as the failure of the tool that made it."""


class InvalidTool(InvalidDefinition):
    """A tool, or an agent's list of tools, is defined wrongly; the text says where and how to mend it."""


class ToolCalledDirectly(Misuse):
    """A tool was called like a function, which would go past the gate; nothing of it has run."""


class ToolError(Refused):
    """A call of a tool gave no result. The text may be told to a model. Attribute: `tool`, its name."""

    def __init__(self, text: str, *, tool: str = "") -> None:
        super().__init__(text)
        self.tool = tool


class UnknownTool(ToolError):
    """The agent has no tool of that name; the text lists those that it has."""


class InvalidArguments(ToolError):
    """The arguments are no JSON object, or not what the tool takes; nothing of it has run."""


class ToolDenied(ToolError, NotAllowed):
    """The tool is not in the agent's list, or not in the capability that came with its message."""


class NotApproved(ToolError):
    """The tool needs the consent of a person, and this call does not have it; nothing of it has run."""


class ToolBusy(ToolError):
    """All places of the tool in this host were taken for its `timeout_s`; nothing of it has run."""


class ToolTimedOut(ToolError):
    """The tool took longer than its `timeout_s`. What it has done until then is done."""


class ToolFailed(ToolError):
    """The tool raised an error, whose class and text it carries, or its process ended. The error is its cause."""


class InvalidResult(ToolError):
    """The tool gave something else than its function declares. What it has done is done."""


class ResultTooLarge(ToolError):
    """The tool gave more than its `result_bytes`. What it has done is done."""


class ResultUnknown(ToolError):
    """A person has said that the tool was done before its process died; what it gave is not known."""
