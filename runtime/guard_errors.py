"""How a guard stops what goes on without coming anywhere; each says what it has seen.

Refused (runtime)
└── GuardTripped            a guard has found a runaway; the agent lives, and nothing restarts
    ├── HopsUsedUp              one message led to the next over more agents than may be
    ├── CausalLoop              the same agents have had the same to do, round by round, and nothing has changed
    ├── RepeatedCall            a tool was called with the same arguments, with the same outcome, too often
    ├── HiddenRetries           a client repeats what nobody has declared, and more than the budget of retries holds
    ├── Stalled                 a turn has done nothing for too long
    ├── RunUsedUp               also OutOfBudget: the run has come to one of its caps
    └── RunsUnreachable         the store does not answer in which runs are counted
"""

from __future__ import annotations

from regrow.runtime.errors import OutOfBudget, Refused


class GuardTripped(Refused):
    """A guard has found a runaway and stops it here. What was done until then is done.

    The figures behind it are attributes, which also whoever asked the agent gets; `evidence` has them all.
    """

    def __init__(self, text: str, **evidence: str | int | float) -> None:
        super().__init__(text)
        self.__dict__.update(evidence)

    @property
    def evidence(self) -> dict[str, str | int | float]:
        """The figures behind it, by their names."""
        return {name: value for name, value in vars(self).items() if isinstance(value, str | int | float)}


class HopsUsedUp(GuardTripped):
    """One message led to the next over more agents than `hop_limit` allows."""


class CausalLoop(GuardTripped):
    """The same agents have had the same to do for `loop_rounds` rounds, and none of their states has changed."""


class RepeatedCall(GuardTripped):
    """The same calls of tools had the same outcomes for `repeats_end` rounds; the last one was not made."""


class HiddenRetries(GuardTripped):
    """More attempts went over the wire than were declared, and more than `retry_share` of all calls."""


class Stalled(GuardTripped):
    """A turn has sent, asked and called nothing for `stall_s` seconds, and its asker waits no longer."""


class RunUsedUp(GuardTripped, OutOfBudget):
    """The run has come to one of its caps: messages, calls, tokens, money or time."""


class RunsUnreachable(GuardTripped):
    """The store does not answer in which runs are counted, so that nothing may go on that has a cap."""
