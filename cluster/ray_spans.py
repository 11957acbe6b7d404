"""Sends the spans of a host or a driver to the guardian, which keeps those of the whole app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ray

from regrow.cluster.recording import Recording, pack_told
from regrow.cluster.span_row import SpanRow

if TYPE_CHECKING:
    from regrow.cluster.config import TracingSettings

HEARD_WITHIN_S = 5.0
"""How long the guardian may take for a batch; one that restarts is not waited for, and the batch is dropped."""


def sent_to(where: str, guardian: Any, settings: TracingSettings) -> Recording | None:
    """The recording of a process whose spans the guardian keeps; None where the settings want none."""
    if not settings.enabled:
        return None

    def deliver(rows: Sequence[SpanRow], left_out: Mapping[tuple[str, str], int]) -> None:
        # Waited for, on the thread of the queue alone: a guardian that is slow gets no second batch meanwhile.
        ray.get(guardian.heard_spans.remote(pack_told(rows, left_out)), timeout=HEARD_WITHIN_S)

    return Recording(where, settings, deliver)
