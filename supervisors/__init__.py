"""Who starts agents, notices their end, and starts them again, by the rules of Erlang/OTP.

Reading order: `errors` (what can go wrong), `spec` (the tree as data), `strategy` (who stops and who
starts), `intensity` (how often, and after which wait); then what obeys them: `children` (what is known
of each), `lives` (how they start and end), `administration` (what an operator may do), `supervisor`.
"""

if __name__ != "regrow.supervisors":
    raise ImportError(f"this is regrow.supervisors; import it under that name, not as {__name__!r}")

from regrow.supervisors.children import ChildCounts, ChildRow, ChildRows, CountChildren, WhichChildren
from regrow.supervisors.errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildRunning,
    FailedToStartChild,
    NoSuchChild,
    SpecError,
)
from regrow.supervisors.intensity import Attempt, Backoff, Intensity, Verdict
from regrow.supervisors.lives import PreparingStarter
from regrow.supervisors.report import ReportKind, SupervisorReport
from regrow.supervisors.spec import (
    AutoShutdown,
    ChildSpec,
    Kind,
    Restart,
    Strategy,
    Supervisor,
    SupervisorSpec,
    child,
)
from regrow.supervisors.strategy import (
    NOTHING,
    ChildExit,
    ChildState,
    Decision,
    Status,
    decide,
    decide_retry,
    needs_restart,
    stop_order,
)
from regrow.supervisors.supervisor import SupervisorBehavior

__all__ = [
    "NOTHING",
    "AlreadyPresent",
    "AlreadyStarted",
    "Attempt",
    "AutoShutdown",
    "Backoff",
    "ChildCounts",
    "ChildExit",
    "ChildRow",
    "ChildRows",
    "ChildRunning",
    "ChildSpec",
    "ChildState",
    "CountChildren",
    "Decision",
    "FailedToStartChild",
    "Intensity",
    "Kind",
    "NoSuchChild",
    "PreparingStarter",
    "ReportKind",
    "Restart",
    "SpecError",
    "Status",
    "Strategy",
    "Supervisor",
    "SupervisorBehavior",
    "SupervisorReport",
    "SupervisorSpec",
    "Verdict",
    "WhichChildren",
    "child",
    "decide",
    "decide_retry",
    "needs_restart",
    "stop_order",
]
