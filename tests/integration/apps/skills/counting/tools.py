"""A tool in a process of its own, of a skill beside its agent's file."""

import os

from regrow import tool


@tool(isolation="process")
def where() -> int:
    """Says in which process it runs."""
    return os.getpid()
