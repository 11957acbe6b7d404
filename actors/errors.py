"""Every error of the actors room.

InvalidDefinition (runtime)
├── InvalidAgent        an agent class or agent function that is defined wrongly; raised when it is defined
└── InvalidConfig       a child's config is not what its agent class declares
Refused (runtime)
├── Unhandled           the agent has no handler for this message
├── ServiceLost         also WorldBroke: memory or models of the app gave no answer; ask again
├── CutOff              adopted code was cancelled at the deadline of its request
└── TooManyParts        an adopted iterator gave more than a reply holds
WorldBroke (runtime)
├── HeldOn              adopted code was told to end, and did not
└── ThreadsFull         all threads of this process for adopted work are taken
"""

from __future__ import annotations

from regrow.runtime.errors import InvalidDefinition, Refused, WorldBroke


class InvalidAgent(InvalidDefinition):
    """An agent class or agent function is defined wrongly; the text says where and how to mend it."""


class InvalidConfig(InvalidDefinition):
    """A child's config is not of the type that its agent class declares."""


class Unhandled(Refused):
    """The agent has no handler for this type of message."""


class ServiceLost(WorldBroke, Refused):
    """Memory or models of the app have died, hang or do not answer; what was asked for may have been done."""


class CutOff(Refused):
    """The deadline of the request passed while adopted code ran, so that it was cancelled; the agent lives."""


class TooManyParts(Refused):
    """An adopted async iterator gave more parts than one reply holds."""


class HeldOn(WorldBroke):
    """Adopted code was told to end at its deadline and still runs; the agent ends instead."""


class ThreadsFull(WorldBroke):
    """All threads that a process has for adopted work are taken."""
