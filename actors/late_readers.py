"""Who asks to read the answer of a message that its agent has already: the parts that come, or word that they are gone.

Such a reader was there before the process died that was to answer, or has come back itself. Parts are in no journal,
so they go to the reader that asked last, as long as none was emitted; behind that there is the stored reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrow.actors.durable_body import parts_of
from regrow.actors.durable_outcome import stored_reply
from regrow.runtime.envelope import Kind

if TYPE_CHECKING:
    from regrow.actors.durable_entry import Entry
    from regrow.runtime.cell import Cell
    from regrow.runtime.codec import FrameCodec
    from regrow.runtime.envelope import Envelope
    from regrow.runtime.journal_entries import StoredResult


def takes_over(cell: Cell, first: Entry, later: Entry) -> None:
    """The turn of the first message answers who asked for the same with the later one, unless it has emitted.

    The two trade who waits for them: who asked with the first, if that is anybody, is given the stored reply.
    """
    envelope, asked = first.envelope, later.envelope
    ctx = first.ctx if first.ctx is not None and first.ctx.turn_that_runs() is not None else None
    if (asked.ask_id, asked.reply_host) == (envelope.ask_id, envelope.reply_host) or (ctx is not None and ctx.emitted):
        return
    streams = cell.runtime.streams
    if ctx is not None and ctx.flow is not None:
        streams.end(ctx.flow)
        ctx.flow = None
    envelope.trade_askers(asked)
    if envelope.deadline is not None and asked.deadline is not None:
        envelope.deadline = max(envelope.deadline, asked.deadline)
    for each in (envelope, asked):
        ask = cell.runtime.asks.get(each.ask_id) if each.reply_host == cell.runtime.host else None
        if ask is not None:
            ask.envelope = each
    if first.reader is not None and not first.reader.done():
        first.reader.set_result(None)
    later.unsure = True  # the journal has the first one under the same id, whatever is said of this one
    if ctx is not None:
        ctx.flow = streams.begin(cell, envelope)


def answered_before(codec: FrameCodec, cell: Cell, envelope: Envelope, stored: StoredResult) -> object:
    """The reply that is stored for a message, for one who asks again. Raises as `stored_reply` does."""
    reply = stored_reply(codec, cell.actor, envelope.message, stored)  # type: ignore[arg-type] # a stored message
    if envelope.kind == Kind.ASK and envelope.window is not None:
        cell.runtime.streams.has_been(envelope, emitted=parts_of(codec, stored.result))
    return reply
