"""Free ports for servers that tests start, also when several tests look for some at the same time."""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 10_000, 22_000
"""With the ports of a Redis Cluster's bus, 10,000 higher, all below those that the kernel gives to connections."""


def free_ports(number: int, *, bus: int = 0) -> list[int]:
    """Ports nobody listens to, drawn by chance so that tests beside this one draw others.

    Args:
        number: How many.
        bus: As many more are free as well, this much higher; 0 for none.
    """
    found: list[int] = []
    for port in random.sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST):
        if _is_free(port) and _is_free(port + bus):
            found.append(port)
        if len(found) == number:
            return found
    raise RuntimeError(f"no {number} free ports between {LOWEST} and {HIGHEST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
