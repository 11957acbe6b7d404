"""Every error of the supervisors room.

Misuse (runtime)
├── InvalidDefinition (runtime)
│   └── SpecError           a spec with a value it can not have: mend the field it names
├── NoSuchChild             no child of that id: look at which_children
├── AlreadyStarted          the child of that id runs: use it, or stop it first
├── AlreadyPresent          the id is taken by a child that does not run: restart or delete that one
├── ChildRunning            only a stopped child can be deleted or restarted: stop it first
└── DynamicChild            a child of a DynamicSupervisor is gone once it is stopped: start another
Refused (runtime)
├── MaxChildren             as many children as allowed: stop one, wait, or allow more
│   └── MaxActive           as many agents with keys run as may, and all are busy: wait, or allow more
└── UnfitChild              this supervisor can not have such a child: mend what its text names
FailedToStartChild          the child's own start failed: mend the cause it names

Those about one child are Refused as well: a supervisor answers them to who asked, and lives.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from regrow.runtime.errors import InvalidDefinition, Misuse, Refused, RegrowError

if TYPE_CHECKING:
    from regrow.runtime.lifecycle import ExitReason

NAMES_LIMIT = 20
"""So many children are named in an error; a supervisor may have thousands."""

VALUE_LIMIT_CHARS = 120
"""A refused value is shown up to this length; it may be anything a user passed."""


class SpecError(InvalidDefinition):
    """A supervisor or child spec with a value it can not have; raised when it is made.

    Attributes: `field`, `value`, and `allowed`, the values it may have, in words.
    """

    def __init__(self, field: str, value: object, allowed: str, *, where: str) -> None:
        super().__init__(f"{where}: {field} is {_shown(value)}; allowed: {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


class _ChildMisuse(Misuse, Refused):
    """A request about one child that its present state does not allow.

    Attributes: `supervisor` and `child_id`, empty where the error came from another process.
    """

    supervisor = ""
    child_id = ""

    def __init__(self, supervisor: str, child_id: str, text: str) -> None:
        super().__init__(text)
        self.supervisor = supervisor
        self.child_id = child_id


class NoSuchChild(_ChildMisuse):
    """The supervisor has no child of that id."""

    def __init__(self, supervisor: str, child_id: str, *, known: Iterable[str] = ()) -> None:
        ids = tuple(known)
        names = ", ".join(ids[:NAMES_LIMIT]) or "none"
        if len(ids) > NAMES_LIMIT:
            names += f" and {len(ids) - NAMES_LIMIT} more"
        super().__init__(supervisor, child_id, f"{supervisor} has no child {child_id!r}; its children are: {names}")


class AlreadyStarted(_ChildMisuse):
    """A child of that id is running."""

    def __init__(self, supervisor: str, child_id: str) -> None:
        super().__init__(
            supervisor,
            child_id,
            f"{supervisor} already runs a child {child_id!r}; use that one, stop it first, or choose another id",
        )


class AlreadyPresent(_ChildMisuse):
    """The id belongs to a child that is known but does not run, perhaps only until its next start."""

    def __init__(self, supervisor: str, child_id: str) -> None:
        super().__init__(
            supervisor,
            child_id,
            f"{supervisor} already has a child {child_id!r} that does not run; "
            "start it with restart_child, or delete_child it first",
        )


class ChildRunning(_ChildMisuse):
    """The child runs, or waits for its restart, where a stopped one is needed."""

    def __init__(self, supervisor: str, child_id: str) -> None:
        super().__init__(
            supervisor, child_id, f"the child {child_id!r} of {supervisor} is running; stop_child it first"
        )


class DynamicChild(_ChildMisuse):
    """A child of a DynamicSupervisor can not be restarted or deleted, since nothing of it stays once it has stopped."""

    def __init__(self, supervisor: str, child_id: str) -> None:
        super().__init__(
            supervisor,
            child_id,
            f"{supervisor} is a DynamicSupervisor, which keeps nothing of a child that does not run; "
            f"start another child instead of {child_id!r}",
        )


class MaxChildren(Refused):
    """The DynamicSupervisor has as many children as it may have. Attributes: `supervisor` and `limit`, 0 if unknown."""

    supervisor = ""
    limit = 0

    def __init__(self, supervisor: str, limit: int) -> None:
        super().__init__(
            f"{supervisor} has {limit} children, those that wait for their restart included, and may have no more; "
            "stop one, try again later, or give it a larger max_children"
        )
        self.supervisor = supervisor
        self.limit = limit


class MaxActive(MaxChildren):
    """As many agents with keys of one kind run as may, and all of them are busy."""

    def __init__(self, supervisor: str, limit: int) -> None:
        super().__init__(supervisor, limit)
        told = f"{limit} agents of {supervisor} run, all that may at once, and none has nothing to do"
        self.args = (f"{told}; try again later, or give it a larger max_active",)


class UnfitChild(Refused):
    """A supervisor of that sort, or with those rules, can not have the child that was asked for."""

    def __init__(self, supervisor: str, text: str) -> None:
        super().__init__(f"{supervisor}: {text}")


class FailedToStartChild(RegrowError):
    """A child did not start, so its supervisor did not either; nothing of them is left running.

    Attributes: `child_id`, and `cause`: an exit reason, an exception, or for a nested supervisor the
    FailedToStartChild of its own child. `path` and `root_cause` look through the nesting, so that the
    first traceback is kept.
    """

    def __init__(self, child_id: str, cause: ExitReason | BaseException) -> None:
        self.child_id = child_id
        self.cause = cause
        super().__init__(f"child {self.path!r} failed to start ({_told(self.root_cause)}); mend that and start again")

    @property
    def path(self) -> str:
        """The ids from this child down to the one that really failed, joined by `/`."""
        inner = self.cause
        return f"{self.child_id}/{inner.path}" if isinstance(inner, FailedToStartChild) else self.child_id

    @property
    def root_cause(self) -> ExitReason | BaseException:
        """Why the innermost child failed; never a FailedToStartChild."""
        inner = self.cause
        return inner.root_cause if isinstance(inner, FailedToStartChild) else inner


def _told(cause: ExitReason | BaseException) -> str:
    """One line for a person: an exit reason says its kind itself, an exception does not."""
    return f"{type(cause).__name__}: {cause}" if isinstance(cause, BaseException) else str(cause)


def _shown(value: object) -> str:
    """The value as Python writes it, cut to a bounded length."""
    text = repr(value)
    return text if len(text) <= VALUE_LIMIT_CHARS else text[:VALUE_LIMIT_CHARS] + "…"
