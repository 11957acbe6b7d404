"""How actors end, and how others learn of it (SEMANTICS 1 and 3).

Exit reasons are values that travel, compare equal and can be matched. `Down` reaches whoever
monitors, `Exited` the parent supervisor, `Started` is the answer to a start.
"""

from __future__ import annotations

import os
import re
import sys
import traceback as traceback_module
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from regrow.runtime.contain import Escape, text_of, travelling
from regrow.runtime.message import Message

TRACEBACK_LIMIT_CHARS = 8_000
"""A traceback is kept up to this length, its end being what helps; reports stay of bounded size."""

MESSAGE_LIMIT_CHARS = 2_000
"""An exception's own text is kept up to this length."""


INSTALLED = ("/site-packages/", "/dist-packages/")
STANDARD_LIBRARY = f"{Path(os.__file__).parent}/"
GROUP_EDGE = re.compile(r"^ +[|+] ?")
"""What stands before each line of a traceback of an exception group, such as a TaskGroup raises."""
"""Where nobody looks for what to mend when an agent has died."""


def _is_of_others(file: str) -> bool:
    """Whether a file is no code of the user, who can do nothing at a line of it: a library's, Python's or ours."""
    if file.startswith(("<", STANDARD_LIBRARY)) or any(part in file for part in INSTALLED):
        return True
    return any(
        name.startswith("regrow.") and getattr(module, "__file__", None) == file
        for name, module in list(sys.modules.items())
    )


class Normal(Message):
    """The actor finished by itself."""

    kind: Literal["normal"] = "normal"

    abnormal = property(lambda self: False)

    def __str__(self) -> str:
        return "Normal"


class Shutdown(Message):
    """The end was ordered: by a supervisor, an auto-shutdown or a drain."""

    kind: Literal["shutdown"] = "shutdown"
    detail: str | None = None

    abnormal = property(lambda self: False)

    def __str__(self) -> str:
        return f"Shutdown ({self.detail})" if self.detail else "Shutdown"


class Killed(Message):
    """The end was unconditional: a kill, a shutdown limit, out of memory, SIGKILL."""

    kind: Literal["killed"] = "killed"
    detail: str | None = None

    abnormal = property(lambda self: True)

    def __str__(self) -> str:
        return f"Killed ({self.detail})" if self.detail else "Killed"


class Crashed(Message):
    """An exception left the actor's code."""

    kind: Literal["crashed"] = "crashed"
    type_name: str
    message: str
    traceback: str = ""
    on_message: str | None = None

    abnormal = property(lambda self: True)

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name

    @property
    def place(self) -> str:
        """`file:line` of the innermost frame that is the user's own code; empty when there is none."""
        for line in reversed(self.traceback.splitlines()):
            stripped = GROUP_EDGE.sub("", line).strip()
            if stripped.startswith('File "'):
                file, _, rest = stripped[6:].partition('", line ')
                if not _is_of_others(file):
                    return f"{file.rsplit('/', 1)[-1]}:{rest.split(',', 1)[0]}"
        return ""


class Escalated(Message):
    """A supervisor passed its restart intensity because of this child."""

    kind: Literal["escalated"] = "escalated"
    child: str
    restarts: int
    cause: str = ""

    abnormal = property(lambda self: True)

    def __str__(self) -> str:
        return f"Escalated: {self.child} ended {self.restarts} times, which is too often ({self.cause})"


class Fenced(Message):
    """A newer incarnation owns this actor's state."""

    kind: Literal["fenced"] = "fenced"

    abnormal = property(lambda self: True)

    def __str__(self) -> str:
        return "Fenced: a newer incarnation owns the state"


class NoProc(Message):
    """The target did not exist when it was linked, monitored or asked."""

    kind: Literal["noproc"] = "noproc"

    abnormal = property(lambda self: True)

    def __str__(self) -> str:
        return "NoProc: no such agent is running"


ExitReason = Annotated[Normal | Shutdown | Killed | Crashed | Escalated | Fenced | NoProc, Field(discriminator="kind")]
"""Why an actor ended. `reason.abnormal` says whether a transient child restarts and links die with it."""


class Exited(Message):
    """To the parent supervisor: this life of the child is over."""

    actor: str
    incarnation: int
    reason: ExitReason
    event: str = ""
    """What several exits share when one cause ended them all, such as their host's death."""


class FreeExited(Exited):
    """One that costs no restart budget: the host had to die because another agent in it would not end."""


class Refund(Message):
    """To the parent supervisor: a message of the child is in quarantine, and a later one has been committed.

    The newest `restarts` for ends of the child's lives up to `until` were the doing of that message alone.
    """

    actor: str
    restarts: int
    until: int


class Cleared(Message):
    """To the parent supervisor: the message of the child that may have killed its process has its outcome."""

    actor: str


class Down(Message):
    """To a monitor: this life of the watched actor is over, and nothing of it comes after."""

    monitor: int
    actor: str
    incarnation: int
    reason: ExitReason


class Unreachable(Message):
    """To a monitor: contact with the watched actor's process is lost. It may live; Reachable or Down comes later."""

    monitor: int
    actor: str


class Reachable(Message):
    """To a monitor that had Unreachable: the watched actor's process answers again; it has not ended."""

    monitor: int
    actor: str


class ExitSignal(Message):
    """To a linked actor that traps exits: the other side of the link ended."""

    actor: str
    incarnation: int
    reason: ExitReason


def crashed(error: BaseException, on_message: str | None = None) -> Crashed:
    """The exit reason for an exception, with its traceback cut to its telling end."""
    if isinstance(error, Escape):
        error = error.error
    text = travelling("".join(traceback_module.format_exception(error)))
    if len(text) > TRACEBACK_LIMIT_CHARS:
        text = "…" + text[-TRACEBACK_LIMIT_CHARS:]
    message = text_of(error)
    if len(message) > MESSAGE_LIMIT_CHARS:
        message = message[:MESSAGE_LIMIT_CHARS] + "…"
    return Crashed(type_name=type(error).__name__, message=message, traceback=text, on_message=on_message)
