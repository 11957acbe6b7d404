"""The way of one app's spans to where they are kept: which spans are its own, and which have begun and not ended.

One process makes the spans of all apps that run in it, and each app has its own data folder. A span belongs to the app
whose turn or send it is, or in whose turn it is made; one of the program itself, outside of any turn, belongs to all.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from regrow.cluster.record_queue import FLUSH_EVERY_S, RecordQueue
from regrow.runtime import telemetry
from regrow.runtime.context import current

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span

    from regrow.runtime import Runtime

UNENDED_LIMIT = 4_096
"""Of so many spans at once, those that began last, it is known that they have begun and not ended."""

AnySpan = Any
"""A ReadableSpan of this process, or the SpanRow of another one's."""


def owner_now() -> Runtime | None:
    """The runtime whose span is made or ended now; None outside of any app."""
    if (planned := telemetry.planned.get()) is not None and planned.owner is not None:
        return planned.owner
    ctx = current.get()
    return ctx.runtime if ctx is not None else None


class SpanRoute:
    """The spans of one app of this process. `runtime` is that of its agents, from its making on."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self.queue: RecordQueue[AnySpan] | None = None
        """To the store of the app; None where it keeps no spans."""
        self._unended: dict[int, tuple[float, Span | None]] = {}
        """When each began, by its id; without the span once it was told that it has begun."""

    def takes(self, owner: Runtime | None) -> bool:
        """Whether a span with this owner belongs here."""
        return self.queue is not None and (owner is None or owner is self.runtime)

    def began(self, span: Span) -> None:
        """A span that belongs here begins."""
        if len(self._unended) >= UNENDED_LIMIT:
            self._unended.pop(next(iter(self._unended.copy()), 0), None)
        self._unended[span.get_span_context().span_id] = time.monotonic(), span

    def ends(self, span_id: int) -> bool:
        """Whether it is known that this span began here; it is no longer, then."""
        return self._unended.pop(span_id, None) is not None

    def long_unended(self) -> list[Span]:
        """The spans that have begun a while ago, each once: whoever dies meanwhile has told of them."""
        now_s, found = time.monotonic(), []
        for span_id, (began_s, span) in self._unended.copy().items():
            if span is not None and now_s - began_s >= FLUSH_EVERY_S and span_id in self._unended:
                self._unended[span_id] = began_s, None
                found.append(span)
        return found
