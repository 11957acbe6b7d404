"""The kernel: typed messages, mailboxes, cells, refs, exits; no Ray, no Redis.

Reading order: errors, address, message, lifecycle, envelope → mailbox, cell, context, ref, asking →
delivery, runtime → link, codec, peers (between processes) → journal, memory_journal (what outlives a host) →
guards, likeness, likeness_parts, run_ends, run_store (what stops a runaway) → testing.

Importing the room loads none of it: a name is loaded when it is first used, and a command needs few.
"""

from __future__ import annotations

if __name__ != "regrow.runtime":
    raise ImportError(f"this is regrow.runtime; import it under that name, not as {__name__!r}")

from typing import TYPE_CHECKING

from regrow.runtime.late_names import late_names

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId, Address, HostId, Incarnation, child_id
    from regrow.runtime.ask_all import MAX_TARGETS, AskOutcome, NoReply, Replied
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.command_ids import new_command_id
    from regrow.runtime.context import CellContext, Stashed
    from regrow.runtime.errors import (
        AskCycle,
        AskFailed,
        AskTimeout,
        Bug,
        CallingSelf,
        Closed,
        CodeNotImportable,
        ContactLost,
        InvalidDefinition,
        InvalidMessage,
        MailboxFull,
        Misuse,
        NameTaken,
        NotAllowed,
        OutOfBudget,
        PartsLost,
        Refused,
        RegistryFull,
        RegrowError,
        SlotsFull,
        StashFull,
        TooLate,
        WorldBroke,
    )
    from regrow.runtime.guard_errors import (
        CausalLoop,
        GuardTripped,
        HiddenRetries,
        HopsUsedUp,
        RepeatedCall,
        RunsUnreachable,
        RunUsedUp,
        Stalled,
    )
    from regrow.runtime.guards import Guards, Rung
    from regrow.runtime.journal import Journal
    from regrow.runtime.journal_entries import JournalLimits
    from regrow.runtime.journal_errors import (
        InvalidEntry,
        JournalAway,
        JournalDenied,
        JournalFull,
        JournalOutdated,
        JournalReadOnly,
        JournalRefused,
        JournalRestored,
        JournalUnknown,
        SchemaNewer,
    )
    from regrow.runtime.lifecycle import (
        Crashed,
        Down,
        Escalated,
        Exited,
        ExitReason,
        ExitSignal,
        Fenced,
        Killed,
        NoProc,
        Normal,
        Reachable,
        Shutdown,
        Unreachable,
    )
    from regrow.runtime.mailbox import MailboxSettings, Overflow
    from regrow.runtime.memory_journal import MemoryJournal
    from regrow.runtime.message import Message, Request, StreamRequest
    from regrow.runtime.placement import Dedicated, Packed, Placement
    from regrow.runtime.ref import ActorRef
    from regrow.runtime.reply_slot import ReplySlot
    from regrow.runtime.runtime import Runtime
    from regrow.runtime.starter import KillOutcome, Started, Starter, StartFailed, StartRequest
    from regrow.runtime.stream import Stream
    from regrow.runtime.stream_window import Window
    from regrow.runtime.timer import Timer

