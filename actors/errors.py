"""Every error of the actors room.

InvalidDefinition (runtime)
├── InvalidAgent        an agent class or agent function that is defined wrongly; raised when it is defined
└── InvalidConfig       a child's config is not what its agent class declares
Refused (runtime)
└── Unhandled           the agent has no handler for this message
"""

from __future__ import annotations

from regrow.runtime.errors import InvalidDefinition, Refused


class InvalidAgent(InvalidDefinition):
    """An agent class or agent function is defined wrongly; the text says where and how to mend it."""


class InvalidConfig(InvalidDefinition):
    """A child's config is not of the type that its agent class declares."""


class Unhandled(Refused):
    """The agent has no handler for this type of message."""
