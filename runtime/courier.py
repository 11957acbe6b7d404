"""What a request can not bear as it is, on its way to the process that asked for it: a child spec with its classes.

`CourierHere` is the port's twin for one process, where such a value goes by reference. Between processes
classes go by name, which `cluster/spec_courier.py` does.
"""

from __future__ import annotations

import itertools
from typing import Protocol


class Courier(Protocol):
    """Carries values as bytes of a message."""

    def packed(self, value: object) -> bytes:
        """The value as bytes; raises what is wrong with it where it can not travel."""
        ...

    def opened(self, packed: bytes) -> object:
        """The value again; None when nobody waits any more for what is done with it."""
        ...

    def forget(self, packed: bytes) -> None:
        """Nobody waits any more."""
        ...


class CourierHere:
    """Keeps each value in this process until `forget`; only its number travels."""

    def __init__(self) -> None:
        self._values: dict[bytes, object] = {}
        self._numbers = itertools.count(1)

    def packed(self, value: object) -> bytes:
        """See Courier."""
        packed = b"%d" % next(self._numbers)
        self._values[packed] = value
        return packed

    def opened(self, packed: bytes) -> object:
        """See Courier."""
        return self._values.get(packed)

    def forget(self, packed: bytes) -> None:
        """See Courier."""
        self._values.pop(packed, None)
