"""Sends the spans of a host or a driver to the guardian, which keeps those of the whole app."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ray.exceptions import RayError

from regrow.cluster.ray_transport import got_through
from regrow.cluster.recording import Deliver, Recording, pack_told
from regrow.cluster.span_row import SpanRow
from regrow.cluster.tracing import END_LIMIT_S
from regrow.runtime.transport import PeerDead

if TYPE_CHECKING:
    from regrow.cluster.config import TracingSettings

HEARD_WITHIN_S = 5.0
"""How long the guardian may take for the last batch of a host that is to end."""


def sent_to(where: str, guardian: Any, settings: TracingSettings) -> Recording | None:
    """The recording of a process whose spans the guardian keeps; None where the settings want none."""
    return Recording(where, settings, delivery_to(guardian)) if settings.is_on else None


def delivery_to(guardian: Any) -> Deliver:
    """Sends a batch to the guardian and waits, on the thread of the queue, until it has answered or has died.

    However long that takes: a batch that is given up is still with Ray, and with the next ones there is no bound.
    """

    def deliver(rows: Sequence[SpanRow], left_out: Mapping[tuple[str, str], int]) -> None:
        guardian.heard_spans.remote(pack_told(rows, left_out)).future().result()

    return deliver


async def end_recordings(recording: Recording | None, hosts: Iterable[Any]) -> None:
    """Has hosts that are to end send the rest of their spans, where they are recorded; none holds this up for long."""
    if recording is None:
        return
    limit_s = END_LIMIT_S + HEARD_WITHIN_S
    asked = (asyncio.wait_for(got_through(host.end_recording), limit_s) for host in hosts)
    for each in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(each, BaseException) and not isinstance(each, PeerDead | RayError | TimeoutError):
            raise each
