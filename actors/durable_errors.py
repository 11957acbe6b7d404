"""What goes wrong with durable agents, each for the one who can mend it.

RegrowError (runtime)
├── StateNotStorable    the agent's code: its state has no JSON form, or passes the limit
├── StateNotReadable    the agent's code: what is stored is of another shape, or of a newer one
├── StateOutdated       the agent's code: it has changed the state that was current before its wait
├── StateReadOnly       the agent's code: a handler that is read_only has changed the state
├── StepFailed          whoever a step calls: it has failed as often as it may
├── TurnDiverged        the agent's code: it took another way through its steps than before
├── ResultTooLarge      the agent's code: a step gave more than is kept of it
├── ResultLost          what a step gave is no longer in the store, or damaged
├── UnknownOutcome      nobody knows whether a step was done, and it must not be done twice
├── AgentHeld           another process has the agent, and may still live
├── TurnOverruled       the journal has another end of a message than the turn that ran; this life ends
├── FencedOut           another life has taken the agent over; this one ends
└── Refused
    ├── NotStored       the store took no message until the deadline; nothing was done
    ├── NotRunAgain     the id of the message is too old, or of no clock here: whether it ran is not known
    ├── ReplyNotReadable the message was done before, and its stored reply is no more known to the code here
    ├── InQuarantine    the message was set aside for a person to decide
    └── WaitTimedOut    nobody has answered what was waited for
"""

from __future__ import annotations

from regrow.runtime.errors import Misuse, Refused, WorldBroke


class StateNotStorable(Misuse):
    """A state without a JSON form, or one that passes the limit of the journal."""


class StateNotReadable(Misuse):
    """A stored state that the code here does not understand."""


class StateOutdated(Misuse):
    """A turn has read `self.state` before its wait and written to it behind it; others have changed it meanwhile."""


class StateReadOnly(Misuse):
    """A handler that is `@on(read_only=True)` has changed `self.state`. What it changed was a copy, and is dropped."""


class StepFailed(WorldBroke):
    """A step with Retries has failed at each attempt. Each is recorded: when its turn is run again, none is left."""


class TurnDiverged(Misuse):
    """A turn that was run again took another way through its recorded steps. Its message goes into quarantine."""


class ResultTooLarge(Misuse):
    """A step was done and gave more than the journal keeps. Its message goes into quarantine, and is not run again."""


class ResultLost(WorldBroke):
    """The large result of a step is gone from the store, or damaged. Its message goes into quarantine."""


class UnknownOutcome(WorldBroke):
    """A step that must not run twice was begun, and no result is known. Its message goes into quarantine."""


class AgentHeld(WorldBroke):
    """Another process holds the agent and has not been found dead."""


class FencedOut(WorldBroke):
    """The journal says that another life holds the agent now. This one ends as Fenced."""


class TurnOverruled(WorldBroke):
    """The journal does not let a turn end as it did, and no other life holds the agent. This one ends for it."""


class NotStored(Refused):
    """The journal could not take the message before its deadline (it is full, or takes no writes): it was not run."""


class NotRunAgain(Refused):
    """The command's id is older than results are kept, or comes from a clock too far ahead; it was not run."""


class ReplyNotReadable(Refused):
    """The command was done once and is not done again, and the code here can not read the reply that is stored."""


class InQuarantine(Refused):
    """The message was set aside: `regrow quarantine show` tells why, and a person decides."""


class WaitTimedOut(Refused):
    """Nobody has answered within the time of `ctx.wait_for`. Uncaught, it refuses the message that has waited."""
