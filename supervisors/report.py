"""What a supervisor tells of its work: one small value for each event, for the log and the observer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from regrow.runtime.lifecycle import TRACEBACK_LIMIT_CHARS, ExitReason
from regrow.supervisors.spec import Restart

MESSAGE_LIMIT_CHARS = 2_000
"""Each text of a reason is cut to this in a report; a traceback has a limit of its own."""


class ReportKind(StrEnum):
    """What happened."""

    CHILD_STARTED = "child_started"
    CHILD_TERMINATED = "child_terminated"
    RESTARTING = "restarting"
    START_FAILED = "start_failed"
    ESCALATED = "escalated"


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorReport:
    """One event at one supervisor; of bounded size."""

    kind: ReportKind
    supervisor: str
    child: str
    incarnation: int
    """The life it is about: the new one, the one that ended, or the last one."""
    reason: ExitReason | None = None
    """Why it ended or failed; None where it started."""
    restarts: int = 0
    """How many restarts the supervisor's window holds, this one included."""
    delay_s: float = 0.0
    """How long back-off makes the restart wait."""
    max_restarts: int = 0
    within_s: float = 0.0
    """The limits of that window."""
    restart: Restart = Restart.PERMANENT
    """Which ends of the child are followed by a start."""
    host: str = ""
    pid: int = 0
    """Of the process of that life, where one is known."""


def bounded(reason: ExitReason | None) -> ExitReason | None:
    """The reason with no more text in any part of it than a log line should bear.

    An agent may end itself with a reason of its own making, so no part is trusted to be short.
    """
    if reason is None:
        return None
    long = {name: text for name, text in reason if isinstance(text, str) and len(text) > MESSAGE_LIMIT_CHARS}
    traceback = long.pop("traceback", "")
    cut = {name: text[:MESSAGE_LIMIT_CHARS] + "…" for name, text in long.items()}
    if len(traceback) > TRACEBACK_LIMIT_CHARS + 1:  # one for the dots that say that it was cut already
        cut["traceback"] = "…" + traceback[-TRACEBACK_LIMIT_CHARS:]
    return reason.model_copy(update=cut) if cut else reason
