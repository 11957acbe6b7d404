"""What a person consents to, and what she says: one call of a tool, with these arguments, for one use."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from regrow.actors.durable_wait import AnswerAbout
from regrow.runtime.message import Message

if TYPE_CHECKING:
    from regrow.actors.tool_gate import Allowed
    from regrow.runtime.address import ActorId
    from regrow.runtime.journal_entries import StepKey

APPROVAL_STEP = "approval:"
"""Before the name of the tool: the step in which is recorded for what consent is asked."""


class AskedApproval(Message):
    """For what consent is asked, as it is recorded before the wait.

    `call` stands for all of it and for this one place in this one turn; `arguments` is JSON. `why` is what a guard has
    found, where it is one that asks.
    """

    call: str
    agent: str
    tool: str
    tool_hash: str
    arguments: str
    why: str = ""


class ToolApproval(AnswerAbout):
    """What a person says of one call of a tool: `about` is the `call` of its AskedApproval."""

    approved: bool = True
    by: str = ""
    reason: str = ""


def asked_approval(agent: ActorId, message_id: str, call: Allowed, key: StepKey, why: str = "") -> AskedApproval:
    """For what consent is asked at this place of a turn."""
    tool: Any = call.tool
    bound = "\0".join((message_id, tool.name, tool.hash, call.written, str(key.occurrence)))
    return AskedApproval(
        call=f"{tool.name}/{hashlib.blake2b(bound.encode(), digest_size=16).hexdigest()}",
        agent=agent,
        tool=tool.name,
        tool_hash=tool.hash,
        arguments=call.written,
        why=why,
    )
