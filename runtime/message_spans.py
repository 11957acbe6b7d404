"""The spans of messages: one where a trace begins, one for each turn of an agent that belongs to it.

A turn's parent is the creation context of its message, however often it is delivered; the attempt before is a link.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

from regrow.runtime import telemetry
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.message import Request

if TYPE_CHECKING:
    import asyncio
    from contextvars import Token

    from opentelemetry.trace import Span

    from regrow.runtime.cell import Cell
    from regrow.runtime.envelope import Origin
    from regrow.runtime.runtime import Runtime

MAX_COMMANDS = 1_000
"""Of so many commands that were sent here it is known in which trace, should they be sent again."""
SYSTEM = "regrow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Which attempt a turn is at its message: the id for its span (0: any), and that of the span before (0: none)."""

    span_id: int = 0
    earlier: int = 0
    number: int = 1


def attempt_span_id(command: str, epoch: int) -> int:
    """The id of the span of the turn in which a life handles a command: known to the next life, wherever it runs."""
    return int.from_bytes(hashlib.blake2b(f"{command}\0{epoch}".encode(), digest_size=8).digest()) or 1


# ---- turns ----------------------------------------------------------------------------------------


class TurnSpan:
    """The span of a turn, while it is current. What the turn sends stands below it."""

    __slots__ = ("_creation", "_envelope", "_span", "_token")

    def __init__(self, span: Span, envelope: Envelope) -> None:
        self._span = span
        self._envelope = envelope
        self._creation: Origin = envelope.origin
        self._token: Token[Context] = attach(trace.set_span_in_context(span))
        envelope.origin = envelope.origin.under(telemetry.traceparent_of(span.get_span_context()))

    def end(self, failure: BaseException | None) -> None:
        """The turn is over, with what it raised. Delivered again, its message stands where it stood."""
        if failure is not None:
            telemetry.fail(self._span, failure)
        self._envelope.origin = self._creation
        detach(self._token)
        self._span.end()


def begin_turn(cell: Cell, envelope: Envelope) -> TurnSpan | None:
    """The span of the turn that handles an envelope; None for one that is not recorded."""
    sampling, creation = telemetry.spans.sampling, envelope.origin.trace
    if creation:
        if not telemetry.is_sampled(creation):
            return None
    elif envelope.kind != Kind.NOTICE or not _is_users(envelope.message):
        return None  # what nearly all messages of an app find that is traced in part
    if sampling is None or not cell.runtime.is_traced or not getattr(cell.behavior, "traces_turns", False):
        return None
    now_s = cell.runtime.loop.time()
    if not (sampling.admits(now_s) if creation else sampling.begins(now_s)):
        return None
    parent = telemetry.context_of(creation) if creation else Context()  # without one a tick of its own timer
    is_ask = isinstance(envelope.message, Request)  # whose asker may be gone, where it is read from a journal
    operation = telemetry.INVOKE_AGENT if is_ask else telemetry.PROCESS
    attributes: dict[str, str | int | float | bool] = {
        telemetry.AGENT_NAME: cell.actor,
        telemetry.AGENT_ID: cell.actor,
        telemetry.AGENT_INCARNATION: cell.incarnation,
        **_about(envelope),
    }
    attributes[telemetry.OPERATION if is_ask else telemetry.MESSAGING_OPERATION] = operation
    if not is_ask:
        attributes[telemetry.SHOWN_AS] = telemetry.SHOWN_AS_AGENT
    attempt = cell.intake.attempt(envelope) if cell.intake is not None else Attempt()
    if attempt.number > 1:
        attributes[telemetry.ATTEMPT] = attempt.number
    span = telemetry.start_span(
        f"{operation} {cell.actor}",
        parent,
        attributes,
        telemetry.Planned(attempt.span_id, cell.runtime),
        kind=SpanKind.SERVER if is_ask else SpanKind.CONSUMER,
        links=_links(creation, attempt.earlier),
    )
    return TurnSpan(span, envelope) if span.is_recording() else None


def _links(creation: str, earlier: int) -> list[Link]:
    trace_id = telemetry.span_context_of(creation).trace_id if earlier else 0
    if not trace_id:
        return []
    return [Link(SpanContext(trace_id, earlier, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)))]


# ---- sends ----------------------------------------------------------------------------------------


_commands: WeakKeyDictionary[Runtime, OrderedDict[str, tuple[str, str]]] = WeakKeyDictionary()
"""Of each runtime: the traceparents under which a command was sent first, and last."""


def begin_send(runtime: Runtime, envelope: Envelope) -> Span | None:
    """The span of a message that begins a trace, or has an id under which it may be sent again; None for all others.

    Sent again, it stays in its trace, and its span is linked to the one before. Whoever sends it ends the span.
    """
    sampling, origin, command = telemetry.spans.sampling, envelope.origin, envelope.command_id
    if sampling is None or not runtime.is_traced or (origin.trace and not command):
        return None
    if not origin.trace and (origin.sender is not None or not _is_users(envelope.message)):
        return None  # of a turn that is not recorded, or a word between parts of Regrow
    known = _commands.get(runtime) if command else None
    first, last = known.get(command or "", ("", "")) if known else ("", "")
    now_s, above = runtime.loop.time(), origin.trace or first
    if above:
        if not telemetry.is_sampled(above) or not sampling.admits(now_s):
            return None
    elif not sampling.begins(now_s):
        return None
    span = telemetry.start_span(
        f"{telemetry.SEND} {envelope.receiver}",
        telemetry.context_of(above) if above else Context(),
        {
            telemetry.MESSAGING_OPERATION: telemetry.SEND,
            telemetry.SHOWN_AS: telemetry.SHOWN_AS_CHAIN,
            **_about(envelope),
        },
        telemetry.Planned(owner=runtime),
        kind=SpanKind.CLIENT if envelope.kind == Kind.ASK else SpanKind.PRODUCER,
        links=[Link(telemetry.span_context_of(last))] if last else (),
    )
    if not span.is_recording():
        return None  # the program's own sampler has decided so, or its SDK is disabled
    traceparent = telemetry.traceparent_of(span.get_span_context())
    envelope.origin = origin.under(traceparent)
    if command:
        _remember(runtime, command, first or traceparent, traceparent)
    return span


def _remember(runtime: Runtime, command: str, first: str, last: str) -> None:
    known = _commands.setdefault(runtime, OrderedDict())
    known[command] = first, last
    if len(known) > MAX_COMMANDS:
        known.popitem(last=False)


def end_send(span: Span, answer: asyncio.Future[object]) -> None:
    """An ask has its answer, or nobody waits for it any more."""
    if answer.cancelled():
        span.set_attribute(telemetry.ERROR_TYPE, "CancelledError")
    elif (error := answer.exception()) is not None:
        telemetry.fail(span, error)
    span.end()


def _about(envelope: Envelope) -> Mapping[str, str]:
    about = {
        telemetry.MESSAGING_SYSTEM: SYSTEM,
        telemetry.DESTINATION: envelope.receiver,
        telemetry.MESSAGE_TYPE: type(envelope.message).__name__,
    }
    if envelope.command_id:
        about[telemetry.MESSAGE_ID] = envelope.command_id
    return about


def _is_users(message: object) -> bool:
    """Whether a message is one of the app, and no word between the parts of Regrow."""
    return not type(message).__module__.startswith("regrow.")
