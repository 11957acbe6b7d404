"""Says to a sender, in its own words, that what it sent passes the limit of what its receiver stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrow.runtime.codec import FrameCodec
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.errors import MessageTooLarge

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId
    from regrow.runtime.message import Message
    from regrow.runtime.runtime import Runtime


def too_large_for(runtime: Runtime, actor: ActorId, message: Message) -> MessageTooLarge:
    """The error of a message whose receiver's process has turned it away as too large.

    Its size is measured here, where it is known already that it fails: who sends others pays nothing for it.
    """
    from regrow.runtime.journal_entries import JournalLimits  # here, since most processes send to no durable agent

    codec = FrameCodec(runtime.ref_to, runtime.loop.time)
    size_bytes = len(codec.encode([Envelope(Kind.TELL, actor, message, Origin())]))
    limit_bytes = runtime.durability.journal.limits.message_bytes if runtime.durability is not None else None
    return MessageTooLarge(
        actor,
        type(message).__name__,
        size_bytes=size_bytes,
        limit_bytes=limit_bytes or JournalLimits().message_bytes,
    )
