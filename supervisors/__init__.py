"""Who starts agents, notices their end, and starts them again, by the rules of Erlang/OTP.

Reading order: `errors` (what can go wrong), `spec` (the tree as data), `strategy` (who stops and who
starts), `intensity` (how often, and after which wait); then what obeys them: `children` (what is known
of each), `lives` (how they start and end), `requests` (what may be asked by message), `bookkeeping`,
`restarts` (what follows an end), `administration` (what an operator may do), `supervisor`, `dynamic`, `keyed`.
Beside them stand the guards: `rounds`, `turn_guard` (circles of agents), `repeats` (calls of tools), `stall_watch`.
"""

if __name__ != "regrow.supervisors":
    raise ImportError(f"this is regrow.supervisors; import it under that name, not as {__name__!r}")

from regrow.supervisors.children import ChildCounts, ChildRow, ChildRows, SpecRow
from regrow.supervisors.dynamic import DynamicSupervisorBehavior
from regrow.supervisors.errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildRunning,
    DynamicChild,
    FailedToStartChild,
    MaxActive,
    MaxChildren,
    NoSuchChild,
    SpecError,
    UnfitChild,
)
from regrow.supervisors.intensity import Backoff, Intensity, Verdict
from regrow.supervisors.keyed import KeyedSupervisorBehavior
from regrow.supervisors.lives import IsolatingStarter, PreparingStarter
from regrow.supervisors.report import ReportKind, SupervisorReport
from regrow.supervisors.requests import (
    ChildDeleted,
    ChildStopped,
    CountChildren,
    DeleteChild,
    GetChildSpec,
    NotStarted,
    RestartChild,
    StartChild,
    StopChild,
    WhichChildren,
)
from regrow.supervisors.spec import (
    AnySupervisorSpec,
    AutoShutdown,
    ChildSpec,
    DynamicSupervisor,
    DynamicSupervisorSpec,
    KeyedSpec,
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
from regrow.supervisors.supervisor import SupervisorBehavior, SupervisorOfAnySort, supervisor_behavior

__all__ = [
    "NOTHING",
    "AlreadyPresent",
    "AlreadyStarted",
    "AnySupervisorSpec",
    "AutoShutdown",
    "Backoff",
    "ChildCounts",
    "ChildDeleted",
    "ChildExit",
    "ChildRow",
    "ChildRows",
    "ChildRunning",
    "ChildSpec",
    "ChildState",
    "ChildStopped",
    "CountChildren",
    "Decision",
    "DeleteChild",
    "DynamicChild",
    "DynamicSupervisor",
    "DynamicSupervisorBehavior",
    "DynamicSupervisorSpec",
    "FailedToStartChild",
    "GetChildSpec",
    "Intensity",
    "IsolatingStarter",
    "KeyedSpec",
    "KeyedSupervisorBehavior",
    "Kind",
    "MaxActive",
    "MaxChildren",
    "NoSuchChild",
    "NotStarted",
    "PreparingStarter",
    "ReportKind",
    "Restart",
    "RestartChild",
    "SpecError",
    "SpecRow",
    "StartChild",
    "Status",
    "StopChild",
    "Strategy",
    "Supervisor",
    "SupervisorBehavior",
    "SupervisorOfAnySort",
    "SupervisorReport",
    "SupervisorSpec",
    "UnfitChild",
    "Verdict",
    "WhichChildren",
    "child",
    "decide",
    "decide_retry",
    "needs_restart",
    "stop_order",
    "supervisor_behavior",
]