__all__ = [
    "MAX_TARGETS",
    "ActorId",
    "ActorRef",
    "Address",
    "AskCycle",
    "AskFailed",
    "AskOutcome",
    "AskTimeout",
    "Behavior",
    "Bug",
    "CallingSelf",
    "CausalLoop",
    "CellContext",
    "Closed",
    "CodeNotImportable",
    "ContactLost",
    "Crashed",
    "Dedicated",
    "Down",
    "Escalated",
    "ExitReason",
    "ExitSignal",
    "Exited",
    "Fenced",
    "GuardTripped",
    "Guards",
    "HiddenRetries",
    "HopsUsedUp",
    "HostId",
    "Incarnation",
    "InvalidDefinition",
    "InvalidEntry",
    "InvalidMessage",
    "Journal",
    "JournalAway",
    "JournalDenied",
    "JournalFull",
    "JournalLimits",
    "JournalOutdated",
    "JournalReadOnly",
    "JournalRefused",
    "JournalRestored",
    "JournalUnknown",
    "KillOutcome",
    "Killed",
    "MailboxFull",
    "MailboxSettings",
    "MemoryJournal",
    "Message",
    "Misuse",
    "NameTaken",
    "NoProc",
    "NoReply",
    "Normal",
    "NotAllowed",
    "OutOfBudget",
    "Overflow",
    "Packed",
    "PartsLost",
    "Placement",
    "Reachable",
    "Refused",
    "RegistryFull",
    "RegrowError",
    "RepeatedCall",
    "Replied",
    "ReplySlot",
    "Request",
    "RunUsedUp",
    "Rung",
    "RunsUnreachable",
    "Runtime",
    "SchemaNewer",
    "Shutdown",
    "SlotsFull",
    "Stalled",
    "StartFailed",
    "StartRequest",
    "Started",
    "Starter",
    "StashFull",
    "Stashed",
    "Stream",
    "StreamRequest",
    "Timer",
    "TooLate",
    "Unreachable",
    "Window",
    "WorldBroke",
    "child_id",
    "new_command_id",
]

if not TYPE_CHECKING:  # a checker that saw this function would take every misspelt name for a good one
    __getattr__ = late_names(
        __name__,
        {
            "address": (
                "ActorId",
                "Address",
                "HostId",
                "Incarnation",
                "child_id",
            ),
            "ask_all": (
                "MAX_TARGETS",
                "AskOutcome",
                "NoReply",
                "Replied",
            ),
            "behavior": ("Behavior",),
            "command_ids": ("new_command_id",),
            "context": (
                "CellContext",
                "Stashed",
            ),
            "errors": (
                "AskCycle",
                "AskFailed",
                "AskTimeout",
                "Bug",
                "CallingSelf",
                "Closed",
                "CodeNotImportable",
                "ContactLost",
                "InvalidDefinition",
                "InvalidMessage",
                "MailboxFull",
                "Misuse",
                "NameTaken",
                "NotAllowed",
                "OutOfBudget",
                "PartsLost",
                "Refused",
                "RegistryFull",
                "RegrowError",
                "SlotsFull",
                "StashFull",
                "TooLate",
                "WorldBroke",
            ),
            "guard_errors": (
                "CausalLoop",
                "GuardTripped",
                "HiddenRetries",
                "HopsUsedUp",
                "RepeatedCall",
                "RunUsedUp",
                "RunsUnreachable",
                "Stalled",
            ),
            "guards": (
                "Guards",
                "Rung",
            ),
            "journal": ("Journal",),
            "journal_entries": ("JournalLimits",),
            "journal_errors": (
                "InvalidEntry",
                "JournalAway",
                "JournalDenied",
                "JournalFull",
                "JournalOutdated",
                "JournalReadOnly",
                "JournalRefused",
                "JournalRestored",
                "JournalUnknown",
                "SchemaNewer",
            ),
            "lifecycle": (
                "Crashed",
                "Down",
                "Escalated",
                "Exited",
                "ExitReason",
                "ExitSignal",
                "Fenced",
                "Killed",
                "NoProc",
                "Normal",
                "Reachable",
                "Shutdown",
                "Unreachable",
            ),
            "mailbox": (
                "MailboxSettings",
                "Overflow",
            ),
            "memory_journal": ("MemoryJournal",),
            "message": (
                "Message",
                "Request",
                "StreamRequest",
            ),
            "placement": (
                "Dedicated",
                "Packed",
                "Placement",
            ),
            "ref": ("ActorRef",),
            "reply_slot": ("ReplySlot",),
            "runtime": ("Runtime",),
            "starter": (
                "KillOutcome",
                "Started",
                "Starter",
                "StartFailed",
                "StartRequest",
            ),
            "stream": ("Stream",),
            "stream_window": ("Window",),
            "timer": ("Timer",),
        },
    )


def __dir__() -> list[str]:
    return list(__all__)
